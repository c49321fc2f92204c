//! Refuses a request that two parsers could read differently.
//!
//! Request smuggling, cache poisoning and path confusion all need two programs that disagree: on
//! where a message ends (RFC 9112 section 6), for which host it is, or where its path leads. Here
//! nothing is repaired: what leaves room for a second reading is refused with a 400, and the
//! connection ends, since where the next request begins is then in doubt as well.

mod host;
mod target;

use http::header::HeaderValue;
use http::request::Parts;
use http::{Method, Version};

use super::headers::connection_options;
use crate::call::{Connection, Protocol};
use crate::denial::{Denial, DenialKind};

pub(super) use host::split_authority;
pub use target::MAX_TARGET;

/// The filter.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    max_head: usize,
}

impl Default for Framing {
    /// 64 KiB.
    fn default() -> Self {
        Self::new(64 * 1024)
    }
}

impl Framing {
    /// `max_head`: bytes of the target and all header lines together, at most.
    pub const fn new(max_head: usize) -> Self {
        Self { max_head }
    }

    /// Judges the head, and says how long the body is: `Some(0)` if there is none, `None` if only
    /// reading it will tell.
    ///
    /// # Errors
    ///
    /// `invalid_request_framing`, `invalid_request_target`, `invalid_host`, `upgrade_not_supported`
    /// or `header_too_large`. All end the connection.
    pub fn screen(&self, head: &Parts, connection: &Connection<'_>) -> Result<Option<u64>, Denial> {
        check_version(head.version, connection.protocol)?;
        target::check(head, connection)?;
        let fields = self.collect(head, connection)?;
        host::check(head, connection.protocol, &fields.host)?;
        let length = fields.body_length(head.version)?;
        check_body_expected(&head.method, connection.protocol, length)?;
        Ok(length)
    }

    /// Looks at every header line once.
    fn collect<'a>(
        &self,
        head: &'a Parts,
        connection: &Connection<'_>,
    ) -> Result<Fields<'a>, Denial> {
        /// `: ` and CRLF.
        const LINE_OVERHEAD: usize = 4;

        let http2 = connection.protocol == Protocol::Http2;
        let mut fields = Fields::default();
        let mut size = connection.raw_target.len();
        for (name, value) in &head.headers {
            size += name.as_str().len() + value.len() + LINE_OVERHEAD;
            if has_control(value.as_bytes()) {
                return Err(framing("a header value holds a control character"));
            }
            match name.as_str() {
                "content-length" => fields.content_length.add(value),
                "transfer-encoding" | "connection" | "keep-alive" | "proxy-connection"
                | "upgrade"
                    if http2 =>
                {
                    return Err(framing(
                        "a header that is specific to HTTP/1 connections was sent in HTTP/2",
                    ));
                }
                "te" if http2 && value != "trailers" => {
                    return Err(framing("in HTTP/2, TE can only be trailers"));
                }
                "transfer-encoding" => fields.transfer_encoding.add(value),
                "host" => fields.host.add(value),
                "upgrade" => return Err(upgrade()),
                "connection" => fields.connection = true,
                "expect" if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                    return Err(framing("the only expectation can be 100-continue"));
                }
                _ => {}
            }
        }
        if size > self.max_head {
            return Err(Denial::new(
                DenialKind::HeaderTooLarge,
                format!("the request head may be {} bytes long", self.max_head),
            ));
        }
        if fields.connection {
            check_connection_options(head)?;
        }
        Ok(fields)
    }
}

/// The header lines on which the reading of a message depends.
#[derive(Default)]
struct Fields<'a> {
    content_length: Field<'a>,
    transfer_encoding: Field<'a>,
    host: Field<'a>,
    connection: bool,
}

#[derive(Default)]
struct Field<'a> {
    value: Option<&'a HeaderValue>,
    repeated: bool,
}

impl<'a> Field<'a> {
    fn add(&mut self, value: &'a HeaderValue) {
        self.repeated = self.value.replace(value).is_some();
    }
}

impl Fields<'_> {
    /// RFC 9112 section 6.3, without the leniency.
    fn body_length(&self, version: Version) -> Result<Option<u64>, Denial> {
        if self.content_length.repeated {
            return Err(framing("more than one Content-Length was sent"));
        }
        if self.transfer_encoding.repeated {
            return Err(framing("more than one Transfer-Encoding was sent"));
        }
        match (self.content_length.value, self.transfer_encoding.value) {
            (Some(_), Some(_)) => {
                Err(framing("Content-Length and Transfer-Encoding were sent together"))
            }
            (Some(length), None) => match parse_length(length.as_bytes()) {
                Some(length) => Ok(Some(length)),
                None => Err(framing("Content-Length is not a decimal number of bytes")),
            },
            (None, Some(_)) if version == Version::HTTP_10 => {
                Err(framing("HTTP/1.0 has no Transfer-Encoding"))
            }
            (None, Some(coding)) => {
                if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    Ok(None)
                } else {
                    Err(framing("the only Transfer-Encoding can be chunked"))
                }
            }
            (None, None) if version == Version::HTTP_2 => Ok(None),
            (None, None) => Ok(Some(0)),
        }
    }
}

fn framing(message: &'static str) -> Denial {
    Denial::new(DenialKind::InvalidRequestFraming, message)
}

fn upgrade() -> Denial {
    Denial::new(
        DenialKind::UpgradeNotSupported,
        "this connection cannot be upgraded to another protocol",
    )
}

/// A client that writes `HTTP/2.0` into an HTTP/1 head must not choose the laxer rules.
fn check_version(version: Version, protocol: Protocol) -> Result<(), Denial> {
    match (protocol, version) {
        (Protocol::Http1, Version::HTTP_10 | Version::HTTP_11)
        | (Protocol::Http2, Version::HTTP_2) => Ok(()),
        _ => Err(framing("the HTTP version is not the one of the connection")),
    }
}

/// `Connection` may name headers of one hop only (RFC 9110 section 7.6.1). A client that names
/// another would make us drop it, after this filter has relied on it.
fn check_connection_options(head: &Parts) -> Result<(), Denial> {
    const END_TO_END: [&[u8]; 5] =
        [b"host", b"content-length", b"content-type", b"content-encoding", b"authorization"];
    for option in connection_options(&head.headers) {
        if option.eq_ignore_ascii_case(b"upgrade") {
            return Err(upgrade());
        }
        if END_TO_END.iter().any(|name| option.eq_ignore_ascii_case(name)) {
            return Err(framing("Connection names a header that is for every recipient"));
        }
    }
    Ok(())
}

/// A body that has no meaning with its method (RFC 9110 section 9.3): a parser that ignores it takes
/// it for the next request. In HTTP/2 streams cannot run into each other, and only a declared length
/// tells of a body.
fn check_body_expected(
    method: &Method,
    protocol: Protocol,
    length: Option<u64>,
) -> Result<(), Denial> {
    let has_body = match length {
        Some(length) => length > 0,
        None => protocol == Protocol::Http1,
    };
    let without_meaning = matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE | Method::TRACE
    );
    if has_body && without_meaning {
        return Err(framing("a request of this method can have no body"));
    }
    Ok(())
}

/// `1*DIGIT` (RFC 9110 section 8.6) that fits 64 bits: no sign, no space, no list.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |length, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// RFC 9110 section 5.5: of the control characters, only the tab can be in a value.
fn has_control(value: &[u8]) -> bool {
    // Without an early exit, so that it is compiled to vector instructions.
    value
        .iter()
        .fold(false, |found, byte| found | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f))
}

#[cfg(test)]
mod tests;
