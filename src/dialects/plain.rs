//! Recognises the events of a stream that carry text and nothing else, by their likeness.

use std::ops::Range;

/// What surrounds the text in the stream's plain events: those that carry text and nothing else that
/// matters. The events of a stream are alike but for that text, so comparing the next one to the
/// last is most of what there is to do.
#[derive(Debug, Default)]
pub(super) struct Plain {
    before: Vec<u8>,
    after: Vec<u8>,
    learned: u8,
}

impl Plain {
    /// How often to learn anew. Where every event differs from the last, learning is in vain.
    const LESSONS: u8 = 4;
    /// The longest event that is learned from, in bytes.
    const MAX: usize = 2048;

    /// Whether `buffer` begins with the known surroundings around text without quotes and line ends. Such
    /// text ends no line and begins no member, so whatever was true of the learned event is true of this one.
    /// Gives the lengths of that text, which is never empty, and of the event.
    #[inline]
    pub(super) fn event(&self, buffer: &[u8]) -> Option<(usize, usize)> {
        if self.after.is_empty() {
            return None;
        }
        let rest = buffer.strip_prefix(self.before.as_slice())?;
        let text = text_length(rest)?;
        let ends = text > 0 && rest[text - 1] != b'\\' && rest[text..].starts_with(&self.after);
        ends.then(|| (text, self.before.len() + text + self.after.len()))
    }

    /// Remembers the surroundings of `text` in `event`: the value of a member, where nothing else of the event
    /// was worth a note.
    pub(super) fn learn(&mut self, event: &[u8], text: Range<usize>) {
        if self.learned == Self::LESSONS || event.len() > Self::MAX {
            return;
        }
        let (Some(data), Some(after)) = (data_of_simple(event), event.get(text.end..)) else {
            return;
        };
        // As JSON has it. Else it may be a name, or a word that is sought may begin with its closing quote, which
        // depends on the text.
        let is_value = after.strip_prefix(b"\"").is_some_and(|after| {
            matches!(after.trim_ascii_start().first(), Some(b',' | b'}' | b']'))
        });
        if text.start < data || !is_value {
            return;
        }
        let before = &event[..text.start];
        if self.before == before && self.after == after {
            // It was not recognised because of its text, or of how it was cut.
            return;
        }
        self.before.clear();
        self.before.extend_from_slice(before);
        self.after.clear();
        self.after.extend_from_slice(after);
        self.learned += 1;
    }
}

/// How much of `rest` is before its first quote or line end. Most texts are a word: short enough that a search
/// in larger steps would not get going.
fn text_length(rest: &[u8]) -> Option<usize> {
    const SHORT: usize = 24;
    let ends = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r');
    if let Some(length) = rest.iter().take(SHORT).position(ends) {
        return Some(length);
    }
    let length = memchr::memchr3(b'"', b'\n', b'\r', rest.get(SHORT..)?)?;
    Some(SHORT + length)
}

/// Where the `data` of an event begins that has one line of it, at most a name before it, its blank line, and
/// nothing else. A byte order mark, which only a stream's first event may have, is something else.
fn data_of_simple(event: &[u8]) -> Option<usize> {
    let (lines, end) = match event.strip_suffix(b"\r\n\r\n") {
        Some(lines) => (lines, &b"\r\n"[..]),
        None => (event.strip_suffix(b"\n\n")?, &b"\n"[..]),
    };
    let mut data = 0;
    if lines.starts_with(b"event:") {
        let name = memchr::memchr2(b'\r', b'\n', lines)?;
        lines[name..].strip_prefix(end)?;
        data = name + end.len();
    }
    let line = lines[data..].strip_prefix(b"data:")?;
    memchr::memchr2(b'\r', b'\n', line).is_none().then_some(data)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::Endpoint;
    use super::super::observe::{MAX_HELD, StreamObserver};
    use super::*;

    /// A text, mostly one that is nothing but a text.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[a-z ]{0,8}".boxed(),
            1 => "[a-z]{20,30}".boxed(),
            1 => prop::sample::select(vec![
                "\\n", "usage", "error", "reasoning", "content", "text", "\\\"usage\\\":{", "\",\"usage\":{\"prompt_tokens\":3}",
                "\\", "\\\\", "\n", "\r", "\r\n", "\\q", "\u{1}", "a\nevent: x\ndata: b", "x\":{\"y",
            ]).prop_map(str::to_owned).boxed(),
        ]
    }

    /// Data that is plain, nearly plain, and not plain at all, in either vendor's way, with `TEXT` in it.
    const DATA: [&str; 18] = [
        r#"{"id":"1","choices":[{"delta":{"content":"TEXT"},"finish_reason":null}]}"#,
        r#"{"id":"1","choices":[{"delta":{"content":"TEXT"},"finish_reason":null}],"usage":null}"#,
        r#"{"id":"1","choices":[{"delta":{"content" : "TEXT"},"finish_reason":"stop"}]}"#,
        r#"{"id":"1","choices":[{"delta":{"content":"TEXT"}}],"usage":{"prompt_tokens":5}}"#,
        r#"{"choices":[{"delta":{"content":"TEXT"}}],"error":{"message":"x"}}"#,
        r#"{"choices":[{"delta":{"content":"TEXT"}},{"delta":{"content":"more"}}]}"#,
        r#"{"choices":[{"delta":{"content":"","reasoning":"TEXT"}}]}"#,
        r#"{"choices":[{"delta":{"reasoning":"abc","x":[{"text":"TEXT"}]}}]}"#,
        r#"{"choices":[{"text":"TEXT":{"a":1}}]}"#,
        r#"{"choices":[{"text":"TEXT"}]}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"TEXT"}}"#,
        r#"{"index":0,"type":"content_block_delta","delta":{"text":"TEXT"}}"#,
        r#"{"type":"content_block_delta","delta":{"content":"TEXT","text":"abc"}}"#,
        r#"{"type":"content_block_delta","delta":{"thinking":"TEXT"}}"#,
        r#"{"choices":[{"delta":{"content":"TEXT"usage":{"prompt_tokens":3}}}]}"#,
        r#"{"choices":[{"delta":{"content":"TEXT"usage"usage":{"prompt_tokens":3}}}]}"#,
        r#"{"choices":[{"delta":{"content":"TEXT"content":"more"}}]}"#,
        r#"{"type":"content_block_delta","delta":{"thinking":"TEXT"text":"more"}}"#,
    ];

    fn event() -> impl Strategy<Value = String> {
        let before = prop_oneof![
            8 => Just("data: "),
            4 => Just("event: content_block_delta\ndata: "),
            1 => Just("event: error\ndata: "),
            1 => Just("event: \"content\":\"\ndata: "),
            1 => Just("id: 7\ndata:"),
            1 => Just(": \"text\":\"abc\"\ndata:"),
            1 => Just("data: {\"a\":1,\ndata:"),
        ];
        let after = prop_oneof![
            16 => Just("\n\n"),
            4 => Just("\r\n\r\n"),
            1 => Just("\r\r"),
            1 => Just("\n"),
            1 => Just("\n: comment\n\n"),
            1 => Just("\n: \"text\":\"abc\"\n\n"),
            1 => Just("\ndata: 1\n\n"),
        ];
        // Events in a row that are alike are what is to be recognised.
        let shape = (before, prop::sample::select(DATA.to_vec()), after);
        (shape, prop::collection::vec(text(), 1..4)).prop_map(|((before, data, after), texts)| {
            texts
                .iter()
                .map(|text| format!("{before}{}{after}", data.replace("TEXT", text)))
                .collect()
        })
    }

    proptest! {
        /// What is known of earlier events changes nothing but the time that an event takes.
        #[test]
        fn an_event_like_others_is_judged_like_a_new_one(
            events in proptest::collection::vec(event(), 1..20),
            sizes in proptest::collection::vec(prop_oneof![1..40_usize, 1..4000_usize], 1..8),
            endpoint in prop_oneof![
                Just(Endpoint::ChatCompletions),
                Just(Endpoint::Completions),
                Just(Endpoint::Messages),
            ],
            hide_usage in any::<bool>(),
            limit in prop_oneof![Just(MAX_HELD), 60..200_usize],
        ) {
            let stream = events.concat();
            let observer = || {
                let mut observer = StreamObserver::with_limit(endpoint, hide_usage, limit);
                // Else it takes all of the first events for interesting.
                observer.push(Bytes::from_static(FIRST.as_bytes()));
                observer
            };
            let (mut learns, mut never) = (observer(), observer().that_never_learns());
            let mut rest = stream.as_bytes();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at((*size).min(rest.len()));
                let piece = Bytes::copy_from_slice(piece);
                prop_assert_eq!(learns.push(piece.clone()), never.push(piece));
                prop_assert_eq!(learns.content(), never.content());
                prop_assert_eq!(learns.events(), never.events());
                prop_assert_eq!(learns.state(), never.state());
                prop_assert_eq!(learns.mid_event(), never.mid_event());
                rest = more;
            }
            prop_assert_eq!(learns.finish(), never.finish());
            prop_assert_eq!(learns.usage(), never.usage());
            prop_assert_eq!(learns.finish_reason(), never.finish_reason());
            prop_assert_eq!(learns.model(), never.model());
            prop_assert_eq!(learns.first_content_seen(), never.first_content_seen());
        }
    }

    const FIRST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"first\"}}]}\n\n";

    fn chunk(text: &str, end: &str) -> String {
        format!("data: {}{end}{end}", DATA[0].replace("TEXT", text))
    }

    fn learned(event: &str, text: &str) -> Plain {
        let mut plain = Plain::default();
        let start = event.find(text).unwrap();
        plain.learn(event.as_bytes(), start..start + text.len());
        plain
    }

    #[test]
    fn alike_events_are_recognised() {
        for end in ["\n", "\r\n"] {
            let plain = learned(&chunk("xyz", end), "xyz");
            let long = "long ".repeat(20);
            for (text, alike) in [
                ("bc", true),
                ("b\\n", true),
                (&long, true),
                ("", false),
                ("b\\\"", false),
                ("b\\", false),
                ("b\n", false),
                ("b\r", false),
            ] {
                let event = chunk(text, end);
                let expected = alike.then_some((text.len(), event.len()));
                assert_eq!(plain.event(event.as_bytes()), expected, "{text}");
                // What comes behind it is none of it, and a part is not the whole.
                assert_eq!(plain.event(format!("{event}data").as_bytes()), expected, "{text}");
                assert_eq!(plain.event(&event.as_bytes()[..event.len() - 1]), None);
            }
            assert_eq!(plain.event(chunk("b", end).replace("null", "1").as_bytes()), None);
        }
        let other = "event: content_block_delta\ndata: {\"text\":\"xyz\"}\n\n";
        assert_eq!(learned(other, "xyz").event(other.as_bytes()), Some((3, other.len())));
    }

    #[test]
    fn what_is_more_than_a_text_is_not_learned() {
        for event in [
            "\u{FEFF}data: {\"content\":\"xyz\"}\n\n",
            "data: {\"content\":\"xyz\"}\r\r",
            "data: {\"content\":\"xyz\"}\r\n\n",
            "data: {\"content\":\"xyz\":1}\n\n",
            "data: {\"content\":\"xyz\" : 1}\n\n",
            "data: {\"content\":\"xyz\"usage\":{}}\n\n",
            "data: {\"content\":\"xyz\"}\n: comment\n\n",
            "data: {\ndata: \"content\":\"xyz\"}\n\n",
            "event: \"xyz\"\ndata: {}\n\n",
            "event: x\ndata: {\"content\":\"xyz\"}\r\n\r\n",
            "event: x\nevent: y\ndata: {\"content\":\"xyz\"}\n\n",
            ": \"xyz\"\ndata: {}\n\n",
        ] {
            assert_eq!(learned(event, "xyz").event(event.as_bytes()), None, "{event}");
        }
    }

    #[test]
    fn the_same_is_not_learned_twice() {
        let mut plain = Plain::default();
        for _ in 0..2 * Plain::LESSONS {
            let event = chunk("xyz", "\n");
            let start = event.find("xyz").unwrap();
            plain.learn(event.as_bytes(), start..start + 3);
        }
        assert_eq!(plain.learned, 1);
    }

    #[test]
    fn streams_take_the_short_way() {
        for (endpoint, data) in [
            (Endpoint::ChatCompletions, DATA[0]),
            (Endpoint::ChatCompletions, DATA[6]),
            (Endpoint::Completions, DATA[9]),
            (Endpoint::Messages, DATA[10]),
            (Endpoint::Messages, DATA[13]),
        ] {
            let event = |text: &str| format!("data: {}\n\n", data.replace("TEXT", text));
            let mut observer = StreamObserver::new(endpoint, false);
            for text in ["one", "two", "three"] {
                observer.push(Bytes::from(event(text)));
            }
            assert!(observer.recognises(event("more").as_bytes()), "{data}");
        }
        // Here the whole of each event is looked at.
        let mut observer = StreamObserver::new(Endpoint::Messages, false);
        let event = format!("data: {}\n\n", DATA[11]);
        for _ in 0..3 {
            observer.push(Bytes::from(event.clone()));
        }
        assert!(!observer.recognises(event.as_bytes()));
    }

    impl Plain {
        /// One that knows nothing, and learns nothing.
        pub(in super::super) fn never() -> Self {
            Self { learned: Self::LESSONS, ..Self::default() }
        }
    }
}
