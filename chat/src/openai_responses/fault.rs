//! Errors within streams and answers. Error answers are those of chat completions.
//!
//! Source: "error" and "response.failed" of the streaming events of OpenAI's API reference,
//! <https://platform.openai.com/docs/api-reference/responses-streaming>.

use crate::{
    Fault, FaultKind,
    json::{self, Kind, Reader, Writer},
    openai_chat::fault::Told,
    told,
};

/// Reads the error object of a response that failed.
pub fn of_object(reader: &mut Reader<'_>) -> Result<Fault, json::Fault> {
    let mut told = Told::default();
    told.error(reader)?;
    Ok(by_code(told.fault(None)))
}

/// Reads the event `error`. Its fields are the event's own; some versions nest them under `error`.
pub fn of_event(mut reader: Reader<'_>) -> Result<Fault, json::Fault> {
    let mut nested = None;
    let mut ahead = reader;
    told::object(&mut ahead, |key, reader| {
        if key == "error" && reader.kind()? == Kind::Object {
            nested = Some(*reader);
        }
        Ok::<_, json::Fault>(false)
    })?;
    of_object(nested.as_mut().unwrap_or(&mut reader))
}

/// Codes that only this dialect has.
fn by_code(mut fault: Fault) -> Fault {
    if fault.kind == FaultKind::Server {
        fault.kind = match fault.code.as_deref() {
            Some("server_is_overloaded" | "slow_down") => FaultKind::Overloaded,
            Some("failed_to_download_image" | "image_file_not_found") => FaultKind::InvalidRequest,
            Some("invalid_prompt" | "cyber_policy") => FaultKind::InvalidRequest,
            Some(code) if is_of_image(code) => FaultKind::InvalidRequest,
            _ => FaultKind::Server,
        };
    }
    fault
}

fn is_of_image(code: &str) -> bool {
    ["invalid_image", "invalid_base64_image", "image_", "unsupported_image", "empty_image"]
        .iter()
        .any(|start| code.starts_with(start))
}

/// The word for programs.
fn code(fault: &Fault) -> &str {
    let by_kind = match fault.kind {
        FaultKind::InvalidRequest | FaultKind::TooLarge => "invalid_prompt",
        FaultKind::Authentication => "invalid_api_key",
        FaultKind::Billing => "insufficient_quota",
        FaultKind::Permission => "permission_denied",
        FaultKind::NotFound => "not_found",
        FaultKind::RateLimit => "rate_limit_exceeded",
        FaultKind::Overloaded => "server_is_overloaded",
        FaultKind::Timeout | FaultKind::Server => "server_error",
    };
    fault.code.as_deref().unwrap_or(by_kind)
}

/// Writes the error object of a response that failed.
pub fn write_object(fault: &Fault, out: &mut Writer<'_>) {
    out.open().field("code", code(fault)).field("message", &fault.message).close();
}

/// Writes the fields of the event `error`.
pub fn write_event(fault: &Fault, out: &mut Writer<'_>) {
    out.field("code", code(fault)).field("message", &fault.message);
    out.field_or_null("param", fault.param.as_deref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_flat_or_nested() {
        for text in [
            r#"{"type":"error","sequence_number":2,"code":"rate_limit_exceeded","message":"Slow.","param":null}"#,
            r#"{"type":"error","error":{"type":"requests","code":"rate_limit_exceeded","message":"Slow."}}"#,
        ] {
            let fault = of_event(Reader::new(text)).unwrap();
            assert_eq!((fault.kind, &*fault.message), (FaultKind::RateLimit, "Slow."), "{text}");
        }
    }

    #[test]
    fn codes_tell_the_kind() {
        for (code, kind) in [
            ("image_too_large", FaultKind::InvalidRequest),
            ("invalid_prompt", FaultKind::InvalidRequest),
            ("server_is_overloaded", FaultKind::Overloaded),
            ("insufficient_quota", FaultKind::Billing),
            ("vector_store_timeout", FaultKind::Server),
            ("something_new", FaultKind::Server),
        ] {
            let text = format!(r#"{{"code":"{code}","message":"m"}}"#);
            assert_eq!(of_object(&mut Reader::new(&text)).unwrap().kind, kind, "{code}");
        }
    }
}
