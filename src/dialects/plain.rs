//! Recognises the chunks of a stream that carry text and nothing else, by their likeness.

use std::sync::LazyLock;

use memchr::memmem::Finder;

static CONTENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"content\""));

/// What surrounds the text in the stream's plain chunks: those that carry text and nothing else that
/// matters. The chunks of a stream are alike but for that text, so comparing the next one to the
/// last is most of what there is to do.
#[derive(Debug, Default)]
pub(super) struct Plain {
    before: Vec<u8>,
    after: Vec<u8>,
    learned: u8,
}

impl Plain {
    /// How often to learn anew. Where every chunk differs from the last, learning is in vain.
    const LESSONS: u8 = 4;
    /// The longest surroundings that are kept, in bytes.
    const MAX: usize = 2048;

    /// Whether `data` is the known surroundings around text without quotes. Such text holds no
    /// member's name, so whatever was true of the learned chunk is true of this one.
    /// Gives that text.
    pub(super) fn text<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        if self.learned == 0 {
            return None;
        }
        data.strip_prefix(self.before.as_slice())
            .and_then(|rest| rest.strip_suffix(self.after.as_slice()))
            .filter(|text| memchr::memchr(b'"', text).is_none() && !text.ends_with(b"\\"))
    }

    /// Remembers the surroundings of the text in `data`, a chunk of which nothing is to be noted.
    pub(super) fn learn(&mut self, data: &[u8]) {
        if self.learned == Self::LESSONS || data.len() > Self::MAX {
            return;
        }
        let Some(name) = CONTENT.find(data) else { return };
        let start = name + CONTENT.needle().len() + b":\"".len();
        if !data[..start.min(data.len())].ends_with(b":\"") {
            return;
        }
        let Some(end) = memchr::memchr2(b'"', b'\\', &data[start..]) else { return };
        if data[start + end] != b'"' {
            return;
        }
        self.before.clear();
        self.before.extend_from_slice(&data[..start]);
        self.after.clear();
        self.after.extend_from_slice(&data[start + end..]);
        self.learned += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Endpoint;
    use super::super::inspect::Facts;
    use super::*;

    /// Chunks that are plain, nearly plain, and not plain at all.
    fn chunk() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            "[a-z ]{0,8}",
            Just("\\n".to_owned()),
            Just("usage".to_owned()),
            Just("\\\"usage\\\":{".to_owned()),
            Just("\",\"usage\":{\"prompt_tokens\":3}".to_owned()),
            Just("\\".to_owned()),
        ];
        let reason = prop_oneof![8 => Just("null"), 1 => Just("\"stop\"")];
        let usage = prop_oneof![
            8 => Just(""),
            1 => Just(",\"usage\":null"),
            1 => Just(",\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}"),
            1 => Just(",\"error\":{\"message\":\"x\"}"),
        ];
        (text, reason, usage).prop_map(|(text, reason, usage)| {
            format!(
                "{{\"id\":\"1\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{reason}}}]{usage}}}"
            )
        })
    }

    proptest! {
        /// What is known of earlier chunks changes nothing but the time that a chunk takes.
        #[test]
        fn a_learned_chunk_is_judged_like_a_new_one(
            chunks in proptest::collection::vec(chunk(), 1..20),
        ) {
            let fresh = || {
                let mut facts = Facts::new(Endpoint::ChatCompletions);
                facts.content_seen = true;
                facts
            };
            let mut learned = fresh();
            for chunk in &chunks {
                let mut new = fresh();
                let before = (learned.content_events, learned.content_bytes);
                let verdict = learned.take(b"", chunk.as_bytes());
                prop_assert_eq!(verdict, new.take(b"", chunk.as_bytes()), "{}", chunk);
                let after = (learned.content_events, learned.content_bytes);
                let seen = (after.0 - before.0, after.1 - before.1);
                prop_assert_eq!(seen, (new.content_events, new.content_bytes), "{}", chunk);
                if new.usage.is_some() {
                    prop_assert_eq!(learned.usage, new.usage);
                }
                if new.finish_reason.is_some() {
                    prop_assert_eq!(learned.finish_reason, new.finish_reason);
                }
            }
        }
    }

    #[test]
    fn alike_chunks_are_recognised() {
        let chunk = |text: &str| format!("{{\"delta\":{{\"content\":\"{text}\"}},\"x\":null}}");
        let mut plain = Plain::default();
        assert!(plain.text(chunk("a").as_bytes()).is_none());
        plain.learn(chunk("a").as_bytes());
        assert!(plain.text(chunk("").as_bytes()).is_some());
        assert!(plain.text(chunk("b\\n").as_bytes()).is_some());
        assert!(plain.text(chunk("b\\\"").as_bytes()).is_none());
        assert!(plain.text(chunk("b\\").as_bytes()).is_none());
        assert!(plain.text(chunk("b").replace("null", "1").as_bytes()).is_none());
    }
}
