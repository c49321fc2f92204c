//! Organizations.

use std::borrow::Cow;

use async_trait::async_trait;
use serde_json::Map;

use super::super::actor::{Actor, Permission, Scope};
use super::super::error::ApiError;
use super::super::services::Services;
use super::record::Record;
use super::{changes, check};
use crate::stores::records::{Limits, Organization};
use crate::stores::{Page, Paged, Store, StoreError};

/// The organizations.
///
/// # Errors
/// 403 for whoever may not see all.
pub async fn list(
    services: &Services,
    actor: &Actor,
    page: &Page,
) -> Result<Paged<Organization>, ApiError> {
    if !actor.may(Permission::SeeOrganizations, Scope::All) {
        return Err(ApiError::forbidden("You may not list organizations."));
    }
    Ok(services.store()?.organizations(page).await?)
}

#[async_trait]
impl Record for Organization {
    const KIND: &'static str = "organization";
    const SEE: Permission = Permission::SeeOrganizations;
    const MANAGE: Permission = Permission::ManageOrganizations;

    fn id(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn blank(id: String, now: i64) -> Self {
        Self {
            id,
            alias: None,
            models: Vec::new(),
            blocked: false,
            tags: Vec::new(),
            metadata: Map::new(),
            limits: Limits::default(),
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    fn keep(&self, after: Self, now: i64) -> Self {
        Self {
            id: self.id.clone(),
            created_at: self.created_at,
            updated_at: now,
            version: self.version,
            ..after
        }
    }

    fn with_version(self, version: i64) -> Self {
        Self { version, ..self }
    }

    fn scope(&self) -> Scope<'_> {
        Scope::All
    }

    fn check(&self) -> Result<(), ApiError> {
        check::organization(self)
    }

    fn changes(&self, after: &Self) -> Vec<Cow<'static, str>> {
        changes!(self, after, alias, models, blocked, tags, metadata, limits)
    }

    async fn read(store: &dyn Store, id: &str) -> Result<Option<Self>, StoreError> {
        store.organization(id).await
    }

    async fn store(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.create_organization(self).await
    }

    async fn replace(&self, store: &dyn Store) -> Result<i64, StoreError> {
        store.update_organization(self).await
    }

    async fn remove(store: &dyn Store, id: &str) -> Result<(), StoreError> {
        store.delete_organization(id).await
    }
}
