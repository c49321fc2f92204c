//! `policies`: where the rules of who may do what stand.

use super::{required, value};
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::valid::{Policies, PolicyMode};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["directory", "mode"],
    renamed: &[
        ("path", "directory"),
        ("dir", "directory"),
        ("folder", "directory"),
        ("dry_run", "mode"),
        ("shadow", "mode"),
        ("enforce", "mode"),
    ],
    later: &[],
};

const MODES: [(&str, PolicyMode); 2] =
    [("enforce", PolicyMode::Enforce), ("shadow", PolicyMode::Shadow)];

/// Reads `policies`.
pub(super) fn policies(reader: &mut Reader<'_>, at: Option<Cursor<'_>>) -> Option<Policies> {
    let at = at?;
    let fields = reader.fields(&at, &KEYS);
    let hint = "give the path of a directory with Cedar policies";
    let directory = required(reader, &at, &fields, "directory", hint);
    let directory = directory.and_then(|at| reader.directory(&at));
    let mode = value(reader, Some(&fields), "mode", |reader, at| {
        let mode = reader.choice(at, &MODES)?;
        if mode == PolicyMode::Shadow && reader.production {
            let message = "in shadow mode the policies refuse nothing, in production too";
            let hint = "write `enforce` when their decisions are right";
            reader.report.warning(at.place(), &at.path, message, hint);
        }
        Some(mode)
    });
    Some(Policies { directory: directory?, mode: mode.unwrap_or(PolicyMode::Enforce) })
}
