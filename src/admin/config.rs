//! `/admin/v1/config`: which configuration is in force, and reloading it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::app::{Gateway, LoadError};
use crate::config;

pub fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/admin/v1/config", get(show))
        .route("/admin/v1/config/reload", post(reload))
}

/// The effective configuration, secrets as references.
async fn show(State(gateway): State<Arc<Gateway>>) -> Response {
    let runtime = gateway.current();
    Json(json!({
        "generation": runtime.generation,
        "hash": runtime.hash,
        "config": config::dump(&runtime.config),
    }))
    .into_response()
}

/// All or nothing: 200 with the generation in force, or 422 with every problem.
async fn reload(State(gateway): State<Arc<Gateway>>) -> Response {
    match gateway.reload().await {
        Ok((generation, changed)) => {
            let hash = &gateway.current().hash;
            Json(json!({"generation": generation, "hash": hash, "changed": changed}))
                .into_response()
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
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}
