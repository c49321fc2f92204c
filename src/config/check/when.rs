//! `models.<name>.targets[].when`: whose requests a target serves.

use http::HeaderName;

use super::access;
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::valid::When;

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["teams", "users", "organizations", "tags", "headers"],
    renamed: &[
        ("team", "teams"),
        ("user", "users"),
        ("organization", "organizations"),
        ("tag", "tags"),
        ("header", "headers"),
    ],
    later: &[],
};

/// Names on one list. Each request is compared with all of them.
const MOST: usize = 64;

/// Reads a target's `when`.
pub(super) fn when(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<When> {
    let fields = reader.fields(at, &KEYS);
    let mut given = 0;
    let mut list = |key| {
        let at = fields.get(key)?;
        given += 1;
        names(reader, &at)
    };
    let mut when = When {
        teams: list("teams").unwrap_or_default(),
        users: list("users").unwrap_or_default(),
        organizations: list("organizations").unwrap_or_default(),
        tags: list("tags").unwrap_or_default(),
        headers: Vec::new(),
    };
    if let Some(at) = fields.get("headers") {
        for (text, at) in reader.map(&at).all() {
            given += 1;
            let header = header(reader, text, &at, &when.headers);
            when.headers.extend(header);
        }
    }
    if given == 0 && !at.is_broken() {
        let hint = "name `teams`, `users`, `organizations`, `tags` or `headers`, or take it out";
        reader.wrong(at, "says nothing", hint);
        return None;
    }
    Some(when)
}

fn header(
    reader: &mut Reader<'_>,
    text: &str,
    at: &Cursor<'_>,
    known: &[(HeaderName, Vec<String>)],
) -> Option<(HeaderName, Vec<String>)> {
    let Ok(name) = text.parse::<HeaderName>() else {
        let hint = "a name has letters, digits and `-`";
        reader.report.error(at.key, &at.path, "not a valid header name", hint);
        return None;
    };
    if access::is_credential(&name) {
        let message = format!("`{name}` carries a credential");
        reader.report.error(at.key, &at.path, message, "name another header");
        return None;
    }
    if known.iter().any(|(other, _)| *other == name) {
        let message = format!("`{name}` stands here already, in other case");
        reader.report.error(at.key, &at.path, message, "take it out");
        return None;
    }
    Some((name, names(reader, at)?))
}

fn names(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Vec<String>> {
    let names = reader.list(at, |reader, at| reader.text(at).map(str::to_owned))?;
    if at.is_empty_list() {
        let hint = "name at least one, or take it out";
        reader.wrong(at, "an empty list, which nobody is on", hint);
    } else if names.len() > MOST {
        reader.wrong(at, format!("{} names", names.len()), format!("write {MOST} at most"));
    }
    Some(names)
}
