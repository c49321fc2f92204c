//! `quotas`: limits for scopes that no record has.

use sluicegate_filters::admit::{
    OnLostLease, OnOverrun, OnStoreLoss, Period, ScopeKind, Unit, Window, Zone,
};
use sluicegate_filters::price::decimal::{self, DecimalError};

use super::providers::Providers;
use super::{required, value};
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::report;
use crate::config::valid::ConfiguredQuota;

pub(in crate::config) const KEYS: Keys = Keys {
    known: &[
        "scope",
        "id",
        "model",
        "unit",
        "limit",
        "window",
        "soft",
        "on_store_loss",
        "on_lost_lease",
        "on_overrun",
    ],
    renamed: &[
        ("kind", "scope"),
        ("name", "id"),
        ("max", "limit"),
        ("budget", "limit"),
        ("duration", "window"),
        ("period", "window"),
        ("soft_limit", "soft"),
    ],
    later: &[],
};

pub(in crate::config) const CALENDAR: Keys = Keys {
    known: &["calendar", "time_zone"],
    renamed: &[("period", "calendar"), ("zone", "time_zone"), ("timezone", "time_zone")],
    later: &[],
};

const SCOPES: [(&str, ScopeKind); 9] = [
    ("gateway", ScopeKind::Gateway),
    ("model", ScopeKind::Model),
    ("provider", ScopeKind::Provider),
    ("tag", ScopeKind::Tag),
    ("end_user", ScopeKind::EndUser),
    ("team", ScopeKind::Team),
    ("user", ScopeKind::User),
    ("organization", ScopeKind::Organization),
    ("key", ScopeKind::Key),
];
const UNITS: [(&str, Unit); 4] = [
    ("requests", Unit::Requests),
    ("tokens", Unit::Tokens),
    ("usd", Unit::NanoUsd),
    ("parallel", Unit::Parallel),
];
const PERIODS: [(&str, Period); 5] = [
    ("hour", Period::Hour),
    ("day", Period::Day),
    ("week", Period::Week),
    ("month", Period::Month),
    ("year", Period::Year),
];
const STORE_LOSSES: [(&str, OnStoreLoss); 3] =
    [("lease", OnStoreLoss::Lease), ("closed", OnStoreLoss::Closed), ("open", OnStoreLoss::Open)];
const LOST_LEASES: [(&str, OnLostLease); 2] =
    [("charge", OnLostLease::Charge), ("release", OnLostLease::Release)];
const OVERRUNS: [(&str, OnOverrun); 2] = [("finish", OnOverrun::Finish), ("cut", OnOverrun::Cut)];

/// Decimals of an amount of USD: it is counted in billionths.
const USD_DECIMALS: u32 = 9;
/// The most that a counter holds.
const MAX_AMOUNT: u64 = 1 << 52;
/// The most quotas: all of them are looked at for each request.
const MAX_QUOTAS: usize = 1_000;

/// Reads `quotas`.
pub(super) fn quotas(
    reader: &mut Reader<'_>,
    at: Option<&Cursor<'_>>,
    providers: &Providers,
    models: &[&str],
) -> Vec<ConfiguredQuota> {
    let Some(at) = at else { return Vec::new() };
    let mut quotas: Vec<ConfiguredQuota> = Vec::new();
    let list = reader.list(at, |reader, at| {
        let quota = quota(reader, at, providers, models)?;
        // A counter can have one limit only.
        if quotas.iter().any(|known| known.shares_counter(&quota)) {
            reader.wrong(at, "a second limit on the same counter", "keep one of the two");
        }
        quotas.push(quota);
        Some(())
    });
    if list.is_some_and(|list| list.len() > MAX_QUOTAS) {
        reader.wrong(at, format!("more than {MAX_QUOTAS} quotas"), None::<&str>);
    }
    quotas
}

fn quota(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    providers: &Providers,
    models: &[&str],
) -> Option<ConfiguredQuota> {
    let fields = reader.fields(at, &KEYS);
    let hint = "write whom it is for, as in scope: end_user";
    let scope = required(reader, at, &fields, "scope", hint);
    let scope = scope.and_then(|at| reader.choice(&at, &SCOPES));
    let unit = required(reader, at, &fields, "unit", "write what is counted, as in unit: tokens");
    let unit = unit.and_then(|at| reader.choice(&at, &UNITS));
    let limit = required(reader, at, &fields, "limit", "write how much may be used");
    let id = scope.and_then(|scope| id(reader, &fields, scope, providers, models));
    let model = model(reader, &fields, scope, models);
    let limit = limit.and_then(|at| amount(reader, &at, unit?));
    let soft = value(reader, Some(&fields), "soft", |reader, at| {
        let soft = amount(reader, at, unit?)?;
        if limit.is_some_and(|limit| soft > limit) {
            reader.wrong(at, "is over `limit`", "it would never warn");
        }
        Some(soft)
    });
    let window = unit.and_then(|unit| window(reader, at, &fields, unit));
    let on_store_loss = value(reader, Some(&fields), "on_store_loss", |reader, at| {
        reader.choice(at, &STORE_LOSSES)
    });
    let on_lost_lease =
        value(reader, Some(&fields), "on_lost_lease", |reader, at| reader.choice(at, &LOST_LEASES));
    let on_overrun =
        value(reader, Some(&fields), "on_overrun", |reader, at| reader.choice(at, &OVERRUNS));
    Some(ConfiguredQuota {
        scope: scope?,
        id: id?,
        model,
        unit: unit?,
        limit: limit?,
        window: window?,
        soft,
        on_store_loss: on_store_loss.unwrap_or_default(),
        on_lost_lease: on_lost_lease.unwrap_or_default(),
        on_overrun: on_overrun.unwrap_or_default(),
    })
}

/// Whom: the inner one is absent where each is counted separately.
fn id(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    scope: ScopeKind,
    providers: &Providers,
    models: &[&str],
) -> Option<Option<String>> {
    use ScopeKind::{EndUser, Gateway, Key, Model, Organization, Provider, Tag, Team, User};
    let Some(at_id) = fields.get("id") else { return Some(None) };
    let id = reader.text(&at_id)?;
    match scope {
        Gateway => {
            reader.wrong(&at_id, "the gateway is one: it has no id", "leave `id` out");
            return None;
        }
        Provider if !providers.named.contains(id) => {
            let names = || providers.named.iter().map(String::as_str);
            unknown(reader, &at_id, "provider", id, names());
            return None;
        }
        Model if !models.contains(&id) => {
            unknown(reader, &at_id, "model", id, models.iter().copied());
            return None;
        }
        Key if uuid::Uuid::try_parse(id).is_err() => {
            let message = format!("`{}` is no key's id", report::shorten(id));
            reader.wrong(&at_id, message, "write the id that the admin API gives, not the key");
            return None;
        }
        Key => return uuid::Uuid::try_parse(id).ok().map(|id| Some(id.to_string())),
        Provider | Model | EndUser | Tag | Team | User | Organization => {}
    }
    Some(Some(id.to_owned()))
}

fn model(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    scope: Option<ScopeKind>,
    models: &[&str],
) -> Option<String> {
    value(reader, Some(fields), "model", |reader, at| {
        let model = reader.text(at)?;
        if scope == Some(ScopeKind::Model) {
            reader.wrong(at, "the scope is a model already", "write it as `id`");
            return None;
        }
        if !models.contains(&model) {
            unknown(reader, at, "model", model, models.iter().copied());
            return None;
        }
        Some(model.to_owned())
    })
}

fn unknown<'k>(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) {
    let hint = match report::nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", report::list(known)),
    };
    reader.wrong(at, format!("no {what} is called {}", report::shorten(name)), hint);
}

/// How much: a whole number, or USD as a decimal, both as a number or as text.
fn amount(reader: &mut Reader<'_>, at: &Cursor<'_>, unit: Unit) -> Option<u64> {
    let decimals = if unit == Unit::NanoUsd { USD_DECIMALS } else { 0 };
    let Some(scalar) = at.scalar() else {
        reader.wrong(at, "expected a number", None::<&str>);
        return None;
    };
    match decimal::parse(&scalar.text, decimals, MAX_AMOUNT) {
        Ok(amount) => Some(amount),
        Err(error) => {
            let hint = match (error, unit) {
                (DecimalError::TooLarge, Unit::NanoUsd) => "it can be 0 to 4503599 USD",
                (DecimalError::TooLarge, _) => "it can be 0 to 4503599627370496",
                (_, Unit::NanoUsd) => "write USD as a plain decimal, as in \"12.50\"",
                _ => "write a whole number",
            };
            reader.wrong(at, format!("limit {} {error}", scalar.shown()), hint);
            None
        }
    }
}

fn window(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    fields: &Fields<'_>,
    unit: Unit,
) -> Option<Window> {
    const HINT: &str = "write 1m, 1h or 30d for one that rolls, hour, day, week, month or year for the \
                        calendar's in UTC, { calendar: month, time_zone: Europe/Berlin }, or lifetime";
    let found = fields.get("window");
    if unit == Unit::Parallel {
        if let Some(at) = found {
            reader.wrong(&at, "what runs at once has no window", "leave `window` out");
            return None;
        }
        return Some(Window::Lifetime);
    }
    let Some(at) = found else {
        required(reader, at, fields, "window", HINT);
        return None;
    };
    let Some(scalar) = at.scalar() else { return calendar(reader, &at) };
    let window = Window::from_words(&scalar.text, &Zone::utc());
    if window.is_none() {
        reader.wrong(&at, format!("{} is not a window", scalar.shown()), HINT);
    }
    window
}

fn calendar(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Window> {
    let fields = reader.fields(at, &CALENDAR);
    let period = required(reader, at, &fields, "calendar", "write calendar: month");
    let period = period.and_then(|at| reader.choice(&at, &PERIODS));
    let mut wrong = false;
    let zone = value(reader, Some(&fields), "time_zone", |reader, at| {
        let name = reader.text(at);
        let zone = name.and_then(Zone::named);
        wrong = zone.is_none();
        if let (Some(name), None) = (name, &zone) {
            let message = format!("{} is not a time zone", report::shorten(name));
            reader.wrong(at, message, "write its name in the IANA database, as in Europe/Berlin");
        }
        zone
    });
    let period = period?;
    (!wrong).then(|| Window::Calendar { period, zone: zone.unwrap_or_else(Zone::utc) })
}
