//! Translations held against fixtures.
//!
//! A directory `fixtures/<client>-<upstream>` belongs to each pair of dialects. What is in it:
//!
//! | directory | file | read from | written for |
//! |---|---|---|---|
//! | `requests` | JSON: see [`documents`] | the client | the upstream |
//! | `replies` | JSON | the upstream | the client |
//! | `errors` | JSON | the upstream | the client |
//! | `streams` | text: see [`streams`] | the upstream | the client |
//!
//! Each fixture names the page of the provider's reference that its input follows. `UPDATE=1` writes what comes out into the
//! fixtures: read each before it is kept.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails should say where")]

mod documents;
mod fixture;
mod frames;
mod streams;

use fixture::Pair;

/// Pairs whose codecs are complete, and so need enough fixtures.
const COMPLETE: &[&str] = &[
    "anthropic-bedrock",
    "anthropic-gemini",
    "anthropic-openai_chat",
    "anthropic-openai_responses",
    "openai_chat-anthropic",
    "openai_chat-bedrock",
    "openai_chat-gemini",
    "openai_chat-openai_responses",
    "openai_responses-anthropic",
    "openai_responses-openai_chat",
];

#[test]
fn each_complete_pair_has_enough_fixtures() {
    for name in COMPLETE {
        let pair = Pair::named(name);
        for kind in ["requests", "streams"] {
            let count = pair.files(kind).len();
            assert!(count >= 25, "{name} has {count} {kind}");
        }
    }
}
