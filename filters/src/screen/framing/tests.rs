use http::Version;
use proptest::prelude::*;

use super::*;
use crate::testing::Head;

pub(super) fn screen(head: &Head) -> Result<Option<u64>, DenialKind> {
    Framing::default().screen(&head.parts, &head.connection()).map_err(|denial| denial.kind())
}

fn post() -> Head {
    Head::http1("POST", "/v1/chat/completions")
}

const REFUSED: Result<Option<u64>, DenialKind> = Err(DenialKind::InvalidRequestFraming);

#[test]
fn the_length_is_the_declared_one() {
    for (head, expected) in [
        (post().with("content-length", "42"), Some(42)),
        (post().with("content-length", "0"), Some(0)),
        (post().with("content-length", "0042"), Some(42)),
        (post().with("content-length", "18446744073709551615"), Some(u64::MAX)),
        (post().with("transfer-encoding", "chunked"), None),
        (post().with("transfer-encoding", "Chunked"), None),
        (post(), Some(0)),
        (Head::http1("GET", "/v1/models"), Some(0)),
        (Head::http1("GET", "/v1/models").with("content-length", "0"), Some(0)),
        (Head::bare("POST", "/v1/messages", Version::HTTP_10).with("content-length", "7"), Some(7)),
        (Head::http2("POST", "/v1/messages"), None),
        (Head::http2("GET", "/v1/models"), None),
        (Head::http2("POST", "/v1/messages").with("content-length", "7"), Some(7)),
    ] {
        assert_eq!(screen(&head), Ok(expected), "{:?}", head.parts);
    }
}

#[test]
fn content_length_has_one_reading() {
    for value in [
        "",
        "+5",
        "-5",
        "5 ",
        " 5",
        "5, 5",
        "5,5",
        "5;5",
        "0x5",
        "5.0",
        "5e0",
        "\t5",
        "\u{ff15}",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        assert_eq!(screen(&post().with("content-length", value)), REFUSED, "{value:?}");
        let http2 = Head::http2("POST", "/v1/messages").with("content-length", value);
        assert_eq!(screen(&http2), REFUSED, "{value:?} in HTTP/2");
    }
    for second in ["5", "6"] {
        let head = post().with("content-length", "5").with("content-length", second);
        assert_eq!(screen(&head), REFUSED, "5 and {second}");
    }
}

#[test]
fn transfer_encoding_is_chunked_or_refused() {
    for value in [
        "",
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        " chunked",
        "chunked ",
        "\tchunked",
        "chunked\t",
        "\"chunked\"",
        "'chunked'",
        "chunked;q=1",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunke\u{300}d",
    ] {
        assert_eq!(screen(&post().with("transfer-encoding", value)), REFUSED, "{value:?}");
    }
    let twice = post().with("transfer-encoding", "chunked").with("transfer-encoding", "chunked");
    assert_eq!(screen(&twice), REFUSED);
    let old =
        Head::bare("POST", "/v1/messages", Version::HTTP_10).with("transfer-encoding", "chunked");
    assert_eq!(screen(&old), REFUSED);
}

#[test]
fn length_and_chunked_together_are_refused_in_any_order_and_version() {
    for version in [Version::HTTP_10, Version::HTTP_11] {
        for (first, second) in [
            (("content-length", "5"), ("transfer-encoding", "chunked")),
            (("transfer-encoding", "chunked"), ("content-length", "5")),
            (("content-length", "0"), ("transfer-encoding", "identity")),
        ] {
            let head = Head::bare("POST", "/v1/messages", version)
                .with("host", "gateway.test")
                .with(first.0, first.1)
                .with(second.0, second.1);
            assert_eq!(screen(&head), REFUSED, "{version:?} {first:?} {second:?}");
        }
    }
}

#[test]
fn a_method_without_a_body_has_none() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE"] {
        let head = || Head::http1(method, "/v1/models");
        assert_eq!(screen(&head().with("content-length", "1")), REFUSED, "{method}");
        assert_eq!(screen(&head().with("transfer-encoding", "chunked")), REFUSED, "{method}");
        assert_eq!(screen(&head()), Ok(Some(0)), "{method}");
        let http2 = Head::http2(method, "/v1/models").with("content-length", "1");
        assert_eq!(screen(&http2), REFUSED, "{method} in HTTP/2");
    }
    // Which is left to the route table to refuse.
    for method in ["PUT", "PATCH", "PURGE"] {
        let head = Head::http1(method, "/v1/models").with("content-length", "1");
        assert_eq!(screen(&head), Ok(Some(1)), "{method}");
    }
}

#[test]
fn http2_has_no_headers_of_an_http1_connection() {
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "close"),
        ("connection", ""),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("te", ""),
    ] {
        let head = Head::http2("POST", "/v1/messages").with(name, value);
        assert_eq!(screen(&head), REFUSED, "{name}: {value}");
    }
    let head = Head::http2("POST", "/v1/messages").with("te", "trailers");
    assert_eq!(screen(&head), Ok(None));
}

#[test]
fn http1_may_speak_of_its_connection() {
    for (name, value) in [
        ("connection", "close"),
        ("connection", "keep-alive, TE"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers, deflate"),
        ("expect", "100-continue"),
        ("expect", "100-Continue"),
    ] {
        assert_eq!(screen(&post().with(name, value)), Ok(Some(0)), "{name}: {value}");
    }
}

#[test]
fn upgrades_are_refused() {
    for (name, value) in [
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("connection", "upgrade"),
        ("connection", "keep-alive,  UPGRADE"),
        ("connection", "Upgrade, HTTP2-Settings"),
    ] {
        assert_eq!(
            screen(&post().with(name, value)),
            Err(DenialKind::UpgradeNotSupported),
            "{name}: {value}"
        );
    }
    let second_line = post().with("connection", "keep-alive").with("connection", "upgrade");
    assert_eq!(screen(&second_line), Err(DenialKind::UpgradeNotSupported));
}

#[test]
fn connection_cannot_name_away_what_was_relied_on() {
    for value in ["host", "Content-Length", "close, content-type", "authorization"] {
        assert_eq!(screen(&post().with("connection", value)), REFUSED, "{value}");
    }
}

#[test]
fn only_one_expectation_is_known() {
    for value in ["", "100-continue, 100-continue", "200-ok", "100-continue;x"] {
        assert_eq!(screen(&post().with("expect", value)), REFUSED, "{value:?}");
    }
}

#[test]
fn the_version_is_the_connections() {
    for (version, protocol) in [
        (Version::HTTP_2, Protocol::Http1),
        (Version::HTTP_11, Protocol::Http2),
        (Version::HTTP_10, Protocol::Http2),
        (Version::HTTP_09, Protocol::Http1),
        (Version::HTTP_3, Protocol::Http2),
    ] {
        let head =
            Head::bare("GET", "/health", version).with("host", "gateway.test").over(protocol);
        assert_eq!(screen(&head), REFUSED, "{version:?} over {protocol:?}");
    }
}

#[test]
fn control_characters_are_found_anywhere_in_a_value() {
    // A header value cannot be built from these bytes here, but a lax parser's can hold them.
    for byte in (0..0x20).chain([0x7f]) {
        for at in [0, 1, 15, 16, 31, 32, 63] {
            let mut value = [b'a'; 64];
            value[at] = byte;
            assert_eq!(has_control(&value), byte != b'\t', "{byte:#x} at {at}");
        }
    }
    assert!(!has_control("text, \u{e9}\t~".as_bytes()));
    assert!(!has_control(b""));
}

#[test]
fn the_head_may_be_exactly_as_long_as_its_limit() {
    let head = post().with("x-padding", &"p".repeat(100));
    let size = "/v1/chat/completions".len()
        + "host: gateway.test\r\n".len()
        + "x-padding: \r\n".len()
        + 100;
    let screen = |limit| Framing::new(limit).screen(&head.parts, &head.connection());
    assert_eq!(screen(size), Ok(Some(0)));
    let denial = screen(size - 1).expect_err("one byte over");
    assert_eq!(denial.kind(), DenialKind::HeaderTooLarge);
}

#[test]
fn every_refusal_ends_the_connection() {
    let refusals = [
        post().with("content-length", "x"),
        post().with("upgrade", "h2c"),
        post().without("host"),
        Head::http1("GET", "/v1/../admin"),
        post().with("x-padding", &"p".repeat(70_000)),
    ];
    for head in refusals {
        let kind = screen(&head).expect_err("refused");
        assert!(kind.closes_connection(), "{kind:?}");
    }
}

fn length_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("0".to_owned()),
        any::<u64>().prop_map(|n| n.to_string()),
        "[0-9]{1,25}",
        "[ +,x0-9-]{0,6}",
        "[ -~]{0,8}",
    ]
}

fn coding_value() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("chunked".to_owned()),
        1 => Just("CHUNKED".to_owned()),
        1 => "(identity|gzip|x?chunked)(, ?(chunked|identity)){0,2}",
        1 => "[ \t]?chunked[ \t;,]?",
        1 => "[ -~]{0,12}",
    ]
}

proptest! {
    /// Whatever lines of both kinds come together: what passes has exactly one reading.
    #[test]
    fn any_combination_of_lengths_and_codings_has_one_reading_or_is_refused(
        lengths in prop::collection::vec(length_value(), 0..3),
        codings in prop::collection::vec(coding_value(), 0..3),
        old in any::<bool>(),
        lengths_first in any::<bool>(),
    ) {
        let version = if old { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut head = Head::bare("POST", "/v1/messages", version).with("host", "gateway.test");
        let lines = |head: Head, name: &str, values: &[String]| {
            values.iter().fold(head, |head, value| head.with(name, value))
        };
        head = if lengths_first {
            let head = lines(head, "content-length", &lengths);
            lines(head, "transfer-encoding", &codings)
        } else {
            let head = lines(head, "transfer-encoding", &codings);
            lines(head, "content-length", &lengths)
        };

        let digits = |value: &str| {
            (!value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()))
                .then(|| value.parse::<u64>().ok())
                .flatten()
        };
        let expected = match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Some(Some(0)),
            ([length], []) => digits(length).map(Some),
            ([], [coding]) if !old && coding.to_lowercase() == "chunked" => Some(None),
            _ => None,
        };
        prop_assert_eq!(screen(&head).ok(), expected);
    }

    #[test]
    fn no_head_makes_it_panic(
        method in "[A-Z]{1,8}",
        target in "/[!-\"$-~]{0,40}",
        lines in prop::collection::vec(
            (
                prop_oneof![
                    Just("host"), Just("connection"), Just("te"), Just("expect"),
                    Just("content-length"), Just("transfer-encoding"), Just("x-other"),
                ],
                prop::collection::vec(prop_oneof![Just(b'\t'), 0x20_u8..0x7f, 0x80_u8..], 0..20),
            ),
            0..6,
        ),
        raw in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
    ) {
        prop_assume!(target.parse::<http::Uri>().is_ok());
        let mut head = Head::bare(&method, &target, Version::HTTP_11);
        for (name, value) in &lines {
            head = head.with_bytes(name, value);
        }
        if let Some(raw) = &raw {
            head = head.with_raw_target(raw);
        }
        let _ = screen(&head);
        let _ = screen(&head.over(Protocol::Http2));
    }
}
