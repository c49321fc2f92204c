//! What an answer costs, as its caller is told: in a header of a plain answer, and where it was asked for in
//! the usage of a stream.
//!
//! A plain answer's head waits for its body, whose end tells the usage: see `gather`. A
//! stream's can't, so that its cost is in the event that has its usage.

use http::{HeaderMap, HeaderName, HeaderValue};
use sluicegate_filters::price::{ServiceTier, decimal};

use super::ctx::Exchange;
use super::gather;
use crate::chat::Usage;
use crate::config::valid::Answers;
use crate::dialects::Endpoint;
use crate::dialects::observe::Annotate;

/// What the answer has cost, in US dollars.
pub const COST: HeaderName = HeaderName::from_static("x-sluicegate-cost-usd");

/// What all attempts of a settled request have cost, in nano-USD. `None`: there was no price.
pub fn of_all(exchange: &Exchange) -> Option<u64> {
    (exchange.spent > 0 || exchange.target().price.is_some()).then_some(exchange.spent)
}

/// Whether the caller wants a stream's cost in its usage: `true` or `false`.
const INCLUDE: HeaderName = HeaderName::from_static("x-sluicegate-include-cost");

/// What `usage` costs at the present attempt's target, in nano-USD, at the rates of the request's beginning
/// and of the service that the provider says it gave. `None`: the target has no price.
pub fn cost(exchange: &Exchange, usage: &Usage) -> Option<u64> {
    let price = exchange.target().price.as_ref()?;
    if *usage == Usage::default() {
        return Some(0);
    }
    let tier = exchange.reply.tier().unwrap_or(ServiceTier::Standard);
    Some(price.rates(exchange.began_at, tier).cost(usage))
}

/// Whether a plain answer, whose head has come, is to wait for its cost.
pub fn is_awaited(exchange: &Exchange, answers: &Answers) -> bool {
    answers.cost_header
        && exchange.target().price.is_some()
        && exchange.endpoint != Endpoint::CountTokens
        && exchange.length.is_none_or(|length| length <= gather::MOST as u64)
}

/// What the request has cost up to here, attempts before this one included, as the header's value. `None`:
/// the provider has told no usage, or the target has no price.
pub fn told(exchange: &Exchange) -> Option<HeaderValue> {
    let cost = cost(exchange, &exchange.reply.usage()?)?;
    HeaderValue::try_from(usd(exchange.spent.saturating_add(cost))).ok()
}

/// Whether the caller wants a stream's cost in its usage.
pub fn is_included(caller: &HeaderMap, answers: &Answers) -> bool {
    let wish = caller.get(INCLUDE).map(|value| value.as_bytes().trim_ascii());
    match wish {
        Some(wish) if wish.eq_ignore_ascii_case(b"true") => true,
        Some(wish) if wish.eq_ignore_ascii_case(b"false") => false,
        _ => answers.stream_cost,
    }
}

/// Writes the cost into a stream's usage. `None`: the target has no price.
pub fn annotation(exchange: &Exchange) -> Option<Annotate> {
    let price = exchange.target().price.clone()?;
    let (began_at, before) = (exchange.began_at, exchange.spent);
    Some(Box::new(move |usage, tier| {
        let cost = price.rates(began_at, tier).cost(usage);
        format!("\"cost_usd\":\"{}\"", usd(before.saturating_add(cost)))
    }))
}

fn usd(nano: u64) -> String {
    decimal::format(nano, 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_wish_wins_over_the_configuration() {
        for (wish, default, expected) in [
            (None, false, false),
            (None, true, true),
            (Some("true"), false, true),
            (Some(" TRUE "), false, true),
            (Some("false"), true, false),
            (Some("1"), false, false),
            (Some("yes"), true, true),
        ] {
            let mut caller = HeaderMap::new();
            if let Some(wish) = wish {
                caller.insert(INCLUDE, HeaderValue::from_static(wish));
            }
            let answers = Answers { cost_header: true, stream_cost: default };
            assert_eq!(is_included(&caller, &answers), expected, "{wish:?} {default}");
        }
    }

    #[test]
    fn costs_are_plain_decimals() {
        assert_eq!(usd(123_000), "0.000123");
        assert_eq!(usd(1), "0.000000001");
        assert_eq!(usd(2_500_000_000), "2.5");
        assert_eq!(usd(0), "0");
    }
}
