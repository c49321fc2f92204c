//! Writes tools, the choice among them, and the form of the answer: for an upstream, and where an answer repeats them.

use crate::{
    ClientDialect, Dialect, Refusal,
    json::Writer,
    model::{Format, Function, Request, Tool, ToolChoice},
    openai_chat::request_out::{PROVIDERS_TOOL, parameters_of},
    refusal::Losses,
};

/// Writes the fields of tools for an upstream.
pub fn write(
    request: &Request<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let own = Dialect::from(request.dialect) == Dialect::OpenAiResponses;
    out.key("tools").open_array();
    for tool in &request.tools {
        match tool {
            Tool::Function(tool) => {
                if tool.cache.is_some() {
                    losses.note(format_args!("{}.cache_control", tool.origin));
                }
                // Without a word this dialect rewrites the schema to be strict; no other does.
                let strict = if own { tool.strict } else { tool.strict.or(Some(false)) };
                function(tool, strict, request.dialect, out.element());
            }
            Tool::Native { dialect: Dialect::OpenAiResponses, value, .. } => {
                out.element().raw(value.as_str());
            }
            Tool::Native { origin, .. } => return Err(losses.content(origin, PROVIDERS_TOOL)),
        }
    }
    out.close_array();
    if let Some(choice) = &request.tool_choice {
        out.key("tool_choice");
        tool_choice(choice, out);
    }
    if let Some(parallel) = request.parallel_tool_calls {
        out.key("parallel_tool_calls").boolean(parallel);
    }
    Ok(())
}

/// Writes one function.
pub fn function(
    tool: &Function<'_>,
    strict: Option<bool>,
    dialect: ClientDialect,
    out: &mut Writer<'_>,
) {
    out.open().field("type", "function").field("name", &tool.name);
    out.field_if("description", tool.description.as_deref());
    // The field has to be there.
    let none = r#"{"type":"object","properties":{}}"#;
    let schema =
        tool.parameters.as_ref().map_or(none.into(), |schema| parameters_of(schema, dialect));
    out.key("parameters").raw(&schema);
    if let Some(strict) = strict {
        out.key("strict").boolean(strict);
    }
    out.close();
}

/// Writes the choice.
pub fn tool_choice(choice: &ToolChoice<'_>, out: &mut Writer<'_>) {
    let function = |name: &str, out: &mut Writer<'_>| {
        out.open().field("type", "function").field("name", name).close();
    };
    match choice {
        ToolChoice::Auto => _ = out.string("auto"),
        ToolChoice::None => _ = out.string("none"),
        ToolChoice::Required => _ = out.string("required"),
        ToolChoice::Function(name) => function(name, out),
        ToolChoice::Allowed { names, required } => {
            out.open().field("type", "allowed_tools");
            out.field("mode", if *required { "required" } else { "auto" });
            out.key("tools").open_array();
            for name in names {
                function(name, out.element());
            }
            out.close_array().close();
        }
    }
}

/// Writes the field `format`.
pub fn format(format: &Format<'_>, out: &mut Writer<'_>) {
    out.key("format").open();
    match format {
        Format::JsonObject => _ = out.field("type", "json_object"),
        Format::JsonSchema { name, description, schema, strict } => {
            // A name has to be there, and says nothing to the model.
            out.field("type", "json_schema").field("name", name.as_deref().unwrap_or("answer"));
            out.field_if("description", description.as_deref());
            out.key("schema").raw(schema.as_str());
            if let Some(strict) = strict {
                out.key("strict").boolean(*strict);
            }
        }
    }
    out.close();
}
