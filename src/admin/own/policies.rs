//! `/admin/v1/policies`: what is in force, and why something would be decided so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::call::{Answer, Call, ok};
use super::super::error::ApiError;

/// A question to the policies: may this caller do that?
#[derive(Debug, Deserialize, ToSchema)]
pub struct ExplainRequest {
    /// Who would ask. Absent: nobody in particular.
    #[serde(default)]
    pub principal: ExplainPrincipal,
    /// What they would do, as the policies name it: `chat_completions`.
    pub action: String,
    /// With what: a model's name, an agent's, a tool's as `server/name`.
    pub resource: String,
    /// What else the policies may look at.
    #[serde(default)]
    pub context: ExplainContext,
}

/// What else the policies may look at.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct ExplainContext {
    /// The client's address. Absent: 127.0.0.1.
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Input and the most output that is asked for.
    pub estimated_tokens: u64,
    /// In billionths of a US dollar.
    pub estimated_cost: Option<u64>,
    /// The time, in RFC 3339. Absent: now.
    pub at: Option<String>,
}

/// How the caller would be identified.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    Anonymous,
    Master,
    Key,
    Token,
}

/// Who would ask.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct ExplainPrincipal {
    /// Absent: a key if there is one, else a token if there is a user, else nobody.
    pub kind: Option<PrincipalKind>,
    /// The key's id.
    pub key: Option<Uuid>,
    pub user: Option<String>,
    pub team: Option<String>,
    pub organization: Option<String>,
    pub roles: Vec<String>,
    pub tags: Vec<String>,
    /// The token's claims that policies may look at.
    #[schema(value_type = Object)]
    pub claims: BTreeMap<String, Value>,
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
