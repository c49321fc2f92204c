//! Errors, both ways. OpenAI's responses share their form.
//!
//! Source: "Error codes" of OpenAI's API reference, <https://platform.openai.com/docs/guides/error-codes>.

use crate::{
    Fault, FaultKind,
    json::{self, Kind, Reader, Writer},
    told,
};

/// Reads an upstream's error answer.
pub fn decode_fault(status: u16, body: &[u8]) -> Fault {
    let mut told = Told::default();
    // Whatever comes instead of JSON is not for the client: often a page of a proxy in between.
    let read = Reader::of_bytes(body).and_then(|mut reader| told.body(&mut reader));
    match read {
        Ok(()) => told.fault(Some(status)),
        Err(_) => Fault::new(FaultKind::of_status(status), ""),
    }
}

/// What an error object holds.
#[derive(Default)]
pub(crate) struct Told {
    message: String,
    kind: String,
    code: Option<String>,
    param: Option<String>,
    status: Option<u16>,
}

impl Told {
    fn body(&mut self, reader: &mut Reader<'_>) -> Result<(), json::Fault> {
        told::object_if(reader, |key, reader| {
            match key {
                "error" => self.error(reader)?,
                // Providers that copy the dialect, but not its errors.
                "message" | "detail" => self.message_text(reader)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(())
    }

    /// Takes the value of `error`.
    pub(crate) fn error(&mut self, reader: &mut Reader<'_>) -> Result<(), json::Fault> {
        if reader.kind()? == Kind::String {
            return self.message_text(reader);
        }
        told::object_if(reader, |key, reader| {
            match key {
                "message" => self.message_text(reader)?,
                "type" => {
                    self.kind = told::text(reader)?.unwrap_or_default().into_owned();
                }
                "code" if reader.kind()? == Kind::Number => {
                    self.status = told::count(reader)?.and_then(|code| u16::try_from(code).ok());
                }
                "code" => self.code = told::text(reader)?.map(|code| told::message(&code)),
                "param" => self.param = told::text(reader)?.map(|param| told::message(&param)),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(())
    }

    fn message_text(&mut self, reader: &mut Reader<'_>) -> Result<(), json::Fault> {
        if let Some(text) = told::text(reader)? {
            self.message = told::message(&text);
        }
        Ok(())
    }

    /// The fault, of an answer with a status or of an event without one.
    pub(crate) fn fault(self, status: Option<u16>) -> Fault {
        let code = self.code.as_deref().unwrap_or_default();
        let kind = match (status.or(self.status), self.kind.as_str(), code) {
            (_, "insufficient_quota", _) | (_, _, "insufficient_quota") => FaultKind::Billing,
            (Some(status), ..) => FaultKind::of_status(status),
            (None, kind, code) => {
                by_word(kind).or_else(|| by_word(code)).unwrap_or(FaultKind::Server)
            }
        };
        Fault { code: self.code, param: self.param, ..Fault::new(kind, self.message) }
    }
}

fn by_word(word: &str) -> Option<FaultKind> {
    Some(match word {
        "invalid_request_error" | "context_length_exceeded" => FaultKind::InvalidRequest,
        "authentication_error" | "invalid_api_key" => FaultKind::Authentication,
        "permission_error" | "permission_denied" => FaultKind::Permission,
        "not_found_error" | "model_not_found" => FaultKind::NotFound,
        "rate_limit_error" | "rate_limit_exceeded" | "tokens" | "requests" => FaultKind::RateLimit,
        "timeout_error" | "timeout" => FaultKind::Timeout,
        "overloaded_error" | "engine_overloaded_error" | "service_unavailable" => {
            FaultKind::Overloaded
        }
        _ => return None,
    })
}

fn kind_word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::InvalidRequest | FaultKind::TooLarge => "invalid_request_error",
        FaultKind::Authentication => "authentication_error",
        FaultKind::Billing => "insufficient_quota",
        FaultKind::Permission => "permission_error",
        FaultKind::NotFound => "not_found_error",
        FaultKind::RateLimit => "rate_limit_error",
        FaultKind::Timeout => "timeout_error",
        FaultKind::Overloaded => "overloaded_error",
        FaultKind::Server => "server_error",
    }
}

/// The word for programs where the provider told none.
fn code_word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::InvalidRequest => "invalid_request",
        FaultKind::TooLarge => "request_too_large",
        FaultKind::Authentication => "invalid_api_key",
        FaultKind::Billing => "insufficient_quota",
        FaultKind::Permission => "permission_denied",
        FaultKind::NotFound => "not_found",
        FaultKind::RateLimit => "rate_limit_exceeded",
        FaultKind::Timeout => "upstream_timeout",
        FaultKind::Overloaded => "upstream_overloaded",
        FaultKind::Server => "upstream_error",
    }
}

/// Writes an error answer for a client.
pub fn encode_fault(fault: &Fault, out: &mut Vec<u8>) {
    let mut out = Writer::new(out);
    out.open().key("error");
    write_error(fault, &mut out);
    out.close();
}

/// Writes the error object itself.
pub(crate) fn write_error(fault: &Fault, out: &mut Writer<'_>) {
    out.open()
        .field("message", &fault.message)
        .field("type", kind_word(fault.kind))
        .field_or_null("param", fault.param.as_deref())
        .field("code", fault.code.as_deref().unwrap_or(code_word(fault.kind)))
        .close();
}
