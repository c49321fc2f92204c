//! Finding out what a server speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::answer::{Answer, Outcome, ask};
use super::link::Link;
use super::message::{self, Outgoing};
use super::peer::{Peer, Session, hints_at_another_era};
use crate::mcp::fault::{HEADER_MISMATCH, MISSING_CAPABILITY};
use crate::mcp::members::Members;
use crate::mcp::upstream::meta::Empty;
use crate::mcp::upstream::{Event, Failure, SESSIONS, STATELESS};
use crate::mcp::version::Version;

/// How long a server may take to say that it speaks [`STATELESS`] before it is greeted in the other way: some
/// of those that don't know the question never answer it.
const PROBE: Duration = Duration::from_secs(10);

/// What only servers of [`STATELESS`] refuse a request with: its headers are not as its body is, or the client
/// lacks a capability.
const OF_STATELESS: [i32; 2] = [HEADER_MISMATCH, MISSING_CAPABILITY];

/// Makes the handshake, in `whole` at most.
///
/// A server of [`STATELESS`] says so. Of any other it is only believed when it answers the greeting: that it
/// refuses the question alone may come of something that passes.
///
/// # Errors
/// There is none to be made.
pub async fn handshake(
    link: &Arc<Link>,
    ids: &AtomicU64,
    whole: Duration,
) -> Result<Peer, Failure> {
    let began = Instant::now();
    let probe = began + PROBE.min(whole / 2);
    let probed = tokio::time::timeout_at(probe, discover(link, next(ids), probe)).await;
    match probed.unwrap_or(Err(Failure::TimedOut)) {
        Ok(true) => return Ok(Peer::new(None)),
        Ok(false) | Err(Failure::TimedOut) => {}
        Err(failure) if hints_at_another_era(&failure) => {}
        Err(failure) => return Err(failure),
    }
    let end = began + whole;
    let greeted = tokio::time::timeout_at(end, initialize(link, next(ids), end)).await;
    greeted.unwrap_or(Err(Failure::TimedOut))
}

/// The next number of a request.
pub fn next(ids: &AtomicU64) -> u64 {
    ids.fetch_add(1, Ordering::Relaxed)
}

/// Whether the server speaks [`STATELESS`].
async fn discover(link: &Arc<Link>, id: u64, deadline: Instant) -> Result<bool, Failure> {
    let mut answer = begun(ask(link, None, Outgoing::discover(id), deadline).await?)?;
    match answer.last().await? {
        Event::Result(result) => {
            let result = Members::parse(result.get().as_bytes()).unwrap_or_default();
            let versions = result.get("supportedVersions");
            let versions =
                versions.and_then(|it| serde_json::from_str::<Vec<String>>(it.get()).ok());
            Ok(versions.is_some_and(|versions| versions.iter().any(|one| one == STATELESS)))
        }
        Event::Error(error) => {
            Ok(message::code(&error).is_some_and(|it| OF_STATELESS.map(i64::from).contains(&it)))
        }
        Event::Notification(_) => Ok(false),
    }
}

/// Greets a server.
async fn initialize(link: &Arc<Link>, id: u64, deadline: Instant) -> Result<Peer, Failure> {
    let wrong = |what: &str| Failure::Malformed(what.to_owned());
    let outgoing = Outgoing::initialize(SESSIONS, id);
    let mut answer = begun(ask(link, None, outgoing, deadline).await?)?;
    let Event::Result(result) = answer.last().await? else {
        return Err(wrong("it refuses both `server/discover` and `initialize`"));
    };
    let version = Members::parse(result.get().as_bytes())
        .ok()
        .and_then(|result| result.text("protocolVersion"))
        .ok_or_else(|| wrong("it answers `initialize` without a version"))?;
    if version == STATELESS {
        return Ok(Peer::new(None));
    }
    let version = Version::parse(&version)
        .ok_or_else(|| wrong("it answers `initialize` with a version that nobody knows"))?;
    let session = Session::new(link.clone(), version.as_str(), answer.session_id())?;
    let mut headers = HeaderMap::new();
    session.identify(&mut headers);
    let initialized = message::notification("notifications/initialized", None::<Empty>);
    link.tell(initialized, headers).await?;
    Ok(Peer::new(Some(session)))
}

fn begun(outcome: Outcome) -> Result<Answer, Failure> {
    match outcome {
        Outcome::Begun(answer) => Ok(answer),
        Outcome::SessionLost(failure) => Err(failure),
    }
}
