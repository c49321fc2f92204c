//! Every route of the admin API, with what it needs, on one page. The router, the OpenAPI document and the
//! matrix of who may do what in the tests are all made from this table.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodFilter, on};
use http::Method;

use super::actor::Permission::{
    ManageKeys, ManageMembers, ManageOrganizations, ManageTeams, ManageUsers, ReloadConfig,
    RotateKeys, SeeAudit, SeeConfig, SeeKeys, SeeModels, SeeOrganizations, SeePolicies,
    SeeProviders, SeeQuotas, SeeTeams, SeeUsage, SeeUsers,
};
use super::endpoint::{Endpoint, own};
use super::own::{
    List, audit, catalogue, config, keys, members, organizations, policies, quotas, records, teams,
    usage, users,
};
use super::services::Services;
use super::{guard, openapi};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// The table.
pub fn endpoints() -> Vec<Endpoint> {
    let mut table = ours();
    table.extend(super::litellm::routes::endpoints());
    table
}

#[rustfmt::skip]
fn ours() -> Vec<Endpoint> {
    vec![
        own(GET, "/admin/v1/openapi.json", SeeModels, "This document.", openapi::show).public(),

        own(GET, "/admin/v1/keys", SeeKeys, "List keys.", keys::list)
            .query(keys::LIST).gives::<List<keys::KeyView>>(),
        own(POST, "/admin/v1/keys", ManageKeys, "Make a key. Its text is shown this once. With `Idempotency-Key` the same request gives the same key for 24 hours.", keys::create)
            .act("keys.create").takes::<keys::KeyBody>().makes::<keys::KeyMade>(),
        own(GET, "/admin/v1/keys/self", SeeKeys, "The key with which you ask.", keys::own)
            .gives::<keys::KeyView>().versioned(),
        own(GET, "/admin/v1/keys/{id}", SeeKeys, "A key.", keys::show)
            .gives::<keys::KeyView>().versioned(),
        own(PATCH, "/admin/v1/keys/{id}", ManageKeys, "Change a key (RFC 7396).", keys::update)
            .act("keys.update").takes::<keys::KeyBody>().gives::<keys::KeyView>().versioned(),
        own(DELETE, "/admin/v1/keys/{id}", ManageKeys, "Delete a key.", keys::delete)
            .act("keys.delete").empty().versioned(),
        own(POST, "/admin/v1/keys/{id}/block", ManageKeys, "Refuse a key from now on.", keys::block)
            .act("keys.block").gives::<keys::KeyView>().versioned(),
        own(POST, "/admin/v1/keys/{id}/unblock", ManageKeys, "Accept a key again.", keys::unblock)
            .act("keys.unblock").gives::<keys::KeyView>().versioned(),
        own(POST, "/admin/v1/keys/{id}/rotate", RotateKeys, "Give a key a new text.", keys::rotate)
            .act("keys.rotate").takes::<keys::RotateBody>().gives::<keys::KeyMade>().versioned(),

        own(GET, "/admin/v1/teams", SeeTeams, "List teams.", teams::list)
            .query(teams::LIST).gives::<List<teams::TeamView>>(),
        own(POST, "/admin/v1/teams", ManageTeams, "Make a team. The same again changes nothing.", records::create::<teams::TeamBody>)
            .act("teams.create").takes::<teams::TeamBody>().makes::<teams::TeamView>(),
        own(GET, "/admin/v1/teams/{id}", SeeTeams, "A team.", records::show::<teams::TeamBody>)
            .gives::<teams::TeamView>().versioned(),
        own(PATCH, "/admin/v1/teams/{id}", ManageTeams, "Change a team (RFC 7396).", records::update::<teams::TeamBody>)
            .act("teams.update").takes::<teams::TeamBody>().gives::<teams::TeamView>().versioned(),
        own(DELETE, "/admin/v1/teams/{id}", ManageTeams, "Delete a team and its keys.", records::delete::<teams::TeamBody>)
            .act("teams.delete").empty().versioned(),
        own(GET, "/admin/v1/teams/{id}/members", SeeTeams, "A team's members.", members::list)
            .gives::<List<members::MemberView>>(),
        own(PUT, "/admin/v1/teams/{id}/members/{user}", ManageMembers, "Add a member, or change their role.", members::set)
            .act("members.set").takes::<members::MemberBody>().gives::<members::MemberView>().versioned(),
        own(DELETE, "/admin/v1/teams/{id}/members/{user}", ManageMembers, "Take a member away.", members::remove)
            .act("members.remove").empty().versioned(),

        own(GET, "/admin/v1/users", SeeUsers, "List users.", users::list)
            .query(users::LIST).gives::<List<users::UserView>>(),
        own(POST, "/admin/v1/users", ManageUsers, "Make a user. The same again changes nothing.", records::create::<users::UserBody>)
            .act("users.create").takes::<users::UserBody>().makes::<users::UserView>(),
        own(GET, "/admin/v1/users/{id}", SeeUsers, "A user.", records::show::<users::UserBody>)
            .gives::<users::UserView>().versioned(),
        own(PATCH, "/admin/v1/users/{id}", ManageUsers, "Change a user (RFC 7396).", records::update::<users::UserBody>)
            .act("users.update").takes::<users::UserBody>().gives::<users::UserView>().versioned(),
        own(DELETE, "/admin/v1/users/{id}", ManageUsers, "Delete a user, their keys and memberships.", records::delete::<users::UserBody>)
            .act("users.delete").empty().versioned(),

        own(GET, "/admin/v1/organizations", SeeOrganizations, "List organizations.", organizations::list)
            .query(&super::own::PAGE).gives::<List<organizations::OrganizationView>>(),
        own(POST, "/admin/v1/organizations", ManageOrganizations, "Make an organization. The same again changes nothing.", records::create::<organizations::OrganizationBody>)
            .act("organizations.create").takes::<organizations::OrganizationBody>().makes::<organizations::OrganizationView>(),
        own(GET, "/admin/v1/organizations/{id}", SeeOrganizations, "An organization.", records::show::<organizations::OrganizationBody>)
            .gives::<organizations::OrganizationView>().versioned(),
        own(PATCH, "/admin/v1/organizations/{id}", ManageOrganizations, "Change an organization (RFC 7396).", records::update::<organizations::OrganizationBody>)
            .act("organizations.update").takes::<organizations::OrganizationBody>().gives::<organizations::OrganizationView>().versioned(),
        own(DELETE, "/admin/v1/organizations/{id}", ManageOrganizations, "Delete an organization to which nothing belongs.", records::delete::<organizations::OrganizationBody>)
            .act("organizations.delete").empty().versioned(),

        own(GET, "/admin/v1/quotas", SeeQuotas, "The limits of the configuration.", quotas::list)
            .query(&super::own::PAGE).gives::<List<quotas::ConfiguredQuotaView>>(),
        own(GET, "/admin/v1/quotas/{scope}", SeeQuotas, "The limits of a scope, such as `key:<id>`, `team:blue` or `gateway`, and what is left of them.", quotas::show)
            .gives::<quotas::ScopeView>(),

        own(GET, "/admin/v1/usage", SeeUsage, "What was used and paid, in totals.", usage::totals)
            .query(usage::TOTALS).gives::<usage::UsagePage>(),
        own(GET, "/admin/v1/usage/rows", SeeUsage, "What was used and paid, attempt by attempt.", usage::rows)
            .query(usage::ROWS).gives::<usage::RowsPage>(),

        own(GET, "/admin/v1/models", SeeModels, "The models that you may call.", catalogue::models)
            .gives::<List<catalogue::ModelView>>(),
        own(GET, "/admin/v1/providers", SeeProviders, "The providers.", catalogue::providers)
            .gives::<List<catalogue::ProviderView>>(),
        own(GET, "/admin/v1/policies", SeePolicies, "The policies in force.", policies::show),
        own(POST, "/admin/v1/policies/explain", SeePolicies, "What would be decided, and why.", policies::explain)
            .takes::<policies::ExplainRequest>(),
        own(GET, "/admin/v1/audit", SeeAudit, "The newest lines of the audit log.", audit::list)
            .query(&super::own::PAGE).gives::<audit::AuditPage>(),
        own(GET, "/admin/v1/config", SeeConfig, "The configuration in force.", config::show),
        own(POST, "/admin/v1/config/reload", ReloadConfig, "Read the configuration again.", config::reload)
            .act("config.reload"),
    ]
}

/// The router of the table.
pub fn router(services: &Arc<Services>) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints() {
        let Ok(filter) = MethodFilter::try_from(endpoint.method.clone()) else { continue };
        let (services, endpoint) = (services.clone(), Arc::new(endpoint));
        let path = endpoint.path;
        let serve = move |request: Request| guard::serve(services, endpoint, request);
        router = router.route(path, on(filter, serve));
    }
    router.method_not_allowed_fallback(guard::no_such_method).fallback(guard::no_such_route)
}
