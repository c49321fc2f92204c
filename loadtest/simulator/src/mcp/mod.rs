//! A simulated MCP server: streamable HTTP and standard input and output, both eras of the protocol.
//!
//! The eras: with `initialize` and sessions (2024-11-05 to 2025-11-25), and without (2026-07-28).
//! It is strict as a judge of its clients. What a server that keeps to the specification may refuse is
//! refused, and [`Mcp::refusals`] says what it was, so that a client cannot pass by accident.
//!
//! | path | what |
//! |---|---|
//! | `/mcp` | the era that [`McpSettings::era`] says |
//! | `/mcp-2025`, `/mcp-2026` | that era only |
//! | `/mcp-elsewhere` | where [`McpFaultKind::Redirect`] points; answers nothing, counts who comes |
//! | `GET /mcp-stats` | [`McpStats`] as JSON, with `refusals` |
//! | `POST /mcp-release`, `/mcp-lose-sessions`, `/mcp-list-changed` | as the methods of [`Mcp`] |
//!
//! | tool | arguments | what it does |
//! |---|---|---|
//! | `echo` | any | its arguments as they were written, as text and as structured content |
//! | `add` | `a`, `b`: integers | their sum |
//! | `fail` | `message` | a result with `isError` |
//! | `slow` | `ms` | waits so long, or without it for [`Mcp::release`] |
//! | `count` | `n`, `ms` | so many progress notifications, each after so long, then a result |
//! | `whoami` | | headers, `_meta`, protocol; over standard input also the environment's names |
//! | `big` | `bytes` | a text of that size |
//! | `faulty` | `fault` | goes wrong as the text says, see [`McpFault`] |
//! | `grow` | `name` | adds a tool, and says that the list has changed |
//! | `stats` | | [`McpStats`] |
//! | `exit` | `code` | ends the process; over standard input only |
//!
//! Further tools ([`McpSettings::extra_tools`]) do what `echo` does. A fault can also be in
//! [`McpSettings::fault`] or in the header `x-sim`.

mod body;
mod books;
mod call;
mod fault;
mod http;
mod message;
mod modern;
mod session;
mod stdio;
mod tools;

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::http::HeaderMap;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{broadcast, watch},
};

pub(crate) use self::{body::Body, http::serves};
use self::{books::McpBooks, session::Session};
pub use self::{
    books::McpStats,
    fault::{McpFault, McpFaultKind},
};

/// The newest version of the era with sessions.
pub(crate) const SESSIONS: &str = "2025-11-25";
/// The version of the era without.
pub(crate) const STATELESS: &str = "2026-07-28";

/// Which of the protocol's eras a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Era {
    /// `initialize` and sessions only.
    Sessions,
    /// 2026-07-28 only.
    Stateless,
    /// Whichever the client begins with.
    #[default]
    Both,
}

impl FromStr for Era {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "2025" => Ok(Self::Sessions),
            "2026" => Ok(Self::Stateless),
            "both" => Ok(Self::Both),
            other => Err(format!("`{other}` is none of 2025, 2026, both")),
        }
    }
}

/// How the server behaves. Can be changed while it runs: [`Mcp::change`].
#[derive(Clone, Debug)]
pub struct McpSettings {
    /// The era of `/mcp` and of standard input and output. Default: both.
    pub era: Era,
    /// The versions that `initialize` agrees to, oldest first; another gets the last one. Default: all
    /// four, 2024-11-05 to 2025-11-25.
    pub versions: Vec<String>,
    /// Tools a page of the list. Zero, the default: all on one.
    pub page_size: usize,
    /// Definitions of further tools, each an object with a `name`.
    pub extra_tools: Vec<Value>,
    /// How long the list is good for, in milliseconds (2026-07-28). Default: 60,000.
    pub list_ttl_ms: u64,
    /// Whether the list is the same for everybody (2026-07-28). Default: yes.
    pub list_public: bool,
    /// Answer every request with an event stream. Default: only where something comes before the result.
    pub sse: bool,
    /// Event streams with all that their format allows: comments, ids, an event without data, CRLF, data
    /// over several lines.
    pub adorned: bool,
    /// The only credential that is taken, as a bearer token or as `x-api-key`. Default: none is wanted.
    pub require_key: Option<String>,
    /// What goes wrong.
    pub fault: Option<McpFault>,
}

impl Default for McpSettings {
    fn default() -> Self {
        let versions = ["2024-11-05", "2025-03-26", "2025-06-18", SESSIONS];
        Self {
            era: Era::default(),
            versions: versions.map(str::to_owned).to_vec(),
            page_size: 0,
            extra_tools: Vec::new(),
            list_ttl_ms: 60_000,
            list_public: true,
            sse: false,
            adorned: false,
            require_key: None,
            fault: None,
        }
    }
}

/// A handle on the server.
#[derive(Clone, Debug)]
pub struct Mcp {
    shared: Arc<Shared>,
}

impl Mcp {
    pub(crate) fn new(settings: McpSettings) -> Self {
        Self { shared: Arc::new(Shared::new(settings)) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Changes the settings for what comes from now on.
    pub fn change(&self, change: impl FnOnce(&mut McpSettings)) {
        change(&mut lock(&self.shared.settings));
    }

    /// What it did until now.
    pub fn stats(&self) -> McpStats {
        self.shared.books.stats()
    }

    /// Why messages were refused, oldest first; the newest hundred.
    pub fn refusals(&self) -> Vec<String> {
        self.shared.books.refusals()
    }

    /// The headers of the newest request.
    pub fn last_headers(&self) -> HeaderMap {
        self.shared.books.last_headers()
    }

    /// The parameters of the newest `tools/call`, arguments and `_meta` included.
    pub fn last_call(&self) -> Value {
        self.shared.books.last_call()
    }

    /// Returns once `predicate` holds. It is asked again after every change and never by a timer.
    pub async fn wait_until(&self, predicate: impl Fn(&McpStats) -> bool) {
        self.shared.books.wait_until(predicate).await;
    }

    /// Lets every call to `slow` go that waits now.
    pub fn release(&self) {
        self.shared.release();
    }

    /// Forgets all sessions, as a restart would: requests in them get 404.
    pub fn lose_sessions(&self) {
        self.shared.lose_sessions();
    }

    /// Tells every client that listens that the list of tools has changed.
    pub fn list_changed(&self) {
        self.shared.list_changed();
    }
}

/// Speaks MCP over a pair of streams until the input ends, as a child process does over its standard
/// ones. Returns the exit code that the process is to end with.
///
/// # Errors
/// When reading or writing fails.
pub async fn serve_mcp_stdio<R, W>(
    settings: McpSettings,
    input: R,
    output: W,
) -> std::io::Result<u8>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    stdio::serve(Arc::new(Shared::new(settings)), input, output).await
}

/// All that requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Mutex<McpSettings>,
    pub(crate) books: McpBooks,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    releases: watch::Sender<u64>,
    changes: broadcast::Sender<()>,
}

impl Shared {
    fn new(settings: McpSettings) -> Self {
        Self {
            settings: Mutex::new(settings),
            books: McpBooks::default(),
            sessions: Mutex::default(),
            releases: watch::Sender::new(0),
            changes: broadcast::Sender::new(16),
        }
    }

    pub(crate) fn settings(&self) -> McpSettings {
        lock(&self.settings).clone()
    }

    pub(crate) fn session(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.sessions).get(id).cloned()
    }

    /// Opens a session and returns its id.
    pub(crate) fn open_session(&self, version: &str) -> String {
        let number = self.books.session_opened();
        let id = format!("sim-session-{number}");
        lock(&self.sessions).insert(id.clone(), Arc::new(Session::new(version, true)));
        id
    }

    /// Returns whether there was one.
    pub(crate) fn end_session(&self, id: &str) -> bool {
        let was_open = lock(&self.sessions).remove(id).is_some();
        if was_open {
            self.books.sessions_closed(1);
        }
        was_open
    }

    pub(crate) fn lose_sessions(&self) {
        let lost = std::mem::take(&mut *lock(&self.sessions));
        self.books.sessions_closed(lost.len());
    }

    pub(crate) fn release(&self) {
        self.releases.send_modify(|count| *count += 1);
    }

    pub(crate) fn released(&self) -> watch::Receiver<u64> {
        self.releases.subscribe()
    }

    pub(crate) fn list_changed(&self) {
        // Nobody listens: nobody to tell.
        let _ = self.changes.send(());
    }

    pub(crate) fn list_changes(&self) -> broadcast::Receiver<()> {
        self.changes.subscribe()
    }
}

/// No change can panic half-way, so a poisoned state is still a consistent one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
