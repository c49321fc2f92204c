//! What OpenAI's two dialects have in common.

use super::{
    asked::{Asked, Choice, Form, Tool},
    fields::{At, Fields},
    json::Json,
    schema::{self, Rules},
};
use crate::errors::Refusal;

pub(super) const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
pub(super) const VERBOSITIES: [&str; 3] = ["low", "medium", "high"];
pub(super) const DETAILS: [&str; 4] = ["auto", "low", "high", "original"];
const TIERS: [&str; 6] = ["auto", "default", "flex", "scale", "priority", "fast"];
const LONGEST_NAME: usize = 64;
const MOST_TOOLS: usize = 128;

/// The fields of either dialect that only steer.
pub(super) fn common(fields: &Fields<'_, '_, '_>) -> Result<(), Refusal> {
    fields.number("temperature", 0.0, 2.0)?;
    fields.number("top_p", 0.0, 1.0)?;
    fields.number("top_logprobs", 0.0, 20.0)?;
    fields.flag("parallel_tool_calls")?;
    fields.flag("store")?;
    fields.labels("metadata")?;
    fields.one_of("service_tier", &TIERS)?;
    fields.one_of("prompt_cache_retention", &["in-memory", "in_memory", "24h"])?;
    fields.texts(&["user", "safety_identifier", "prompt_cache_key"])?;
    let model = fields.text("model")?.unwrap_or_default();
    if reasons_always(model)
        && let Some(temperature) = fields.number("temperature", 0.0, 2.0)?
        && temperature != 1.0
    {
        return Err(unsupported(
            &fields.at.key("temperature"),
            "Only the default (1) value is supported.",
        ));
    }
    Ok(())
}

/// Models that refuse what does not go with reasoning.
pub(super) fn reasons_always(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5"].iter().any(|family| model.starts_with(family))
}

pub(super) fn unsupported(at: &At<'_>, instead: &str) -> Refusal {
    at.refuse(format!("Unsupported parameter: '{at}' is not supported with this model. {instead}"))
        .code("unsupported_parameter")
}

/// Tools, where `function` finds what names a function, and the choice among them.
pub(super) fn tools<'a>(
    fields: &Fields<'_, 'a, '_>,
    nested: bool,
    asked: &mut Asked<'a>,
) -> Result<(), Refusal> {
    let at = fields.at.key("tools");
    let tools = fields.get("tools").map(|tools| at.list(tools)).transpose()?.unwrap_or_default();
    if tools.len() > MOST_TOOLS {
        return Err(at.invalid("array too long. Expected an array with maximum length 128"));
    }
    if nested && fields.get("tools").is_some() && tools.is_empty() {
        let message = "Invalid 'tools': empty array. Expected an array with minimum length 1, but \
                       got an empty array instead.";
        return Err(at.refuse(message).code("empty_array"));
    }
    for (index, tool) in tools.iter().enumerate() {
        let at = at.index(index);
        let fields = at.any(tool)?;
        match (fields.need_text("type")?, nested) {
            ("function", true) => {
                let fields = at.only(tool, &["type", "function"])?;
                let inner = at.key("function");
                asked.tools.push(function(inner, fields.need("function")?, &[])?);
            }
            ("function", false) => asked.tools.push(function(at, tool, &["type"])?),
            // Tools with free text, and those that the provider runs, are never called here.
            ("custom", true) => _ = at.only(tool, &["type", "custom"])?.need("custom")?,
            (other, true) => return Err(at.key("type").not_one_of(&["function", "custom"], other)),
            (_, false) => {}
        }
    }
    asked.parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true);
    if nested && tools.is_empty() {
        for key in ["tool_choice", "parallel_tool_calls"] {
            if fields.get(key).is_some() {
                let at = fields.at.key(key);
                let message = format!(
                    "Invalid value for '{key}': '{key}' is only allowed when 'tools' are specified."
                );
                return Err(at.refuse(message));
            }
        }
    }
    if let Some(choice) = fields.get("tool_choice") {
        asked.choice = tool_choice(&fields.at.key("tool_choice"), choice, nested, asked)?;
    }
    Ok(())
}

fn function<'a>(at: At<'_>, value: &Json<'a>, beside: &[&str]) -> Result<Tool<'a>, Refusal> {
    let known = [&["name", "description", "parameters", "strict"], beside].concat();
    let fields = at.only(value, &known)?;
    let name = at.key("name").name(fields.need("name")?, LONGEST_NAME)?;
    fields.text("description")?;
    let strict = fields.flag("strict")?.unwrap_or(false);
    let parameters = fields.get("parameters");
    if let Some(parameters) = parameters {
        let at = at.key("parameters");
        at.object(parameters)?;
        let invalid = |why: String| {
            at.refuse(format!("Invalid schema for function '{name}': {why}"))
                .code("invalid_function_parameters")
        };
        match parameters.text_of("type") {
            Some("object") => {}
            other => {
                let other = other.unwrap_or("None");
                let why = format!(
                    "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{other}\"'."
                );
                return Err(invalid(why));
            }
        }
        let rules = if strict { Rules::Strict } else { Rules::Function };
        schema::check(parameters, rules).map_err(|fault| invalid(fault.to_string()))?;
    }
    Ok(Tool { name: name.to_owned(), schema: parameters.cloned() })
}

fn tool_choice(
    at: &At<'_>,
    choice: &Json<'_>,
    nested: bool,
    asked: &mut Asked<'_>,
) -> Result<Choice, Refusal> {
    if choice.as_str().is_some() {
        return Ok(match at.one_of(choice, &["none", "auto", "required"])? {
            "none" => Choice::None,
            "required" => Choice::Any,
            _ => Choice::Auto,
        });
    }
    let fields = at.any(choice)?;
    match fields.need_text("type")? {
        "function" => {
            let name = if nested {
                let inner = at.key("function");
                inner.only(fields.need("function")?, &["name"])?.need_text("name")?
            } else {
                at.only(choice, &["type", "name"])?.need_text("name")?
            };
            if !asked.tools.iter().any(|tool| tool.name == name) {
                let message = format!("Tool choice '{name}' not found in 'tools' parameter.");
                return Err(at.refuse(message));
            }
            Ok(Choice::Named(name.to_owned()))
        }
        "allowed_tools" => {
            let inner = at.key("allowed_tools");
            let allowed = if nested {
                inner.only(fields.need("allowed_tools")?, &["mode", "tools"])?
            } else {
                at.only(choice, &["type", "mode", "tools"])?
            };
            let mode = allowed.need_one_of("mode", &["auto", "required"])?;
            let tools = allowed.at.key("tools").list(allowed.need("tools")?)?;
            let names: Vec<&str> = tools
                .iter()
                .filter_map(|tool| tool.get("function").unwrap_or(tool).text_of("name"))
                .collect();
            asked.tools.retain(|tool| names.contains(&tool.name.as_str()));
            Ok(if mode == "required" { Choice::Any } else { Choice::Auto })
        }
        "custom" if nested => Ok(Choice::Auto),
        other if nested => {
            Err(at.key("type").not_one_of(&["function", "allowed_tools", "custom"], other))
        }
        _ => Ok(Choice::Auto),
    }
}

/// `response_format`, or `text.format`; a schema is `nested` in the former.
pub(super) fn form<'a>(
    at: At<'_>,
    format: &Json<'a>,
    nested: bool,
    said: impl FnOnce() -> bool,
) -> Result<Option<Form<'a>>, Refusal> {
    const WORDS: [&str; 3] = ["text", "json_object", "json_schema"];
    const SCHEMA: [&str; 4] = ["name", "description", "schema", "strict"];
    let fields = at.any(format)?;
    let kind = fields.need_one_of("type", &WORDS)?;
    if kind != "json_schema" {
        at.only(format, &["type"])?;
        if kind == "text" {
            return Ok(None);
        }
        if said() {
            return Ok(Some(Form::Object));
        }
        let message = format!(
            "'messages' must contain the word 'json' in some form, to use '{at}' of type \
             'json_object'."
        );
        return Err(at.refuse(message));
    }
    let inner_at = at.key("json_schema");
    let inner = if nested {
        at.only(format, &["type", "json_schema"])?;
        inner_at.only(fields.need("json_schema")?, &SCHEMA)?
    } else {
        at.only(format, &[&["type"], &SCHEMA[..]].concat())?
    };
    let name = inner.at.key("name").name(inner.need("name")?, LONGEST_NAME)?;
    inner.text("description")?;
    let strict = inner.flag("strict")?.unwrap_or(false);
    let schema = inner.need("schema")?;
    inner.at.key("schema").object(schema)?;
    let invalid = |why: String| {
        let message = format!("Invalid schema for {at} '{name}': {why}");
        at.refuse(message).code("invalid_json_schema")
    };
    if schema.text_of("type") != Some("object") {
        let got = schema.text_of("type").unwrap_or("None");
        let why =
            format!("schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{got}\"'.");
        return Err(invalid(why));
    }
    if strict {
        schema::check(schema, Rules::Strict).map_err(|fault| invalid(fault.to_string()))?;
    }
    Ok(Some(Form::Schema(schema.clone())))
}

/// Calls that wait for their results, and results that wait for nothing.
#[derive(Default)]
pub(super) struct Open<'v> {
    ids: Vec<&'v str>,
}

impl<'v> Open<'v> {
    pub(super) fn call(&mut self, id: &'v str) {
        self.ids.push(id);
    }

    /// Whether a call waited for this result.
    pub(super) fn result(&mut self, id: &str) -> bool {
        let before = self.ids.len();
        self.ids.retain(|open| *open != id);
        self.ids.len() < before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn names(&self) -> String {
        self.ids.join(", ")
    }
}
