//! Environment variables in place of secrets, and of whatever LiteLLM reads from the environment.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::at::At;
use super::source::{Kind as NodeKind, Node};

/// How LiteLLM writes a variable.
const PREFIX: &str = "os.environ/";

/// What a variable has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// A secret.
    Secret,
    /// The administrator's key.
    MasterKey,
    /// What keys are hashed with.
    Pepper,
    /// Any text.
    Text,
    /// A provider's URL.
    BaseUrl,
    /// A Postgres URL.
    PostgresUrl,
    /// A Redis URL.
    RedisUrl,
    /// The URL of an issuer's keys.
    KeysUrl,
}

impl Holds {
    /// Whether what is good for `self` is good for `other`.
    fn serves(self, other: Self) -> bool {
        self == other
            || (matches!(other, Self::Secret | Self::Text)
                && !matches!(self, Self::Pepper | Self::MasterKey))
            || (self == Self::MasterKey && other == Self::Secret)
    }
}

/// A variable that the configuration reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it has to hold.
    pub holds: Holds,
    /// The same for a person, and where the value is to be found; never the value itself.
    pub meaning: String,
}

/// The variables of one configuration.
#[derive(Default)]
pub(super) struct Variables {
    used: Vec<Variable>,
    /// Names that the source speaks of, so that no new one gets in their way.
    taken: BTreeSet<String>,
    /// Names of secrets that stood in the source, so that one value gets one variable.
    literals: HashMap<(String, &'static str), String>,
}

impl Variables {
    /// None yet, with the names that `root` speaks of taken.
    pub(super) fn new(root: &Node) -> Self {
        let mut variables = Self::default();
        variables.take_names(root);
        variables
    }

    fn take_names(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::Scalar(text) => {
                self.taken.extend(text.strip_prefix(PREFIX).map(str::to_owned));
            }
            NodeKind::List(items) => items.iter().for_each(|item| self.take_names(item)),
            NodeKind::Map(entries) => {
                for entry in entries {
                    // Keys of `environment_variables`; of others it does no harm.
                    if is_name(&entry.key) {
                        self.taken.insert(entry.key.clone());
                    }
                    self.take_names(&entry.node);
                }
            }
            NodeKind::Null => {}
        }
    }

    /// The variable called `name`, or one like it where that holds something else already.
    pub(super) fn named(&mut self, name: &str, holds: Holds, meaning: &str) -> String {
        let mut candidate = name.to_owned();
        for number in 2.. {
            let known = self.used.iter_mut().find(|variable| variable.name == candidate);
            match known {
                None => {
                    let (name, meaning) = (candidate.clone(), meaning.to_owned());
                    self.used.push(Variable { name, holds, meaning });
                    self.taken.insert(candidate.clone());
                    return candidate;
                }
                Some(known) if known.holds.serves(holds) => return candidate,
                Some(known) if holds.serves(known.holds) => {
                    (known.holds, known.meaning) = (holds, meaning.to_owned());
                    return candidate;
                }
                Some(_) => {}
            }
            candidate = format!("{name}_{number}");
            while self.taken.contains(&candidate)
                && !self.used.iter().any(|variable| variable.name == candidate)
            {
                candidate.push('_');
            }
        }
        candidate
    }

    /// A new variable, called `wanted` or like it, for a value that the source does not name one for.
    pub(super) fn fresh(&mut self, wanted: &str, holds: Holds, meaning: &str) -> String {
        let mut name = wanted.to_owned();
        for number in 2.. {
            if !self.taken.contains(&name) {
                break;
            }
            name = format!("{wanted}_{number}");
        }
        self.taken.insert(name.clone());
        self.used.push(Variable { name: name.clone(), holds, meaning: meaning.to_owned() });
        name
    }

    /// The variable for a secret that stood in the source at `at`. The same value gets the same one.
    pub(super) fn literal(
        &mut self,
        at: &At<'_>,
        value: &str,
        wanted: &'static str,
        holds: Holds,
    ) -> String {
        if let Some(name) = self.literals.get(&(value.to_owned(), wanted)) {
            return name.clone();
        }
        let meaning = format!("the value that stands at {} in LiteLLM's file", at.path);
        let name = self.fresh(wanted, holds, &meaning);
        self.literals.insert((value.to_owned(), wanted), name.clone());
        name
    }

    /// Whether the configuration reads `name`.
    pub(super) fn reads(&self, name: &str) -> bool {
        self.used.iter().any(|variable| variable.name == name)
    }

    pub(super) fn into_used(self) -> Vec<Variable> {
        self.used
    }
}

/// The variable that `os.environ/NAME` names.
pub(super) fn reference(text: &str) -> Option<&str> {
    text.strip_prefix(PREFIX).filter(|name| is_name(name))
}

/// Whether LiteLLM would read `text` from the environment, or from a store of secrets, even if the name
/// can't be one.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with(PREFIX)
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a value looks like a credential, wherever it stands.
pub(super) fn looks_secret(text: &str) -> bool {
    const BEGINNINGS: [&str; 16] = [
        "sk-",
        "pk-",
        "rk-",
        "Bearer ",
        "Basic ",
        "eyJ",
        "AKIA",
        "ASIA",
        "ghp_",
        "github_pat_",
        "hf_",
        "gsk_",
        "xai-",
        "AIza",
        "xoxb-",
        "-----BEGIN",
    ];
    let opaque = text.len() >= 32
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit());
    opaque || BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_usable_name_is_a_reference() {
        assert_eq!(reference("os.environ/OPENAI_API_KEY"), Some("OPENAI_API_KEY"));
        for text in
            ["os.environ/", "os.environ/A-B", "os.environ/1A", "OPENAI_API_KEY", "os.environ"]
        {
            assert_eq!(reference(text), None, "{text}");
        }
    }

    #[test]
    fn a_variable_holds_one_thing() {
        let mut variables = Variables::default();
        assert_eq!(variables.named("X", Holds::Secret, ""), "X");
        assert_eq!(variables.named("X", Holds::BaseUrl, ""), "X");
        assert_eq!(variables.named("X", Holds::Text, ""), "X");
        assert_eq!(variables.named("X", Holds::PostgresUrl, ""), "X_2");
        assert_eq!(variables.named("X", Holds::PostgresUrl, ""), "X_2");
        assert_eq!(variables.fresh("X", Holds::Pepper, ""), "X_3");
        assert_eq!(variables.used.len(), 3);
    }

    #[test]
    fn what_looks_like_a_credential() {
        for text in ["sk-1234", "Bearer x", "abcdefghijklmnopqrstuvwxyz0123456789"] {
            assert!(looks_secret(text), "{text}");
        }
        for text in
            ["true", "org-1234", "my-team", "2024-10-21", "a-rather-long-name-of-some-model"]
        {
            assert!(!looks_secret(text), "{text}");
        }
    }
}
