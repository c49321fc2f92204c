//! Whose limits they are, and what is left of them.

use sluicegate_filters::admit::{Quota, Scope as Whose, ScopeKind};
use sluicegate_quota::{QuotaStoreError, State};

use super::super::actor::{Actor, Permission, Scope};
use super::super::error::ApiError;
use super::super::services::Services;
use super::{check, keys};
use crate::identity::quotas;
use crate::stores::records::Limits;

/// A scope with all its limits.
pub struct Found {
    pub whose: Whose,
    /// Each with whether it is a record's, and not the configuration's.
    pub quotas: Vec<(Quota, bool)>,
}

/// The limits of the scope `text`: `key:<id>`, `team:blue`, `gateway`.
///
/// # Errors
/// 404 for what does not exist and for what the actor may not see; 403; 422.
pub async fn find(services: &Services, actor: &Actor, text: &str) -> Result<Found, ApiError> {
    let whose = scope(text)?;
    let limits = limits_of_record(services, actor, &whose).await?;
    let runtime = services.gateway.current();
    let of_record = limits.as_ref().map_or_else(Vec::new, |limits| quotas::of(&whose, limits));
    let mut configured = runtime.quotas.of(whose.kind, &whose.id);
    let known = match whose.kind {
        ScopeKind::Gateway => true,
        ScopeKind::Model => runtime.config.models.contains_key(&whose.id),
        ScopeKind::Provider => runtime.config.providers.contains_key(&whose.id),
        ScopeKind::Tag | ScopeKind::EndUser => !configured.is_empty(),
        ScopeKind::Organization | ScopeKind::Team | ScopeKind::User | ScopeKind::Key => {
            limits.is_some() || !configured.is_empty()
        }
    };
    if !known {
        return Err(ApiError::not_found(whose.kind.name()));
    }
    // On one counter a record's limit counts.
    configured.retain(|quota| !of_record.iter().any(|own| own.shares_counter(quota)));
    let of_record = of_record.into_iter().map(|quota| (quota, true));
    let configured = configured.into_iter().map(|quota| (quota, false));
    Ok(Found { whose, quotas: of_record.chain(configured).collect() })
}

/// What the store of the counters has of `quotas`, in their order.
///
/// # Errors
/// 503 `quota_unavailable`.
pub async fn look(services: &Services, quotas: &[Quota]) -> Result<Vec<State>, ApiError> {
    services.gateway.quotas.engine().look(quotas).await.map_err(|error| {
        match &error {
            QuotaStoreError::Unavailable(_) => tracing::warn!(%error, "counters can't be shown"),
            QuotaStoreError::Broken(_) => tracing::error!(%error, "counters can't be shown"),
        }
        let status = http::StatusCode::SERVICE_UNAVAILABLE;
        let mut error = ApiError::new(
            status,
            "quota_unavailable",
            "The store of the counters does not answer.",
        );
        error.retry_after = Some(1);
        error
    })
}

fn scope(text: &str) -> Result<Whose, ApiError> {
    let (kind, id) = text.split_once(':').unwrap_or((text, ""));
    let Some(kind) = ScopeKind::from_name(kind) else {
        let names: Vec<_> = ScopeKind::ALL.iter().map(|kind| kind.name()).collect();
        let reason =
            format!("must be `gateway`, or one of {} with `:` and an id", names.join(", "));
        return Err(ApiError::invalid("scope", reason));
    };
    let has_id = text.contains(':');
    if has_id == (kind == ScopeKind::Gateway) {
        let reason = if has_id { "must be `gateway` alone" } else { "must name an id behind `:`" };
        return Err(ApiError::invalid("scope", reason));
    }
    if kind == ScopeKind::Key && has_id {
        // However it is written, it is counted by the same name.
        let id = uuid::Uuid::try_parse(id).map_err(|_| ApiError::not_found("key"))?;
        return Ok(Whose::new(kind, id.to_string()));
    }
    if has_id {
        // No record has such an id, and no database wants to be asked for it.
        check::name("id", id).map_err(|_| ApiError::not_found(kind.name()))?;
    }
    Ok(Whose::new(kind, id))
}

/// The limits of the record that the scope names, where there is one and the actor may see them.
async fn limits_of_record(
    services: &Services,
    actor: &Actor,
    whose: &Whose,
) -> Result<Option<Limits>, ApiError> {
    let id = whose.id.as_str();
    let demand = |see, scope| {
        // What is no record of somebody's is for those to see who see everything.
        if matches!(scope, Scope::All) && !actor.may(Permission::SeeQuotas, scope) {
            return Err(ApiError::not_found(whose.kind.name()));
        }
        actor.demand(see, Permission::SeeQuotas, scope)
    };
    let store = services.store.as_deref();
    Ok(match whose.kind {
        ScopeKind::Key => {
            let key = keys::get(services, actor, id).await?;
            demand(Permission::SeeKeys, Scope::Key(&key))?;
            Some(key.limits)
        }
        ScopeKind::Team => {
            demand(Permission::SeeTeams, Scope::Team(id))?;
            match store {
                Some(store) => store.team(id).await?.map(|team| team.limits),
                None => None,
            }
        }
        ScopeKind::User => {
            demand(Permission::SeeUsers, Scope::User(id))?;
            match store {
                Some(store) => store.user(id).await?.map(|user| user.limits),
                None => None,
            }
        }
        ScopeKind::Organization => {
            demand(Permission::SeeOrganizations, Scope::All)?;
            match store {
                Some(store) => store.organization(id).await?.map(|found| found.limits),
                None => None,
            }
        }
        ScopeKind::EndUser
        | ScopeKind::Tag
        | ScopeKind::Provider
        | ScopeKind::Model
        | ScopeKind::Gateway => {
            demand(Permission::SeeQuotas, Scope::All)?;
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_kind_and_an_id() {
        let read = |text| scope(text).map(|whose| (whose.kind, whose.id));
        assert_eq!(read("gateway").unwrap(), (ScopeKind::Gateway, String::new()));
        assert_eq!(read("team:a:b/c").unwrap(), (ScopeKind::Team, "a:b/c".to_owned()));
        for (text, status) in
            [("", 422), ("teams:x", 422), ("team", 422), ("gateway:x", 422), ("team:", 404)]
        {
            assert_eq!(read(text).expect_err(text).status, status, "{text}");
        }
    }
}
