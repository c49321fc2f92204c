//! What the listener knows of a request: how it came in.

/// What the listener knows of how a request came in, and its parsed head cannot be trusted to say.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The protocol that was spoken. The framing rules follow it, not the version in the head.
    pub protocol: Protocol,
    /// The request target as it was received (`:path` in HTTP/2). A parsed URI may have lost the
    /// scheme and authority of an absolute-form target, and bytes that are not UTF-8.
    pub raw_target: &'a [u8],
}

impl<'a> Connection<'a> {
    /// A connection that speaks HTTP/1.0 or HTTP/1.1.
    pub const fn http1(raw_target: &'a [u8]) -> Self {
        Self { protocol: Protocol::Http1, raw_target }
    }

    /// A connection that speaks HTTP/2.
    pub const fn http2(raw_target: &'a [u8]) -> Self {
        Self { protocol: Protocol::Http2, raw_target }
    }
}

/// The wire protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
}
