//! From LiteLLM's `config.yaml` to a configuration of ours, and a report of what became of each value.
//!
//! Pure: text in, text and report out. Nothing is asked of the environment or of a network; included
//! files are handed in by whoever can read them.
//!
//! ```text
//! text -> source (a tree with places and numbers) -> providers, models, limits, ... -> yaml -> text
//!                                                    `-> accounts: what became of each number -> Report
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `source` | reads YAML as PyYAML does |
//! | `include` | joins included files as LiteLLM does |
//! | `known` | keys that nothing is made of, and what that means |
//! | `report` | what became of each value |
//! | `variables` | environment variables in place of secrets |
//! | `providers`, `clouds` | who serves models |
//! | `models`, `routing`, `price` | what callers name, and what happens to a call |
//! | `limits`, `stores`, `access`, `settings`, `mcp` | the sections of the same names |
//! | `yaml` | writes the configuration |
//!
//! What is written loads: a value that our own rules refuse is left out and reported. LiteLLM's keys and
//! what they mean are those of its public documentation, <https://docs.litellm.ai/docs/proxy/configs>.

mod access;
mod at;
mod clouds;
mod include;
mod known;
mod limits;
mod mcp;
mod models;
mod price;
mod providers;
mod report;
mod routing;
mod settings;
mod source;
mod stores;
mod variables;
mod yaml;

pub use report::{Entry, Outcome, Report};
pub use variables::{Holds, Variable};

use crate::config::{Problem, Problems};
use at::{At, clean};
use report::Accounts;
use source::Node;
use variables::Variables;
use yaml::{Map, Yaml};

/// The most values of a configuration that loads, with some room.
const MAX_VALUES: usize = 45_000;

/// A configuration of ours, made of LiteLLM's.
#[derive(Clone, Debug)]
pub struct Migrated {
    /// The configuration: YAML.
    pub config: String,
    /// What became of each value of the source.
    pub report: Report,
}

/// Makes a configuration of LiteLLM's `text`; `name` stands for its file in what is reported. `read`
/// gives the text of an included file, by the name that `include` has it under, or says why it can't.
///
/// # Errors
/// The source, or a file that it includes, is no configuration that LiteLLM could read, or too large.
pub fn litellm(
    name: &str,
    text: &str,
    read: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Migrated, Problems> {
    let joined = include::join(name, text, read).map_err(|problem| Problems(vec![problem]))?;
    let migration = Migration::new(&joined);
    let (document, mut report) = migration.run(&joined);
    let header = format!(
        "# Made of {} by `sluicegate migrate litellm`. Every key is described in\n\
         # docs/configuration.md. Check it with:  sluicegate check --config <this file>\n\n",
        clean(name)
    );
    let config = header + &document.document();
    // One for a deployment that was left out after all is not read.
    report.variables.retain(|variable| is_read(&config, &variable.name));
    if config.len() > source::MAX_BYTES || document.values() > MAX_VALUES {
        let message = "what becomes of it is too large for one configuration".to_owned();
        let hint = "move models into several files, and give each to a gateway of its own";
        let problem: Problem = source::problem(name, None, "", message, Some(hint));
        return Err(Problems(vec![problem]));
    }
    Ok(Migrated { config, report })
}

/// Whether a configuration refers to a variable.
fn is_read(config: &str, name: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let whole = format!("${{{name}}}");
    let reference = format!("env:{name}");
    config.contains(&whole)
        || config.match_indices(&reference).any(|(at, found)| {
            !config.as_bytes().get(at + found.len()).copied().is_some_and(in_name)
        })
}

/// How a value is carried over.
#[derive(Clone, Debug)]
enum Fate {
    /// As it is.
    Carried,
    /// Otherwise, with what is to be known and done about it.
    Changed(String, Option<String>),
}

/// What stands at a place of the source.
enum Read<'n> {
    /// A reference to a variable, by the name that the variable has from now on.
    Variable(String, Fate),
    /// A text.
    Text(&'n str),
}

/// What all sections need.
struct Migration<'n> {
    root: At<'n>,
    accounts: Accounts,
    variables: Variables,
}

impl<'n> Migration<'n> {
    fn new(joined: &'n include::Joined) -> Self {
        let mut accounts = Accounts::new(joined.files.clone(), joined.nodes, joined.shared.clone());
        for (outdone, message) in &joined.outdone {
            accounts.place(outdone.place, &outdone.path, Outcome::NotNeeded, message);
        }
        let root = At::root(&joined.root);
        Self { root, accounts, variables: Variables::new(&joined.root) }
    }

    fn run(mut self, joined: &'n include::Joined) -> (Map, Report) {
        include::account(&mut self);
        let mut providers = providers::Providers::default();
        let groups = models::read(&mut self, &mut providers);
        let defaults = routing::read(&mut self, !groups.is_empty());
        let models = models::write(&mut self, &groups, &defaults);
        let quotas = limits::quotas(&mut self, &groups, &models, &providers);
        let store = stores::store(&mut self);
        let has_store = store.is_some();
        let quota_store = stores::quota_store(&mut self);
        let ledger = stores::ledger(&mut self, has_store);
        let request_limits = settings::request_limits(&mut self);
        let (auth, admin) = access::access(&mut self, has_store);
        let mcp = mcp::mcp(&mut self);
        settings::callbacks(&mut self);
        settings::environment(&mut self);

        let mut root = Map::default();
        root.some("limits", Yaml::Map(request_limits));
        root.some("store", Yaml::Map(store.unwrap_or_default()));
        root.some("quota_store", Yaml::Map(quota_store));
        root.some("ledger", Yaml::Map(ledger));
        root.some("auth", Yaml::Map(auth));
        root.some("admin", Yaml::Map(admin));
        root.some("quotas", Yaml::List(quotas));
        root.some("providers", Yaml::Map(providers.into_yaml()));
        root.some("models", Yaml::Map(models.yaml));
        root.some("mcp", Yaml::Map(mcp));
        let report = self.finish(&joined.root);
        (root, report)
    }

    fn finish(self, root: &Node) -> Report {
        self.accounts.finish(root, self.variables.into_used())
    }

    /// `key` of a section.
    fn in_section(&self, section: &str, key: &str) -> Option<At<'n>> {
        self.root.get(section)?.get(key)
    }

    /// `key` of `router_settings`, which win, or of `litellm_settings`.
    fn routing_setting(&mut self, key: &str) -> Option<At<'n>> {
        let router = self.in_section("router_settings", key);
        let module = self.in_section("litellm_settings", key);
        if let (Some(_), Some(module)) = (&router, &module) {
            self.accounts.not_needed(module, "`router_settings` says the same, and wins");
        }
        router.or(module)
    }

    /// The reference to a secret at `at`. `wanted` is the variable for one that stands in the source.
    fn secret(
        &mut self,
        at: &At<'n>,
        wanted: &'static str,
        holds: Holds,
        meaning: &str,
    ) -> Option<(String, Fate)> {
        let text = match self.read(at, holds, meaning)? {
            Read::Variable(name, fate) => return Some((format!("env:{name}"), fate)),
            Read::Text(text) => text,
        };
        let name = self.variables.literal(at, text, wanted, holds);
        let fate = Fate::Changed(
            "a secret does not stand in the file".to_owned(),
            Some(format!("set {name} to it, then take it out of LiteLLM's file")),
        );
        Some((format!("env:{name}"), fate))
    }

    /// A text that is no secret, perhaps from a variable.
    fn value(&mut self, at: &At<'n>, holds: Holds, meaning: &str) -> Option<(Yaml, Fate)> {
        Some(match self.read(at, holds, meaning)? {
            Read::Variable(name, fate) => (Yaml::Plain(format!("${{{name}}}")), fate),
            Read::Text(text) => (Yaml::Text(text.to_owned()), Fate::Carried),
        })
    }

    /// What stands at `at`. `None`: nothing that can be carried over, which is reported.
    fn read(&mut self, at: &At<'n>, holds: Holds, meaning: &str) -> Option<Read<'n>> {
        let Some(text) = at.text() else {
            let action = "write what it should be, and migrate again";
            self.accounts.no_equal(at, "is not a text", action);
            return None;
        };
        if let Some(name) = variables::reference(text) {
            let found = self.variables.named(name, holds, meaning);
            let fate = renamed(name, &found);
            return Some(Read::Variable(found, fate));
        }
        if variables::is_reference(text) {
            let message = "names no variable that can be";
            self.accounts.no_equal(at, message, "use letters, digits and `_`");
            return None;
        }
        Some(Read::Text(text))
    }

    /// Says that `at` is carried over to `to`.
    fn settle(&mut self, at: &At<'_>, to: &str, fate: &Fate) {
        match fate {
            Fate::Carried => self.accounts.carried(at, to),
            Fate::Changed(message, action) => {
                self.accounts.changed(at, to, message.as_str(), action.as_deref());
            }
        }
    }
}

fn renamed(name: &str, found: &str) -> Fate {
    if name == found {
        return Fate::Carried;
    }
    let message = format!("{name} holds something else already");
    Fate::Changed(message, Some(format!("set {found} to what {name} holds here")))
}

#[cfg(test)]
mod tests;
