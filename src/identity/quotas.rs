//! From the limits that are stored to the quotas that are counted.

use sluicegate_filters::admit::{Period, Quota, Scope, Unit, Window, Zone};

use crate::stores::records::Limits;

const MINUTE: Window = Window::Rolling { ms: 60_000 };

/// What `limits` mean for `scope`.
pub fn of(scope: &Scope, limits: &Limits) -> Vec<Quota> {
    let mut quotas = Vec::new();
    let mut add = |unit, window, limit: Option<u64>| {
        quotas.extend(limit.map(|limit| Quota::new(scope.clone(), unit, window, limit)));
    };
    add(Unit::Requests, MINUTE, limits.rpm);
    add(Unit::Tokens, MINUTE, limits.tpm);
    add(Unit::Parallel, Window::Lifetime, limits.parallel);
    for (unit, by_model) in [(Unit::Requests, &limits.model_rpm), (Unit::Tokens, &limits.model_tpm)]
    {
        for (model, limit) in by_model {
            quotas.push(Quota::new(scope.clone().for_model(model), unit, MINUTE, *limit));
        }
    }
    if limits.budget.is_some() || limits.soft_budget.is_some() {
        let window = limits.budget_duration.as_deref().map_or(Window::Lifetime, budget_window);
        // A soft limit alone warns and refuses nothing.
        let limit = limits.budget.unwrap_or(u64::MAX);
        let mut quota = Quota::new(scope.clone(), Unit::NanoUsd, window, limit);
        quota.soft = limits.soft_budget;
        quotas.push(quota);
    }
    quotas
}

/// The window of a budget's duration, as LiteLLM resets it: days, weeks and months are the calendar's,
/// in UTC.
pub fn budget_window(duration: &str) -> Window {
    let calendar = |period| Window::Calendar { period, zone: Zone::utc() };
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
    use sluicegate_filters::admit::ScopeKind;

    use super::*;

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
        };
        let ids: Vec<_> = of(&Scope::new(ScopeKind::Team, "t"), &limits)
            .iter()
            .map(|quota| format!("{} {}", quota.id(), quota.limit))
            .collect();
        assert_eq!(
            ids,
            [
                "team:t|requests|rolling-60000ms 1",
                "team:t|tokens|rolling-60000ms 2",
                "team:t|parallel|lifetime 3",
                "team:t|model:gpt|requests|rolling-60000ms 5",
                "team:t|model:gpt|tokens|rolling-60000ms 6",
                "team:t|nano_usd|month-UTC 4",
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
            assert_eq!(budget_window(duration).to_string(), window, "{duration}");
        }
    }
}
