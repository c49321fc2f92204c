//! A client of the admin API.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use crate::config::Env;
use crate::http_client::{self, HttpClient, whole_body, with_causes};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Bytes of a file with a credential, at most.
const MAX_FILE: u64 = 64 * 1024;
/// Where the credential is, unless in a file.
const VARIABLE: &str = "SLUICEGATE_MASTER_KEY";

/// How to reach the gateway.
#[derive(Args)]
pub struct Connection {
    /// The admin listener.
    #[arg(long, env = "SLUICEGATE_ADMIN_URL", default_value = "http://127.0.0.1:8081")]
    url: String,
    /// A file with the credential, in place of SLUICEGATE_MASTER_KEY; `-` for standard input.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// Authorities to trust instead of this machine's, as a PEM file.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Send the credential over plain HTTP to another machine.
    #[arg(long)]
    insecure: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why there is no answer to show.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The gateway can't be reached, or is not one.
    #[error("{0}")]
    Failed(String),
    /// The gateway refuses.
    #[error("{0}")]
    Refused(String),
}

impl From<http_client::ClientError> for ClientError {
    fn from(error: http_client::ClientError) -> Self {
        match error {
            http_client::ClientError::Ca { path, message } => {
                Self::Usage(format!("--ca {}: {message}", path.display()))
            }
            http_client::ClientError::NoAuthorities { message } => Self::Failed(message),
            // It shows none.
            error @ http_client::ClientError::Shown(_) => Self::Failed(error.to_string()),
        }
    }
}

/// Sends requests, one at a time.
pub struct Client {
    base: String,
    authorization: Option<HeaderValue>,
    http: HttpClient<Full<Bytes>>,
    runtime: Runtime,
    json: bool,
}

impl Client {
    /// # Errors
    /// What is wrong with the options.
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let usage = |message: String| ClientError::Usage(message);
        let url = &connection.url;
        let uri: Uri = url.parse().map_err(|error| usage(format!("--url {url}: {error}")))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(usage(format!("--url {url}: must begin with http:// or https://"))),
        };
        let credential = credential(connection.key_file.as_deref())?;
        if credential.is_some() && !https && !is_local(&uri) && !connection.insecure {
            return Err(usage(format!(
                "--url {url}: the credential would be sent in the clear to another machine; use \
                 https, or say --insecure"
            )));
        }
        let authorization = match credential {
            Some(text) => {
                let value = HeaderValue::try_from(format!("Bearer {text}"));
                let mut value = value.map_err(|_| {
                    usage("the credential holds characters that no header can carry".to_owned())
                })?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ClientError::Failed(error.to_string()))?;
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            authorization,
            http: http_client::client(https, connection.ca.as_deref())?,
            runtime,
            json: connection.json,
        })
    }

    /// Whether JSON is to be printed.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Sends a request; the answer's JSON, `null` where it has none.
    ///
    /// # Errors
    /// No answer, or a refusal in the gateway's own words.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Map<String, Value>>,
        idempotency_key: Option<&str>,
    ) -> Result<Value, ClientError> {
        let failed =
            |error: &dyn std::fmt::Display| ClientError::Failed(format!("{}: {error}", self.base));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(ACCEPT, "application/json");
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(|error| failed(&error))?
            }
            None => Vec::new(),
        };
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| ClientError::Usage(error.to_string()))?;
        let exchange = async {
            let answer = self.http.request(request).await;
            let answer = answer.map_err(|error| failed(&with_causes(&error)))?;
            let status = answer.status();
            let body = whole_body(answer.into_body(), MAX_ANSWER).await;
            body.map(|body| (status, body)).map_err(|error| failed(&error))
        };
        let late = || ClientError::Failed(format!("{}: no answer in time", self.base));
        let (status, bytes) = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, exchange).await })
            .map_err(|_| late())??;
        let value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or(Value::Null)
        };
        if status.is_success() { Ok(value) } else { Err(refusal(status, &value)) }
    }
}

/// A refusal in the gateway's words.
fn refusal(status: http::StatusCode, answer: &Value) -> ClientError {
    let error = &answer["error"];
    let Some(message) = error["message"].as_str() else {
        return ClientError::Failed(format!(
            "answered with status {status}; is it the admin listener?"
        ));
    };
    let hint = match (error["hint"].as_str(), status.as_u16()) {
        (Some(hint), _) => format!(" ({hint})"),
        (None, 401) => format!(" (set {VARIABLE}, or --key-file)"),
        (None, _) => String::new(),
    };
    ClientError::Refused(format!("{message}{hint}"))
}

fn credential(file: Option<&Path>) -> Result<Option<String>, ClientError> {
    let Some(path) = file else {
        return Ok(Env::from_process().get(VARIABLE).map(str::to_owned));
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_FILE).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
    };
    read.map_err(|error| ClientError::Usage(format!("{}: {error}", path.display())))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(ClientError::Usage(format!("{}: is empty", path.display())));
    }
    Ok(Some(text.to_owned()))
}

fn is_local(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// A text as it may stand in a query (RFC 3986 section 2.1).
pub fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        let local = |url: &str| is_local(&url.parse().unwrap());
        for url in ["http://127.0.0.1:8081", "http://localhost", "http://[::1]:1"] {
            assert!(local(url), "{url}");
        }
        for url in ["http://10.0.0.1", "http://localhost.example", "http://example"] {
            assert!(!local(url), "{url}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encoded("a b&c=d/é~"), "a%20b%26c%3Dd%2F%C3%A9~");
    }
}
