//! What is left of the limits, as headers on every answer.
//!
//! OpenAI's names; the duration until a limit is whole again is written as its SDKs read it (`6m0s`,
//! `1s`, `12ms`). Of several limits on one unit, the one with the least left is told.

use http::{HeaderMap, HeaderName, HeaderValue};
use sluicegate_filters::admit::Unit;
use sluicegate_quota::Standing;

static REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS: [HeaderName; 3] = [
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

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none() && !self.soft_exceeded
    }

    /// Tells it in the head of a provider's answer, instead of what the provider says of the limits that the
    /// gateway itself is under. Where there is nothing to tell, that stays.
    pub fn tell_in(&self, head: &mut HeaderMap) {
        if self.requests.is_some() || self.tokens.is_some() {
            for name in REQUESTS.iter().chain(&TOKENS) {
                head.remove(name);
            }
        }
        self.tell(|name, value| drop(head.insert(name, value)));
    }

    /// Gives `put` the headers that tell it.
    pub fn tell(&self, mut put: impl FnMut(HeaderName, HeaderValue)) {
        for (names, standing) in [(&REQUESTS, &self.requests), (&TOKENS, &self.tokens)] {
            let Some(it) = standing else { continue };
            let [limit, remaining, reset] = names.clone();
            put(limit, HeaderValue::from(it.limit));
            put(remaining, HeaderValue::from(it.remaining));
            if let Some(wait) = it.resets_in_ms.and_then(duration) {
                put(reset, wait);
            }
        }
        if self.soft_exceeded {
            put(SOFT, HeaderValue::from_static("exceeded"));
        }
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
    fn what_tells_nothing_has_no_headers() {
        let none = Standings::default().with(standing(Unit::NanoUsd, 7, 1));
        assert!(none.is_empty());
        none.tell(|name, _| panic!("{name} tells nothing"));
        for unit in [Unit::Requests, Unit::Tokens] {
            assert!(!Standings::default().with(standing(unit, 7, 1)).is_empty());
        }
        let soft = Standing { soft_exceeded: true, ..standing(Unit::NanoUsd, 7, 1) };
        assert!(!Standings::default().with(soft).is_empty());
    }

    #[test]
    fn a_providers_own_limits_are_told_only_where_the_caller_has_none() {
        let mut providers = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-limit-requests", "9000"),
            ("x-ratelimit-remaining-tokens", "70000"),
            ("x-other", "stays"),
        ] {
            providers.append(name, HeaderValue::from_static(value));
        }
        let mut head = providers.clone();
        Standings::default().tell_in(&mut head);
        assert_eq!(head, providers);
        let soft = Standing { soft_exceeded: true, ..standing(Unit::NanoUsd, 7, 1) };
        Standings::default().with(soft).tell_in(&mut head);
        assert_eq!(head.len(), providers.len() + 1, "and that a budget is nearly used up");
        Standings::default().with(standing(Unit::Requests, 7, 1)).tell_in(&mut head);
        let requests: Vec<_> = head.get_all("x-ratelimit-limit-requests").iter().collect();
        assert_eq!(requests, ["100"]);
        assert!(!head.contains_key("x-ratelimit-remaining-tokens"), "it is of another's limits");
        assert_eq!(head["x-other"], "stays");
    }

    #[test]
    fn the_limit_with_the_least_left_is_told() {
        let standings = Standings::default()
            .with(standing(Unit::Tokens, 40, 60_000))
            .with(standing(Unit::Tokens, 7, 86_399_000))
            .with(standing(Unit::Requests, 0, 1_001))
            .with(Standing { soft_exceeded: true, ..standing(Unit::NanoUsd, 1, 1) });
        let mut told = Vec::new();
        standings.tell(|name, value| told.push(format!("{name}: {}", value.to_str().unwrap())));
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
