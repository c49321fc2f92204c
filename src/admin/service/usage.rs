//! What was used and paid: the ledger's answers, for those who may see them.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use sluicegate_ledger::{Dimension, Group, LedgerError, LedgerStore, Row, RowsQuery, UsageQuery};

use super::super::actor::{Actor, Permission, Scope};
use super::super::error::ApiError;
use super::super::services::Services;

/// Ids in one question to the ledger, at most.
const IDS: usize = 500;
const DAY_MS: i64 = 86_400_000;
/// Days that are beyond what a calendar has, and not beyond what fits in milliseconds.
const FAR: i64 = 10_000_000;

/// The ledger's store.
///
/// # Errors
/// 503 `no_ledger`, where there is none.
pub fn ledger(services: &Services) -> Result<&Arc<dyn LedgerStore>, ApiError> {
    services.gateway.ledger.store().ok_or_else(|| {
        let message = "What is used is not written down.";
        ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, "no_ledger", message)
            .hint("set `store` in the configuration")
    })
}

/// Totals that the actor may see.
///
/// # Errors
/// 403, 503.
pub async fn totals(
    services: &Services,
    actor: &Actor,
    mut query: UsageQuery,
) -> Result<Vec<Group>, ApiError> {
    let store = ledger(services)?;
    if !within_reach(actor, &mut query.only)? {
        return Ok(Vec::new());
    }
    store.usage(&query).await.map_err(unavailable)
}

/// Rows that the actor may see.
///
/// # Errors
/// 403, 503.
pub async fn rows(
    services: &Services,
    actor: &Actor,
    mut query: RowsQuery,
) -> Result<Vec<Row<'static>>, ApiError> {
    let store = ledger(services)?;
    if !within_reach(actor, &mut query.only)? {
        return Ok(Vec::new());
    }
    store.rows(&query).await.map_err(unavailable)
}

/// What each of `ids` has spent in all, in nano-USD. Whether the actor may see them has been asked.
/// Without a ledger nothing is known to be spent.
///
/// # Errors
/// 503.
pub async fn spend(
    services: &Services,
    by: Dimension,
    ids: &[String],
) -> Result<HashMap<String, u64>, ApiError> {
    let Some(store) = services.gateway.ledger.store() else { return Ok(HashMap::new()) };
    let mut spent = HashMap::with_capacity(ids.len());
    for part in ids.chunks(IDS) {
        let query = UsageQuery {
            by: vec![by],
            only: vec![(by, part.to_vec())],
            limit: part.len(),
            ..UsageQuery::default()
        };
        let groups = store.usage(&query).await.map_err(unavailable)?;
        spent.extend(groups.into_iter().filter_map(|group| {
            let id = group.values.into_iter().next()?;
            Some((id, group.total.nano_usd))
        }));
    }
    Ok(spent)
}

/// Leaves of a question what the actor may see. `false`: nothing.
fn within_reach(actor: &Actor, only: &mut Vec<(Dimension, Vec<String>)>) -> Result<bool, ApiError> {
    let Some(reach) = actor.reach() else {
        return match actor.may(Permission::SeeUsage, Scope::All) {
            true => Ok(true),
            false => Err(forbidden()),
        };
    };
    let teams: Vec<_> = reach
        .administers
        .iter()
        .filter(|team| reach.bound_to.as_ref().is_none_or(|bound| bound == *team))
        .cloned()
        .collect();
    if teams.is_empty() {
        return Err(forbidden());
    }
    let asked = only.iter_mut().find(|(dimension, _)| *dimension == Dimension::Team);
    match asked {
        Some((_, asked)) => asked.retain(|team| teams.contains(team)),
        None => only.push((Dimension::Team, teams)),
    }
    Ok(only.iter().all(|(_, values)| !values.is_empty()))
}

fn forbidden() -> ApiError {
    ApiError::forbidden("You may not see what was used.")
}

fn unavailable(error: LedgerError) -> ApiError {
    match &error {
        LedgerError::Unavailable(detail) => {
            tracing::warn!(detail, "the ledger can't be read");
            let status = http::StatusCode::SERVICE_UNAVAILABLE;
            let message = "The ledger's store does not answer.";
            let mut error = ApiError::new(status, "store_unavailable", message);
            error.retry_after = Some(1);
            error
        }
        LedgerError::Broken(detail) => {
            tracing::error!(detail, "the ledger is at fault");
            ApiError::internal()
        }
    }
}

/// A day of UTC, in days since the epoch.
///
/// # Errors
/// 422.
pub fn day(field: &'static str, text: &str) -> Result<i64, ApiError> {
    let read = || {
        // Python sends a time where only its day counts.
        let date: Date = text.get(..10).unwrap_or(text).parse().ok()?;
        let start = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        Some(start.div_euclid(DAY_MS))
    };
    read().ok_or_else(|| ApiError::invalid(field, "must be a day such as 2026-01-31"))
}

/// From the first day up to and with the last; `None` for all time.
///
/// # Errors
/// 422.
pub fn days(
    fields: [&'static str; 2],
    from: Option<&str>,
    to: Option<&str>,
) -> Result<Option<(i64, i64)>, ApiError> {
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    let first = from.map(|text| day(fields[0], text)).transpose()?;
    let last = to.map(|text| day(fields[1], text)).transpose()?;
    if let (Some(first), Some(last)) = (first, last)
        && last < first
    {
        return Err(ApiError::invalid(fields[1], format!("must not be before `{}`", fields[0])));
    }
    Ok(Some((first.unwrap_or(-FAR), last.map_or(FAR, |last| last + 1))))
}

/// The same in milliseconds since the epoch.
pub fn in_ms((first, end): (i64, i64)) -> (i64, i64) {
    (first.saturating_mul(DAY_MS), end.saturating_mul(DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::actor::{Reach, Standing};

    fn actor(standing: Standing) -> Actor {
        Actor { id: "user:a".to_owned(), standing, key: None, caller: None }
    }

    fn administrator(teams: &[&str], bound_to: Option<&str>) -> Actor {
        let administers = teams.iter().map(|&team| team.to_owned()).collect();
        let bound_to = bound_to.map(str::to_owned);
        actor(Standing::Limited(Reach { administers, bound_to, ..Reach::default() }))
    }

    fn seen(actor: &Actor, asked: Option<&[&str]>) -> Option<Vec<String>> {
        let asked = asked.map(|teams| teams.iter().map(|&team| team.to_owned()).collect());
        let mut only: Vec<_> = asked.map(|teams| (Dimension::Team, teams)).into_iter().collect();
        let any = within_reach(actor, &mut only).ok()?;
        Some(if any { only.pop().map(|(_, teams)| teams).unwrap_or_default() } else { vec![] })
    }

    #[test]
    fn a_teams_administrator_sees_their_teams_whatever_they_ask_for() {
        let admin = administrator(&["red", "blue"], None);
        assert_eq!(seen(&admin, None).unwrap(), ["red", "blue"]);
        assert_eq!(seen(&admin, Some(&["blue", "green"])).unwrap(), ["blue"]);
        assert_eq!(seen(&admin, Some(&["green"])).unwrap(), [""; 0]);
        assert_eq!(seen(&administrator(&["red", "blue"], Some("red")), None).unwrap(), ["red"]);
        assert_eq!(seen(&administrator(&[], None), None), None);
        assert_eq!(seen(&actor(Standing::Viewer), Some(&["green"])).unwrap(), ["green"]);
    }

    #[test]
    fn days_include_the_last() {
        let days = |from, to| super::days(["from", "to"], from, to);
        assert_eq!(days(None, None).unwrap(), None);
        assert_eq!(days(Some("1970-01-02"), Some("1970-01-02")).unwrap(), Some((1, 2)));
        assert_eq!(days(Some("1970-01-02 10:00:00"), None).unwrap().map(|days| days.0), Some(1));
        assert_eq!(days(Some("x"), None).expect_err("no day").field.as_deref(), Some("from"));
        let backwards = days(Some("1970-01-03"), Some("1970-01-02")).expect_err("backwards");
        assert_eq!(backwards.field.as_deref(), Some("to"));
    }
}
