//! Our own dialect of the admin API, under `/admin/v1`. Names are in snake case, times in RFC 3339, money
//! is a decimal string of USD. A field that is not known is refused.

pub mod audit;
pub mod catalogue;
pub mod config;
pub mod keys;
pub mod limits;
pub mod members;
pub mod organizations;
pub mod policies;
pub mod quotas;
pub mod records;
pub mod teams;
pub mod usage;
pub mod users;

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::error::ApiError;
use super::input::{json, patch};
use super::service::pages;
use crate::stores::{Page, Paged, Place};

/// A part of a list.
#[derive(Serialize)]
pub struct List<T> {
    /// The records, newest first.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
    /// Where the next part begins; absent in the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl<T> List<T> {
    fn of<R>(
        mut paged: Paged<R>,
        page: &Page,
        place: impl Fn(&R) -> Place,
        view: impl Fn(R) -> T,
    ) -> Self {
        let cursor = pages::cut(page, &mut paged.items, place);
        Self { items: paged.items.into_iter().map(view).collect(), total: paged.total, cursor }
    }
}

/// Named after what is in it: `KeyViewList`.
impl<T: ToSchema> ToSchema for List<T> {
    fn name() -> Cow<'static, str> {
        format!("{}List", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

impl<T: ToSchema> PartialSchema for List<T> {
    fn schema() -> RefOr<Schema> {
        let items = ArrayBuilder::new()
            .items(Ref::from_schema_name(T::name()))
            .description(Some("The records, newest first."));
        let total = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .description(Some("How many there are in all."));
        let cursor = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Where the next part begins; absent in the last one."));
        ObjectBuilder::new()
            .property("items", items)
            .required("items")
            .property("total", total)
            .required("total")
            .property("cursor", cursor)
            .into()
    }
}

/// The parameters of all lists.
pub const PAGE: [(&str, &str); 2] =
    [("limit", "Records of this part, 1 to 500; 50 unless given."), ("cursor", "Where to begin.")];

/// Applies a merge patch (RFC 7396) to the writable fields of a record: `document` holds them as they are.
///
/// # Errors
/// 422, where the result is not a `T`.
fn patched<T: DeserializeOwned>(
    document: &impl Serialize,
    changes: &Map<String, Value>,
) -> Result<T, ApiError> {
    let Ok(Value::Object(mut whole)) = serde_json::to_value(document) else {
        return Err(ApiError::internal());
    };
    patch::merge(&mut whole, changes.clone());
    let text = serde_json::to_vec(&whole).map_err(|_| ApiError::internal())?;
    json::strict(&text)
}
