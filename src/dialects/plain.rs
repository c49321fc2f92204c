//! Recognises the events of a stream that carry text and nothing else, by their likeness.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Members whose text a chunk may carry, in chat completions and elsewhere.
static TEXTS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| ["\"content\"", "\"text\""].map(Finder::new));

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
    /// text holds no member's name and no field, so whatever was true of the learned event is true of this one.
    /// Gives the lengths of that text, which is never empty, and of the event.
    #[inline]
    pub(super) fn event(&self, buffer: &[u8]) -> Option<(usize, usize)> {
        if self.after.is_empty() {
            return None;
        }
        let rest = buffer.strip_prefix(self.before.as_slice())?;
        let text = memchr::memchr3(b'"', b'\n', b'\r', rest)?;
        let ends = text > 0 && rest[text - 1] != b'\\' && rest[text..].starts_with(&self.after);
        ends.then(|| (text, self.before.len() + text + self.after.len()))
    }

    /// Remembers the surroundings of the text in `event`, which carries that text of so many bytes and
    /// nothing that is to be noted.
    pub(super) fn learn(&mut self, event: &[u8], bytes: u64) {
        if self.learned == Self::LESSONS || event.len() > Self::MAX || !is_simple(event) {
            return;
        }
        let Some((start, end)) = TEXTS.iter().find_map(|name| text(event, name)) else { return };
        // Else there is text in another place as well.
        if bytes == 0 || (end - start) as u64 != bytes {
            return;
        }
        self.before.clear();
        self.before.extend_from_slice(&event[..start]);
        self.after.clear();
        self.after.extend_from_slice(&event[end..]);
        self.learned += 1;
    }
}

/// Whether an event's bytes are no more than its lines, each ended by LF, and its blank line. A byte order
/// mark, which only a stream's first event may have, is more.
fn is_simple(event: &[u8]) -> bool {
    (event.starts_with(b"data:") || event.starts_with(b"event:"))
        && memchr::memchr(b'\r', event).is_none()
        && memchr::memmem::find(event, b"\n\n") == event.len().checked_sub(2)
}

/// Where in `event` the text of the first member of this name begins and ends, if it has no escapes.
fn text(event: &[u8], name: &Finder<'_>) -> Option<(usize, usize)> {
    let rest = name.find(event)? + name.needle().len();
    let start = rest + event.get(rest..)?.strip_prefix(b":\"").map(|_| b":\"".len())?;
    let length = memchr::memchr2(b'"', b'\\', &event[start..])?;
    (event[start + length] == b'"').then_some((start, start + length))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::Endpoint;
    use super::super::observe::StreamObserver;
    use super::*;

    /// Chunks that are plain, nearly plain, and not plain at all, in either vendor's way.
    fn event() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            4 => "[a-z ]{0,8}".boxed(),
            1 => prop_oneof![
                Just("\\n".to_owned()),
                Just("usage".to_owned()),
                Just("\\\"usage\\\":{".to_owned()),
                Just("\",\"usage\":{\"prompt_tokens\":3}".to_owned()),
                Just("\\".to_owned()),
                Just("\\\\".to_owned()),
                Just("\n".to_owned()),
                Just("\r".to_owned()),
            ].boxed(),
        ];
        let (chat, messages) =
            (chat_chunk as fn(String, &str, &str) -> String, messages_chunk as _);
        let write = prop_oneof![Just(chat), Just(messages)];
        let more = prop_oneof![
            16 => Just(""),
            1 => Just(",\"usage\":null"),
            1 => Just(",\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}"),
            1 => Just(",\"error\":{\"message\":\"x\"}"),
            1 => Just(",\"content\":\"more\""),
        ];
        let end = prop_oneof![
            16 => Just("\n\n"),
            1 => Just("\r\n\r\n"),
            1 => Just("\r\r"),
            1 => Just("\n"),
            1 => Just("\n: comment\n\n"),
            1 => Just("\ndata: 1\n\n"),
        ];
        (text, more, end, write).prop_map(|(text, more, end, write)| write(text, more, end))
    }

    fn chat_chunk(text: String, more: &str, end: &str) -> String {
        format!(
            "data: {{\"id\":\"1\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]{more}}}{end}"
        )
    }

    fn messages_chunk(text: String, more: &str, end: &str) -> String {
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}{more}}}{end}"
        )
    }

    proptest! {
        /// What is known of earlier events changes nothing but the time that an event takes.
        #[test]
        fn an_event_like_others_is_judged_like_a_new_one(
            events in proptest::collection::vec(event(), 1..20),
            sizes in proptest::collection::vec(1..400_usize, 1..8),
            endpoint in prop_oneof![
                Just(Endpoint::ChatCompletions),
                Just(Endpoint::Completions),
                Just(Endpoint::Messages),
            ],
            hide_usage in any::<bool>(),
        ) {
            let stream = events.concat();
            let mut learns = StreamObserver::new(endpoint, hide_usage);
            let mut never = StreamObserver::new(endpoint, hide_usage).that_never_learns();
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
                rest = more;
            }
            prop_assert_eq!(learns.finish(), never.finish());
            prop_assert_eq!(learns.usage(), never.usage());
            prop_assert_eq!(learns.finish_reason(), never.finish_reason());
            prop_assert_eq!(learns.first_content_seen(), never.first_content_seen());
        }
    }

    #[test]
    fn alike_events_are_recognised() {
        let event = |text: &str| chat_chunk(text.to_owned(), "", "\n\n");
        let mut plain = Plain::default();
        assert_eq!(plain.event(event("a").as_bytes()), None);
        plain.learn(event("a").as_bytes(), 1);
        for (text, alike) in
            [("bc", true), ("b\\n", true), ("", false), ("b\\\"", false), ("b\\", false)]
        {
            let event = event(text);
            let expected = alike.then_some((text.len(), event.len()));
            assert_eq!(plain.event(event.as_bytes()), expected, "{text}");
            // What comes behind it is none of it, and a part is not the whole.
            assert_eq!(plain.event(format!("{event}data").as_bytes()), expected, "{text}");
            assert_eq!(plain.event(&event.as_bytes()[..event.len() - 1]), None);
        }
        assert_eq!(plain.event(event("b").replace("null", "1").as_bytes()), None);
        assert_eq!(plain.event(event("b\n").as_bytes()), None);
    }

    #[test]
    fn what_is_more_than_text_is_not_learned() {
        for (event, bytes) in [
            (chat_chunk("a".to_owned(), "", "\r\n\r\n"), 1),
            (chat_chunk("a".to_owned(), "", "\n\n").replace("data", "\u{FEFF}data"), 1),
            (chat_chunk("a".to_owned(), ",\"content\":\"b\"", "\n\n"), 2),
            (chat_chunk(String::new(), "", "\n\n"), 0),
            (chat_chunk("\\n".to_owned(), "", "\n\n"), 2),
        ] {
            let mut plain = Plain::default();
            plain.learn(event.as_bytes(), bytes);
            assert_eq!(plain.event(event.as_bytes()), None, "{event}");
        }
    }

    impl Plain {
        /// One that knows nothing, and learns nothing.
        pub(in super::super) fn never() -> Self {
            Self { learned: Self::LESSONS, ..Self::default() }
        }
    }
}
