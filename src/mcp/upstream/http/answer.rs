//! One request, and its answer as it comes.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde_json::value::RawValue;
use sluicegate_chat::split::{Splitter, Step};
use tokio::time::{Instant, timeout_at};

use super::link::{Link, Media, drain, media_type, refusal};
use super::message::{self, Message, Outgoing};
use super::peer::{Peer, SESSION_ID};
use crate::http_client::{whole_body, with_causes};
use crate::mcp::upstream::{Event, Failure, MAX_MESSAGE};
use crate::overload::Held;

/// The longest body that is read with a status that is no success.
const LONGEST_REFUSAL: usize = 1024 * 1_024;

/// What a server of [`STATELESS`](crate::mcp::upstream::STATELESS) says to one that speaks something else.
pub const UNSUPPORTED_VERSION: i64 = -32_022;

/// Whether a request's answer is there, and what to do if nobody waits for it any more.
struct Pending {
    link: Arc<Link>,
    /// `None`: the request is part of the handshake.
    peer: Option<Arc<Peer>>,
    id: u64,
    open: bool,
}

/// An answer on its way. It reads the connection itself: dropping it ends that.
pub struct Answer {
    pending: Pending,
    token: Option<Box<RawValue>>,
    deadline: Instant,
    source: Source,
    buffer: BytesMut,
    /// Counts what is in the buffer, if anything does.
    held: Option<Held>,
    session_id: Option<HeaderValue>,
}

enum Source {
    /// One message.
    Json(Incoming),
    /// A stream of them.
    Events(Incoming, Box<Splitter>),
    /// It was all there with the status.
    Whole(Event),
    /// Nothing comes any more.
    Over,
}

/// What comes of asking.
pub enum Outcome {
    /// An answer begins.
    Begun(Answer),
    /// The session that was asked in is gone, and nothing was done.
    SessionLost(Failure),
}

/// Asks.
///
/// # Errors
/// There is no answer of the protocol.
pub async fn ask(
    link: &Arc<Link>,
    peer: Option<&Arc<Peer>>,
    outgoing: Outgoing,
    deadline: Instant,
) -> Result<Outcome, Failure> {
    let Outgoing { id, message, headers, token } = outgoing;
    let mut pending = Pending { link: link.clone(), peer: peer.cloned(), id, open: true };
    let response = match link.post(message, headers).await {
        Ok(response) => response,
        Err(failure) => return Err(pending.ends(failure)),
    };
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        // It was refused, or is done.
        pending.open = false;
        let session = peer.and_then(|peer| peer.session()).filter(|session| session.has_id());
        let response = Response::from_parts(head, body);
        return match refused(response, id, session.is_some()).await {
            Refused::Answer(event) => Ok(Outcome::Begun(Answer {
                pending,
                token,
                deadline,
                source: Source::Whole(event),
                buffer: BytesMut::new(),
                held: None,
                session_id: None,
            })),
            Refused::SessionLost(failure) => Ok(Outcome::SessionLost(failure)),
            Refused::Failure(failure) => Err(pending.ends(failure)),
        };
    }
    let source = match media_type(&head.headers) {
        Some(Media::Json) if body.size_hint().lower() > MAX_MESSAGE as u64 => {
            return Err(pending.ends(Failure::TooLong));
        }
        Some(Media::Json) => Source::Json(body),
        Some(Media::Events) => Source::Events(body, Box::new(Splitter::new(MAX_MESSAGE))),
        None => {
            let what = "an answer is neither JSON nor a stream of events".to_owned();
            return Err(pending.ends(Failure::Malformed(what)));
        }
    };
    let session_id = head.headers.get(SESSION_ID).cloned();
    let buffer = BytesMut::new();
    Ok(Outcome::Begun(Answer { pending, token, deadline, source, buffer, held: None, session_id }))
}

enum Refused {
    Answer(Event),
    SessionLost(Failure),
    Failure(Failure),
}

/// What a status that is no success means to request `id`.
async fn refused(response: Response<Incoming>, id: u64, in_session: bool) -> Refused {
    let (head, body) = response.into_parts();
    let failure = refusal(head.status, &head.headers);
    if in_session && head.status == StatusCode::NOT_FOUND {
        drain(body);
        return Refused::SessionLost(failure);
    }
    // Servers that have lost a session say so in any form.
    let may_be_lost = in_session && head.status == StatusCode::BAD_REQUEST;
    let may_say_more = !matches!(failure, Failure::Unauthorized(_))
        && head.status.as_u16() >= 400
        && head.status != StatusCode::TOO_MANY_REQUESTS
        && media_type(&head.headers) == Some(Media::Json);
    if !may_be_lost && !may_say_more {
        return Refused::Failure(failure);
    }
    let Ok(text) = whole_body(body, LONGEST_REFUSAL).await else {
        return Refused::Failure(failure);
    };
    if let Ok(Message::Answer(said, event @ Event::Error(_))) = Message::parse(&text)
        && said == Some(id)
    {
        return Refused::Answer(event);
    }
    // Many servers answer so instead of with 404, with an error that has no id, or with plain text.
    if may_be_lost && tells_of_loss(&text) {
        return Refused::SessionLost(failure);
    }
    Refused::Failure(failure)
}

/// Whether what a server says with 400 means that it does not know the session, or the client: after a
/// restart the common frameworks say "No valid session ID provided", or "Server not initialized".
fn tells_of_loss(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    [b"session".as_slice(), b"not initialized"]
        .into_iter()
        .any(|words| memchr::memmem::find(&text, words).is_some())
}

impl Answer {
    /// The name that the server gave a session with the answer's head.
    pub fn session_id(&mut self) -> Option<HeaderValue> {
        self.session_id.take()
    }

    /// From now on what is gathered is counted.
    ///
    /// # Errors
    /// There is no room for what is there already.
    pub fn within(mut self, held: Option<Held>) -> Result<Self, Failure> {
        self.held = held;
        let whole = match &self.source {
            Source::Whole(Event::Result(value) | Event::Error(value)) => value.get().len(),
            _ => 0,
        };
        self.hold(whole)?;
        Ok(self)
    }

    /// Makes room for so many bytes in all.
    fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        match &mut self.held {
            Some(held) => held.grow_to(bytes as u64).map_err(|_| Failure::NoRoom),
            None => Ok(()),
        }
    }

    /// Gives back what was handed over.
    fn give_back(&mut self) {
        if matches!(self.source, Source::Over) || self.buffer.is_empty() {
            // With what it has set aside.
            self.buffer = BytesMut::new();
        }
        if let Some(held) = &mut self.held {
            held.set(self.buffer.len() as u64);
        }
    }

    /// See [`Answer::next`](crate::mcp::upstream::Answer::next). It can be dropped and called again, and
    /// nothing is lost.
    pub(in crate::mcp::upstream) async fn next(&mut self) -> Result<Event, Failure> {
        // A server that never stops must not be read for ever.
        let outcome = if Instant::now() >= self.deadline {
            Err(Failure::TimedOut)
        } else {
            timeout_at(self.deadline, self.read()).await.unwrap_or(Err(Failure::TimedOut))
        };
        match &outcome {
            Ok(Event::Notification(_)) => {}
            Ok(last) => {
                self.pending.open = false;
                if let Some(peer) = &self.pending.peer {
                    match last {
                        Event::Error(error)
                            if message::code(error) == Some(UNSUPPORTED_VERSION) =>
                        {
                            peer.outdated();
                        }
                        _ => peer.answered(),
                    }
                }
                match std::mem::replace(&mut self.source, Source::Over) {
                    Source::Json(body) | Source::Events(body, _) => drain(body),
                    Source::Whole(_) | Source::Over => {}
                }
            }
            Err(failure) => {
                self.source = Source::Over;
                if let Some(peer) = &self.pending.peer {
                    peer.failed(failure);
                }
            }
        }
        self.give_back();
        outcome
    }

    /// The last event.
    ///
    /// # Errors
    /// As `next`.
    pub async fn last(&mut self) -> Result<Event, Failure> {
        loop {
            match self.next().await? {
                Event::Notification(_) => {}
                last => return Ok(last),
            }
        }
    }

    async fn read(&mut self) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.buffered()? {
                return Ok(event);
            }
            let (Source::Json(body) | Source::Events(body, _)) = &mut self.source else {
                return match std::mem::replace(&mut self.source, Source::Over) {
                    Source::Whole(event) => Ok(event),
                    _ => Err(Failure::Broken("there is nothing more".to_owned())),
                };
            };
            let frame = body.frame().await;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.hold(self.buffer.len() + data.len())?;
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Failure::Broken(with_causes(&error))),
                None => return self.ended(),
            }
        }
    }

    /// What is next of what is there, without waiting.
    fn buffered(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            let splitter = match &mut self.source {
                Source::Events(_, splitter) => splitter,
                _ if self.buffer.len() > MAX_MESSAGE => return Err(Failure::TooLong),
                _ => return Ok(None),
            };
            match splitter.next(&self.buffer) {
                Step::Incomplete => return Ok(None),
                Step::Blank { end } => self.buffer.advance(end),
                Step::LineFeed => self.buffer.advance(1),
                Step::TooLong => return Err(Failure::TooLong),
                Step::UnknownField => {
                    let what = "a stream of events has a line that is none of one".to_owned();
                    return Err(Failure::Malformed(what));
                }
                Step::Event(event) => {
                    let message = message_of(&event, &self.buffer).transpose()?;
                    self.buffer.advance(event.end);
                    if let Some(event) = message.map(|it| self.take(it)).transpose()?.flatten() {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// What is there at the end of the body.
    fn ended(&mut self) -> Result<Event, Failure> {
        let broken = || Failure::Broken("the stream ended before the answer".to_owned());
        match &mut self.source {
            Source::Json(_) => match Message::parse(&self.buffer)? {
                answer @ Message::Answer(..) => self.take(answer)?.ok_or_else(broken),
                _ => Err(Failure::Malformed("an answer is none".to_owned())),
            },
            Source::Events(_, splitter) => {
                // The blank line after the last event may be missing. If more is, then the rest is no JSON.
                let event = splitter.finish(&self.buffer);
                let message = event.and_then(|event| message_of(&event, &self.buffer)?.ok());
                let event = message.map(|message| self.take(message)).transpose()?.flatten();
                match event {
                    Some(event @ (Event::Result(_) | Event::Error(_))) => Ok(event),
                    _ => Err(broken()),
                }
            }
            Source::Whole(_) | Source::Over => Err(broken()),
        }
    }

    /// What a message is to the caller, if anything.
    fn take(&mut self, message: Message) -> Result<Option<Event>, Failure> {
        match message {
            Message::Answer(id, event) if id == Some(self.pending.id) => Ok(Some(event)),
            Message::Answer(..) => {
                Err(Failure::Malformed("an answer has another request's id".to_owned()))
            }
            // Nobody was told that lists here change.
            Message::Notification(method, _) if method == "notifications/tools/list_changed" => {
                self.pending.link.list_changes().said();
                Ok(None)
            }
            Message::Notification(method, message) => {
                let (id, token) = (self.pending.id, self.token.as_deref());
                Ok(message::handed_on(&method, message, id, token).map(Event::Notification))
            }
            Message::Request(id, method) => {
                self.pending.reply(message::reply(&id, &method));
                Ok(None)
            }
        }
    }
}

/// The message in an event of a stream. Events of other names are none of MCP, and those without data keep
/// the connection open.
fn message_of(
    event: &sluicegate_chat::split::Event,
    buffer: &[u8],
) -> Option<Result<Message, Failure>> {
    let data = event.data(buffer)?;
    let named = matches!(event.name(buffer), b"" | b"message");
    (named && !data.trim_ascii().is_empty()).then(|| Message::parse(&data))
}

impl Pending {
    /// Notes that there is no answer, and why.
    fn ends(&mut self, failure: Failure) -> Failure {
        // It never arrived.
        if matches!(failure, Failure::Unreachable(_)) {
            self.open = false;
        }
        if let Some(peer) = &self.peer {
            peer.failed(&failure);
        }
        failure
    }

    /// Answers a server's own request. There is none in the handshake that would be answered, and none at
    /// all in [`STATELESS`](crate::mcp::upstream::STATELESS).
    fn reply(&self, message: Option<Bytes>) {
        let session = self.peer.as_ref().and_then(|peer| peer.session());
        if let (Some(session), Some(message)) = (session, message) {
            let mut headers = HeaderMap::new();
            session.identify(&mut headers);
            self.link.reply(message, headers);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // A server of the other era sees it by the connection. The handshake is never cancelled.
        let session = self.peer.as_ref().and_then(|peer| peer.session());
        if let (true, Some(session)) = (self.open, session) {
            let mut headers = HeaderMap::new();
            session.identify(&mut headers);
            self.link.aside(message::cancelled(self.id), headers);
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("id", &self.pending.id).finish_non_exhaustive()
    }
}
