//! The prices in the binary, by provider and model.
//!
//! `make prices` writes the table. Models are looked up when a configuration is loaded, not when a
//! request is served.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::rates::Told;
use super::{Listing, Period, Price, Rates, ServiceTier};

mod names;

use names::Names;

const EMBEDDED: &str = include_str!("table.json");

/// Prices by provider and model.
#[derive(Debug)]
pub struct PriceTable {
    version: Arc<str>,
    providers: HashMap<String, Provider>,
}

#[derive(Debug)]
struct Provider {
    /// Providers whose models this one serves, too, at their prices.
    also: Vec<String>,
    names: Names,
    models: Vec<Model>,
}

/// A table that can't be read. The one in the binary can.
#[derive(Debug, thiserror::Error)]
#[error("the table of prices can't be read: {0}")]
pub struct TableError(#[from] serde_json::Error);

impl PriceTable {
    /// The table in the binary. Read when it is first asked for, which takes some milliseconds.
    pub fn embedded() -> &'static Self {
        static TABLE: OnceLock<PriceTable> = OnceLock::new();
        // A test reads it. An empty table makes every model one without a price, which is refused.
        TABLE.get_or_init(|| {
            let empty = |_| Self { version: "none".into(), providers: HashMap::new() };
            Self::parse(EMBEDDED).unwrap_or_else(empty)
        })
    }

    fn parse(text: &str) -> Result<Self, TableError> {
        let file: File = serde_json::from_str(text)?;
        let providers = file.providers.into_iter().map(|(name, provider)| {
            let rules = provider.models.iter().map(|model| &*model.rules);
            let names = Names::new(rules);
            (name, Provider { also: provider.also, names, models: provider.models })
        });
        let version = format!("{} {}", file.source, file.date).into();
        Ok(Self { version, providers: providers.collect() })
    }

    /// The source's name, its version, and the day of its prices.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What `model` costs at `provider`, both as the catalogue and the provider call them. `None`
    /// where the table does not say.
    pub fn find(&self, provider: &str, model: &str) -> Option<Listing> {
        let model = model.to_ascii_lowercase();
        let provider = self.providers.get(provider)?;
        let found = provider.find(&model).or_else(|| {
            let also = provider.also.iter().filter_map(|name| self.providers.get(name));
            also.into_iter().find_map(|provider| provider.find(&model))
        })?;
        Some(Listing {
            price: Arc::new(found.price(self.version.clone())?),
            max_output_tokens: None,
            max_input_tokens: found.context,
        })
    }
}

impl Provider {
    fn find(&self, model: &str) -> Option<&Model> {
        self.models.get(self.names.find(model)?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    source: String,
    date: Date,
    providers: BTreeMap<String, FileProvider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileProvider {
    #[serde(default)]
    also: Vec<String>,
    models: Vec<Model>,
}

/// One line of the table. It has boxes rather than vectors, which have room for four where there is one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    /// For a person who reads the table.
    #[serde(rename = "id")]
    _id: String,
    context: Option<u64>,
    #[serde(rename = "match")]
    rules: Box<[names::Rule]>,
    prices: Box<[FilePeriod]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePeriod {
    /// The first day, in UTC; of the first period none.
    from: Option<Date>,
    standard: Box<[FileBand]>,
    batch: Option<Box<[FileBand]>>,
    flex: Option<Box<[FileBand]>>,
    priority: Option<Box<[FileBand]>>,
    fast: Option<Box<[FileBand]>>,
}

/// Pico-USD a token, for inputs of more than `over` tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBand {
    #[serde(default)]
    over: u64,
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    audio_input: Option<u64>,
    audio_cache_read: Option<u64>,
    audio_output: Option<u64>,
    image_input: Option<u64>,
    image_cache_read: Option<u64>,
    image_output: Option<u64>,
    /// Pico-USD a request.
    request: Option<u64>,
}

impl Model {
    fn price(&self, version: Arc<str>) -> Option<Price> {
        let (first, later) = self.prices.split_first()?;
        let starting = |period: &FilePeriod| {
            let from = period.from?.to_zoned(TimeZone::UTC).ok()?;
            Some((from.timestamp().as_second(), period.period()?))
        };
        let mut later: Vec<_> = later.iter().map(starting).collect::<Option<_>>()?;
        later.sort_by_key(|(from, _)| *from);
        Some(Price { version, first: first.period()?, later })
    }
}

impl FilePeriod {
    fn period(&self) -> Option<Period> {
        let others = [
            (ServiceTier::Batch, &self.batch),
            (ServiceTier::Flex, &self.flex),
            (ServiceTier::Priority, &self.priority),
            (ServiceTier::Fast, &self.fast),
        ];
        let others = others.into_iter().filter_map(|(tier, bands)| Some((tier, bands.as_ref()?)));
        let others = others.map(|(tier, bands)| Some((tier, rates(bands)?)));
        Some(Period { standard: rates(&self.standard)?, others: others.collect::<Option<_>>()? })
    }
}

fn rates(bands: &[FileBand]) -> Option<Rates> {
    let request = bands.iter().filter_map(|band| band.request).max().unwrap_or(0);
    Rates::new(bands.iter().map(|band| (band.over, band.told())).collect(), request)
}

impl FileBand {
    fn told(&self) -> Told {
        Told {
            input: self.input,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write_1h,
            output: self.output,
            reasoning: self.reasoning,
            audio_input: self.audio_input,
            audio_cache_read: self.audio_cache_read,
            audio_output: self.audio_output,
            image_input: self.image_input,
            image_cache_read: self.image_cache_read,
            image_output: self.image_output,
        }
    }
}

#[cfg(test)]
mod tests;
