//! Figures on MCP: what is asked of which server, how it ends, and how the servers do.

use std::time::Duration;

use prometheus::{Error, HistogramVec, IntCounterVec, IntGaugeVec};

use super::access_metrics::follow;
use super::described::{Label, Metric};
use super::register::Register;
use super::request_metrics::SECONDS;
use crate::config::valid::Config;
use crate::mcp::server::{REASONS, Servers};

/// The server's name where all of them are asked.
const ALL: &str = "all";

const SERVER: Label = Label::open("server");
const CALLS: &[&str] = &["src/proxy/mcp/mod.rs"];
const SERVERS: &[&str] = &["src/mcp/server.rs"];

const MESSAGES: Metric = Metric::counter("sluicegate_mcp_messages_total", "messages")
    .labels(&[
        SERVER,
        Label::listed("method", || Method::ALL.map(Method::word).to_vec()),
        Label::listed("outcome", || Outcome::ALL.map(Outcome::word).to_vec()),
    ])
    .meaning(
        "of callers, by what became of them. `tool_failed`: the tool says so itself; `server_error`: its server \
         does; `failed`: there was no answer of the server's. Server `all` is the endpoint of all of them",
    )
    .from(CALLS);
const DURATION: Metric = Metric::histogram("sluicegate_mcp_call_duration_seconds", "seconds")
    .labels(&[SERVER])
    .meaning("calls to tools, from sending them to their end")
    .from(CALLS);
const UP: Metric = Metric::gauge("sluicegate_mcp_server_up", "0 or 1")
    .labels(&[SERVER])
    .meaning("whether a server answered when it was asked last")
    .starts("**1**")
    .from(SERVERS);
const TOOLS: Metric = Metric::gauge("sluicegate_mcp_server_tools", "tools")
    .labels(&[SERVER])
    .meaning("that a server has, as it was last known")
    .starts("From the first list on")
    .from(&["src/mcp/catalog.rs"]);
const FAILURES: Metric = Metric::counter("sluicegate_mcp_server_failures_total", "requests")
    .labels(&[SERVER, Label::one_of("reason", &REASONS)])
    .meaning("requests to a server that have no answer, lists of tools included")
    .at_zero()
    .from(SERVERS);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[MESSAGES, DURATION, UP, TOOLS, FAILURES];

/// What a message asks for, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `initialize`
    Initialize,
    /// `server/discover`
    Discover,
    /// `ping`
    Ping,
    /// `tools/list`
    ToolsList,
    /// `tools/call`
    ToolsCall,
    /// None, as it wants no answer.
    Notification,
    /// Another, or none that could be read.
    #[default]
    Other,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Initialize,
        Self::Discover,
        Self::Ping,
        Self::ToolsList,
        Self::ToolsCall,
        Self::Notification,
        Self::Other,
    ];

    /// That of a request.
    pub fn of(method: &str) -> Self {
        match method {
            "initialize" => Self::Initialize,
            "server/discover" => Self::Discover,
            "ping" => Self::Ping,
            "tools/list" => Self::ToolsList,
            "tools/call" => Self::ToolsCall,
            _ => Self::Other,
        }
    }

    /// The metric's label and the log's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Discover => "discover",
            Self::Ping => "ping",
            Self::ToolsList => "tools_list",
            Self::ToolsCall => "tools_call",
            Self::Notification => "notification",
            Self::Other => "other",
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Complete,
    /// Its answer says that the tool failed.
    ToolFailed,
    /// Its answer is an error of the server's.
    ServerError,
    /// The gateway refused it.
    Refused,
    /// There is no answer of the server's.
    Failed,
    /// The client left.
    ClientGone,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Complete,
        Self::ToolFailed,
        Self::ServerError,
        Self::Refused,
        Self::Failed,
        Self::ClientGone,
    ];

    /// The metric's label and the log's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ToolFailed => "tool_failed",
            Self::ServerError => "server_error",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::ClientGone => "client_gone",
        }
    }
}

/// Messages, and servers.
pub struct McpMetrics {
    messages: IntCounterVec,
    duration: HistogramVec,
    up: IntGaugeVec,
    tools: IntGaugeVec,
    failures: IntCounterVec,
}

impl McpMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        Ok(Self {
            messages: register.counters(&MESSAGES)?,
            duration: register.histograms(&DURATION, SECONDS)?,
            up: register.gauges(&UP)?,
            tools: register.gauges(&TOOLS)?,
            failures: register.counters(&FAILURES)?,
        })
    }

    /// Shows the calls of what a configuration names, at zero.
    pub(super) fn configured(&self, config: &Config) {
        for server in config.mcp.targets.keys() {
            for outcome in Outcome::ALL {
                let labels = [server.as_str(), Method::ToolsCall.word(), outcome.word()];
                self.messages.with_label_values(&labels);
            }
        }
    }

    /// Counts a message to a server, or to all of them. `took`: the call of the server, if it was one.
    pub fn ended(
        &self,
        server: Option<&str>,
        method: Method,
        outcome: Outcome,
        took: Option<Duration>,
    ) {
        let labels = [server.unwrap_or(ALL), method.word(), outcome.word()];
        self.messages.with_label_values(&labels).inc();
        if let (Some(server), Some(took)) = (server, took) {
            self.duration.with_label_values(&[server]).observe(took.as_secs_f64());
        }
    }

    /// Brings all up to what is true of `servers` now. Servers that are there no longer are not shown.
    pub fn observe(&self, servers: &Servers) {
        self.up.reset();
        self.tools.reset();
        for server in servers.iter() {
            let name = server.name();
            self.up.with_label_values(&[name]).set(i64::from(server.is_up()));
            if let Some(tools) = server.known_tools() {
                let count = i64::try_from(tools.len()).unwrap_or(i64::MAX);
                self.tools.with_label_values(&[name]).set(count);
            }
            for (reason, count) in REASONS.into_iter().zip(server.failures()) {
                follow(&self.failures.with_label_values(&[name, reason]), count);
            }
        }
    }
}
