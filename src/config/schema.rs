//! The JSON Schema of the file, for editors.

use serde_json::{Value, json};

use super::raw;

/// `${VAR}` somewhere in a plain scalar.
const INTERPOLATED: &str = "\\$\\{.+\\}";

/// The JSON Schema (draft 2020-12) of the file.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(raw::Config).to_value();
    allow_variables(&mut schema);
    schema
}

/// Lets `${VAR}` stand where a number, a boolean or one of a few words is asked for.
fn allow_variables(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(allow_variables),
        Value::Object(object) => {
            object.values_mut().for_each(allow_variables);
            if object.contains_key("pattern") {
                return;
            }
            let types: Vec<Value> = match object.get("type") {
                Some(Value::Array(types)) => types.clone(),
                Some(Value::String(name)) => vec![json!(name)],
                _ => Vec::new(),
            };
            if let Some(words) = object.remove("enum") {
                object.remove("type");
                let variable = json!({ "type": "string", "pattern": INTERPOLATED });
                object.insert("anyOf".to_owned(), json!([{ "enum": words }, variable]));
            } else if types.iter().any(|name| name == "boolean" || name == "integer") {
                let types: Vec<_> = types.into_iter().chain([json!("string")]).collect();
                object.insert("type".to_owned(), Value::Array(types));
                object.insert("pattern".to_owned(), json!(INTERPOLATED));
            }
        }
        _ => {}
    }
}
