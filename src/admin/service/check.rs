//! What the fields of a record may hold. The bounds keep one record from being a burden to all that read
//! it; the stores keep texts that no database takes away.

use serde_json::{Map, Value};

use sluicegate_filters::admit::{Window, Zone};

use super::super::error::ApiError;
use super::super::input::time::Span;
use crate::stores::records::{Key, Limits, Organization, Team, User};

/// Bytes of an id, alias or e-mail address.
const MAX_NAME: usize = 256;
/// Entries of a list of models.
const MAX_MODELS: usize = 1000;
/// Entries of a list of routes or tags.
const MAX_ENTRIES: usize = 100;
/// Budgets or windows of one record: each is a counter more for every request.
const MAX_WINDOWS: usize = 20;
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
    duration("limits.budget_duration", limits.budget_duration.as_deref())?;
    if let Some(zone) = &limits.budget_time_zone
        && Zone::named(zone).is_none()
    {
        let reason = "must be a time zone's name such as Europe/Berlin";
        return Err(ApiError::invalid("limits.budget_time_zone", reason));
    }
    budgets(limits)?;
    windows(limits)?;
    if let (Some(soft), Some(hard)) = (limits.soft_budget, limits.budget)
        && soft > hard
    {
        let reason = "must not be over limits.budget: it would never warn";
        return Err(ApiError::invalid("limits.soft_budget", reason));
    }
    Ok(())
}

fn duration(field: &str, text: Option<&str>) -> Result<(), ApiError> {
    if text.is_some_and(|text| Span::parse(text).is_none()) {
        let reason = "must be a span of time such as 24h, 30d or 1mo, up to ten years";
        return Err(ApiError::invalid(field, reason));
    }
    Ok(())
}

fn amount(field: &str, number: u64) -> Result<(), ApiError> {
    if number > i64::MAX.unsigned_abs() {
        return Err(ApiError::invalid(field, "is too large a number"));
    }
    Ok(())
}

fn budgets(limits: &Limits) -> Result<(), ApiError> {
    if limits.budgets.len() > MAX_WINDOWS {
        let reason = format!("must not have over {MAX_WINDOWS} entries");
        return Err(ApiError::invalid("limits.budgets", reason));
    }
    if limits.model_budgets.len() > MAX_MODELS {
        let reason = format!("must not have over {MAX_MODELS} entries");
        return Err(ApiError::invalid("limits.model_budgets", reason));
    }
    for model in limits.model_budgets.keys() {
        name("a name in limits.model_budgets", model)?;
    }
    let listed = limits.budgets.iter().enumerate();
    let listed = listed.map(|(index, budget)| (format!("limits.budgets[{index}]"), budget));
    let by_model = limits.model_budgets.iter();
    let by_model =
        by_model.map(|(model, budget)| (format!("limits.model_budgets.{model}"), budget));
    for (at, budget) in listed.chain(by_model) {
        amount(&format!("{at}.limit"), budget.limit)?;
        duration(&format!("{at}.duration"), budget.duration.as_deref())?;
    }
    amount("limits.budget_raise.by", limits.budget_raise.and_then(|raise| raise.by).unwrap_or(0))
}

fn windows(limits: &Limits) -> Result<(), ApiError> {
    if limits.windows.len() > MAX_WINDOWS {
        let reason = format!("must not have over {MAX_WINDOWS} entries");
        return Err(ApiError::invalid("limits.windows", reason));
    }
    for (index, limit) in limits.windows.iter().enumerate() {
        let at = |field: &str| format!("limits.windows[{index}].{field}");
        amount(&at("limit"), limit.limit)?;
        if limit.soft.is_some_and(|soft| soft > limit.limit) {
            return Err(ApiError::invalid(at("soft"), "must not be over its limit"));
        }
        if Window::from_words(&limit.window, &Zone::utc()).is_none() {
            let reason = "must be a window such as 1m, 12h, 30d, day, month, month-Europe/Berlin or \
                          lifetime, up to ten years";
            return Err(ApiError::invalid(at("window"), reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stores::records::{Budget, LimitUnit, WindowLimit};

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
        let zone = Limits { budget_time_zone: Some("Mars".to_owned()), ..Limits::default() };
        assert_eq!(at(zone), "limits.budget_time_zone");
        let budget = |duration: &str| Budget { limit: 1, duration: Some(duration.to_owned()) };
        let second = vec![budget("1d"), budget("daily")];
        let budgets = Limits { budgets: second, ..Limits::default() };
        assert_eq!(at(budgets), "limits.budgets[1].duration");
        let by_model = [("m".to_owned(), budget("x"))].into();
        let by_model = Limits { model_budgets: by_model, ..Limits::default() };
        assert_eq!(at(by_model), "limits.model_budgets.m.duration");
        let window = |window: &str, soft| WindowLimit {
            unit: LimitUnit::Tokens,
            limit: 5,
            window: window.to_owned(),
            soft,
        };
        let of = |window| Limits { windows: vec![window], ..Limits::default() };
        assert_eq!(at(of(window("often", None))), "limits.windows[0].window");
        assert_eq!(at(of(window("1d", Some(6)))), "limits.windows[0].soft");
        assert!(super::limits(&of(window("day-Europe/Berlin", Some(5)))).is_ok());
        let many = Limits { windows: vec![window("1d", None); 21], ..Limits::default() };
        assert_eq!(at(many), "limits.windows");
    }
}
