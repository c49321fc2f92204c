//! Files of certificates that a configuration names, each with the place of the key that does.
//!
//! Loading a configuration sees that they can be read. What they hold is looked at by
//! [`tls::findings`](crate::tls::findings), which tells of it at these places.

use std::path::PathBuf;

use super::problem::Problem;
use super::report::shorten_path;

/// A PEM file, where a key names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Where it is.
    pub path: PathBuf,
    /// The place of what there may be to say, still without words.
    at: Problem,
    /// What to call it there, where that is not plain.
    what: String,
}

/// Files that are of use together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemFiles {
    /// A certificate with its chain, and its key.
    Pair {
        /// The certificate first, then who signed it.
        certificate: Named,
        /// The private key.
        key: Named,
    },
    /// Whoever may have signed a certificate.
    Authorities(Named),
}

impl Named {
    pub(super) fn new(path: PathBuf, at: Problem) -> Self {
        Self { path, at, what: String::new() }
    }

    /// The same, of which is said what it is: its key names others as well.
    pub(super) fn said_of(self, what: String) -> Self {
        Self { what, ..self }
    }

    /// What there is to say of it.
    pub fn problem(&self, message: &str, hint: Option<&str>) -> Problem {
        let message = format!("{}{}: {message}", self.what, shorten_path(&self.path));
        Problem { message, hint: hint.map(str::to_owned), ..self.at.clone() }
    }
}
