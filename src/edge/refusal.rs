//! What a client is told whose request never began.
//!
//! Pingora refuses what it can't parse by itself: a bare status, before any filter of ours. A head that is too
//! long or too slow never gets that far. So the edge answers these in its own words: with a code and an id, in
//! metrics and in the log, like any other refusal.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use pingora_core::protocols::http::date::get_cached_date;
use sluicegate_filters::Denial;
use sluicegate_filters::screen::SECURITY_HEADERS;
use uuid::Uuid;

use super::Conn;
use crate::app::Gateway;
use crate::dialects::Dialect;
use crate::dialects::error::{ErrorReply, error_body};
use crate::proxy::{HSTS, is_https_alone};
use crate::telemetry::access_log::Line;

/// Writes down that a request was refused before it began, and words the answer.
pub trait Tells: fmt::Debug + Send + Sync {
    /// Pingora could not read the head.
    fn is_malformed(&self);

    /// The whole answer, after which the connection closes.
    fn refusal(&self, conn: &Conn, dialect: Dialect, denial: &Denial) -> Bytes;
}

/// Writes it down with the gateway's other requests.
pub struct Teller(pub Arc<Gateway>);

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Teller").finish_non_exhaustive()
    }
}

impl Tells for Teller {
    fn is_malformed(&self) {
        self.0.metrics.connections.refused("malformed");
    }

    fn refusal(&self, conn: &Conn, dialect: Dialect, denial: &Denial) -> Bytes {
        let Self(gateway) = self;
        let runtime = gateway.current();
        let kind = denial.kind();
        let mut id = Uuid::encode_buffer();
        let id = &*Uuid::now_v7().hyphenated().encode_lower(&mut id);
        let line = Line {
            request_id: id,
            route: "other",
            status: kind.status().as_u16(),
            end: "refused",
            code: Some(kind.code()),
            // Whom a trusted proxy names is in the head, which is not read.
            client: conn.peer(),
            generation: runtime.generation,
            ..Line::default()
        };
        gateway.metrics.requests.ended(line.route, None, line.status, line.code, line.duration);
        gateway.access_log.write(&line);
        let reply = ErrorReply {
            status: line.status,
            code: kind.code(),
            message: denial.message(),
            param: None,
            request_id: id,
        };
        let hsts = is_https_alone(gateway, &runtime);
        answer(kind.status(), id, hsts, &error_body(dialect, &reply))
    }
}

fn answer(status: StatusCode, id: &str, hsts: bool, body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(512 + body.len());
    let reason = status.canonical_reason().unwrap_or_default();
    let (date, length) = (get_cached_date(), body.len());
    // A vector takes all that is written.
    write!(
        out,
        "HTTP/1.1 {} {reason}\r\nx-request-id: {id}\r\nDate: {}\r\nConnection: close\r\n\
         Content-Length: {length}\r\nContent-Type: application/json\r\n",
        status.as_str(),
        date.to_str().unwrap_or_default(),
    )
    .ok();
    for (name, value) in SECURITY_HEADERS.iter().chain(hsts.then_some(&HSTS)) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole() {
        let body = b"{}";
        let answer = answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "i", true, body);
        let text = std::str::from_utf8(&answer).unwrap();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        let first = "HTTP/1.1 431 Request Header Fields Too Large\r\nx-request-id: i\r\n";
        assert!(head.starts_with(first), "{head}");
        assert!(head.contains("\r\nContent-Length: 2\r\n"), "{head}");
        assert!(head.contains("\r\nstrict-transport-security: max-age="), "{head}");
        assert!(head.contains("\r\nx-content-type-options: nosniff\r\n"), "{head}");
        assert_eq!(rest, "{}");
    }
}
