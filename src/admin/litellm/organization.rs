//! `/organization/...`.

use serde_json::{Value, json};

use super::super::call::{Answer, Call, Ignored};
use super::super::error::ApiError;
use super::super::input::money::LaxUsd;
use super::super::service::record::{create as make, get};
use super::super::service::{organizations, teams};
use super::fields::fields;
use super::{rows, told};
use crate::stores::records::Organization;
use crate::stores::{Page, TeamFilter};

/// Records that are read at once where LiteLLM gives all.
const PART: u32 = 500;
/// Records that are given where LiteLLM gives all.
const ALL: u64 = 10_000;

fields! {
    /// What one may say of a new organization.
    pub struct OrganizationFields {
        /// A new one unless given.
        organization_id: Option<String>,
        --
        organization_alias: String,
    }
}

/// The parameters of `/organization/info`.
pub const INFO: &[(&str, &str)] = &[("organization_id", "The organization.")];

pub async fn new(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<OrganizationFields>()?;
    let id = body.organization_id.clone().filter(|id| !id.is_empty());
    let edit = |organization: &mut Organization| body.apply(organization);
    let (organization, _) = make(call.by(), id, edit).await?;
    told(ignored, Value::Object(rows::organization(&organization)))
}

pub async fn info(mut call: Call) -> Answer {
    let Some(id) = call.query.text("organization_id") else {
        return Err(ApiError::invalid("organization_id", "is required"));
    };
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let organization: Organization = get(&call.services, &call.actor, &id).await?;
    let filter = TeamFilter { organization: Some(id), ..TeamFilter::default() };
    let page = Page::at(0, PART);
    let teams = teams::list(&call.services, &call.actor, filter, &page).await?.items;
    let mut row = rows::organization(&organization);
    row.insert("teams".to_owned(), teams.iter().map(rows::team).collect());
    row.insert("members".to_owned(), json!([]));
    told(ignored, Value::Object(row))
}

pub async fn list(call: Call) -> Answer {
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let mut rows = Vec::new();
    let mut page = Page::at(0, PART);
    loop {
        let paged = organizations::list(&call.services, &call.actor, &page).await?;
        rows.extend(paged.items.iter().map(|row| Value::Object(rows::organization(row))));
        page.offset += u64::from(PART);
        if page.offset >= paged.total.min(ALL) {
            return told(ignored, Value::Array(rows));
        }
    }
}

impl OrganizationFields {
    fn apply(&self, organization: &mut Organization) -> Result<(), ApiError> {
        let alias = organization.alias.clone();
        organization.alias = self.organization_alias.clone().over(alias);
        self.apply_common(
            &mut organization.models,
            &mut organization.tags,
            &mut organization.metadata,
            &mut organization.limits,
        )
    }
}
