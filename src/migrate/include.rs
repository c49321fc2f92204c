//! `include`: other files whose keys are joined to those of the first.
//!
//! As LiteLLM does it (<https://docs.litellm.ai/docs/proxy/config_management>): lists are put behind each
//! other, and of anything else the included file's wins.

use std::collections::{HashMap, HashSet};

use super::Migration;
use super::source::{self, Entry, Kind, Node, Outdone, Reading};
use crate::config::Problem;

/// Most files of one configuration.
const MAX_FILES: usize = 64;

const DUPLICATE: &str = "the same key stands in the same place again, and the last one counts";
const REPLACED: &str = "an included file has the same key, and wins";

/// A source with what it includes.
pub(super) struct Joined {
    pub(super) root: Node,
    /// Their names, the first one's first.
    pub(super) files: Vec<String>,
    /// How many values there are in all.
    pub(super) nodes: usize,
    /// The numbers of values that aliases lead to.
    pub(super) shared: HashSet<usize>,
    /// Keys that others outdo, and why.
    pub(super) outdone: Vec<(Outdone, &'static str)>,
}

/// Reads `text`, called `name`, and what it includes.
pub(super) fn join(
    name: &str,
    text: &str,
    read: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Joined, Problem> {
    let mut reading = Reading::default();
    let mut files = vec![name.to_owned()];
    let mut root = source::parse(name, 0, text, &mut reading)?;
    let mut replaced = Vec::new();
    let mut next = 0;
    while let Some((included, id)) = included(&root, next) {
        next += 1;
        if files.len() >= MAX_FILES {
            let message = format!("more than {MAX_FILES} included files");
            return Err(source::problem(name, None, "include", message, None));
        }
        let text = read(&included).map_err(|reason| {
            let message = format!("{} can't be read: {reason}", super::clean(&included));
            let hint = "paths are relative to the file that includes";
            source::problem(name, Some(id), "include", message, Some(hint))
        })?;
        let more = source::parse(&included, files.len(), &text, &mut reading)?;
        files.push(included);
        merge(&mut root, more, &mut replaced);
    }
    let duplicates = reading.outdone.into_iter().map(|outdone| (outdone, DUPLICATE));
    let outdone = duplicates.chain(replaced.into_iter().map(|it| (it, REPLACED))).collect();
    Ok(Joined { root, files, nodes: reading.nodes, shared: reading.shared, outdone })
}

/// The name of included file number `index`, and where it stands.
fn included(root: &Node, index: usize) -> Option<(String, source::Place)> {
    let Kind::Map(entries) = &root.kind else { return None };
    let list = entries.iter().find(|entry| entry.key == "include")?;
    let Kind::List(items) = &list.node.kind else { return None };
    let mut names = items.iter().filter_map(|item| match &item.kind {
        Kind::Scalar(text) if !text.is_empty() => Some((text.clone(), item.place)),
        _ => None,
    });
    names.nth(index)
}

fn merge(root: &mut Node, more: Node, replaced: &mut Vec<Outdone>) {
    let (Kind::Map(into), Kind::Map(more)) = (&mut root.kind, more.kind) else { return };
    let mut known: HashMap<String, usize> =
        into.iter().enumerate().map(|(index, entry)| (entry.key.clone(), index)).collect();
    for entry in more {
        let Some(index) = known.get(&entry.key) else {
            known.insert(entry.key.clone(), into.len());
            into.push(entry);
            continue;
        };
        match (&mut into[*index].node.kind, entry) {
            (Kind::List(items), Entry { node: Node { kind: Kind::List(more), .. }, .. }) => {
                items.extend(more);
            }
            (_, entry) => {
                let before = std::mem::replace(&mut into[*index], entry);
                let path = super::at::join("", &before.key);
                replaced.push(Outdone { path, place: before.place });
            }
        }
    }
}

/// Says what became of `include` itself.
pub(super) fn account(migration: &mut Migration<'_>) {
    let Some(at) = migration.root.get("include") else { return };
    if at.is_list() && at.items().iter().all(|item| item.text().is_some()) {
        migration.accounts.noted(&at, "the files' content is in the one configuration", None);
    } else {
        let message = "is not a list of files";
        migration.accounts.no_equal(&at, message, "list the files, and migrate again");
    }
}
