//! What proxies and tracing systems say of a request: nothing that a stranger writes is believed, and what is
//! passed on is what the standard has.
//!
//! Input: one byte that picks the field, and its lines.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use sluicegate::edge::{client, is_trusted};
use sluicegate::telemetry::trace::context::{
    Parent, TRACEPARENT, TRACESTATE, traceparent, tracestate,
};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: &str = "192.0.2.9";

fuzz_target!(|input: &[u8]| {
    let Some((&pick, rest)) = input.split_first() else { return };
    let lines: Vec<_> = rest
        .split(|byte| *byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    match pick % 3 {
        0 => forwarded(lines),
        1 => parent(lines),
        _ => state(lines),
    }
});

fn map(name: &HeaderName, lines: impl IntoIterator<Item = HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, line);
    }
    headers
}

fn forwarded(lines: Vec<HeaderValue>) {
    let name = HeaderName::from_static("x-forwarded-for");
    let trusted: Vec<IpNet> =
        ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a network")).to_vec();
    let stranger: IpAddr = STRANGER.parse().expect("an address");
    let all = map(&name, lines.iter().cloned());
    assert_eq!(client(&trusted, stranger, &all), stranger);
    assert_eq!(client(&[], PROXY, &all), PROXY);
    // Only what is written there, or the proxy itself.
    let found = client(&trusted, PROXY, &all);
    assert_eq!(found, found.to_canonical());
    let joined: Vec<u8> = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b',');
    let written = joined.split(|byte| *byte == b',').any(|entry| {
        let text = String::from_utf8_lossy(entry);
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let address = bare.parse::<IpAddr>().ok();
        let address =
            address.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|it| it.ip()));
        address.map(|it| it.to_canonical()) == Some(found)
    });
    assert!(found == PROXY || written, "{found} out of nothing");
    // One list is the same in one line.
    if let Ok(one) = HeaderValue::from_bytes(&joined) {
        assert_eq!(client(&trusted, PROXY, &map(&name, [one])), found);
    }
    // An honest proxy's entry behind it is the end of it.
    let honest = lines.into_iter().chain([HeaderValue::from_static(STRANGER)]);
    assert_eq!(client(&trusted, PROXY, &map(&name, honest)), stranger);
    assert!(!is_trusted(&trusted, stranger));
}

fn parent(lines: Vec<HeaderValue>) {
    let Some(read) = Parent::of(&map(&TRACEPARENT, lines.iter().cloned())) else { return };
    let [line] = &lines[..] else { panic!("of several, one was believed") };
    // A later version may say more, in whatever bytes.
    let text = String::from_utf8_lossy(line.as_bytes());
    let mut parts = text.splitn(5, '-');
    let mut next = || parts.next().expect("four parts");
    let (version, trace, span, flags) = (next(), next(), next(), next());
    assert_eq!(trace, read.trace_id.to_string());
    assert_eq!(span, read.span_id.to_string());
    assert!(trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0'));
    assert_eq!([version.len(), trace.len(), span.len(), flags.len()], [2, 32, 16, 2]);
    let lower = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    assert!(lower(version) && lower(flags) && version != "ff");
    assert_eq!(u8::from_str_radix(flags, 16).map(|flags| flags & 1 == 1), Ok(read.sampled));
    assert!(version != "00" || text.len() == 55);
    let ours = traceparent(read.trace_id, read.span_id).expect("a value");
    let again = Parent::of(&map(&TRACEPARENT, [ours]));
    assert_eq!(again, Some(Parent { sampled: true, ..read }));
}

fn state(lines: Vec<HeaderValue>) {
    let Some(read) = tracestate(&map(&TRACESTATE, lines)) else { return };
    let text = read.to_str().expect("a state is ASCII").to_owned();
    assert!(text.len() <= 512 && text.split(',').count() <= 32);
    let mut keys = std::collections::HashSet::new();
    for member in text.split(',') {
        let (key, value) = member.split_once('=').expect("a member");
        assert!(keys.insert(key), "{text}");
        assert!(!value.is_empty() && !value.contains('=') && !value.ends_with(' '), "{text}");
    }
    assert_eq!(tracestate(&map(&TRACESTATE, [read.clone()])), Some(read));
}
