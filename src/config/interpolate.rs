//! `${VAR}` and `${VAR:-default}` in a scalar.
//!
//! One pass: what a variable holds is never looked at for more variables, so a value can't reach
//! for another one. `$${` stands for a literal `${`.

use std::fmt;

use super::env::Env;
use super::secrets::is_variable_name;

/// No value in a configuration needs more bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A scalar with its variables replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replaced {
    /// The text.
    pub(super) text: String,
    /// The variable that gave the whole text, where it was a single one.
    pub(super) whole: Option<String>,
}

/// Something wrong with one `${..}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where in the scalar, in characters.
    pub(super) offset: usize,
    /// What.
    pub(super) kind: FaultKind,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The variable is not set or empty, and there is no default.
    NotSet(String),
    /// No `}`.
    Unclosed,
    /// Neither `${NAME}` nor `${NAME:-default}`.
    Malformed,
    /// The result is too long.
    TooLong,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSet(name) => write!(f, "environment variable {name} is not set or empty"),
            Self::Unclosed => f.write_str("`${` has no closing `}`"),
            Self::Malformed => {
                f.write_str("this `${..}` is neither `${VAR}` nor `${VAR:-default}`")
            }
            Self::TooLong => write!(f, "the value is longer than {MAX_BYTES} bytes"),
        }
    }
}

/// Whether `text` has anything to replace.
pub(super) fn applies(text: &str) -> bool {
    text.contains("${")
}

/// Replaces the variables of `text`; every fault is reported.
pub(super) fn interpolate(text: &str, env: &Env) -> Result<Replaced, Vec<Fault>> {
    let mut out = String::with_capacity(text.len());
    let mut whole = None;
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let position = text.len() - rest.len() + at;
        let offset = text[..position].chars().count();
        let Some(length) = rest[at + 2..].find('}') else {
            faults.push(Fault { offset, kind: FaultKind::Unclosed });
            return Err(faults);
        };
        let inner = &rest[at + 2..at + 2 + length];
        rest = &rest[at + 3 + length..];
        match lookup(inner, env) {
            Ok(Value::Set(name, value)) => {
                out.push_str(value);
                whole = (position == 0 && rest.is_empty()).then(|| name.to_owned());
            }
            Ok(Value::Default(value)) => out.push_str(value),
            Err(kind) => faults.push(Fault { offset, kind }),
        }
        if out.len() > MAX_BYTES {
            faults.push(Fault { offset, kind: FaultKind::TooLong });
            return Err(faults);
        }
    }
    out.push_str(rest);
    if faults.is_empty() { Ok(Replaced { text: out, whole }) } else { Err(faults) }
}

enum Value<'a> {
    Set(&'a str, &'a str),
    Default(&'a str),
}

fn lookup<'a>(inner: &'a str, env: &'a Env) -> Result<Value<'a>, FaultKind> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_variable_name(name) {
        return Err(FaultKind::Malformed);
    }
    // As in a shell, `:-` takes an empty variable for an absent one.
    match (env.get(name).filter(|value| !value.is_empty()), default) {
        (Some(value), _) => Ok(Value::Set(name, value)),
        (None, Some(default)) => Ok(Value::Default(default)),
        (None, None) => Err(FaultKind::NotSet(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env() -> Env {
        Env::from_iter([("A", "one"), ("B", "${A}"), ("EMPTY", "")])
    }

    fn text(input: &str) -> String {
        interpolate(input, &env()).unwrap().text
    }

    #[test]
    fn replaces_variables_and_defaults() {
        assert_eq!(text("x-${A}-y"), "x-one-y");
        assert_eq!(text("${NONE:-8080}"), "8080");
        assert_eq!(text("${EMPTY:-8080}"), "8080");
        assert_eq!(text("${NONE:-}"), "");
        assert_eq!(text("${NONE:-http://a:1/b}${A}"), "http://a:1/bone");
        assert_eq!(text("$A $ {A} }"), "$A $ {A} }");
    }

    #[test]
    fn a_value_is_never_looked_at_again() {
        assert_eq!(text("${B}"), "${A}");
    }

    #[test]
    fn two_dollars_escape() {
        assert_eq!(text("$${A} ${A}"), "${A} one");
        assert_eq!(text("$$${A}"), "$${A}");
    }

    #[test]
    fn the_variable_behind_a_whole_scalar_is_known() {
        let whole = |input| interpolate(input, &env()).unwrap().whole;
        assert_eq!(whole("${A}"), Some("A".to_owned()));
        assert_eq!(whole("${A:-x}"), Some("A".to_owned()));
        assert_eq!(whole("${NONE:-x}"), None);
        assert_eq!(whole("${A}x"), None);
        assert_eq!(whole("x${A}"), None);
        assert_eq!(whole("${A}${A}"), None);
    }

    #[test]
    fn every_fault_is_reported_with_its_place() {
        let faults = interpolate("é${X} ${1} ${Y-z} ${Z", &env()).unwrap_err();
        let found: Vec<_> = faults.into_iter().map(|fault| (fault.offset, fault.kind)).collect();
        assert_eq!(
            found,
            [
                (1, FaultKind::NotSet("X".to_owned())),
                (6, FaultKind::Malformed),
                (11, FaultKind::Malformed),
                (18, FaultKind::Unclosed),
            ]
        );
        let empty = interpolate("${EMPTY}", &env()).unwrap_err();
        assert_eq!(empty[0].kind, FaultKind::NotSet("EMPTY".to_owned()));
    }

    proptest! {
        #[test]
        fn text_without_variables_is_unchanged(input in "[^$]*") {
            prop_assert_eq!(text(&input), input);
        }

        #[test]
        fn any_value_arrives_as_it_is(value in ".+", before in "[^$]*", after in "[^$]*") {
            let env = Env::from_iter([("V", value.clone())]);
            let replaced = interpolate(&format!("{before}${{V}}{after}"), &env).unwrap();
            prop_assert_eq!(replaced.text, format!("{before}{value}{after}"));
            prop_assert_eq!(replaced.whole.is_some(), before.is_empty() && after.is_empty());
        }

        #[test]
        fn escaping_undoes_interpolation(input in "([${}A-C:-]|é)*") {
            // Dollars directly before an escape would be read as part of another one.
            prop_assume!(!input.contains("$${"));
            let escaped = input.replace("${", "$${");
            prop_assert_eq!(text(&escaped), input);
        }

        #[test]
        fn nothing_panics(input in "([${}A:-]|.)*") {
            if let Err(faults) = interpolate(&input, &env()) {
                let length = input.chars().count();
                prop_assert!(faults.iter().all(|fault| fault.offset < length));
            }
        }
    }
}
