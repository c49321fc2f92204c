//! Bedrock's Converse.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

use super::{
    asked::{Asked, Choice, Tool},
    fields::At,
    json::Json,
    shape::Shape::{self, Int, List, Map, Number, Object, Text, Words},
};
use crate::errors::{Dialect, Refusal};

const BODY: Shape = Object(&[
    (
        "messages",
        List(&Object(&[("role", Words(&["user", "assistant"])), ("content", List(&BLOCK))])),
    ),
    ("system", List(&Object(&[("text", Text), ("cachePoint", CACHE), ("guardContent", Map)]))),
    (
        "inferenceConfig",
        Object(&[
            ("maxTokens", Int),
            ("temperature", Number),
            ("topP", Number),
            ("stopSequences", List(&Text)),
        ]),
    ),
    ("toolConfig", TOOLS),
    ("guardrailConfig", Map),
    ("additionalModelRequestFields", Map),
    ("additionalModelResponseFieldPaths", List(&Text)),
    ("promptVariables", Map),
    ("requestMetadata", Map),
    ("performanceConfig", Object(&[("latency", Words(&["standard", "optimized"]))])),
    ("serviceTier", Object(&[("type", Text)])),
    ("outputConfig", Map),
]);
const CACHE: Shape = Object(&[("type", Words(&["default"])), ("ttl", Text)]);
const BLOCK: Shape = Object(&[
    ("text", Text),
    ("image", Map),
    ("document", Map),
    ("video", Map),
    ("audio", Map),
    ("toolUse", Object(&[("toolUseId", Text), ("name", Text), ("input", Map), ("type", Text)])),
    (
        "toolResult",
        Object(&[
            ("toolUseId", Text),
            ("content", List(&Map)),
            ("status", Words(&["success", "error"])),
            ("type", Text),
        ]),
    ),
    ("reasoningContent", Map),
    ("cachePoint", CACHE),
    ("guardContent", Map),
    ("citationsContent", Map),
    ("searchResult", Map),
]);
const TOOLS: Shape = Object(&[
    (
        "tools",
        List(&Object(&[
            (
                "toolSpec",
                Object(&[
                    ("name", Text),
                    ("description", Text),
                    ("inputSchema", Object(&[("json", Map)])),
                    ("strict", Shape::Bool),
                ]),
            ),
            ("cachePoint", CACHE),
            ("systemTool", Map),
        ])),
    ),
    ("toolChoice", Object(&[("auto", Map), ("any", Map), ("tool", Object(&[("name", Text)]))])),
]);

/// The output limit, and what is asked for.
pub(super) fn check<'a>(body: &Json<'a>) -> Result<(Option<u64>, Asked<'a>), Refusal> {
    let root = At::root(Dialect::Bedrock);
    BODY.check(&root, body)?;
    let mut asked = Asked::default();
    let config = body.get("toolConfig");
    let at = root.key("toolConfig");
    for tool in
        config.and_then(|config| config.get("tools")).map(Json::elements).unwrap_or_default()
    {
        if tool.members().len() != 1 {
            return Err(at.invalid("each tool has one member"));
        }
        if let Some(spec) = tool.get("toolSpec") {
            let at = at.key("toolSpec");
            at.name(spec.get("name").ok_or_else(|| at.key("name").missing())?, 64)?;
            let schema = spec.get("inputSchema").and_then(|schema| schema.get("json"));
            let schema = schema.ok_or_else(|| at.key("inputSchema").missing())?;
            let name = spec.text_of("name").unwrap_or_default().to_owned();
            asked.tools.push(Tool { name, schema: Some(schema.clone()) });
        }
    }
    if config.is_some() && asked.tools.is_empty() {
        return Err(at.key("tools").missing());
    }
    if let Some(choice) = config.and_then(|config| config.get("toolChoice")) {
        let name = choice.get("tool").and_then(|tool| tool.text_of("name"));
        asked.choice = match name {
            Some(name) => Choice::Named(name.to_owned()),
            None if choice.get("any").is_some() => Choice::Any,
            None => Choice::Auto,
        };
    }
    let at = root.key("messages");
    let messages = body.get("messages").map(Json::elements).unwrap_or_default();
    if messages.is_empty() {
        return Err(at.missing());
    }
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let at = at.index(index);
        let role = message.text_of("role").ok_or_else(|| at.key("role").missing())?;
        if index == 0 && role != "user" {
            return Err(at.refuse("A conversation must start with a user message. Try again with a conversation that starts with a user message."));
        }
        if role != if index % 2 == 0 { "user" } else { "assistant" } {
            return Err(at.refuse("A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again."));
        }
        let blocks = message.get("content").map(Json::elements).unwrap_or_default();
        if blocks.is_empty() {
            return Err(at.refuse(format!("The content field in the Message object at {at} is empty. Add a ContentBlock object to the content field and try again.")));
        }
        let (mut uses, mut results) = (Vec::new(), Vec::new());
        for (index, block) in blocks.iter().enumerate() {
            let at = at.key("content");
            let at = at.index(index);
            if block.members().len() != 1 {
                return Err(at.invalid("a content block has one member"));
            }
            if block.text_of("text").is_some_and(|text| text.trim().is_empty()) {
                return Err(at.refuse(format!("The text field in the ContentBlock object at {at} is blank. Add text to the text field, and try again.")));
            }
            let id = |key: &str| block.get(key).and_then(|inner| inner.text_of("toolUseId"));
            uses.extend(id("toolUse"));
            results.extend(id("toolResult"));
        }
        if config.is_none() && !(uses.is_empty() && results.is_empty()) {
            return Err(at.refuse("The toolConfig field must be defined when using toolUse and toolResult content blocks."));
        }
        open.sort_unstable();
        results.sort_unstable();
        if open != results {
            return Err(at.refuse(format!("The toolResult blocks at {at} do not match the toolUse blocks of the previous turn.")));
        }
        asked.after_results = !results.is_empty();
        open = uses;
    }
    if !open.is_empty() {
        return Err(at.refuse("Expected toolResult blocks for the last toolUse blocks."));
    }
    let limit = body.get("inferenceConfig").and_then(|config| config.get("maxTokens"));
    let limit = limit.map(|limit| {
        limit
            .as_u64()
            .filter(|limit| *limit > 0)
            .ok_or_else(|| root.key("inferenceConfig").invalid("maxTokens must be at least 1"))
    });
    Ok((limit.transpose()?, asked))
}
