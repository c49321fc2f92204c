//! `/spend/...`, `/global/spend/...`, and `spend` in LiteLLM's rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};
use sluicegate_ledger::{Dimension, Group, Row, RowsQuery, UsageQuery};
use uuid::Uuid;

use super::super::call::{Answer, Call, Ignored};
use super::super::error::ApiError;
use super::super::input::time::Moment;
use super::super::service::{keys, usage};
use super::super::services::Services;
use super::{rows, told};
use crate::stores::records::{Key, Team, User};

/// Groups that are read at once: LiteLLM's answers have no pages.
const PART: usize = 10_000;
/// Parts of an answer, at most.
const PARTS: usize = 20;
/// Attempts of an answer, at most.
const MOST_ROWS: usize = 1_000;

/// The parameters of `/spend/logs`.
pub const LOGS: &[(&str, &str)] = &[
    ("api_key", "Only this key's, by text, `token` or id."),
    ("user_id", "Only this user's."),
    ("request_id", "Only of this request."),
    ("start_date", "The first day, in UTC: `2026-01-31`."),
    ("end_date", "The last day, itself included."),
    ("summarize", "With both days: totals by day, unless `false`."),
];
/// The parameters of `/global/spend/report`.
pub const REPORT: &[(&str, &str)] = &[
    ("start_date", "The first day, in UTC: `2026-01-31`."),
    ("end_date", "The last day, itself included."),
    ("group_by", "`team`, unless given, `customer` or `api_key`."),
    ("api_key", "Only this key's, by text, `token` or id."),
    ("internal_user_id", "Only this user's."),
    ("team_id", "Only this team's."),
    ("customer_id", "Only this end user's."),
];

pub async fn logs(mut call: Call) -> Answer {
    let (from, to) = (call.query.text("start_date"), call.query.text("end_date"));
    let days = usage::days(["start_date", "end_date"], from.as_deref(), to.as_deref())?;
    let mut only = Vec::new();
    only.extend(of_key(&mut call).await?);
    only.extend(call.query.text("user_id").map(|user| (Dimension::User, vec![user])));
    let request_id = match call.query.text("request_id") {
        None => None,
        Some(text) => Some(
            Uuid::try_parse(&text)
                .map_err(|_| ApiError::invalid("request_id", "must be an id (a UUID)"))?,
        ),
    };
    let summarize = call.query.flag("summarize")?.unwrap_or(true);
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    if summarize && from.is_some() && to.is_some() && request_id.is_none() {
        let by = vec![Dimension::Day, Dimension::User, Dimension::Model];
        let groups = totals(&call, by, days, only).await?;
        return told(ignored, Value::Array(by_day(&groups)));
    }
    let begun = days.map(usage::in_ms);
    let query = RowsQuery { begun, request_id, only, limit: MOST_ROWS, ..RowsQuery::default() };
    let found = usage::rows(&call.services, &call.actor, query).await?;
    let tokens = tokens(&call.services, found.iter().filter_map(|row| row.key)).await?;
    told(ignored, found.iter().map(|row| log(row, &tokens)).collect())
}

pub async fn report(mut call: Call) -> Answer {
    let (from, to) = (call.query.text("start_date"), call.query.text("end_date"));
    for (field, text) in [("start_date", &from), ("end_date", &to)] {
        if text.is_none() {
            return Err(ApiError::invalid(field, "is required"));
        }
    }
    let days = usage::days(["start_date", "end_date"], from.as_deref(), to.as_deref())?;
    let mut only = Vec::new();
    only.extend(of_key(&mut call).await?);
    for (name, dimension) in [
        ("internal_user_id", Dimension::User),
        ("team_id", Dimension::Team),
        ("customer_id", Dimension::EndUser),
    ] {
        only.extend(call.query.text(name).map(|value| (dimension, vec![value])));
    }
    let group_by = call.query.text("group_by");
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let by = match group_by.as_deref() {
        None | Some("team") => {
            vec![Dimension::Day, Dimension::Team, Dimension::Model, Dimension::Key]
        }
        Some("customer") => {
            vec![Dimension::Day, Dimension::EndUser, Dimension::Model, Dimension::Key]
        }
        Some("api_key") => vec![Dimension::Key, Dimension::Model],
        Some(_) => {
            let reason = "must be one of `team`, `customer`, `api_key`";
            return Err(ApiError::invalid("group_by", reason));
        }
    };
    let key_at = by.iter().position(|by| *by == Dimension::Key).unwrap_or_default();
    let groups = totals(&call, by, days, only).await?;
    let ids = groups.iter().filter_map(|group| Uuid::try_parse(value(group, key_at)).ok());
    let tokens = tokens(&call.services, ids).await?;
    let body = match group_by.as_deref() {
        Some("api_key") => by_key(&groups, &tokens),
        Some("customer") => by_name(&groups, &tokens, "customers", "customer"),
        _ => by_name(&groups, &tokens, "teams", "team_name"),
    };
    told(ignored, Value::Array(body))
}

/// All totals that the actor may see: a sum of some of them would be wrong, so that it is refused rather
/// than cut.
async fn totals(
    call: &Call,
    by: Vec<Dimension>,
    days: Option<(i64, i64)>,
    only: Vec<(Dimension, Vec<String>)>,
) -> Result<Vec<Group>, ApiError> {
    let mut query = UsageQuery { by, days, only, after: None, limit: PART };
    let mut groups = Vec::new();
    for _ in 0..PARTS {
        let part = usage::totals(&call.services, &call.actor, query.clone()).await?;
        let last = part.len() < PART;
        groups.extend(part);
        if last {
            return Ok(groups);
        }
        query.after = groups.last().map(|group: &Group| group.values.clone());
    }
    let reason = format!("is too far from `start_date`: there are over {} totals", PART * PARTS);
    Err(ApiError::invalid("end_date", reason)
        .hint("ask for fewer days, or use /admin/v1/usage, which answers in parts"))
}

/// The key that the query names. One that the actor may not see is none.
async fn of_key(call: &mut Call) -> Result<Option<(Dimension, Vec<String>)>, ApiError> {
    let Some(named) = call.query.text("api_key") else { return Ok(None) };
    let key = keys::find(&call.services, &call.actor, &named).await?;
    Ok(Some((Dimension::Key, vec![key.id.to_string()])))
}

/// What LiteLLM calls keys by. Keys that were deleted keep their ids.
async fn tokens(
    services: &Services,
    ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, String>, ApiError> {
    let store = services.store()?;
    let ids: BTreeSet<Uuid> = ids.collect();
    let mut tokens = HashMap::with_capacity(ids.len());
    for id in ids {
        let key = store.key(id).await?;
        tokens.insert(id, key.map_or_else(|| id.to_string(), |key| key.hash.to_hex()));
    }
    Ok(tokens)
}

fn log(row: &Row<'_>, tokens: &HashMap<Uuid, String>) -> Value {
    let moment = |ms| Moment(ms).python();
    let first = row.first_token_ms.and_then(|ms| row.begun_at.checked_add_unsigned(ms));
    let (input, output) = (row.usage.total_input(), row.usage.output);
    json!({
        "request_id": row.request_id,
        "call_type": row.endpoint,
        "api_key": row.key.and_then(|key| tokens.get(&key)),
        "spend": rows::money(row.cost.unwrap_or(0)),
        "total_tokens": input.saturating_add(output),
        "prompt_tokens": input,
        "completion_tokens": output,
        "startTime": moment(row.begun_at),
        "endTime": moment(row.ended_at),
        "completionStartTime": first.map(moment),
        "model": row.provider_model,
        "model_id": "",
        "model_group": row.model,
        "custom_llm_provider": row.provider,
        "api_base": "",
        "user": row.user,
        "team_id": row.team,
        "organization_id": row.organization,
        "end_user": row.end_user,
        "request_tags": row.tags,
        "metadata": {},
        "cache_hit": "False",
        "status": if row.outcome == "complete" { "success" } else { "failure" },
    })
}

/// A group's value, by its place.
fn value(group: &Group, at: usize) -> &str {
    group.values.get(at).map_or("", String::as_str)
}

/// Groups by day, user and model.
fn by_day(groups: &[Group]) -> Vec<Value> {
    #[derive(Default)]
    struct Day<'g> {
        spend: u64,
        users: BTreeMap<&'g str, u64>,
        models: BTreeMap<&'g str, u64>,
    }
    let mut days: BTreeMap<&str, Day<'_>> = BTreeMap::new();
    for group in groups {
        let nano = group.total.nano_usd;
        let day = days.entry(value(group, 0)).or_default();
        day.spend = day.spend.saturating_add(nano);
        for (sums, name) in [(&mut day.users, value(group, 1)), (&mut day.models, value(group, 2))]
        {
            let sum = sums.entry(name).or_default();
            *sum = sum.saturating_add(nano);
        }
    }
    let money = |sums: BTreeMap<&str, u64>| -> Map<String, Value> {
        sums.into_iter().map(|(name, nano)| (name.to_owned(), rows::money(nano))).collect()
    };
    days.into_iter()
        .map(|(day, it)| {
            json!({
                "startTime": day,
                "spend": rows::money(it.spend),
                "users": money(it.users),
                "models": money(it.models),
            })
        })
        .collect()
}

/// Groups by day, name, model and key.
fn by_name(groups: &[Group], tokens: &HashMap<Uuid, String>, list: &str, name: &str) -> Vec<Value> {
    let mut days: BTreeMap<&str, BTreeMap<&str, (u64, Vec<Value>)>> = BTreeMap::new();
    for group in groups {
        let names = days.entry(value(group, 0)).or_default();
        let (spend, parts) = names.entry(value(group, 1)).or_default();
        let total = &group.total;
        *spend = spend.saturating_add(total.nano_usd);
        let key = Uuid::try_parse(value(group, 3)).ok();
        parts.push(json!({
            "model": value(group, 2),
            "spend": rows::money(total.nano_usd),
            "total_tokens": total.input_tokens.saturating_add(total.output_tokens),
            "api_key": key.and_then(|key| tokens.get(&key)),
        }));
    }
    let entry = |(who, (spend, parts)): (&str, (u64, Vec<Value>))| {
        let mut entry = Map::new();
        entry.insert(name.to_owned(), json!(who));
        entry.insert("total_spend".to_owned(), rows::money(spend));
        entry.insert("metadata".to_owned(), Value::Array(parts));
        Value::Object(entry)
    };
    days.into_iter()
        .map(|(day, names)| {
            let mut row = Map::new();
            row.insert("group_by_day".to_owned(), json!(day));
            row.insert(list.to_owned(), names.into_iter().map(entry).collect());
            Value::Object(row)
        })
        .collect()
}

/// Groups by key and model.
fn by_key(groups: &[Group], tokens: &HashMap<Uuid, String>) -> Vec<Value> {
    let mut keys: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for group in groups {
        keys.entry(value(group, 0)).or_default().push(group);
    }
    keys.into_iter()
        .map(|(key, groups)| {
            let sum = |part: fn(&Group) -> u64| {
                groups.iter().map(|group| part(group)).fold(0_u64, u64::saturating_add)
            };
            let details: Vec<Value> = groups
                .iter()
                .map(|group| {
                    json!({
                        "model": value(group, 1),
                        "total_cost": rows::money(group.total.nano_usd),
                        "total_input_tokens": group.total.input_tokens,
                        "total_output_tokens": group.total.output_tokens,
                    })
                })
                .collect();
            let token = Uuid::try_parse(key).ok().and_then(|key| tokens.get(&key));
            json!({
                "api_key": token,
                "total_cost": rows::money(sum(|group| group.total.nano_usd)),
                "total_input_tokens": sum(|group| group.total.input_tokens),
                "total_output_tokens": sum(|group| group.total.output_tokens),
                "model_details": details,
            })
        })
        .collect()
}

/// Rows of keys, with what they have spent.
///
/// # Errors
/// 503.
pub async fn keys(services: &Services, keys: &[Key]) -> Result<Vec<Value>, ApiError> {
    let ids: Vec<_> = keys.iter().map(|key| key.id.to_string()).collect();
    let spent = usage::spend(services, Dimension::Key, &ids).await?;
    let row = |(key, id): (&Key, &String)| with_spend(rows::key(key), spent.get(id));
    Ok(keys.iter().zip(&ids).map(row).collect())
}

/// The row of a team, with what it has spent.
///
/// # Errors
/// 503.
pub async fn team(services: &Services, team: &Team) -> Result<Value, ApiError> {
    let spent = usage::spend(services, Dimension::Team, std::slice::from_ref(&team.id)).await?;
    Ok(with_spend(rows::team(team), spent.get(&team.id)))
}

/// The row of a user, with what they have spent.
///
/// # Errors
/// 503.
pub async fn user(services: &Services, user: &User, teams: &[String]) -> Result<Value, ApiError> {
    let spent = usage::spend(services, Dimension::User, std::slice::from_ref(&user.id)).await?;
    Ok(with_spend(rows::user(user, teams), spent.get(&user.id)))
}

fn with_spend(mut row: Map<String, Value>, nano: Option<&u64>) -> Value {
    row.insert("spend".to_owned(), rows::money(nano.copied().unwrap_or(0)));
    Value::Object(row)
}
