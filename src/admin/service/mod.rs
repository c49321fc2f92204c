//! The rules: what both dialects of the admin API do in the end.
//!
//! | module | what it is about |
//! |---|---|
//! | [`keys`] | virtual keys |
//! | [`teams`] | teams and their members |
//! | [`users`] | users |
//! | [`organizations`] | organizations |
//! | [`secret`] | the text of a new key |
//! | [`bounds`] | that nobody gives more than they have |
//! | [`check`] | what a record's fields may hold |
//! | [`pages`] | parts of lists |
//! | [`record`] | what teams, users and organizations have in common |
//!
//! Every change goes the same way: read, edit a copy, check the copy, write the act down, store the copy
//! if nobody has changed the record meanwhile, else begin again.

pub mod bounds;
pub mod check;
pub mod keys;
pub mod organizations;
pub mod pages;
pub mod quotas;
pub mod record;
pub mod secret;
pub mod teams;
pub mod usage;
pub mod users;

use super::error::ApiError;
use crate::stores::StoreError;

/// How often a change begins again because somebody else was quicker.
const ATTEMPTS: usize = 32;

/// What to do after the store refused a change.
fn again(error: StoreError, if_match: Option<i64>, what: &str) -> Result<(), ApiError> {
    match error {
        StoreError::Stale if if_match.is_none() => Ok(()),
        StoreError::Stale => Err(ApiError::stale()),
        StoreError::NotFound => Err(ApiError::not_found(what)),
        other => Err(other.into()),
    }
}

/// Whether the record is the one that the caller has seen.
fn expect(if_match: Option<i64>, version: i64) -> Result<(), ApiError> {
    if if_match.is_some_and(|wanted| wanted != version) { Err(ApiError::stale()) } else { Ok(()) }
}

/// What is to be said when others were quicker every time.
fn too_busy() -> ApiError {
    StoreError::Stale.into()
}

/// The names of those fields that differ.
macro_rules! changes {
    ($before:expr, $after:expr, $($field:ident),+ $(,)?) => {{
        let mut names: Vec<std::borrow::Cow<'static, str>> = Vec::new();
        $(if $before.$field != $after.$field {
            names.push(stringify!($field).into());
        })+
        names
    }};
}
use changes;
