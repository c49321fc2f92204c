//! The servers of a configuration, and what is known of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::catalog::{Catalog, Look, Tools};
use super::threads::Threads;
use super::upstream::stdio::Programs;
use super::upstream::{Answer, Call, Failure, Upstream};
use crate::config::valid::mcp::{Mcp, Target, Transport};
use crate::overload::Held;

/// Why calls of a server failed, in words.
pub const REASONS: [&str; 8] = [
    "unreachable",
    "unauthorized",
    "status",
    "broken",
    "malformed",
    "too_long",
    "timed_out",
    "no_room",
];

/// The servers, by name.
#[derive(Debug, Default)]
pub struct Servers {
    by_name: BTreeMap<String, Arc<Server>>,
    /// Those of all generations: what a reload takes out may still run.
    programs: Arc<Programs>,
    threads: Arc<Threads>,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// What is configured of it.
    pub target: Target,
    upstream: Upstream,
    catalog: Catalog,
    threads: Arc<Threads>,
    /// Whether it answered when it was asked last.
    up: AtomicBool,
    failures: [AtomicU64; REASONS.len()],
}

/// A server that can't be made ready.
#[derive(Debug, thiserror::Error)]
#[error("mcp.targets.{name}: {message}")]
pub struct ServerError {
    /// Its name.
    pub name: String,
    /// What is in the way.
    pub message: String,
}

impl Servers {
    /// Those of a configuration. One that is as it was `before` is the same, with its connections, its
    /// process and what is known of it. One that was changed begins anew, but for the count of its failures.
    ///
    /// # Errors
    /// A certificate or an authority can't be used.
    pub fn build(mcp: &Mcp, before: Option<&Self>) -> Result<Self, ServerError> {
        let mut by_name = BTreeMap::new();
        let programs = before.map(|before| before.programs.clone()).unwrap_or_default();
        let threads = before.map(|before| before.threads.clone()).unwrap_or_default();
        for (name, target) in &mcp.targets {
            let same = before.and_then(|before| before.by_name.get(name));
            let server = match same.filter(|before| before.target.is_same(target)) {
                Some(server) => server.clone(),
                None => Arc::new(Server::new(target, &programs, &threads, same.map(Arc::as_ref))?),
            };
            by_name.insert(name.clone(), server);
        }
        Ok(Self { by_name, programs, threads })
    }

    /// A server.
    pub fn get(&self, name: &str) -> Option<&Arc<Server>> {
        self.by_name.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.by_name.values()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The programs of servers that run, those included that a reload has taken out.
    pub fn programs(&self) -> &Arc<Programs> {
        &self.programs
    }
}

impl Server {
    fn new(
        target: &Target,
        programs: &Arc<Programs>,
        threads: &Arc<Threads>,
        before: Option<&Self>,
    ) -> Result<Self, ServerError> {
        let upstream = Upstream::new(target, programs)
            .map_err(|message| ServerError { name: target.name.clone(), message })?;
        Ok(Self {
            target: target.clone(),
            upstream,
            catalog: Catalog::default(),
            threads: threads.clone(),
            up: AtomicBool::new(true),
            // A counter that went back would say nothing until it is where it was.
            failures: before.map(Self::failures).unwrap_or_default().map(AtomicU64::new),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.target.name
    }

    /// Whether it is behind a URL.
    pub fn is_http(&self) -> bool {
        matches!(self.target.transport, Transport::Http(_))
    }

    /// Whether a tool of this name would be offered, if the server has it.
    pub fn offers(&self, tool: &str) -> bool {
        self.target.tools.as_ref().is_none_or(|tools| tools.contains(tool))
    }

    /// Its tools. A first list is waited for as long as `patience`.
    ///
    /// # Errors
    /// It gives no list, and never gave one.
    pub async fn tools(self: &Arc<Self>, patience: Duration) -> Result<Arc<Tools>, Failure> {
        self.look().tools(Some(patience)).await
    }

    /// What can be said of its tools now. Where they have to be asked for, that is done by itself.
    pub fn look(self: &Arc<Self>) -> Look {
        self.catalog.look(&self.upstream, |tell| {
            let server = self.clone();
            self.threads.spawn(async move {
                let note = |failure: Option<&Failure>| {
                    if let Some(failure) = failure {
                        tracing::warn!(server = server.name(), %failure, "no list of tools");
                    }
                    server.note(failure);
                };
                server.catalog.ask(&server.upstream, &server.target, tell, note).await;
            });
        })
    }

    /// Its tools as they were last known.
    pub fn known_tools(&self) -> Option<Arc<Tools>> {
        self.catalog.known()
    }

    /// Sends it a request. What is gathered of the answer counts in `held` until it is handed over.
    ///
    /// # Errors
    /// It did not arrive, as far as can be known.
    pub async fn request(&self, call: Call, held: Held) -> Result<Answer, Failure> {
        self.upstream.request(call, Some(held)).await
    }

    /// Notes that it answered, or how it did not.
    pub fn note(&self, failure: Option<&Failure>) {
        // Where there is no room for its answer, it gave one.
        let up = matches!(failure, None | Some(Failure::NoRoom));
        self.up.store(up, Ordering::Relaxed);
        if let Some(failure) = failure {
            self.failures[failure.index()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it answered when it was asked last. One that nobody has asked is taken to be well.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// How often it failed, by [`REASONS`].
    pub fn failures(&self) -> [u64; REASONS.len()] {
        self.failures.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Failure {
    fn index(&self) -> usize {
        match self {
            Self::Unreachable(_) => 0,
            Self::Unauthorized(_) => 1,
            Self::Status { .. } => 2,
            Self::Broken(_) => 3,
            Self::Malformed(_) => 4,
            Self::TooLong => 5,
            Self::TimedOut => 6,
            Self::NoRoom => 7,
        }
    }

    /// Its word, one of [`REASONS`]: all that a caller is told of it.
    pub fn word(&self) -> &'static str {
        REASONS[self.index()]
    }
}
