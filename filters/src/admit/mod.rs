//! How much: limits on requests, tokens, money and parallel requests.
//!
//! | module | what it is |
//! |---|---|
//! | [`quota`] | a limit: of what, for whom, in which window |
//! | [`window`] | when a limit begins anew |
//!
//! The counting is the crate `sluicegate-quota`'s: it needs stores.

pub mod quota;
pub mod window;

pub use quota::{OnLostLease, OnOverrun, OnStoreLoss, Quota, Raise, Scope, ScopeKind, Unit};
pub use window::{Period, Span, Window, Zone};
