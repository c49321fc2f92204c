//! What only the bytes on the wire show: Pingora's parser is lenient, and hides it.
//!
//! The filters judge the parsed head. By then Pingora has dropped a `Content-Length` beside a
//! `Transfer-Encoding`, accepted bare line feeds, and taken the bytes of a pipelined request for
//! this one's. All of these are ways to make two parsers disagree (RFC 9112 sections 2.2, 6.3, 9.3.2).

use memchr::memchr_iter;
use pingora_proxy::Session;
use sluicegate_filters::{Denial, DenialKind};

use super::ctx::Ctx;

/// Judges a request by its raw bytes, and ends its header deadline.
pub fn request(session: &Session, ctx: &Ctx) -> Result<(), Denial> {
    let Some(h1) = session.as_http1() else {
        if let Some(conn) = &ctx.conn {
            conn.request_begins(true);
        }
        return Ok(());
    };
    let raw = h1.get_headers_raw_bytes();
    if let Some(conn) = &ctx.conn {
        let fresh = conn.read_since_request();
        conn.request_begins(false);
        if fresh < raw.len() as u64 {
            return Err(refused("Pipelined requests are not served; wait for each answer."));
        }
    }
    let limit = ctx.runtime.config.limits.header_size;
    if raw.len() > limit {
        return Err(Denial::new(
            DenialKind::HeaderTooLarge,
            format!("The request header has {} bytes; the limit is {limit}.", raw.len()),
        ));
    }
    lines(&raw)
}

/// Every line must end in CR LF, and no more than one may frame the body.
fn lines(raw: &[u8]) -> Result<(), Denial> {
    let mut framing = 0;
    let mut start = 0;
    for end in memchr_iter(b'\n', raw) {
        if end == 0 || raw[end - 1] != b'\r' {
            return Err(refused("A line of the request header does not end in CR LF."));
        }
        let line = &raw[start..end];
        framing += usize::from(is_field(line, b"content-length"));
        framing += usize::from(is_field(line, b"transfer-encoding"));
        start = end + 1;
    }
    if framing > 1 {
        return Err(refused("Only one Content-Length or Transfer-Encoding may frame the body."));
    }
    Ok(())
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len()
        && matches!(line[0] | 0x20, b'c' | b't')
        && line[..name.len()].eq_ignore_ascii_case(name)
        && matches!(line[name.len()], b':' | b' ' | b'\t')
}

fn refused(message: &'static str) -> Denial {
    Denial::new(DenialKind::InvalidRequestFraming, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_heads_pass() {
        assert_eq!(lines(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"), Ok(()));
        assert_eq!(lines(b"GET / HTTP/1.1\r\nHost: a\r\nX-Content-Length: 5\r\n\r\n"), Ok(()));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for head in [
            &b"POST / HTTP/1.1\r\nContent-Length: 5\r\ntransfer-encoding: chunked\r\n\r\n"[..],
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-LENGTH: 5\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding : x\r\n\r\n",
        ] {
            assert!(lines(head).is_err(), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn bare_line_feeds_are_refused() {
        assert!(lines(b"GET / HTTP/1.1\nHost: a\r\n\r\n").is_err());
        assert!(lines(b"GET / HTTP/1.1\r\nHost: a\n\r\n").is_err());
        assert!(lines(b"GET / HTTP/1.1\r\nHost: a\r\n\n").is_err());
        assert!(lines(b"\n").is_err());
    }
}
