//! `/team/...`.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::actor::{Permission, Scope};
use super::super::call::{Answer, Call, Ignored};
use super::super::error::ApiError;
use super::super::input::money::LaxUsd;
use super::super::service::record::{create as make, delete as remove, get, update as change};
use super::super::service::{keys, teams};
use super::fields::fields;
use super::{rows, spend, told};
use crate::stores::records::{Member, MemberRole, Team, User};
use crate::stores::{KeyFilter, Page, TeamFilter, UserFilter};

/// Records that are read at once where LiteLLM gives all.
const PART: u32 = 500;
/// Records that are given where LiteLLM gives all.
const ALL: u64 = 10_000;
/// Teams that one request deletes, at most.
const MAX_DELETED: usize = 1000;

fields! {
    /// What one may say of a team, to make or to change it.
    pub struct TeamFields {
        /// To make: a new one unless given. To change: which one.
        team_id: Option<String>,
        /// Users that become administrators of the team. Only when it is made.
        admins: Vec<String>,
        /// Users that become members. Only when it is made.
        members: Vec<String>,
        /// Users with their roles. Only when it is made.
        members_with_roles: Vec<MemberFields>,
        --
        team_alias: String,
        organization_id: String,
        blocked: bool,
    }
}

/// A member, by id or e-mail address.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct MemberFields {
    user_id: Option<String>,
    user_email: Option<String>,
    /// `admin` or `user`.
    role: Option<String>,
}

/// One team.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OneTeam {
    team_id: String,
}

/// Several teams.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SomeTeams {
    team_ids: Vec<String>,
}

/// Members to add.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MemberAdd {
    team_id: String,
    /// One member or a list of them.
    #[schema(value_type = MemberFields)]
    member: Value,
}

/// A member to take away.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MemberDelete {
    team_id: String,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    user_email: Option<String>,
}

/// The parameters of `/team/info`.
pub const INFO: &[(&str, &str)] = &[("team_id", "The team.")];
/// The parameters of `/team/list`.
pub const LIST: &[(&str, &str)] = &[
    ("user_id", "Only teams of which this user is a member."),
    ("organization_id", "Only teams of this organization."),
    ("team_alias", "Only teams of this name."),
];

pub async fn new(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<TeamFields>()?;
    let mut members = Vec::new();
    let plain = |user: &String, role| Member { user: user.clone(), role };
    members.extend(body.admins.iter().map(|user| plain(user, MemberRole::Admin)));
    members.extend(body.members.iter().map(|user| plain(user, MemberRole::User)));
    for fields in &body.members_with_roles {
        members.push(fields.member(&call, Unknown::Make).await?);
    }
    let edit = |team: &mut Team| {
        for member in &members {
            team.members.retain(|known| known.user != member.user);
            team.members.push(member.clone());
        }
        body.apply(team)
    };
    let id = body.team_id.clone().filter(|id| !id.is_empty());
    let (team, _) = make(call.by(), id, edit).await?;
    told(ignored, Value::Object(rows::team(&team)))
}

pub async fn info(mut call: Call) -> Answer {
    let Some(id) = call.query.text("team_id") else {
        return Err(ApiError::invalid("team_id", "is required"));
    };
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let team: Team = get(&call.services, &call.actor, &id).await?;
    let filter = KeyFilter { team: Some(id.clone()), ..KeyFilter::default() };
    let page = Page::at(0, PART);
    let keys = match keys::list(&call.services, &call.actor, filter, &page).await {
        Ok(paged) => spend::keys(&call.services, &paged.items).await?,
        // A member sees the team, and of its keys their own.
        Err(error) if error.status == http::StatusCode::FORBIDDEN => Vec::new(),
        Err(error) => return Err(error),
    };
    let body = json!({
        "team_id": id,
        "team_info": spend::team(&call.services, &team).await?,
        "keys": keys,
        "team_memberships": [],
    });
    told(ignored, body)
}

pub async fn list(mut call: Call) -> Answer {
    let filter = TeamFilter {
        member: call.query.text("user_id"),
        organization: call.query.text("organization_id"),
        alias: call.query.text("team_alias"),
        within: None,
    };
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let mut rows = Vec::new();
    let mut page = Page::at(0, PART);
    loop {
        let paged = teams::list(&call.services, &call.actor, filter.clone(), &page).await?;
        rows.extend(paged.items.iter().map(|team| {
            let mut row = rows::team(team);
            row.insert("keys".to_owned(), json!([]));
            row.insert("team_memberships".to_owned(), json!([]));
            Value::Object(row)
        }));
        page.offset += u64::from(PART);
        if page.offset >= paged.total.min(ALL) {
            return told(ignored, Value::Array(rows));
        }
    }
}

pub async fn update(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<TeamFields>()?;
    let Some(id) = &body.team_id else {
        return Err(ApiError::invalid("team_id", "is required"));
    };
    let edit = |team: &mut Team| body.apply(team);
    let team = change(call.by(), id, None, edit).await?;
    told(ignored, json!({"team_id": id, "data": rows::team(&team)}))
}

pub async fn delete(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<SomeTeams>()?;
    if body.team_ids.len() > MAX_DELETED {
        return Err(ApiError::invalid("team_ids", format!("must not be over {MAX_DELETED}")));
    }
    for id in &body.team_ids {
        get::<Team>(&call.services, &call.actor, id).await?;
    }
    for id in &body.team_ids {
        remove::<Team>(call.by(), id, None).await?;
    }
    told(ignored, json!({"deleted_teams": body.team_ids}))
}

pub async fn block(call: Call) -> Answer {
    set_blocked(call, true).await
}

pub async fn unblock(call: Call) -> Answer {
    set_blocked(call, false).await
}

async fn set_blocked(call: Call, blocked: bool) -> Answer {
    let (body, ignored) = call.lenient_body::<OneTeam>()?;
    let edit = |team: &mut Team| {
        team.blocked = blocked;
        Ok(())
    };
    let team = change(call.by(), &body.team_id, None, edit).await?;
    told(ignored, Value::Object(rows::team(&team)))
}

pub async fn member_add(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<MemberAdd>()?;
    let listed = match body.member {
        Value::Array(items) => items,
        one => vec![one],
    };
    let mut members = Vec::new();
    for (index, fields) in listed.into_iter().enumerate() {
        let fields: MemberFields = serde_json::from_value(fields).map_err(|_| {
            let reason = "must be an object with `user_id` or `user_email`, and `role`";
            ApiError::invalid(format!("member[{index}]"), reason)
        })?;
        members.push(fields.member(&call, Unknown::Make).await?);
    }
    let team = teams::set_member(call.by(), &body.team_id, &members, None).await?;
    let mut row = rows::team(&team);
    row.insert("updated_users".to_owned(), json!([]));
    row.insert("updated_team_memberships".to_owned(), json!([]));
    told(ignored, Value::Object(row))
}

pub async fn member_delete(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<MemberDelete>()?;
    let fields = MemberFields { user_id: body.user_id, user_email: body.user_email, role: None };
    let user = fields.member(&call, Unknown::Refuse).await?.user;
    let team = teams::remove_member(call.by(), &body.team_id, &user, None).await?;
    told(ignored, Value::Object(rows::team(&team)))
}

impl MemberFields {
    /// `unknown`: what becomes of an e-mail address that nobody has.
    async fn member(&self, call: &Call, unknown: Unknown) -> Result<Member, ApiError> {
        let role = teams::role(self.role.as_deref().unwrap_or("user"))?;
        let user = match (&self.user_id, &self.user_email) {
            (Some(id), _) => id.clone(),
            (None, Some(email)) => user_of(call, email, unknown).await?,
            (None, None) => {
                return Err(ApiError::invalid("user_id", "or `user_email` is required"));
            }
        };
        Ok(Member { user, role })
    }
}

/// What becomes of an e-mail address that nobody has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// A user is made who has it.
    Make,
    Refuse,
}

/// The user of an e-mail address.
async fn user_of(call: &Call, email: &str, unknown: Unknown) -> Result<String, ApiError> {
    if !call.actor.may(Permission::ManageUsers, Scope::All) {
        return Err(ApiError::forbidden("You may not look up users by their e-mail address.")
            .at("user_email")
            .hint("name the member by user_id"));
    }
    let filter = UserFilter { email: Some(email.to_owned()), ..UserFilter::default() };
    let page = Page::at(0, 2);
    let found = call.services.store()?.users(&filter, &page).await?;
    match found.items.as_slice() {
        [user] => Ok(user.id.clone()),
        [] if unknown == Unknown::Refuse => Err(ApiError::not_found("member")),
        [] => {
            let edit = |user: &mut User| {
                user.email = Some(email.to_owned());
                Ok(())
            };
            let part = call.act.part("users.create");
            let (user, _) = make(call.by().doing(&part), None, edit).await?;
            Ok(user.id)
        }
        _ => Err(ApiError::invalid("user_email", "is that of several users")
            .hint("name the member by user_id")),
    }
}

impl TeamFields {
    fn apply(&self, team: &mut Team) -> Result<(), ApiError> {
        team.alias = self.team_alias.clone().over(team.alias.clone());
        team.organization = self.organization_id.clone().over(team.organization.clone());
        self.blocked.set(&mut team.blocked);
        self.apply_common(&mut team.models, &mut team.tags, &mut team.metadata, &mut team.limits)
    }
}
