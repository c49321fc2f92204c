//! The issuers of one configuration: whose tokens are trusted, and by which keys.

use std::sync::Arc;

use sluicegate_filters::identify::jwt::{JwtError, Verified, Verifier};

use super::jwks::IssuerKeys;

/// Verifies tokens. Generations whose issuers are the same share one.
pub struct Issuers {
    verifier: Verifier,
    keys: IssuerKeys,
    /// The first generation that has it: tells it from those of other issuers.
    since: u64,
}

impl Issuers {
    /// `keys` are those of the verifier's issuers, in their order.
    pub fn new(verifier: Verifier, keys: IssuerKeys, since: u64) -> Self {
        Self { verifier, keys, since }
    }

    /// The generation from which on these issuers are trusted.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The issuers' keys.
    pub fn keys(&self) -> &IssuerKeys {
        &self.keys
    }

    /// Verifies a token at `now` (milliseconds since the epoch). If newer keys could make a difference, they are
    /// fetched first, as far as that has not been done just before.
    ///
    /// # Errors
    /// Why the token is refused.
    pub async fn verify(&self, token: &str, now: i64) -> Result<Verified, JwtError> {
        let keys = |issuer| self.keys.current(issuer);
        let verify = || self.verifier.verify(token.as_bytes(), &keys, now);
        let first = verify();
        let Some(issuer) = first.as_ref().err().and_then(JwtError::worth_refetching) else {
            return first;
        };
        let before = self.keys.current(issuer);
        self.keys.refetch(issuer).await;
        let after = self.keys.current(issuer);
        let same = match (&before, &after) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (None, None) => true,
            _ => false,
        };
        if same { first } else { verify() }
    }
}
