//! `/admin/v1/organizations`.

use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok, record};
use super::super::error::ApiError;
use super::super::input::time::Moment;
use super::super::service::record::{create as make, delete as remove, get, update as change};
use super::super::service::{organizations, pages};
use super::limits::Limits;
use super::{List, patched};
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

pub async fn create(call: Call) -> Answer {
    let body: OrganizationBody = call.body()?;
    let edit = |organization: &mut Organization| {
        body.apply(organization);
        Ok(())
    };
    let (organization, made) = make(call.by(), body.id.clone(), edit).await?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok(record(status, organization.version, OrganizationView::from(organization)))
}

pub async fn show(call: Call) -> Answer {
    let organization: Organization = get(&call.services, &call.actor, call.path("id")).await?;
    Ok(record(StatusCode::OK, organization.version, OrganizationView::from(organization)))
}

pub async fn update(call: Call) -> Answer {
    let changes: Map<String, Value> = call.body()?;
    super::fixed(&changes, "id")?;
    let (id, if_match) = (call.path("id"), call.if_match()?);
    let edit = |organization: &mut Organization| -> Result<(), ApiError> {
        patched::<OrganizationBody>(&OrganizationBody::of(organization), &changes)?
            .apply(organization);
        Ok(())
    };
    let organization = change(call.by(), id, if_match, edit).await?;
    Ok(record(StatusCode::OK, organization.version, OrganizationView::from(organization)))
}

pub async fn delete(call: Call) -> Answer {
    let (id, if_match) = (call.path("id"), call.if_match()?);
    remove::<Organization>(call.by(), id, if_match).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl OrganizationBody {
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
