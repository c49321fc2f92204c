//! `/admin/v1/audit`: the newest lines of the audit log.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok};
use super::super::error::ApiError;

/// Lines of the audit log.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    /// Newest first, as they stand in the log.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
    /// Where the older ones begin; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

pub async fn list(mut call: Call) -> Answer {
    let limit = call.query.number("limit", 1, 500)?.unwrap_or(50);
    let cursor = call.query.text("cursor");
    call.query.finish()?;
    let Some(history) = &call.services.history else {
        let message = "No audit log is kept.";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_audit_log", message)
            .hint("set `audit.directory` in the configuration"));
    };
    let (items, cursor) = history.newest(limit, cursor).await?;
    Ok(ok(AuditPage { items, cursor }))
}
