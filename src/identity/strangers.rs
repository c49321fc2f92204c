//! Bounds the look-ups that strangers can cause.
//!
//! A credential that nobody has costs the store a question. Whoever sends made-up ones as fast as they
//! can would keep the store busy, and keep those waiting whose credential is good but not known to this
//! instance yet. So each address has so many failures; past them, unknown credentials from there are
//! refused without asking. Known ones are never counted, and always pass.

use std::net::IpAddr;
use std::time::Instant;

use crate::edge::{Rate, Rates};

/// Failures of one address at once. Far more than a fleet behind one address has by accident.
const FAILURES: u64 = 300;
/// And each second.
const PER_SECOND: u64 = 5;

/// Failures by address.
#[derive(Default)]
pub struct Strangers {
    failures: Rates,
}

impl Strangers {
    /// Whether another unknown credential from `peer` may be looked up.
    pub fn may_ask(&self, peer: IpAddr) -> bool {
        self.failures.has_room(peer, rate(), Instant::now())
    }

    /// Counts a credential that nobody has.
    pub fn failed(&self, peer: IpAddr) {
        // Those who were let in at the same moment may be too many; the bucket is empty then.
        self.failures.take(peer, rate(), Instant::now()).ok();
    }
}

fn rate() -> Rate {
    Rate::per_second(PER_SECOND, FAILURES)
}
