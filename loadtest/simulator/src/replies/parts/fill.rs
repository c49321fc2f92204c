//! Values that satisfy a schema, in the cases that tools and structured output usually have.

use crate::{replies::json_string, request::Json};

/// Deeper than this, and after so many values, `null` stands in: schemas may refer to themselves.
const DEEPEST: usize = 24;
const MOST_VALUES: usize = 4096;
const MOST_ITEMS: u64 = 64;
const LONGEST_TEXT: u64 = 4096;

/// A value of `schema`, as JSON.
pub(super) fn value(schema: &Json<'_>) -> String {
    let mut filling = Filling { root: schema, left: MOST_VALUES, out: String::new() };
    filling.write(schema, 0);
    filling.out
}

struct Filling<'s, 'a> {
    /// What `$ref` refers to.
    root: &'s Json<'a>,
    left: usize,
    out: String,
}

impl<'s, 'a> Filling<'s, 'a> {
    fn write(&mut self, schema: &'s Json<'a>, depth: usize) {
        if depth == DEEPEST || self.left == 0 {
            return self.out.push_str("null");
        }
        self.left -= 1;
        let chosen = schema.get("const").or_else(|| schema.get("enum")?.elements().first());
        if let Some(chosen) = chosen {
            return self.out.push_str(&chosen.to_text());
        }
        if let Some(place) = schema.text_of("$ref") {
            return match self.find(place) {
                Some(schema) => self.write(schema, depth + 1),
                None => self.out.push_str("null"),
            };
        }
        let choices = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(key));
        let first = choices.and_then(|choices| {
            let some = |choice: &&Json<'_>| choice.text_of("type") != Some("null");
            choices.elements().iter().find(some)
        });
        if let Some(first) = first {
            return self.write(first, depth + 1);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => self.text(schema),
            "integer" => {
                let number = bound(schema, 1.0);
                self.out.push_str(&format!("{}", number as i64));
            }
            "number" => {
                let number = bound(schema, 1.5);
                self.out.push_str(&format!("{number:?}"));
            }
            "boolean" => self.out.push_str("true"),
            _ => self.out.push_str("null"),
        }
    }

    fn object(&mut self, schema: &'s Json<'a>, depth: usize) {
        self.out.push('{');
        let properties = schema.get("properties").map(Json::members).unwrap_or_default();
        for (index, (name, inner)) in properties.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.out.push_str(&json_string(name));
            self.out.push(':');
            self.write(inner, depth + 1);
        }
        self.out.push('}');
    }

    fn array(&mut self, schema: &'s Json<'a>, depth: usize) {
        let count = |key| schema.get(key).and_then(Json::as_u64);
        let items = count("minItems").unwrap_or(1).max(1);
        let items = items.min(count("maxItems").unwrap_or(MOST_ITEMS)).min(MOST_ITEMS);
        self.out.push('[');
        if let Some(inner) = schema.get("items") {
            for index in 0..items {
                if index > 0 {
                    self.out.push(',');
                }
                self.write(inner, depth + 1);
            }
        }
        self.out.push(']');
    }

    fn text(&mut self, schema: &Json<'_>) {
        let text = match schema.text_of("format") {
            Some("date-time") => "2024-05-17T12:30:00Z",
            Some("date") => "2024-05-17",
            Some("time") => "12:30:00Z",
            Some("duration") => "PT5M",
            Some("email") => "someone@example.com",
            Some("hostname") => "example.com",
            Some("uri") => "https://example.com/",
            Some("ipv4") => "192.0.2.1",
            Some("ipv6") => "2001:db8::1",
            Some("uuid") => "6f1f64b1-1c1f-4c53-9c3c-0c7c6a1f4b11",
            _ => "text",
        };
        let length = |key| schema.get(key).and_then(Json::as_u64);
        let least = length("minLength").unwrap_or(0).min(LONGEST_TEXT) as usize;
        let most = length("maxLength").unwrap_or(LONGEST_TEXT) as usize;
        let longer = text.chars().cycle().take(least.max(text.len()));
        self.out.push_str(&json_string(&longer.take(most).collect::<String>()));
    }

    /// `#/$defs/name` and the like.
    fn find(&self, place: &str) -> Option<&'s Json<'a>> {
        let mut steps = place.strip_prefix('#')?.split('/');
        steps.next();
        steps.try_fold(self.root, |schema, step| schema.get(step))
    }
}

/// The first of the types that is not `null`.
fn kind<'s>(schema: &'s Json<'_>) -> &'s str {
    match schema.get("type") {
        Some(Json::Text(kind)) => kind,
        Some(Json::List(kinds)) => {
            kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    }
}

/// A number near `wanted` within the schema's bounds.
fn bound(schema: &Json<'_>, wanted: f64) -> f64 {
    let number = |key| schema.get(key).and_then(Json::as_f64);
    let least = number("minimum").or_else(|| number("exclusiveMinimum").map(|least| least + 1.0));
    let most = number("maximum").or_else(|| number("exclusiveMaximum").map(|most| most - 1.0));
    let number = wanted.max(least.unwrap_or(wanted));
    number.min(most.unwrap_or(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(schema: &str) -> String {
        value(&serde_json::from_str(schema).unwrap())
    }

    #[test]
    fn every_simple_type_has_a_value() {
        let schema = r##"{"type":"object","properties":{
            "a":{"type":"string"},"b":{"type":"integer","minimum":3},"c":{"type":"number"},
            "d":{"type":"boolean"},"e":{"enum":["x","y"]},"f":{"const":7},
            "g":{"type":"array","items":{"type":"string"},"minItems":2},
            "h":{"type":["null","integer"]},"i":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/z"}]},
            "j":{"type":"string","format":"date"},"k":{"type":"null"}},
            "$defs":{"z":{"type":"object","properties":{"q\"":{"type":"boolean"}}}}}"##;
        let expected = r#"{"a":"text","b":3,"c":1.5,"d":true,"e":"x","f":7,"g":["text","text"],"h":1,"i":{"q\"":true},"j":"2024-05-17","k":null}"#;
        assert_eq!(filled(schema), expected);
        assert_eq!(filled(r#"{"type":"object"}"#), "{}");
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = r##"{"type":"object","properties":{"a":{"$ref":"#"},"b":{"$ref":"#"}}}"##;
        let text = filled(schema);
        assert!(serde_json::from_str::<Json<'_>>(&text).is_ok());
        assert!(text.len() < 100_000);
    }
}
