//! The gateway's own answers to what the admin API asks for: the policies in force, the audit log.

use std::net::{IpAddr, Ipv4Addr};

use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Value, json};
use sluicegate_filters::authorize::{Action, Ask, Facts, Resource, ResourceKind};
use sluicegate_filters::caller::{Bearer, CallerKind, Claim, KeyIdentity};

use super::audit::{AuditLine, AuditSink, AuditUnavailable, Outcome};
use super::error::ApiError;
use super::own::policies::{ExplainContext, ExplainPrincipal, ExplainRequest, PrincipalKind};
use super::services::{AuditHistory, PolicyView};
use crate::app::Gateway;
use crate::audit::{self, AuditLog, Event};
use crate::clock::now_ms;

#[async_trait]
impl PolicyView for Gateway {
    fn in_force(&self) -> Value {
        let runtime = self.current();
        let authorize = &runtime.pipeline.authorize;
        match authorize.policies() {
            None => json!({"mode": "off", "generation": runtime.generation}),
            Some(policies) => json!({
                "mode": authorize.mode(),
                "generation": runtime.generation,
                "version": policies.version(),
                "policies": policies.iter().collect::<Vec<_>>(),
                "warnings": policies.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
            }),
        }
    }

    /// By the policies alone: no credential of that name need exist, and none is looked at.
    async fn explain(&self, question: ExplainRequest) -> Result<Value, ApiError> {
        let ExplainRequest { principal, action, resource, context } = question;
        let Some(action) = Action::from_name(&action) else {
            let known: Vec<_> = Action::ALL.iter().map(|action| action.name()).collect();
            let reason = format!("must be one of {}", known.join(", "));
            return Err(ApiError::invalid("action", reason));
        };
        let resource = match action.resource_kind() {
            ResourceKind::Model => Resource::Model(&resource),
            ResourceKind::Tool => match resource.split_once('/') {
                Some((server, name)) => Resource::Tool { server, name },
                None => Resource::Tool { server: "", name: &resource },
            },
            ResourceKind::Agent => Resource::Agent(&resource),
        };
        let ask = Ask::new(action, resource, facts(&context)?);
        let (kind, bearer) = bearer(principal)?;
        let runtime = self.current();
        let explanation = runtime.pipeline.authorize.explain_for(kind, bearer, &ask);
        serde_json::to_value(explanation).map_err(|error| {
            tracing::error!(%error, "an explanation can't be written");
            ApiError::internal()
        })
    }
}

fn facts(context: &ExplainContext) -> Result<Facts, ApiError> {
    let now_ms = match &context.at {
        None => now_ms(),
        Some(at) => at
            .parse::<jiff::Timestamp>()
            .map_err(|_| {
                ApiError::invalid("context.at", "must be a time such as 2026-01-31T12:00:00Z")
            })?
            .as_millisecond(),
    };
    Ok(Facts {
        ip: context.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        stream: context.stream,
        estimated_tokens: context.estimated_tokens,
        estimated_cost: context.estimated_cost,
        now_ms,
    })
}

fn bearer(principal: ExplainPrincipal) -> Result<(CallerKind, Bearer), ApiError> {
    let ExplainPrincipal { kind, key, user, team, organization, roles, tags, claims } = principal;
    let guessed = || match (&key, &user) {
        (None, None) => PrincipalKind::Anonymous,
        (None, Some(_)) => PrincipalKind::Token,
        (Some(_), _) => PrincipalKind::Key,
    };
    let kind = match kind.unwrap_or_else(guessed) {
        PrincipalKind::Anonymous => CallerKind::Anonymous,
        PrincipalKind::Master => CallerKind::Master,
        PrincipalKind::Key => CallerKind::Key,
        PrincipalKind::Token => CallerKind::Token,
    };
    let claims = claims
        .into_iter()
        .map(|(name, value)| match claim(&value) {
            Some(claim) => Ok((name, claim)),
            None => Err(ApiError::invalid(
                format!("principal.claims.{name}"),
                "must be a text, a whole number, true, false or a list of texts",
            )),
        })
        .collect::<Result<_, _>>()?;
    let key = key.map(|id| KeyIdentity { id, alias: None });
    let bearer = Bearer { key, user, team, organization, roles, tags, claims, ..Bearer::default() };
    Ok((kind, bearer))
}

fn claim(value: &Value) -> Option<Claim> {
    match value {
        Value::String(text) => Some(Claim::Text(text.clone())),
        Value::Bool(flag) => Some(Claim::Flag(*flag)),
        Value::Number(number) => number.as_i64().map(Claim::Number),
        Value::Array(texts) => {
            let texts = texts.iter().map(|text| text.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map(Claim::Texts)
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[async_trait]
impl AuditSink for AuditLog {
    async fn commit(&self, line: AuditLine) -> Result<(), AuditUnavailable> {
        let written = AuditLog::commit(self, event(line)).await;
        written.map_err(|error| AuditUnavailable(error.to_string()))
    }

    fn note(&self, line: AuditLine) {
        self.record(event(line));
    }
}

fn event(line: AuditLine) -> Event {
    Event {
        outcome: match line.outcome {
            Outcome::Allowed => audit::Outcome::Allowed,
            Outcome::Refused => audit::Outcome::Refused,
            Outcome::Failed => audit::Outcome::Failed,
        },
        status: line.status,
        code: line.code,
        actor: audit::Actor {
            kind: line.actor_kind.into(),
            id: line.actor_id,
            team: line.actor_team,
            ip: Some(line.ip),
        },
        resource: audit::Resource { kind: line.resource_kind.into(), id: line.resource_id },
        config_generation: line.config_generation,
        request_id: line.request_id,
        changes: (!line.changes.is_empty()).then_some(line.changes),
        ..Event::new(line.at_ms, audit::Kind::AdminAct, line.action)
    }
}

#[async_trait]
impl AuditHistory for AuditLog {
    async fn newest(
        &self,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<(Vec<Value>, Option<String>), ApiError> {
        let Some(directory) = self.directory().map(ToOwned::to_owned) else {
            return Ok((Vec::new(), None));
        };
        let read = tokio::task::spawn_blocking(move || {
            let filter = audit::Filter::default();
            audit::read_newest(&directory, &filter, limit as usize, cursor.as_deref())
        });
        match read.await {
            Ok(Ok(found)) => {
                Ok((found.records.into_iter().map(|record| record.value).collect(), found.next))
            }
            Ok(Err(audit::ReadError::Cursor)) => {
                Err(ApiError::invalid("cursor", "is not one that this log gave"))
            }
            Ok(Err(audit::ReadError::Io(error))) => Err(unreadable(&error)),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "the audit log can't be read");
    let message = "The audit log can't be read now.";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", message)
}
