//! Reads errors.
//!
//! Source: "Errors" of Google's API design guide, <https://cloud.google.com/apis/design/errors>: `google.rpc.Status` with its
//! details `ErrorInfo`, `RetryInfo` and `BadRequest`.

use crate::{
    Fault, FaultKind,
    json::{self, Kind, Reader},
    told,
};

/// Reads an upstream's error answer.
pub fn decode_fault(status: u16, body: &[u8]) -> Fault {
    let mut told = Told::default();
    // Whatever comes instead of JSON is not for the client: often a page of a proxy in between.
    match Reader::of_bytes(body).and_then(|mut reader| told.body(&mut reader)) {
        Ok(()) => told.fault(status),
        Err(_) => Fault::new(FaultKind::of_status(status), ""),
    }
}

/// What an error object holds.
#[derive(Default)]
pub(super) struct Told {
    message: String,
    status: Option<String>,
    code: Option<u64>,
    reason: String,
    field: Option<String>,
    retry_after_ms: Option<u64>,
}

impl Told {
    /// A stream that is no event stream is an array, and so are its errors.
    fn body(&mut self, reader: &mut Reader<'_>) -> Result<(), json::Fault> {
        if reader.kind()? == Kind::Array {
            return told::array_if(reader, |reader| self.document(reader));
        }
        self.document(reader)
    }

    fn document(&mut self, reader: &mut Reader<'_>) -> Result<(), json::Fault> {
        told::object_if(reader, |key, reader| {
            if key != "error" {
                return Ok(false);
            }
            self.error(reader)?;
            Ok::<_, json::Fault>(true)
        })?;
        Ok(())
    }

    /// Takes the value of `error`.
    pub(super) fn error(&mut self, reader: &mut Reader<'_>) -> Result<(), json::Fault> {
        told::object_if(reader, |key, reader| {
            match key {
                "message" => {
                    self.message = told::message(&told::text(reader)?.unwrap_or_default());
                }
                "status" => self.status = told::text(reader)?.map(|word| told::message(&word)),
                "code" => self.code = told::count(reader)?,
                "details" => told::array_if(reader, |reader| self.detail(reader))?,
                _ => return Ok(false),
            }
            Ok::<_, json::Fault>(true)
        })?;
        Ok(())
    }

    fn detail(&mut self, reader: &mut Reader<'_>) -> Result<(), json::Fault> {
        told::object_if(reader, |key, reader| {
            match key {
                "reason" => self.reason = told::text(reader)?.unwrap_or_default().into_owned(),
                "retryDelay" => {
                    self.retry_after_ms = told::text(reader)?.and_then(|text| milliseconds(&text));
                }
                "fieldViolations" => told::array_if(reader, |reader| self.violation(reader))?,
                _ => return Ok(false),
            }
            Ok::<_, json::Fault>(true)
        })?;
        Ok(())
    }

    fn violation(&mut self, reader: &mut Reader<'_>) -> Result<(), json::Fault> {
        told::object_if(reader, |key, reader| {
            if key != "field" || self.field.is_some() {
                return Ok(false);
            }
            self.field = told::text(reader)?.map(|field| told::message(&field));
            Ok::<_, json::Fault>(true)
        })?;
        Ok(())
    }

    /// The fault of an answer with this status.
    pub(super) fn fault(self, status: u16) -> Fault {
        let word = self.status.as_deref().unwrap_or_default();
        let kind = match (word, self.reason.as_str()) {
            // A wrong key is an invalid argument here.
            (_, "API_KEY_INVALID" | "API_KEY_EXPIRED" | "ACCESS_TOKEN_EXPIRED") => {
                FaultKind::Authentication
            }
            (_, "BILLING_DISABLED") => FaultKind::Billing,
            _ => by_word(word).unwrap_or(FaultKind::of_status(status)),
        };
        Fault {
            code: self.status,
            param: self.field,
            retry_after_ms: self.retry_after_ms,
            ..Fault::new(kind, self.message)
        }
    }

    /// The fault of an event in a stream, whose object tells the status.
    pub(super) fn event_fault(self) -> Fault {
        let status = self.code.and_then(|code| u16::try_from(code).ok());
        self.fault(status.unwrap_or(500))
    }
}

fn by_word(word: &str) -> Option<FaultKind> {
    Some(match word {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => FaultKind::InvalidRequest,
        "UNAUTHENTICATED" => FaultKind::Authentication,
        "PERMISSION_DENIED" => FaultKind::Permission,
        "NOT_FOUND" => FaultKind::NotFound,
        "RESOURCE_EXHAUSTED" => FaultKind::RateLimit,
        "DEADLINE_EXCEEDED" => FaultKind::Timeout,
        "UNAVAILABLE" => FaultKind::Overloaded,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "ABORTED" | "CANCELLED" => FaultKind::Server,
        _ => return None,
    })
}

/// Reads a duration as protocol buffers have it in JSON: seconds with up to nine digits behind the point, such as `3.5s`.
fn milliseconds(text: &str) -> Option<u64> {
    /// Nobody waits longer.
    const DAY: u64 = 86_400;
    let number = text.strip_suffix('s')?;
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = seconds.parse::<u64>().ok()?.min(DAY);
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let up = u64::from(fraction.bytes().skip(3).any(|digit| digit != b'0'));
    Some(seconds * 1_000 + thousandths.parse::<u64>().ok()? + up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_up() {
        for (text, expected) in [
            ("39s", Some(39_000)),
            ("0s", Some(0)),
            ("3.5s", Some(3_500)),
            ("0.0001s", Some(1)),
            ("39.074374734s", Some(39_075)),
            ("18446744073709551615s", Some(86_400_000)),
            ("-1s", None),
            ("1.s", None),
            ("1.-5s", None),
            ("5", None),
            ("s", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn details_are_read() {
        let body =
            br#"{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED",
            "details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{}]},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7s"}]}}"#;
        let fault = decode_fault(429, body);
        assert_eq!(fault.kind, FaultKind::RateLimit);
        assert_eq!(fault.retry_after_ms, Some(7_000));
        assert_eq!(fault.code.as_deref(), Some("RESOURCE_EXHAUSTED"));
        let body =
            br#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT",
            "details":[{"reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}]"#;
        assert_eq!(decode_fault(400, body).kind, FaultKind::Authentication);
        assert_eq!(decode_fault(503, b"<html>").kind, FaultKind::Overloaded);
        assert_eq!(decode_fault(404, b"{}").kind, FaultKind::NotFound);
    }
}
