//! Bedrock's Converse, upstream's side.

use crate::{
    Broken, Dialect, Encoded, Expect, OnLoss, Refusal, Target,
    model::{Fault, FaultKind, Reply, Request},
    stream::Decode,
    stream::Sink,
};

const NOT_YET: &str = "this version does not speak it";

/// Writes a request for an upstream.
pub fn encode_request(
    _request: &Request<'_>,
    _target: &Target<'_>,
    _on_loss: OnLoss,
) -> Result<Encoded, Refusal> {
    Err(Refusal::unsupported("", Dialect::Bedrock, NOT_YET))
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
