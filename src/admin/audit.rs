//! Acts are written down before they are answered, refused ones too.
//!
//! An act's line is on the disk **before** the store is written: there is never a change that the log
//! does not know of. Should the store refuse after that, a second line says that the act failed. If the
//! first line can't be written, nothing is done and the answer is 503 `audit_unavailable`. A crash
//! between the two leaves a line without its change, never a change without its line.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::StatusCode;
use sluicegate_filters::caller::{Caller, CallerKind};

use super::actor::Actor;
use super::error::ApiError;
use super::services::Services;

/// Where lines go.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Writes one line. When it returns, the line is on the disk.
    ///
    /// # Errors
    /// The line may not be there.
    async fn commit(&self, line: AuditLine) -> Result<(), AuditUnavailable>;

    /// Has a line written before long, without waiting for it: for refusals of nobody in particular.
    fn note(&self, line: AuditLine);
}

/// A line could not be written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit log can't be written: {0}")]
pub struct AuditUnavailable(pub String);

/// Who did what, and what came of it. It holds names of changed fields, never their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// What was wanted: `keys.create`.
    pub action: &'static str,
    pub outcome: Outcome,
    /// Of the answer.
    pub status: u16,
    /// The error's code.
    pub code: Option<&'static str>,
    /// By what they were identified: `master`, `key`, `token`, `anonymous`.
    pub actor_kind: &'static str,
    /// See [`Actor::id`].
    pub actor_id: Option<String>,
    /// The team to which their credential is bound.
    pub actor_team: Option<String>,
    pub ip: IpAddr,
    /// `key`, `team`, ...
    pub resource_kind: &'static str,
    pub resource_id: Option<String>,
    pub request_id: String,
    pub config_generation: u64,
    pub changes: Vec<Cow<'static, str>>,
}

/// What came of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was allowed, and is done unless a second line says otherwise.
    Allowed,
    /// It was not.
    Refused,
    /// It was allowed, and failed.
    Failed,
}

/// One act under way: knows who wants what, and writes it down.
pub struct Act {
    services: Arc<Services>,
    pub actor: Option<Arc<Actor>>,
    action: &'static str,
    pub ip: IpAddr,
    pub request_id: String,
    resource: Mutex<Resource>,
    allowed: AtomicBool,
}

/// What an act is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub kind: &'static str,
    pub id: Option<String>,
}

impl Resource {
    pub fn new(kind: &'static str, id: impl Into<String>) -> Self {
        Self { kind, id: Some(id.into()) }
    }
}

impl Act {
    pub fn new(
        services: Arc<Services>,
        actor: Option<Arc<Actor>>,
        action: &'static str,
        ip: IpAddr,
        request_id: String,
    ) -> Self {
        // `keys.create` is about a key.
        let kind = action.split('.').next().map_or("", |plural| match plural {
            "keys" => "key",
            "teams" | "members" => "team",
            "users" => "user",
            "organizations" => "organization",
            other => other,
        });
        let resource = Mutex::new(Resource { kind, id: None });
        Self { services, actor, action, ip, request_id, resource, allowed: AtomicBool::new(false) }
    }

    /// Says what it is about, as soon as that is known: a refusal is written down with it.
    pub fn about(&self, resource: Resource) {
        *self.resource.lock().unwrap_or_else(PoisonError::into_inner) = resource;
    }

    /// A part of the act that has a name of its own.
    pub fn part(&self, action: &'static str) -> Self {
        let (services, actor) = (self.services.clone(), self.actor.clone());
        Self::new(services, actor, action, self.ip, self.request_id.clone())
    }

    /// Writes down that the act is allowed. After it, the store may be written.
    ///
    /// # Errors
    /// 503 `audit_unavailable`. Then nothing may be done.
    pub async fn allow(
        &self,
        resource: Resource,
        changes: Vec<Cow<'static, str>>,
    ) -> Result<(), ApiError> {
        self.about(resource);
        self.commit(AuditLine { changes, ..self.line(Outcome::Allowed, 200, None) }).await?;
        self.allowed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Writes down what came of it, where that is not yet said: a refusal, a failure, or a success that
    /// changed nothing.
    ///
    /// # Errors
    /// 503 `audit_unavailable`.
    pub async fn finish(
        &self,
        status: StatusCode,
        code: Option<&'static str>,
    ) -> Result<(), ApiError> {
        let allowed = self.allowed.load(Ordering::Relaxed);
        let outcome = if status.is_success() {
            if allowed {
                return Ok(());
            }
            Outcome::Allowed
        } else if allowed || status.is_server_error() {
            Outcome::Failed
        } else {
            Outcome::Refused
        };
        self.commit(self.line(outcome, status.as_u16(), code)).await
    }

    /// Has a refusal of nobody in particular written down.
    pub fn note(&self, status: StatusCode, code: &'static str) {
        self.services.audit.note(self.line(Outcome::Refused, status.as_u16(), Some(code)));
    }

    async fn commit(&self, line: AuditLine) -> Result<(), ApiError> {
        self.services.audit.commit(line).await.map_err(|error| {
            tracing::error!(%error, action = self.action, "an act is not written down");
            let message = "The act can't be written to the audit log, so it is not done.";
            let mut error =
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", message);
            error.retry_after = Some(1);
            error
        })
    }

    fn line(&self, outcome: Outcome, status: u16, code: Option<&'static str>) -> AuditLine {
        let resource = self.resource.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let actor = self.actor.as_deref();
        let caller = actor.and_then(|actor| actor.caller.as_deref());
        let reach = actor.and_then(Actor::reach);
        AuditLine {
            at_ms: self.services.now(),
            action: self.action,
            outcome,
            status,
            code,
            actor_kind: caller.map_or(CallerKind::Anonymous, Caller::kind).name(),
            actor_id: actor.map(|actor| actor.id.clone()),
            actor_team: reach.and_then(|reach| reach.bound_to.clone()),
            ip: self.ip,
            resource_kind: resource.kind,
            resource_id: resource.id,
            request_id: self.request_id.clone(),
            config_generation: self.services.gateway.current().generation,
            changes: Vec::new(),
        }
    }
}
