//! New keys.

use serde_json::Map;
use sha2::{Digest, Sha256};
use sluicegate_filters::identify::virtual_key;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::super::secret::{Material, Repeatable, Secret};
use super::super::{bounds, changes, check, too_busy};
use super::{Made, check_expiry, check_owners};
use crate::admin::actor::{Actor, Permission, Scope};
use crate::admin::audit::Resource;
use crate::admin::call::By;
use crate::admin::error::ApiError;
use crate::admin::services::Services;
use crate::stores::StoreError;
use crate::stores::records::{Key, KeyHash, Limits};

/// How long a request with an `Idempotency-Key` may be repeated, in milliseconds.
const REPEATABLE_FOR: i64 = 24 * 3_600_000;
/// Makes a key. `edit` fills in what is asked for.
///
/// # Errors
/// 403 for what is beyond the actor; 409 for an alias or a text in use, and for an `Idempotency-Key` that
/// was used for something else; 422 for a field that can't be.
pub async fn create(
    by: By<'_>,
    secret: Secret,
    edit: impl Fn(&mut Key) -> Result<(), ApiError>,
) -> Result<Made, ApiError> {
    let By { services, actor, act } = by;
    let now = services.now();
    let mut key = blank(actor, now);
    edit(&mut key)?;
    if let Secret::Repeatable(request) = &secret {
        key.id = request.id(services);
    }
    act.about(Resource::new("key", key.id));
    permit_new(actor, &secret, &key)?;
    check::key(&key)?;
    check_expiry(&key, None, now)?;
    check_owners(services, actor, &mut key, None).await?;
    let material = secret.material(services)?;
    key.hash = material.hash;
    key.hint.clone_from(&material.hint);

    if matches!(secret, Secret::Repeatable(_))
        && let Some(stored) = services.store()?.key(key.id).await?
    {
        return replay(services, actor, stored, &key, material);
    }
    let mut names = changes!(blank(actor, now), key, alias, user, team, organization, models);
    names.extend(changes!(
        blank(actor, now),
        key,
        routes,
        expires_at,
        blocked,
        tags,
        metadata,
        limits
    ));
    act.allow(Resource::new("key", key.id), names).await?;
    match services.store()?.create_key(&key).await {
        Ok(()) => Ok(Made { key, text: material.text, replayed: false }),
        // The same request arrived twice at once, and the other one was quicker.
        Err(StoreError::Conflict { field: "id" }) => match services.store()?.key(key.id).await? {
            Some(stored) => replay(services, actor, stored, &key, material),
            None => Err(too_busy()),
        },
        Err(StoreError::Conflict { field: "key" }) => {
            Err(ApiError::conflict("already_exists", "Another key has this text.").at("key"))
        }
        Err(error) => Err(error.into()),
    }
}

fn permit_new(actor: &Actor, secret: &Secret, key: &Key) -> Result<(), ApiError> {
    let scope = Scope::NewKey { user: key.user.as_deref(), team: key.team.as_deref() };
    if !actor.may(Permission::ManageKeys, scope) {
        return Err(ApiError::forbidden("You may not make keys for this user and team.")
            .hint("a user makes keys of their own, a team's administrator keys of the team"));
    }
    let allowed = match secret {
        Secret::Random | Secret::Repeatable(_) => true,
        // Whether a text is in use is a thing to try out.
        Secret::Chosen(_) => actor.reach().is_none(),
        Secret::LiteLlmHash(_) => actor.may(Permission::ImportKeys, Scope::All),
    };
    if !allowed {
        return Err(ApiError::forbidden("You may not choose a key's text or hash."));
    }
    Ok(())
}

/// The answer to a request that was answered before.
fn replay(
    services: &Services,
    actor: &Actor,
    stored: Key,
    asked: &Key,
    material: Material,
) -> Result<Made, ApiError> {
    actor.demand(Permission::SeeKeys, Permission::ManageKeys, Scope::Key(&stored))?;
    if let Some(acting) = &actor.key {
        // It may have been given more since.
        bounds::within_acting_key(acting, &stored)?;
    }
    let reused = |message| Err(ApiError::conflict("idempotency_key_reused", message));
    if services.now() - stored.created_at > REPEATABLE_FOR {
        return reused("This Idempotency-Key was used more than 24 hours ago.");
    }
    let same_text = bool::from(stored.hash.0.ct_eq(&material.hash.0));
    if !same_text || (stored.version == 1 && !same_fields(&stored, asked)) {
        return reused(
            "This Idempotency-Key was used for another request, or its key was rotated since.",
        );
    }
    Ok(Made { key: stored, text: material.text, replayed: true })
}

/// Whether two keys were asked for alike. A moment that was given as a span from now on differs by the
/// time between.
fn same_fields(a: &Key, b: &Key) -> bool {
    changes!(a, b, alias, user, team, organization, models, routes, blocked, tags, metadata, limits)
        .is_empty()
        && a.expires_at.is_some() == b.expires_at.is_some()
}

/// What makes a request of `actor` repeatable under `key`.
///
/// # Errors
/// 422 for a credential that does not say who bears it: several could share what is theirs.
pub fn repeatable(actor: &Actor, key: &str, body: &[u8]) -> Result<Repeatable, ApiError> {
    let valid = (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !valid {
        let reason = "must be 1 to 255 visible ASCII characters";
        return Err(ApiError::invalid("idempotency-key", reason));
    }
    if actor.id == "token" {
        let reason = "can't be used with a token that names no user";
        return Err(ApiError::invalid("idempotency-key", reason));
    }
    Ok(Repeatable {
        actor: actor.id.clone(),
        key: key.to_owned(),
        body: Sha256::digest(body).into(),
    })
}

fn blank(actor: &Actor, now: i64) -> Key {
    Key {
        id: Uuid::now_v7(),
        hash: KeyHash([0; 32]),
        previous: None,
        hint: virtual_key::hint(""),
        alias: None,
        user: None,
        team: None,
        organization: None,
        models: Vec::new(),
        routes: Vec::new(),
        expires_at: None,
        blocked: false,
        tags: Vec::new(),
        metadata: Map::new(),
        limits: Limits::default(),
        created_at: now,
        updated_at: now,
        created_by: actor.id.clone(),
        version: 1,
    }
}
