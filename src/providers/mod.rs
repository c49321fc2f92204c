//! Who speaks what, and where.

pub mod address;
pub mod catalogue;
pub mod certificate_check;
pub mod credential;
pub mod dialect;
pub mod health_check;
pub mod resolve;
pub mod tls;
pub mod token;
pub mod upstream;

use resolve::Resolvers;
use token::AccessTokens;

/// What reaches providers, and is kept over reloads.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// Their addresses.
    pub resolvers: &'a Resolvers,
    /// Access tokens for them.
    pub tokens: &'a AccessTokens,
}
