//! Environment variables that win over the file.
//!
//! They are put into the tree before it is checked, so that they obey the same rules, and what is
//! wrong with them is reported with the variable's name.

use super::env::Env;
use super::node::{Entry, Kind, Node, Scalar};
use super::report::{Place, Report};

/// A variable, the key that it sets, and how its text becomes a value.
struct Override {
    variable: &'static str,
    path: &'static [&'static str],
    value: fn(&str) -> Result<Kind, &'static str>,
}

const OVERRIDES: [Override; 4] = [
    Override { variable: "ENVIRONMENT", path: &["environment"], value: word },
    Override { variable: "CORS_ORIGINS", path: &["cors", "origins"], value: origins },
    Override {
        variable: "MAX_REQUEST_SIZE_BYTES",
        path: &["limits", "request_size"],
        value: bytes,
    },
    Override {
        variable: "SHUTDOWN_TIMEOUT_SECONDS",
        path: &["shutdown", "timeout"],
        value: seconds,
    },
];

/// Puts the variables that are set into the tree.
pub(super) fn apply(root: &mut Node, env: &Env, report: &mut Report) {
    for Override { variable, path, value } in OVERRIDES {
        let Some(text) = env.get(variable) else { continue };
        let place = Place::variable(variable);
        let kind = value(text.trim()).unwrap_or_else(|expected| {
            let shown = super::report::shorten(text);
            let message = format!("expected {expected}, found {shown}");
            report.error(place, &path.join("."), message, "put it right, or unset it");
            Kind::Broken
        });
        set(root, path, Node { place, kind });
    }
}

/// Sets the value at `path`. Where something on the way is no mapping, that will be reported.
fn set(node: &mut Node, path: &[&'static str], value: Node) {
    let Some((key, rest)) = path.split_first() else {
        *node = value;
        return;
    };
    if matches!(node.kind, Kind::Null) {
        node.kind = Kind::Map(Vec::new());
    }
    let Kind::Map(entries) = &mut node.kind else { return };
    let index = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
        let place = value.place;
        let node = Node { place, kind: Kind::Null };
        entries.push(Entry { key: (*key).to_owned(), place, node });
        entries.len() - 1
    });
    set(&mut entries[index].node, rest, value);
}

fn scalar(text: String) -> Kind {
    Kind::Scalar(Scalar { text, plain: true, source: None, variable: None })
}

fn word(text: &str) -> Result<Kind, &'static str> {
    if text.is_empty() {
        Err("development, staging or production")
    } else {
        Ok(scalar(text.to_owned()))
    }
}

fn origins(text: &str) -> Result<Kind, &'static str> {
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    let place = Place::variable("CORS_ORIGINS");
    Ok(Kind::List(origins.map(|origin| Node { place, kind: scalar(origin.to_owned()) }).collect()))
}

fn bytes(text: &str) -> Result<Kind, &'static str> {
    if is_number(text) { Ok(scalar(text.to_owned())) } else { Err("a whole number of bytes") }
}

fn seconds(text: &str) -> Result<Kind, &'static str> {
    if is_number(text) { Ok(scalar(format!("{text}s"))) } else { Err("a whole number of seconds") }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
