//! Teams and their members.

use std::borrow::Cow;

use async_trait::async_trait;
use serde_json::Map;

use super::super::actor::{Actor, Permission, Scope};
use super::super::call::By;
use super::super::error::ApiError;
use super::super::services::Services;
use super::record::{Record, update_by};
use super::{changes, check};
use crate::stores::records::{Limits, Member, MemberRole, Team};
use crate::stores::{Page, Paged, Store, StoreError, TeamFilter};

/// Members of a team, at most.
const MAX_MEMBERS: usize = 10_000;

/// Those teams of `filter` that the actor may see.
///
/// # Errors
/// 403 for whoever may see none.
pub async fn list(
    services: &Services,
    actor: &Actor,
    mut filter: TeamFilter,
    page: &Page,
) -> Result<Paged<Team>, ApiError> {
    if !actor.may(Permission::SeeTeams, Scope::All) {
        return Err(ApiError::forbidden("You may not list teams."));
    }
    if let Some(reach) = actor.reach() {
        filter.within = Some(reach.member_of.clone());
    }
    Ok(services.store()?.teams(&filter, page).await?)
}

/// Adds a member, or gives them another role.
///
/// # Errors
/// 403, 404, 412, 422.
pub async fn set_member(
    by: By<'_>,
    team: &str,
    members: &[Member],
    if_match: Option<i64>,
) -> Result<Team, ApiError> {
    let edit = |team: &mut Team| {
        for member in members {
            match team.members.iter_mut().find(|known| known.user == member.user) {
                Some(known) => known.role = member.role,
                None => team.members.push(member.clone()),
            }
        }
        Ok(())
    };
    update_by(Permission::ManageMembers, by, team, if_match, edit).await
}

/// Takes a member away. Their keys of the team stay: they belong to the team.
///
/// # Errors
/// 403, 404, 412.
pub async fn remove_member(
    by: By<'_>,
    team: &str,
    user: &str,
    if_match: Option<i64>,
) -> Result<Team, ApiError> {
    let edit = |team: &mut Team| {
        let before = team.members.len();
        team.members.retain(|member| member.user != user);
        if team.members.len() == before { Err(ApiError::not_found("member")) } else { Ok(()) }
    };
    update_by(Permission::ManageMembers, by, team, if_match, edit).await
}

/// The role of that name.
///
/// # Errors
/// 422.
pub fn role(name: &str) -> Result<MemberRole, ApiError> {
    match name {
        "admin" => Ok(MemberRole::Admin),
        "user" => Ok(MemberRole::User),
        _ => Err(ApiError::invalid("role", "must be one of `admin`, `user`")),
    }
}

#[async_trait]
impl Record for Team {
    const KIND: &'static str = "team";
    const SEE: Permission = Permission::SeeTeams;
    const MANAGE: Permission = Permission::ManageTeams;

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
            organization: None,
            members: Vec::new(),
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
        Scope::Team(&self.id)
    }

    fn check(&self) -> Result<(), ApiError> {
        check::team(self)?;
        if self.members.len() > MAX_MEMBERS {
            let reason = format!("must not be over {MAX_MEMBERS}");
            return Err(ApiError::invalid("members", reason));
        }
        let mut seen = std::collections::HashSet::new();
        for member in &self.members {
            check::name("user", &member.user)?;
            if !seen.insert(&member.user) {
                return Err(ApiError::invalid("members", "name somebody twice"));
            }
        }
        Ok(())
    }

    fn changes(&self, after: &Self) -> Vec<Cow<'static, str>> {
        changes!(self, after, alias, organization, members, models, blocked, tags, metadata, limits)
    }

    async fn read(store: &dyn Store, id: &str) -> Result<Option<Self>, StoreError> {
        store.team(id).await
    }

    async fn store(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.create_team(self).await
    }

    async fn replace(&self, store: &dyn Store) -> Result<i64, StoreError> {
        store.update_team(self).await
    }

    async fn remove(store: &dyn Store, id: &str) -> Result<(), StoreError> {
        store.delete_team(id).await
    }
}
