//! What every message of the era without sessions must say of itself.
//!
//! The order of the checks is that of the official SDKs' servers: `_meta`, then the headers against it,
//! then whether the version is spoken.

use ::http::HeaderMap;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{
    STATELESS,
    message::{HEADER_MISMATCH, INVALID_PARAMS, Message, Refused, UNSUPPORTED_VERSION},
};

pub(crate) const META_PROTOCOL: &str = "io.modelcontextprotocol/protocolVersion";
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

pub(crate) const VERSION_HEADER: &str = "mcp-protocol-version";
const METHOD_HEADER: &str = "mcp-method";
const NAME_HEADER: &str = "mcp-name";

/// Whether a message claims to be of this era.
pub(crate) fn claims(headers: Option<&HeaderMap>, message: &Message) -> bool {
    let named = headers
        .and_then(|headers| headers.get(VERSION_HEADER))
        .and_then(|value| value.to_str().ok());
    named.is_some_and(|version| version >= STATELESS)
        || message.method() == Some("server/discover")
        || meta(message).is_some_and(|meta| meta.contains_key(META_PROTOCOL))
}

/// Checks a message; `headers` are those of HTTP.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn check(headers: Option<&HeaderMap>, message: &Message) -> Result<(), Refused> {
    if let Some(headers) = headers {
        for name in [VERSION_HEADER, METHOD_HEADER, NAME_HEADER] {
            if headers.get_all(name).iter().count() > 1 {
                return mismatch(format!("{name} is there twice"));
            }
        }
    }
    let Message::Request(request) = message else {
        return check_notification(headers, message);
    };
    let Some(meta) = meta(message) else {
        return Err(Refused::bad(INVALID_PARAMS, "params._meta is missing"));
    };
    let version = check_meta(meta)?;
    if let Some(headers) = headers {
        if header(headers, VERSION_HEADER)? != Some(version) {
            return mismatch(format!("{VERSION_HEADER} is not {version}, as _meta says"));
        }
        check_method(headers, &request.method)?;
        if request.method == "tools/call"
            && let Some(name) = request.text_of("name")
        {
            let named = header(headers, NAME_HEADER)?.map(decode);
            match named {
                Some(Some(named)) if named == name => {}
                Some(Some(_)) => return mismatch(format!("{NAME_HEADER} is not params.name")),
                Some(None) => return mismatch(format!("{NAME_HEADER} is no proper base64")),
                None => return mismatch(format!("{NAME_HEADER} is missing")),
            }
        }
    }
    supported(version)
}

/// Checks the headers that a tool's schema wants of a call: one for each argument, and none without it.
///
/// # Errors
/// The first that is wrong.
pub(crate) fn check_params(
    headers: &HeaderMap,
    schema: &Value,
    arguments: &Value,
) -> Result<(), Refused> {
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    for (property, schema) in properties {
        let argument = &arguments[property.as_str()];
        check_params(headers, schema, argument)?;
        let Some(annotation) = schema["x-mcp-header"].as_str() else { continue };
        let name = format!("mcp-param-{}", annotation.to_ascii_lowercase());
        if headers.get_all(name.as_str()).iter().count() > 1 {
            return mismatch(format!("{name} is there twice"));
        }
        let wanted = match argument {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(argument.to_string()),
            _ => None,
        };
        match (header(headers, &name)?.map(decode), wanted) {
            (None, None) => {}
            (Some(Some(said)), Some(wanted)) if said == wanted => {}
            (Some(Some(_)), Some(_)) => return mismatch(format!("{name} is not the argument")),
            (Some(None), _) => return mismatch(format!("{name} is no proper base64")),
            (Some(_), None) => return mismatch(format!("{name} is there without its argument")),
            (None, Some(_)) => return mismatch(format!("{name} is missing")),
        }
    }
    Ok(())
}

fn check_meta(meta: &Map<String, Value>) -> Result<&str, Refused> {
    let missing: Vec<&str> = [META_PROTOCOL, META_CAPABILITIES]
        .into_iter()
        .filter(|key| !meta.contains_key(*key))
        .collect();
    if !missing.is_empty() {
        let why = format!("params._meta lacks {}", missing.join(", "));
        return Err(Refused::bad(INVALID_PARAMS, why));
    }
    let Some(version) = meta[META_PROTOCOL].as_str() else {
        return Err(Refused::bad(INVALID_PARAMS, format!("{META_PROTOCOL} must be a text")));
    };
    if !meta[META_CAPABILITIES].is_object() {
        return Err(Refused::bad(INVALID_PARAMS, format!("{META_CAPABILITIES} must be an object")));
    }
    if let Some(client) = meta.get(META_CLIENT)
        && !is_implementation(client)
    {
        let why = format!("{META_CLIENT} must have a name and a version");
        return Err(Refused::bad(INVALID_PARAMS, why));
    }
    Ok(version)
}

fn check_notification(headers: Option<&HeaderMap>, message: &Message) -> Result<(), Refused> {
    let Some(headers) = headers else { return Ok(()) };
    let Some(version) = header(headers, VERSION_HEADER)? else {
        return mismatch(format!("{VERSION_HEADER} is missing"));
    };
    check_method(headers, message.method().unwrap_or_default())?;
    supported(version)
}

fn check_method(headers: &HeaderMap, method: &str) -> Result<(), Refused> {
    match header(headers, METHOD_HEADER)? {
        Some(named) if named == method => Ok(()),
        Some(named) => mismatch(format!("{METHOD_HEADER} is {named}, the body's is {method}")),
        None => mismatch(format!("{METHOD_HEADER} is missing")),
    }
}

/// # Errors
/// The version is not spoken here.
pub(crate) fn supported(version: &str) -> Result<(), Refused> {
    if version == STATELESS {
        return Ok(());
    }
    let mut refused = Refused::bad(UNSUPPORTED_VERSION, "Unsupported protocol version");
    refused.data = Some(Box::new(json!({ "supported": [STATELESS], "requested": version })));
    Err(refused)
}

/// Whether a value is what a client or server says of itself.
pub(crate) fn is_implementation(value: &Value) -> bool {
    value["name"].is_string() && value["version"].is_string()
}

fn meta(message: &Message) -> Option<&Map<String, Value>> {
    message.params()?.get("_meta")?.as_object()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refused> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => mismatch(format!("{name} is no text")).map(|()| None),
    }
}

fn mismatch(why: String) -> Result<(), Refused> {
    Err(Refused::bad(HEADER_MISMATCH, why))
}

/// A name that cannot stand in a header as it is stands there in base64.
fn decode(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(coded) => String::from_utf8(BASE64_STANDARD.decode(coded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}
