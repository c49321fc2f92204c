//! Virtual keys.

use secrecy::SecretString;
use serde_json::Map;
use sluicegate_filters::identify::virtual_key;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::super::actor::{Actor, Permission, Scope};
use super::super::audit::{Act, Resource};
use super::super::error::ApiError;
use super::super::services::Services;
use super::secret::{Material, Repeatable, Secret};
use super::{ATTEMPTS, again, bounds, changes, check, expect, too_busy};
use crate::stores::records::{Key, KeyHash, Limits, PreviousHash, Team};
use crate::stores::{KeyFilter, Page, Paged, StoreError};

/// How long a request with an `Idempotency-Key` may be repeated, in milliseconds.
const REPEATABLE_FOR: i64 = 24 * 3_600_000;
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

/// Makes a key. `edit` fills in what is asked for.
///
/// # Errors
/// 403 for what is beyond the actor; 409 for an alias or a text in use, and for an `Idempotency-Key` that
/// was used for something else; 422 for a field that can't be.
pub async fn create(
    services: &Services,
    actor: &Actor,
    act: &Act,
    secret: Secret,
    edit: impl Fn(&mut Key) -> Result<(), ApiError>,
) -> Result<Made, ApiError> {
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

/// A key by its id.
///
/// # Errors
/// 404.
pub async fn get(services: &Services, actor: &Actor, id: &str) -> Result<Key, ApiError> {
    let not_found = || ApiError::not_found("key");
    let id = id.parse::<Uuid>().map_err(|_| not_found())?;
    let key = services.store()?.key(id).await?.ok_or_else(not_found)?;
    if actor.may(Permission::SeeKeys, Scope::Key(&key)) { Ok(key) } else { Err(not_found()) }
}

/// A key by its text, its hash in hexadecimal, or its id: LiteLLM's paths take any of them.
///
/// # Errors
/// 404.
pub async fn find(services: &Services, actor: &Actor, named: &str) -> Result<Key, ApiError> {
    let not_found = || ApiError::not_found("key");
    let key = if named.starts_with("sk-") {
        let hashes: Vec<KeyHash> =
            services.hasher.candidates(named).into_iter().map(KeyHash).collect();
        services.store()?.key_by_hash(&hashes).await?.map(|owned| owned.key)
    } else if let Some(hash) = KeyHash::from_hex(named) {
        let filter = KeyFilter { hash: Some(hash), ..KeyFilter::default() };
        let page = Page::at(0, 1);
        services.store()?.keys(&filter, &page).await?.items.pop()
    } else {
        return get(services, actor, named).await;
    };
    let key = key.ok_or_else(not_found)?;
    if actor.may(Permission::SeeKeys, Scope::Key(&key)) { Ok(key) } else { Err(not_found()) }
}

/// Those keys of `filter` that the actor may see.
///
/// # Errors
/// 403 for whoever may see none but the one that they hold.
pub async fn list(
    services: &Services,
    actor: &Actor,
    filter: KeyFilter,
    page: &Page,
) -> Result<Paged<Key>, ApiError> {
    if !actor.may(Permission::SeeKeys, Scope::All) {
        return Err(ApiError::forbidden("Your credential shows no key but itself.")
            .hint("see /admin/v1/keys/self"));
    }
    match visible(actor, filter) {
        Some(filter) => Ok(services.store()?.keys(&filter, page).await?),
        None => Ok(Paged { items: Vec::new(), total: 0 }),
    }
}

/// The filter narrowed to what the actor may see; `None` if that is nothing.
fn visible(actor: &Actor, mut filter: KeyFilter) -> Option<KeyFilter> {
    let Some(reach) = actor.reach() else { return Some(filter) };
    let of_teams = !reach.administers.is_empty()
        && (filter.user.is_none() || filter.user != reach.user || filter.team.is_some());
    if of_teams {
        filter.within_teams = Some(reach.administers.clone());
        return Some(filter);
    }
    if filter.user.is_some() && filter.user != reach.user {
        return None;
    }
    filter.user = Some(reach.user.clone()?);
    if reach.bound_to.is_some() {
        if filter.team.is_some() && filter.team != reach.bound_to {
            return None;
        }
        filter.team.clone_from(&reach.bound_to);
    }
    Some(filter)
}

/// Changes a key. `edit` may run several times.
///
/// # Errors
/// As [`create`], and 404, 412.
pub async fn update(
    services: &Services,
    actor: &Actor,
    act: &Act,
    id: Uuid,
    if_match: Option<i64>,
    edit: impl Fn(&mut Key) -> Result<(), ApiError>,
) -> Result<Key, ApiError> {
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
    services: &Services,
    actor: &Actor,
    act: &Act,
    id: Uuid,
    blocked: bool,
    if_match: Option<i64>,
) -> Result<Key, ApiError> {
    update(services, actor, act, id, if_match, |key| {
        key.blocked = blocked;
        Ok(())
    })
    .await
}

/// Gives a key a new text; the old one stays good for `grace` milliseconds. `edit` may change fields at the
/// same time, for whoever may manage the key.
///
/// # Errors
/// As [`update`].
pub async fn rotate(
    services: &Services,
    actor: &Actor,
    act: &Act,
    id: Uuid,
    if_match: Option<i64>,
    secret: &Secret,
    grace: i64,
) -> Result<Made, ApiError> {
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
pub async fn delete(
    services: &Services,
    actor: &Actor,
    act: &Act,
    id: Uuid,
    if_match: Option<i64>,
) -> Result<Key, ApiError> {
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

/// The key with which the actor asks.
///
/// # Errors
/// 404 for whoever asks with something else.
pub fn own(actor: &Actor) -> Result<&Key, ApiError> {
    actor.key.as_deref().ok_or_else(|| {
        ApiError::not_found("key").hint("your credential is not a virtual key: name one")
    })
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

/// What makes a request of `actor` repeatable under `key`.
///
/// # Errors
/// 422 for a credential that does not say who bears it: several could share what is theirs.
pub fn repeatable(actor: &Actor, key: &str, body: &[u8]) -> Result<Repeatable, ApiError> {
    use sha2::{Digest, Sha256};
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
