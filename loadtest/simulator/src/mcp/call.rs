//! A request from its acceptance to its answer, however that is carried.

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    McpFault, McpFaultKind, STATELESS, Shared, lock,
    message::{INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, Refused, Request},
    modern::is_implementation,
    session::{Session, UnderWay},
    tools,
};

/// How messages are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Http,
    Stdio,
}

/// What goes to the client.
#[derive(Debug)]
pub(crate) enum Out {
    /// A notification.
    Message(String),
    /// The answer.
    Last { status: StatusCode, text: String },
    /// Bytes that are written as they are.
    Raw(Bytes),
    /// The connection is reset.
    Reset,
    /// The connection ends; over standard output the process.
    HangUp,
    /// The process ends with this code.
    Exit(u8),
}

/// What a request is answered by.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    /// `None`: the era without sessions.
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) wire: Wire,
    pub(crate) headers: HeaderMap,
    pub(crate) fault: Option<McpFaultKind>,
    pub(crate) out: mpsc::Sender<Out>,
}

impl Context {
    pub(crate) async fn send(&self, out: Out) {
        // Nobody reads any more: whether that ends the request is not for here to decide.
        let _ = self.out.send(out).await;
    }

    pub(crate) fn version(&self) -> &str {
        self.session.as_ref().map_or(STATELESS, |session| session.version())
    }

    fn is_modern(&self) -> bool {
        self.session.is_none()
    }

    /// Answers the request, unless it is cancelled before.
    pub(crate) async fn answer(self, request: Request, under_way: UnderWay) {
        let cancel = under_way.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => self.shared.books.cancelled(),
            () = self.answer_to_the_end(request, under_way) => {}
        }
    }

    async fn answer_to_the_end(&self, request: Request, under_way: UnderWay) {
        if let Some(McpFaultKind::DelayHead(delay)) = self.fault {
            tokio::time::sleep(delay).await;
        }
        let result = match self.fault {
            Some(McpFaultKind::Error(code)) => {
                Err(Refused::new(StatusCode::OK, code, "simulated fault"))
            }
            Some(
                McpFaultKind::Status(_)
                | McpFaultKind::RetryAfter { .. }
                | McpFaultKind::Redirect(_)
                | McpFaultKind::Accepted,
            ) => Err(Refused::new(StatusCode::OK, INTERNAL_ERROR, "simulated fault")),
            _ => self.result(&request).await,
        };
        let (status, text) = match result {
            Ok(members) => (StatusCode::OK, self.response(&request.id, &members)),
            Err(refused) => {
                if self.fault.is_none() {
                    let why = format!("{}: {}", request.method, refused.message);
                    self.shared.books.refused(&why);
                }
                let status = if self.is_modern() { refused.status } else { StatusCode::OK };
                (status, refused.text(Some(&request.id)))
            }
        };
        match self.fault {
            Some(fault) => self.send_faulty(fault, &request, status, text, under_way).await,
            None => {
                // Whoever has the answer may use the id and the progress token again.
                drop(under_way);
                self.send(Out::Last { status, text }).await;
            }
        }
    }

    /// The members of the result.
    async fn result(&self, request: &Request) -> Result<String, Refused> {
        let settings = self.shared.settings();
        match (request.method.as_str(), self.is_modern()) {
            ("ping", false) => Ok(String::new()),
            ("tools/list", modern) => {
                let page = tools::list(&settings, self.wire, request)?;
                if !modern {
                    return Ok(page);
                }
                let scope = if settings.list_public { "public" } else { "private" };
                let ttl = settings.list_ttl_ms;
                Ok(format!(r#"{page},"ttlMs":{ttl},"cacheScope":"{scope}""#))
            }
            ("tools/call", _) => tools::call(self, request).await,
            ("server/discover", true) => {
                let capabilities = json!({ "tools": { "listChanged": false } });
                Ok(format!(
                    r#""supportedVersions":["{STATELESS}"],"capabilities":{capabilities},"instructions":"Simulated.","ttlMs":60000,"cacheScope":"public""#
                ))
            }
            (method, _) => Err(Refused::new(
                StatusCode::NOT_FOUND,
                METHOD_NOT_FOUND,
                format!("Method not found: {method}"),
            )),
        }
    }

    fn response(&self, id: &Value, members: &str) -> String {
        if !self.is_modern() {
            return format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{members}}}}}"#);
        }
        let own = format!(
            r#""resultType":"complete","_meta":{{"io.modelcontextprotocol/serverInfo":{}}}"#,
            server_info()
        );
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{members},{own}}}}}"#)
    }

    async fn send_faulty(
        &self,
        fault: McpFaultKind,
        request: &Request,
        status: StatusCode,
        text: String,
        under_way: UnderWay,
    ) {
        self.shared.books.fault();
        let last = |text: String| Out::Last { status, text };
        match fault {
            McpFaultKind::Stall => {
                self.open_stream().await;
                // Until it is cancelled.
                std::future::pending::<()>().await;
            }
            McpFaultKind::Endless => {
                let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"still here"}}"#;
                while !self.out.is_closed() {
                    self.send(Out::Message(note.to_owned())).await;
                    tokio::task::yield_now().await;
                }
                // Nobody reads; within a session that does not cancel.
                std::future::pending::<()>().await;
            }
            _ => drop(under_way),
        }
        match fault {
            McpFaultKind::WrongId => {
                let result = text.find(r#","result":"#).or_else(|| text.find(r#","error":"#));
                let rest = &text[result.unwrap_or(text.len() - 1)..];
                self.send(last(format!(
                    r#"{{"jsonrpc":"2.0","id":"not-{}"{rest}"#,
                    plain(&request.id)
                )))
                .await;
            }
            McpFaultKind::DuplicateMembers => {
                let body = &text[..text.len() - 1];
                let id = &request.id;
                self.send(last(format!(r#"{body},"id":{id},"result":{{"content":[]}}}}"#))).await;
            }
            McpFaultKind::BadJson => self.send(last(half(&text).to_owned())).await,
            McpFaultKind::NotJson => {
                self.send(Out::Raw(Bytes::from_static(b"An intermediary speaks.\n"))).await;
            }
            McpFaultKind::Truncate => {
                self.open_stream().await;
                if self.wire == Wire::Stdio {
                    self.send(Out::HangUp).await;
                }
            }
            McpFaultKind::TruncateMidEvent | McpFaultKind::Reset => {
                let start = if self.wire == Wire::Http { "data: " } else { "" };
                self.send(Out::Raw(Bytes::from(format!("{start}{}", half(&text))))).await;
                let ends = fault == McpFaultKind::Reset;
                if ends || self.wire == Wire::Stdio {
                    self.send(Out::Reset).await;
                }
            }
            McpFaultKind::EmptyReply => self.send(Out::HangUp).await,
            _ => self.send(last(text)).await,
        }
    }

    /// Shows that an answer has begun.
    async fn open_stream(&self) {
        if self.wire == Wire::Http {
            self.send(Out::Raw(Bytes::from_static(b": here it comes\n\n"))).await;
        }
    }
}

/// Half of a message, without a character cut in two.
fn half(text: &str) -> &str {
    let mut end = text.len() / 2;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn plain(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), |text| text.replace(['"', '\\'], ""))
}

pub(crate) fn server_info() -> Value {
    json!({ "name": "sluicegate-simulator", "version": env!("CARGO_PKG_VERSION") })
}

/// What goes wrong with this request: as its header says, its tool's argument, or the settings.
///
/// # Errors
/// A text that does not say what.
pub(crate) fn fault_of(
    shared: &Shared,
    directives: Option<&str>,
    request: &Request,
) -> Result<Option<McpFaultKind>, Refused> {
    let parse = |text: &str| {
        McpFault::parse(text)
            .map_err(|error| Refused::bad(INVALID_PARAMS, format!("simulator directives: {error}")))
    };
    let argument = (request.text_of("name") == Some("faulty"))
        .then(|| request.params.get("arguments")?.get("fault")?.as_str())
        .flatten();
    if let Some(text) = argument {
        return Ok(parse(text)?.map(|fault| fault.kind));
    }
    if let Some(text) = directives {
        let fault = parse(text)?.filter(|fault| fault.meets(&request.method));
        return Ok(fault.map(|fault| fault.kind));
    }
    let mut settings = lock(&shared.settings);
    let Some(fault) = settings.fault.as_mut().filter(|fault| fault.meets(&request.method)) else {
        return Ok(None);
    };
    let kind = fault.kind;
    match &mut fault.times {
        Some(0) => return Ok(None),
        Some(times) => *times -= 1,
        None => {}
    }
    Ok(Some(kind))
}

/// Agrees on a version. Returns it with the result's members.
///
/// # Errors
/// The request is none.
pub(crate) fn initialize(shared: &Shared, request: &Request) -> Result<(String, String), Refused> {
    let refuse = |why: &str| Err(Refused::bad(INVALID_PARAMS, why));
    let Some(version) = request.text_of("protocolVersion") else {
        return refuse("protocolVersion must be a text");
    };
    if !request.params.get("capabilities").is_some_and(Value::is_object) {
        return refuse("capabilities must be an object");
    }
    if !request.params.get("clientInfo").is_some_and(is_implementation) {
        return refuse("clientInfo must have a name and a version");
    }
    let versions = shared.settings().versions;
    let agreed = versions.iter().find(|known| *known == version).or(versions.last());
    let agreed = agreed.map_or(super::SESSIONS, String::as_str).to_owned();
    let capabilities = json!({ "tools": { "listChanged": true } });
    let members = format!(
        r#""protocolVersion":"{agreed}","capabilities":{capabilities},"serverInfo":{},"instructions":"Simulated.""#,
        server_info()
    );
    Ok((agreed, members))
}
