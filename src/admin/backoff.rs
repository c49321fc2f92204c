//! Slows down whoever guesses credentials: after a few wrong ones an address is refused for a time that
//! doubles with each further one.
//!
//! While an address is refused its credentials are not looked at, right ones neither: otherwise the
//! refusal would tell nothing but "go on". What arrives meanwhile does not prolong it, so nobody can be
//! locked out for ever by somebody behind the same address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::edge::network;

/// Wrong credentials that cost nothing.
const FREE: u32 = 4;
/// The first refusal, in milliseconds.
const FIRST: i64 = 1_000;
/// The longest refusal, in milliseconds.
const LONGEST: i64 = 15 * 60_000;
/// After so many milliseconds without a wrong credential all is forgotten.
const MEMORY: i64 = 60 * 60_000;
/// Addresses that are remembered. Beyond it the one that has been quiet for longest is forgotten.
const ADDRESSES: usize = 4096;

/// What is remembered of the addresses that sent wrong credentials.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: i64,
    refused_until: i64,
}

impl Backoff {
    /// Whether `peer` is to be refused at `now` (milliseconds); if so, for how many seconds more.
    pub fn refused_for(&self, peer: IpAddr, now: i64) -> Option<u32> {
        let left = self.lock().get(&network(peer))?.refused_until - now;
        let seconds = u64::try_from(left).unwrap_or_default().div_ceil(1000);
        (left > 0).then(|| u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Notes a wrong credential.
    pub fn failed(&self, peer: IpAddr, now: i64) {
        let mut failures = self.lock();
        let subject = network(peer);
        if !failures.contains_key(&subject) && failures.len() >= ADDRESSES {
            failures.retain(|_, failure| now - failure.last < MEMORY);
            let quietest = failures.iter().min_by_key(|(_, failure)| failure.last);
            if failures.len() >= ADDRESSES
                && let Some(quietest) = quietest.map(|(address, _)| *address)
            {
                failures.remove(&quietest);
            }
        }
        let entry =
            failures.entry(subject).or_insert(Failures { count: 0, last: now, refused_until: 0 });
        if now - entry.last >= MEMORY {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        if let Some(doublings) = entry.count.checked_sub(FREE + 1) {
            let refusal = FIRST.checked_shl(doublings.min(20)).unwrap_or(LONGEST).min(LONGEST);
            entry.refused_until = now + refusal;
        }
    }

    /// Notes a right credential: all before it is forgotten.
    pub fn succeeded(&self, peer: IpAddr) {
        self.lock().remove(&network(peer));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn refusals_double_up_to_the_longest() {
        let (backoff, peer) = (Backoff::default(), address("192.0.2.1"));
        for _ in 0..FREE {
            backoff.failed(peer, 0);
            assert_eq!(backoff.refused_for(peer, 0), None);
        }
        let mut now = 0;
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] {
            backoff.failed(peer, now);
            assert_eq!(backoff.refused_for(peer, now), Some(expected));
            now += i64::from(expected) * 1000;
            assert_eq!(backoff.refused_for(peer, now), None, "over after {expected} s");
        }
        assert_eq!(backoff.refused_for(address("192.0.2.2"), now), None, "somebody else");
    }

    #[test]
    fn success_and_an_hour_of_quiet_clear_it() {
        let (backoff, peer) = (Backoff::default(), address("192.0.2.1"));
        (0..9).for_each(|_| backoff.failed(peer, 0));
        backoff.succeeded(peer);
        backoff.failed(peer, 0);
        assert_eq!(backoff.refused_for(peer, 0), None);
        (0..9).for_each(|_| backoff.failed(peer, 0));
        backoff.failed(peer, MEMORY);
        assert_eq!(backoff.refused_for(peer, MEMORY), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_mapped_ipv4_is_ipv4() {
        let backoff = Backoff::default();
        for host in 1..=8 {
            backoff.failed(address(&format!("2001:db8::{host}")), 0);
        }
        assert!(backoff.refused_for(address("2001:db8::ffff"), 0).is_some());
        assert!(backoff.refused_for(address("2001:db8:0:1::1"), 0).is_none());
        (0..8).for_each(|_| backoff.failed(address("::ffff:192.0.2.1"), 0));
        assert!(backoff.refused_for(address("192.0.2.1"), 0).is_some());
    }

    #[test]
    fn memory_is_bounded_and_the_quietest_goes_first() {
        let backoff = Backoff::default();
        let guesser = address("192.0.2.1");
        for n in 0..2 * u32::try_from(ADDRESSES).unwrap() {
            backoff.failed(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), i64::from(n));
            backoff.failed(guesser, i64::from(n));
        }
        assert_eq!(backoff.lock().len(), ADDRESSES);
        assert!(backoff.refused_for(guesser, 0).is_some());
    }

    proptest! {
        /// However it guesses, an address gets few tries: its refusals add up to nearly all the time.
        #[test]
        fn nobody_gets_many_tries(pauses in proptest::collection::vec(0..120_000i64, 1..300)) {
            let (backoff, peer) = (Backoff::default(), address("192.0.2.1"));
            let (mut now, mut tries) = (0, 0);
            for pause in pauses {
                now += pause;
                if backoff.refused_for(peer, now).is_none() {
                    backoff.failed(peer, now);
                    tries += 1;
                }
            }
            let hours = now / 3_600_000 + 1;
            prop_assert!(tries <= 14 + hours * 4 + 4, "{tries} tries in {hours} h");
        }
    }
}
