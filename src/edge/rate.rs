//! How often something may happen, for each client's address.
//!
//! Each address has a token bucket, kept as one number: the time at which it is full again (the generic
//! cell rate algorithm). A bucket that is full again needs no memory. So the table has a fixed size, and a
//! place whose bucket is full, or else the one that is nearest to it, is taken for an address that has
//! none. Everything is one atomic exchange: there is no lock, and nothing to clean up.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Addresses that share a set, of which each may take any place.
const WAYS: usize = 8;
/// A power of two: low bits of an address's hash choose the set. 32,768 places of eight bytes in all.
const SETS: usize = 4096;
/// The bits of a place that hold a time in microseconds: nearly nine years.
const TIME: u64 = (1 << 48) - 1;
/// How often an exchange that others come before is tried again. After that the bucket is so busy that one
/// event more or less does not matter.
const TRIES: usize = 64;

/// What one person has: an IPv4 address, or the /64 of an IPv6 one (RFC 6177).
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// So many events at once, and one more each so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    burst: u64,
    /// In microseconds.
    interval: u64,
}

impl Rate {
    /// `burst` events at once, `per_second` in the long run. Both are at least one.
    pub fn per_second(per_second: u64, burst: u64) -> Self {
        Self { burst: burst.max(1), interval: 1_000_000 / per_second.clamp(1, 1_000_000) }
    }

    /// How long an empty bucket takes to be full.
    fn depth(self) -> u64 {
        self.burst.saturating_mul(self.interval).min(TIME / 2)
    }
}

/// A token bucket for each address.
#[derive(Debug)]
pub struct Rates {
    began: Instant,
    hasher: RandomState,
    places: Box<[AtomicU64]>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            hasher: RandomState::new(),
            places: (0..SETS * WAYS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Rates {
    /// Counts one event of `peer` at `now`.
    ///
    /// # Errors
    /// There have been too many: how long until the next may come. It is not counted.
    pub fn take(&self, peer: IpAddr, rate: Rate, now: Instant) -> Result<(), Duration> {
        let now = self.micros(now);
        let (set, tag) = self.set(peer);
        for _ in 0..TRIES {
            let (place, before) = Self::find(set, tag);
            let full_at = if before & !TIME == tag { before & TIME } else { 0 };
            let next = full_at.max(now) + rate.interval;
            if let Some(wait) = (next - now).checked_sub(rate.depth()).filter(|wait| *wait > 0) {
                return Err(Duration::from_micros(wait));
            }
            let after = tag | next & TIME;
            if place
                .compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what fills a bucket in `time`, whether it is there or not. `peer` is then without for as long as
    /// it takes to be there again, but for no longer than `longest`.
    pub fn charge(
        &self,
        peer: IpAddr,
        rate: Rate,
        time: Duration,
        longest: Duration,
        now: Instant,
    ) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(TIME).min(TIME / 4);
        let (now, time, longest) = (self.micros(now), micros(time), micros(longest));
        let (set, tag) = self.set(peer);
        for _ in 0..TRIES {
            let (place, before) = Self::find(set, tag);
            let full_at = if before & !TIME == tag { before & TIME } else { 0 };
            let next = (full_at.max(now) + time).min(now + rate.depth() + longest).max(full_at);
            let after = tag | next.min(TIME);
            if place
                .compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }

    /// Whether [`take`](Self::take) would be granted.
    pub fn has_room(&self, peer: IpAddr, rate: Rate, now: Instant) -> bool {
        let now = self.micros(now);
        let (set, tag) = self.set(peer);
        let (_, before) = Self::find(set, tag);
        let full_at = if before & !TIME == tag { before & TIME } else { 0 };
        full_at.max(now) + rate.interval - now <= rate.depth()
    }

    fn micros(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_micros();
        u64::try_from(since).unwrap_or(TIME).min(TIME / 2)
    }

    /// The places where `peer` may be, and what marks the one where it is. Never zero: that is nobody's.
    fn set(&self, peer: IpAddr) -> (&[AtomicU64], u64) {
        let hash = self.hasher.hash_one(network(peer));
        let first = (hash as usize % SETS) * WAYS;
        (&self.places[first..first + WAYS], (hash | 1 << 48) & !TIME)
    }

    /// The place that `tag` marks; else the one that is missed least, whose bucket is the fullest.
    fn find(set: &[AtomicU64], tag: u64) -> (&AtomicU64, u64) {
        let mut fullest = (&set[0], u64::MAX);
        for place in set {
            let held = place.load(Ordering::Relaxed);
            if held & !TIME == tag {
                return (place, held);
            }
            if held & TIME < fullest.1 & TIME {
                fullest = (place, held);
            }
        }
        fullest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rates, rate) = (Rates::default(), Rate::per_second(10, 3));
        let (one, other, start) = (address("192.0.2.1"), address("192.0.2.2"), rates.began);
        for _ in 0..3 {
            assert!(rates.has_room(one, rate, start));
            assert_eq!(rates.take(one, rate, start), Ok(()));
        }
        assert!(!rates.has_room(one, rate, start));
        assert_eq!(rates.take(one, rate, start), Err(Duration::from_millis(100)));
        assert_eq!(rates.take(other, rate, start), Ok(()), "everybody has their own");
        let later = start + Duration::from_millis(100);
        assert_eq!(rates.take(one, rate, later), Ok(()));
        assert!(rates.take(one, rate, later).is_err());
    }

    #[test]
    fn a_charge_may_be_more_than_there_is_and_ends() {
        let (rates, rate) = (Rates::default(), Rate::per_second(10, 3));
        let (one, other, start) = (address("192.0.2.1"), address("192.0.2.2"), rates.began);
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        rates.charge(one, rate, second, minute, start);
        assert_eq!(rates.take(one, rate, start), Err(second - rate.full_in() + rate.each()));
        assert_eq!(rates.take(other, rate, start), Ok(()));
        for _ in 0..1000 {
            rates.charge(one, rate, second, minute, start);
        }
        let wait = rates.take(one, rate, start).expect_err("nothing is left");
        assert_eq!(wait, minute + rate.each());
        assert_eq!(rates.take(one, rate, start + wait), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_a_mapped_address_is_the_address() {
        assert_eq!(network(address("2001:db8::1:2")), network(address("2001:db8::ffff:1")));
        assert_ne!(network(address("2001:db8:0:1::1")), network(address("2001:db8::1")));
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn whoever_is_over_the_rate_is_not_forgotten_for_those_who_come_once() {
        let (rates, rate) = (Rates::default(), Rate::per_second(1, 1000));
        let (busy, start) = (address("192.0.2.1"), rates.began);
        for _ in 0..1000 {
            rates.take(busy, rate, start).expect("within the burst");
        }
        for n in 0..4 * u32::try_from(SETS * WAYS).unwrap() {
            rates.take(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), rate, start).ok();
        }
        assert!(rates.take(busy, rate, start).is_err());
    }

    #[test]
    fn many_at_once_get_no_more_than_the_burst() {
        let (rates, rate) = (Rates::default(), Rate::per_second(1, 500));
        let (peer, now) = (address("192.0.2.1"), rates.began);
        let granted: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| rates.take(peer, rate, now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Two that come first at the same moment may each get a place.
        assert!((500..=2000).contains(&granted), "{granted}");
        assert!(rates.take(peer, rate, now).is_err());
    }

    impl Rate {
        fn full_in(self) -> Duration {
            Duration::from_micros(self.depth())
        }

        fn each(self) -> Duration {
            Duration::from_micros(self.interval)
        }
    }

    proptest! {
        /// What is charged is paid for in connections, whatever comes between.
        #[test]
        fn charges_count(
            per_second in 1u64..1000, burst in 1u64..100,
            steps in prop::collection::vec((0u64..20_000, any::<bool>(), 0u64..100_000), 1..300),
        ) {
            let (rates, rate) = (Rates::default(), Rate::per_second(per_second, burst));
            let (peer, mut at, mut granted, mut charged) = (address("192.0.2.1"), 0, 0, 0);
            for (pause, charge, micros) in steps {
                at += pause;
                let now = rates.began + Duration::from_micros(at);
                let room = rates.has_room(peer, rate, now);
                if charge {
                    let (time, longest) = (Duration::from_micros(micros), Duration::from_secs(3600));
                    rates.charge(peer, rate, time, longest, now);
                    charged += micros;
                    prop_assert!(room || !rates.has_room(peer, rate, now));
                } else {
                    granted += u64::from(rates.take(peer, rate, now).is_ok());
                }
            }
            // Nothing is granted beyond what there was, and what was charged was there or is owed.
            let full_at = rates.began + Duration::from_micros(at + rate.depth() + charged);
            prop_assert!(granted * rate.interval <= at + rate.depth());
            prop_assert!(rates.has_room(peer, rate, full_at));
        }

        /// Over any time, no more than the burst and what the rate gives.
        #[test]
        fn the_rate_holds(
            per_second in 1u64..5000, burst in 1u64..100,
            pauses in prop::collection::vec(0u64..20_000, 1..300),
        ) {
            let (rates, rate) = (Rates::default(), Rate::per_second(per_second, burst));
            let (peer, mut at, mut granted) = (address("2001:db8::1"), 0, 0);
            for pause in pauses {
                at += pause;
                let now = rates.began + Duration::from_micros(at);
                let room = rates.has_room(peer, rate, now);
                let taken = rates.take(peer, rate, now);
                prop_assert_eq!(room, taken.is_ok());
                granted += u64::from(taken.is_ok());
                if let Err(wait) = taken {
                    prop_assert!(rates.has_room(peer, rate, now + wait));
                }
            }
            prop_assert!(granted <= burst + at / rate.interval);
        }
    }
}
