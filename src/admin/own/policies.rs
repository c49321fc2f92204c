//! `/admin/v1/policies`: what is in force, and why something would be decided so.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok};
use super::super::error::ApiError;

/// A question to the policies: may this caller do that?
#[derive(Debug, Deserialize, ToSchema)]
pub struct ExplainRequest {
    /// Who would ask. Absent: nobody in particular.
    #[serde(default)]
    pub principal: ExplainPrincipal,
    /// What they would do, as the policies name it: `call_model`.
    pub action: String,
    /// With what: a model's name, a tool's.
    pub resource: String,
    /// What else the policies may look at.
    #[serde(default)]
    pub context: BTreeMap<String, Value>,
}

/// Who would ask.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct ExplainPrincipal {
    pub user: Option<String>,
    pub team: Option<String>,
    pub organization: Option<String>,
    pub roles: Vec<String>,
    pub tags: Vec<String>,
}

pub async fn show(call: Call) -> Answer {
    call.query.finish()?;
    Ok(ok(match &call.services.policies {
        Some(policies) => policies.in_force(),
        None => json!({"mode": "off"}),
    }))
}

pub async fn explain(call: Call) -> Answer {
    let question: ExplainRequest = call.body()?;
    match &call.services.policies {
        Some(policies) => Ok(ok(policies.explain(question).await?)),
        None => {
            let message = "There are no policies to explain.";
            Err(ApiError::new(StatusCode::NOT_FOUND, "no_policies", message)
                .hint("set `policies.directory` in the configuration"))
        }
    }
}
