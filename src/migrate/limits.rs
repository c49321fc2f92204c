//! `quotas`: limits of deployments, providers and the whole proxy.

use sluicegate_filters::price::decimal;

use super::Migration;
use super::at::{At, plain_number};
use super::models::{Group, Models};
use super::providers::Providers;
use super::yaml::{Map, Yaml};

/// Decimals of an amount of USD.
const USD_DECIMALS: u32 = 9;
/// The most that a counter holds.
const MAX_AMOUNT: u64 = 1 << 52;
/// The most quotas.
const MAX_QUOTAS: usize = 1_000;

/// The limits so far.
#[derive(Debug, Default)]
struct Quotas(Vec<Quota>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Quota {
    scope: &'static str,
    id: Option<String>,
    unit: &'static str,
    limit: u64,
    window: Option<String>,
}

impl Quotas {
    /// Adds a limit, and says where it stands; `None` where its counter has one already.
    fn add(&mut self, quota: Quota) -> Option<String> {
        let same = |other: &Quota| {
            (other.scope, other.unit) == (quota.scope, quota.unit)
                && (&other.id, &other.window) == (&quota.id, &quota.window)
        };
        if self.0.len() >= MAX_QUOTAS || self.0.iter().any(same) {
            return None;
        }
        self.0.push(quota);
        Some(format!("quotas[{}]", self.0.len() - 1))
    }

    fn into_yaml(self) -> Vec<Yaml> {
        let yaml = |quota: Quota| {
            let mut map = Map::default();
            map.text("scope", quota.scope);
            if let Some(id) = quota.id {
                map.text("id", id);
            }
            map.text("unit", quota.unit);
            match quota.unit {
                "usd" => map.text("limit", decimal::format(quota.limit, USD_DECIMALS)),
                _ => map.plain("limit", quota.limit),
            }
            if let Some(window) = quota.window {
                map.plain("window", window);
            }
            Yaml::Map(map)
        };
        self.0.into_iter().map(yaml).collect()
    }
}

const OF_MODEL: &str = "a limit of the model: that of all its deployments together";

/// Makes `quotas`.
pub(super) fn quotas<'n>(
    migration: &mut Migration<'n>,
    groups: &[Group<'n>],
    models: &Models,
    providers: &Providers,
) -> Vec<Yaml> {
    let mut quotas = Quotas::default();
    of_gateway(migration, &mut quotas);
    of_callers(migration, &mut quotas);
    of_providers(migration, providers, &mut quotas);
    for group in groups {
        of_model(migration, group, models, &mut quotas);
    }
    quotas.into_yaml()
}

fn of_gateway(migration: &mut Migration<'_>, quotas: &mut Quotas) {
    if let Some(at) = migration.in_section("general_settings", "global_max_parallel_requests") {
        let quota = |limit| gateway("parallel", limit, None);
        count(migration, &at, quotas, quota, None);
    }
    let budget = migration.in_section("litellm_settings", "max_budget");
    let window = migration.in_section("litellm_settings", "budget_duration");
    if let Some(at) = budget {
        money(migration, &at, window.as_ref(), quotas, &|limit, window| {
            gateway("usd", limit, Some(window))
        });
    }
}

fn gateway(unit: &'static str, limit: u64, window: Option<String>) -> Quota {
    Quota { scope: "gateway", id: None, unit, limit, window }
}

fn of_callers(migration: &mut Migration<'_>, quotas: &mut Quotas) {
    for (budget, window, scope) in [
        ("max_internal_user_budget", "internal_user_budget_duration", "user"),
        ("max_end_user_budget", "", "end_user"),
    ] {
        let window = migration.in_section("litellm_settings", window);
        if let Some(at) = migration.in_section("litellm_settings", budget) {
            money(migration, &at, window.as_ref(), quotas, &|limit, window| Quota {
                scope,
                id: None,
                unit: "usd",
                limit,
                window: Some(window),
            });
        }
    }
}

fn of_providers(migration: &mut Migration<'_>, providers: &Providers, quotas: &mut Quotas) {
    let Some(config) = migration.in_section("router_settings", "provider_budget_config") else {
        return;
    };
    for (name, at) in config.entries() {
        let [provider] = &providers.called(name)[..] else {
            let message = "not one provider is called so, but none or several";
            let action = "write `quotas` with `scope: provider` for each that is meant";
            migration.accounts.no_equal(&at, message, action);
            continue;
        };
        let budget = at.get("budget_limit").or_else(|| at.get("max_budget"));
        let window = at.get("time_period").or_else(|| at.get("budget_duration"));
        let Some(budget) = budget else { continue };
        money(migration, &budget, window.as_ref(), quotas, &|limit, window| Quota {
            scope: "provider",
            id: Some((*provider).to_owned()),
            unit: "usd",
            limit,
            window: Some(window),
        });
    }
}

/// Limits of deployments become those of their model.
fn of_model<'n>(
    migration: &mut Migration<'n>,
    group: &Group<'n>,
    models: &Models,
    quotas: &mut Quotas,
) {
    if models.targets_of(&group.name).is_none() {
        return;
    }
    for (key, unit, window) in [
        ("rpm", "requests", Some("1m")),
        ("tpm", "tokens", Some("1m")),
        ("max_parallel_requests", "parallel", None),
    ] {
        if unit != "parallel" && !models.strategy.limits() {
            shares(migration, group, key);
            continue;
        }
        let general = if unit == "parallel" { parallel(migration) } else { None };
        let ats: Vec<Option<At<'n>>> = group.deployments.iter().map(|it| it.limit(key)).collect();
        if ats.iter().all(Option::is_none) && general.is_none() {
            continue;
        }
        let all: Option<u64> = ats
            .iter()
            .map(|at| at.as_ref().or(general.as_ref())?.count())
            .try_fold(0u64, |sum, count| sum.checked_add(count?));
        let limit = all.filter(|limit| *limit <= MAX_AMOUNT);
        let to = limit.and_then(|limit| {
            let (id, window) = (Some(group.name.clone()), window.map(str::to_owned));
            quotas.add(Quota { scope: "model", id, unit, limit, window })
        });
        for at in ats.iter().flatten() {
            match &to {
                Some(to) if group.deployments.len() == 1 => {
                    migration.accounts.carried(at, format!("{to}.limit"));
                }
                Some(to) => {
                    migration.accounts.changed(at, format!("{to}.limit"), OF_MODEL, None);
                }
                None => {
                    let message = "a limit of one deployment among others without a good one";
                    let action = "write `quotas` with `scope: model` (docs/limits.md)";
                    migration.accounts.no_equal(at, message, action);
                }
            }
        }
        // One that is for all deployments is told of once.
        match general {
            Some(at) if to.is_some() => {
                migration.accounts.changed(&at, "quotas[*].limit", OF_MODEL, None);
            }
            Some(at) => {
                let message = "is no whole number that can be a limit";
                migration.accounts.no_equal(&at, message, "write `quotas` (docs/limits.md)");
            }
            None => {}
        }
    }
    budget(migration, group, quotas);
}

/// The most requests at once of each deployment that says nothing itself.
fn parallel<'n>(migration: &Migration<'n>) -> Option<At<'n>> {
    migration
        .in_section("general_settings", "max_parallel_requests")
        .or_else(|| migration.in_section("router_settings", "default_max_parallel_requests"))
}

/// `rpm` and `tpm` that are no limits: what is not a weight has no effect in LiteLLM either.
fn shares<'n>(migration: &mut Migration<'n>, group: &Group<'n>, key: &str) {
    for deployment in &group.deployments {
        if let Some(at) = deployment.limit(key)
            && !migration.accounts.is_decided(&at)
        {
            let message = "no limit with LiteLLM's strategy, and none here";
            let action = "add `quotas`, should it have been meant as one (docs/limits.md)";
            migration.accounts.noted(&at, message, action);
        }
    }
}

/// `max_budget` of a deployment.
fn budget<'n>(migration: &mut Migration<'n>, group: &Group<'n>, quotas: &mut Quotas) {
    for deployment in &group.deployments {
        let Some(at) = deployment.params.get("max_budget") else { continue };
        let window = deployment.params.get("budget_duration");
        if group.deployments.len() == 1 {
            money(migration, &at, window.as_ref(), quotas, &|limit, window| Quota {
                scope: "model",
                id: Some(group.name.clone()),
                unit: "usd",
                limit,
                window: Some(window),
            });
            continue;
        }
        let message = "a budget of one deployment among others";
        let action = "write `quotas` with `scope: model` or `provider` (docs/limits.md)";
        migration.accounts.no_equal(&at, message, action);
        if let Some(window) = window {
            migration.accounts.no_equal(&window, "goes with a budget that is left out", action);
        }
    }
}

fn count(
    migration: &mut Migration<'_>,
    at: &At<'_>,
    quotas: &mut Quotas,
    quota: impl Fn(u64) -> Quota,
    message: Option<&str>,
) {
    let limit = at.count().filter(|limit| *limit <= MAX_AMOUNT);
    match (limit.and_then(|limit| quotas.add(quota(limit))), message) {
        (Some(to), None) => migration.accounts.carried(at, format!("{to}.limit")),
        (Some(to), Some(message)) => {
            migration.accounts.changed(at, format!("{to}.limit"), message, None);
        }
        (None, _) => {
            let message = "is no whole number that can be a limit";
            migration.accounts.no_equal(at, message, "write `quotas` (docs/limits.md)");
        }
    }
}

/// A limit in USD, with the window that it begins anew after.
fn money(
    migration: &mut Migration<'_>,
    at: &At<'_>,
    window_at: Option<&At<'_>>,
    quotas: &mut Quotas,
    quota: &dyn Fn(u64, String) -> Quota,
) {
    let text = at.text().unwrap_or_default();
    let limit = decimal::parse_json_number(&plain_number(text), USD_DECIMALS, MAX_AMOUNT).ok();
    let window = match window_at {
        Some(at) => at.text().and_then(window),
        None => Some(("lifetime".to_owned(), false)),
    };
    let added = limit.zip(window).and_then(|(limit, (window, calendar))| {
        quotas.add(quota(limit, window)).map(|to| (to, calendar))
    });
    match added {
        Some((to, calendar)) => {
            let message =
                "money is held before a request is forwarded, so that it is never overspent";
            let action = "see that each model has a price (docs/prices.md)";
            migration.accounts.changed(at, format!("{to}.limit"), message, action);
            if let Some(at) = window_at {
                let to = format!("{to}.window");
                if calendar {
                    let message = "a period of the calendar in UTC, as LiteLLM begins anew";
                    let action = "write { calendar: .., time_zone: .. } for another time zone";
                    migration.accounts.changed(at, to, message, action);
                } else {
                    migration.accounts.changed(at, to, "a window that rolls", None);
                }
            }
        }
        None => {
            let message = "is no amount of USD for a period that can be counted, or a second one";
            let action = "write `quotas` (docs/limits.md)";
            migration.accounts.no_equal(at, message, action);
            if let Some(at) = window_at {
                migration.accounts.no_equal(at, "goes with a budget that is left out", action);
            }
        }
    }
}

/// LiteLLM's duration as a window, and whether that is the calendar's: LiteLLM begins anew at midnight, on
/// Mondays and on the first of a month (<https://docs.litellm.ai/docs/proxy/budget_reset_and_tz>).
fn window(text: &str) -> Option<(String, bool)> {
    let calendar = |word: &str| Some((word.to_owned(), true));
    match text {
        "1h" => calendar("hour"),
        "1d" | "24h" => calendar("day"),
        "7d" | "1w" => calendar("week"),
        "30d" | "1mo" => calendar("month"),
        _ => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = text.split_at(digits);
            let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
            let seconds: u64 = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                "w" => 7 * 86_400,
                _ => return None,
            };
            // Ten years, less what leap years are told to be.
            let fits = number.checked_mul(seconds)? <= 3_650 * 86_400;
            fits.then(|| (format!("{number}{unit}"), false))
        }
    }
}
