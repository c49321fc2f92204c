//! What Sluicegate allows: pure decisions about a request's head.
//!
//! This crate decides, the proxy acts. It opens no socket, reads no clock, waits for nothing and
//! knows no proxy library. Its input is an [`http::request::Parts`] and what the listener knows of
//! the [`Connection`]; its output is evidence to go on with, or a [`Denial`].
//!
//! # The phases, in their order
//!
//! | phase | input | evidence | refuses |
//! |---|---|---|---|
//! | [`Pipeline::screen`] | head, connection | [`Screened`]: route, CORS grant, body limit | what nobody may send |
//! | [`Pipeline::identify`] | head | [`Caller`], or what to look up for one | who may not call at all |
//! | [`Authorize::authorize`] | caller, model, facts | [`Permit`] | what neither credential nor policies allow |
//!
//! The body is read between the phases, under the [`BodyLimit`](screen::BodyLimit) that the screen
//! gave. The order within a phase is on the page of [`pipeline`], with the reason for each place.
//!
//! # What is not here
//!
//! Configuration files, time, storage, and anything that changes the request. The built filters are
//! immutable: a new configuration builds a new [`Pipeline`].

pub mod admit;
pub mod authorize;
pub mod call;
pub mod caller;
pub mod denial;
pub mod grant;
pub mod identify;
pub mod pipeline;
pub mod price;
pub mod screen;
#[cfg(test)]
mod testing;
pub mod usage;

pub use authorize::{Authorize, Permit};
pub use call::{Connection, Protocol};
pub use caller::{Bearer, Caller, CallerKind, Claim, KeyIdentity};
pub use denial::{Denial, DenialKind};
pub use pipeline::{Denied, Pipeline, Screened};
pub use usage::Usage;
