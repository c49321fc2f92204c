//! Errors, both ways.
//!
//! Source: "Errors" of Anthropic's API reference, <https://platform.claude.com/docs/en/api/errors>.

use crate::{
    Fault, FaultKind,
    json::{self, Reader, Writer},
    told,
};

/// Reads an upstream's error answer.
pub fn decode_fault(status: u16, body: &[u8]) -> Fault {
    // Whatever comes instead of JSON is not for the client: often a page of a proxy in between.
    let read = Reader::of_bytes(body).and_then(|mut reader| read(&mut reader));
    let (kind, message) = read.unwrap_or_default();
    // The type says more than the status: 529 and 503, 400 and 402.
    let kind = by_word(&kind).filter(|_| status >= 400).unwrap_or(FaultKind::of_status(status));
    Fault::new(kind, message)
}

/// Reads the error event of a stream.
pub(crate) fn decode_event(reader: &mut Reader<'_>) -> Result<Fault, json::Fault> {
    let (kind, message) = read(reader)?;
    Ok(Fault::new(by_word(&kind).unwrap_or(FaultKind::Server), message))
}

fn read(reader: &mut Reader<'_>) -> Result<(String, String), json::Fault> {
    let (mut kind, mut message) = (String::new(), String::new());
    told::object_if(reader, |key, reader| {
        if key != "error" {
            return Ok(false);
        }
        told::object_if(reader, |key, reader| {
            match key {
                "type" => kind = told::text(reader)?.unwrap_or_default().into_owned(),
                "message" => message = told::message(&told::text(reader)?.unwrap_or_default()),
                _ => return Ok(false),
            }
            Ok::<_, json::Fault>(true)
        })
    })?;
    Ok((kind, message))
}

fn by_word(word: &str) -> Option<FaultKind> {
    Some(match word {
        "invalid_request_error" => FaultKind::InvalidRequest,
        "authentication_error" => FaultKind::Authentication,
        "billing_error" => FaultKind::Billing,
        "permission_error" => FaultKind::Permission,
        "not_found_error" => FaultKind::NotFound,
        "request_too_large" => FaultKind::TooLarge,
        "rate_limit_error" => FaultKind::RateLimit,
        "timeout_error" => FaultKind::Timeout,
        "overloaded_error" => FaultKind::Overloaded,
        "api_error" => FaultKind::Server,
        _ => return None,
    })
}

fn kind_word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::InvalidRequest => "invalid_request_error",
        FaultKind::Authentication => "authentication_error",
        FaultKind::Billing => "billing_error",
        FaultKind::Permission => "permission_error",
        FaultKind::NotFound => "not_found_error",
        FaultKind::TooLarge => "request_too_large",
        FaultKind::RateLimit => "rate_limit_error",
        FaultKind::Timeout => "timeout_error",
        FaultKind::Overloaded => "overloaded_error",
        FaultKind::Server => "api_error",
    }
}

/// Writes an error answer for a client.
pub fn encode_fault(fault: &Fault, request_id: &str, out: &mut Vec<u8>) {
    let mut out = Writer::new(out);
    out.open().field("type", "error").key("error");
    write_error(fault, &mut out);
    if !request_id.is_empty() {
        out.field("request_id", request_id);
    }
    out.close();
}

/// Writes the error object itself.
pub(crate) fn write_error(fault: &Fault, out: &mut Writer<'_>) {
    out.open().field("type", kind_word(fault.kind)).field("message", &fault.message).close();
}
