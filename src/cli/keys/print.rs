//! What a person, or a script, gets to read.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::client::ClientError;
use super::text;

/// Columns of a list: the name in the answer, the heading.
const COLUMNS: [(&str, &str); 6] = [
    ("id", "ID"),
    ("hint", "HINT"),
    ("alias", "ALIAS"),
    ("user", "USER"),
    ("team", "TEAM"),
    ("expires_at", "EXPIRES"),
];

/// A key that was just made: its text alone on standard output, so that a script can take it.
pub fn secret(made: &Value, json: bool) -> Result<(), ClientError> {
    if json {
        return object(made);
    }
    eprintln!("key {} ({}): shown this once", text(made, "id"), text(made, "hint"));
    written(writeln!(io::stdout().lock(), "{}", text(made, "key")))
}

/// One key, a field a line.
pub fn one(key: &Value, json: bool) -> Result<(), ClientError> {
    if json {
        return object(key);
    }
    let mut out = io::stdout().lock();
    for (name, value) in key.as_object().into_iter().flatten() {
        let empty = match value {
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if !empty {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            written(writeln!(out, "{name}: {}", plain(&value)))?;
        }
    }
    Ok(())
}

/// Several keys, one a line.
pub fn list(keys: &[Value], json: bool) -> Result<(), ClientError> {
    if json {
        return object(&json!(keys));
    }
    let cell = |key: &Value, name: &str| match text(key, name) {
        "" => "-".to_owned(),
        value => plain(value),
    };
    let widths = COLUMNS.map(|(name, heading)| {
        let widest = keys.iter().map(|key| cell(key, name).chars().count()).max();
        widest.unwrap_or_default().max(heading.len())
    });
    let mut out = io::stdout().lock();
    let mut line = |cells: [String; 6], state: &str| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
        written(writeln!(out, "{}{state}", padded.collect::<String>()))
    };
    line(COLUMNS.map(|(_, heading)| heading.to_owned()), "STATE")?;
    for key in keys {
        let state = if key["blocked"] == true { "blocked" } else { "active" };
        line(COLUMNS.map(|(name, _)| cell(key, name)), state)?;
    }
    Ok(())
}

/// Says that a key is gone.
pub fn deleted(key: &str, json: bool) -> Result<(), ClientError> {
    if json {
        return object(&json!({"deleted": key}));
    }
    written(writeln!(io::stdout().lock(), "deleted: {}", plain(key)))
}

fn object(value: &Value) -> Result<(), ClientError> {
    written(writeln!(io::stdout().lock(), "{value:#}"))
}

/// Without what could command the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn written(result: io::Result<()>) -> Result<(), ClientError> {
    result.map_err(|error| ClientError::Failed(format!("can't write: {error}")))
}
