//! The handshake: which era of the protocol a server speaks.
//!
//! A server of the new one answers `server/discover`. The others are greeted with `initialize`: they answer
//! what they don't know with an error, or not at all, or they end.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::super::meta::{Client, Empty, Params};
use super::super::{Event, Failure, Members, SESSIONS, STATELESS};
use super::link::{Link, Ticket};
use crate::mcp::version::Version;

/// Which protocol a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// It wants to be greeted with `initialize`.
    Sessions,
    /// [`STATELESS`].
    Stateless,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Initialize {
    protocol_version: &'static str,
    capabilities: Empty,
    client_info: Client,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
}

#[derive(Deserialize)]
struct ErrorCode {
    code: i64,
}

/// Finds out which era a server speaks. One that says nothing for `patience` is greeted with `initialize`,
/// too: it may be one that ignores what it does not know, or one that is slow to start.
///
/// # Errors
/// [`Failure::Malformed`] if it speaks neither; what befell it otherwise.
pub async fn discover(link: &Arc<Link>, patience: Duration) -> Result<Era, Failure> {
    let none = Members::default();
    let mut params = Params::of(&none);
    params.complete();
    let probe = ask(link, "server/discover", &params).await?;
    if let Ok(answer) = timeout(patience, probe.next()).await {
        return if stateless(&answer?) { Ok(Era::Stateless) } else { initialize(link).await };
    }
    match initialize(link).await {
        // It was a slow one: what it does not know is `initialize`.
        Err(Failure::Malformed(_)) if stateless(&probe.next().await?) => Ok(Era::Stateless),
        other => other,
    }
}

/// Greets a server with `initialize`.
///
/// # Errors
/// As [`discover`].
pub async fn initialize(link: &Arc<Link>) -> Result<Era, Failure> {
    let greeting = Initialize {
        protocol_version: SESSIONS,
        capabilities: Empty {},
        client_info: Client::SELF,
    };
    let malformed = |what: String| Err(Failure::Malformed(what));
    match ask(link, "initialize", &greeting).await?.next().await? {
        Event::Result(result) => match read::<Initialized>(&result).map(|it| it.protocol_version) {
            Some(version) => match Version::parse(&version) {
                // It has no more to agree on.
                Some(version) if version.is_stateless() => Ok(Era::Stateless),
                Some(_) => {
                    link.notify("notifications/initialized").await;
                    Ok(Era::Sessions)
                }
                None => malformed("it answered `initialize` with an unknown version".to_owned()),
            },
            None => malformed("it answered `initialize` without a version".to_owned()),
        },
        Event::Error(error) => malformed(match read::<ErrorCode>(&error) {
            Some(ErrorCode { code }) => format!("it answered `initialize` with error {code}"),
            None => "it answered `initialize` with an error".to_owned(),
        }),
        Event::Notification(_) => malformed("a notification that nobody asked for".to_owned()),
    }
}

fn stateless(answer: &Event) -> bool {
    let Event::Result(result) = answer else { return false };
    let versions = read::<Discovered>(result).map(|it| it.supported_versions);
    versions.is_some_and(|versions| versions.iter().any(|version| version == STATELESS))
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// A request of the handshake. `initialize` must not be cancelled, and `server/discover` need not be.
async fn ask(link: &Arc<Link>, method: &str, params: &impl Serialize) -> Result<Ticket, Failure> {
    let over = || link.failure().unwrap_or_else(|| Failure::Broken("it has ended".to_owned()));
    let ticket = link.register(None, Arc::default()).ok_or_else(over)?.never_cancelled();
    ticket.send(method, Some(params)).await;
    Ok(ticket)
}
