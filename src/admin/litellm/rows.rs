//! What LiteLLM's answers have in common: a row of its tables for each of our records. Field names are those
//! of its documented answers. What is spent is not in them: [`spend`](super::spend) adds it where it is told.

use serde_json::{Map, Value, json};

use super::super::input::money::Usd;
use super::super::input::time::Moment;
use super::budgets;
use super::fields::KEPT;
use crate::stores::records::{Key, Limits, MemberRole, Organization, Team, User};

/// A key, without its text.
pub fn key(key: &Key) -> Map<String, Value> {
    let kept = |name| key.metadata.get(KEPT).and_then(|kept| kept.get(name)).cloned();
    let mut row = limits(&key.limits);
    row.extend(object(json!({
        "token": key.hash.to_hex(),
        "key_name": key.hint,
        "key_alias": key.alias,
        "spend": 0.0,
        "expires": key.expires_at.map(|end| Moment(end).python()),
        "models": key.models,
        "aliases": kept("aliases").unwrap_or_else(|| json!({})),
        "config": kept("config").unwrap_or_else(|| json!({})),
        "permissions": kept("permissions").unwrap_or_else(|| json!({})),
        "user_id": key.user,
        "team_id": key.team,
        "organization_id": key.organization,
        "metadata": metadata(&key.metadata, &key.tags, &key.limits),
        "tags": key.tags,
        "blocked": key.blocked,
        "allowed_routes": key.routes,
        "model_spend": {},
        "created_at": Moment(key.created_at).python(),
        "updated_at": Moment(key.updated_at).python(),
        "created_by": key.created_by,
    })));
    row
}

/// A team.
pub fn team(team: &Team) -> Map<String, Value> {
    let members: Vec<Value> = team
        .members
        .iter()
        .map(|member| {
            json!({"user_id": member.user, "user_email": null, "role": member.role.name()})
        })
        .collect();
    let of_role = |role: MemberRole| -> Vec<&str> {
        let members = team.members.iter().filter(|member| member.role == role);
        members.map(|member| member.user.as_str()).collect()
    };
    let mut row = limits(&team.limits);
    row.extend(object(json!({
        "team_id": team.id,
        "team_alias": team.alias,
        "organization_id": team.organization,
        "admins": of_role(MemberRole::Admin),
        "members": of_role(MemberRole::User),
        "members_with_roles": members,
        "metadata": metadata(&team.metadata, &team.tags, &team.limits),
        "tags": team.tags,
        "models": team.models,
        "blocked": team.blocked,
        "spend": 0.0,
        "model_id": null,
        "litellm_model_table": null,
        "created_at": Moment(team.created_at).python(),
        "updated_at": Moment(team.updated_at).python(),
    })));
    row
}

/// A user, who is a member of `teams`.
pub fn user(user: &User, teams: &[String]) -> Map<String, Value> {
    let mut row = limits(&user.limits);
    row.extend(object(json!({
        "user_id": user.id,
        "user_email": user.email,
        "user_alias": user.alias,
        "user_role": user.role.name(),
        "teams": teams,
        "organization_id": user.organization,
        "models": user.models,
        "metadata": metadata(&user.metadata, &user.tags, &user.limits),
        "tags": user.tags,
        "blocked": user.blocked,
        "spend": 0.0,
        "model_spend": {},
        "sso_user_id": null,
        "created_at": Moment(user.created_at).python(),
        "updated_at": Moment(user.updated_at).python(),
    })));
    row
}

/// An organization. Its limits stand in a row of their own, as with LiteLLM.
pub fn organization(organization: &Organization) -> Map<String, Value> {
    object(json!({
        "organization_id": organization.id,
        "organization_alias": organization.alias,
        "budget_id": organization.id,
        "metadata": metadata(&organization.metadata, &organization.tags, &organization.limits),
        "models": organization.models,
        "spend": 0.0,
        "litellm_budget_table": limits(&organization.limits),
        "created_at": Moment(organization.created_at).python(),
        "updated_at": Moment(organization.updated_at).python(),
    }))
}

fn limits(limits: &Limits) -> Map<String, Value> {
    let mut row = budgets::row(limits);
    row.extend(object(json!({
        "max_budget": limits.budget.map(money),
        "soft_budget": limits.soft_budget.map(money),
        "budget_duration": limits.budget_duration,
        "budget_reset_at": null,
        "max_parallel_requests": limits.parallel,
        "tpm_limit": limits.tpm,
        "rpm_limit": limits.rpm,
        "model_rpm_limit": limits.model_rpm,
        "model_tpm_limit": limits.model_tpm,
    })));
    row
}

/// LiteLLM keeps tags and the limits of models in the metadata, and its clients look for them there.
fn metadata(metadata: &Map<String, Value>, tags: &[String], limits: &Limits) -> Value {
    let mut metadata = metadata.clone();
    metadata.remove(KEPT);
    if !tags.is_empty() {
        metadata.insert("tags".to_owned(), json!(tags));
    }
    for (name, models) in
        [("model_rpm_limit", &limits.model_rpm), ("model_tpm_limit", &limits.model_tpm)]
    {
        if !models.is_empty() {
            metadata.insert(name.to_owned(), json!(models));
        }
    }
    Value::Object(metadata)
}

/// A number of USD. Its digits are those of the amount: a double holds fifteen, and is written with no
/// more than it takes to read the same double again.
pub fn money(nano: u64) -> Value {
    let amount: f64 = Usd(nano).to_string().parse().unwrap_or_default();
    json!(amount)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn amounts_keep_their_digits(nano in 0..=999_999_999_999_999_u64) {
            let written = money(nano).to_string();
            prop_assert_eq!(Usd::parse(&written), Ok(Usd(nano)), "{}", written);
        }
    }
}
