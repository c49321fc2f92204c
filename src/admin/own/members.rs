//! `/admin/v1/teams/{id}/members`.

use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok, record};
use super::super::service::check;
use super::super::service::record::get;
use super::super::service::teams;
use super::List;
use crate::stores::records::{Member, MemberRole, Team};

/// A user's place in a team.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberView {
    pub user: String,
    pub role: Role,
}

/// What a member may do in the team.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Manages the team's members and keys.
    Admin,
    /// Uses them.
    #[default]
    User,
}

/// What one may say of a member.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct MemberBody {
    pub role: Role,
}

pub async fn list(call: Call) -> Answer {
    call.query.finish()?;
    let team: Team = get(&call.services, &call.actor, call.path("id")).await?;
    let items: Vec<MemberView> = team.members.into_iter().map(MemberView::from).collect();
    let total = items.len() as u64;
    Ok(ok(List { items, total, cursor: None }))
}

pub async fn set(call: Call) -> Answer {
    let MemberBody { role } = call.body()?;
    let user = call.path("user").to_owned();
    check::name("user", &user)?;
    let member = Member { user: user.clone(), role: role.into() };
    let team = teams::set_member(call.by(), call.path("id"), &[member], call.if_match()?).await?;
    Ok(record(StatusCode::OK, team.version, MemberView { user, role }))
}

pub async fn remove(call: Call) -> Answer {
    teams::remove_member(call.by(), call.path("id"), call.path("user"), call.if_match()?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        let role = match member.role {
            MemberRole::Admin => Role::Admin,
            MemberRole::User => Role::User,
        };
        Self { user: member.user, role }
    }
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::User => Self::User,
        }
    }
}
