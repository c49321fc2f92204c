//! Lists of models in the caller's dialect.
//!
//! Sources: "Models" of OpenAI's API reference; "List models" and "Get a model" of Anthropic's.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::Dialect;

/// A model as callers see it.
#[derive(Clone, Copy, Debug)]
pub struct ModelInfo<'a> {
    /// The name to put into a request.
    pub id: &'a str,
    /// Unix time in seconds.
    pub created: i64,
    /// Who runs it.
    pub owned_by: &'a str,
    /// A name for people.
    pub display_name: &'a str,
}

/// The body of `GET /v1/models`: everything on one page.
pub fn list(dialect: Dialect, models: &[ModelInfo<'_>]) -> Bytes {
    match dialect {
        Dialect::OpenAi => json(&OpenAiList {
            object: "list",
            data: models.iter().map(OpenAiModel::new).collect(),
        }),
        Dialect::Anthropic => json(&AnthropicList {
            data: models.iter().map(AnthropicModel::new).collect(),
            has_more: false,
            first_id: models.first().map(|model| model.id),
            last_id: models.last().map(|model| model.id),
        }),
    }
}

/// The body of `GET /v1/models/{id}`.
pub fn one(dialect: Dialect, model: &ModelInfo<'_>) -> Bytes {
    match dialect {
        Dialect::OpenAi => json(&OpenAiModel::new(model)),
        Dialect::Anthropic => json(&AnthropicModel::new(model)),
    }
}

#[derive(Serialize)]
struct OpenAiList<'a> {
    object: &'static str,
    data: Vec<OpenAiModel<'a>>,
}

#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'a str,
}

impl<'a> OpenAiModel<'a> {
    fn new(model: &ModelInfo<'a>) -> Self {
        Self { id: model.id, object: "model", created: model.created, owned_by: model.owned_by }
    }
}

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    /// RFC 3339.
    created_at: String,
}

impl<'a> AnthropicModel<'a> {
    fn new(model: &ModelInfo<'a>) -> Self {
        Self {
            kind: "model",
            id: model.id,
            display_name: model.display_name,
            created_at: Timestamp::from_second(model.created)
                .unwrap_or(Timestamp::UNIX_EPOCH)
                .to_string(),
        }
    }
}

/// Plain data written to memory: there is nothing that can fail.
fn json(value: &impl Serialize) -> Bytes {
    let written = serde_json::to_vec(value);
    debug_assert!(written.is_ok(), "plain data always serialises");
    Bytes::from(written.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const A: ModelInfo<'static> = ModelInfo {
        id: "gpt-4o-mini",
        created: 1_700_000_000,
        owned_by: "openai",
        display_name: "GPT-4o \"mini\"",
    };
    const B: ModelInfo<'static> = ModelInfo {
        id: "claude",
        created: i64::MAX,
        owned_by: "anthropic",
        display_name: "Claude",
    };

    fn parse(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn openai_shape() {
        let a = json!({"id": "gpt-4o-mini", "object": "model", "created": 1_700_000_000,
            "owned_by": "openai"});
        assert_eq!(parse(&one(Dialect::OpenAi, &A)), a);
        assert_eq!(parse(&list(Dialect::OpenAi, &[A])), json!({"object": "list", "data": [a]}));
    }

    #[test]
    fn anthropic_shape() {
        let a = json!({"type": "model", "id": "gpt-4o-mini", "display_name": "GPT-4o \"mini\"",
            "created_at": "2023-11-14T22:13:20Z"});
        assert_eq!(parse(&one(Dialect::Anthropic, &A)), a);
        // A time that no calendar has must not fail the list.
        let b = json!({"type": "model", "id": "claude", "display_name": "Claude",
            "created_at": "1970-01-01T00:00:00Z"});
        assert_eq!(
            parse(&list(Dialect::Anthropic, &[A, B])),
            json!({"data": [a, b], "has_more": false, "first_id": "gpt-4o-mini",
                "last_id": "claude"})
        );
    }

    #[test]
    fn empty_lists() {
        assert_eq!(parse(&list(Dialect::OpenAi, &[])), json!({"object": "list", "data": []}));
        assert_eq!(
            parse(&list(Dialect::Anthropic, &[])),
            json!({"data": [], "has_more": false, "first_id": null, "last_id": null})
        );
    }
}
