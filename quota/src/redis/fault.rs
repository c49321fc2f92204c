//! What has gone wrong, and whether it passes by itself.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::QuotaStoreError;

/// States of a server that end: a failover, a start, an operator's act, a lack of memory or disk.
const PASSING: [&str; 13] = [
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "NOREPLICAS",
    "MISCONF",
    "OOM",
    "BUSY",
    "UNKILLABLE",
    "UNBLOCKED",
];

/// What to tell of an error. A server's words about a script name no values, and those about
/// credentials are left out.
pub fn fault(error: &RedisError) -> QuotaStoreError {
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::AuthenticationFailed => broken("it does not take our user name and password"),
        // Of a long command, it may say no more than that who sends it is nobody yet.
        _ if ["NOAUTH", "WRONGPASS"].contains(&code) || detail.contains("unauthenticated") => {
            broken("it does not take our user name and password")
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            broken("our user lacks a right; docs/stores.md says which it needs")
        }
        ErrorKind::Server(_) | ErrorKind::Extension => match passing(code, detail) {
            Some(code) => unavailable(&format!("it answers {code}")),
            None => broken(&format!("{code} {detail}")),
        },
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => unavailable(&error.to_string()),
        _ => broken(&error.to_string()),
    }
}

/// Older servers tell of an error in a script as of any other, with its code among the words.
fn passing(code: &str, detail: &str) -> Option<&'static str> {
    let among = |known: &&&str| {
        detail.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == **known)
    };
    let known = PASSING.iter().find(|known| **known == code);
    known.or_else(|| PASSING.iter().find(among)).copied()
}

pub fn unavailable(why: &str) -> QuotaStoreError {
    QuotaStoreError::Unavailable(format!("Redis: {why}"))
}

pub fn broken(why: &str) -> QuotaStoreError {
    QuotaStoreError::Broken(format!("Redis: {why}"))
}
