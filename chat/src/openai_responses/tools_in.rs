//! Reads a client's tools, and the choice among them.

use std::borrow::Cow;

use super::request_in::OWN;
use crate::{
    Refusal, Why,
    extras::Extras,
    json::{Kind, Path, Reader},
    model::{Function, Origin, Tool, ToolChoice},
};

/// Reads one tool. Those that the provider runs or defines are kept as they are.
pub fn tool<'a>(
    at: &Path<'_>,
    index: usize,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Tool<'a>, Refusal> {
    let origin = Origin::element("tools", index);
    let kind = at.look_up(reader, "type")?;
    let kind = kind.ok_or_else(|| at.key("type").refuse(Why::Missing))?;
    if kind != "function" {
        let value = at.object(reader)?;
        return Ok(Tool::Native { dialect: OWN, kind, value, origin });
    }
    let mut function = Function::unread(origin);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "name" => function.name = at.string(reader)?,
            "description" => function.description = at.optional(reader, Path::string)?,
            "parameters" => function.parameters = at.optional(reader, Path::object)?,
            "strict" => function.strict = at.optional(reader, Path::boolean)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    if function.name.is_empty() {
        return Err(at.key("name").refuse(Why::Missing));
    }
    Ok(Tool::Function(function))
}

/// Reads the choice. One that names a tool that the provider runs is kept as it is, for its own dialect alone.
pub fn choice<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Option<ToolChoice<'a>>, Refusal> {
    const EXPECTED: &str = "`none`, `auto`, `required`, a tool, or allowed tools";
    match at.kind(reader)? {
        Kind::Null => Ok(at.optional(reader, Path::string)?.map(|_| ToolChoice::Auto)),
        Kind::String => match &*at.string(reader)? {
            "none" => Ok(Some(ToolChoice::None)),
            "auto" => Ok(Some(ToolChoice::Auto)),
            "required" => Ok(Some(ToolChoice::Required)),
            _ => Err(at.invalid(EXPECTED)),
        },
        Kind::Object => {
            let mut ahead = *reader;
            let choice = match at.look_up(reader, "type")?.as_deref() {
                Some("function") => Some(ToolChoice::Function(function_name(at, &mut ahead)?)),
                Some("allowed_tools") => allowed(at, &mut ahead)?,
                Some(_) => None,
                None => return Err(at.key("type").refuse(Why::Missing)),
            };
            match choice {
                Some(_) => *reader = ahead,
                None => extras.known(at, reader, OWN)?,
            }
            Ok(choice)
        }
        _ => Err(at.invalid(EXPECTED)),
    }
}

fn function_name<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Cow<'a, str>, Refusal> {
    let mut name = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "name" => name = Some(at.string(reader)?),
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    name.ok_or_else(|| at.key("name").refuse(Why::Missing))
}

/// `None` where one of them is no function.
fn allowed<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Option<ToolChoice<'a>>, Refusal> {
    let mut names = Some(Vec::new());
    let mut required = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "mode" => {
                required = Some(match &*at.string(reader)? {
                    "auto" => false,
                    "required" => true,
                    _ => return Err(at.invalid("`auto` or `required`")),
                });
            }
            "tools" => {
                at.array(reader, |at, _, reader| {
                    if at.look_up(reader, "type")?.as_deref() != Some("function") {
                        names = None;
                        return at.object(reader).map(|_| ());
                    }
                    let name = function_name(at, reader)?;
                    names.iter_mut().for_each(|names| names.push(name.clone()));
                    Ok(())
                })?;
            }
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    let required = required.ok_or_else(|| at.key("mode").refuse(Why::Missing))?;
    Ok(names.map(|names| ToolChoice::Allowed { names, required }))
}
