//! What `/admin/v1/teams`, `/users` and `/organizations` have in common: how one is made, shown, changed and
//! deleted.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::super::call::{self, Answer, Call};
use super::super::error::ApiError;
use super::super::service::record::{self, Record};
use super::patched;

/// What one may say of a record.
pub trait Body: Serialize + DeserializeOwned + Send + Sync {
    /// The record.
    type Record: Record;
    /// How it is shown.
    type View: From<Self::Record> + Serialize;

    /// The id that it is to have. Only when it is made.
    fn id(&self) -> Option<String>;
    /// What can be changed of it, as it is.
    fn of(record: &Self::Record) -> Self;
    /// Makes it as one says.
    fn apply(&self, record: &mut Self::Record);
}

pub async fn create<B: Body>(call: Call) -> Answer {
    let body: B = call.body()?;
    let edit = |record: &mut B::Record| {
        body.apply(record);
        Ok(())
    };
    let (record, made) = record::create(call.by(), body.id(), edit).await?;
    Ok(shown::<B>(if made { StatusCode::CREATED } else { StatusCode::OK }, record))
}

pub async fn show<B: Body>(call: Call) -> Answer {
    let record = record::get(&call.services, &call.actor, call.path("id")).await?;
    Ok(shown::<B>(StatusCode::OK, record))
}

pub async fn update<B: Body>(call: Call) -> Answer {
    let changes: Map<String, Value> = call.body()?;
    if changes.contains_key("id") {
        return Err(ApiError::invalid("id", "can't be changed"));
    }
    let edit = |record: &mut B::Record| {
        patched::<B>(&B::of(record), &changes)?.apply(record);
        Ok(())
    };
    let record = record::update(call.by(), call.path("id"), call.if_match()?, edit).await?;
    Ok(shown::<B>(StatusCode::OK, record))
}

pub async fn delete<B: Body>(call: Call) -> Answer {
    record::delete::<B::Record>(call.by(), call.path("id"), call.if_match()?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn shown<B: Body>(status: StatusCode, record: B::Record) -> Response {
    call::record(status, record.version(), B::View::from(record))
}
