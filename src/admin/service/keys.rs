//! Virtual keys.

mod create;
mod look;

use secrecy::SecretString;
use uuid::Uuid;

pub use self::create::{create, repeatable};
pub use self::look::{find, get, list, own};
use super::super::actor::{Actor, Permission, Scope};
use super::super::audit::Resource;
use super::super::call::By;
use super::super::error::ApiError;
use super::super::services::Services;
use super::secret::Secret;
use super::{ATTEMPTS, again, bounds, changes, check, expect, too_busy};
use crate::stores::StoreError;
use crate::stores::records::{Key, PreviousHash, Team};

/// The longest that a replaced text stays good, in milliseconds: 90 days.
const MAX_GRACE: i64 = 90 * 24 * 3_600_000;

/// A key whose text was just made, or made again.
pub struct Made {
    pub key: Key,
    /// Shown once; unknown for an imported hash.
    pub text: Option<SecretString>,
    /// Whether the request was a repetition of one that was answered before.
    pub replayed: bool,
}

/// Changes a key. `edit` may run several times.
///
/// # Errors
/// As [`create()`], and 404, 412.
pub async fn update(
    by: By<'_>,
    id: Uuid,
    if_match: Option<i64>,
    edit: impl Fn(&mut Key) -> Result<(), ApiError>,
) -> Result<Key, ApiError> {
    let By { services, actor, act } = by;
    act.about(Resource::new("key", id));
    let mut told = None;
    for _ in 0..ATTEMPTS {
        let before = stored(services, actor, id, Permission::ManageKeys).await?;
        expect(if_match, before.version)?;
        let mut after = before.clone();
        edit(&mut after)?;
        let mut after = Key { updated_at: services.now(), ..kept(&before, after) };
        let mut names = changes!(before, after, alias, user, team, organization, models, routes);
        names.extend(changes!(before, after, expires_at, blocked, tags, metadata, limits));
        if names.is_empty() {
            return Ok(before);
        }
        check::key(&after)?;
        check_expiry(&after, Some(&before), after.updated_at)?;
        permit_change(actor, &before, &after)?;
        check_owners(services, actor, &mut after, Some(&before)).await?;
        if told.as_ref() != Some(&names) {
            act.allow(Resource::new("key", id), names.clone()).await?;
            told = Some(names);
        }
        match services.store()?.update_key(&after).await {
            Ok(version) => return Ok(Key { version, ..after }),
            Err(error) => again(error, if_match, "key")?,
        }
    }
    Err(too_busy())
}

/// The key with everything as it was that no edit may change.
fn kept(before: &Key, after: Key) -> Key {
    Key {
        id: before.id,
        hash: before.hash,
        previous: before.previous,
        hint: before.hint.clone(),
        created_at: before.created_at,
        created_by: before.created_by.clone(),
        version: before.version,
        ..after
    }
}

fn permit_change(actor: &Actor, before: &Key, after: &Key) -> Result<(), ApiError> {
    let Some(reach) = actor.reach() else { return Ok(()) };
    if before.team != after.team || before.organization != after.organization {
        return Err(ApiError::forbidden("Only an administrator can move a key to another team."));
    }
    let scope = Scope::NewKey { user: after.user.as_deref(), team: after.team.as_deref() };
    if before.user != after.user && !actor.may(Permission::ManageKeys, scope) {
        return Err(ApiError::forbidden("You may not give this key to another user."));
    }
    let of_own_team = after.team.as_ref().is_some_and(|team| reach.administers.contains(team));
    if before.blocked && !after.blocked && !of_own_team {
        return Err(ApiError::forbidden("Only an administrator can unblock a key."));
    }
    Ok(())
}

/// Blocks or unblocks a key.
///
/// # Errors
/// As [`update`].
pub async fn set_blocked(
    by: By<'_>,
    id: Uuid,
    blocked: bool,
    if_match: Option<i64>,
) -> Result<Key, ApiError> {
    update(by, id, if_match, |key| {
        key.blocked = blocked;
        Ok(())
    })
    .await
}

/// Gives a key a new text; the old one stays good for `grace` milliseconds.
///
/// # Errors
/// As [`update`].
pub async fn rotate(
    by: By<'_>,
    id: Uuid,
    if_match: Option<i64>,
    secret: &Secret,
    grace: i64,
) -> Result<Made, ApiError> {
    let By { services, actor, act } = by;
    act.about(Resource::new("key", id));
    if grace > MAX_GRACE {
        return Err(ApiError::invalid("grace", "must not be over 90 days"));
    }
    if matches!(secret, Secret::Chosen(_)) && actor.reach().is_some() {
        return Err(ApiError::forbidden("You may not choose a key's text."));
    }
    let material = secret.material(services)?;
    let mut told = false;
    for _ in 0..ATTEMPTS {
        let before = stored(services, actor, id, Permission::RotateKeys).await?;
        expect(if_match, before.version)?;
        if let Some(acting) = &actor.key {
            bounds::within_acting_key(acting, &before)?;
        }
        let now = services.now();
        let after = Key {
            hash: material.hash,
            hint: material.hint.clone(),
            previous: (grace > 0).then(|| PreviousHash { hash: before.hash, until: now + grace }),
            updated_at: now,
            ..before
        };
        if !told {
            act.allow(Resource::new("key", id), vec!["key".into()]).await?;
            told = true;
        }
        match services.store()?.update_key(&after).await {
            Ok(version) => {
                let key = Key { version, ..after };
                return Ok(Made { key, text: material.text, replayed: false });
            }
            Err(StoreError::Conflict { field: "key" }) => {
                let error = ApiError::conflict("already_exists", "Another key has this text.");
                return Err(error.at("key"));
            }
            Err(error) => again(error, if_match, "key")?,
        }
    }
    Err(too_busy())
}

/// Deletes a key.
///
/// # Errors
/// 403, 404, 412.
pub async fn delete(by: By<'_>, id: Uuid, if_match: Option<i64>) -> Result<Key, ApiError> {
    let By { services, actor, act } = by;
    act.about(Resource::new("key", id));
    let key = stored(services, actor, id, Permission::ManageKeys).await?;
    expect(if_match, key.version)?;
    act.allow(Resource::new("key", id), Vec::new()).await?;
    if if_match.is_some() {
        // The store deletes any version. Blocking the key first makes sure that it is still this one.
        let blocked = Key { blocked: true, updated_at: services.now(), ..key.clone() };
        if let Err(error) = services.store()?.update_key(&blocked).await {
            again(error, if_match, "key")?;
        }
    }
    match services.store()?.delete_key(id).await {
        Ok(()) => Ok(key),
        Err(StoreError::NotFound) => Err(ApiError::not_found("key")),
        Err(error) => Err(error.into()),
    }
}

async fn stored(
    services: &Services,
    actor: &Actor,
    id: Uuid,
    permission: Permission,
) -> Result<Key, ApiError> {
    let key = services.store()?.key(id).await?.ok_or_else(|| ApiError::not_found("key"))?;
    actor.demand(Permission::SeeKeys, permission, Scope::Key(&key))?;
    Ok(key)
}

fn check_expiry(key: &Key, before: Option<&Key>, now: i64) -> Result<(), ApiError> {
    let changed = before.is_none_or(|before| before.expires_at != key.expires_at);
    if changed && key.expires_at.is_some_and(|end| end <= now) {
        return Err(ApiError::invalid("expires_at", "must be in the future")
            .hint("to end a key now, block or delete it"));
    }
    Ok(())
}

/// Whether what the key belongs to exists and goes together, and whether the key stays within it.
async fn check_owners(
    services: &Services,
    actor: &Actor,
    key: &mut Key,
    before: Option<&Key>,
) -> Result<(), ApiError> {
    if let Some(acting) = &actor.key {
        bounds::within_acting_key(acting, key)?;
    }
    let owner = services.store()?.owner(key.user.as_deref(), key.team.as_deref(), None).await?;
    if key.user.is_some() && owner.user.is_none() {
        return Err(ApiError::invalid("user", "names a user that does not exist"));
    }
    if key.team.is_some() && owner.team.is_none() {
        return Err(ApiError::invalid("team", "names a team that does not exist"));
    }
    if let Some(team) = &owner.team
        && let Some(organization) = &team.organization
        && key.organization.as_ref().is_some_and(|own| own != organization)
    {
        return Err(ApiError::invalid("organization", "is not that of the team")
            .hint("leave it out: a key is of its team's organization"));
    }
    if actor.reach().is_none() {
        return Ok(());
    }
    if let Some(team) = &owner.team {
        bounds::within_team(key, team)?;
        let given = key.user.is_some() && before.is_none_or(|before| before.user != key.user);
        if given && owner.member.is_none() {
            return Err(ApiError::invalid("user", "must be a member of the team"));
        }
        return organization_of(team, key);
    }
    if let Some(user) = &owner.user {
        bounds::within_user(key, user)?;
        if key.organization.is_some() && key.organization != user.organization {
            return Err(ApiError::invalid("organization", "is not that of the user"));
        }
    }
    Ok(())
}

/// Whoever manages a team only can't choose the organization that pays.
fn organization_of(team: &Team, key: &Key) -> Result<(), ApiError> {
    if key.organization.is_some() && key.organization != team.organization {
        return Err(ApiError::invalid("organization", "is not that of the team"));
    }
    Ok(())
}
