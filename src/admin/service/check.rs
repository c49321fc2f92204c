//! What the fields of a record may hold. The bounds keep one record from being a burden to all that read
//! it; the stores keep texts that no database takes away.

use serde_json::{Map, Value};

use super::super::error::ApiError;
use super::super::input::time::Span;
use crate::stores::records::{Key, Limits, Organization, Team, User};

/// Bytes of an id, alias or e-mail address.
const MAX_NAME: usize = 256;
/// Entries of a list of models.
const MAX_MODELS: usize = 1000;
/// Entries of a list of routes or tags.
const MAX_ENTRIES: usize = 100;
/// Bytes of metadata, as JSON.
const MAX_METADATA: usize = 64 * 1024;

pub fn key(key: &Key) -> Result<(), ApiError> {
    optional("alias", key.alias.as_deref())?;
    optional("user", key.user.as_deref())?;
    optional("team", key.team.as_deref())?;
    optional("organization", key.organization.as_deref())?;
    list("models", &key.models, MAX_MODELS)?;
    list("routes", &key.routes, MAX_ENTRIES)?;
    list("tags", &key.tags, MAX_ENTRIES)?;
    metadata(&key.metadata)?;
    limits(&key.limits)
}

pub fn team(team: &Team) -> Result<(), ApiError> {
    name("id", &team.id)?;
    optional("alias", team.alias.as_deref())?;
    optional("organization", team.organization.as_deref())?;
    list("models", &team.models, MAX_MODELS)?;
    list("tags", &team.tags, MAX_ENTRIES)?;
    metadata(&team.metadata)?;
    limits(&team.limits)
}

pub fn user(user: &User) -> Result<(), ApiError> {
    name("id", &user.id)?;
    optional("email", user.email.as_deref())?;
    optional("alias", user.alias.as_deref())?;
    optional("organization", user.organization.as_deref())?;
    list("models", &user.models, MAX_MODELS)?;
    list("tags", &user.tags, MAX_ENTRIES)?;
    metadata(&user.metadata)?;
    limits(&user.limits)
}

pub fn organization(organization: &Organization) -> Result<(), ApiError> {
    name("id", &organization.id)?;
    optional("alias", organization.alias.as_deref())?;
    list("models", &organization.models, MAX_MODELS)?;
    list("tags", &organization.tags, MAX_ENTRIES)?;
    metadata(&organization.metadata)?;
    limits(&organization.limits)
}

/// A text that people read and type.
pub fn name(field: &str, text: &str) -> Result<(), ApiError> {
    if text.is_empty() {
        return Err(ApiError::invalid(field, "must not be empty"));
    }
    if text.len() > MAX_NAME {
        return Err(ApiError::invalid(field, format_args!("must not be over {MAX_NAME} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::invalid(field, "must not hold control characters"));
    }
    if text.trim() != text {
        return Err(ApiError::invalid(field, "must not begin or end with a space"));
    }
    Ok(())
}

fn optional(field: &str, text: Option<&str>) -> Result<(), ApiError> {
    text.map_or(Ok(()), |text| name(field, text))
}

fn list(field: &str, entries: &[String], most: usize) -> Result<(), ApiError> {
    if entries.len() > most {
        return Err(ApiError::invalid(field, format_args!("must not have over {most} entries")));
    }
    let mut seen = std::collections::HashSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = format!("{field}[{index}]");
        name(&at, entry)?;
        if !seen.insert(entry) {
            return Err(ApiError::invalid(at, "is there twice"));
        }
    }
    Ok(())
}

fn metadata(metadata: &Map<String, Value>) -> Result<(), ApiError> {
    let size = serde_json::to_vec(metadata).map_or(usize::MAX, |text| text.len());
    if size > MAX_METADATA {
        let reason = format_args!("must not be over {MAX_METADATA} bytes").to_string();
        return Err(ApiError::invalid("metadata", reason));
    }
    if !metadata.iter().all(|(name, value)| storable(name, value)) {
        return Err(ApiError::invalid("metadata", "must not hold NUL characters"));
    }
    Ok(())
}

/// PostgreSQL stores no NUL in texts.
fn storable(name: &str, value: &Value) -> bool {
    !name.contains('\0')
        && match value {
            Value::String(text) => !text.contains('\0'),
            Value::Array(items) => items.iter().all(|item| storable("", item)),
            Value::Object(members) => members.iter().all(|(name, value)| storable(name, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        }
}

fn limits(limits: &Limits) -> Result<(), ApiError> {
    let numbers = [
        ("limits.rpm", limits.rpm),
        ("limits.tpm", limits.tpm),
        ("limits.parallel", limits.parallel),
        ("limits.budget", limits.budget),
        ("limits.soft_budget", limits.soft_budget),
    ];
    let most = i64::MAX.unsigned_abs();
    for (field, number) in numbers {
        if number.is_some_and(|number| number > most) {
            return Err(ApiError::invalid(field, "is too large a number"));
        }
    }
    for (field, models) in
        [("limits.model_rpm", &limits.model_rpm), ("limits.model_tpm", &limits.model_tpm)]
    {
        if models.len() > MAX_MODELS {
            let reason = format!("must not have over {MAX_MODELS} entries");
            return Err(ApiError::invalid(field, reason));
        }
        for (model, number) in models {
            let at = format!("{field}.{model}");
            if *number > most {
                return Err(ApiError::invalid(at, "is too large a number"));
            }
            name(&format!("a name in {field}"), model)?;
        }
    }
    if let Some(span) = &limits.budget_duration
        && Span::parse(span).is_none()
    {
        let reason = "must be a span of time such as 24h, 30d or 1mo, up to ten years";
        return Err(ApiError::invalid("limits.budget_duration", reason));
    }
    if let (Some(soft), Some(hard)) = (limits.soft_budget, limits.budget)
        && soft > hard
    {
        let reason = "must not be over limits.budget: it would never warn";
        return Err(ApiError::invalid("limits.soft_budget", reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_short_visible_and_there() {
        for text in ["", " a", "a ", "a\0b", "a\nb", &"x".repeat(257)] {
            assert!(name("id", text).is_err(), "{text:?}");
        }
        for text in ["a", "team blue", "alice@example.com", "日本", &"x".repeat(256)] {
            assert!(name("id", text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn lists_name_the_entry_at_fault() {
        let entries =
            |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let at = |texts: &[&str]| list("models", &entries(texts), 3).expect_err("bad").field;
        assert_eq!(at(&["a", ""]).as_deref(), Some("models[1]"));
        assert_eq!(at(&["a", "b", "a"]).as_deref(), Some("models[2]"));
        assert_eq!(at(&["a", "b", "c", "d"]).as_deref(), Some("models"));
    }

    #[test]
    fn metadata_is_small_and_storable() {
        let check = |value: Value| match value {
            Value::Object(map) => metadata(&map).is_ok(),
            _ => panic!("an object"),
        };
        assert!(check(json!({"a": {"b": ["c", 1, null]}})));
        assert!(!check(json!({"a": {"b": ["c\0"]}})));
        assert!(!check(json!({"a\0": 1})));
        assert!(!check(json!({"a": "x".repeat(MAX_METADATA)})));
    }

    #[test]
    fn limits_make_sense() {
        let at = |limits: Limits| super::limits(&limits).expect_err("bad").field.unwrap();
        assert_eq!(at(Limits { rpm: Some(u64::MAX), ..Limits::default() }), "limits.rpm");
        let soft = Limits { budget: Some(1), soft_budget: Some(2), ..Limits::default() };
        assert_eq!(at(soft), "limits.soft_budget");
        let span = Limits { budget_duration: Some("daily".to_owned()), ..Limits::default() };
        assert_eq!(at(span), "limits.budget_duration");
        let model = Limits { model_rpm: [("m".to_owned(), u64::MAX)].into(), ..Limits::default() };
        assert_eq!(at(model), "limits.model_rpm.m");
    }
}
