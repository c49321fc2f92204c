//! Users.

use std::borrow::Cow;

use async_trait::async_trait;
use serde_json::Map;

use super::super::actor::{Actor, Permission, Scope};
use super::super::error::ApiError;
use super::super::services::Services;
use super::record::Record;
use super::{changes, check};
use crate::stores::records::{Limits, User, UserRole};
use crate::stores::{Page, Paged, Store, StoreError, UserFilter};

/// The users of `filter`.
///
/// # Errors
/// 403 for whoever may not see all.
pub async fn list(
    services: &Services,
    actor: &Actor,
    filter: UserFilter,
    page: &Page,
) -> Result<Paged<User>, ApiError> {
    if !actor.may(Permission::SeeUsers, Scope::All) {
        return Err(ApiError::forbidden("You may not list users."));
    }
    Ok(services.store()?.users(&filter, page).await?)
}

/// The role of that name. LiteLLM writes two of them in another way.
///
/// # Errors
/// 422.
pub fn role(field: &str, name: &str) -> Result<UserRole, ApiError> {
    match name {
        "proxy_admin" => Ok(UserRole::ProxyAdmin),
        "proxy_admin_viewer" => Ok(UserRole::ProxyAdminViewer),
        "internal_user" => Ok(UserRole::InternalUser),
        "internal_user_viewer" => Ok(UserRole::InternalUserViewer),
        _ => Err(ApiError::invalid(
            field,
            "must be one of `proxy_admin`, `proxy_admin_viewer`, `internal_user`, `internal_user_viewer`",
        )),
    }
}

#[async_trait]
impl Record for User {
    const KIND: &'static str = "user";
    const SEE: Permission = Permission::SeeUsers;
    const MANAGE: Permission = Permission::ManageUsers;

    fn id(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn blank(id: String, now: i64) -> Self {
        Self {
            id,
            email: None,
            alias: None,
            role: UserRole::InternalUser,
            organization: None,
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
        Scope::User(&self.id)
    }

    fn check(&self) -> Result<(), ApiError> {
        check::user(self)
    }

    fn changes(&self, after: &Self) -> Vec<Cow<'static, str>> {
        let mut names = changes!(self, after, email, alias, role, organization, models, blocked);
        names.extend(changes!(self, after, tags, metadata, limits));
        names
    }

    async fn read(store: &dyn Store, id: &str) -> Result<Option<Self>, StoreError> {
        store.user(id).await
    }

    async fn store(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.create_user(self).await
    }

    async fn replace(&self, store: &dyn Store) -> Result<i64, StoreError> {
        store.update_user(self).await
    }

    async fn remove(store: &dyn Store, id: &str) -> Result<(), StoreError> {
        store.delete_user(id).await
    }
}
