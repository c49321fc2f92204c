//! What is said to a server, and what it says.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use super::headers::name_header;
use super::peer::Peer;
use crate::mcp::fault::METHOD_NOT_FOUND;
use crate::mcp::members::{Members, one_line};
use crate::mcp::request::{METHOD, NAME, PROTOCOL_VERSION};
use crate::mcp::upstream::meta::{Client, Empty, Params};
use crate::mcp::upstream::{Event, Failure, STATELESS};

/// The longest id of a server's own request that is answered.
const LONGEST_ID: usize = 1_024;

/// A request, ready to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// Its number.
    pub id: u64,
    /// The whole message.
    pub message: Bytes,
    /// The headers that belong to it.
    pub headers: HeaderMap,
    /// The progress token that the caller wrote. The server is sent the request's number instead.
    pub token: Option<Box<RawValue>>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The tool's name, for a call to one.
    pub name: Option<&'a str>,
    /// The parameters.
    pub params: &'a Members,
    /// The caller's share of the headers.
    pub headers: &'a [(HeaderName, HeaderValue)],
}

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: P,
}

#[derive(Serialize)]
struct Notification<'a, P> {
    jsonrpc: &'static str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<P>,
}

impl Outgoing {
    /// A request as a server of `peer`'s era reads it.
    pub fn of(asked: Asked<'_>, peer: &Peer, id: u64) -> Self {
        let mut params = Params::of(asked.params);
        let token = params.token().map(ToOwned::to_owned);
        params.replace_token(id);
        let mut headers = HeaderMap::new();
        for (name, value) in asked.headers {
            headers.append(name, value.clone());
        }
        match peer.session() {
            Some(session) => {
                params.strip();
                session.identify(&mut headers);
            }
            None => {
                params.complete();
                describe(&mut headers, asked.method, asked.name);
            }
        }
        Self { id, message: request(asked.method, &params, id), headers, token }
    }

    /// The question which versions a server speaks, in the manner of [`STATELESS`].
    pub fn discover(id: u64) -> Self {
        let none = Members::default();
        let (mut params, mut headers) = (Params::of(&none), HeaderMap::new());
        params.complete();
        describe(&mut headers, "server/discover", None);
        Self { id, message: request("server/discover", &params, id), headers, token: None }
    }

    /// The greeting of the era of sessions.
    pub fn initialize(version: &str, id: u64) -> Self {
        let mut params = Members::default();
        params.put("protocolVersion", &version);
        // Nothing that a server may ask of a client can be asked of a caller who may be anybody.
        params.put("capabilities", &Empty {});
        params.put("clientInfo", &Client::SELF);
        let message = request("initialize", &params, id);
        Self { id, message, headers: HeaderMap::new(), token: None }
    }
}

/// Completes the headers in the manner of [`STATELESS`].
fn describe(headers: &mut HeaderMap, method: &str, name: Option<&str>) {
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(STATELESS));
    if let Ok(method) = HeaderValue::from_str(method) {
        headers.insert(METHOD, method);
    }
    if let Some(name) = name.and_then(name_header) {
        headers.insert(NAME, name);
    }
}

fn request(method: &str, params: impl Serialize, id: u64) -> Bytes {
    written(&Request { jsonrpc: "2.0", id, method, params })
}

/// A notification to a server.
pub fn notification(method: &str, params: Option<impl Serialize>) -> Bytes {
    written(&Notification { jsonrpc: "2.0", method, params })
}

/// The word that nobody waits for a request any more.
pub fn cancelled(id: u64) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Cancelled {
        request_id: u64,
        reason: &'static str,
    }

    let params = Cancelled { request_id: id, reason: "nobody waits for the answer" };
    notification("notifications/cancelled", Some(params))
}

/// The answer to a server's own request: there is only one that has another than an error. `None` for an id
/// that can't be answered.
pub fn reply(id: &RawValue, method: &str) -> Option<Bytes> {
    #[derive(Serialize)]
    struct Reply<'a> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<Empty>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Refusal>,
    }

    #[derive(Serialize)]
    struct Refusal {
        code: i32,
        message: &'static str,
    }

    let text = id.get();
    let fits = text.len() <= LONGEST_ID
        && matches!(text.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'));
    let (result, error) = match method {
        "ping" => (Some(Empty {}), None),
        _ => (None, Some(Refusal { code: METHOD_NOT_FOUND, message: "method not found" })),
    };
    fits.then(|| written(&Reply { jsonrpc: "2.0", id, result, error }))
}

fn written(message: &impl Serialize) -> Bytes {
    // Strings, numbers and JSON that was read before.
    serde_json::to_vec(message)
        .unwrap_or_else(|_| unreachable!("nothing here can't be JSON"))
        .into()
}

/// A message of a server's.
#[derive(Debug)]
pub enum Message {
    /// An answer, to what has this number. `None`: to nothing of ours.
    Answer(Option<u64>, Event),
    /// A notification: its method, and the whole.
    Notification(String, Members),
    /// A request of its own: its id and its method.
    Request(Box<RawValue>, String),
}

impl Message {
    /// Reads one.
    ///
    /// # Errors
    /// It is no JSON-RPC.
    pub fn parse(text: &[u8]) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::Malformed(what.to_owned());
        // What the parser says may show what the server wrote.
        let mut members = Members::parse(text)
            .map_err(|_| wrong("a message is no JSON object, or has a name twice"))?;
        if members.text("jsonrpc").as_deref() != Some("2.0") {
            return Err(wrong("a message is not JSON-RPC 2.0"));
        }
        if members.get("method").is_some() {
            let method = members.text("method").ok_or_else(|| wrong("a method is no string"))?;
            return Ok(match members.remove("id") {
                Some(id) => Self::Request(id, method),
                None => Self::Notification(method, members),
            });
        }
        let id = members.get("id").and_then(|id| id.get().parse().ok());
        // Some write the one that is not there as null.
        let mut there = |name| members.remove(name).filter(|value| value.get() != "null");
        match (there("result"), there("error")) {
            (Some(result), None) if result.get().starts_with('{') => {
                Ok(Self::Answer(id, Event::Result(result)))
            }
            (None, Some(error)) if code(&error).is_some() => {
                Ok(Self::Answer(id, Event::Error(error)))
            }
            _ => Err(wrong("a message is neither a result nor an error")),
        }
    }
}

/// The code of a JSON-RPC error; `None` when it is none.
pub fn code(error: &RawValue) -> Option<i64> {
    let members = Members::parse(error.get().as_bytes()).ok()?;
    serde_json::from_str(members.get("code")?.get()).ok()
}

/// A notification as the caller of request `id` gets it, who wrote `token`. `None` where it is not for him.
pub fn handed_on(
    method: &str,
    mut message: Members,
    id: u64,
    token: Option<&RawValue>,
) -> Option<Bytes> {
    match method {
        "notifications/progress" => {
            let mut params = message.object("params")?;
            let (sent, token) = (params.get("progressToken")?.get(), token?);
            if sent.parse() != Ok(id) {
                return None;
            }
            params.set("progressToken", token.to_owned());
            message.set("params", params.to_raw());
        }
        // Of a request of the server's, which the caller never saw.
        "notifications/cancelled" => return None,
        _ => {}
    }
    let mut text = Box::<str>::from(message.to_raw()).into_string().into_bytes();
    one_line(&mut text);
    Some(text.into())
}
