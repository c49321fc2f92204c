//! Requests for targets that speak another dialect than the caller, and their answers.
//!
//! Only these go through here: what both sides speak passes as it is. A stream is translated event by event. A
//! document is translated when it is whole; its head waits for that, so that one which can't be
//! translated is a clean error, or another attempt.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use sluicegate_chat::bedrock::decode_named_fault;
use sluicegate_chat::{
    Annotate, Broken, ClientDialect, Dialect as Speech, Encoded, Envelope, Expect, Fault,
    FaultKind, OnLoss, StreamDecoder, StreamEncoder, Translator, decode_fault, decode_reply,
    decode_request, encode_fault, encode_reply, encode_request,
};
use sluicegate_filters::price::ServiceTier;
use sluicegate_filters::{Denial, DenialKind};

use super::gather::Bodiless;
use super::outgoing::no_address;
use super::reply::{Content, Seen};
use crate::chat::Usage;
use crate::dialects::Endpoint;
use crate::dialects::error::ErrorReply;
use crate::overload::{Held, Shed};
use crate::providers::address::chat_endpoint;
use crate::routing::Target;

/// What was left out of a request, as the target's dialect can't say it and the model allows that.
pub const DROPPED: HeaderName = HeaderName::from_static("x-sluicegate-dropped-params");

/// The longest document that is translated. Only conversations are, so that a long one is of text, at most a few
/// hundred KiB; with log probabilities of twenty alternatives for each of 16,000 tokens it has some 24 MiB.
const MOST: usize = 32 * 1024 * 1024;

/// What there is always room for, as there is for a stream's pieces: so much is counted and never refused. Of an
/// error no more is read; it is one by its status alone.
const SMALL: usize = 64 * 1024;

/// What callers send to providers of their own dialect, and nobody else understands.
const OF_A_DIALECT: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];

/// What Amazon calls an error.
const ERROR_TYPE: &str = "x-amzn-errortype";

/// The version of Anthropic's API that is spoken.
/// <https://docs.anthropic.com/en/api/versioning>
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// How the present attempt's request was translated.
#[derive(Clone)]
pub struct Translation {
    client: ClientDialect,
    upstream: Speech,
    path: PathAndQuery,
    /// Whether the version of Anthropic's API is told by a header.
    version_in_head: bool,
    expect: Expect,
    envelope: Envelope,
    headers: Vec<(&'static str, std::borrow::Cow<'static, str>)>,
    dropped: Option<HeaderValue>,
    request_id: String,
}

/// An answer that is being translated.
pub struct Translated {
    translation: Translation,
    state: State,
}

enum State {
    Stream {
        translator: Box<Translator>,
        /// Nothing may follow.
        closed: bool,
        /// The provider has ended it, well or not.
        ended: bool,
    },
    /// A document of a good answer.
    Document { bytes: Vec<u8>, told: Told, whole: bool },
    /// The body of an error.
    Fault {
        bytes: Vec<u8>,
        status: u16,
        /// What a header calls it.
        name: Option<String>,
        /// The status that goes with what it was found to be.
        found: Option<StatusCode>,
    },
}

/// What a document has told.
#[derive(Clone, Copy, Default)]
struct Told {
    usage: Option<Usage>,
    tier: Option<ServiceTier>,
}

/// What became of a piece of a translated stream.
pub enum Step {
    /// Forward this, if anything.
    Forward(Option<Bytes>),
    /// The same, and the answer ends here with an error event, which is in it.
    Broke(Option<Bytes>),
    /// There is no room for it.
    NoRoom(Shed),
}

/// What a caller of `endpoint` speaks, where it can be translated.
pub fn client(endpoint: Endpoint) -> Option<ClientDialect> {
    match endpoint {
        Endpoint::ChatCompletions => Some(ClientDialect::OpenAiChat),
        Endpoint::Responses => Some(ClientDialect::OpenAiResponses),
        Endpoint::Messages => Some(ClientDialect::Anthropic),
        Endpoint::Completions | Endpoint::Embeddings | Endpoint::CountTokens => None,
    }
}

/// Writes `body`, which came to `endpoint`, as `target` understands it.
///
/// # Errors
/// It can't be said in the target's dialect, or is not of its own.
pub fn request(
    endpoint: Endpoint,
    body: &[u8],
    target: &Target,
    drop_params: bool,
    (request_id, began_at): (&str, i64),
) -> Result<(Bytes, Translation), Denial> {
    let Some(client) = client(endpoint) else {
        return Err(Denial::new(DenialKind::InternalError, "This endpoint is not translated."));
    };
    let upstream = target.speech;
    let version_in_body = target.upstream.version_in_body();
    let on_loss = if drop_params { OnLoss::DropParameters } else { OnLoss::Refuse };
    let request = decode_request(client, body).map_err(|refusal| denial(&refusal))?;
    let wanted = sluicegate_chat::Target {
        default_max_output: target.answerer.ceiling,
        capabilities: target.capabilities,
        version_in_body,
        ..sluicegate_chat::Target::new(&target.model)
    };
    let encoded = encode_request(upstream, &request, &wanted, on_loss);
    let Encoded { body, path, headers, dropped, expect } =
        encoded.map_err(|refusal| denial(&refusal))?;
    let path = match chat_endpoint(upstream) {
        Some(endpoint) => target.path(endpoint, request.stream).cloned(),
        None => target.upstream.path(&path),
    };
    let created = u64::try_from(began_at).unwrap_or(0);
    let fields: Vec<_> = dropped.into_iter().map(|dropped| dropped.field).collect();
    let translation = Translation {
        client,
        upstream,
        path: path.ok_or_else(no_address)?,
        version_in_head: upstream == Speech::Anthropic && version_in_body.is_none(),
        expect,
        envelope: Envelope::new(&request, identifier(client, request_id), created),
        headers,
        dropped: (!fields.is_empty())
            .then(|| HeaderValue::try_from(fields.join(", ")).ok())
            .flatten(),
        request_id: request_id.to_owned(),
    };
    Ok((body, translation))
}

/// An answer's identifier, as its dialect's look.
fn identifier(client: ClientDialect, request_id: &str) -> String {
    let prefix = match client {
        ClientDialect::OpenAiChat => "chatcmpl-",
        ClientDialect::OpenAiResponses => "resp_",
        ClientDialect::Anthropic => "msg_",
    };
    format!("{prefix}{}", request_id.replace('-', ""))
}

fn denial(refusal: &sluicegate_chat::Refusal) -> Denial {
    let denial = Denial::new(DenialKind::InvalidRequestBody, format!("{refusal}."));
    if refusal.field.is_empty() { denial } else { denial.with_param(refusal.field.clone()) }
}

impl Translation {
    /// Where the request goes.
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// Whether the provider's streams are of Amazon's frames.
    pub fn frames(&self) -> bool {
        self.upstream == Speech::Bedrock
    }

    /// Puts the target's dialect into a request's head.
    ///
    /// # Errors
    /// Never with the headers that a codec writes.
    pub fn write_head(
        &self,
        head: &mut RequestHeader,
        configured: impl Fn(&str) -> bool,
    ) -> Result<()> {
        for name in OF_A_DIALECT {
            if !configured(name) {
                head.remove_header(name);
            }
        }
        head.remove_header(&ACCEPT);
        if self.version_in_head && !configured(VERSION.0) {
            head.insert_header(VERSION.0, VERSION.1)?;
        }
        for (name, value) in &self.headers {
            if !configured(name) {
                head.insert_header(*name, value.as_ref())?;
            }
        }
        Ok(())
    }

    /// An error in the client's dialect, and the status that it is sent with.
    fn fault(&self, status: u16, name: Option<&str>, body: &[u8]) -> (StatusCode, Bytes) {
        let fault = match self.upstream {
            Speech::Bedrock => decode_named_fault(status, name, body),
            upstream => decode_fault(upstream, status, body),
        };
        let mut out = Vec::new();
        encode_fault(self.client, &fault, &self.request_id, &mut out);
        let status = StatusCode::from_u16(fault.kind.status());
        (status.unwrap_or(StatusCode::BAD_GATEWAY), out.into())
    }

    /// Makes an answer's head that of the translated one, and says how its body is translated.
    pub fn answer(&self, head: &mut Parts, annotate: Option<Annotate>) -> Translated {
        if let Some(dropped) = &self.dropped {
            head.headers.insert(DROPPED, dropped.clone());
        }
        let status = head.status.as_u16();
        let pieces = if self.frames() { Content::Frames } else { Content::Events };
        let events = Content::of(&head.headers) == pieces;
        let (state, kind) = if !head.status.is_success() {
            let name = head.headers.get(ERROR_TYPE).and_then(|name| name.to_str().ok());
            let name = name.map(str::to_owned);
            (State::Fault { bytes: Vec::new(), status, name, found: None }, "application/json")
        } else if events {
            let decoder = StreamDecoder::new(self.upstream, &self.expect);
            let encoder = StreamEncoder::new(self.client, self.envelope.clone());
            let mut translator = Translator::new(decoder, encoder);
            if let Some(annotate) = annotate {
                translator = translator.with_annotation(annotate);
            }
            let translator = Box::new(translator);
            (State::Stream { translator, closed: false, ended: false }, "text/event-stream")
        } else {
            let told = Told::default();
            (State::Document { bytes: Vec::new(), told, whole: false }, "application/json")
        };
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Translated { translation: self.clone(), state }
    }
}

impl Translated {
    /// Takes a piece from the provider; `end` with the last. What is gathered of a document, and what is made of
    /// it, is counted in `room`.
    ///
    /// # Errors
    /// A document is not of the provider's dialect, not whole, or too long. Nothing of it has left.
    pub fn step(&mut self, piece: Option<Bytes>, end: bool, room: &mut Held) -> Result<Step> {
        let Self { translation, state } = self;
        match state {
            State::Stream { closed: true, .. } => Ok(Step::Forward(None)),
            State::Stream { translator, closed, ended } => {
                let mut out = Vec::new();
                let mut broke = match &piece {
                    Some(piece) => translator.push(piece, &mut out).is_err(),
                    None => false,
                };
                if end && !broke {
                    broke = translator.finish(&mut out).is_err();
                }
                broke |= translator.fault().is_some();
                *closed = broke || end;
                *ended = *closed;
                let out = (!out.is_empty()).then(|| Bytes::from(out));
                Ok(if broke { Step::Broke(out) } else { Step::Forward(out) })
            }
            State::Document { bytes, told, whole } => {
                let piece = piece.unwrap_or_default();
                if bytes.len() + piece.len() > MOST {
                    let why = "the provider's answer is too long to be translated";
                    return Err(Error::explain(ErrorType::Custom("too_long"), why).into_up());
                }
                // The translation is about as long.
                let ahead = if end { bytes.len() + piece.len() + 256 } else { 0 };
                if let Err(why) = gather(bytes, &piece, ahead, room) {
                    return Ok(Step::NoRoom(why));
                }
                drop(piece);
                if !end {
                    return Ok(Step::Forward(None));
                }
                let bytes = std::mem::take(bytes);
                let others = room.bytes().saturating_sub((bytes.capacity() + ahead) as u64);
                let reply = decode_reply(translation.upstream, &translation.expect, &bytes);
                let reply = reply.map_err(|broken| malformed(&broken))?;
                *told = Told {
                    usage: reply.usage.as_ref().map(usage),
                    tier: reply.service_tier.and_then(tier),
                };
                *whole = true;
                let mut out = Vec::with_capacity(ahead);
                encode_reply(translation.client, &translation.envelope, &reply, &mut out);
                drop(reply);
                drop(bytes);
                room.set(others + out.capacity() as u64);
                Ok(Step::Forward(Some(out.into())))
            }
            State::Fault { bytes, status, name, found } => {
                let piece = piece.unwrap_or_default();
                let piece = &piece[..piece.len().min(SMALL - bytes.len())];
                if let Err(why) = gather(bytes, piece, 0, room) {
                    return Ok(Step::NoRoom(why));
                }
                if !end {
                    return Ok(Step::Forward(None));
                }
                let (of_it, out) = translation.fault(*status, name.as_deref(), bytes);
                *found = Some(of_it);
                Ok(Step::Forward(Some(out)))
            }
        }
    }

    /// What it is, should it end with its head: an error without a word gets one of ours.
    pub fn stand_in(&self) -> Bodiless {
        let State::Fault { status, name, .. } = &self.state else { return Bodiless::Broken };
        let (status, body) = self.translation.fault(*status, name.as_deref(), &[]);
        Bodiless::StandIn(status, body)
    }

    /// The status of an error, once all of it is there. It goes with what the error was found to be, as the
    /// body says: the provider's may be of its dialect only (529), or say something else (429 for a bill
    /// that is not paid).
    pub fn status(&self) -> Option<StatusCode> {
        match &self.state {
            State::Fault { found, .. } => *found,
            State::Stream { .. } | State::Document { .. } => None,
        }
    }

    /// Ends a stream with an error of ours. `None`: it has ended already, or is none.
    pub fn close_with(&mut self, error: &ErrorReply<'_>) -> Option<Bytes> {
        let State::Stream { translator, closed, .. } = &mut self.state else { return None };
        if std::mem::replace(closed, true) || translator.ended() {
            return None;
        }
        let kind = FaultKind::of_status(error.status);
        let code = Some(error.code.to_owned());
        let mut out = Vec::new();
        translator.fail(Fault { code, ..Fault::new(kind, error.message) }, &mut out);
        Some(out.into())
    }

    /// The provider has ended it with its head.
    pub fn end(&mut self) {
        if let State::Stream { ended, .. } = &mut self.state {
            *ended = true;
        }
    }

    /// Whether it is an event stream.
    pub fn is_stream(&self) -> bool {
        matches!(self.state, State::Stream { .. })
    }

    /// Whether its head waits until all of it is there.
    pub fn waits(&self) -> bool {
        !self.is_stream()
    }

    /// Whether the provider has given the whole answer.
    pub fn is_whole(&self) -> bool {
        match &self.state {
            State::Stream { translator, .. } => translator.ended(),
            State::Document { whole, .. } => *whole,
            State::Fault { .. } => false,
        }
    }

    /// Whether a stream is past its content.
    pub fn has_finished(&self) -> bool {
        match &self.state {
            State::Stream { translator, .. } => {
                translator.ended() || translator.finish_reason().is_some()
            }
            State::Document { .. } | State::Fault { .. } => true,
        }
    }

    /// The usage that the provider has told.
    pub fn usage(&self) -> Option<Usage> {
        match &self.state {
            State::Stream { translator, .. } => translator.usage().as_ref().map(usage),
            State::Document { told, .. } => told.usage,
            State::Fault { .. } => None,
        }
    }

    /// What it has told, and what was seen of its answer.
    pub fn so_far(&self) -> Option<Usage> {
        match &self.state {
            State::Stream { translator, .. } => {
                let mut usage = self.usage().unwrap_or_default();
                usage.output = usage.output.max(translator.content_events());
                Some(usage)
            }
            State::Document { .. } | State::Fault { .. } => self.usage(),
        }
    }

    /// What was seen of a stream.
    pub fn seen(&self) -> Option<Seen> {
        let State::Stream { translator, ended, .. } = &self.state else { return None };
        let finished = self.has_finished();
        Some(Seen {
            events: translator.content_events(),
            bytes: translator.content_bytes(),
            ended: *ended || finished,
            counted: finished && translator.usage().is_some_and(|usage| usage.output > 0),
        })
    }

    /// Input and output tokens of a stream so far.
    pub fn counts(&self) -> (u64, u64) {
        match &self.state {
            State::Stream { translator, .. } => {
                let told = translator.usage().unwrap_or_default();
                (told.total_input(), told.output.max(translator.content_events()))
            }
            State::Document { .. } | State::Fault { .. } => (0, 0),
        }
    }

    /// How fast the provider says that it has served.
    pub fn tier(&self) -> Option<ServiceTier> {
        match &self.state {
            State::Stream { translator, .. } => translator.tier().and_then(tier),
            State::Document { told, .. } => told.tier,
            State::Fault { .. } => None,
        }
    }

    /// Whether content has been seen.
    pub fn has_content(&self) -> bool {
        match &self.state {
            State::Stream { translator, .. } => translator.content_events() > 0,
            State::Document { whole, .. } => *whole,
            State::Fault { .. } => false,
        }
    }
}

/// Adds `piece` to `bytes`, and counts in `room` what they grow by, and `ahead` for what is made of them.
///
/// # Errors
/// They do not fit, and are not [`SMALL`].
fn gather(bytes: &mut Vec<u8>, piece: &[u8], ahead: usize, room: &mut Held) -> Result<(), Shed> {
    let (length, had) = (bytes.len() + piece.len(), bytes.capacity());
    // Doubled as vectors are, so that few pieces have what came before copied.
    let grown = if length > had { length.max(had.saturating_mul(2)) } else { had };
    let all = room.bytes() + (grown - had + ahead) as u64;
    if length <= SMALL {
        room.set(all);
    } else {
        room.grow_to(all)?;
    }
    bytes.reserve_exact(grown - bytes.len());
    bytes.extend_from_slice(piece);
    Ok(())
}

fn malformed(broken: &Broken) -> Box<Error> {
    Error::explain(ErrorType::Custom("untranslatable"), broken.to_string()).into_up()
}

/// Tokens by kind, as prices know them.
pub fn usage(told: &sluicegate_chat::Usage) -> Usage {
    Usage {
        input: told.input,
        cache_read: told.cache_read,
        cache_write_5m: told.cache_write_5m,
        cache_write_1h: told.cache_write_1h,
        output: told.output,
        reasoning: told.reasoning,
        audio_input: told.audio_input,
        audio_output: told.audio_output,
    }
}

/// The service, as prices know it.
pub fn tier(told: sluicegate_chat::model::ServiceTier) -> Option<ServiceTier> {
    use sluicegate_chat::model::ServiceTier as Told;
    match told {
        Told::Flex => Some(ServiceTier::Flex),
        Told::Priority => Some(ServiceTier::Priority),
        Told::Batch => Some(ServiceTier::Batch),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::overload::BodyBytes;

    proptest! {
        /// What is gathered is counted, and beyond what is small never more than fits.
        #[test]
        fn what_is_gathered_is_counted_before_it_is_held(
            sizes in prop::collection::vec(0_usize..100_000, 1..30),
            limit in 0_u64..1_000_000,
            before in 0_u64..100_000,
        ) {
            let all = Arc::<BodyBytes>::default();
            all.limit_to(limit);
            let mut room = all.hold_none();
            room.set(before);
            let (mut bytes, mut came) = (Vec::new(), 0);
            for size in sizes {
                let fits = gather(&mut bytes, &vec![b'x'; size], 0, &mut room).is_ok();
                if !fits {
                    prop_assert!(came + size > SMALL);
                    break;
                }
                came += size;
                prop_assert_eq!(bytes.len(), came);
                prop_assert_eq!(room.bytes(), before + bytes.capacity() as u64);
            }
            let small = before + 2 * SMALL as u64;
            prop_assert!(all.held() <= limit.max(small), "{} of {}", all.held(), limit);
        }
    }
}
