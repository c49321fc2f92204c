//! The conversation with one child: requests of many callers out, what belongs to each of them back.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::super::changes::ListChanges;
use super::super::meta::Empty;
use super::super::{Event, Failure, MAX_MESSAGE, Members};
use super::inbox::Inbox;
use super::lines::{Line, LineError, Lines};
use crate::mcp::fault::METHOD_NOT_FOUND;
use crate::mcp::members::one_line;

/// Requests that wait for a child that reads slowly.
const QUEUE: usize = 16;
/// Our answers to the server's own requests that wait for the same.
const MAX_REPLIES: usize = 64;
/// The longest id of a request of the server's.
const MAX_ID: usize = 256;

/// The conversation with one child.
#[derive(Debug)]
pub struct Link {
    state: Mutex<State>,
    queue: mpsc::Sender<Outgoing>,
    /// There are cancellations or replies to write.
    wake: Notify,
    list_changes: Arc<ListChanges>,
    /// Lines that were no messages.
    passed_over: AtomicU64,
    server: Arc<str>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    calls: HashMap<u64, Call>,
    /// Calls that were written, and nobody waits for any more. No more than there have been callers at once.
    cancels: Vec<u64>,
    replies: Vec<Vec<u8>>,
    /// Since when no call is taken.
    closed: Option<Instant>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Call {
    inbox: Arc<Inbox>,
    /// The caller's progress token, as it is written.
    token: Option<Box<RawValue>>,
    written: bool,
}

/// A line for the child.
#[derive(Debug)]
pub enum Outgoing {
    /// A request: not written any more if nobody waits for it.
    Request {
        /// Its id.
        id: u64,
        /// With its line end.
        line: Vec<u8>,
    },
    /// A notification.
    Notice(Vec<u8>),
}

/// A message of ours.
#[derive(Serialize)]
struct Message<'a, P> {
    jsonrpc: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

impl<P> Default for Message<'_, P> {
    fn default() -> Self {
        let (id, method, params, result, error) = (None, None, None, None, None);
        Self { jsonrpc: Version::Two, id, method, params, result, error }
    }
}

#[derive(Serialize)]
enum Version {
    #[serde(rename = "2.0")]
    Two,
}

#[derive(Serialize)]
struct Error {
    code: i32,
    message: &'static str,
}

#[derive(Serialize)]
struct Cancelled {
    #[serde(rename = "requestId")]
    request_id: u64,
}

impl Link {
    /// A conversation with the MCP server of the name `server`, and what is to be written in it.
    /// `list_changes` counts what the server says of its list of tools.
    pub fn new(
        server: Arc<str>,
        list_changes: Arc<ListChanges>,
    ) -> (Arc<Self>, mpsc::Receiver<Outgoing>) {
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let link = Self {
            state: Mutex::default(),
            queue,
            wake: Notify::new(),
            list_changes,
            passed_over: AtomicU64::new(0),
            server,
        };
        (Arc::new(link), outgoing)
    }

    /// A place for a call, whose answer comes to `inbox`. `None`: the conversation is over.
    pub fn register(
        self: &Arc<Self>,
        token: Option<Box<RawValue>>,
        inbox: Arc<Inbox>,
    ) -> Option<Ticket> {
        let mut state = self.state();
        if state.closed.is_some() {
            return None;
        }
        state.last_id += 1;
        let id = state.last_id;
        state.calls.insert(id, Call { inbox: inbox.clone(), token, written: false });
        Some(Ticket { link: self.clone(), id, inbox, cancel: true })
    }

    /// Tells the server something, once there is room.
    pub async fn notify(&self, method: &str) {
        let message = Message::<Empty> { method: Some(method), ..Message::default() };
        // Otherwise it is over, which whoever asks something finds out.
        self.queue.send(Outgoing::Notice(line(&message))).await.ok();
    }

    /// Since when no call is taken any more.
    pub fn closed(&self) -> Option<Instant> {
        self.state().closed
    }

    /// Why it is over, once that is known.
    pub fn failure(&self) -> Option<Failure> {
        self.state().failure.clone()
    }

    /// Takes no more calls.
    pub fn close(&self) {
        self.state().closed.get_or_insert_with(Instant::now);
    }

    /// Ends all calls.
    pub fn end(&self, failure: &Failure) {
        let mut state = self.state();
        state.closed.get_or_insert_with(Instant::now);
        state.failure.get_or_insert_with(|| failure.clone());
        (state.cancels, state.replies) = (Vec::new(), Vec::new());
        let calls = std::mem::take(&mut state.calls);
        drop(state);
        for call in calls.into_values() {
            call.inbox.fail(failure.clone());
        }
    }

    /// Writes what there is to write, until the pipe is broken.
    ///
    /// # Errors
    /// It is broken.
    pub async fn write(
        &self,
        mut to: impl AsyncWrite + Unpin,
        mut queue: mpsc::Receiver<Outgoing>,
    ) -> io::Result<()> {
        loop {
            let next = tokio::select! {
                () = self.wake.notified() => None,
                next = queue.recv() => match next {
                    Some(next) => Some(next),
                    None => return Ok(()),
                },
            };
            // Before the next request, so that what is given up makes room for it.
            for line in self.urgent() {
                to.write_all(&line).await?;
            }
            match next {
                Some(Outgoing::Request { id, line }) if self.begin(id) => {
                    to.write_all(&line).await?;
                }
                Some(Outgoing::Notice(line)) => to.write_all(&line).await?,
                Some(Outgoing::Request { .. }) | None => {}
            }
            to.flush().await?;
        }
    }

    /// Reads until there is no more, or what comes can't be taken. The former is no failure.
    pub async fn read(&self, from: impl AsyncRead + Unpin) -> Option<Failure> {
        let mut lines = Lines::new(from, MAX_MESSAGE);
        loop {
            match lines.next().await {
                Ok(Some(Line::Whole(line))) => self.take(line),
                Ok(Some(Line::TooLong(call))) => self.too_long(call),
                Ok(None) => return None,
                Err(LineError::Endless) => return Some(Failure::TooLong),
                Err(LineError::Io(error)) => {
                    return Some(Failure::Broken(format!("its output can't be read: {error}")));
                }
            }
        }
    }

    fn take(&self, line: &mut [u8]) {
        one_line(line);
        // Many programs print a greeting, or a warning, where only messages belong.
        let Ok(mut message) = Members::parse(line) else { return self.passed_over() };
        let id = message.remove("id").filter(|id| id.get() != "null");
        match (message.text("method"), id) {
            (Some(method), Some(id)) => self.reply(&method, &id),
            (Some(method), None) => self.notice(&method, message),
            (None, Some(id)) => self.answer(&id, message),
            // The server could not read what it got. Nobody knows which call that was.
            (None, None) => self.passed_over(),
        }
    }

    /// A message was too long. Whoever it belongs to, if that is known, gets no other answer.
    fn too_long(&self, id: Option<u64>) {
        let call = id.and_then(|id| self.state().calls.remove(&id));
        match call {
            Some(call) => call.inbox.fail(Failure::TooLong),
            None => self.passed_over(),
        }
    }

    /// Some of the lines that belong to nothing are told, fewer the more there are.
    fn passed_over(&self) {
        let lines = self.passed_over.fetch_add(1, Ordering::Relaxed) + 1;
        if lines.is_power_of_two() {
            tracing::debug!(
                server = &*self.server,
                lines,
                "lines of an MCP server were no messages"
            );
        }
    }

    /// Of what a server may ask of a client, this one can only say that it is there.
    fn reply(&self, method: &str, id: &RawValue) {
        let number = id.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if id.get().len() > MAX_ID || !(number || id.get().starts_with('"')) {
            return;
        }
        let mut message = Message::<Empty> { id: Some(id), ..Message::default() };
        if method == "ping" {
            message.result = Some(Empty {});
        } else {
            message.error = Some(Error { code: METHOD_NOT_FOUND, message: "method not found" });
        }
        let mut state = self.state();
        // A child that asks, and does not read the answers, goes without them.
        if state.replies.len() < MAX_REPLIES {
            state.replies.push(line(&message));
            drop(state);
            self.wake.notify_one();
        }
    }

    fn notice(&self, method: &str, message: Members) {
        match method {
            "notifications/progress" => self.progress(message),
            "notifications/tools/list_changed" => self.list_changes.said(),
            _ => {}
        }
    }

    fn progress(&self, mut message: Members) {
        const TOKEN: &str = "progressToken";
        let Some(mut params) = message.object("params") else { return };
        let Some(id) = params.get(TOKEN).and_then(|token| token.get().parse().ok()) else { return };
        let Some((inbox, token)) = self
            .state()
            .calls
            .get(&id)
            .and_then(|call| Some((call.inbox.clone(), call.token.clone()?)))
        else {
            return;
        };
        params.set(TOKEN, token);
        message.put("jsonrpc", &Version::Two);
        message.set("params", params.to_raw());
        let mut text = Box::<str>::from(message.to_raw()).into_boxed_bytes().into_vec();
        one_line(&mut text);
        let bytes = text.len();
        if !inbox.push(Event::Notification(Bytes::from(text)), bytes) {
            self.leave(id, true);
        }
    }

    fn answer(&self, id: &RawValue, mut message: Members) {
        let Ok(id) = id.get().parse::<u64>() else { return };
        let Some(call) = self.state().calls.remove(&id) else { return };
        let mut object = |name| message.remove(name).filter(|value| value.get().starts_with('{'));
        let event = match (object("result"), object("error")) {
            (Some(result), None) => Event::Result(result),
            (None, Some(error)) => Event::Error(error),
            _ => {
                let what = "an answer is neither a result nor an error".to_owned();
                return call.inbox.fail(Failure::Malformed(what));
            }
        };
        let bytes = match &event {
            Event::Result(value) | Event::Error(value) => value.get().len(),
            Event::Notification(text) => text.len(),
        };
        call.inbox.push(event, bytes);
    }

    /// Whether a request is to be written. If so, it counts as written.
    fn begin(&self, id: u64) -> bool {
        self.state().calls.get_mut(&id).map(|call| call.written = true).is_some()
    }

    /// Nobody waits for a call any more.
    fn leave(&self, id: u64, cancel: bool) {
        let mut state = self.state();
        if state.calls.remove(&id).is_some_and(|call| call.written && cancel) {
            state.cancels.push(id);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// The lines that wait for no room.
    fn urgent(&self) -> Vec<Vec<u8>> {
        let mut state = self.state();
        let mut lines = std::mem::take(&mut state.replies);
        let cancels = std::mem::take(&mut state.cancels);
        drop(state);
        lines.extend(cancels.into_iter().map(|request_id| {
            let method = Some("notifications/cancelled");
            let params = Some(Cancelled { request_id });
            line(&Message { method, params, ..Message::default() })
        }));
        lines
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way. Dropped before its end, it is cancelled at the server.
#[derive(Debug)]
pub struct Ticket {
    link: Arc<Link>,
    id: u64,
    inbox: Arc<Inbox>,
    cancel: bool,
}

impl Ticket {
    /// Its id, and its progress token for the server.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// It is not cancelled at the server when it is dropped.
    pub fn never_cancelled(mut self) -> Self {
        self.cancel = false;
        self
    }

    /// Sends it, once there is room. That it does not arrive is told by [`next`](Self::next).
    pub async fn send(&self, method: &str, params: Option<&impl Serialize>) {
        let id = serde_json::value::to_raw_value(&self.id).ok();
        let message =
            Message { id: id.as_deref(), method: Some(method), params, ..Message::default() };
        let line = line(&message);
        self.link.queue.send(Outgoing::Request { id: self.id, line }).await.ok();
    }

    /// What comes next.
    ///
    /// # Errors
    /// Nothing comes any more.
    pub async fn next(&self) -> Result<Event, Failure> {
        self.inbox.next().await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.link.leave(self.id, self.cancel);
    }
}

/// A message with its line end, and no other.
fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message)
        .unwrap_or_else(|_| unreachable!("text that was read, and plain strings, are written"));
    one_line(&mut line);
    line.push(b'\n');
    line
}
