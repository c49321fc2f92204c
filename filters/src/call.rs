//! Facts about a request that a phase has established: where it came in and who sent it.
//!
//! A [`Caller`] has no public constructor. Whoever holds one holds the proof that
//! [`Pipeline::identify`](crate::Pipeline::identify) made it.

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

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    kind: CallerKind,
}

impl Caller {
    pub(crate) const ANONYMOUS: Self = Self { kind: CallerKind::Anonymous };

    pub(crate) const MASTER: Self = Self { kind: CallerKind::Master };

    pub fn kind(&self) -> CallerKind {
        self.kind
    }
}

/// By what a caller was identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// Nobody in particular: the configuration lets callers in without a credential.
    Anonymous,
    /// The holder of the master key.
    Master,
}

impl CallerKind {
    /// A stable word for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Master => "master",
        }
    }
}
