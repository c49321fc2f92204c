//! `/admin/v1/users`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok};
use super::super::input::time::Moment;
use super::super::service::{pages, users};
use super::List;
use super::limits::Limits;
use super::records::Body;
use crate::stores::records::{self, User};
use crate::stores::{Place, UserFilter};

/// What one may say of a user. In a change, what is `null` is taken away.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UserBody {
    /// Only when they are made; a new one unless given. As tokens name them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    pub role: UserRole,
    /// The organization to which they belong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The models that their keys may call: names, or beginnings and `*`. Empty: all.
    pub models: Vec<String>,
    /// Whether their keys and tokens are refused.
    pub blocked: bool,
    /// Words by which their use is counted.
    pub tags: Vec<String>,
    /// Anything.
    pub metadata: Map<String, Value>,
    /// For all their keys together.
    pub limits: Limits,
}

/// What a user may do in the admin API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Everything.
    ProxyAdmin,
    /// Sees everything.
    ProxyAdminViewer,
    /// Manages keys of their own.
    #[default]
    InternalUser,
    /// Sees keys of their own.
    InternalUserViewer,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    pub id: String,
    #[serde(flatten)]
    pub fields: UserBody,
    pub created_at: Moment,
    pub updated_at: Moment,
    /// Counts changes; the `ETag`.
    pub version: i64,
}

/// The parameters of the list.
pub const LIST: &[(&str, &str)] = &[
    super::PAGE[0],
    super::PAGE[1],
    ("email", "Only users of this e-mail address."),
    ("role", "Only users of this role."),
    ("team", "Only members of this team."),
];

pub async fn list(mut call: Call) -> Answer {
    let page = pages::asked(&mut call.query)?;
    let role = call.query.text("role").map(|name| users::role("role", &name)).transpose()?;
    let filter =
        UserFilter { email: call.query.text("email"), role, team: call.query.text("team") };
    call.query.finish()?;
    let paged = users::list(&call.services, &call.actor, filter, &page).await?;
    let place = |user: &User| Place { created_at: user.created_at, id: user.id.clone() };
    Ok(ok(List::of(paged, &page, place, UserView::from)))
}

impl Body for UserBody {
    type Record = User;
    type View = UserView;

    fn id(&self) -> Option<String> {
        self.id.clone()
    }

    fn of(user: &User) -> Self {
        Self {
            id: None,
            email: user.email.clone(),
            alias: user.alias.clone(),
            role: user.role.into(),
            organization: user.organization.clone(),
            models: user.models.clone(),
            blocked: user.blocked,
            tags: user.tags.clone(),
            metadata: user.metadata.clone(),
            limits: user.limits.clone().into(),
        }
    }

    fn apply(&self, user: &mut User) {
        user.email.clone_from(&self.email);
        user.alias.clone_from(&self.alias);
        user.role = self.role.into();
        user.organization.clone_from(&self.organization);
        user.models.clone_from(&self.models);
        user.blocked = self.blocked;
        user.tags.clone_from(&self.tags);
        user.metadata.clone_from(&self.metadata);
        user.limits = self.limits.clone().into();
    }
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id.clone(),
            fields: UserBody::of(&user),
            created_at: Moment(user.created_at),
            updated_at: Moment(user.updated_at),
            version: user.version,
        }
    }
}

impl From<records::UserRole> for UserRole {
    fn from(role: records::UserRole) -> Self {
        match role {
            records::UserRole::ProxyAdmin => Self::ProxyAdmin,
            records::UserRole::ProxyAdminViewer => Self::ProxyAdminViewer,
            records::UserRole::InternalUser => Self::InternalUser,
            records::UserRole::InternalUserViewer => Self::InternalUserViewer,
        }
    }
}

impl From<UserRole> for records::UserRole {
    fn from(role: UserRole) -> Self {
        match role {
            UserRole::ProxyAdmin => Self::ProxyAdmin,
            UserRole::ProxyAdminViewer => Self::ProxyAdminViewer,
            UserRole::InternalUser => Self::InternalUser,
            UserRole::InternalUserViewer => Self::InternalUserViewer,
        }
    }
}
