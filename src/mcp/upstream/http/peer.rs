//! What a handshake found out of a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use http::HeaderName;
use http::header::{HeaderMap, HeaderValue};

use super::link::Link;
use crate::mcp::request::PROTOCOL_VERSION;
use crate::mcp::upstream::Failure;

/// Which session a request belongs to.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The longest name of a session.
const LONGEST_SESSION_ID: usize = 1_024;

/// Failures in a row that may come of another protocol, after which the server is asked anew which it speaks.
const MOST_FAILURES: u32 = 3;

/// What a handshake found out of a server.
#[derive(Debug)]
pub struct Peer {
    /// `None`: it speaks [`STATELESS`](crate::mcp::upstream::STATELESS).
    session: Option<Session>,
    failures: AtomicU32,
}

/// What was agreed on with a server of the era of sessions. It may want none, and then there is only the
/// version. Dropped, the server is told that it is over.
pub struct Session {
    link: Arc<Link>,
    version: &'static str,
    id: Option<HeaderValue>,
    lost: AtomicBool,
}

impl Peer {
    /// A server.
    pub fn new(session: Option<Session>) -> Self {
        Self { session, failures: AtomicU32::new(0) }
    }

    /// The session, with a server of that era.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether the server has to be asked anew what it speaks.
    pub fn is_over(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= MOST_FAILURES
    }

    /// Notes an answer.
    pub fn answered(&self) {
        // One that is over stays so.
        let more = |failures| (failures < MOST_FAILURES).then_some(0);
        let _before = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Notes that there was none.
    pub fn failed(&self, why: &Failure) {
        if hints_at_another_era(why) {
            let more = |failures: u32| Some(failures.saturating_add(1));
            let _before = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    /// Notes that the server said that it speaks something else by now.
    pub fn outdated(&self) {
        self.failures.store(MOST_FAILURES, Ordering::Relaxed);
    }
}

/// Whether a server that speaks another protocol may answer so. One that is down, overloaded, refuses the
/// credential or takes too long says nothing of what it speaks.
pub fn hints_at_another_era(why: &Failure) -> bool {
    match why {
        Failure::Malformed(_) => true,
        Failure::Status { status, .. } => {
            matches!(status, 400..=501) && !matches!(status, 408 | 425 | 429)
        }
        _ => false,
    }
}

impl Session {
    /// A session of a server that gave it this name, if any.
    ///
    /// # Errors
    /// The name is none.
    pub fn new(
        link: Arc<Link>,
        version: &'static str,
        mut id: Option<HeaderValue>,
    ) -> Result<Self, Failure> {
        if let Some(id) = &mut id {
            let text = id.as_bytes();
            let visible = text.iter().all(|byte| matches!(byte, 0x21..=0x7E));
            if text.is_empty() || text.len() > LONGEST_SESSION_ID || !visible {
                return Err(Failure::Malformed("the session's id can't be one".to_owned()));
            }
            // Who has it can speak in it.
            id.set_sensitive(true);
        }
        Ok(Self { link, version, id, lost: AtomicBool::new(false) })
    }

    /// Whether the server keeps something under a name, and can lose it.
    pub fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Sets the headers of what is sent in it.
    pub fn identify(&self, headers: &mut HeaderMap) {
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(self.version));
        if let Some(id) = &self.id {
            headers.insert(SESSION_ID, id.clone());
        }
    }

    /// Notes that the server does not know it any more.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.id.is_some() && !*self.lost.get_mut() {
            let mut headers = HeaderMap::new();
            self.identify(&mut headers);
            self.link.delete(headers);
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("version", &self.version).finish_non_exhaustive()
    }
}
