//! What Azure adds to OpenAI's chat completions and legacy completions.
//!
//! <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/concepts/content-filter>

use bytes::Bytes;

use super::Reply;
use crate::play::{Delta, Script, Step};

const FILTERS: &str = r#"{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}"#;

/// A body with the results of the filters.
pub(super) fn whole(body: &str) -> String {
    let body = with_choices(body);
    format!("{{{},{}", prompt(), body.strip_prefix('{').unwrap_or_default())
}

/// A first chunk about the prompt, without a choice, and the results of the filters in the others.
pub(super) fn script(reply: &Reply<'_>, script: Script, object: &str) -> Script {
    let first = format!(
        r#"{{"choices":[],"created":0,"id":"","model":"","object":"{object}",{}}}"#,
        prompt()
    );
    let each = |events: Vec<Bytes>| -> Vec<Bytes> { events.iter().map(event).collect() };
    let delta = match script.delta {
        Delta::Cycle(events) => Delta::Cycle(each(events)),
        Delta::Steps(steps) => Delta::Steps(
            steps
                .into_iter()
                .map(|step| Step { event: event(&step.event), token: step.token })
                .collect(),
        ),
        other @ Delta::Numbered { .. } => other,
    };
    let mut opening = vec![reply.event(None, &first)];
    opening.extend(each(script.opening));
    Script { opening, delta, closing: each(script.closing), ..script }
}

fn event(event: &Bytes) -> Bytes {
    // Events are made of texts.
    Bytes::from(with_choices(&String::from_utf8_lossy(event)))
}

/// A quote within a text is escaped, so that this key is never one.
fn with_choices(text: &str) -> String {
    text.replace(
        r#""finish_reason":"#,
        &format!(r#""content_filter_results":{FILTERS},"finish_reason":"#),
    )
}

fn prompt() -> String {
    format!(r#""prompt_filter_results":[{{"prompt_index":0,"content_filter_results":{FILTERS}}}]"#)
}
