//! Heads for tests.

use http::request::Parts;
use http::{Request, Version};

use crate::call::{Connection, Protocol};

/// A head as the listener gives it: header lines in order, repeated ones kept.
pub(crate) struct Head {
    pub(crate) parts: Parts,
    protocol: Protocol,
    raw_target: Vec<u8>,
}

impl Head {
    /// An HTTP/1.1 request with a `Host`.
    pub(crate) fn http1(method: &str, target: &str) -> Self {
        Self::bare(method, target, Version::HTTP_11).with("host", "gateway.test")
    }

    /// An HTTP/2 request with an `:authority`.
    pub(crate) fn http2(method: &str, target: &str) -> Self {
        let uri = format!("https://gateway.test{target}");
        let mut head = Self::bare(method, &uri, Version::HTTP_2);
        head.raw_target = target.as_bytes().to_vec();
        head
    }

    /// The POST that the gateway exists for.
    pub(crate) fn chat() -> Self {
        Self::http1("POST", "/v1/chat/completions")
            .with("content-type", "application/json")
            .with("content-length", "42")
    }

    /// A head without any header. The protocol is the version's.
    pub(crate) fn bare(method: &str, target: &str, version: Version) -> Self {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .version(version)
            .body(())
            .expect("a test's method and target are parseable");
        Self {
            parts: request.into_parts().0,
            protocol: if version == Version::HTTP_2 { Protocol::Http2 } else { Protocol::Http1 },
            raw_target: target.as_bytes().to_vec(),
        }
    }

    /// Adds a header line.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        self.with_bytes(name, value.as_bytes())
    }

    pub(crate) fn with_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a test's header name");
        let value = http::HeaderValue::from_bytes(value).expect("a test's header value");
        self.parts.headers.append(name, value);
        self
    }

    /// Takes all lines of a header out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.parts.headers.remove(name);
        self
    }

    /// What was received differs from what was parsed.
    pub(crate) fn with_raw_target(mut self, raw: &[u8]) -> Self {
        self.raw_target = raw.to_vec();
        self
    }

    /// The protocol spoken differs from the version in the head.
    pub(crate) fn over(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    pub(crate) fn connection(&self) -> Connection<'_> {
        Connection { protocol: self.protocol, raw_target: &self.raw_target }
    }
}
