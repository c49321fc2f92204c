//! Streamable HTTP, as its client.
//!
//! A server is asked once which era of the protocol it speaks, and what it says is kept for all callers,
//! with the session where it gives one. It is asked anew when the session is lost or it fails again and
//! again.
//!
//! | module | what it is |
//! |---|---|
//! | `link` | connections, and what every request carries |
//! | `handshake` | finding out what a server speaks |
//! | `peer` | what was found out |
//! | `message` | what is said to a server, and what it says |
//! | `headers` | what a request's headers repeat of its body |
//! | `answer` | one request, and its answer as it comes |
//!
//! What is left out: a stream that broke off is not resumed with `Last-Event-ID`, as a call that may take long
//! has its deadline anyway; and no stream is kept open for what a server says unasked, as lists are read
//! again when they are old.

mod answer;
mod handshake;
mod headers;
mod link;
mod message;
mod peer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use self::answer::Answer;
use self::answer::{Outcome, ask};
pub use self::headers::param_headers;
use self::link::Link;
use self::message::{Asked, Outgoing};
use self::peer::Peer;
use super::changes::begins_list;
use super::{Call, Failure};
use crate::config::valid::mcp::{HttpTransport, Target};
use crate::overload::Held;

/// A server that is reached by HTTP. Its clones are the same.
#[derive(Clone)]
pub struct HttpUpstream(Arc<Inner>);

struct Inner {
    name: String,
    link: Arc<Link>,
    /// Numbers of requests, and so their progress tokens.
    ids: AtomicU64,
    known: Mutex<Known>,
    /// For a handshake: as long as anybody may wait for it.
    handshake: Duration,
}

/// What is known of the server.
enum Known {
    Nothing,
    /// A handshake is being made.
    Soon(watch::Receiver<Option<Found>>),
    Peer(Arc<Peer>),
}

type Found = Result<Arc<Peer>, Failure>;

impl HttpUpstream {
    /// A server that nobody has called yet. Reads its files, so it may block.
    ///
    /// # Errors
    /// Its URL, its authorities or its certificate can't be used.
    pub fn new(target: &Target, transport: &HttpTransport) -> Result<Self, String> {
        Ok(Self(Arc::new(Inner {
            name: target.name.clone(),
            link: Arc::new(Link::new(target, transport)?),
            ids: AtomicU64::new(1),
            known: Mutex::new(Known::Nothing),
            handshake: target.timeouts.call.max(target.timeouts.list),
        })))
    }

    /// See [`Upstream::list_changes`](super::Upstream::list_changes).
    pub fn list_changes(&self) -> u64 {
        self.0.link.list_changes().count()
    }

    pub(super) async fn request(&self, call: Call, held: Option<Held>) -> Result<Answer, Failure> {
        let deadline = Instant::now() + call.timeout;
        let answer = timeout_at(deadline, self.ask(&call, deadline)).await;
        answer.unwrap_or(Err(Failure::TimedOut))?.within(held)
    }

    async fn ask(&self, call: &Call, deadline: Instant) -> Result<Answer, Failure> {
        let for_list = begins_list(call);
        let peer = self.peer(for_list).await?;
        match self.ask_in(&peer, call, deadline).await? {
            Outcome::Begun(answer) => return Ok(answer),
            Outcome::SessionLost(_) => self.forget(&peer),
        }
        // Nothing was done of it, so it can be asked again, once.
        let peer = self.peer(for_list).await?;
        match self.ask_in(&peer, call, deadline).await? {
            Outcome::Begun(answer) => Ok(answer),
            Outcome::SessionLost(failure) => {
                self.forget(&peer);
                Err(failure)
            }
        }
    }

    async fn ask_in(
        &self,
        peer: &Arc<Peer>,
        call: &Call,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        let Call { method, name, params, headers, .. } = call;
        let asked = Asked { method, name: name.as_deref(), params, headers };
        let outgoing = Outgoing::of(asked, peer, handshake::next(&self.0.ids));
        ask(&self.0.link, Some(peer), outgoing, deadline).await
    }

    /// What is known of the server, found out if need be. Whoever comes while that is being done waits for
    /// it, and shares what comes of it.
    async fn peer(&self, for_list: bool) -> Found {
        let mut found = {
            let mut known = self.0.known();
            match &*known {
                Known::Peer(peer) if !peer.is_over() => return Ok(peer.clone()),
                Known::Soon(found) => found.clone(),
                Known::Peer(_) | Known::Nothing => {
                    let (tell, found) = watch::channel(None);
                    *known = Known::Soon(found.clone());
                    // By itself: whoever asked for it may go away.
                    drop(tokio::spawn(Inner::find(self.0.clone(), for_list, tell)));
                    found
                }
            }
        };
        let told = found.wait_for(Option::is_some).await.ok().and_then(|found| (*found).clone());
        told.unwrap_or_else(|| {
            // It came to no end, and never will.
            let mut known = self.0.known();
            if matches!(&*known, Known::Soon(current) if current.same_channel(&found)) {
                *known = Known::Nothing;
            }
            Err(Failure::Broken("the handshake was given up".to_owned()))
        })
    }

    /// Forgets what was known, if it is still that.
    fn forget(&self, peer: &Arc<Peer>) {
        if let Some(session) = peer.session() {
            session.lose();
        }
        let mut known = self.0.known();
        if matches!(&*known, Known::Peer(current) if Arc::ptr_eq(current, peer)) {
            *known = Known::Nothing;
        }
    }
}

impl Inner {
    async fn find(inner: Arc<Self>, for_list: bool, tell: watch::Sender<Option<Found>>) {
        let found = handshake::handshake(&inner.link, &inner.ids, inner.handshake).await;
        let found = found.map(Arc::new);
        if found.is_ok() {
            inner.link.list_changes().greeted(for_list);
        }
        *inner.known() = match &found {
            Ok(peer) => Known::Peer(peer.clone()),
            // The next who comes tries again.
            Err(_) => Known::Nothing,
        };
        drop(tell.send(Some(found)));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HttpUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUpstream").field("name", &self.0.name).finish_non_exhaustive()
    }
}
