//! What is remembered of one request from its first phase to its last.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora_http::RequestHeader;
use sluicegate_filters::authorize::{Decision, Permit};
use sluicegate_filters::screen::CorsGrant;
use sluicegate_filters::{Caller, Denial, DenialKind};
use sluicegate_ledger::Entry;
use sluicegate_quota::{Charged, Holds};
use uuid::{ContextV7, Timestamp, Uuid};

use super::admit::Admission;
use super::outgoing::Original;
use super::overrun::Overrun;
use super::reply::Reply;
use super::translate::Translation;
use super::watchdog::Deadlines;
use super::{held, mcp, respond};
use crate::app::{Gateway, Runtime};
use crate::dialects::peek::Peek;
use crate::dialects::{Dialect, Endpoint};
use crate::edge::Conn;
use crate::overload::{Held, Place};
use crate::quotas::standing::Standings;
use crate::routing::health::UnderWay;
use crate::routing::{Model, Target};
use crate::telemetry::trace::Trace;

/// One request.
pub struct Ctx {
    /// The generation that the request began with and keeps.
    pub runtime: Arc<Runtime>,
    /// When its header was complete.
    pub started: Instant,
    /// Unique; in every answer, log line and error.
    pub id: Uuid,
    /// The id as a header value, made once.
    pub id_header: HeaderValue,
    /// The trace that it is part of.
    pub trace: Trace,
    /// The connection it came on.
    pub conn: Option<Arc<Conn>>,
    /// The client's address: the connection's, or what a trusted proxy says.
    pub client: Option<IpAddr>,
    /// The shape of errors: known from the path, before anything else is.
    pub dialect: Dialect,
    /// Whether answers tell browsers to come by TLS only.
    pub hsts: bool,
    /// What CORS lets a browser read; on every answer, refusals included.
    pub cors: Option<CorsGrant>,
    /// Who asks.
    pub caller: Option<Arc<Caller>>,
    /// What the policies said, where they were asked.
    pub decision: Option<Arc<Decision>>,
    /// What is left of the caller's limits; on every answer from there on.
    pub standings: Standings,
    /// A short name of what was asked for, for metrics and logs.
    pub route: &'static str,
    /// Set once the request is on its way to a provider.
    pub exchange: Option<Box<Exchange>>,
    /// What is known of a message of MCP, for those that are sent where MCP is spoken.
    pub mcp: Option<Box<mcp::Asked>>,
    /// The way back to the real session.
    pub held: held::Held,
    /// Time spent waiting for the client's body: not our overhead.
    pub body_wait: Duration,
    /// The refusal of another attempt, until it is told.
    pub refusal: Option<Denial>,
    /// Whether it is not sure where the request ends: then the connection ends with the answer, whatever
    /// else the request is refused for.
    pub in_doubt: bool,
    /// Why we refused, where we did.
    pub denied: Option<DenialKind>,
    /// More about a refusal or failure, for the log only.
    pub detail: Option<String>,
    /// How it ended.
    pub end: Option<End>,
    /// What it holds of the bytes that bodies may take.
    pub buffered: Held,
    /// Its place among those that are served at once.
    pub place: Option<Place>,
    /// Held for its drop: the request counts as in flight until it is settled.
    _in_flight: InFlight,
}

/// A request that is being served by a provider.
pub struct Exchange {
    /// That the caller may ask for this.
    pub permit: Permit,
    /// What it was admitted with.
    pub admission: Admission,
    /// What the present attempt holds of the limits that the request is under, if it is under any.
    pub holds: Option<Holds>,
    /// Whether an attempt is settled already, and the request counted with it.
    pub counted: bool,
    /// The present attempt's place in the ledger, if there is one.
    pub entry: Option<Entry>,
    /// Up to where the present attempt is known not to have outrun what it holds.
    pub overrun: Overrun,
    /// When the request began, in seconds since the epoch: the time that its prices are of.
    pub began_at: i64,
    /// What the attempts that are settled have cost, in nano-USD, at targets that have a price.
    pub spent: u64,
    /// Which API.
    pub endpoint: Endpoint,
    /// The model asked for.
    pub model: Arc<Model>,
    /// What we know of the body.
    pub peek: Peek,
    /// The length of the body as it is sent.
    pub body_len: usize,
    /// The caller's head. Pingora would copy and clean it for each attempt, only for us to replace
    /// it; so it gets a bare one, and this is what the provider's head is made from.
    pub caller: RequestHeader,
    /// The targets that can serve it, by their bits.
    pub allowed: u64,
    /// What stands for whom one target is kept.
    pub sticky: Option<u64>,
    /// The targets tried so far, the present one last.
    pub tried: Vec<usize>,
    /// Held for its drop: the present target counts it as under way.
    pub under_way: UnderWay,
    /// Whether all targets were left out, so that the present one is the least bad.
    pub desperate: bool,
    /// Whether the head and the first events of a stream wait for its first content, so that until then
    /// another target can take its place unseen.
    pub awaits_content: bool,
    /// How long the present attempt's provider asks to be left alone.
    pub retry_after: Option<Duration>,
    /// When to give up.
    pub deadlines: Arc<Deadlines>,
    /// Whether a pooled connection has turned out dead: once is bad luck.
    pub stale_seen: bool,
    /// The body as it came, and what is known of it, where another target may need it in another dialect.
    pub original: Option<Original>,
    /// How the present attempt's request was translated, if it was.
    pub translation: Option<Box<Translation>>,
    /// Whether the usage chunk is ours and must be taken out of the stream.
    pub hide_usage: bool,
    /// The answer, once its header has come.
    pub reply: Reply,
    /// The present attempt's times.
    pub times: Times,
    /// The provider's status.
    pub upstream_status: Option<u16>,
    /// How long the present attempt's answer is to be, where its head says so.
    pub length: Option<u64>,
    /// Bytes of the present attempt's answer, as they came.
    pub bytes_in: u64,
    /// Bytes of the answer's body as forwarded.
    pub bytes_out: u64,
}

/// When what happened, for overhead and latencies.
#[derive(Default)]
pub struct Times {
    /// The peer was chosen.
    pub chosen: Option<Instant>,
    /// The connection stood.
    pub connected: Option<Instant>,
    /// Whether it came from the pool.
    pub reused: bool,
    /// The request's head was written.
    pub sent: Option<Instant>,
    /// The answer's head came.
    pub head: Option<Instant>,
    /// The first byte of the answer's content came.
    pub first_content: Option<Instant>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered in full.
    Complete,
    /// Refused by us.
    Refused,
    /// The provider found fault with what the request says, which was passed on.
    Rejected,
    /// The provider answered with another error, which was passed on.
    UpstreamError,
    /// The provider broke off, or sent what is not its dialect.
    UpstreamBroke,
    /// The provider could not be reached.
    Unreachable,
    /// A deadline passed.
    TimedOut,
    /// The client left before the end.
    ClientGone,
    /// It used more than its limits had left.
    LimitReached,
    /// The process left before the end.
    Abandoned,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Complete,
        Self::Refused,
        Self::Rejected,
        Self::UpstreamError,
        Self::UpstreamBroke,
        Self::Unreachable,
        Self::TimedOut,
        Self::ClientGone,
        Self::LimitReached,
        Self::Abandoned,
    ];

    /// That of a provider's answer with this status; `None` for one that is no error.
    pub fn of_error(status: u16) -> Option<Self> {
        match status {
            // The caller's own doing: no provider would take it. Other statuses tell of a credential, a
            // limit, or a model that is configured wrong.
            400 | 413 | 415 | 422 => Some(Self::Rejected),
            401.. => Some(Self::UpstreamError),
            _ => None,
        }
    }

    /// The metric's label and the log's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamBroke => "upstream_broke",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::ClientGone => "client_gone",
            Self::LimitReached => "limit_reached",
            Self::Abandoned => "abandoned",
        }
    }
}

thread_local! {
    /// What keeps a thread's ids in order. One for all would be a lock that all wait for.
    static IDS: ContextV7 = const { ContextV7::new() };
}

impl Ctx {
    /// A request whose header is complete.
    pub fn new(gateway: &Gateway) -> Self {
        let id = IDS.with(|ids| Uuid::new_v7(Timestamp::now(ids)));
        let mut text = Uuid::encode_buffer();
        let id_header = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text));
        let runtime = gateway.current();
        Self {
            hsts: respond::is_https_alone(gateway, &runtime),
            runtime,
            started: Instant::now(),
            id,
            id_header: id_header.unwrap_or_else(|_| unreachable!("a UUID is ASCII")),
            trace: Trace::default(),
            conn: None,
            client: None,
            dialect: Dialect::OpenAi,
            cors: None,
            caller: None,
            decision: None,
            standings: Standings::default(),
            route: "other",
            exchange: None,
            mcp: None,
            held: held::Held::default(),
            body_wait: Duration::ZERO,
            refusal: None,
            in_doubt: false,
            denied: None,
            detail: None,
            end: None,
            buffered: gateway.overload.bytes.hold_none(),
            place: None,
            _in_flight: InFlight::enter(&gateway.in_flight),
        }
    }

    /// When it began, in seconds since the epoch, as its id says.
    pub fn began_at(&self) -> i64 {
        let seconds = self.id.get_timestamp().map_or(0, |at| at.to_unix().0);
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    /// The id as text.
    pub fn id_str(&self) -> &str {
        self.id_header.to_str().unwrap_or_default()
    }
}

impl Exchange {
    /// The target of the present attempt.
    pub fn target(&self) -> &Target {
        self.model.target(self.tried.last().copied().unwrap_or(0))
    }
}

/// Nobody has said how it ended: it used all that was held, and the ledger says so.
impl Drop for Exchange {
    fn drop(&mut self) {
        let entry = self.entry.take();
        let write = |charged: &[Charged]| {
            if let Some(entry) = entry {
                entry.abandon(End::Abandoned.as_str(), charged);
            }
        };
        match self.holds.take() {
            Some(holds) => holds.settle_in_full_and(write),
            None => write(&[]),
        }
    }
}

/// Counts a request for as long as it lives, so that a drain can wait for it.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn enter(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
