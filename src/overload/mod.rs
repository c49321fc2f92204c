//! How much the process takes on at once: requests, bytes of their bodies, and requests of one address.
//!
//! Health routes and the other listeners are not under these limits: whoever watches an overloaded
//! process must be able to see it.

mod bytes;
mod places;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::bytes::{BodyBytes, Held};
pub use self::places::{Place, Places};
use crate::config::valid::Limits;
use crate::edge::Rates;

/// Why a request was turned away, though nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// No place is free, and as many wait as may.
    QueueFull,
    /// It has waited for as long as may be.
    QueueTimeout,
    /// Its body does not fit beside those that are held.
    BufferedBytes,
}

impl Shed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::QueueTimeout, Self::BufferedBytes];

    /// The metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::BufferedBytes => "buffered_bytes",
        }
    }
}

/// What the process takes on. It outlives generations of the configuration.
#[derive(Debug, Default)]
pub struct Overload {
    /// Requests for inference.
    pub places: Arc<Places>,
    /// Bytes of their bodies.
    pub bytes: Arc<BodyBytes>,
    /// Requests of each address.
    pub addresses: Rates,
    shed: [AtomicU64; Shed::ALL.len()],
}

impl Overload {
    /// Puts limits in force.
    pub fn configure(&self, limits: &Limits) {
        self.places.resize(limits.concurrent_requests);
        let largest = limits.routes.values().map(|route| route.request_size);
        let largest = largest.fold(limits.request_size, u64::max);
        let bytes = limits
            .buffered_bytes
            .unwrap_or_else(|| (memory().unwrap_or(SOME_MEMORY) / 4).max(LEAST_BYTES));
        self.bytes.limit_to(bytes.max(largest));
    }

    /// Counts a request that is turned away.
    pub fn shed(&self, why: Shed) {
        self.shed[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were turned away for `why`.
    pub fn count(&self, why: Shed) -> u64 {
        self.shed[why as usize].load(Ordering::Relaxed)
    }
}

/// Bodies that fit in any case where nobody says how many bytes there may be.
const LEAST_BYTES: u64 = 64 << 20;
/// The memory of a machine that does not tell.
const SOME_MEMORY: u64 = 1 << 30;

/// The memory that this process may use, in bytes: what the machine has, or what its control group may. `None`:
/// nobody tells.
pub fn memory() -> Option<u64> {
    let file = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = file(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let groups = file(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let group = group_limit(&groups, Path::new("/sys/fs/cgroup"));
    machine.into_iter().chain(group).min()
}

/// The limit of the control groups that `groups` (`/proc/self/cgroup`) names, of either version.
fn group_limit(groups: &str, mounted: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, own) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (root, name) = match controllers {
            "" => (mounted.to_owned(), "memory.max"),
            version_1 if version_1.split(',').any(|controller| controller == "memory") => {
                (mounted.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let of =
            |at: &Path| std::fs::read_to_string(at.join(name)).ok()?.trim().parse::<u64>().ok();
        // The nearest limit above is as good as one's own: the least of them counts. Within a container of
        // version 1, its own is at the root, whatever the path.
        root.join(own).ancestors().take_while(|at| at.starts_with(&root)).filter_map(of).min()
    });
    limits.min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_the_system_says() {
        assert_eq!(total("MemTotal:       24000 kB\nMemFree: 1 kB\n"), Some(24_576_000));
        assert_eq!(total("MemTotal: many kB\n"), None);
        assert_eq!(total(""), None);
        assert!(memory().is_some_and(|bytes| bytes > 0));
    }
    #[test]
    fn the_least_limit_of_a_group_and_those_above_it_counts() {
        let directory = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| group_limit(groups, directory.path());
        put("pod/memory.max", "1000\n");
        put("pod/own/memory.max", "max\n");
        assert_eq!(limit("0::/pod/own\n"), Some(1000));
        assert_eq!(limit("0::/pod/own/sub\n"), Some(1000));
        assert_eq!(limit("0::/\n"), None);
        put("memory/memory.limit_in_bytes", "3000\n");
        put("memory/docker/x/memory.limit_in_bytes", "2000\n");
        // Of version 1, as a machine shows it and as a container does.
        assert_eq!(limit("5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n"), Some(2000));
        assert_eq!(limit("4:memory:/docker/not-shown\n1:name=systemd:/\n"), Some(3000));
        assert_eq!(limit("4:memory:/docker/x\n0::/pod\n"), Some(1000));
        assert_eq!(limit("nonsense\n4:memory\n"), None);
    }
}
