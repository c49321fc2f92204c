//! Writes the tools for an upstream.

use super::{family::Family, request_out::Form, turns_out::cache_point};
use crate::{
    Expect, Refusal,
    json::Writer,
    model::{Content, Field, Function, Request, Tool, ToolChoice},
    openai_chat::request_out::PROVIDERS_TOOL,
    refusal::Losses,
};

/// Writes the field `toolConfig`, if there are tools. `chooses`: the model can not be made to call any, since it reasons.
pub fn write(
    request: &Request<'_>,
    family: Family,
    form: &Form<'_>,
    chooses: bool,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if let Form::Tool(schema) = form {
        out.key("toolConfig").open().key("tools").open_array();
        spec(Expect::ANSWER_TOOL, Some("Gives the answer."), Some(schema), false, out.element());
        out.close_array().key("toolChoice").open();
        out.key("tool").open().field("name", Expect::ANSWER_TOOL).close().close().close();
        return Ok(());
    }
    let functions = offered(request, losses)?;
    let called = called(request);
    let no_tools = request.tool_choice == Some(ToolChoice::None);
    if functions.is_empty() || (no_tools && called.is_empty()) {
        if !called.is_empty() {
            retired(&called, out);
        }
        return Ok(());
    }
    out.key("toolConfig").open().key("tools").open_array();
    for function in functions {
        let schema = function.parameters.as_ref().map(|schema| schema.as_str());
        let strict = function.strict == Some(true);
        let description = function.description.as_deref();
        spec(&function.name, description, schema, strict, out.element());
        // Nova takes none here.
        let caching = if family == Family::Nova { Family::Other } else { family };
        cache_point(function.cache, caching, function.origin, losses, out);
    }
    out.close_array();
    choice(request, chooses, losses, out)?;
    out.close();
    if request.parallel_tool_calls == Some(false) {
        losses.parameter(request.name_of(Field::ParallelToolCalls))?;
    }
    Ok(())
}

/// The functions that may be called.
fn offered<'r, 'a>(
    request: &'r Request<'a>,
    losses: &Losses,
) -> Result<Vec<&'r Function<'a>>, Refusal> {
    let allowed = |function: &Function<'_>| match &request.tool_choice {
        // Tools that may not be called need not be offered.
        Some(ToolChoice::Allowed { names, .. }) => names.contains(&function.name),
        _ => true,
    };
    let mut functions = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        match tool {
            Tool::Function(function) if allowed(function) => functions.push(function),
            Tool::Function(_) => {}
            Tool::Native { origin, .. } => return Err(losses.content(origin, PROVIDERS_TOOL)),
        }
    }
    Ok(functions)
}

/// The names of the tools that earlier turns call, each once.
fn called<'r>(request: &'r Request<'_>) -> Vec<&'r str> {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let mut names: Vec<&str> = parts
        .filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(&*call.name),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A conversation in which tools were called is refused without any: so they are named, and the model is told not to call them.
fn retired(names: &[&str], out: &mut Writer<'_>) {
    out.key("toolConfig").open().key("tools").open_array();
    for name in names {
        let description =
            "Was called in earlier turns. It is not available any more: do not call it.";
        spec(name, Some(description), None, false, out.element());
    }
    out.close_array().close();
}

fn spec(
    name: &str,
    description: Option<&str>,
    schema: Option<&str>,
    strict: bool,
    out: &mut Writer<'_>,
) {
    out.open().key("toolSpec").open().field("name", name);
    out.field_if("description", description.filter(|description| !description.is_empty()));
    let none = r#"{"type":"object","properties":{}}"#;
    out.key("inputSchema").open().key("json").raw(schema.unwrap_or(none)).close();
    // Not strict is what it is anyway.
    if strict {
        out.key("strict").boolean(true);
    }
    out.close().close();
}

fn choice(
    request: &Request<'_>,
    chooses: bool,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let (kind, name) = match &request.tool_choice {
        None => return Ok(()),
        Some(ToolChoice::None) => {
            return losses.parameter_because(
                "tool_choice",
                "tools that earlier turns call have to be offered again; send `auto`",
            );
        }
        Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => ("auto", None),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => ("any", None),
        Some(ToolChoice::Function(name)) => ("tool", Some(&**name)),
    };
    if kind != "auto" && chooses {
        return losses
            .parameter_because("tool_choice", "with reasoning the model chooses; send `auto`");
    }
    out.key("toolChoice").open().key(kind).open().field_if("name", name).close().close();
    Ok(())
}
