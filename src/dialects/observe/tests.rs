//! Tests of the observer: every dialect's stream whole, cut, broken and chunked in any way.

use proptest::prelude::*;

use super::*;

const CHAT: &[u8] = include_bytes!("../fixtures/chat.sse");
const COMPLETIONS: &[u8] = include_bytes!("../fixtures/completions.sse");
const RESPONSES: &[u8] = include_bytes!("../fixtures/responses.sse");
const MESSAGES: &[u8] = include_bytes!("../fixtures/messages.sse");

const FIXTURES: [(Endpoint, &[u8]); 4] = [
    (Endpoint::ChatCompletions, CHAT),
    (Endpoint::Completions, COMPLETIONS),
    (Endpoint::Responses, RESPONSES),
    (Endpoint::Messages, MESSAGES),
];

/// All that an observer lets one see, after the stream's end.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    forwarded: Vec<u8>,
    end: StreamEnd,
    usage: Option<Usage>,
    model: Option<String>,
    events: u64,
    counts: (u64, u64),
    seen: (u64, u64),
    content: bool,
    finish_reason: Option<FinishReason>,
    mid_event: bool,
}

fn observe(mut observer: StreamObserver, stream: &[u8], sizes: &[usize]) -> Outcome {
    let mut forwarded = Vec::new();
    let mut rest = stream;
    for size in sizes.iter().cycle() {
        let (piece, more) = rest.split_at((*size).min(rest.len()));
        if let Some(bytes) = observer.push(Bytes::copy_from_slice(piece)) {
            assert!(!bytes.is_empty(), "an empty chunk would end a chunked body");
            forwarded.extend_from_slice(&bytes);
        }
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    let finish = observer.finish();
    forwarded.extend(finish.rest.into_iter().flatten());
    Outcome {
        forwarded,
        end: finish.end,
        usage: observer.usage(),
        model: observer.model().map(str::to_owned),
        events: observer.events(),
        counts: observer.counts(),
        seen: observer.content(),
        content: observer.first_content_seen(),
        finish_reason: observer.finish_reason(),
        mid_event: observer.mid_event(),
    }
}

fn whole(endpoint: Endpoint, stream: &[u8]) -> Outcome {
    let observer = StreamObserver::new(endpoint, false);
    observe(observer, stream, &[usize::MAX])
}

fn chat(stream: &str) -> Outcome {
    whole(Endpoint::ChatCompletions, stream.as_bytes())
}

fn text(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.forwarded).into_owned()
}

#[test]
fn facts_of_each_dialects_stream() {
    let chat_usage = Usage {
        input: 75,
        cache_read: 1_024,
        output: 46,
        reasoning: 32,
        audio_input: 5,
        audio_output: 2,
        ..Usage::default()
    };
    let completions_usage = Usage { input: 5, output: 2, ..Usage::default() };
    let responses_usage =
        Usage { input: 30, cache_read: 6, output: 87, reasoning: 64, ..Usage::default() };
    let messages_usage = Usage {
        input: 21,
        cache_read: 188_086,
        cache_write_5m: 148,
        cache_write_1h: 100,
        output: 393,
        ..Usage::default()
    };
    let expected = [
        (chat_usage, "gpt-4o-mini-2024-07-18", 6, (2, 75), FinishReason::Length),
        (completions_usage, "gpt-3.5-turbo-instruct", 5, (2, 7), FinishReason::Stop),
        (responses_usage, "gpt-4.1-2025-04-14", 9, (1, 22), FinishReason::Stop),
        (messages_usage, "claude-sonnet-4-5-20250929", 8, (2, 32), FinishReason::Stop),
    ];
    for ((endpoint, stream), (usage, model, events, seen, reason)) in
        FIXTURES.into_iter().zip(expected)
    {
        let outcome = whole(endpoint, stream);
        assert_eq!(
            outcome,
            Outcome {
                forwarded: stream.to_vec(),
                end: StreamEnd::Complete,
                usage: Some(usage),
                model: Some(model.to_owned()),
                events,
                counts: (usage.total_input(), usage.output),
                seen,
                content: true,
                finish_reason: Some(reason),
                mid_event: false,
            }
        );
    }
}

#[test]
fn whole_events_pass_as_the_very_same_memory() {
    for (endpoint, stream) in FIXTURES {
        let chunk = Bytes::from_static(stream);
        let forwarded = StreamObserver::new(endpoint, false).push(chunk.clone());
        assert_eq!(forwarded.map(|bytes| bytes.as_ptr()), Some(chunk.as_ptr()));
    }
}

#[test]
fn only_the_usage_chunk_is_taken_out() {
    for (endpoint, stream) in &FIXTURES[..2] {
        for end in ["\n", "\r\n", "\r"] {
            let stream = String::from_utf8_lossy(stream).replace('\n', end);
            let kept: String = stream
                .split_inclusive(&format!("{end}{end}"))
                .filter(|event| !event.contains("\"choices\":[],"))
                .collect();
            assert!(kept.len() < stream.len());
            for size in [1, 2, 700, usize::MAX] {
                let observer = StreamObserver::new(*endpoint, true);
                let outcome = observe(observer, stream.as_bytes(), &[size]);
                assert_eq!(text(&outcome), kept, "{end:?} {size}");
                assert_eq!(outcome.usage, whole(*endpoint, stream.as_bytes()).usage);
                assert_eq!(outcome.end, StreamEnd::Complete);
            }
        }
    }
}

/// Adds the counts that it was asked about.
fn annotated(observer: StreamObserver) -> StreamObserver {
    observer.with_annotation(Box::new(|usage, tier| {
        format!("\"spliced\":\"{} {} {}\"", usage.total_input(), usage.output, tier.name())
    }))
}

#[test]
fn members_are_added_to_the_usage_and_all_else_stays() {
    for (endpoint, stream) in FIXTURES {
        for end in ["\n", "\r\n", "\r"] {
            let stream = String::from_utf8_lossy(stream).replace('\n', end);
            let plain = whole(endpoint, stream.as_bytes());
            let usage = plain.usage.unwrap();
            let added =
                format!(",\"spliced\":\"{} {} standard\"}}", usage.total_input(), usage.output);
            for size in [1, 7, 700, usize::MAX] {
                let observer = annotated(StreamObserver::new(endpoint, false));
                let outcome = observe(observer, stream.as_bytes(), &[size]);
                let text = text(&outcome);
                assert_eq!(text.matches("spliced").count(), 1, "{endpoint:?}: {text}");
                assert_eq!(text.replace(&added, "}"), stream, "{endpoint:?} {size}");
                let last = text.split(end).find(|line| line.contains("spliced")).unwrap();
                let data = last.strip_prefix("data: ").unwrap();
                serde_json::from_str::<serde_json::Value>(data).unwrap();
            }
        }
    }
}

#[test]
fn members_are_added_where_their_object_is_empty_or_oddly_written() {
    let told = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
    for (usage, expected) in [
        ("{ }", "{ \"spliced\":\"3 4 standard\"}"),
        ("{}", "{\"spliced\":\"3 4 standard\"}"),
        ("{\"x\":{} }", "{\"x\":{} ,\"spliced\":\"3 4 standard\"}"),
        ("null", "null"),
    ] {
        let stream =
            format!("{told}data: {{\"choices\":[],\"usage\" : {usage} }}\n\ndata: [DONE]\n\n");
        let observer = annotated(StreamObserver::new(Endpoint::ChatCompletions, false));
        let text = text(&observe(observer, stream.as_bytes(), &[usize::MAX]));
        assert!(text.contains(&format!("\"usage\" : {expected} }}")), "{text}");
    }
    // In several lines it is left alone.
    let stream =
        "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":3}}\n\ndata: [DONE]\n\n";
    let observer = annotated(StreamObserver::new(Endpoint::ChatCompletions, false));
    let outcome = observe(observer, stream.as_bytes(), &[usize::MAX]);
    assert_eq!((text(&outcome).as_str(), outcome.counts), (stream, (3, 0)));
}

#[test]
fn a_last_event_without_its_blank_line_has_members_added_too() {
    let stream = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":\
                  {\"service_tier\":\"flex\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n";
    let observer = annotated(StreamObserver::new(Endpoint::Responses, false));
    let outcome = observe(observer, stream.as_bytes(), &[usize::MAX]);
    assert_eq!(outcome.end, StreamEnd::Complete);
    assert!(text(&outcome).contains(",\"spliced\":\"3 4 flex\"}}}"), "{}", text(&outcome));
}

#[test]
fn each_event_with_content_is_a_token_at_least() {
    let text =
        |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{text}}}}}]}}\n\n");
    let stream: String =
        ["\"a\"", "\"b\"", "\"c\"", "\"\"", "null", "\"d\"", "\"\""].map(text).concat();
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let tool = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"{\"}}]}}]}\n\n";
    let stop = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let observer = StreamObserver::new(Endpoint::ChatCompletions, false);
    let stream = format!("{role}{stream}{tool}{stop}");
    assert_eq!(observe(observer, stream.as_bytes(), &[usize::MAX]).counts, (0, 5));

    let delta =
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{}}\n\n";
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":\
                 {\"usage\":{\"input_tokens\":9,\"output_tokens\":1,\"service_tier\":\"priority\"}}}\n\n";
    let mut observer = StreamObserver::new(Endpoint::Messages, false);
    assert_eq!(observer.so_far(), None);
    observer.push(Bytes::from(start));
    assert_eq!((observer.counts(), observer.tier()), ((9, 1), Some(ServiceTier::Priority)));
    observer.push(Bytes::from(delta.repeat(3)));
    let so_far = observer.so_far().unwrap();
    assert_eq!((so_far.input, so_far.output), (9, 3));
    assert_eq!(observer.usage().unwrap().output, 1, "what is told stays what is told");
}

#[test]
fn the_bytes_of_content_are_counted_whatever_is_around_them() {
    let long = "x".repeat(MAX_HELD);
    for (endpoint, events, expected) in [
        (
            Endpoint::ChatCompletions,
            vec![
                r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#.to_owned(),
                r#"{"choices":[{"delta":{"content":"four"}}]}"#.to_owned(),
                r#"{"choices":[{"delta":{"content":"five "}}]}"#.to_owned(),
                r#"{"choices":[{"delta":{"content":"\"six"}}]}"#.to_owned(),
                r#"{"choices":[{"delta":{"content":null,"reasoning":"six...","reasoning_content":"six..."}}]}"#.to_owned(),
                r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]}}]}"#.to_owned(),
                r#"{"choices":[{"delta":{"content":"end"},"finish_reason":"stop"}]}"#.to_owned(),
            ],
            (6, 4 + 5 + 5 + 6 + 9 + 3),
        ),
        (
            Endpoint::Completions,
            vec![r#"{"choices":[{"text":"four"}]}"#.to_owned()],
            (1, 4),
        ),
        (
            Endpoint::Responses,
            vec![
                r#"{"type":"response.created","response":{}}"#.to_owned(),
                r#"{"type":"response.output_text.delta","delta":"four","logprobs":[],"obfuscation":"zzzzzz"}"#.to_owned(),
                r#"{"type":"response.function_call_arguments.delta","delta":"{}"}"#.to_owned(),
            ],
            (2, 6),
        ),
        (
            Endpoint::Messages,
            vec![
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"five."}}"#.to_owned(),
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"abcdef"}}"#.to_owned(),
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"four"}}"#.to_owned(),
                r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#.to_owned(),
            ],
            (4, 11),
        ),
        (
            Endpoint::ChatCompletions,
            vec![format!(r#"{{"choices":[{{"delta":{{"content":"{long}"}}}}]}}"#)],
            (1, MAX_HELD as u64 + 40),
        ),
    ] {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        for size in [1, 7, usize::MAX] {
            let observer = StreamObserver::new(endpoint, false);
            let (seen, bytes) = observe(observer, stream.as_bytes(), &[size]).seen;
            // Of an event that is too long to be held, what is around its content counts as well.
            let around = if stream.len() > MAX_HELD { 40 } else { 0 };
            assert_eq!(seen, expected.0, "{endpoint:?} {size}");
            assert!((expected.1 - around..=expected.1).contains(&bytes), "{endpoint:?}: {bytes}");
        }
    }
}

#[test]
fn a_chunk_with_choices_and_usage_stays() {
    let stream = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n\
                  data: {\"choices\":[]}\n\ndata: {\"choices\":[],\"usage\":null}\n\ndata: [DONE]\n\n";
    let observer = StreamObserver::new(Endpoint::ChatCompletions, true);
    let outcome = observe(observer, stream.as_bytes(), &[usize::MAX]);
    assert_eq!(text(&outcome), stream);
    assert_eq!(outcome.usage.map(|usage| usage.input), Some(1));
}

#[test]
fn the_last_usage_wins() {
    let outcome = chat(
        "data: {\"choices\":[{}],\"usage\":{\"completion_tokens\":1}}\n\n\
         data: {\"choices\":[{}],\"usage\":{\"completion_tokens\":9}}\n\n\
         data: {\"choices\":[{}],\"usage\":null}\n\ndata: [DONE]\n\n",
    );
    assert_eq!(outcome.usage.map(|usage| usage.output), Some(9));
}

#[test]
fn a_cut_anywhere_forwards_whole_events_only() {
    for (endpoint, stream) in FIXTURES {
        let text = String::from_utf8_lossy(stream);
        let ends: Vec<usize> = ends_of_steps(&text);
        // Behind the last line's content, the last event is as good as whole.
        for cut in 0..stream.len() - 2 {
            let outcome = whole(endpoint, &stream[..cut]);
            let last = ends.iter().filter(|end| **end <= cut).max().copied().unwrap_or(0);
            assert_eq!(outcome.forwarded, &stream[..last], "{endpoint:?} cut at {cut}");
            assert_eq!(outcome.end, StreamEnd::Truncated, "{endpoint:?} cut at {cut}");
            assert!(!outcome.mid_event);
        }
    }
}

/// Where a whole event, comment or blank line ends.
fn ends_of_steps(text: &str) -> Vec<usize> {
    let events = text.match_indices("\n\n").map(|(at, _)| at + 2);
    let comments = text.match_indices(": keep-alive\n").map(|(at, comment)| at + comment.len());
    events.chain(comments).collect()
}

#[test]
fn a_last_event_without_its_blank_line_is_complete() {
    for (endpoint, stream) in FIXTURES {
        for missing in [1, 2] {
            let stream = &stream[..stream.len() - missing];
            let outcome = whole(endpoint, stream);
            assert_eq!(outcome.end, StreamEnd::Complete, "{endpoint:?} {missing}");
            assert_eq!(outcome.forwarded, stream);
            assert_eq!(outcome.usage, whole(endpoint, stream).usage);
        }
    }
}

#[test]
fn bytes_behind_the_last_event_pass() {
    let stream = "data: [DONE]\n\nanything: goes\r\rhalf";
    assert_eq!(text(&chat(stream)), stream);
    assert_eq!(chat(stream).end, StreamEnd::Complete);
}

#[test]
fn nothing_follows_an_error_event() {
    let table = [
        (Endpoint::ChatCompletions, "data: {\"error\":{\"message\":\"x\"}}\n\n"),
        (Endpoint::ChatCompletions, "event: error\ndata: {\"message\":\"x\"}\n\n"),
        (Endpoint::Responses, "event: error\ndata: {\"type\":\"error\",\"code\":\"x\"}\n\n"),
        (Endpoint::Responses, "data: {\"type\":\"error\",\"code\":\"x\"}\n\n"),
        (Endpoint::Responses, "data: {\"type\":\"response.failed\",\"response\":{}}\n\n"),
        (Endpoint::Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n"),
        (Endpoint::Messages, "data: {\"type\":\"error\",\"error\":{}}\n\n"),
    ];
    for (endpoint, error) in table {
        for end in ["\n", "\r\n", "\r"] {
            let error = format!(": hi\n\n{error}").replace('\n', end);
            let stream = format!("{error}data: [DONE]\n\nevent: message_stop\ndata: {{}}\n\n");
            for size in [1, usize::MAX] {
                let observer = StreamObserver::new(endpoint, false);
                let outcome = observe(observer, stream.as_bytes(), &[size]);
                assert_eq!(text(&outcome), error);
                assert_eq!(outcome.end, StreamEnd::UpstreamError);
            }
        }
    }
}

#[test]
fn usage_of_a_failed_response_counts() {
    let event =
        "data: {\"type\":\"response.failed\",\"response\":{\"usage\":{\"output_tokens\":7}}}\n\n";
    let outcome = whole(Endpoint::Responses, event.as_bytes());
    assert_eq!(outcome.usage.map(|usage| usage.output), Some(7));
}

#[test]
fn an_incomplete_response_says_why() {
    let event = "data: {\"type\":\"response.incomplete\",\"response\":{\
                 \"incomplete_details\":{\"reason\":\"max_output_tokens\"}}}\n\n";
    let outcome = whole(Endpoint::Responses, event.as_bytes());
    assert_eq!(outcome.end, StreamEnd::Complete);
    assert_eq!(outcome.finish_reason, Some(FinishReason::Length));
}

#[test]
fn nothing_from_a_malformed_event_on_passes() {
    let good = "data: {\"choices\":[{}]}\n\n";
    for bad in [
        "data: {\"choices\":[\n\n",
        "data: <html>\n\n",
        "data:\n\n",
        "data: null\n\n",
        "<html>\n\n",
        "data: {}\nfoo: bar\n\n",
        "data: {\"usage\":{]}\n\n",
        "HTTP/1.1 500\r\n",
    ] {
        for size in [1, usize::MAX] {
            let stream = format!("{good}{bad}data: [DONE]\n\n");
            let observer = StreamObserver::new(Endpoint::ChatCompletions, false);
            let outcome = observe(observer, stream.as_bytes(), &[size]);
            assert_eq!(text(&outcome), good, "{bad:?}");
            assert_eq!(outcome.end, StreamEnd::Malformed, "{bad:?}");
            assert!(!outcome.mid_event);
        }
    }
}

#[test]
fn comments_pass_at_once() {
    let mut observer = StreamObserver::new(Endpoint::ChatCompletions, false);
    for (piece, forwarded) in [
        (": keep", None),
        ("-alive\n", Some(": keep-alive\n")),
        ("\n", Some("\n")),
        ("data: {}\n", None),
        (": inside\n", None),
        ("\n", Some("data: {}\n: inside\n\n")),
    ] {
        let out = observer.push(Bytes::from_static(piece.as_bytes()));
        assert_eq!(out.as_deref(), forwarded.map(str::as_bytes));
    }
}

#[test]
fn a_long_event_passes_and_still_counts() {
    let text = "x".repeat(3 * MAX_HELD);
    let completed = format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":\
         {{\"text\":\"{text}\",\"usage\":{{\"input_tokens\":3,\"output_tokens\":4}}}}}}\n\n"
    );
    let mut observer = StreamObserver::new(Endpoint::Responses, false);
    let half = Bytes::copy_from_slice(&completed.as_bytes()[..2 * MAX_HELD]);
    assert_eq!(observer.push(half.clone()), Some(half));
    assert!(observer.mid_event(), "an error event now needs a blank line");
    let rest = Bytes::copy_from_slice(&completed.as_bytes()[2 * MAX_HELD..]);
    assert_eq!(observer.push(rest.clone()), Some(rest));
    assert!(!observer.mid_event());
    assert_eq!(observer.usage().map(|usage| usage.total()), Some(7));
    assert_eq!(observer.finish().end, StreamEnd::Complete);
}

#[test]
fn a_long_event_that_is_no_json_lacks_its_blank_line() {
    let event = format!("data: {}\n\n", "x".repeat(2 * MAX_HELD));
    let outcome = chat(&event);
    assert_eq!(outcome.end, StreamEnd::Malformed);
    assert_eq!(outcome.forwarded, event.as_bytes()[..event.len() - 1]);
    assert!(outcome.mid_event);
}

#[test]
fn a_long_error_event_passes_whole_and_is_the_last() {
    let text = "x".repeat(2 * MAX_HELD);
    let error = format!("data: {{\"error\":{{\"message\":\"{text}\"}}}}\r\n\r\n");
    let stream = format!("{error}data: [DONE]\r\n\r\n");
    for size in [error.len() - 1, usize::MAX] {
        let observer = StreamObserver::new(Endpoint::ChatCompletions, false);
        let outcome = observe(observer, stream.as_bytes(), &[size]);
        assert!(outcome.forwarded == error.as_bytes(), "cut at {size}");
        assert_eq!(outcome.end, StreamEnd::UpstreamError);
        assert!(!outcome.mid_event);
    }
}

#[test]
fn a_long_first_event_may_follow_a_byte_order_mark() {
    let text = "x".repeat(2 * MAX_HELD);
    let stream = format!("\u{FEFF}data: {{\"x\":\"{text}\"}}\n\ndata: [DONE]\n\n");
    let outcome = chat(&stream);
    assert_eq!((outcome.end, outcome.events), (StreamEnd::Complete, 2));
    assert!(outcome.forwarded == stream.as_bytes());
}

#[test]
fn what_is_held_is_bounded() {
    let mut observer = StreamObserver::new(Endpoint::ChatCompletions, false);
    for _ in 0..10 * MAX_HELD {
        observer.push(Bytes::from_static(b"data: "));
        assert!(observer.held.len() < MAX_HELD);
    }
}

#[test]
fn the_error_event_fits_the_stream() {
    let reply = ErrorReply {
        status: 502,
        code: "stream_interrupted",
        message: "The provider broke off.",
        param: None,
        request_id: "r",
    };
    let mut observer = StreamObserver::new(Endpoint::Responses, false);
    observer.push(Bytes::from_static(b"data: {\"type\":\"response.created\"}\n\ndata: {"));
    let event = observer.error_event(&reply);
    let event = String::from_utf8_lossy(&event);
    assert!(event.starts_with("event: error\n"), "{event}");
    assert!(event.contains("\"sequence_number\":1"), "{event}");
    observer.push(Bytes::from(vec![b'x'; MAX_HELD]));
    assert!(observer.error_event(&reply).starts_with(b"\n\nevent: error\n"));
}

/// One event or comment of any dialect, good or bad.
fn parts() -> impl Strategy<Value = String> {
    let usage = (0_u64..50, 0_u64..50).prop_map(|(prompt, completion)| {
        format!(
            "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion}}}}}\n\n"
        )
    });
    let common = proptest::sample::select(vec![
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{ é\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\ndata: \"model\":\"m\"}\n\n",
        ": comment\n",
        "\n",
        "id: 7\nretry: 10\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n: c\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"long enough to pass the limit\"}\n\n",
    ]);
    let rare = proptest::sample::select(vec![
        "data: [DONE]\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3}}}\n\n",
        "data: {\"error\":{\"code\":1}}\n\n",
        "event: error\ndata: {\"x\":1}\n\n",
        "data: nonsense\n\n",
        "data: {\"usage\":{]}\n\n",
        "unknown: field\n\n",
        "databases are long, and this line is no field at all\n",
        ": a comment that is longer than the limit that the tests set for events\n",
        "id: 1\n: a comment that is longer than the limit that the tests set\ndata: {}\n\n",
    ]);
    prop_oneof![
        6 => common.prop_map(str::to_owned),
        2 => usage,
        1 => rare.prop_map(str::to_owned),
        1 => ".{0,10}",
    ]
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let end = proptest::sample::select(vec!["\n", "\r\n", "\r"]);
    let parts = proptest::collection::vec((parts(), end), 0..8);
    (any::<bool>(), parts, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mark, parts, cut, whole)| {
            let mut stream: String = if mark { "\u{FEFF}" } else { "" }.to_owned();
            stream.extend(parts.iter().map(|(part, end)| part.replace('\n', end)));
            let mut stream = stream.into_bytes();
            if !whole && !stream.is_empty() {
                stream.truncate(cut.index(stream.len()));
            }
            stream
        },
    )
}

fn endpoints() -> impl Strategy<Value = Endpoint> {
    proptest::sample::select(FIXTURES.map(|(endpoint, _)| endpoint).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_chunking_gives_the_same_outcome(
        endpoint in endpoints(),
        remove: bool,
        add: bool,
        // Small limits, so that many events are too long; a byte order mark still fits.
        limit in prop_oneof![Just(MAX_HELD), 3_usize..90],
        stream in streams(),
        sizes in proptest::collection::vec(1_usize..40, 1..6),
    ) {
        let observer = || {
            let observer = StreamObserver::with_limit(endpoint, remove, limit);
            if add { annotated(observer) } else { observer }
        };
        let whole = observe(observer(), &stream, &[usize::MAX]);
        prop_assert_eq!(&whole, &observe(observer(), &stream, &sizes));
        prop_assert_eq!(&whole, &observe(observer(), &stream, &[1]));
        if !remove && !add {
            prop_assert!(stream.starts_with(&whole.forwarded));
        }
    }

    #[test]
    fn fixtures_survive_any_chunking(
        at in 0_usize..4,
        end in proptest::sample::select(vec!["\n", "\r\n", "\r"]),
        sizes in proptest::collection::vec(1_usize..300, 1..9),
    ) {
        let (endpoint, stream) = FIXTURES[at];
        let stream = String::from_utf8_lossy(stream).replace('\n', end);
        let observer = StreamObserver::new(endpoint, false);
        let outcome = observe(observer, stream.as_bytes(), &sizes);
        prop_assert_eq!(outcome, whole(endpoint, stream.as_bytes()));
    }

    #[test]
    fn nothing_panics(
        endpoint in endpoints(),
        stream in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(b"\r\n:data {}[]\"".as_slice())], 0..200),
        sizes in proptest::collection::vec(1_usize..40, 1..6),
    ) {
        let observer = || StreamObserver::with_limit(endpoint, true, 32);
        let whole = observe(observer(), &stream, &[usize::MAX]);
        prop_assert_eq!(whole, observe(observer(), &stream, &sizes));
    }
}

#[test]
fn the_tier_of_a_long_event_is_where_the_dialect_has_it() {
    for (endpoint, event, tier) in [
        (
            Endpoint::ChatCompletions,
            r#"{"service_tier":"flex","message":{"service_tier":"batch"},"choices":[]}"#,
            Some(ServiceTier::Flex),
        ),
        (
            Endpoint::Responses,
            r#"{"type":"response.completed","response":{"service_tier":"flex"},"service_tier":"batch"}"#,
            Some(ServiceTier::Flex),
        ),
        (
            Endpoint::Messages,
            r#"{"type":"message_start","message":{"service_tier":"batch"},"service_tier":"batch"}"#,
            None,
        ),
    ] {
        let stream = format!("data: {event}\n\n");
        for limit in [16, MAX_HELD] {
            let mut observer = StreamObserver::with_limit(endpoint, false, limit);
            observer.push(Bytes::from(stream.clone()));
            assert_eq!(observer.tier(), tier, "{endpoint:?}, {limit}");
        }
    }
}
