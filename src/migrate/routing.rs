//! What happens to a call: strategy, retries, timeouts, health and fallbacks.
//!
//! LiteLLM's router has them for all models; here each model has its own, so they are written on each.

use super::Migration;
use super::at::{At, join};
use super::models::{Group, MOST_TARGETS};
use super::yaml::{Map, Yaml};
use crate::config::units::format_duration;

const DAY: u64 = 86_400_000;
const HOUR: u64 = 3_600_000;
/// Our own default of `timeouts.total`: long streams must not be cut by what meant their beginning.
const TOTAL: u64 = 600_000;
/// Calls in all, at most.
const MOST_ATTEMPTS: u64 = 5;
/// Our own default of `retries.attempts`.
const ATTEMPTS: u64 = 2;

const SECONDS: &str = "write a duration, as in 30s";

/// How one of several deployments is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Strategy {
    #[default]
    Shuffle,
    LeastBusy,
    Latency,
    /// `rpm` and `tpm` are limits.
    Usage,
}

impl Strategy {
    pub(super) fn balance(self) -> Option<&'static str> {
        match self {
            Self::Shuffle | Self::Usage => None,
            Self::LeastBusy => Some("least_busy"),
            Self::Latency => Some("latency"),
        }
    }

    /// Whether `rpm` and `tpm` are limits rather than shares.
    pub(super) fn limits(self) -> bool {
        self == Self::Usage
    }
}

/// What holds for all models that say nothing themselves.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    pub(super) strategy: Strategy,
    retries: Option<u64>,
    policy: Option<Policy>,
    backoff: Option<u64>,
    timeout: Option<u64>,
    stream_timeout: Option<u64>,
    failures: Option<u64>,
    cooldown: Option<u64>,
    drop_params: bool,
}

/// What a retry policy comes to.
#[derive(Clone, Copy, Debug)]
struct Policy {
    retries: u64,
    timeout: bool,
    rate_limit: bool,
    server: bool,
}

/// Reads the router's settings. Without `models`, they have nowhere to go.
pub(super) fn read(migration: &mut Migration<'_>, models: bool) -> Defaults {
    if !models {
        return Defaults::default();
    }
    let mut defaults = Defaults { strategy: strategy(migration), ..Defaults::default() };
    if let Some(at) = migration.routing_setting("num_retries") {
        defaults.retries = retries(migration, &at, "models.*.retries.attempts");
    }
    if let Some(at) = migration.routing_setting("retry_policy") {
        defaults.policy = policy(migration, &at, "models.*.retries");
    }
    if let Some(at) = migration.routing_setting("retry_after") {
        defaults.backoff = wait(
            migration,
            &at,
            10_000,
            "models.*.retries.backoff",
            |_| "doubled with each attempt, and only before a target that has failed the call",
        );
    }
    let router = migration.in_section("router_settings", "timeout");
    let module = migration.in_section("litellm_settings", "request_timeout");
    if let (Some(_), Some(module)) = (&router, &module) {
        migration.accounts.not_needed(module, "`router_settings.timeout` says the same, and wins");
    }
    if let Some(at) = router.or(module) {
        defaults.timeout = timeout(migration, &at, "models.*.timeouts.first_byte");
    }
    if let Some(at) = migration.routing_setting("stream_timeout") {
        defaults.stream_timeout = stream_timeout(migration, &at, "models.*.timeouts.idle");
    }
    if let Some(at) = migration.routing_setting("allowed_fails") {
        match at.count().filter(|count| *count < 1_000) {
            Some(count) => {
                defaults.failures = Some(count + 1);
                let message = "failures in a row, not within a minute";
                let to = "models.*.health.failures";
                migration.accounts.changed(&at, to, message, None);
            }
            None => {
                let message = "is no number up to 999";
                migration.accounts.no_equal(&at, message, "write `health.failures`");
            }
        }
    }
    if let Some(at) = migration.routing_setting("cooldown_time") {
        defaults.cooldown = cooldown(migration, &at, "models.*.health.cooldown");
    }
    if let Some(at) = migration.routing_setting("disable_cooldowns") {
        if at.boolean() == Some(true) {
            defaults.cooldown = Some(0);
            let message = "a target that fails is left out for no time; one that answers 429 is all \
                           the same";
            migration.accounts.changed(&at, "models.*.health.cooldown", message, None);
        } else {
            migration.accounts.not_needed(&at, "switched off");
        }
    }
    if let Some(at) = migration.routing_setting("drop_params") {
        defaults.drop_params = drop_params(migration, &at, "models.*.drop_params");
    }
    defaults
}

fn strategy(migration: &mut Migration<'_>) -> Strategy {
    let mut found = Strategy::default();
    if let Some(at) = migration.routing_setting("routing_strategy") {
        let balance = "models.*.balance";
        match at.text() {
            Some("simple-shuffle") => {
                migration.accounts.not_needed(&at, "by weight is how it is done anyway");
            }
            Some("least-busy") => {
                found = Strategy::LeastBusy;
                migration.accounts.carried(&at, balance);
            }
            Some("latency-based-routing") => {
                found = Strategy::Latency;
                let message =
                    "of two targets drawn by weight, the one that is likely to answer sooner";
                migration.accounts.changed(&at, balance, message, None);
            }
            Some("usage-based-routing" | "usage-based-routing-v2") => {
                found = Strategy::Usage;
                let message = "calls are spread by weight; `rpm` and `tpm` are limits of the model";
                migration.accounts.noted(&at, message, "see `quotas`");
            }
            Some("cost-based-routing") => {
                let message = "the cheapest target is not looked for";
                let action = "give the cheaper targets a lower `priority`";
                migration.accounts.no_equal(&at, message, action);
            }
            _ => {
                let action = "choose one of `weighted`, `least_busy` and `latency`";
                migration.accounts.no_equal(&at, "an unknown strategy", action);
            }
        }
    }
    let checks = migration.in_section("router_settings", "optional_pre_call_checks");
    for at in checks.iter().flat_map(At::items) {
        if at.text() == Some("enforce_model_rate_limits") {
            if found == Strategy::Shuffle {
                found = Strategy::Usage;
            }
            migration.accounts.noted(
                &at,
                "`rpm` and `tpm` are limits of the model",
                "see `quotas`",
            );
        }
    }
    found
}

/// Retries beyond the first call.
fn retries(migration: &mut Migration<'_>, at: &At<'_>, to: &str) -> Option<u64> {
    match at.count() {
        Some(count) if count < MOST_ATTEMPTS => {
            migration.accounts.carried(at, to);
            Some(count)
        }
        Some(_) => {
            let message = format!("{MOST_ATTEMPTS} attempts in all are the most");
            migration.accounts.changed(at, to, message, None);
            Some(MOST_ATTEMPTS - 1)
        }
        None => {
            migration.accounts.no_equal(
                at,
                "is no whole number",
                "write `retries.attempts`, 1 to 5",
            );
            None
        }
    }
}

/// LiteLLM's `RetryPolicy`: retries by kind of failure.
fn policy(migration: &mut Migration<'_>, at: &At<'_>, to: &str) -> Option<Policy> {
    let mut policy = Policy { retries: 0, timeout: true, rate_limit: true, server: true };
    let mut any = false;
    for (key, at) in at.entries() {
        let count = at.count();
        let on = count.is_none_or(|count| count > 0);
        match key {
            "TimeoutErrorRetries" => policy.timeout = on,
            "RateLimitErrorRetries" => policy.rate_limit = on,
            "InternalServerErrorRetries" | "ServiceUnavailableErrorRetries" => policy.server = on,
            _ if count == Some(0) => {
                migration.accounts.not_needed(&at, "such failures are never tried again");
                continue;
            }
            _ => {
                let message = "such failures are passed on, and not tried again";
                migration.accounts.no_equal(
                    &at,
                    message,
                    "nothing: another attempt would fail, too",
                );
                continue;
            }
        }
        let Some(count) = count else {
            migration.accounts.no_equal(&at, "is no whole number", "write `retries`");
            continue;
        };
        any = true;
        policy.retries = policy.retries.max(count.min(MOST_ATTEMPTS - 1));
        let message =
            "whether such failures are tried again; how often is one number for all kinds";
        migration.accounts.changed(&at, to, message, "see `retries.attempts` and `retries.on`");
    }
    any.then_some(policy)
}

/// A duration up to `most`, carried over to `to`. `told` says what is different, if anything.
fn wait(
    migration: &mut Migration<'_>,
    at: &At<'_>,
    most: u64,
    to: &str,
    told: impl Fn(u64) -> &'static str,
) -> Option<u64> {
    let Some(millis) = at.seconds().filter(|millis| *millis <= most) else {
        let most = shown(most);
        let message = format!("is no number of seconds, up to {most} and to the millisecond");
        migration.accounts.no_equal(at, message, SECONDS);
        return None;
    };
    match told(millis) {
        "" => migration.accounts.carried(at, to),
        message => migration.accounts.changed(at, to, message, None),
    }
    Some(millis)
}

fn timeout(migration: &mut Migration<'_>, at: &At<'_>, to: &str) -> Option<u64> {
    if at.seconds() == Some(0) {
        migration.accounts.no_equal(at, "no time at all", SECONDS);
        return None;
    }
    wait(
        migration,
        at,
        DAY,
        to,
        |_| "each attempt's wait for the answer's first byte; `timeouts.total` is for all attempts",
    )
}

fn stream_timeout(migration: &mut Migration<'_>, at: &At<'_>, to: &str) -> Option<u64> {
    if at.seconds() == Some(0) {
        migration.accounts.no_equal(at, "no time at all", SECONDS);
        return None;
    }
    wait(migration, at, DAY, to, |_| "the wait between two chunks, not that for the first")
}

fn cooldown(migration: &mut Migration<'_>, at: &At<'_>, to: &str) -> Option<u64> {
    wait(migration, at, HOUR, to, |_| "doubled each time, up to five minutes")
}

fn drop_params(migration: &mut Migration<'_>, at: &At<'_>, to: &str) -> bool {
    match at.boolean() {
        Some(true) => {
            let message =
                "only what a target's dialect can't say is left out, and named in the answer";
            migration.accounts.changed(at, to, message, "see docs/dialects.md");
            true
        }
        Some(false) => {
            migration.accounts.not_needed(at, "switched off");
            false
        }
        None => {
            migration.accounts.no_equal(at, "is neither true nor false", "write `drop_params`");
            false
        }
    }
}

/// The greatest of what the deployments of `group` say themselves, and of what holds for the others.
fn greatest<'n>(
    migration: &mut Migration<'n>,
    group: &Group<'n>,
    keys: &[&str],
    default: Option<u64>,
    mut read: impl FnMut(&mut Migration<'n>, &At<'n>) -> Option<u64>,
) -> Option<u64> {
    let mut greatest = None;
    for deployment in &group.deployments {
        let at = keys.iter().find_map(|key| deployment.params.get(key));
        let own = at.and_then(|at| read(migration, &at));
        greatest = greatest.max(own.or(default));
    }
    greatest
}

/// Writes what a model does with its calls into `model`.
pub(super) fn write<'n>(
    migration: &mut Migration<'n>,
    group: &Group<'n>,
    defaults: &Defaults,
    model: &mut Map,
) {
    let to = join("models", &group.name);
    let to = |key: &str| format!("{to}.{key}");
    let own_policy = migration
        .in_section("router_settings", "model_group_retry_policy")
        .and_then(|at| at.get(&group.name))
        .and_then(|at| policy(migration, &at, &to("retries")));
    let policy = own_policy.or(defaults.policy);
    let failures = defaults.failures;
    let cooldown = greatest(migration, group, &["cooldown_time"], defaults.cooldown, |m, at| {
        cooldown(m, at, &to("health.cooldown"))
    });
    let mut health = Map::default();
    if let Some(failures) = failures {
        health.plain("failures", failures);
    }
    if let Some(cooldown) = cooldown {
        health.plain("cooldown", shown(cooldown));
    }
    model.some("health", Yaml::Map(health));

    let mut drops = defaults.drop_params;
    for deployment in &group.deployments {
        if let Some(at) = deployment.params.get("drop_params") {
            drops |= drop_params(migration, &at, &to("drop_params"));
        }
    }
    if drops {
        model.plain("drop_params", true);
    }

    let keys = ["num_retries", "max_retries"];
    let retries = greatest(migration, group, &keys, defaults.retries, |m, at| {
        self::retries(m, at, &to("retries.attempts"))
    });
    let retries = match policy {
        Some(policy) => Some(retries.unwrap_or(0).max(policy.retries)),
        None => retries,
    };
    let mut map = Map::default();
    if let Some(retries) = retries {
        map.plain("attempts", retries + 1);
    }
    if let Some(policy) = policy {
        let kinds = [
            ("connect", policy.server),
            ("timeout", policy.timeout),
            ("429", policy.rate_limit),
            ("5xx", policy.server),
        ];
        let on =
            kinds.iter().filter(|(_, on)| *on).map(|(kind, _)| Yaml::Plain((*kind).to_owned()));
        map.put("on", Yaml::List(on.collect()));
    }
    if let Some(backoff) = defaults.backoff {
        map.plain("backoff", shown(backoff));
    }
    model.some("retries", Yaml::Map(map));

    let first_byte = greatest(migration, group, &["timeout"], defaults.timeout, |m, at| {
        timeout(m, at, &to("timeouts.first_byte"))
    });
    let streams =
        greatest(migration, group, &["stream_timeout"], defaults.stream_timeout, |m, at| {
            stream_timeout(m, at, &to("timeouts.idle"))
        });
    let mut map = Map::default();
    if let Some(first_byte) = first_byte {
        map.plain("first_byte", shown(first_byte));
    }
    // LiteLLM's timeout is a stream's as well where it has none of its own.
    let idle = streams.or(first_byte);
    if let Some(idle) = idle {
        map.plain("idle", shown(idle));
    }
    if let Some(longest) = first_byte.max(idle) {
        let attempts = retries.map_or(ATTEMPTS, |retries| retries + 1);
        let total = longest.saturating_mul(attempts).clamp(TOTAL, DAY);
        if total != TOTAL {
            map.plain("total", shown(total));
        }
    }
    model.some("timeouts", Yaml::Map(map));
}

/// Milliseconds as a person writes them.
fn shown(millis: u64) -> String {
    format_duration(std::time::Duration::from_millis(millis))
}

/// Which models each model falls back to: `fallbacks`, and `default_fallbacks` for those without.
pub(super) fn fallbacks(
    migration: &mut Migration<'_>,
    names: &[(String, usize)],
) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut general = Vec::new();
    let list = migration.routing_setting("fallbacks");
    for item in list.iter().flat_map(At::items) {
        for (model, others) in item.entries() {
            if model == "*" {
                general.push(others);
                continue;
            }
            let Some((model, own)) = names.iter().find(|(name, _)| name == model) else {
                let message = "no model of that name is carried over";
                migration.accounts.no_equal(&others, message, "add `fallback` where it is meant");
                continue;
            };
            let known = found.iter().position(|(known, _)| known == model);
            let index = known.unwrap_or(found.len());
            if known.is_none() {
                found.push((model.clone(), Vec::new()));
            }
            let to = format!("{}.fallback", join("models", model));
            let items = if others.is_list() { others.items() } else { vec![others] };
            for at in items {
                match usable(&at, names) {
                    Ok(other) if fits(names, (model, *own), &found[index].1, other) => {
                        found[index].1.push(other.to_owned());
                        migration.accounts.carried(&at, to.as_str());
                    }
                    Ok(_) => migration.accounts.no_equal(&at, NO_ROOM, "see docs/routing.md"),
                    Err(message) => {
                        let action = "add it to the model's `fallback`, where it is meant";
                        migration.accounts.no_equal(&at, message, action);
                    }
                }
            }
        }
    }
    if let Some(at) = migration.routing_setting("default_fallbacks") {
        general.push(at);
    }
    general_fallbacks(migration, &general, names, &mut found);
    found.retain(|(_, others)| !others.is_empty());
    found
}

const NO_ROOM: &str = "is the model itself, is named twice, or would be one target too many";

/// Those of all models that have none of their own.
fn general_fallbacks(
    migration: &mut Migration<'_>,
    lists: &[At<'_>],
    names: &[(String, usize)],
    found: &mut Vec<(String, Vec<String>)>,
) {
    found.retain(|(_, others)| !others.is_empty());
    let own: Vec<_> =
        names.iter().filter(|(name, _)| !found.iter().any(|(model, _)| model == name)).collect();
    let mut chosen: Vec<Vec<String>> = vec![Vec::new(); own.len()];
    let items =
        lists.iter().flat_map(|at| if at.is_list() { at.items() } else { vec![at.clone()] });
    for at in items {
        let other = match usable(&at, names) {
            Ok(other) => other,
            Err(message) => {
                let action = "add it to the models' `fallback`, where it is meant";
                migration.accounts.no_equal(&at, message, action);
                continue;
            }
        };
        let mut taken = false;
        for ((model, targets), chosen) in own.iter().zip(&mut chosen) {
            if fits(names, (model, *targets), chosen, other) {
                chosen.push(other.to_owned());
                taken = true;
            }
        }
        if taken {
            let message = "on each model that has no fallbacks of its own";
            migration.accounts.changed(&at, "models.*.fallback", message, None);
        } else {
            migration.accounts.not_needed(&at, "every other model has fallbacks of its own");
        }
    }
    found.extend(own.into_iter().map(|(name, _)| name.clone()).zip(chosen));
}

/// The model that a fallback names, where there is one.
fn usable<'m>(at: &At<'_>, names: &'m [(String, usize)]) -> Result<&'m str, &'static str> {
    let Some(text) = at.text() else {
        return Err("is not a model's name; a fallback has no parameters of its own");
    };
    let found = names.iter().find(|(name, _)| name == text);
    found.map(|(name, _)| name.as_str()).ok_or("no model of that name is carried over")
}

/// Whether `model`, with so many targets of its own, can fall back to `other` as well.
fn fits(
    names: &[(String, usize)],
    (model, own): (&str, usize),
    chosen: &[String],
    other: &str,
) -> bool {
    let targets = |name: &str| {
        names.iter().find(|(known, _)| known == name).map_or(0, |(_, targets)| *targets)
    };
    let all: usize = chosen.iter().map(|name| targets(name)).sum();
    other != model
        && !chosen.iter().any(|name| name == other)
        && own + all + targets(other) <= MOST_TARGETS
}
