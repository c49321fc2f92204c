//! Bounds the look-ups that strangers can cause.
//!
//! A credential that nobody has costs the store a question. Whoever sends made-up ones as fast as they
//! can would keep the store busy, and keep those waiting whose credential is good but not known to this
//! instance yet. So each address has so many failures a minute; past them, unknown credentials from
//! there are refused without asking. Known ones are never counted, and always pass.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache;

/// Failures of one address in a window. Far more than a fleet behind one address has by accident.
const FAILURES: u32 = 300;
/// Starts with an address's first failure.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const ADDRESSES: u64 = 100_000;

/// Failures by address.
pub struct Strangers {
    failures: Cache<IpAddr, Arc<AtomicU32>>,
}

impl Default for Strangers {
    fn default() -> Self {
        let failures = Cache::builder().max_capacity(ADDRESSES).time_to_live(WINDOW).build();
        Self { failures }
    }
}

impl Strangers {
    /// Whether another unknown credential from `peer` may be looked up.
    pub fn may_ask(&self, peer: IpAddr) -> bool {
        let failures = self.failures.get(&network(peer));
        failures.is_none_or(|failures| failures.load(Ordering::Relaxed) < FAILURES)
    }

    /// Counts a credential that nobody has.
    pub fn failed(&self, peer: IpAddr) {
        self.failures.get_with(network(peer), Arc::default).fetch_add(1, Ordering::Relaxed);
    }
}

/// What one person has: an IPv4 address, or the /64 of an IPv6 one (RFC 6177).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_so_many_failures_and_others_have_their_own() {
        let strangers = Strangers::default();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..FAILURES {
            assert!(strangers.may_ask(one));
            strangers.failed(one);
        }
        assert!(!strangers.may_ask(one));
        assert!(strangers.may_ask(other));
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_a_mapped_address_is_the_address() {
        let strangers = Strangers::default();
        for host in 0..FAILURES {
            strangers.failed(address(&format!("2001:db8::{host:x}")));
            strangers.failed(address("::ffff:192.0.2.1"));
        }
        assert!(!strangers.may_ask(address("2001:db8::ffff:1")));
        assert!(strangers.may_ask(address("2001:db8:0:1::1")));
        assert!(!strangers.may_ask(address("192.0.2.1")));
    }
}
