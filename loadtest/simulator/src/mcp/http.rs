//! Streamable HTTP.

use std::{io, sync::Arc};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION, ORIGIN, RETRY_AFTER,
        WWW_AUTHENTICATE,
    },
    request::Parts,
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Body, Era, McpFaultKind, Shared,
    call::{Context, Out, Wire, fault_of, initialize},
    message::{INVALID_REQUEST, Message, Refused, Request, UNSUPPORTED_VERSION},
    modern,
    session::{Session, UnderWay},
    tools,
};
use crate::{play::Answer, server::ResetSwitch};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
const HTML: HeaderValue = HeaderValue::from_static("text/html");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const DIRECTIVES: HeaderName = HeaderName::from_static("x-sim");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Pieces of an answer that wait for its reader.
const WAITING: usize = 16;

type Refusal = (Option<Value>, Refused);

/// Whether a path is one of the MCP server's.
pub(crate) fn serves(path: &str) -> bool {
    path == "/mcp" || path.starts_with("/mcp-")
}

impl Shared {
    /// Answers a request to one of its paths.
    ///
    /// # Errors
    /// When the connection is to be closed without an answer.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        parts: &Parts,
        body: &Bytes,
        reset: ResetSwitch,
    ) -> io::Result<Response<Answer>> {
        let era = match parts.uri.path() {
            "/mcp" => self.settings().era,
            "/mcp-2025" => Era::Sessions,
            "/mcp-2026" => Era::Stateless,
            other => return Ok(self.side_door(&parts.method, other)),
        };
        self.books.arrived(&parts.headers);
        let outcome = match self.admit(parts) {
            Ok(()) if parts.method == Method::POST => self.post(era, parts, body, reset).await,
            Ok(()) if era == Era::Stateless => Err((None, not_allowed("only POST is"))),
            Ok(()) if parts.method == Method::GET => self.listen(&parts.headers, reset),
            Ok(()) if parts.method == Method::DELETE => self.end(&parts.headers),
            Ok(()) => Err((None, not_allowed("only GET, POST and DELETE are"))),
            Err(refused) => Err((None, refused)),
        };
        outcome.unwrap_or_else(|(id, refused)| {
            self.books.refused(&refused.message);
            let mut response =
                answer(refused.status, JSON, Answer::plain(refused.text(id.as_ref())));
            match refused.status {
                StatusCode::UNAUTHORIZED => {
                    let scheme = HeaderValue::from_static("Bearer");
                    response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                }
                StatusCode::METHOD_NOT_ALLOWED => {
                    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                }
                _ => {}
            }
            Ok(response)
        })
    }

    /// Whatever the request says: where it comes from, and with which credential.
    fn admit(&self, parts: &Parts) -> Result<(), Refused> {
        if parts.headers.contains_key(ORIGIN) {
            let why = "no browser is served here";
            return Err(Refused::new(StatusCode::FORBIDDEN, INVALID_REQUEST, why));
        }
        let Some(required) = self.settings().require_key else { return Ok(()) };
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if bearer.or(text(API_KEY)) == Some(required.as_str()) {
            return Ok(());
        }
        Err(Refused::new(StatusCode::UNAUTHORIZED, INVALID_REQUEST, "the credential is wrong"))
    }

    async fn post(
        self: &Arc<Self>,
        era: Era,
        parts: &Parts,
        body: &Bytes,
        reset: ResetSwitch,
    ) -> Result<io::Result<Response<Answer>>, Refusal> {
        let headers = &parts.headers;
        for media in ["application/json", "text/event-stream"] {
            if !accepts(headers, media) {
                let why = format!("accept must have {media}");
                return Err((None, Refused::new(StatusCode::NOT_ACCEPTABLE, INVALID_REQUEST, why)));
            }
        }
        if media_type(headers) != "application/json" {
            let why = "content-type must be application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err((None, Refused::new(status, INVALID_REQUEST, why)));
        }
        let message = Message::read(body)?;
        let id = match &message {
            Message::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        let refused = |refused| (id.clone(), refused);
        let initializes = message.method() == Some("initialize");
        let is_modern = match era {
            Era::Sessions => false,
            Era::Stateless => true,
            Era::Both => !initializes && modern::claims(Some(headers), &message),
        };
        let session = if is_modern {
            if initializes {
                return Err(refused(no_initialize(&message)));
            }
            modern::check(Some(headers), &message).map_err(refused)?;
            self.check_params(headers, &message).map_err(refused)?;
            None
        } else if initializes {
            None
        } else {
            Some(self.session_of(headers).map_err(refused)?)
        };
        match message {
            Message::Request(request) if initializes => {
                self.initialize(headers, &request).await.map_err(refused)
            }
            Message::Request(request) => {
                self.request(session, headers, request, reset).await.map_err(refused)
            }
            Message::Notification { method, params } => {
                self.books.method(&method);
                if let Some(session) = session {
                    session.notified(&method, &params);
                }
                Ok(Ok(empty(StatusCode::ACCEPTED)))
            }
            Message::Response => {
                Err((None, Refused::bad(INVALID_REQUEST, "nothing was asked of the client")))
            }
        }
    }

    fn check_params(&self, headers: &HeaderMap, message: &Message) -> Result<(), Refused> {
        let Message::Request(request) = message else { return Ok(()) };
        let name = request.text_of("name").filter(|_| request.method == "tools/call");
        let Some(schema) = name.and_then(|name| tools::input_schema(&self.settings(), name)) else {
            return Ok(());
        };
        let arguments = request.params.get("arguments").unwrap_or(&Value::Null);
        modern::check_params(headers, &schema, arguments)
    }

    async fn initialize(
        self: &Arc<Self>,
        headers: &HeaderMap,
        request: &Request,
    ) -> Result<io::Result<Response<Answer>>, Refused> {
        if headers.contains_key(SESSION) {
            return Err(Refused::bad(INVALID_REQUEST, "initialize is sent without a session"));
        }
        let (version, members) = initialize(self, request)?;
        self.books.method(&request.method);
        let fault = fault_of(self, directives(headers), request)?;
        if let Some(McpFaultKind::DelayHead(delay)) = fault {
            tokio::time::sleep(delay).await;
        }
        if let Some(instead) = self.instead_of_answer(fault) {
            return Ok(instead);
        }
        let session = self.open_session(&version);
        let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{{members}}}}}"#, request.id);
        let mut response = answer(StatusCode::OK, JSON, Answer::plain(text));
        if let Ok(value) = HeaderValue::try_from(session) {
            response.headers_mut().insert(SESSION, value);
        }
        Ok(Ok(response))
    }

    /// Answers a request in a session, or one of the era without.
    async fn request(
        self: &Arc<Self>,
        session: Option<Arc<Session>>,
        headers: &HeaderMap,
        request: Request,
        reset: ResetSwitch,
    ) -> Result<io::Result<Response<Answer>>, Refused> {
        if let Some(session) = &session
            && !session.is_initialized()
            && request.method != "ping"
        {
            let why = format!("{} before notifications/initialized", request.method);
            return Err(Refused::bad(INVALID_REQUEST, why));
        }
        let fault = fault_of(self, directives(headers), &request)?;
        let under_way = UnderWay::begin(self, session.as_ref(), &request)?;
        self.books.method(&request.method);
        if let Some(instead) = self.instead_of_answer(fault) {
            return Ok(instead);
        }
        // Within a session the end of a connection means nothing, a notification cancels.
        let cancel = session.is_none().then(|| under_way.cancel.clone().drop_guard());
        let (out, mut rest) = mpsc::channel(WAITING);
        let context = Context {
            shared: self.clone(),
            session,
            wire: Wire::Http,
            headers: headers.clone(),
            fault,
            out,
        };
        tokio::spawn(context.answer(request, under_way));
        let settings = self.settings();
        let first = rest.recv().await;
        match first {
            Some(Out::Last { status, text }) if !settings.sse => {
                Ok(Ok(answer(status, JSON, Answer::plain(text))))
            }
            Some(Out::HangUp | Out::Exit(_)) => Ok(Err(io::Error::other("closed by a fault"))),
            first => {
                let body = Body::new(first, rest, settings.adorned, reset, cancel);
                Ok(Ok(event_stream(body)))
            }
        }
    }

    /// The session that a request names, and what it must say in it.
    fn session_of(&self, headers: &HeaderMap) -> Result<Arc<Session>, Refused> {
        let id = session_id(headers)?;
        let session = self.session(id).ok_or_else(|| {
            Refused::new(StatusCode::NOT_FOUND, INVALID_REQUEST, "Session not found")
        })?;
        let mut versions = headers.get_all(modern::VERSION_HEADER).iter();
        match (versions.next(), versions.next()) {
            (Some(version), None) if version == session.version() => Ok(session),
            (None, _) if !session.names_version() => Ok(session),
            (None, _) => Err(Refused::bad(INVALID_REQUEST, "mcp-protocol-version is missing")),
            _ => {
                let why = format!("mcp-protocol-version is not {}", session.version());
                Err(Refused::bad(INVALID_REQUEST, why))
            }
        }
    }

    /// A stream of what the server says unasked.
    fn listen(
        self: &Arc<Self>,
        headers: &HeaderMap,
        reset: ResetSwitch,
    ) -> Result<io::Result<Response<Answer>>, Refusal> {
        if !accepts(headers, "text/event-stream") {
            let why = "accept must have text/event-stream";
            return Err((None, Refused::new(StatusCode::NOT_ACCEPTABLE, INVALID_REQUEST, why)));
        }
        self.session_of(headers).map_err(|refused| (None, refused))?;
        let (out, rest) = mpsc::channel(WAITING);
        let mut changes = self.list_changes();
        let shared = self.clone();
        tokio::spawn(async move {
            let _listening = shared.books.listening();
            loop {
                tokio::select! {
                    () = out.closed() => return,
                    change = changes.recv() => match change {
                        Ok(()) => {
                            let changed = Out::Message(LIST_CHANGED.to_owned());
                            // Closed, which the other branch sees.
                            let _ = out.send(changed).await;
                        }
                        Err(_) => return,
                    },
                }
            }
        });
        let settings = self.settings();
        let first = Some(Out::Raw(Bytes::from_static(b": listening\n\n")));
        Ok(Ok(event_stream(Body::new(first, rest, settings.adorned, reset, None))))
    }

    fn end(&self, headers: &HeaderMap) -> Result<io::Result<Response<Answer>>, Refusal> {
        self.session_of(headers).map_err(|refused| (None, refused))?;
        let id = session_id(headers).map_err(|refused| (None, refused))?;
        self.end_session(id);
        Ok(Ok(empty(StatusCode::OK)))
    }

    /// The faults that take the place of the whole answer.
    fn instead_of_answer(
        &self,
        fault: Option<McpFaultKind>,
    ) -> Option<io::Result<Response<Answer>>> {
        let speak = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            answer(status, TEXT, Answer::plain("simulated fault"))
        };
        let instead = match fault? {
            McpFaultKind::Status(status) => Ok(speak(status)),
            McpFaultKind::RetryAfter { status, seconds } => {
                let mut response = speak(status);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                Ok(response)
            }
            McpFaultKind::Redirect(status) => {
                let mut response = speak(status);
                let elsewhere = HeaderValue::from_static("/mcp-elsewhere");
                response.headers_mut().insert(LOCATION, elsewhere);
                Ok(response)
            }
            McpFaultKind::NotJson => Ok(answer(
                StatusCode::OK,
                HTML,
                Answer::plain("<!doctype html><title>Not what you asked for</title>"),
            )),
            McpFaultKind::Accepted => Ok(empty(StatusCode::ACCEPTED)),
            McpFaultKind::EmptyReply => Err(io::Error::other("closed by a fault")),
            _ => return None,
        };
        self.books.fault();
        Some(instead)
    }

    /// For tests that have no handle.
    fn side_door(&self, method: &Method, path: &str) -> Response<Answer> {
        match (method.as_str(), path) {
            (_, "/mcp-elsewhere") => {
                self.books.redirected();
                answer(StatusCode::OK, JSON, Answer::plain("{}"))
            }
            ("GET", "/mcp-stats") => {
                let mut stats = json!(self.books.stats());
                stats["refusals"] = json!(self.books.refusals());
                answer(StatusCode::OK, JSON, Answer::plain(stats.to_string()))
            }
            ("POST", "/mcp-release") => {
                self.release();
                empty(StatusCode::OK)
            }
            ("POST", "/mcp-lose-sessions") => {
                self.lose_sessions();
                empty(StatusCode::OK)
            }
            ("POST", "/mcp-list-changed") => {
                self.list_changed();
                empty(StatusCode::OK)
            }
            _ => answer(StatusCode::NOT_FOUND, TEXT, Answer::plain("Not found")),
        }
    }
}

/// That the list of tools has changed.
pub(crate) const LIST_CHANGED: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

/// How a server of the era without sessions refuses to be greeted.
pub(crate) fn no_initialize(message: &Message) -> Refused {
    let asked = message.params().and_then(|params| params.get("protocolVersion"));
    let data = json!({ "supported": [super::STATELESS], "requested": asked });
    let mut refused = Refused::bad(UNSUPPORTED_VERSION, "Unsupported protocol version");
    refused.data = Some(Box::new(data));
    refused
}

fn session_id(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut ids = headers.get_all(SESSION).iter();
    match (ids.next().map(HeaderValue::to_str), ids.next()) {
        (Some(Ok(id)), None) => Ok(id),
        (None, _) => Err(Refused::bad(INVALID_REQUEST, "mcp-session-id is missing")),
        _ => Err(Refused::bad(INVALID_REQUEST, "mcp-session-id is not one text")),
    }
}

fn directives(headers: &HeaderMap) -> Option<&str> {
    headers.get(DIRECTIVES).map(|value| value.to_str().unwrap_or("?"))
}

fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges
        .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media))
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn not_allowed(what: &str) -> Refused {
    let why = format!("method not allowed: {what}");
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, why)
}

fn answer(status: StatusCode, content_type: HeaderValue, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn event_stream(body: Body) -> Response<Answer> {
    let mut response = answer(StatusCode::OK, EVENT_STREAM, Answer::Mcp(Box::new(body)));
    let no_cache = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(CACHE_CONTROL, no_cache);
    response
}

fn empty(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::plain(Bytes::new()));
    *response.status_mut() = status;
    response
}
