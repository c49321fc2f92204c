//! The request target: a path, and one that nobody can read as another.

use http::request::Parts;

use crate::call::{Connection, Protocol};
use crate::denial::{Denial, DenialKind};
use crate::screen::hex_pair;

/// Bytes of a request target, at most. RFC 9112 section 3 recommends to support 8000.
pub const MAX_TARGET: usize = 8 * 1024;

/// Origin-form only (RFC 9112 section 3.2.1): the other forms name a host a second time, or are for
/// proxies of another kind.
pub(super) fn check(head: &Parts, connection: &Connection<'_>) -> Result<(), Denial> {
    let raw = connection.raw_target;
    if raw.len() > MAX_TARGET {
        return Err(denied("the request target is over 8 KiB"));
    }
    let uri = &head.uri;
    let whole = match connection.protocol {
        Protocol::Http1 => uri.scheme().is_some() || uri.authority().is_some(),
        // There, the parts of the target are separate and the URI is put together from them (RFC
        // 9113 section 8.3.1).
        Protocol::Http2 => !matches!(uri.scheme_str(), None | Some("http" | "https")),
    };
    if whole || raw.first() != Some(&b'/') {
        return Err(denied("the request target must be a path"));
    }
    if !raw.iter().all(|byte| byte.is_ascii_graphic() && !b"\\#".contains(byte)) {
        return Err(denied("the request target holds characters that must be percent-encoded"));
    }
    // The routes are found by the parsed path, so it must be the received one.
    if uri.path_and_query().map(|path| path.as_str().as_bytes()) != Some(raw) {
        return Err(denied("the request target is malformed"));
    }
    check_path(uri.path().as_bytes())
}

/// Refuses a path that leads elsewhere once somebody normalises it (RFC 3986 section 6.2.2). It is
/// read as the laxest of servers would: unescaped, with `%2F` for `/`, and without `;parameters`.
fn check_path(path: &[u8]) -> Result<(), Denial> {
    let mut segment = Segment::default();
    let mut bytes = path.get(1..).unwrap_or_default().iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => match (bytes.next(), bytes.next()) {
                (Some(high), Some(low)) => hex_pair(high, low),
                _ => None,
            },
            byte => Some(byte),
        };
        match byte {
            None => return Err(denied("the path holds a malformed percent-encoding")),
            Some(b'\\' | 0..0x20 | 0x7f) => {
                return Err(denied("the path holds an encoded control character or backslash"));
            }
            Some(b'/') => {
                if segment.length == 0 {
                    return Err(denied("the path holds an empty segment"));
                }
                segment.finish()?;
                segment = Segment::default();
            }
            Some(byte) => segment.add(byte),
        }
    }
    segment.finish()
}

/// One segment of a path, as far as it matters.
#[derive(Default)]
struct Segment {
    length: usize,
    other_than_dots: bool,
    in_parameters: bool,
}

impl Segment {
    fn add(&mut self, byte: u8) {
        if byte == b';' {
            self.in_parameters = true;
        }
        if !self.in_parameters {
            self.length += 1;
            self.other_than_dots |= byte != b'.';
        }
    }

    /// The last segment may be empty: a path may end in a slash.
    fn finish(&self) -> Result<(), Denial> {
        if !self.other_than_dots && matches!(self.length, 1 | 2) {
            return Err(denied("the path holds a dot segment"));
        }
        Ok(())
    }
}

fn denied(message: &'static str) -> Denial {
    Denial::new(DenialKind::InvalidRequestTarget, message)
}

#[cfg(test)]
mod tests {
    use http::Version;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Head;

    fn screen(head: &Head) -> Result<(), DenialKind> {
        super::super::tests::screen(head).map(drop)
    }

    const REFUSED: Result<(), DenialKind> = Err(DenialKind::InvalidRequestTarget);

    #[test]
    fn plain_paths_pass() {
        for target in [
            "/",
            "/health",
            "/v1/models/",
            "/v1/models?after=a/../b&x=//y",
            "/v1/models/openai%2Fgpt-4o",
            "/v1/models/a..b",
            "/v1/models/...",
            "/v1/models/.hidden",
            "/v1/models/claude-3.5;v=2",
            "/v1/models/%E6%A8%A1",
        ] {
            assert_eq!(screen(&Head::http1("GET", target)), Ok(()), "{target}");
            assert_eq!(screen(&Head::http2("GET", target)), Ok(()), "{target}");
        }
    }

    #[test]
    fn paths_with_a_second_reading_are_refused() {
        for target in [
            "/..",
            "/.",
            "/v1/../admin",
            "/v1/./models",
            "/v1/models/..",
            "/v1/%2e%2e/admin",
            "/v1/%2E./admin",
            "/v1/.%2e/admin",
            "/v1/%2e/models",
            "/v1/models/x%2f..%2F..%2fadmin",
            "/v1/..;/admin",
            "/v1/..;a=b/admin",
            "/v1/..%3b/admin",
            "//",
            "//evil.test/v1/models",
            "/v1//models",
            "/v1/models//",
            "/v1/%2f/models",
            "/v1/;a/models",
            "/v1/models%5c..%5cadmin",
            "/v1/models%00.json",
            "/v1/models%0d%0ahost:%20evil",
            "/v1/models/%7f",
            "/v1/models/%",
            "/v1/models/%2",
            "/v1/models/%zz",
            "/v1/models/%+2",
            "/v1/models/%u002e",
        ] {
            assert_eq!(screen(&Head::http1("GET", target)), REFUSED, "{target}");
            assert_eq!(screen(&Head::http2("GET", target)), REFUSED, "{target}");
        }
    }

    #[test]
    fn only_origin_form_is_a_target() {
        for (method, target) in [
            ("GET", "http://gateway.test/health"),
            ("GET", "https://evil.test/health"),
            ("CONNECT", "gateway.test:443"),
            ("GET", "gateway.test"),
            ("OPTIONS", "*"),
        ] {
            let head = Head::bare(method, target, Version::HTTP_11).with("host", "gateway.test");
            assert_eq!(screen(&head), REFUSED, "{method} {target}");
        }
        let ftp = Head::bare("GET", "ftp://gateway.test/health", Version::HTTP_2)
            .with_raw_target(b"/health");
        assert_eq!(screen(&ftp), REFUSED);
    }

    #[test]
    fn the_received_bytes_count_and_not_what_a_parser_made_of_them() {
        for raw in [
            &b"http://evil.test/health"[..],
            b"http:/health",
            b"/healthy",
            b"/health?x",
            b"/health#x",
            b"/health\\",
            b"/health ",
            b"/health\0",
            b"/health\x0b",
            b"/health\x7f",
            b"/health\xff",
            b"health",
            b"",
        ] {
            let head = Head::http1("GET", "/health").with_raw_target(raw);
            assert_eq!(screen(&head), REFUSED, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn a_target_may_be_exactly_8_kib() {
        for (length, expected) in [(MAX_TARGET, Ok(())), (MAX_TARGET + 1, REFUSED)] {
            let target = format!("/{}", "a".repeat(length - 1));
            assert_eq!(screen(&Head::http1("GET", &target)), expected, "{length}");
        }
    }

    /// How the laxest server resolves a path, in the plainest way: unescape, cut parameters, split.
    fn leads_elsewhere(path: &str) -> bool {
        let mut plain = Vec::new();
        let mut bytes = path.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digits = [bytes.next(), bytes.next()].map(|b| b.map_or(' ', char::from));
                let text: String = digits.iter().collect();
                match u8::from_str_radix(&text, 16) {
                    Ok(byte) if digits.iter().all(char::is_ascii_hexdigit) => plain.push(byte),
                    _ => return true,
                }
            } else {
                plain.push(byte);
            }
        }
        let text = String::from_utf8_lossy(&plain);
        let segments: Vec<&str> =
            text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
        let inner = &segments[1..segments.len() - 1];
        text.contains(|c: char| c.is_ascii_control() || c == '\\')
            || segments.iter().any(|segment| matches!(*segment, "." | ".."))
            || inner.contains(&"")
    }

    proptest! {
        #[test]
        fn exactly_the_paths_that_lead_elsewhere_are_refused(
            path in "(/(\\.|%2[eEfF]|%5[cC]|%00|%|;|a|%61|/){0,5}){1,4}",
        ) {
            let refused = screen(&Head::http1("GET", &path)) != Ok(());
            prop_assert_eq!(refused, leads_elsewhere(&path), "{}", path);
        }
    }
}
