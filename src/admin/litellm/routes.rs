//! LiteLLM's routes.

use http::Method;

use super::super::actor::Permission::{
    ManageKeys, ManageMembers, ManageOrganizations, ManageTeams, ManageUsers, RotateKeys, SeeKeys,
    SeeModels, SeeOrganizations, SeeTeams, SeeUsage, SeeUsers,
};
use super::super::endpoint::{Endpoint, litellm};
use super::{key, model, organization, spend, team, user};

const GET: Method = Method::GET;
const POST: Method = Method::POST;

/// The table.
#[rustfmt::skip]
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        litellm(POST, "/key/generate", ManageKeys, "Make a key.", key::generate)
            .act("keys.create").takes::<key::KeyFields>(),
        litellm(GET, "/key/info", SeeKeys, "A key.", key::info).query(key::INFO),
        litellm(GET, "/key/list", SeeKeys, "List keys.", key::list).query(key::LIST),
        litellm(POST, "/key/update", ManageKeys, "Change the fields of a key that are given.", key::update)
            .act("keys.update").takes::<key::KeyFields>(),
        litellm(POST, "/key/delete", ManageKeys, "Delete keys.", key::delete)
            .act("keys.delete").takes::<key::SomeKeys>(),
        litellm(POST, "/key/block", ManageKeys, "Refuse a key from now on.", key::block)
            .act("keys.block").takes::<key::OneKey>(),
        litellm(POST, "/key/unblock", ManageKeys, "Accept a key again.", key::unblock)
            .act("keys.unblock").takes::<key::OneKey>(),
        litellm(POST, "/key/regenerate", RotateKeys, "Give a key a new text.", key::regenerate)
            .act("keys.rotate").takes::<key::Regenerate>(),
        litellm(POST, "/key/{key}/regenerate", RotateKeys, "Give a key a new text.", key::regenerate)
            .act("keys.rotate").takes::<key::Regenerate>(),

        litellm(POST, "/team/new", ManageTeams, "Make a team.", team::new)
            .act("teams.create").takes::<team::TeamFields>(),
        litellm(GET, "/team/info", SeeTeams, "A team and its keys.", team::info).query(team::INFO),
        litellm(GET, "/team/list", SeeTeams, "All teams, without their keys.", team::list).query(team::LIST),
        litellm(POST, "/team/update", ManageTeams, "Change the fields of a team that are given.", team::update)
            .act("teams.update").takes::<team::TeamFields>(),
        litellm(POST, "/team/delete", ManageTeams, "Delete teams and their keys.", team::delete)
            .act("teams.delete").takes::<team::SomeTeams>(),
        litellm(POST, "/team/block", ManageTeams, "Refuse a team's keys from now on.", team::block)
            .act("teams.block").takes::<team::OneTeam>(),
        litellm(POST, "/team/unblock", ManageTeams, "Accept a team's keys again.", team::unblock)
            .act("teams.unblock").takes::<team::OneTeam>(),
        litellm(POST, "/team/member_add", ManageMembers, "Add members, or change their roles.", team::member_add)
            .act("members.set").takes::<team::MemberAdd>(),
        litellm(POST, "/team/member_delete", ManageMembers, "Take a member away.", team::member_delete)
            .act("members.remove").takes::<team::MemberDelete>(),

        litellm(POST, "/user/new", ManageUsers, "Make a user, and a key of theirs.", user::new)
            .act("users.create").takes::<user::UserFields>(),
        litellm(GET, "/user/info", SeeUsers, "A user, their keys and teams.", user::info).query(user::INFO),
        litellm(GET, "/user/list", SeeUsers, "List users.", user::list).query(user::LIST),
        litellm(POST, "/user/update", ManageUsers, "Change the fields of a user that are given.", user::update)
            .act("users.update").takes::<user::UserFields>(),
        litellm(POST, "/user/delete", ManageUsers, "Delete users, their keys and memberships.", user::delete)
            .act("users.delete").takes::<user::SomeUsers>(),

        litellm(POST, "/organization/new", ManageOrganizations, "Make an organization.", organization::new)
            .act("organizations.create").takes::<organization::OrganizationFields>(),
        litellm(GET, "/organization/info", SeeOrganizations, "An organization and its teams.", organization::info)
            .query(organization::INFO),
        litellm(GET, "/organization/list", SeeOrganizations, "All organizations.", organization::list),

        litellm(GET, "/spend/logs", SeeUsage, "What was spent, by day or attempt by attempt.", spend::logs)
            .query(spend::LOGS),
        litellm(GET, "/global/spend/report", SeeUsage, "What was spent, by team, end user or key.", spend::report)
            .query(spend::REPORT),

        litellm(GET, "/model/info", SeeModels, "The models that you may call.", model::info),
        litellm(GET, "/v1/model/info", SeeModels, "The models that you may call.", model::info),
    ]
}
