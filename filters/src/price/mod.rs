//! What a request costs: rates by kind of token, in integers.
//!
//! | module | what it does |
//! |---|---|
//! | [`decimal`] | exact decimals, read and written without floats |
//! | [`rates`] | the cost of a usage, and the most that a request can cost |
//! | [`table`] | the prices in the binary, by provider and model |
//! | [`manual`] | a price that an operator wrote |
//! | [`litellm`] | a file of prices in LiteLLM's format |
//!
//! Rates are pico-USD (10^-12 USD) a token: one USD per million tokens is 1,000,000 of them. Costs
//! are nano-USD (10^-9 USD), rounded up once, after everything that a request used is added up.

pub mod decimal;
pub mod litellm;
pub mod manual;
pub mod rates;
pub mod table;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use litellm::PriceFile;
pub use manual::ManualPrice;
pub use rates::{Rates, Worst};
pub use table::PriceTable;

/// The ceiling on the output of a model of which neither configuration nor any source says one: as
/// many tokens as the longest answer of any well-known model has.
pub const DEFAULT_MAX_OUTPUT_TOKENS: u64 = 131_072;

/// How fast, and how dear, a provider is asked to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceTier {
    /// What a request without a wish gets.
    Standard,
    /// Of the providers' batch endpoints.
    Batch,
    /// Cheaper, and later.
    Flex,
    /// Dearer, and sooner.
    Priority,
    /// Dearer, with faster output.
    Fast,
}

impl ServiceTier {
    /// Every tier.
    pub const ALL: [Self; 5] =
        [Self::Standard, Self::Batch, Self::Flex, Self::Priority, Self::Fast];

    /// The name in the table, in logs and in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Fast => "fast",
        }
    }
}

/// What one model costs at one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    version: Arc<str>,
    first: Period,
    /// By their first second, ascending.
    later: Vec<(i64, Period)>,
}

/// The rates of a time without a change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Period {
    standard: Rates,
    others: Vec<(ServiceTier, Rates)>,
}

impl Price {
    /// A price that never changes, with one tier.
    pub fn constant(version: impl Into<Arc<str>>, rates: Rates) -> Self {
        Self::tiered(version, rates, Vec::new())
    }

    fn tiered(
        version: impl Into<Arc<str>>,
        standard: Rates,
        others: Vec<(ServiceTier, Rates)>,
    ) -> Self {
        let first = Period { standard, others };
        Self { version: version.into(), first, later: Vec::new() }
    }

    /// Where the price is from, for the ledger: `config:1a2b3c4d`, `file:1a2b3c4d` or
    /// `genai-prices 0.2.3 2026-11-24`.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The rates of a request that began at `unix_seconds`. Some prices are known to change on a
    /// day to come, so hold and settlement must both ask for the request's own time.
    ///
    /// A tier that the source has no rates of has the standard ones.
    pub fn rates(&self, unix_seconds: i64, tier: ServiceTier) -> &Rates {
        let later = self.later.iter().rev().find(|(from, _)| *from <= unix_seconds);
        let period = later.map_or(&self.first, |(_, period)| period);
        let other = period.others.iter().find(|(other, _)| *other == tier);
        other.map_or(&period.standard, |(_, rates)| rates)
    }
}

/// What a source says of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its price.
    pub price: Arc<Price>,
    /// The most tokens that one of its answers can have.
    pub max_output_tokens: Option<u64>,
    /// The most tokens that it takes.
    pub max_input_tokens: Option<u64>,
}

/// A word that tells one content from another: the first 32 bits of its SHA-256, in hex.
fn hash8(content: &[u8]) -> impl fmt::Display {
    struct Hex([u8; 4]);
    impl fmt::Display for Hex {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        }
    }
    let digest = Sha256::digest(content);
    Hex([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use super::rates::Told;
    use super::*;

    fn rates(input: u64) -> Rates {
        let told = Told { input: Some(input), output: Some(1), ..Told::default() };
        Rates::new(vec![(0, told)], 0).unwrap()
    }

    #[test]
    fn a_price_changes_on_its_day_and_not_before() {
        let mut price = Price::tiered("v", rates(1), vec![(ServiceTier::Batch, rates(2))]);
        price.later.push((100, Period { standard: rates(3), others: Vec::new() }));
        price.later.push((200, Period { standard: rates(4), others: Vec::new() }));
        for (at, tier, expected) in [
            (0, ServiceTier::Standard, 1),
            (99, ServiceTier::Batch, 2),
            (99, ServiceTier::Priority, 1),
            (100, ServiceTier::Batch, 3),
            (199, ServiceTier::Standard, 3),
            (i64::MAX, ServiceTier::Standard, 4),
            (i64::MIN, ServiceTier::Standard, 1),
        ] {
            assert_eq!(*price.rates(at, tier), rates(expected), "{at} {tier:?}");
        }
    }

    #[test]
    fn the_word_of_a_content_is_its_hash() {
        assert_eq!(hash8(b"").to_string(), "e3b0c442");
    }
}
