//! A simulated model provider for tests and load tests.
//!
//! It speaks OpenAI's and Anthropic's HTTP APIs, generates text at a set pace, fails on demand, and
//! keeps its own [`Ledger`] of what it really did. It is strict: a request that the real providers
//! refuse is refused here in their error shape, so that a gateway cannot pass a test by accident.
//!
//! ```no_run
//! use sluicegate_simulator::{Behaviour, Fault, Options, Simulator};
//!
//! # async fn example() -> std::io::Result<()> {
//! let simulator = Simulator::start(Options {
//!     defaults: Behaviour {
//!         fault: Some(Fault::Stall { after_events: 3 }),
//!         ..Behaviour::default()
//!     },
//!     ..Options::default()
//! })
//! .await?;
//! let base_url = format!("http://{}/v1", simulator.address());
//! # drop(base_url);
//! // ... send a stream request, then:
//! simulator.wait_until(|stats| stats.stalled == 1).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Endpoints
//!
//! | path | what |
//! |---|---|
//! | `POST /v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/embeddings` | OpenAI; needs `authorization: Bearer` |
//! | `POST /v1/messages`, `/v1/messages/count_tokens` | Anthropic; needs `x-api-key` (or `authorization: Bearer`) and `anthropic-version` |
//! | `POST /v1beta/models/{model}:generateContent`, `:streamGenerateContent?alt=sse` | Gemini; needs `x-goog-api-key` or `?key=` |
//! | `POST /v1/projects/{p}/locations/{l}/publishers/google/models/{model}:...` | Gemini on Vertex AI; needs a token of `/token` |
//! | `POST /v1/projects/{p}/locations/{l}/publishers/anthropic/models/{model}:rawPredict`, `:streamRawPredict` | Claude on Vertex AI; the same |
//! | `POST /openai/deployments/{model}/chat/completions`, `completions`, `embeddings`, `/openai/responses`, each with `?api-version=`; `/openai/v1/...` | Azure OpenAI; needs `api-key` or a token of Entra's endpoint |
//! | `POST /model/{model}/converse`, `converse-stream` | Bedrock; needs a signature, version 4 |
//! | `POST /token` | Google's token endpoint, for [`GoogleAccount`] |
//! | `POST /{tenant}/oauth2/v2.0/token` | Entra's token endpoint, for [`EntraApp`] |
//! | `/mcp`, `/mcp-2025`, `/mcp-2026` | an MCP server: [`Mcp`] has its tools and faults, [`McpSettings`] its eras |
//! | `GET /v1/models`, `/v1/models/{id}` | either dialect: Anthropic's if `anthropic-version` is sent |
//! | `GET /ledger`, `POST /ledger/reset` | the [`Ledger`] as JSON; forget it and the recorded requests |
//! | `GET /requests` | the recorded requests as JSON |
//! | `GET /health` | 200 |
//!
//! Any other path is 404, also the same ones without `/v1`, so that a wrong base URL shows.
//! HTTP/1.1 and HTTP/2 with prior knowledge are served on one port.
//!
//! # Behaviour per request
//!
//! The defaults of [`Options`] can be changed by each request with `key=value` items, separated by
//! commas or semicolons ([`Behaviour::apply`]). They may stand in three places; later ones win:
//! after the model's name (`sim-1;fault=stall;after=3`; the rest is not part of the name), in the
//! body's `user` or `metadata.user_id`, if its first key is one of these, and in the header
//! `x-sim`. An item that is not understood is answered with 400.
//!
//! | key | value | meaning ([`Behaviour`]) |
//! |---|---|---|
//! | `first_token_ms`, `token_ms` | milliseconds | wait before the first content token, and before each further one |
//! | `tokens` | number | content tokens |
//! | `text_bytes` | number | bytes of text a token |
//! | `unicode` | `true`, `false` | multi-byte and escaped text |
//! | `prompt_tokens`, `cached_tokens`, `cache_write_tokens`, `reasoning_tokens` | number | reported usage |
//! | `tool_calls` | number | calls of the offered tools instead of a text |
//! | `reasoning_content` | `true`, `false` | reasoning in the open, as some compatible providers have it (chat completions) |
//! | `strict` | `true`, `false` | refuse what the real API refuses |
//! | `omit_usage` | `true`, `false` | no `usage` at all (OpenAI) |
//! | `chunking` | `events`, `coalesce`, number | how the body is cut into writes; a number is bytes a write |
//! | `line` | `lf`, `crlf` | line ends of a stream |
//! | `comments` | `true`, `false` | `: keep-alive` before every event |
//! | `fault` | see below | what goes wrong |
//!
//! | `fault` | its parameters and their defaults | meaning ([`Fault`]) |
//! |---|---|---|
//! | `none` | | no fault, overriding an earlier one |
//! | `status` | `status=500` | an error status (400 to 599) |
//! | `retry-after` | `status=429`, `seconds=1` | an error status with `retry-after` |
//! | `delay-head` | `ms=1000` | a late, otherwise normal answer |
//! | `stall` | `after=1` | silence for ever on an open connection |
//! | `truncate` | `after=1` | a clean end without the final event |
//! | `truncate-mid-event` | `after=1` | a clean end within an event |
//! | `reset` | `after=1` | the connection is reset |
//! | `ignore-limit` | | all `tokens`, whatever output limit the request has |
//! | `close-mid-body` | | half of the announced `content-length`, then closed |
//! | `malformed-sse` | `after=1` | an event whose data is not JSON |
//! | `corrupt-frame` | `after=1` | a frame with a wrong checksum, then a clean end (Bedrock) |
//! | `error-event` | `after=1` | the dialect's error event, then a clean end |
//! | `not-json` | | 200 with an HTML page |
//! | `empty-reply` | | closed without an answer |
//! | `refuse-first` | `n=1` | 503 for the first requests for this model |
//!
//! # What an answer says
//!
//! Filler, unless the request asks for more (chat completions, responses, messages):
//!
//! | what | when | what it says |
//! |---|---|---|
//! | calls | `tool_calls=N`, but not right after results; or the choice of tools forces one | the offered functions in turn, with arguments that satisfy their schemas. No more than one where calls must not be parallel |
//! | a form | `response_format`, `text.format`, `output_config.format` | JSON that satisfies the schema |
//! | pictures, files | in the last turn | what was seen of each: `I see an image of image/png, 70 bytes.` |
//! | reasoning | `thinking`, `reasoning`, `reasoning_effort` | four tokens, or `reasoning_tokens`; with a signature or encrypted where the API has that |
//!
//! Schemas are satisfied in the usual cases: objects, lists, texts with common formats, numbers
//! with bounds, `enum`, `const`, `anyOf`, `$ref` within the schema. Patterns are not looked at.
//! Streams send all of it in pieces of a token's size. An output limit cuts texts; a call that
//! does not fit is left out whole.
//!
//! # What is refused
//!
//! Requests are held against the published references and what the real APIs are known to say:
//! unknown fields and parts, wrong types and words, sizes and names out of bounds; fields that do
//! not go together; tools without a proper schema, and schemas that structured output does not
//! take; pictures and files that are not what they are said to be; calls without results and
//! results without calls; reasoning that comes back changed. Words for a refusal are close to the
//! real ones, so that a log reads the same; tests should not rely on each letter of them.
//!
//! # Differences from the real providers
//!
//! Any model name is accepted; those that begin like OpenAI's reasoning models refuse what these
//! refuse. One token is whatever [`Behaviour`] says, and the prompt's tokens are its body's bytes
//! divided by four. Nothing is kept: `previous_response_id` is never found. Tools that a provider
//! runs itself are taken and never used. Addresses are not fetched. A request with a duplicate key
//! is refused, which the real ones do not do.

mod auth;
mod behaviour;
mod directives;
mod entry;
mod errors;
mod ledger;
mod mcp;
mod play;
mod replies;
mod request;
mod route;
mod seals;
mod server;
mod service;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use crate::{
    auth::{AwsAccount, CloudOptions, EntraApp, GoogleAccount},
    behaviour::{Behaviour, Chunking, Fault, LineEnding},
    directives::DirectiveError,
    ledger::{Counts, Ledger, Recorded, Stats},
    mcp::{Era, Mcp, McpFault, McpFaultKind, McpSettings, McpStats, serve_mcp_stdio},
};
use crate::{ledger::Books, service::Provider};

/// What a [`Simulator`] starts with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen. Default: `127.0.0.1`, a free port.
    pub address: SocketAddr,
    /// How requests are answered that say nothing else.
    pub defaults: Behaviour,
    /// Keep requests for [`Simulator::requests`]; the newest 10,000. Default: no.
    pub record_requests: bool,
    /// The only credential that is accepted. `None`: any that is not empty.
    pub require_key: Option<String>,
    /// What `GET /v1/models` lists. Requests may name other models.
    pub models: Vec<String>,
    /// Whom the clouds' APIs know. Default: nobody. Keys for Gemini and Azure are as
    /// [`require_key`](Self::require_key) says.
    pub cloud: CloudOptions,
    /// How the MCP server behaves.
    pub mcp: McpSettings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            defaults: Behaviour::default(),
            record_requests: false,
            require_key: None,
            models: vec!["sim-1".to_owned(), "claude-sim".to_owned()],
            cloud: CloudOptions::default(),
            mcp: McpSettings::default(),
        }
    }
}

/// A running server. It stops, closing its connections, when it is dropped or shut down.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    books: Arc<Books>,
    mcp: Mcp,
    server: JoinHandle<()>,
    stop: DropGuard,
}

impl Simulator {
    /// Listens and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let address = listener.local_addr()?;
        let books = Arc::new(Books::default());
        let provider = Arc::new(Provider::new(options, books.clone()));
        let mcp = provider.mcp().clone();
        let stop = CancellationToken::new();
        let server = tokio::spawn(server::serve(listener, provider, stop.clone()));
        Ok(Self { address, books, mcp, server, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it did until now.
    pub fn ledger(&self) -> Ledger {
        self.books.ledger()
    }

    /// Forgets the ledger's counts and the recorded requests.
    pub fn reset_ledger(&self) {
        self.books.reset();
    }

    /// A moment's view of connections, requests in flight and totals.
    pub fn stats(&self) -> Stats {
        self.books.stats()
    }

    /// The recorded requests, oldest first. Empty unless [`Options::record_requests`].
    pub fn requests(&self) -> Vec<Recorded> {
        self.books.recorded()
    }

    /// The MCP server.
    pub fn mcp(&self) -> &Mcp {
        &self.mcp
    }

    /// Connections that are open now.
    pub fn connections_open(&self) -> usize {
        self.stats().connections_open
    }

    /// Connections accepted since the start.
    pub fn connections_accepted(&self) -> u64 {
        self.stats().connections_accepted
    }

    /// Streams in flight.
    pub fn streams_open(&self) -> usize {
        self.stats().streams_open
    }

    /// Returns once `predicate` holds. It is asked again after every change and never by a timer.
    pub async fn wait_until(&self, predicate: impl Fn(&Stats) -> bool) {
        self.books.wait_until(predicate).await;
    }

    /// Stops listening, cuts what is open, and returns when all of it is gone.
    pub async fn shutdown(self) {
        drop(self.stop);
        // The task ends by itself; it fails only if it panicked, which its own test would show.
        let _ = self.server.await;
    }
}
