//! The way to a server: connections, and what every request carries.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use secrecy::ExposeSecret;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config::valid::mcp::{HttpTransport, Target};
use crate::config::valid::{AuthStyle, PairFiles, Secret};
use crate::http_client::{
    KeepingClient, Shown, keeping_client, retry_after, whole_body, with_causes,
};
use crate::mcp::upstream::Failure;
use crate::mcp::upstream::changes::ListChanges;
use crate::tls::File;

/// For what is sent to a server and nobody waits for.
const ASIDE: Duration = Duration::from_secs(5);

/// Answers to a server's own requests that are under way. What it asks beyond is not answered.
const MOST_REPLIES: usize = 8;

/// The longest answer to a notification that is read, so that its connection can be used again.
const LONGEST_RECEIPT: usize = 64 * 1_024;

/// The way to a server.
pub struct Link {
    client: KeepingClient<Full<Bytes>>,
    url: Uri,
    /// The configured headers and the credential.
    headers: HeaderMap,
    replies: Arc<Semaphore>,
    list_changes: ListChanges,
}

impl Link {
    /// The way to a server.
    ///
    /// # Errors
    /// Its URL, its authorities or its certificate can't be used.
    pub fn new(target: &Target, transport: &HttpTransport) -> Result<Self, String> {
        let told = |error: &dyn ToString| error.to_string();
        let url = uri(transport).map_err(|error| told(&error))?;
        let pair = transport.client_certificate.as_ref();
        let shown = pair.map(|pair| shown(&target.name, pair));
        let (tls, ca) = (transport.url.tls, transport.ca.as_deref());
        let client = keeping_client(tls, ca, shown, target.timeouts.connect)
            .map_err(|error| told(&error))?;
        let mut headers = HeaderMap::new();
        for (name, secret) in &transport.headers {
            headers.append(name, sensitive(secret.value.expose_secret())?);
        }
        if let Some(key) = &transport.api_key {
            let (name, value) = credential(&transport.auth, key)?;
            headers.insert(name, value);
        }
        let replies = Arc::new(Semaphore::new(MOST_REPLIES));
        Ok(Self { client, url, headers, replies, list_changes: ListChanges::default() })
    }

    /// How often the server's tools may have become others.
    pub fn list_changes(&self) -> &ListChanges {
        &self.list_changes
    }

    /// Posts a message. `headers` are those that belong to it.
    ///
    /// # Errors
    /// There is no answer, not even the start of one.
    pub async fn post(
        &self,
        message: Bytes,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = self.request(Method::POST, headers);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accepted = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, accepted);
        *request.body_mut() = Full::new(message);
        self.client.request(request).await.map_err(|error| {
            let text = with_causes(&error);
            if error.is_connect() { Failure::Unreachable(text) } else { Failure::Broken(text) }
        })
    }

    /// Posts a notification, or the answer to a server's request.
    ///
    /// # Errors
    /// It did not arrive, or is refused.
    pub async fn tell(&self, message: Bytes, headers: HeaderMap) -> Result<(), Failure> {
        let response = self.post(message, headers).await?;
        if !response.status().is_success() {
            return Err(refusal(response.status(), response.headers()));
        }
        // There is nothing in it. One that goes on and on is left to itself.
        if media_type(response.headers()) != Some(Media::Events) {
            let _receipt = whole_body(response.into_body(), LONGEST_RECEIPT).await;
        }
        Ok(())
    }

    /// Says something to the server that nobody waits for. Needs a runtime, and is not said without.
    pub fn aside(self: &Arc<Self>, message: Bytes, headers: HeaderMap) {
        let link = self.clone();
        in_background(async move { link.tell(message, headers).await.is_ok() });
    }

    /// Answers a server's own request, if not too many are being answered.
    pub fn reply(self: &Arc<Self>, message: Bytes, headers: HeaderMap) {
        let Ok(permit) = self.replies.clone().try_acquire_owned() else { return };
        let link = self.clone();
        in_background(async move {
            let sent = link.tell(message, headers).await.is_ok();
            drop(permit);
            sent
        });
    }

    /// Ends what `headers` name: a session. Servers need not know how.
    pub fn delete(self: &Arc<Self>, headers: HeaderMap) {
        let link = self.clone();
        in_background(async move {
            let request = link.request(Method::DELETE, headers);
            link.client.request(request).await.is_ok()
        });
    }

    fn request(&self, method: Method, mut headers: HeaderMap) -> Request<Full<Bytes>> {
        // What the message says of itself goes before what is configured, and that before what came with
        // the call: see [`Call::headers`](crate::mcp::upstream::Call::headers).
        for name in self.headers.keys().filter(|name| !is_ours(name)) {
            headers.remove(name);
            for value in self.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let agent = concat!("sluicegate/", env!("CARGO_PKG_VERSION"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// Headers of the protocol itself, whatever is configured.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("mcp-") || name == "last-event-id"
}

fn in_background(work: impl Future<Output = bool> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn(tokio::time::timeout(ASIDE, work)));
    }
}

/// Reads and throws away what is left of an answer, so that its connection can be used again.
pub fn drain(mut body: Incoming) {
    use http_body_util::BodyExt;
    use hyper::body::Body;

    if body.is_end_stream() {
        return;
    }
    in_background(async move {
        let mut left = LONGEST_RECEIPT;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return false };
            left = rest;
        }
        true
    });
}

/// What a status that is no success means.
pub fn refusal(status: StatusCode, headers: &HeaderMap) -> Failure {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Unauthorized(status.as_u16()),
        _ => Failure::Status { status: status.as_u16(), retry_after: retry_after(headers) },
    }
}

/// What can be in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// One message.
    Json,
    /// Messages in a stream of events.
    Events,
}

/// What is in an answer. `None`: nothing of MCP.
pub fn media_type(headers: &HeaderMap) -> Option<Media> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Some(Media::Json);
    }
    essence.eq_ignore_ascii_case("text/event-stream").then_some(Media::Events)
}

/// Where requests go, with the configured query, which may hold secrets.
fn uri(transport: &HttpTransport) -> Result<Uri, http::uri::InvalidUri> {
    let mut url = transport.url.to_string();
    if let Some(query) = transport.encoded_query() {
        if transport.url.path_prefix.is_empty() {
            url.push('/');
        }
        url.push('?');
        url.push_str(query.expose_secret());
    }
    Uri::try_from(url)
}

fn credential(style: &AuthStyle, key: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let key = key.value.expose_secret();
    Ok(match style {
        AuthStyle::Bearer => (AUTHORIZATION, sensitive(&format!("Bearer {key}"))?),
        AuthStyle::Header(name) => (name.clone(), sensitive(key)?),
    })
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "a configured header's value can't stand in one".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn shown(name: &str, pair: &PairFiles) -> Shown {
    let file =
        |key: &str, path| File::new(format!("mcp.targets.{name}.client_certificate.{key}"), path);
    Shown { certificate: file("certificate", &pair.certificate), key: file("key", &pair.key) }
}
