//! `mcp`: the MCP servers whose tools are offered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use secrecy::{ExposeSecret, SecretString};

use super::{AuthStyle, BaseUrl, PairFiles, Secret};

/// The MCP servers whose tools are offered.
#[derive(Clone, Debug, Default)]
pub struct Mcp {
    /// The servers, by name.
    pub targets: BTreeMap<String, Target>,
}

/// An MCP server.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in the configuration: 1 to 32 of `a` to `z`, `0` to `9` and `-`, so that in a tool's full
    /// name the first `_` ends it.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Its tools that are offered, by the names that it gives them. `None`: all.
    pub tools: Option<BTreeSet<String>>,
    /// When it is given up.
    pub timeouts: Timeouts,
    /// How long its list of tools is good for, where it says nothing shorter.
    pub list_ttl: Duration,
}

/// How an MCP server is reached.
#[derive(Clone, Debug)]
pub enum Transport {
    /// By streamable HTTP.
    Http(Box<HttpTransport>),
    /// As a child process, over its standard input and output.
    Stdio(StdioTransport),
}

/// An MCP server behind a URL.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    /// Its endpoint. The whole path is in `path_prefix`, as it was written: a final `/` counts.
    pub url: BaseUrl,
    /// The credential that calls carry. A legal header value.
    pub api_key: Option<Secret>,
    /// How calls carry it.
    pub auth: AuthStyle,
    /// Headers sent with every call. Legal header values.
    pub headers: Vec<(HeaderName, Secret)>,
    /// What stands in the query of every call, by name. Not encoded.
    pub query: Vec<(String, Secret)>,
    /// Authorities to trust instead of the public ones, as a PEM file. Only with TLS.
    pub ca: Option<PathBuf>,
    /// What is shown to a server that asks for a certificate. Only with TLS.
    pub client_certificate: Option<PairFiles>,
}

/// An MCP server that is started here.
#[derive(Clone, Debug)]
pub struct StdioTransport {
    /// The program and its arguments; never empty. No shell reads it.
    pub command: Vec<String>,
    /// Its environment variables, besides `PATH`, `HOME`, `LANG`, `TMPDIR`, `TZ` and `USER`, which are the
    /// gateway's. Of the gateway's own others it gets none.
    pub environment: BTreeMap<String, Secret>,
    /// Its working directory. `None`: the gateway's.
    pub directory: Option<PathBuf>,
}

/// When an MCP server is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, or for a program's start up to its answer to the handshake.
    pub connect: Duration,
    /// For one call to a tool, whole.
    pub call: Duration,
    /// For the list of tools, whole.
    pub list: Duration,
}

impl Target {
    /// Whether it is configured alike, down to the values of its secrets.
    pub fn is_same(&self, other: &Self) -> bool {
        let common = (&self.name, &self.tools, &self.timeouts, self.list_ttl)
            == (&other.name, &other.tools, &other.timeouts, other.list_ttl);
        common
            && match (&self.transport, &other.transport) {
                (Transport::Http(a), Transport::Http(b)) => a.is_same(b),
                (Transport::Stdio(a), Transport::Stdio(b)) => a.is_same(b),
                _ => false,
            }
    }
}

impl HttpTransport {
    /// The query of every call, encoded, without the `?`. `None`: there is none.
    pub fn encoded_query(&self) -> Option<SecretString> {
        (!self.query.is_empty()).then(|| encoded(&self.query))
    }

    fn is_same(&self, other: &Self) -> bool {
        let secret = |a: &Option<Secret>, b: &Option<Secret>| match (a, b) {
            (Some(a), Some(b)) => same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let headers = self.headers.len() == other.headers.len()
            && self.headers.iter().zip(&other.headers).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1));
        let query = self.query.len() == other.query.len()
            && self.query.iter().zip(&other.query).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1));
        (&self.url, &self.auth, &self.ca, &self.client_certificate)
            == (&other.url, &other.auth, &other.ca, &other.client_certificate)
            && secret(&self.api_key, &other.api_key)
            && headers
            && query
    }
}

impl StdioTransport {
    fn is_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.environment, &other.environment);
        let environment = ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(a, b)| a.0 == b.0 && same(a.1, b.1));
        (&self.command, &self.directory) == (&other.command, &other.directory) && environment
    }
}

/// A query as it is sent: `application/x-www-form-urlencoded` (WHATWG URL, 5.2).
pub(in crate::config) fn encoded(query: &[(String, Secret)]) -> SecretString {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for (name, value) in query {
        text.append_pair(name, value.value.expose_secret());
    }
    text.finish().into()
}

fn same(a: &Secret, b: &Secret) -> bool {
    a.value.expose_secret() == b.value.expose_secret()
}
