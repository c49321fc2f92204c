//! `/admin/v1/organizations`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok};
use super::super::input::time::Moment;
use super::super::service::{organizations, pages};
use super::List;
use super::limits::Limits;
use super::records::Body;
use crate::stores::Place;
use crate::stores::records::Organization;

/// What one may say of an organization. In a change, what is `null` is taken away.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct OrganizationBody {
    /// Only when it is made; a new one unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub id: Option<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
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

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationView {
    pub id: String,
    #[serde(flatten)]
    pub fields: OrganizationBody,
    pub created_at: Moment,
    pub updated_at: Moment,
    /// Counts changes; the `ETag`.
    pub version: i64,
}

pub async fn list(mut call: Call) -> Answer {
    let page = pages::asked(&mut call.query)?;
    call.query.finish()?;
    let paged = organizations::list(&call.services, &call.actor, &page).await?;
    let place = |organization: &Organization| Place {
        created_at: organization.created_at,
        id: organization.id.clone(),
    };
    Ok(ok(List::of(paged, &page, place, OrganizationView::from)))
}

impl Body for OrganizationBody {
    type Record = Organization;
    type View = OrganizationView;

    fn id(&self) -> Option<String> {
        self.id.clone()
    }

    fn of(organization: &Organization) -> Self {
        Self {
            id: None,
            alias: organization.alias.clone(),
            models: organization.models.clone(),
            blocked: organization.blocked,
            tags: organization.tags.clone(),
            metadata: organization.metadata.clone(),
            limits: organization.limits.clone().into(),
        }
    }

    fn apply(&self, organization: &mut Organization) {
        organization.alias.clone_from(&self.alias);
        organization.models.clone_from(&self.models);
        organization.blocked = self.blocked;
        organization.tags.clone_from(&self.tags);
        organization.metadata.clone_from(&self.metadata);
        organization.limits = self.limits.clone().into();
    }
}

impl From<Organization> for OrganizationView {
    fn from(organization: Organization) -> Self {
        Self {
            id: organization.id.clone(),
            fields: OrganizationBody::of(&organization),
            created_at: Moment(organization.created_at),
            updated_at: Moment(organization.updated_at),
            version: organization.version,
        }
    }
}
