//! Keys that somebody asks for.

use uuid::Uuid;

use crate::admin::actor::{Actor, Permission, Scope};
use crate::admin::error::ApiError;
use crate::admin::services::Services;
use crate::stores::records::{Key, KeyHash};
use crate::stores::{KeyFilter, Page, Paged};

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

/// The key with which the actor asks.
///
/// # Errors
/// 404 for whoever asks with something else.
pub fn own(actor: &Actor) -> Result<&Key, ApiError> {
    actor.key.as_deref().ok_or_else(|| {
        ApiError::not_found("key").hint("your credential is not a virtual key: name one")
    })
}
