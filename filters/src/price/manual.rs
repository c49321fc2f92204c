//! A price that an operator wrote.

use std::fmt::Write as _;
use std::sync::Arc;

use super::decimal::{self, DecimalError};
use super::rates::Told;
use super::{Price, Rates, hash8};

/// Decimals of USD per million tokens that make whole pico-USD a token.
const TOKEN_DECIMALS: u32 = 6;
/// Decimals of USD that make whole pico-USD.
const REQUEST_DECIMALS: u32 = 12;
/// A dollar a token, in pico-USD.
const MAX_TOKEN: u64 = 1_000_000_000_000;
/// A thousand dollars a request, in pico-USD.
const MAX_REQUEST: u64 = 1_000_000_000_000_000;

/// The price of one model. Replaces what other sources say of it as a whole: a kind that is not
/// told costs what its whole does, as in [`Told`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManualPrice {
    /// Pico-USD a token.
    pub input: u64,
    /// Pico-USD a token; 0 for a model without output.
    pub output: u64,
    /// Pico-USD a token.
    pub cached_input: Option<u64>,
    /// Pico-USD a token.
    pub cache_write: Option<u64>,
    /// Pico-USD a token.
    pub cache_write_1h: Option<u64>,
    /// Pico-USD a token.
    pub reasoning: Option<u64>,
    /// Pico-USD a token.
    pub audio_input: Option<u64>,
    /// Pico-USD a token.
    pub audio_output: Option<u64>,
    /// Pico-USD a request.
    pub request: Option<u64>,
}

impl ManualPrice {
    /// The price, whose version is `config:` and a word for its content.
    pub fn price(&self) -> Option<Price> {
        let told = Told {
            input: Some(self.input),
            output: Some(self.output),
            cache_read: self.cached_input,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write_1h,
            reasoning: self.reasoning,
            audio_input: self.audio_input,
            audio_output: self.audio_output,
            ..Told::default()
        };
        let rates = Rates::new(vec![(0, told)], self.request.unwrap_or(0))?;
        let version: Arc<str> = format!("config:{}", hash8(self.canonical().as_bytes())).into();
        Some(Price::constant(version, rates))
    }

    /// Every key that is set with its value, in one order.
    fn canonical(&self) -> String {
        let mut text = String::new();
        for (key, value) in [
            ("input", Some(self.input)),
            ("output", Some(self.output)),
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("cache_write_1h", self.cache_write_1h),
            ("reasoning", self.reasoning),
            ("audio_input", self.audio_input),
            ("audio_output", self.audio_output),
            ("request", self.request),
        ] {
            if let Some(value) = value {
                // Writing into a string can't fail.
                let _ = write!(text, "{key}={value};");
            }
        }
        text
    }
}

/// Reads USD per million tokens, as pico-USD a token.
///
/// # Errors
/// It is no plain decimal, has more than six decimals, or is more than a million.
pub fn parse_per_million(text: &str) -> Result<u64, DecimalError> {
    decimal::parse(text, TOKEN_DECIMALS, MAX_TOKEN)
}

/// Reads USD a request, as pico-USD.
///
/// # Errors
/// It is no plain decimal, has more than twelve decimals, or is more than a thousand.
pub fn parse_per_request(text: &str) -> Result<u64, DecimalError> {
    decimal::parse(text, REQUEST_DECIMALS, MAX_REQUEST)
}

/// Writes pico-USD a token as USD per million tokens.
pub fn format_per_million(pico: u64) -> String {
    decimal::format(pico, TOKEN_DECIMALS)
}

/// Writes pico-USD as USD.
pub fn format_per_request(pico: u64) -> String {
    decimal::format(pico, REQUEST_DECIMALS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::ServiceTier;
    use crate::usage::Usage;

    #[test]
    fn a_price_is_by_the_million() {
        let manual = ManualPrice {
            input: parse_per_million("0.15").unwrap(),
            output: parse_per_million("0.60").unwrap(),
            cached_input: Some(parse_per_million("0.075").unwrap()),
            request: Some(parse_per_request("0.01").unwrap()),
            ..ManualPrice::default()
        };
        let price = manual.price().unwrap();
        let usage = Usage {
            input: 1_000_000,
            cache_read: 1_000_000,
            output: 1_000_000,
            ..Usage::default()
        };
        // 0.15 + 0.075 + 0.60 + 0.01 USD.
        assert_eq!(price.rates(0, ServiceTier::Standard).cost(&usage), 835_000_000);
    }

    #[test]
    fn the_version_tells_prices_apart() {
        let version = |manual: ManualPrice| manual.price().unwrap().version().to_string();
        let one = ManualPrice { input: 1, output: 2, ..ManualPrice::default() };
        assert_eq!(version(one), version(one));
        assert!(version(one).starts_with("config:"));
        let free_cache = ManualPrice { cached_input: Some(0), ..one };
        assert_ne!(version(one), version(free_cache));
    }

    #[test]
    fn limits() {
        assert_eq!(parse_per_million("1000000"), Ok(MAX_TOKEN));
        assert_eq!(parse_per_million("1000000.000001"), Err(DecimalError::TooLarge));
        assert_eq!(parse_per_million("0.0000001"), Err(DecimalError::TooFine(6)));
        assert_eq!(parse_per_request("0.000000000001"), Ok(1));
        assert_eq!(format_per_million(150_000), "0.15");
        assert_eq!(format_per_request(12_000_000_000), "0.012");
    }
}
