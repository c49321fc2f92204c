//! `/user/...`.

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::call::{Answer, Call, Ignored};
use super::super::error::ApiError;
use super::super::input::money::LaxUsd;
use super::super::input::patch::Field;
use super::super::service::record::{create as make, delete as remove, get, update as change};
use super::super::service::secret::Secret;
use super::super::service::{keys, teams, users};
use super::fields::fields;
use super::key::KeyFields;
use super::{rows, spend, told};
use crate::stores::records::{Member, MemberRole, Team, User};
use crate::stores::{KeyFilter, Page, TeamFilter, UserFilter};

/// Keys and teams of a user that are given.
const PART: u32 = 500;
/// Users that one request deletes, at most.
const MAX_DELETED: usize = 1000;

fields! {
    /// What one may say of a user, to make or to change them.
    pub struct UserFields {
        /// To make: a new one unless given. To change: which one.
        user_id: Option<String>,
        /// Teams of which they become a member. Only when they are made.
        teams: Option<Vec<String>>,
        /// Whether to make a key as well, which is the case unless it is `false`. Only when they are made.
        auto_create_key: Option<bool>,
        --
        user_email: String,
        user_alias: String,
        /// `proxy_admin`, `proxy_admin_viewer`, `internal_user` or `internal_user_viewer`.
        user_role: String,
        organization_id: String,
        /// Of that key.
        key_alias: String,
        /// How long that key lasts.
        duration: String,
        blocked: bool,
    }
}

/// Several users.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SomeUsers {
    user_ids: Vec<String>,
}

/// The parameters of `/user/info`.
pub const INFO: &[(&str, &str)] = &[("user_id", "The user. Absent: you.")];
/// The parameters of `/user/list`.
pub const LIST: &[(&str, &str)] = &[
    ("page", "From 1 on."),
    ("page_size", "Users of a page; 25 unless given."),
    ("role", "Only users of this role."),
    ("user_email", "Only users of this e-mail address."),
    ("team", "Only members of this team."),
];

pub async fn new(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<UserFields>()?;
    let id = body.user_id.clone().filter(|id| !id.is_empty());
    let edit = |user: &mut User| body.apply(user);
    // What the user is to be a member of must be there before they are made.
    let team_ids = body.teams.clone().unwrap_or_default();
    for team in &team_ids {
        get::<Team>(&call.services, &call.actor, team).await?;
    }
    let (user, made) = make(call.by(), id, edit).await?;
    if !made {
        return Err(
            ApiError::conflict("already_exists", "There is a user with this id.").at("user_id")
        );
    }
    for team in &team_ids {
        let member = Member { user: user.id.clone(), role: MemberRole::User };
        let part = call.act.part("members.set");
        teams::set_member(call.by().doing(&part), team, &[member], None).await?;
    }
    let mut row = rows::user(&user, &team_ids);
    if body.auto_create_key != Some(false) {
        let fields = KeyFields::for_user(&user.id, body.key_alias.clone(), body.duration.clone());
        let part = call.act.part("keys.create");
        let made = fields.make(&call, call.by().doing(&part), Secret::Random).await?;
        let key = rows::key(&made.key);
        for name in ["token", "key_name", "key_alias", "expires"] {
            row.insert(name.to_owned(), key.get(name).cloned().unwrap_or_default());
        }
        row.insert("key".to_owned(), json!(made.text.as_ref().map(ExposeSecret::expose_secret)));
    }
    told(ignored, Value::Object(row))
}

pub async fn info(mut call: Call) -> Answer {
    let named = call.query.text("user_id");
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let own = || call.actor.reach().and_then(|reach| reach.user.clone());
    let Some(id) = named.or_else(own) else {
        return Err(ApiError::invalid("user_id", "is required"));
    };
    let (services, actor) = (&call.services, &call.actor);
    let user: User = get(services, actor, &id).await?;
    let page = Page::at(0, PART);
    let filter = KeyFilter { user: Some(id.clone()), ..KeyFilter::default() };
    let keys = keys::list(services, actor, filter, &page).await?.items;
    let filter = TeamFilter { member: Some(id.clone()), ..TeamFilter::default() };
    let teams = match teams::list(services, actor, filter, &page).await {
        Ok(paged) => paged.items,
        // Whoever is a member of none may list none.
        Err(error) if error.status == http::StatusCode::FORBIDDEN => Vec::new(),
        Err(error) => return Err(error),
    };
    let ids: Vec<String> = teams.iter().map(|team| team.id.clone()).collect();
    let body = json!({
        "user_id": id,
        "user_info": spend::user(services, &user, &ids).await?,
        "keys": spend::keys(services, &keys).await?,
        "teams": teams.iter().map(rows::team).collect::<Vec<_>>(),
    });
    told(ignored, body)
}

pub async fn list(mut call: Call) -> Answer {
    let page = call.query.number("page", 1, u32::MAX)?.unwrap_or(1);
    let size = call.query.number("page_size", 1, PART)?.unwrap_or(25);
    let role = call.query.text("role").map(|name| users::role("role", &name)).transpose()?;
    let filter =
        UserFilter { email: call.query.text("user_email"), role, team: call.query.text("team") };
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let asked = Page::at(u64::from(page - 1) * u64::from(size), size);
    let paged = users::list(&call.services, &call.actor, filter, &asked).await?;
    let body = json!({
        "users": paged.items.iter().map(|user| rows::user(user, &[])).collect::<Vec<_>>(),
        "total": paged.total,
        "page": page,
        "page_size": size,
        "total_pages": paged.total.div_ceil(u64::from(size)),
    });
    told(ignored, body)
}

pub async fn update(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<UserFields>()?;
    let id = match (&body.user_id, &body.user_email) {
        (Some(id), _) => id.clone(),
        (None, Field::Value(email)) => user_of(&call, email).await?,
        (None, _) => return Err(ApiError::invalid("user_id", "or `user_email` is required")),
    };
    let edit = |user: &mut User| body.apply(user);
    let user = change(call.by(), &id, None, edit).await?;
    told(ignored, json!({"user_id": id, "data": rows::user(&user, &[])}))
}

async fn user_of(call: &Call, email: &str) -> Result<String, ApiError> {
    let filter = UserFilter { email: Some(email.to_owned()), ..UserFilter::default() };
    let page = Page::at(0, 2);
    let found = users::list(&call.services, &call.actor, filter, &page).await?;
    match found.items.as_slice() {
        [user] => Ok(user.id.clone()),
        [] => Err(ApiError::not_found("user")),
        _ => Err(ApiError::invalid("user_email", "is that of several users")),
    }
}

pub async fn delete(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<SomeUsers>()?;
    if body.user_ids.len() > MAX_DELETED {
        return Err(ApiError::invalid("user_ids", format!("must not be over {MAX_DELETED}")));
    }
    for id in &body.user_ids {
        get::<User>(&call.services, &call.actor, id).await?;
    }
    for id in &body.user_ids {
        remove::<User>(call.by(), id, None).await?;
    }
    told(ignored, json!(body.user_ids.len()))
}

impl UserFields {
    fn apply(&self, user: &mut User) -> Result<(), ApiError> {
        user.email = self.user_email.clone().over(user.email.clone());
        user.alias = self.user_alias.clone().over(user.alias.clone());
        user.organization = self.organization_id.clone().over(user.organization.clone());
        if let Field::Value(role) = &self.user_role {
            user.role = users::role("user_role", role)?;
        }
        self.blocked.set(&mut user.blocked);
        self.apply_common(&mut user.models, &mut user.tags, &mut user.metadata, &mut user.limits)
    }
}
