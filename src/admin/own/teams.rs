//! `/admin/v1/teams`.

use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok, record};
use super::super::error::ApiError;
use super::super::input::time::Moment;
use super::super::service::record::{create as make, delete as remove, get, update as change};
use super::super::service::{pages, teams};
use super::limits::Limits;
use super::members::MemberView;
use super::{List, patched};
use crate::stores::records::Team;
use crate::stores::{Place, TeamFilter};

/// What one may say of a team. In a change, what is `null` is taken away.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TeamBody {
    /// Only when it is made; a new one unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub id: Option<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The organization to which it belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The models that its keys may call: names, or beginnings and `*`. Empty: all.
    pub models: Vec<String>,
    /// Whether its keys are refused.
    pub blocked: bool,
    /// Words by which its use is counted.
    pub tags: Vec<String>,
    /// Anything.
    pub metadata: Map<String, Value>,
    /// For all its keys together.
    pub limits: Limits,
}

/// A team.
#[derive(Debug, Serialize, ToSchema)]
pub struct TeamView {
    pub id: String,
    #[serde(flatten)]
    pub fields: TeamBody,
    pub members: Vec<MemberView>,
    pub created_at: Moment,
    pub updated_at: Moment,
    /// Counts changes; the `ETag`.
    pub version: i64,
}

/// The parameters of the list.
pub const LIST: &[(&str, &str)] = &[
    super::PAGE[0],
    super::PAGE[1],
    ("organization", "Only teams of this organization."),
    ("alias", "Only teams of this name."),
    ("member", "Only teams of which this user is a member."),
];

pub async fn list(mut call: Call) -> Answer {
    let page = pages::asked(&mut call.query)?;
    let filter = TeamFilter {
        organization: call.query.text("organization"),
        alias: call.query.text("alias"),
        member: call.query.text("member"),
        within: None,
    };
    call.query.finish()?;
    let paged = teams::list(&call.services, &call.actor, filter, &page).await?;
    let place = |team: &Team| Place { created_at: team.created_at, id: team.id.clone() };
    Ok(ok(List::of(paged, &page, place, TeamView::from)))
}

pub async fn create(call: Call) -> Answer {
    let body: TeamBody = call.body()?;
    let edit = |team: &mut Team| {
        body.apply(team);
        Ok(())
    };
    let (team, made) = make(call.by(), body.id.clone(), edit).await?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok(record(status, team.version, TeamView::from(team)))
}

pub async fn show(call: Call) -> Answer {
    let team: Team = get(&call.services, &call.actor, call.path("id")).await?;
    Ok(record(StatusCode::OK, team.version, TeamView::from(team)))
}

pub async fn update(call: Call) -> Answer {
    let changes: Map<String, Value> = call.body()?;
    super::fixed(&changes, "id")?;
    let (id, if_match) = (call.path("id"), call.if_match()?);
    let edit = |team: &mut Team| -> Result<(), ApiError> {
        patched::<TeamBody>(&TeamBody::of(team), &changes)?.apply(team);
        Ok(())
    };
    let team = change(call.by(), id, if_match, edit).await?;
    Ok(record(StatusCode::OK, team.version, TeamView::from(team)))
}

pub async fn delete(call: Call) -> Answer {
    let (id, if_match) = (call.path("id"), call.if_match()?);
    remove::<Team>(call.by(), id, if_match).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl TeamBody {
    fn of(team: &Team) -> Self {
        Self {
            id: None,
            alias: team.alias.clone(),
            organization: team.organization.clone(),
            models: team.models.clone(),
            blocked: team.blocked,
            tags: team.tags.clone(),
            metadata: team.metadata.clone(),
            limits: team.limits.clone().into(),
        }
    }

    fn apply(&self, team: &mut Team) {
        team.alias.clone_from(&self.alias);
        team.organization.clone_from(&self.organization);
        team.models.clone_from(&self.models);
        team.blocked = self.blocked;
        team.tags.clone_from(&self.tags);
        team.metadata.clone_from(&self.metadata);
        team.limits = self.limits.clone().into();
    }
}

impl From<Team> for TeamView {
    fn from(team: Team) -> Self {
        Self {
            id: team.id.clone(),
            fields: TeamBody::of(&team),
            members: team.members.into_iter().map(MemberView::from).collect(),
            created_at: Moment(team.created_at),
            updated_at: Moment(team.updated_at),
            version: team.version,
        }
    }
}
