//! `models.<name>.price`: from USD a token to USD per million tokens, digit by digit.

use sluicegate_filters::price::decimal::{self, DecimalError};

use super::Migration;
use super::at::{At, plain_number};
use super::models::{Deployment, Group};
use super::yaml::{Map, Yaml};

/// LiteLLM's keys with ours.
const KEYS: [(&str, &str); 9] = [
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cached_input"),
    ("cache_creation_input_token_cost", "cache_write"),
    ("cache_creation_input_token_cost_above_1hr", "cache_write_1h"),
    ("output_cost_per_reasoning_token", "reasoning"),
    ("input_cost_per_audio_token", "audio_input"),
    ("output_cost_per_audio_token", "audio_output"),
    ("input_cost_per_request", "request"),
];

/// Decimals of USD that make whole pico-USD.
const DECIMALS: u32 = 12;
/// Of USD per million tokens.
const MILLION_DECIMALS: u32 = 6;
/// A dollar a token, in pico-USD: a million for a million.
const MAX_TOKEN: u64 = 1_000_000_000_000;
/// A thousand dollars a request, in pico-USD.
const MAX_REQUEST: u64 = 1_000_000_000_000_000;

/// The prices of one deployment, with where each stands.
type Prices<'n> = Vec<(&'static str, At<'n>, Option<u64>)>;

/// The price of a model, where all its deployments have the same.
pub(super) fn write<'n>(migration: &mut Migration<'n>, group: &Group<'n>, to: &str) -> Map {
    let all: Vec<Prices<'n>> = group.deployments.iter().map(|it| prices(migration, it)).collect();
    let amounts = |prices: &Prices<'n>| -> Vec<(&'static str, Option<u64>)> {
        prices.iter().map(|(key, _, amount)| (*key, *amount)).collect()
    };
    let first = all.first().map(&amounts).unwrap_or_default();
    if all.iter().all(Vec::is_empty) {
        return Map::default();
    }
    if all.iter().any(|prices| amounts(prices) != first) {
        let message = "the model's deployments have several prices, and a model has one";
        refuse(migration, &all, message);
        return Map::default();
    }
    let amount = |key: &str| first.iter().find(|(known, _)| *known == key).and_then(|it| it.1);
    let embeds = group.deployments.iter().all(|deployment| {
        let mode = deployment.info.as_ref().and_then(|info| info.get("mode"));
        mode.is_some_and(|mode| mode.text() == Some("embedding"))
    });
    let named = |key: &str| first.iter().any(|(known, _)| *known == key);
    let output = amount("output").or((embeds && !named("output")).then_some(0));
    let (Some(input), Some(output)) = (amount("input"), output) else {
        refuse(migration, &all, "a price needs a good one for input and one for output");
        return Map::default();
    };
    let mut map = Map::default();
    for (_, key) in KEYS {
        let amount = match key {
            "input" => Some(input),
            "output" => Some(output),
            _ => amount(key),
        };
        if let Some(amount) = amount {
            let decimals = if key == "request" { DECIMALS } else { MILLION_DECIMALS };
            map.put(key, Yaml::Text(decimal::format(amount, decimals)));
        }
    }
    for (key, at, amount) in all.iter().flatten() {
        if amount.is_none() {
            continue;
        }
        let to = format!("{to}.{key}");
        if is_exact(at.text().unwrap_or_default()) {
            migration.accounts.carried(at, to);
        } else {
            let message = "rounded up to a millionth of a millionth of a dollar";
            migration.accounts.changed(at, to, message, None);
        }
    }
    map
}

/// What a deployment's tokens cost. The parameters win over `model_info`, as in LiteLLM.
fn prices<'n>(migration: &mut Migration<'n>, deployment: &Deployment<'n>) -> Prices<'n> {
    let mut found = Prices::new();
    for (theirs, ours) in KEYS {
        let own = deployment.params.get(theirs);
        let info = deployment.info.as_ref().and_then(|info| info.get(theirs));
        if let (Some(_), Some(info)) = (&own, &info) {
            migration.accounts.not_needed(info, "`litellm_params` says it, and wins");
        }
        let Some(at) = own.or(info) else { continue };
        let amount = match amount(at.text().unwrap_or_default(), ours == "request") {
            Ok(amount) => Some(amount),
            Err(error) => {
                let message = match error {
                    DecimalError::TooLarge if ours == "request" => {
                        "more than 1000 USD a request: left out"
                    }
                    DecimalError::TooLarge => "more than 1000000 USD per million tokens: left out",
                    DecimalError::Malformed | DecimalError::TooFine(_) => "is no price: left out",
                };
                let action = "write the model's `price` (docs/prices.md)";
                migration.accounts.no_equal(&at, message, action);
                None
            }
        };
        found.push((ours, at, amount));
    }
    found
}

fn refuse(migration: &mut Migration<'_>, all: &[Prices<'_>], message: &str) {
    for (_, at, amount) in all.iter().flatten() {
        if amount.is_some() {
            let action = "put prices of each provider's model into a file (`prices.file`, \
                          docs/prices.md), or write the model's `price`";
            migration.accounts.no_equal(at, message, action);
        }
    }
}

/// Pico-USD a token, or a request.
fn amount(text: &str, request: bool) -> Result<u64, DecimalError> {
    let most = if request { MAX_REQUEST } else { MAX_TOKEN };
    decimal::parse_json_number(&plain_number(text), DECIMALS, most)
}

/// Whether nothing of a number is lost in [`DECIMALS`] decimals.
fn is_exact(text: &str) -> bool {
    let text = plain_number(text).to_ascii_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    if zeros == digits.len() {
        return true;
    }
    let exponent = exponent.parse::<i64>().unwrap_or(0);
    let decimals = fraction.len() as i64 - zeros as i64;
    decimals.saturating_sub(exponent) <= i64::from(DECIMALS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluicegate_filters::price::manual::parse_per_million;

    use super::*;

    fn per_million(text: &str) -> Result<String, DecimalError> {
        amount(text, false).map(|amount| decimal::format(amount, MILLION_DECIMALS))
    }

    #[test]
    fn a_token_s_price_becomes_a_million_s_without_noise() {
        for (text, expected) in [
            ("0.0000025", "2.5"),
            ("2.5e-06", "2.5"),
            ("1.5E-7", "0.15"),
            ("1e-06", "1"),
            (".00000015", "0.15"),
            ("0.000_002_5", "2.5"),
            ("+3e-5", "30"),
            ("0", "0"),
            ("0.0", "0"),
            ("1", "1000000"),
            ("3.75e-06", "3.75"),
            ("8.333e-11", "0.000084"),
            ("4.9999999999999996e-06", "5"),
        ] {
            assert_eq!(per_million(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_told_from_what_is_too_dear() {
        for (text, expected) in [
            ("2", DecimalError::TooLarge),
            ("1.000000000001", DecimalError::TooLarge),
            ("1e400", DecimalError::TooLarge),
            ("-1e-6", DecimalError::Malformed),
            ("free", DecimalError::Malformed),
            ("", DecimalError::Malformed),
            (".inf", DecimalError::Malformed),
            ("os.environ/PRICE", DecimalError::Malformed),
        ] {
            assert_eq!(per_million(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn rounding_is_told() {
        for text in ["0.0000025", "2.5e-06", "1", "0", "1e-12", "10e-13"] {
            assert!(is_exact(text), "{text}");
        }
        for text in ["8.333e-11", "1e-13", "4.9999999999999996e-06"] {
            assert!(!is_exact(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_price_that_fits_is_kept_exactly(pico in 0..=MAX_TOKEN, places in 0u32..10) {
            // The same number, written with its point somewhere else.
            let text = format!("{}e-{}", decimal::format(pico, places), DECIMALS - places);
            let written = per_million(&text).unwrap();
            prop_assert_eq!(parse_per_million(&written), Ok(pico));
            prop_assert!(is_exact(&text));
        }

        #[test]
        fn nothing_panics(text in "[0-9eE.+_-]{0,40}|.{0,20}") {
            let _ = (per_million(&text), is_exact(&text));
        }
    }
}
