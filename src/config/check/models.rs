//! `models`: the names that callers use, and what they lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::prices;
use super::providers::Providers;
use super::{access, required, section, value, when};
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::report::{self, Place};
use crate::config::valid::{
    Balance, HealthRules, Model, ModelTimeouts, Retries, RetryOn, RetryUntil, Sticky, Target,
};
use crate::providers::dialect::ProviderDialect;

pub(in crate::config) const KEYS: Keys = Keys {
    known: &[
        "targets",
        "balance",
        "sticky",
        "fallback",
        "health",
        "drop_params",
        "retries",
        "timeouts",
        "price",
        "max_output_tokens",
    ],
    renamed: &[
        ("target", "targets"),
        ("litellm_params", "targets"),
        ("deployments", "targets"),
        ("provider", "targets[0].provider"),
        ("providers", "targets"),
        ("model", "targets[0].model"),
        ("retry", "retries"),
        ("num_retries", "retries.attempts"),
        ("max_retries", "retries.attempts"),
        ("timeout", "timeouts.total"),
        ("stream_timeout", "timeouts.idle"),
        ("fallbacks", "fallback"),
        ("routing_strategy", "balance"),
        ("load_balancing", "balance"),
        ("stickiness", "sticky"),
        ("session_affinity", "sticky"),
        ("hash_policy", "sticky"),
        ("cooldown", "health.cooldown"),
        ("cooldown_time", "health.cooldown"),
        ("allowed_fails", "health.failures"),
        ("pricing", "price"),
        ("model_info", "price"),
        ("input_cost_per_token", "price"),
        ("output_cost_per_token", "price"),
        ("max_tokens", "max_output_tokens"),
        ("max_completion_tokens", "max_output_tokens"),
    ],
    later: &[],
};

pub(in crate::config) const TARGET: Keys = Keys {
    known: &["provider", "model", "weight", "priority", "when", "context_window"],
    renamed: &[
        ("conditions", "when"),
        ("max_input_tokens", "context_window"),
        ("max_context", "context_window"),
        ("name", "model"),
        ("model_name", "model"),
        ("upstream", "provider"),
        ("order", "priority"),
    ],
    later: &[],
};

pub(in crate::config) const STICKY: Keys =
    Keys { known: &["header"], renamed: &[("name", "header")], later: &[] };

pub(in crate::config) const HEALTH: Keys = Keys {
    known: &["failures", "cooldown", "slow_start"],
    renamed: &[("allowed_fails", "failures"), ("cooldown_time", "cooldown")],
    later: &[],
};

pub(in crate::config) const RETRIES: Keys = Keys {
    known: &["attempts", "on", "until", "backoff", "budget"],
    renamed: &[("count", "attempts"), ("max", "attempts"), ("num_retries", "attempts")],
    later: &[],
};

pub(in crate::config) const TIMEOUTS: Keys = Keys {
    known: &["connect", "first_byte", "idle", "total"],
    renamed: &[
        ("request", "total"),
        ("timeout", "total"),
        ("read", "idle"),
        ("stream", "idle"),
        ("ttfb", "first_byte"),
        ("first_token", "first_byte"),
    ],
    later: &[],
};

/// The failures with their names.
pub(in crate::config) const RETRY_ON: [(&str, RetryOn); 4] = [
    ("connect", RetryOn::Connect),
    ("timeout", RetryOn::Timeout),
    ("429", RetryOn::TooManyRequests),
    ("5xx", RetryOn::ServerError),
];

/// How a target is chosen, with the names.
pub(in crate::config) const BALANCE: [(&str, Balance); 3] = [
    ("weighted", Balance::Weighted),
    ("least_busy", Balance::LeastBusy),
    ("latency", Balance::Latency),
];

/// Up to when a stream can be replaced, with the names.
pub(in crate::config) const UNTIL: [(&str, RetryUntil); 2] =
    [("first_content", RetryUntil::FirstContent), ("first_byte", RetryUntil::FirstByte)];

/// Targets of a model, those of its fallbacks included.
const MOST_TARGETS: usize = 64;

/// A model may think for long; more than a day is a mistake.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);

/// A target that is left out for longer than an hour is better taken out.
const RESTS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);

/// A client waits all the while.
const BACKOFFS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10);

/// Tokens of an answer, or of a context: more is a mistake.
const TOKENS: RangeInclusive<u64> = 1..=100_000_000;

const MAX_NAME: usize = 256;

/// Reads `models`.
pub(super) fn models(
    reader: &mut Reader<'_>,
    at: Option<Cursor<'_>>,
    providers: &Providers,
    has_tools: bool,
) -> BTreeMap<String, Model> {
    let mut models = BTreeMap::new();
    let mut fallbacks = Vec::new();
    let mut named = 0;
    if let Some(at) = &at {
        for (name, at) in reader.map(at).named() {
            named += 1;
            if let Some((model, others)) = model(reader, name, &at, providers) {
                models.insert(name.to_owned(), model);
                fallbacks.push((name.to_owned(), at, others));
            }
        }
    }
    for (name, at, others) in fallbacks {
        fall_back(reader, &mut models, &name, &at, others);
    }
    if named == 0 && !has_tools {
        let (place, path) = at.map_or((Place::START, String::new()), |at| (at.key, at.path));
        let hint = "name at least one in `models`";
        reader.report.warning(place, &path, "no models, so no call can be served", hint);
    }
    models
}

/// Other models that a model falls back to, and where they are named.
type Others<'a> = Vec<(String, Cursor<'a>)>;

/// Lets the model `name`, which is `at`, fall back to the `others`, where they can serve it.
fn fall_back(
    reader: &mut Reader<'_>,
    models: &mut BTreeMap<String, Model>,
    name: &str,
    at: &Cursor<'_>,
    others: Others<'_>,
) {
    let Some(own) = models.get(name) else { return };
    let mut targets = own.targets.len();
    let mut fallback = Vec::new();
    for (other, at) in others {
        let Some(model) = models.get(&other) else {
            let hint = match report::nearest(&other, models.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write the name of one of `models`".to_owned(),
            };
            reader.wrong(&at, format!("no model is called {}", report::shorten(&other)), hint);
            continue;
        };
        if other == name || fallback.contains(&other) {
            let hint = "take it out; a model's own targets are asked first in any case";
            reader.wrong(&at, format!("`{other}` is there already"), hint);
        } else {
            targets += model.targets.len();
            fallback.push(other);
        }
    }
    if targets > MOST_TARGETS {
        let message = format!("{targets} targets, its fallbacks' included");
        let hint = format!("name {MOST_TARGETS} at most");
        reader.report.error(at.key, &at.path, message, hint);
    }
    if let Some(model) = models.get_mut(name) {
        model.fallback = fallback;
    }
}

fn model<'a>(
    reader: &mut Reader<'_>,
    name: &str,
    at: &Cursor<'a>,
    providers: &Providers,
) -> Option<(Model, Others<'a>)> {
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|b| b.is_ascii_graphic()) {
        let hint = format!("use up to {MAX_NAME} printable ASCII characters without spaces");
        reader.report.error(at.key, &at.path, "not a model's name", hint);
    }
    let fields = reader.fields(at, &KEYS);
    let mut dialect = None;
    let targets = match fields.get("targets") {
        Some(at) => {
            let targets =
                reader.list(&at, |reader, at| target(reader, name, at, providers, &mut dialect))?;
            if at.is_empty_list() {
                reader.wrong(&at, "no targets", "name at least one provider");
            }
            targets
        }
        None => {
            let hint = "write `targets: [{ provider: <name>, model: <its name there> }]`";
            reader.report.error(at.key, &at.path, "`targets` is missing", hint);
            return None;
        }
    };
    let balance = value(reader, Some(&fields), "balance", |r, at| r.choice(at, &BALANCE));
    let sticky = value(reader, Some(&fields), "sticky", sticky);
    let others = fields.get("fallback").and_then(|at| {
        reader.list(&at, |reader, at| Some((reader.text(at)?.to_owned(), at.clone())))
    });
    let drop_params = value(reader, Some(&fields), "drop_params", |r, at| r.boolean(at));
    let health_at = fields.get("health");
    let health = health(reader, health_at.as_ref());
    let retries_at = fields.get("retries");
    let timeouts_at = fields.get("timeouts");
    let retries = retries(reader, retries_at.as_ref());
    let timeouts = timeouts(reader, timeouts_at.as_ref());
    let price_at = fields.get("price");
    let price = price_at.as_ref().and_then(|at| prices::price(reader, at));
    let max_output_tokens =
        value(reader, Some(&fields), "max_output_tokens", |r, at| r.integer(at, TOKENS));
    let model = Model {
        name: name.to_owned(),
        dialect: dialect?,
        drop_params: drop_params.unwrap_or(false),
        targets,
        balance: balance.unwrap_or_default(),
        sticky,
        fallback: Vec::new(),
        health,
        retries,
        timeouts,
        price,
        max_output_tokens,
    };
    Some((model, others.unwrap_or_default()))
}

/// Reads one target. `dialect` is that of the first one.
fn target(
    reader: &mut Reader<'_>,
    alias: &str,
    at: &Cursor<'_>,
    providers: &Providers,
    dialect: &mut Option<ProviderDialect>,
) -> Option<Target> {
    let fields = reader.fields(at, &TARGET);
    let model = match fields.get("model") {
        Some(at) => reader.text(&at).map(str::to_owned),
        None => Some(alias.to_owned()),
    };
    let weight = value(reader, Some(&fields), "weight", |r, at| r.integer(at, 1..=1000));
    let priority = value(reader, Some(&fields), "priority", |r, at| r.integer(at, 1..=1000));
    let when = value(reader, Some(&fields), "when", when::when);
    let context_window =
        value(reader, Some(&fields), "context_window", |r, at| r.integer(at, TOKENS));
    let Some(provider_at) = fields.get("provider") else {
        if !at.is_broken() {
            let hint = "write the name of one of `providers`";
            reader.report.error(at.key, &at.path, "`provider` is missing", hint);
        }
        return None;
    };
    let provider = reader.text(&provider_at)?;
    if !providers.named.contains(provider) {
        let names = || providers.named.iter().map(String::as_str);
        let hint = match report::nearest(provider, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if providers.named.is_empty() => "add it to `providers`".to_owned(),
            None => format!("add it to `providers`, which has {}", report::list(names())),
        };
        let message = format!("no provider is called {}", report::shorten(provider));
        reader.wrong(&provider_at, message, hint);
        return None;
    }
    if let Some(found) = providers.valid.get(provider) {
        dialect.get_or_insert(found.api.dialect());
    }
    Some(Target {
        provider: provider.to_owned(),
        model: model?,
        weight: weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1),
        priority: priority.and_then(|priority| u32::try_from(priority).ok()).unwrap_or(1),
        when,
        context_window,
    })
}

fn sticky(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Sticky> {
    if at.scalar().is_some() {
        let whole = reader.choice(at, &[("end_user", false), ("conversation", true)])?;
        return Some(if whole { Sticky::Conversation } else { Sticky::EndUser });
    }
    let fields = reader.fields(at, &STICKY);
    let hint = "write `end_user`, `conversation`, or `{ header: x-session-id }`";
    let header = required(reader, at, &fields, "header", hint)?;
    let name = reader.header_name(&header)?;
    if access::is_credential(&name) {
        reader.wrong(&header, format!("`{name}` carries a credential"), "name another header");
        return None;
    }
    Some(Sticky::Header(name))
}

fn health(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> HealthRules {
    let fields = section(reader, at, &HEALTH);
    let failures = value(reader, fields.as_ref(), "failures", |r, at| r.integer(at, 1..=1000));
    let mut wait = |key, default| {
        value(reader, fields.as_ref(), key, |reader, at| reader.duration(at, RESTS))
            .unwrap_or(Duration::from_secs(default))
    };
    HealthRules {
        cooldown: wait("cooldown", 10),
        slow_start: wait("slow_start", 20),
        failures: failures.and_then(|failures| u32::try_from(failures).ok()).unwrap_or(5),
    }
}

fn retries(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Retries {
    let fields = section(reader, at, &RETRIES);
    let attempts = value(reader, fields.as_ref(), "attempts", |r, at| r.integer(at, 1..=5));
    let on = value(reader, fields.as_ref(), "on", |reader, at| {
        let on = reader.list(at, |reader, at| reader.choice(at, &RETRY_ON))?;
        Some(on.into_iter().collect::<BTreeSet<_>>())
    });
    let backoff = value(reader, fields.as_ref(), "backoff", |r, at| r.duration(at, BACKOFFS));
    let budget = value(reader, fields.as_ref(), "budget", |r, at| r.integer(at, 0..=100));
    let until = value(reader, fields.as_ref(), "until", |r, at| r.choice(at, &UNTIL));
    Retries {
        until: until.unwrap_or_default(),
        backoff: backoff.unwrap_or(Duration::from_millis(100)),
        budget: budget.and_then(|budget| u32::try_from(budget).ok()).unwrap_or(20),
        attempts: attempts.and_then(|attempts| u8::try_from(attempts).ok()).unwrap_or(2),
        on: on.unwrap_or_else(|| RETRY_ON.iter().map(|(_, on)| *on).collect()),
    }
}

fn timeouts(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> ModelTimeouts {
    let fields = section(reader, at, &TIMEOUTS);
    let fields = fields.as_ref();
    let mut wait = |key, default| {
        value(reader, fields, key, |reader, at| reader.duration(at, WAITS))
            .unwrap_or(Duration::from_secs(default))
    };
    let timeouts = ModelTimeouts {
        connect: wait("connect", 2),
        first_byte: wait("first_byte", 60),
        idle: wait("idle", 30),
        total: wait("total", 600),
    };
    for (key, wait) in [
        ("connect", timeouts.connect),
        ("first_byte", timeouts.first_byte),
        ("idle", timeouts.idle),
    ] {
        if wait > timeouts.total
            && let Some(at) = fields.and_then(|fields| fields.get(key).or(fields.get("total")))
        {
            let message = format!("`{key}` is longer than `total`, so it never applies");
            reader.report.warning(at.place(), &at.path, message, "make it shorter");
        }
    }
    timeouts
}
