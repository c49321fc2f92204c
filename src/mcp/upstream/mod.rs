//! One request to an MCP server, and what comes of it.

pub mod changes;
pub mod http;
pub mod meta;
pub mod stdio;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use serde_json::value::RawValue;

use self::stdio::Programs;
use super::members::Members;
use super::version::Version;
use crate::config::valid::mcp::{Target, Transport};
use crate::overload::Held;

/// The longest message of a server. A longer one ends the call.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Bytes of messages that wait for one caller.
pub const MAX_WAITING: usize = 2 * MAX_MESSAGE;

/// The protocol of servers that are greeted with `initialize`: the newest, which is offered to them.
pub const SESSIONS: &str = Version::NEWEST_WITH_INITIALIZE.as_str();

/// The protocol of servers that are not.
pub const STATELESS: &str = Version::V2026_07_28.as_str();

/// What a message's `_meta` says of itself since [`STATELESS`].
pub const META_PROTOCOL: &str = "io.modelcontextprotocol/protocolVersion";
/// Who asks.
pub const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// What who asks can do.
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A request to a server.
#[derive(Debug)]
pub struct Call {
    /// `tools/list`, `tools/call`.
    pub method: &'static str,
    /// The tool's own name, for a call to one.
    pub name: Option<String>,
    /// The parameters. Their `_meta` is the caller's, and a server that wants one of [`STATELESS`] gets what it
    /// lacks. Its `progressToken` is the caller's too: a transport on which several callers' requests are under
    /// way puts its own in its place, and the caller's back into what comes.
    pub params: Members,
    /// For servers that are reached by HTTP: `traceparent` and `tracestate`, and what
    /// [`param_headers`](http::param_headers) makes of the arguments. What the transport sends itself goes
    /// before.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For all of it.
    pub timeout: Duration,
}

/// What comes of a request, piece by piece.
#[derive(Debug)]
pub enum Event {
    /// A notification of the server's that belongs to the request: a whole JSON-RPC message without a line
    /// end in it.
    Notification(Bytes),
    /// The last: the result.
    Result(Box<RawValue>),
    /// The last: the server's error, an object.
    Error(Box<RawValue>),
}

/// Why there is no answer of a server's. What it says is for logs and for the administrator: it may name
/// addresses, but holds nothing that the server wrote, and no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It can't be reached, or its program not be started.
    #[error("can't be reached: {0}")]
    Unreachable(String),
    /// It does not take the credential that it is called with.
    #[error("refused the gateway's credential with HTTP status {0}")]
    Unauthorized(u16),
    /// It answers with an HTTP status that is none of MCP.
    #[error("answered with HTTP status {status}{}", followed(*.status))]
    Status {
        /// The status.
        status: u16,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// It broke off, or its program ended.
    #[error("broke off: {0}")]
    Broken(String),
    /// It says what is no MCP.
    #[error("does not speak MCP: {0}")]
    Malformed(String),
    /// Its answer is longer than [`MAX_MESSAGE`], or comes faster than the caller reads.
    #[error("answered with more than is taken")]
    TooLong,
    /// The gateway has no room to gather the answer: [`Held::grow_to`] refused it.
    #[error("gave an answer for which there is no room: the gateway holds as much as it may")]
    NoRoom,
    /// The time is over.
    #[error("gave no answer in time")]
    TimedOut,
}

/// What there is to add to a status.
fn followed(status: u16) -> &'static str {
    match status {
        300..=399 => ", and redirects are not followed",
        _ => "",
    }
}

/// An answer on its way. Dropped before its last event, the request is cancelled at the server.
#[derive(Debug)]
pub enum Answer {
    /// By HTTP.
    Http(http::Answer),
    /// From a child process.
    Stdio(stdio::Answer),
}

impl Answer {
    /// What comes next. After the last event, or a failure, there is nothing to ask for.
    ///
    /// # Errors
    /// There is none.
    pub async fn next(&mut self) -> Result<Event, Failure> {
        match self {
            Self::Http(answer) => answer.next().await,
            Self::Stdio(answer) => answer.next().await,
        }
    }
}

/// A server.
#[derive(Debug)]
pub enum Upstream {
    /// By HTTP.
    Http(http::HttpUpstream),
    /// A child process.
    Stdio(stdio::StdioUpstream),
}

impl Upstream {
    /// A server that nobody has called yet. A program that it takes is one of `programs`.
    ///
    /// # Errors
    /// Its authorities or its certificate can't be used.
    pub fn new(target: &Target, programs: &Arc<Programs>) -> Result<Self, String> {
        Ok(match &target.transport {
            Transport::Http(transport) => Self::Http(http::HttpUpstream::new(target, transport)?),
            Transport::Stdio(transport) => {
                Self::Stdio(stdio::StdioUpstream::new(target, transport, programs)?)
            }
        })
    }

    /// How often it has said that its tools are others now, or was greeted anew for something else than to
    /// ask for them.
    pub fn list_changes(&self) -> u64 {
        match self {
            Self::Http(upstream) => upstream.list_changes(),
            Self::Stdio(upstream) => upstream.list_changes(),
        }
    }

    /// Sends a request, after the handshake where there was none yet. One request at a time makes the
    /// handshake, the others wait for it. What is gathered of the answer counts in `held`, if it counts, until
    /// it is handed over.
    ///
    /// # Errors
    /// It did not arrive, as far as can be known.
    pub async fn request(&self, call: Call, held: Option<Held>) -> Result<Answer, Failure> {
        match self {
            Self::Http(upstream) => upstream.request(call, held).await.map(Answer::Http),
            Self::Stdio(upstream) => upstream.request(call, held).await.map(Answer::Stdio),
        }
    }
}
