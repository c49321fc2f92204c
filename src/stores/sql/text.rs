//! Which values both databases can hold. What only one of them could is refused by both.

use serde_json::{Map, Value};

use super::super::records::Limits;
use super::super::{MAX_NAME_BYTES, Page, StoreError};
use super::Bind;

/// Checks what is in an index: short, and without NUL.
pub(super) fn check_names<'a>(
    names: impl IntoIterator<Item = (&'static str, Option<&'a str>)>,
) -> Result<(), StoreError> {
    for (field, name) in names {
        let Some(name) = name else { continue };
        check_text(field, name)?;
        if name.len() > MAX_NAME_BYTES {
            return Err(StoreError::Invalid { field, reason: "is longer than 512 bytes" });
        }
    }
    Ok(())
}

/// Checks text: PostgreSQL holds no NUL.
pub(super) fn check_text(field: &'static str, text: &str) -> Result<(), StoreError> {
    if text.contains('\0') {
        return Err(StoreError::Invalid { field, reason: "holds a NUL character" });
    }
    Ok(())
}

/// Checks each of the texts.
pub(super) fn check_texts(field: &'static str, texts: &[String]) -> Result<(), StoreError> {
    texts.iter().try_for_each(|text| check_text(field, text))
}

/// Checks free-form JSON, names and values.
pub(super) fn check_map(field: &'static str, map: &Map<String, Value>) -> Result<(), StoreError> {
    map.iter().try_for_each(|(name, value)| {
        check_text(field, name)?;
        check_value(field, value)
    })
}

fn check_value(field: &'static str, value: &Value) -> Result<(), StoreError> {
    match value {
        Value::String(text) => check_text(field, text),
        Value::Array(values) => values.iter().try_for_each(|value| check_value(field, value)),
        Value::Object(map) => check_map(field, map),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Checks the texts in limits.
pub(super) fn check_limits(limits: &Limits) -> Result<(), StoreError> {
    let models = limits.model_rpm.keys().chain(limits.model_tpm.keys());
    let texts = limits.budget_duration.iter().chain(models);
    texts.into_iter().try_for_each(|text| check_text("limits", text))
}

/// An identifier that is text, to be compared with.
pub(super) fn name_id(id: &str) -> Result<Bind, StoreError> {
    check_names([("after", Some(id))])?;
    Ok(id.into())
}

/// Checks that a page is one that can be given.
pub(super) fn check_page(page: &Page) -> Result<(), StoreError> {
    if (1..=1000).contains(&page.limit) {
        return Ok(());
    }
    Err(StoreError::Invalid { field: "limit", reason: "is not between 1 and 1000" })
}
