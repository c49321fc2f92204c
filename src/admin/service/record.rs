//! What teams, users and organizations have in common: how they are made, read, changed and deleted.

use std::borrow::Cow;

use async_trait::async_trait;
use uuid::Uuid;

use super::super::actor::{Actor, Permission, Scope};
use super::super::audit::Resource;
use super::super::call::By;
use super::super::error::ApiError;
use super::super::services::Services;
use super::{ATTEMPTS, again, expect, too_busy};
use crate::stores::{Store, StoreError};

/// A record with an id that whoever makes it may choose.
#[async_trait]
pub trait Record: Clone + Send + Sync + Sized {
    /// The word for it: `team`.
    const KIND: &'static str;
    /// What lets one see it.
    const SEE: Permission;
    /// What lets one make, change and delete it.
    const MANAGE: Permission;

    fn id(&self) -> &str;
    fn version(&self) -> i64;
    /// One that says nothing yet.
    fn blank(id: String, now: i64) -> Self;
    /// `after` with everything as it was in `self` that no edit may change.
    fn keep(&self, after: Self, now: i64) -> Self;
    fn with_version(self, version: i64) -> Self;
    /// For what permissions are asked.
    fn scope(&self) -> Scope<'_>;
    /// Whether its fields can be.
    ///
    /// # Errors
    /// 422.
    fn check(&self) -> Result<(), ApiError>;
    /// The names of the fields that differ.
    fn changes(&self, after: &Self) -> Vec<Cow<'static, str>>;

    async fn read(store: &dyn Store, id: &str) -> Result<Option<Self>, StoreError>;
    async fn store(&self, store: &dyn Store) -> Result<(), StoreError>;
    async fn replace(&self, store: &dyn Store) -> Result<i64, StoreError>;
    async fn remove(store: &dyn Store, id: &str) -> Result<(), StoreError>;
}

/// Makes a record, with a new id unless one is given. The same again changes nothing: the second value
/// says whether it was made.
///
/// # Errors
/// 403; 409 where the id is taken by another record; 422.
pub async fn create<R: Record>(
    by: By<'_>,
    id: Option<String>,
    edit: impl Fn(&mut R) -> Result<(), ApiError>,
) -> Result<(R, bool), ApiError> {
    let By { services, actor, act } = by;
    if !actor.may(R::MANAGE, Scope::All) {
        return Err(ApiError::forbidden(format!("Only an administrator can make a {}.", R::KIND)));
    }
    let now = services.now();
    let id = id.unwrap_or_else(|| Uuid::now_v7().to_string());
    let blank = R::blank(id, now);
    let mut record = blank.clone();
    edit(&mut record)?;
    let record = blank.keep(record, now);
    act.about(Resource::new(R::KIND, record.id()));
    record.check()?;
    if let Some(stored) = R::read(services.store()?, record.id()).await? {
        return same(stored, &record);
    }
    act.allow(Resource::new(R::KIND, record.id()), blank.changes(&record)).await?;
    match record.store(services.store()?).await {
        Ok(()) => Ok((record, true)),
        Err(StoreError::Conflict { field: "id" }) => {
            match R::read(services.store()?, record.id()).await? {
                Some(stored) => same(stored, &record),
                None => Err(too_busy()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn same<R: Record>(stored: R, asked: &R) -> Result<(R, bool), ApiError> {
    if stored.changes(asked).is_empty() {
        return Ok((stored, false));
    }
    let message = format!("There is another {} with this id.", R::KIND);
    Err(ApiError::conflict("already_exists", message).at("id"))
}

/// A record that the actor may see.
///
/// # Errors
/// 404.
pub async fn get<R: Record>(services: &Services, actor: &Actor, id: &str) -> Result<R, ApiError> {
    let not_found = || ApiError::not_found(R::KIND);
    // No record has such an id, and no database wants to be asked for it.
    super::check::name("id", id).map_err(|_| not_found())?;
    let record = R::read(services.store()?, id).await?.ok_or_else(not_found)?;
    if actor.may(R::SEE, record.scope()) { Ok(record) } else { Err(not_found()) }
}

/// Changes a record. `edit` may run several times.
///
/// # Errors
/// 403, 404, 409, 412, 422.
pub async fn update<R: Record>(
    by: By<'_>,
    id: &str,
    if_match: Option<i64>,
    edit: impl Fn(&mut R) -> Result<(), ApiError>,
) -> Result<R, ApiError> {
    update_by(R::MANAGE, by, id, if_match, edit).await
}

/// As [`update`], with another permission.
///
/// # Errors
/// As [`update`].
pub async fn update_by<R: Record>(
    permission: Permission,
    by: By<'_>,
    id: &str,
    if_match: Option<i64>,
    edit: impl Fn(&mut R) -> Result<(), ApiError>,
) -> Result<R, ApiError> {
    let By { services, actor, act } = by;
    act.about(Resource::new(R::KIND, id));
    let mut told = None;
    for _ in 0..ATTEMPTS {
        let before: R = get(services, actor, id).await?;
        actor.demand(R::SEE, permission, before.scope())?;
        expect(if_match, before.version())?;
        let mut after = before.clone();
        edit(&mut after)?;
        let after = before.keep(after, services.now());
        let names = before.changes(&after);
        if names.is_empty() {
            return Ok(before);
        }
        after.check()?;
        if told.as_ref() != Some(&names) {
            act.allow(Resource::new(R::KIND, id), names.clone()).await?;
            told = Some(names);
        }
        match after.replace(services.store()?).await {
            Ok(version) => return Ok(after.with_version(version)),
            Err(error) => again(error, if_match, R::KIND)?,
        }
    }
    Err(too_busy())
}

/// Deletes a record.
///
/// # Errors
/// 403, 404, 409 while others refer to it, 412.
pub async fn delete<R: Record>(by: By<'_>, id: &str, if_match: Option<i64>) -> Result<R, ApiError> {
    let By { services, actor, act } = by;
    act.about(Resource::new(R::KIND, id));
    let record: R = get(services, actor, id).await?;
    actor.demand(R::SEE, R::MANAGE, record.scope())?;
    expect(if_match, record.version())?;
    act.allow(Resource::new(R::KIND, id), Vec::new()).await?;
    if if_match.is_some() {
        // The store deletes any version. Storing the record anew makes sure that it is still this one.
        let touched = record.keep(record.clone(), services.now());
        if let Err(error) = touched.replace(services.store()?).await {
            again(error, if_match, R::KIND)?;
        }
    }
    match R::remove(services.store()?, id).await {
        Ok(()) => Ok(record),
        Err(StoreError::NotFound) => Err(ApiError::not_found(R::KIND)),
        Err(error) => Err(error.into()),
    }
}
