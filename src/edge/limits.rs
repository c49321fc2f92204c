//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::network;

/// A power of two: the low bits of an address's hash choose the shard.
const SHARDS: usize = 64;

/// Counts open connections. Cheap to share; touched once when a connection opens and once when it
/// closes, never by a request.
#[derive(Debug)]
pub struct ConnectionLimits {
    open: AtomicUsize,
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The process has as many connections as it may.
    Total,
    /// This address has as many connections as it may.
    PerAddress,
}

impl Refusal {
    /// The metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Total => "connections",
            Self::PerAddress => "connections_per_ip",
        }
    }
}

/// A connection's place in the counts, given back when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    address: Option<IpAddr>,
}

impl ConnectionLimits {
    /// No connections yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
        })
    }

    /// Open connections now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place. `address` is `None` for peers without one, which only the total limits.
    pub fn acquire(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        per_address: usize,
        total: usize,
    ) -> Result<ConnectionPermit, Refusal> {
        let address = address.map(network);
        if self.open.fetch_add(1, Ordering::Relaxed) >= total {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Total);
        }
        if let Some(address) = address {
            let mut shard = self.shard(&address);
            let count = shard.entry(address).or_insert(0);
            if *count >= per_address {
                drop(shard);
                self.open.fetch_sub(1, Ordering::Relaxed);
                return Err(Refusal::PerAddress);
            }
            *count += 1;
        }
        Ok(ConnectionPermit { limits: self.clone(), address })
    }

    fn shard(&self, address: &IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let index = self.hasher.hash_one(address) as usize % SHARDS;
        // A counter is whole at every step, so a poisoned lock hides nothing broken.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limits.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut count) = self.limits.shard(&address).entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_freed_place_can_be_taken_again() {
        let limits = ConnectionLimits::new();
        let ip = Some(IpAddr::from([10, 0, 0, 1]));
        let first = limits.acquire(ip, 1, 10).unwrap();
        assert_eq!(limits.acquire(ip, 1, 10).unwrap_err(), Refusal::PerAddress);
        drop(first);
        assert!(limits.acquire(ip, 1, 10).is_ok());
    }

    #[test]
    fn a_mapped_address_is_the_same_client() {
        let limits = ConnectionLimits::new();
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let _held = limits.acquire(Some(v4), 1, 10).unwrap();
        assert_eq!(limits.acquire(Some(mapped), 1, 10).unwrap_err(), Refusal::PerAddress);
    }

    #[test]
    fn a_network_of_ipv6_is_the_same_client() {
        let limits = ConnectionLimits::new();
        let [one, two]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|it| it.parse().unwrap());
        let _held = limits.acquire(Some(one), 1, 10).unwrap();
        assert_eq!(limits.acquire(Some(two), 1, 10).unwrap_err(), Refusal::PerAddress);
    }

    proptest! {
        /// Whatever the order of opens and closes, neither limit is passed and nothing leaks.
        #[test]
        fn limits_hold(steps in prop::collection::vec((0u8..4, any::<bool>()), 1..200)) {
            let limits = ConnectionLimits::new();
            let mut held: Vec<(u8, ConnectionPermit)> = Vec::new();
            for (client, open) in steps {
                if open {
                    let mine = held.iter().filter(|(c, _)| *c == client).count();
                    let result = limits.acquire(Some(IpAddr::from([10, 0, 0, client])), 3, 8);
                    prop_assert_eq!(result.is_ok(), mine < 3 && held.len() < 8);
                    if let Ok(permit) = result {
                        held.push((client, permit));
                    }
                } else if let Some(at) = held.iter().position(|(c, _)| *c == client) {
                    held.swap_remove(at);
                }
                prop_assert_eq!(limits.open(), held.len());
            }
            held.clear();
            prop_assert_eq!(limits.open(), 0);
            prop_assert!(limits.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
        }
    }
}
