//! Schemas, as strictly as structured output wants them.

use std::fmt;

use super::json::Json;

/// What a provider says against a schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The steps to the place, from the outside in.
    context: Vec<String>,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<_> = self.context.iter().map(|step| format!("'{step}'")).collect();
        let comma = if steps.len() == 1 { "," } else { "" };
        write!(formatter, "In context=({}{comma}), {}", steps.join(", "), self.what)
    }
}

/// How strictly a schema is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// OpenAI's functions that are not strict.
    Function,
    /// OpenAI's structured output.
    Strict,
    /// Anthropic's structured output.
    Anthropic,
}

/// Looks at every part of a schema.
pub(super) fn check(schema: &Json<'_>, rules: Rules) -> Result<(), Fault> {
    walk(schema, rules, &mut Vec::new())
}

fn walk(schema: &Json<'_>, rules: Rules, context: &mut Vec<String>) -> Result<(), Fault> {
    let fault = |context: &[String], what: String| Fault { context: context.to_vec(), what };
    match schema {
        Json::Object(_) => {}
        // `true` and `false` are schemas as well.
        Json::Bool(_) => return Ok(()),
        _ => return Err(fault(context, format!("{} is not a schema", schema.kind()))),
    }
    if let Err(what) = node(schema, rules, context.is_empty()) {
        return Err(fault(context, what));
    }
    for key in ["properties", "$defs", "definitions"] {
        for (name, inner) in schema.get(key).map(Json::members).unwrap_or_default() {
            within(inner, rules, context, [key, name])?;
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for (index, inner) in
            schema.get(key).map(Json::elements).unwrap_or_default().iter().enumerate()
        {
            within(inner, rules, context, [key, &index.to_string()])?;
        }
    }
    match schema.get("items") {
        Some(inner) => within(inner, rules, context, ["items", ""]),
        None => Ok(()),
    }
}

fn within(
    schema: &Json<'_>,
    rules: Rules,
    context: &mut Vec<String>,
    steps: [&str; 2],
) -> Result<(), Fault> {
    let before = context.len();
    context.extend(steps.iter().filter(|step| !step.is_empty()).map(|step| (*step).to_owned()));
    walk(schema, rules, context)?;
    context.truncate(before);
    Ok(())
}

/// One object of a schema, without those within it.
fn node(schema: &Json<'_>, rules: Rules, is_root: bool) -> Result<(), String> {
    let kind = schema.text_of("type");
    if kind == Some("array") && rules != Rules::Anthropic && schema.get("items").is_none() {
        return Err("array schema missing items.".to_owned());
    }
    if rules == Rules::Anthropic {
        return anthropic_node(schema, kind.unwrap_or(""));
    }
    if kind != Some("object") || (rules == Rules::Function && !is_root) {
        return Ok(());
    }
    let Some(properties) = schema.get("properties") else {
        return Err("object schema missing properties.".to_owned());
    };
    if rules == Rules::Function {
        return Ok(());
    }
    if schema.get("additionalProperties") != Some(&Json::Bool(false)) {
        return Err("'additionalProperties' is required to be supplied and to be false.".to_owned());
    }
    let required = schema.get("required").map(Json::elements).unwrap_or_default();
    for (name, _) in properties.members() {
        if !required.iter().any(|required| required.as_str() == Some(name)) {
            return Err(format!(
                "'required' is required to be supplied and to be an array including every key in \
                 properties. Missing '{name}'."
            ));
        }
    }
    Ok(())
}

fn anthropic_node(schema: &Json<'_>, kind: &str) -> Result<(), String> {
    const BOUNDS: [&str; 7] = [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
    ];
    if kind == "object" && schema.get("additionalProperties") != Some(&Json::Bool(false)) {
        return Err(
            "For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned()
        );
    }
    match BOUNDS.iter().find(|bound| schema.get(bound).is_some()) {
        Some(bound) => Err(format!("For '{kind}' type, property '{bound}' is not supported")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(schema: &str, rules: Rules) -> Option<String> {
        let schema: Json<'_> = serde_json::from_str(schema).unwrap();
        check(&schema, rules).err().map(|fault| fault.to_string())
    }

    #[test]
    fn strict_schemas_close_every_object_and_require_every_key() {
        let strict = |schema| fault(schema, Rules::Strict);
        let open = r#"{"type":"object","properties":{}}"#;
        assert!(strict(open).unwrap().starts_with("In context=(), 'additionalProperties'"));
        let inner = r#"{"type":"object","additionalProperties":false,"required":["a"],
            "properties":{"a":{"type":"object","additionalProperties":false,
            "properties":{"b":{"type":"string"}}}}}"#;
        let said = strict(inner).unwrap();
        assert!(said.starts_with("In context=('properties', 'a'), 'required'"), "{said}");
        assert!(said.ends_with("Missing 'b'."), "{said}");
        let list = r#"{"type":"array","items":{"type":"object"}}"#;
        assert_eq!(
            strict(list).unwrap(),
            "In context=('items',), object schema missing properties."
        );
        assert_eq!(strict(r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#), None);
    }

    #[test]
    fn functions_may_leave_things_open() {
        let function = |schema| fault(schema, Rules::Function);
        assert_eq!(function(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#), None);
        assert!(function(r#"{"type":"object"}"#).is_some());
        assert!(function(r#"{"type":"array"}"#).is_some());
        assert!(function("7").is_some());
    }

    #[test]
    fn anthropic_takes_no_bounds() {
        let anthropic = |schema| fault(schema, Rules::Anthropic);
        assert_eq!(anthropic(r#"{"type":"object","additionalProperties":false}"#), None);
        assert!(anthropic(r#"{"type":"object"}"#).is_some());
        assert!(anthropic(r#"{"type":"integer","minimum":1}"#).is_some());
    }
}
