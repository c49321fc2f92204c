//! Streams.
//!
//! A fixture is text. Its head has lines `# name: value`: `source`, the page that the input follows, and where needed `note`,
//! `include_usage: true`, `answer_tool: true`, and `trailing: true` where bytes follow the end. Then come sections:
//!
//! ```text
//! === upstream
//! the upstream's stream, as it is; frames as lines: see [`frames`](crate::frames)
//! === client
//! what has to be sent to the client
//! === outcome
//! complete
//! ```
//!
//! The outcome is `complete`, `fault` for the provider's own error, or the sentence of what broke. The newline before a section's
//! line is part of the line.

use std::{borrow::Cow, fs, path::Path};

use proptest::prelude::*;
use sluicegate_chat::{Dialect, Envelope, StreamDecoder, StreamEncoder, Translator};

use crate::{
    documents,
    fixture::{Pair, Problems, update},
    frames,
};

struct Fixture {
    head: String,
    upstream: String,
    client: String,
    outcome: String,
}

impl Fixture {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (head, rest) = text.split_once("=== upstream\n").expect("a section `upstream`");
        let (upstream, rest) = match rest.split_once("\n=== client\n") {
            Some((upstream, rest)) => (upstream, rest),
            None => (rest.strip_suffix('\n').unwrap_or(rest), ""),
        };
        let (client, outcome) = rest.split_once("\n=== outcome\n").unwrap_or_default();
        let fixture = Self {
            head: head.to_owned(),
            upstream: upstream.to_owned(),
            client: client.to_owned(),
            outcome: outcome.trim_end().to_owned(),
        };
        let source = fixture.setting("source").unwrap_or_default();
        assert!(source.starts_with("https://"), "{}: no source", path.display());
        fixture
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(": "))
    }

    /// What the upstream sends.
    fn bytes(&self, pair: &Pair) -> Cow<'_, [u8]> {
        match pair.upstream {
            Dialect::Bedrock => frames::of_lines(&self.upstream).into(),
            _ => self.upstream.as_bytes().into(),
        }
    }

    fn write(&self, path: &Path) {
        let Self { head, upstream, client, outcome } = self;
        let text = format!(
            "{head}=== upstream\n{upstream}\n=== client\n{client}\n=== outcome\n{outcome}\n"
        );
        fs::write(path, text).unwrap();
    }

    fn run<'s>(&self, pair: &Pair, pieces: impl Iterator<Item = &'s [u8]>) -> (String, String) {
        let envelope = Envelope {
            include_usage: self.setting("include_usage") == Some("true"),
            ..documents::envelope()
        };
        let expect = documents::expect(self.setting("answer_tool") == Some("true"));
        let mut translator = Translator::new(
            StreamDecoder::new(pair.upstream, &expect),
            StreamEncoder::new(pair.client, envelope),
        );
        let mut out = Vec::new();
        let mut result = Ok(());
        for piece in pieces {
            result = translator.push(piece, &mut out);
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            result = translator.finish(&mut out);
        }
        let outcome = match result {
            Ok(()) if translator.ended() => "complete".to_owned(),
            Ok(()) if translator.fault().is_some() => "fault".to_owned(),
            Ok(()) => panic!("neither end nor fault"),
            Err(broken) => broken.to_string(),
        };
        (String::from_utf8(out).unwrap(), outcome)
    }
}

fn each(mut check: impl FnMut(&Pair, &Path, &Fixture)) {
    // Another test rewrites them at this moment.
    if update() {
        return;
    }
    each_even_now(&mut check);
}

fn each_even_now(check: &mut impl FnMut(&Pair, &Path, &Fixture)) {
    for pair in Pair::all() {
        for path in pair.files("streams") {
            check(&pair, &path, &Fixture::read(&path));
        }
    }
}

#[test]
fn whole() {
    let mut problems = Problems::default();
    each_even_now(&mut |pair, path, fixture| {
        let (client, outcome) = fixture.run(pair, std::iter::once(&*fixture.bytes(pair)));
        if update() {
            let Fixture { head, upstream, .. } = fixture;
            let (head, upstream) = (head.clone(), upstream.clone());
            Fixture { head, upstream, client, outcome }.write(path);
            return;
        }
        problems.compare(path, "client", &fixture.client, &client);
        problems.compare(path, "outcome", &fixture.outcome, &outcome);
    });
    problems.check();
}

#[test]
fn byte_by_byte() {
    let mut problems = Problems::default();
    each(|pair, path, fixture| {
        let (client, outcome) = fixture.run(pair, fixture.bytes(pair).chunks(1));
        problems.compare(path, "client", &fixture.client, &client);
        problems.compare(path, "outcome", &fixture.outcome, &outcome);
    });
    problems.check();
}

#[test]
fn with_other_line_ends() {
    let mut problems = Problems::default();
    each(|pair, path, fixture| {
        if pair.upstream == Dialect::Bedrock {
            return;
        }
        for end in ["\r\n", "\r"] {
            let upstream = fixture.upstream.replace('\n', end);
            let (client, _) = fixture.run(pair, upstream.as_bytes().chunks(7));
            problems.compare(path, "client", &fixture.client, &client);
        }
    });
    problems.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn cut_anywhere(sizes in proptest::collection::vec(1_usize..200, 1..40)) {
        let mut problems = Problems::default();
        each(|pair, path, fixture| {
            let bytes = fixture.bytes(pair);
            let mut rest = &*bytes;
            let mut sizes = sizes.iter().cycle();
            let pieces = std::iter::from_fn(|| {
                let size = *sizes.next()?;
                let (piece, more) = rest.split_at(size.min(rest.len()));
                rest = more;
                (!piece.is_empty()).then_some(piece)
            });
            let (client, outcome) = fixture.run(pair, pieces);
            problems.compare(path, "client", &fixture.client, &client);
            problems.compare(path, "outcome", &fixture.outcome, &outcome);
        });
        problems.check();
    }

    /// A stream that is cut ends in an error, never in an end of ours.
    #[test]
    fn cut_short(part in 0.0_f64..1.0) {
        each(|pair, path, fixture| {
            if fixture.outcome != "complete" || fixture.setting("trailing").is_some() {
                return;
            }
            let bytes = fixture.bytes(pair);
            let end = bytes.trim_ascii_end().len();
            let cut = ((end as f64) * part) as usize;
            let (_, outcome) = fixture.run(pair, std::iter::once(&bytes[..cut]));
            assert_ne!(outcome, "complete", "{} at {cut} of {end}", path.display());
        });
    }
}
