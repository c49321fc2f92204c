//! From the limits that are stored to the quotas that are counted.

use sluicegate_filters::admit::{Period, Quota, Raise, Scope, Unit, Window, Zone};

use crate::stores::records::{BudgetRaise, LimitUnit, Limits};

const MINUTE: Window = Window::Rolling { ms: 60_000 };

/// What `limits` mean for `scope`. No two are counted by the same counter.
pub fn of(scope: &Scope, limits: &Limits) -> Vec<Quota> {
    let mut quotas = Vec::new();
    let mut add = |quota: Quota| join(&mut quotas, quota);
    let plain = |unit, window, limit| Quota::new(scope.clone(), unit, window, limit);
    let of_model = |model: &str, unit, window, limit| {
        Quota::new(scope.clone().for_model(model), unit, window, limit)
    };
    for (unit, window, limit) in [
        (Unit::Requests, MINUTE, limits.rpm),
        (Unit::Tokens, MINUTE, limits.tpm),
        (Unit::Parallel, Window::Lifetime, limits.parallel),
    ] {
        limit.into_iter().for_each(|limit| add(plain(unit, window.clone(), limit)));
    }
    for (unit, by_model) in [(Unit::Requests, &limits.model_rpm), (Unit::Tokens, &limits.model_tpm)]
    {
        by_model.iter().for_each(|(model, limit)| add(of_model(model, unit, MINUTE, *limit)));
    }
    let zone = zone(limits);
    let window = |duration: &Option<String>| {
        duration.as_deref().map_or(Window::Lifetime, |duration| budget_window(duration, &zone))
    };
    if limits.budget.is_some() || limits.soft_budget.is_some() {
        // A soft limit alone warns and refuses nothing.
        let limit = limits.budget.unwrap_or(u64::MAX);
        let mut quota = plain(Unit::NanoUsd, window(&limits.budget_duration), limit);
        quota.soft = limits.soft_budget;
        quota.raise = limits.budget_raise.and_then(raise);
        add(quota);
    }
    for budget in &limits.budgets {
        add(plain(Unit::NanoUsd, window(&budget.duration), budget.limit));
    }
    for (model, budget) in &limits.model_budgets {
        add(of_model(model, Unit::NanoUsd, window(&budget.duration), budget.limit));
    }
    for limit in &limits.windows {
        let unit = match limit.unit {
            LimitUnit::Requests => Unit::Requests,
            LimitUnit::Tokens => Unit::Tokens,
            LimitUnit::Usd => Unit::NanoUsd,
        };
        // What can't be understood never begins anew.
        let window = Window::from_words(&limit.window, &zone).unwrap_or(Window::Lifetime);
        add(Quota { soft: limit.soft, ..plain(unit, window, limit.limit) });
    }
    for quota in &mut quotas {
        quota.on_store_loss = limits.on_store_loss.unwrap_or_default();
        quota.on_lost_lease = limits.on_lost_lease.unwrap_or_default();
        quota.on_overrun = limits.on_overrun.unwrap_or_default();
    }
    quotas
}

/// The zone of the budgets' calendar.
pub fn zone(limits: &Limits) -> Zone {
    limits.budget_time_zone.as_deref().and_then(Zone::named).unwrap_or_else(Zone::utc)
}

/// The raise, where it is whole. Whether it is over is for whoever counts to know: it has the clock.
fn raise(raise: BudgetRaise) -> Option<Raise> {
    Some(Raise { by: raise.by?, until_ms: raise.until? })
}

/// Adds a quota. Of two on one counter the stricter counts: a counter can have one limit only.
pub fn join(quotas: &mut Vec<Quota>, quota: Quota) {
    let Some(known) = quotas.iter_mut().find(|known| known.shares_counter(&quota)) else {
        quotas.push(quota);
        return;
    };
    let soft = [known.soft, quota.soft].into_iter().flatten().min();
    if quota.limit < known.limit {
        *known = quota;
    }
    known.soft = soft;
}

/// The window of a budget's duration, as LiteLLM resets it: days, weeks and months are the calendar's in
/// `zone`.
pub fn budget_window(duration: &str, zone: &Zone) -> Window {
    let calendar = |period| Window::Calendar { period, zone: zone.clone() };
    let digits = duration.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = duration.split_at(digits);
    let number: i64 = number.parse().unwrap_or(i64::MAX);
    let fixed = |ms: i64| Window::Fixed { ms: number.saturating_mul(ms).max(1) };
    match (number, unit) {
        (24, "h") | (1, "d") => calendar(Period::Day),
        (7, "d") | (1, "w") => calendar(Period::Week),
        (30, "d") | (1, "mo") => calendar(Period::Month),
        (_, "s") => fixed(1_000),
        (_, "m") => fixed(60_000),
        (_, "h") => fixed(3_600_000),
        (_, "d") => fixed(86_400_000),
        (_, "w") => fixed(7 * 86_400_000),
        (_, "mo") => fixed(30 * 86_400_000),
        // What can't be understood never begins anew.
        _ => Window::Lifetime,
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_filters::admit::{OnLostLease, OnOverrun, OnStoreLoss, ScopeKind};

    use super::*;
    use crate::stores::records::{Budget, WindowLimit};

    fn budget(limit: u64, duration: Option<&str>) -> Budget {
        Budget { limit, duration: duration.map(str::to_owned) }
    }

    fn window(unit: LimitUnit, limit: u64, window: &str) -> WindowLimit {
        WindowLimit { unit, limit, window: window.to_owned(), soft: None }
    }

    fn quotas(limits: &Limits) -> Vec<Quota> {
        of(&Scope::new(ScopeKind::Team, "t"), limits)
    }

    fn ids(limits: &Limits) -> Vec<String> {
        quotas(limits).iter().map(|quota| format!("{} {}", quota.id(), quota.limit)).collect()
    }

    #[test]
    fn of_two_limits_on_one_counter_the_stricter_counts() {
        let limits = Limits {
            rpm: Some(100),
            windows: vec![WindowLimit { soft: Some(40), ..window(LimitUnit::Requests, 50, "1m") }],
            budget: Some(5),
            soft_budget: Some(4),
            budgets: vec![budget(6, None)],
            ..Limits::default()
        };
        let joined = quotas(&limits);
        let numbers: Vec<_> = joined.iter().map(|quota| (quota.limit, quota.soft)).collect();
        assert_eq!(numbers, [(50, Some(40)), (5, Some(4))]);
    }

    #[test]
    fn a_raise_counts_when_it_is_whole_and_only_for_the_budget() {
        let raised = |by, until| {
            let limits = Limits {
                budget: Some(10),
                budgets: vec![budget(20, Some("1d"))],
                budget_raise: Some(BudgetRaise { by, until }),
                ..Limits::default()
            };
            quotas(&limits).iter().map(|quota| quota.limit_at(999)).collect::<Vec<_>>()
        };
        assert_eq!(raised(Some(5), Some(1_000)), [15, 20]);
        assert_eq!(raised(Some(5), Some(999)), [10, 20], "it is over");
        assert_eq!(raised(Some(5), None), [10, 20]);
        assert_eq!(raised(None, Some(1_000)), [10, 20]);
    }

    #[test]
    fn what_becomes_of_trouble_is_said_for_all_of_them() {
        let limits = Limits {
            rpm: Some(1),
            budget: Some(1),
            on_store_loss: Some(OnStoreLoss::Closed),
            on_lost_lease: Some(OnLostLease::Release),
            on_overrun: Some(OnOverrun::Cut),
            ..Limits::default()
        };
        for quota in quotas(&limits) {
            let said = (quota.on_store_loss, quota.on_lost_lease, quota.on_overrun);
            assert_eq!(said, (OnStoreLoss::Closed, OnLostLease::Release, OnOverrun::Cut));
        }
        assert_eq!(quotas(&Limits::default()), []);
    }

    #[test]
    fn what_was_stored_before_reads_as_it_did() {
        let old: Limits = serde_json::from_str(r#"{"rpm":3,"budget":7}"#).unwrap();
        assert_eq!(old, Limits { rpm: Some(3), budget: Some(7), ..Limits::default() });
        assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"rpm":3,"budget":7}"#);
    }

    #[test]
    fn every_limit_is_counted() {
        let limits = Limits {
            rpm: Some(1),
            tpm: Some(2),
            parallel: Some(3),
            budget: Some(4),
            soft_budget: Some(3),
            budget_duration: Some("30d".to_owned()),
            model_rpm: [("gpt".to_owned(), 5)].into(),
            model_tpm: [("gpt".to_owned(), 6)].into(),
            budget_time_zone: Some("Europe/Berlin".to_owned()),
            budgets: vec![budget(7, Some("1d")), budget(8, None)],
            model_budgets: [("gpt".to_owned(), budget(9, Some("7d")))].into(),
            windows: vec![
                window(LimitUnit::Tokens, 10, "1d"),
                window(LimitUnit::Requests, 11, "day"),
                window(LimitUnit::Usd, 12, "year-UTC"),
            ],
            ..Limits::default()
        };
        let ids = ids(&limits);
        assert_eq!(
            ids,
            [
                "team:t|requests|rolling-60000ms 1",
                "team:t|tokens|rolling-60000ms 2",
                "team:t|parallel|lifetime 3",
                "team:t|model:gpt|requests|rolling-60000ms 5",
                "team:t|model:gpt|tokens|rolling-60000ms 6",
                "team:t|nano_usd|month-Europe/Berlin 4",
                "team:t|nano_usd|day-Europe/Berlin 7",
                "team:t|nano_usd|lifetime 8",
                "team:t|model:gpt|nano_usd|week-Europe/Berlin 9",
                "team:t|tokens|rolling-86400000ms 10",
                "team:t|requests|day-Europe/Berlin 11",
                "team:t|nano_usd|year-UTC 12",
            ]
        );
    }

    #[test]
    fn durations_are_litellms() {
        for (duration, window) in [
            ("30s", "fixed-30000ms"),
            ("90m", "fixed-5400000ms"),
            ("24h", "day-UTC"),
            ("1d", "day-UTC"),
            ("7d", "week-UTC"),
            ("1mo", "month-UTC"),
            ("2d", "fixed-172800000ms"),
        ] {
            assert_eq!(budget_window(duration, &Zone::utc()).to_string(), window, "{duration}");
        }
    }
}
