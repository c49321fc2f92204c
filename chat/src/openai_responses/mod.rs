//! OpenAI's responses, both sides.

use crate::{
    Broken, Dialect, Encoded, Envelope, Expect, OnLoss, Refusal, Target,
    model::Event,
    model::{Fault, FaultKind, Reply, Request},
    stream::Decode,
    stream::{Encode, Sink},
};

const NOT_YET: &str = "this version does not speak it";

/// Reads a client's request.
pub fn decode_request(_body: &[u8]) -> Result<Request<'_>, Refusal> {
    Err(Refusal::unsupported("", Dialect::OpenAiResponses, NOT_YET))
}

/// Writes a reply for a client.
pub fn encode_reply(_envelope: &Envelope, _reply: &Reply<'_>, _out: &mut Vec<u8>) {}

/// Writes a stream for a client.
pub fn encoder(_envelope: Envelope) -> Box<dyn Encode> {
    Box::new(NotYet)
}

impl Encode for NotYet {
    fn event(&mut self, _event: &Event<'_>, _out: &mut Vec<u8>) {}
}

/// Members of an answer that repeat the request, without braces.
pub(crate) fn echo(_request: &Request<'_>) -> String {
    String::new()
}

/// Writes a request for an upstream.
pub fn encode_request(
    _request: &Request<'_>,
    _target: &Target<'_>,
    _on_loss: OnLoss,
) -> Result<Encoded, Refusal> {
    Err(Refusal::unsupported("", Dialect::OpenAiResponses, NOT_YET))
}

/// Reads an upstream's answer.
pub fn decode_reply<'a>(_expect: &Expect, _body: &'a [u8]) -> Result<Reply<'a>, Broken> {
    Err(Broken::Malformed(NOT_YET))
}

/// Reads an upstream's error answer.
pub fn decode_fault(status: u16, _body: &[u8]) -> Fault {
    Fault::new(FaultKind::of_status(status), "")
}

/// Reads an upstream's stream.
pub fn decoder(_expect: &Expect) -> Box<dyn Decode> {
    Box::new(NotYet)
}

struct NotYet;

impl Decode for NotYet {
    fn push(&mut self, _chunk: &[u8], _sink: Sink<'_>) -> Result<(), Broken> {
        Err(Broken::Malformed(NOT_YET))
    }

    fn finish(&mut self, _sink: Sink<'_>) -> Result<(), Broken> {
        Err(Broken::Truncated)
    }
}
