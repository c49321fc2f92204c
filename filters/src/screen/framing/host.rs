//! For which host a request is: said once, or twice in the same words.

use std::net::Ipv6Addr;

use http::Version;
use http::header::HeaderValue;
use http::request::Parts;

use super::{Field, parse_length};
use crate::call::Protocol;
use crate::denial::{Denial, DenialKind};

/// Bytes of a host without its port, at most: a DNS name (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 255;

/// RFC 9112 section 3.2, RFC 9113 section 8.3.1.
pub(super) fn check(head: &Parts, protocol: Protocol, field: &Field<'_>) -> Result<(), Denial> {
    if field.repeated {
        return Err(denied("more than one Host was sent"));
    }
    let authority = match protocol {
        Protocol::Http1 => None,
        Protocol::Http2 => head.uri.authority().map(|authority| authority.as_str().as_bytes()),
    };
    let field = field.value.map(HeaderValue::as_bytes);
    for name in [authority, field].into_iter().flatten() {
        if split_authority(name).is_none() {
            return Err(denied("Host must be a name or an address, with or without a port"));
        }
    }
    match (authority, field) {
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            Err(denied(":authority and Host differ"))
        }
        (None, None) if head.version != Version::HTTP_10 => Err(denied("Host is required")),
        _ => Ok(()),
    }
}

/// The port of `host` or `host:port`. `None` if it is neither: a stricter grammar than RFC 3986
/// section 3.2, without userinfo, percent-encoding, sub-delimiters, empty parts or port 0.
pub(in crate::screen) fn split_authority(authority: &[u8]) -> Option<Option<u16>> {
    let (name, port) = match authority.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (address, rest) = rest.split_at(end);
            str::from_utf8(address).ok()?.parse::<Ipv6Addr>().ok()?;
            match &rest[1..] {
                [] => (address, None),
                [b':', port @ ..] => (address, Some(port)),
                _ => return None,
            }
        }
        None => {
            let (name, port) = match authority.iter().position(|byte| *byte == b':') {
                Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
                None => (authority, None),
            };
            let valid =
                name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
            if !valid {
                return None;
            }
            (name, port)
        }
    };
    if !(1..=MAX_HOST).contains(&name.len()) {
        return None;
    }
    match port {
        None => Some(None),
        Some(digits) if digits.len() <= 5 => parse_length(digits)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0)
            .map(Some),
        Some(_) => None,
    }
}

fn denied(message: &'static str) -> Denial {
    Denial::new(DenialKind::InvalidHost, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Head;

    fn screen(head: &Head) -> Result<(), DenialKind> {
        super::super::tests::screen(head).map(drop)
    }

    const REFUSED: Result<(), DenialKind> = Err(DenialKind::InvalidHost);

    fn with_host(value: &str) -> Head {
        Head::bare("GET", "/health", Version::HTTP_11).with("host", value)
    }

    #[test]
    fn names_and_addresses_pass_with_and_without_a_port() {
        for value in [
            "localhost",
            "LOCALHOST:8080",
            "api.example.com.",
            "10.0.0.7:1",
            "sluice_gate.internal:65535",
            "xn--bcher-kva.example",
            "[::1]",
            "[2001:db8::7]:8080",
            "[::ffff:10.0.0.7]:80",
        ] {
            assert_eq!(screen(&with_host(value)), Ok(()), "{value}");
        }
    }

    #[test]
    fn odd_hosts_are_refused() {
        for value in [
            "",
            " ",
            ":8080",
            "host:",
            "host:0",
            "host:65536",
            "host:99999999999",
            "host:080808",
            "host:+80",
            "host:8o",
            "host:80:80",
            "user@host",
            "user:secret@host",
            "host, other",
            "host,other",
            "host other",
            " host",
            "host ",
            "host\tother",
            "host/path",
            "host\\path",
            "host?query",
            "host#fragment",
            "http://host",
            "h%6fst",
            "host;other",
            "h\u{f6}st",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[]:80",
            "[::1]80",
            "[::1]:",
            "[::1%25eth0]",
            "[host]",
            "*",
        ] {
            assert_eq!(screen(&with_host(value)), REFUSED, "{value:?}");
        }
        assert_eq!(screen(&with_host(&"a".repeat(255))), Ok(()));
        assert_eq!(screen(&with_host(&"a".repeat(256))), REFUSED);
    }

    #[test]
    fn http11_has_exactly_one_host() {
        let none = Head::bare("GET", "/health", Version::HTTP_11);
        assert_eq!(screen(&none), REFUSED);
        assert_eq!(screen(&with_host("one").with("host", "one")), REFUSED);
        assert_eq!(screen(&with_host("one").with("host", "two")), REFUSED);
    }

    #[test]
    fn http10_may_do_without_but_not_with_an_odd_one() {
        let old = || Head::bare("GET", "/health", Version::HTTP_10);
        assert_eq!(screen(&old()), Ok(()));
        assert_eq!(screen(&old().with("host", "a b")), REFUSED);
    }

    #[test]
    fn http2_says_the_host_once_or_twice_the_same() {
        let head = || Head::http2("GET", "/health");
        assert_eq!(screen(&head()), Ok(()));
        assert_eq!(screen(&head().with("host", "gateway.test")), Ok(()));
        assert_eq!(screen(&head().with("host", "GATEWAY.test")), Ok(()));
        assert_eq!(screen(&head().with("host", "gateway.test:443")), REFUSED);
        for other in ["other.test", "gateway.tesu", "gateway.test."] {
            assert_eq!(screen(&head().with("host", other)), REFUSED, "{other}");
        }
        assert_eq!(
            screen(&head().with("host", "gateway.test").with("host", "gateway.test")),
            REFUSED
        );
        let host_only = Head::bare("GET", "/health", Version::HTTP_2);
        assert_eq!(screen(&host_only), REFUSED);
        let host_only = Head::bare("GET", "/health", Version::HTTP_2).with("host", "gateway.test");
        assert_eq!(screen(&host_only), Ok(()));
    }

    #[test]
    fn userinfo_in_an_authority_is_refused() {
        let head = Head::bare("GET", "https://user@gateway.test/health", Version::HTTP_2)
            .with_raw_target(b"/health");
        assert_eq!(screen(&head), REFUSED);
    }

    proptest! {
        /// The grammar is a part of the URI grammar: nothing passes that a URI parser reads otherwise.
        #[test]
        fn what_passes_is_what_a_uri_parser_reads(value in "[a-z0-9.:@/\\[\\] ,%_~-]{0,16}") {
            if let Some(port) = split_authority(value.as_bytes()) {
                let authority: http::uri::Authority = value.parse().map_err(|error| {
                    TestCaseError::fail(format!("{value}: {error}"))
                })?;
                prop_assert_eq!(authority.port_u16(), port);
                prop_assert_eq!(authority.as_str(), value);
            }
        }
    }
}
