//! What is left of the limits, as headers on every answer.
//!
//! OpenAI's names; the duration until a limit is whole again is written as its SDKs read it (`6m0s`,
//! `1s`, `12ms`). Of several limits on one unit, the one with the least left is told.

use http::{HeaderName, HeaderValue};
use sluicegate_filters::admit::Unit;
use sluicegate_quota::Standing;

const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
/// Which budgets are past their soft limit.
const SOFT: HeaderName = HeaderName::from_static("x-sluicegate-soft-limit");

/// What is left of one request's limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standings {
    requests: Option<Standing>,
    tokens: Option<Standing>,
    soft_exceeded: bool,
}

impl Standings {
    /// The same, with one limit more.
    pub fn with(mut self, standing: Standing) -> Self {
        let least = match standing.unit {
            Unit::Requests => Some(&mut self.requests),
            Unit::Tokens => Some(&mut self.tokens),
            Unit::NanoUsd | Unit::Parallel => None,
        };
        if let Some(least) = least
            && least.is_none_or(|known| standing.remaining < known.remaining)
        {
            *least = Some(standing);
        }
        self.soft_exceeded |= standing.soft_exceeded;
        self
    }

    /// The headers that tell it.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let rate = |names: [HeaderName; 3], standing: Option<Standing>| {
            standing.into_iter().flat_map(move |it| {
                let [limit, remaining, reset] = names.clone();
                [
                    Some((limit, HeaderValue::from(it.limit))),
                    Some((remaining, HeaderValue::from(it.remaining))),
                    it.resets_in_ms.and_then(|ms| Some((reset, duration(ms)?))),
                ]
                .into_iter()
                .flatten()
            })
        };
        let soft = self.soft_exceeded.then(|| (SOFT, HeaderValue::from_static("exceeded")));
        rate(REQUESTS, self.requests).chain(rate(TOKENS, self.tokens)).chain(soft)
    }
}

/// As Go writes durations.
fn duration(ms: i64) -> Option<HeaderValue> {
    let ms = ms.max(0);
    let (seconds, minutes, hours) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    let mut text = String::with_capacity(16);
    let mut digits = itoa::Buffer::new();
    let mut write = |number: i64, unit: &str| {
        text.push_str(digits.format(number));
        text.push_str(unit);
    };
    match ms {
        0..1_000 => write(ms, "ms"),
        1_000..60_000 => write((ms + 999) / 1_000, "s"),
        _ => {
            if hours > 0 {
                write(hours, "h");
            }
            write(minutes % 60, "m");
            write(seconds % 60, "s");
        }
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(unit: Unit, remaining: u64, ms: i64) -> Standing {
        Standing { unit, limit: 100, remaining, soft_exceeded: false, resets_in_ms: Some(ms) }
    }

    #[test]
    fn the_limit_with_the_least_left_is_told() {
        let standings = Standings::default()
            .with(standing(Unit::Tokens, 40, 60_000))
            .with(standing(Unit::Tokens, 7, 86_399_000))
            .with(standing(Unit::Requests, 0, 1_001))
            .with(Standing { soft_exceeded: true, ..standing(Unit::NanoUsd, 1, 1) });
        let told: Vec<_> = standings
            .headers()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                "x-ratelimit-limit-requests: 100",
                "x-ratelimit-remaining-requests: 0",
                "x-ratelimit-reset-requests: 2s",
                "x-ratelimit-limit-tokens: 100",
                "x-ratelimit-remaining-tokens: 7",
                "x-ratelimit-reset-tokens: 23h59m59s",
                "x-sluicegate-soft-limit: exceeded",
            ]
        );
    }
}
