//! A request whose path leads elsewhere once somebody normalises it, or whose host or length can be read in
//! two ways, does not pass.
//!
//! Input: the request's target, and behind each line's end a header: name, colon, value. A first byte picks the
//! protocol.

#![no_main]

use http::{HeaderName, HeaderValue, Request, Version};
use libfuzzer_sys::fuzz_target;
use sluicegate_filters::screen::Framing;
use sluicegate_filters::{Connection, Protocol};

fuzz_target!(|input: &[u8]| {
    let Some((&pick, rest)) = input.split_first() else { return };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let Ok(path) = str::from_utf8(target) else { return };
    let (version, protocol) = match pick % 3 {
        0 => (Version::HTTP_11, Protocol::Http1),
        1 => (Version::HTTP_10, Protocol::Http1),
        _ => (Version::HTTP_2, Protocol::Http2),
    };
    let uri = match protocol {
        Protocol::Http1 => path.to_owned(),
        Protocol::Http2 => format!("https://gateway.test{path}"),
    };
    let method = if pick & 0x80 == 0 { "POST" } else { "GET" };
    let request = Request::builder().method(method).uri(uri).version(version).body(());
    let Ok(request) = request else { return };
    let mut head = request.into_parts().0;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            head.headers.append(name, value);
        }
    }
    let connection = Connection { protocol, raw_target: target };
    let Ok(length) = Framing::default().screen(&head, &connection) else { return };

    assert!(!leads_elsewhere(head.uri.path()), "{path}");
    assert_eq!(head.uri.path_and_query().map(|it| it.as_str()), Some(path));
    let count = |name: &str| head.headers.get_all(name).iter().count();
    assert!(count("host") <= 1 && count("content-length") + count("transfer-encoding") <= 1);
    if let Some(value) = head.headers.get("content-length") {
        let digits = value.to_str().expect("digits");
        assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(digits.parse().ok(), length);
    }
    if let Some(host) = head.headers.get("host") {
        let host = host.to_str().expect("a host is ASCII");
        let authority: http::uri::Authority = host.parse().expect("a host is an authority");
        assert_eq!(authority.as_str(), host);
        assert!(!host.contains('@'));
    }
});

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
    let inner = segments.get(1..segments.len() - 1).unwrap_or_default();
    text.contains(|c: char| c.is_ascii_control() || c == '\\')
        || segments.iter().any(|segment| matches!(*segment, "." | ".."))
        || inner.contains(&"")
}
