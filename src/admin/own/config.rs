//! `/admin/v1/config`: which configuration is in force, and reloading it.

use axum::Json;
use axum::response::IntoResponse;
use http::StatusCode;
use serde_json::json;

use super::super::audit::Resource;
use super::super::call::{Answer, Call, ok};
use super::super::error::ApiError;
use crate::app::LoadError;
use crate::config;

/// The effective configuration, secrets as references.
pub async fn show(call: Call) -> Answer {
    let runtime = call.services.gateway.current();
    Ok(ok(json!({
        "generation": runtime.generation,
        "hash": runtime.hash,
        "config": config::dump(&runtime.config),
    })))
}

/// All or nothing: 200 with the generation in force, or 422 with every problem.
pub async fn reload(call: Call) -> Answer {
    let gateway = &call.services.gateway;
    call.act.allow(Resource { kind: "config", id: None }, Vec::new()).await?;
    // To its end, even if whoever asks does not wait for it.
    let reloading = gateway.clone();
    let reloaded = tokio::spawn(async move { reloading.reload().await }).await;
    match reloaded.map_err(|_| ApiError::internal())? {
        Ok((generation, changed)) => {
            let hash = &gateway.current().hash;
            Ok(ok(json!({"generation": generation, "hash": hash, "changed": changed})))
        }
        Err(error) => {
            let problems = match &error {
                LoadError::Invalid(problems) => json!(problems),
                other => json!([{"message": other.to_string()}]),
            };
            let body = json!({
                "error": {
                    "code": "invalid_config",
                    "message": "The configuration is refused; the one before stays in force.",
                },
                "problems": problems,
                "generation": gateway.current().generation,
            });
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
        }
    }
}
