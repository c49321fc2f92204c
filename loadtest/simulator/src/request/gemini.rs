//! Gemini's `generateContent`.
//!
//! <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/api/caching#Content>

use super::{
    asked::{Asked, Choice, Tool},
    fields::At,
    json::Json,
    shape::Shape::{self, Any, Bool, Int, List, Map, Number, Object, Text, Words},
};
use crate::errors::{Dialect, Refusal};

const BODY: Shape = Object(&[
    ("contents", List(&CONTENT)),
    ("systemInstruction", CONTENT),
    ("tools", List(&TOOL)),
    ("toolConfig", TOOL_CONFIG),
    ("generationConfig", GENERATION),
    ("safetySettings", List(&Object(&[("category", Text), ("threshold", Text), ("method", Text)]))),
    ("cachedContent", Text),
    ("labels", Map),
    ("serviceTier", Text),
    ("store", Bool),
]);
const CONTENT: Shape = Object(&[("role", Text), ("parts", List(&PART))]);
const BLOB: Shape = Object(&[("mimeType", Text), ("data", Text), ("displayName", Text)]);
const FILE: Shape = Object(&[("mimeType", Text), ("fileUri", Text), ("displayName", Text)]);
const DATA: [&str; 7] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
];
const PART: Shape = Object(&[
    ("text", Text),
    ("inlineData", BLOB),
    ("fileData", FILE),
    ("functionCall", Object(&[("id", Text), ("name", Text), ("args", Map)])),
    (
        "functionResponse",
        Object(&[
            ("id", Text),
            ("name", Text),
            ("response", Map),
            ("parts", List(&Object(&[("inlineData", BLOB), ("fileData", FILE)]))),
            ("willContinue", Bool),
            ("scheduling", Text),
        ]),
    ),
    ("executableCode", Map),
    ("codeExecutionResult", Map),
    ("thought", Bool),
    ("thoughtSignature", Text),
    ("videoMetadata", Map),
    ("mediaResolution", Any),
]);
const TOOL: Shape = Object(&[
    (
        "functionDeclarations",
        List(&Object(&[
            ("name", Text),
            ("description", Text),
            ("behavior", Text),
            ("parameters", Map),
            ("parametersJsonSchema", Map),
            ("response", Map),
            ("responseJsonSchema", Map),
        ])),
    ),
    ("googleSearch", Map),
    ("codeExecution", Map),
    ("urlContext", Map),
]);
const TOOL_CONFIG: Shape = Object(&[
    (
        "functionCallingConfig",
        Object(&[
            ("mode", Words(&["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"])),
            ("allowedFunctionNames", List(&Text)),
        ]),
    ),
    ("retrievalConfig", Map),
]);
const GENERATION: Shape = Object(&[
    ("stopSequences", List(&Text)),
    ("responseMimeType", Text),
    ("responseSchema", Map),
    ("responseJsonSchema", Map),
    ("responseModalities", List(&Text)),
    ("candidateCount", Int),
    ("maxOutputTokens", Int),
    ("temperature", Number),
    ("topP", Number),
    ("topK", Number),
    ("seed", Int),
    ("presencePenalty", Number),
    ("frequencyPenalty", Number),
    ("responseLogprobs", Bool),
    ("logprobs", Int),
    ("enableEnhancedCivicAnswers", Bool),
    ("speechConfig", Map),
    (
        "thinkingConfig",
        Object(&[("includeThoughts", Bool), ("thinkingBudget", Int), ("thinkingLevel", Text)]),
    ),
    ("imageConfig", Map),
    ("mediaResolution", Text),
]);

/// The output limit, and what is asked for.
pub(super) fn check<'a>(body: &Json<'a>) -> Result<(Option<u64>, Asked<'a>), Refusal> {
    let root = At::root(Dialect::Google);
    BODY.check(&root, body)?;
    let contents = body.get("contents").map(Json::elements).unwrap_or_default();
    if contents.is_empty() {
        return Err(root
            .key("contents")
            .refuse("* GenerateContentRequest.contents: contents is not specified\n"));
    }
    let mut asked = Asked::default();
    let at = root.key("contents");
    let mut calls = 0;
    for (index, content) in contents.iter().enumerate() {
        let at = at.index(index);
        let role = content.text_of("role").unwrap_or("user");
        if !["user", "model"].contains(&role) {
            return Err(at.refuse("Please use a valid role: user, model."));
        }
        let parts = content.get("parts").map(Json::elements).unwrap_or_default();
        if parts.is_empty() {
            return Err(
                at.refuse(format!("* GenerateContentRequest.{at}.parts: must not be empty."))
            );
        }
        for (index, part) in parts.iter().enumerate() {
            let data = DATA.iter().filter(|key| part.get(key).is_some()).count();
            if data != 1 {
                let at = at.key("parts");
                return Err(at.refuse(format!(
                    "{}: required oneof field 'data' must have one initialized field",
                    at.index(index)
                )));
            }
        }
        let count = |key: &str| parts.iter().filter(|part| part.get(key).is_some()).count();
        let results = count("functionResponse");
        if (calls > 0 || results > 0) && results != calls {
            return Err(at.refuse(
                "Please ensure that the number of function response parts is equal to the number \
                 of function call parts of the function call turn.",
            ));
        }
        calls = count("functionCall");
        asked.after_results = results > 0;
    }
    if calls > 0 {
        return Err(
            at.refuse("Please ensure that a function call turn is followed by its responses.")
        );
    }
    for tool in body.get("tools").map(Json::elements).unwrap_or_default() {
        let functions = tool.get("functionDeclarations").map(Json::elements).unwrap_or_default();
        for function in functions {
            let at = root.key("tools");
            let Some(name) = function.text_of("name") else { return Err(at.missing()) };
            at.name(&Json::Text(name.into()), 64)?;
            let schema = function.get("parametersJsonSchema").or(function.get("parameters"));
            asked.tools.push(Tool { name: name.to_owned(), schema: schema.cloned() });
        }
    }
    let calling = body.get("toolConfig").and_then(|config| config.get("functionCallingConfig"));
    if let Some(calling) = calling {
        let allowed =
            calling.get("allowedFunctionNames").and_then(|names| names.elements().first());
        asked.choice = match (calling.text_of("mode"), allowed.and_then(Json::as_str)) {
            (Some("NONE"), _) => Choice::None,
            (Some("ANY"), Some(name)) => Choice::Named(name.to_owned()),
            (Some("ANY"), None) => Choice::Any,
            _ => Choice::Auto,
        };
    }
    let config = body.get("generationConfig");
    let limit = config.and_then(|config| config.get("maxOutputTokens")).map(|limit| {
        limit.as_u64().filter(|limit| *limit > 0).ok_or_else(|| {
            root.key("generationConfig").refuse("max_output_tokens must be positive.")
        })
    });
    Ok((limit.transpose()?, asked))
}
