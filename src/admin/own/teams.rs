//! `/admin/v1/teams`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok};
use super::super::input::time::Moment;
use super::super::service::{pages, teams};
use super::List;
use super::limits::Limits;
use super::members::MemberView;
use super::records::Body;
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

impl Body for TeamBody {
    type Record = Team;
    type View = TeamView;

    fn id(&self) -> Option<String> {
        self.id.clone()
    }

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
