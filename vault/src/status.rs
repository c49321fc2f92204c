//! Figures for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::error::VaultError;

/// What the server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A token for a credential.
    Login,
    /// What a token may, and how long.
    Lookup,
    /// More time for a token.
    Renew,
    /// A secret.
    Read,
    /// The end of a token.
    Revoke,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Login, Self::Lookup, Self::Renew, Self::Read, Self::Revoke];

    /// As a label has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Lookup => "lookup",
            Self::Renew => "renew",
            Self::Read => "read",
            Self::Revoke => "revoke",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// The server does not let us.
    Denied,
    /// It has no such thing.
    NotFound,
    /// It can't now: sealed, a standby, or failing.
    Unavailable,
    /// There was no answer.
    Unreachable,
    /// There was an answer of no use.
    Invalid,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Denied,
        Self::NotFound,
        Self::Unavailable,
        Self::Unreachable,
        Self::Invalid,
    ];

    /// As a label has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
        }
    }

    fn of(error: &VaultError) -> Self {
        match error {
            VaultError::Unreachable(_) | VaultError::TimedOut => Self::Unreachable,
            VaultError::Sealed
            | VaultError::Standby(_)
            | VaultError::Redirected
            | VaultError::Failing(_) => Self::Unavailable,
            VaultError::NotFound { .. } => Self::NotFound,
            VaultError::TooLarge | VaultError::Garbled(_) => Self::Invalid,
            _ => Self::Denied,
        }
    }
}

/// How a client is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether the last thing that the server was asked for was not kept from us by its being away,
    /// sealed or the like, nor by a login that it refuses. Before anything is asked for, nothing is in
    /// the way.
    pub up: bool,
    /// When the token expires, if there is one and it does.
    pub token_expires: Option<SystemTime>,
    /// Requests since the start, by what they were for and what became of them.
    pub requests: Vec<(Operation, Outcome, u64)>,
    /// When the values were last read, all of them and without a failure.
    pub refreshed: Option<SystemTime>,
    /// What was last in the way, if it still is.
    pub error: Option<VaultError>,
}

impl Status {
    /// Requests of one kind that ended in one way.
    pub fn count(&self, operation: Operation, outcome: Outcome) -> u64 {
        let counted = |(a, b, count): &(_, _, u64)| {
            if (*a, *b) == (operation, outcome) { *count } else { 0 }
        };
        self.requests.iter().map(counted).sum()
    }
}

/// Keeps the figures.
#[derive(Default)]
pub(crate) struct Figures {
    requests: [[AtomicU64; Outcome::ALL.len()]; Operation::ALL.len()],
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    down: bool,
    token_expires: Option<SystemTime>,
    refreshed: Option<SystemTime>,
    error: Option<VaultError>,
}

impl Figures {
    pub(crate) fn count<T>(&self, operation: Operation, result: &Result<T, VaultError>) {
        let outcome = result.as_ref().map_or_else(Outcome::of, |_| Outcome::Ok);
        self.requests[operation as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The server has answered what could be answered.
    pub(crate) fn answered(&self) {
        self.now.lock().down = false;
    }

    /// Nothing can be had now. Says whether that is news.
    pub(crate) fn failed(&self, error: &VaultError) -> bool {
        let mut now = self.now.lock();
        now.down = true;
        now.error.replace(error.clone()).as_ref() != Some(error)
    }

    /// A value can't be had, though the server answers. Says whether that is news.
    pub(crate) fn missed(&self, error: &VaultError) -> bool {
        self.now.lock().error.replace(error.clone()).as_ref() != Some(error)
    }

    /// All is well. Says whether that is news.
    pub(crate) fn refreshed(&self) -> bool {
        let mut now = self.now.lock();
        now.down = false;
        now.refreshed = Some(SystemTime::now());
        now.error.take().is_some()
    }

    /// How long the token is good, from now.
    pub(crate) fn token(&self, left: Option<Duration>) {
        self.now.lock().token_expires = left.map(|left| SystemTime::now() + left);
    }

    pub(crate) fn status(&self) -> Status {
        let requests = Operation::ALL.into_iter().flat_map(|operation| {
            Outcome::ALL.into_iter().map(move |outcome| {
                let count = &self.requests[operation as usize][outcome as usize];
                (operation, outcome, count.load(Ordering::Relaxed))
            })
        });
        let requests = requests.collect();
        let now = self.now.lock();
        Status {
            up: !now.down,
            token_expires: now.token_expires,
            requests,
            refreshed: now.refreshed,
            error: now.error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_once_and_by_name() {
        let figures = Figures::default();
        figures.count(Operation::Read, &Ok(()));
        figures.count::<()>(Operation::Read, &Err(VaultError::Sealed));
        figures.count::<()>(Operation::Login, &Err(VaultError::TokenRefused));
        let status = figures.status();
        assert_eq!(status.count(Operation::Read, Outcome::Ok), 1);
        assert_eq!(status.count(Operation::Read, Outcome::Unavailable), 1);
        assert_eq!(status.count(Operation::Login, Outcome::Denied), 1);
        assert_eq!(status.requests.iter().map(|(_, _, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn the_same_trouble_is_news_once() {
        let figures = Figures::default();
        assert!(figures.failed(&VaultError::Sealed));
        assert!(!figures.failed(&VaultError::Sealed));
        assert!(figures.failed(&VaultError::TimedOut));
        assert!(!figures.status().up);
        assert!(figures.refreshed());
        assert!(!figures.refreshed());
        assert!(figures.status().up && figures.status().error.is_none());
    }
}
