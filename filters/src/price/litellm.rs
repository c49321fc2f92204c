//! A file of prices in LiteLLM's format (`model_prices_and_context_window.json`).
//!
//! Costs there are USD a token, as JSON numbers in scientific notation. They are read from their
//! digits, never through a float, and rounded up to a pico-USD a token.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::decimal::{self, DecimalError};
use super::rates::Told;
use super::{Listing, Price, Rates, ServiceTier, hash8};

/// The largest file that is read, in bytes; LiteLLM's own has about two million.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Decimals of USD that make whole pico-USD.
const DECIMALS: u32 = 12;
/// A thousand dollars, in pico-USD: more for a token or a request is a slip.
const MAX_RATE: u64 = 1_000_000_000_000_000;
/// The entry that explains the format.
const SAMPLE: &str = "sample_spec";

/// Prices by LiteLLM's names.
#[derive(Debug)]
pub struct PriceFile {
    version: Arc<str>,
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    provider: Option<String>,
    /// `None` where the model is not billed by tokens.
    price: Option<Arc<Price>>,
    max_output_tokens: Option<u64>,
    max_input_tokens: Option<u64>,
}

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is too large.
    #[error("is larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    /// It is no JSON object of objects.
    #[error("is not LiteLLM's JSON of prices: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A price in it can't be used.
    #[error("`{key}` of `{model}` {problem}")]
    Price {
        /// The model's name.
        model: String,
        /// The key of its price.
        key: String,
        /// What is wrong with it.
        problem: DecimalError,
    },
}

impl PriceFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// It is too large, not JSON of that shape, or has a price that is no number, negative, or
    /// beyond a thousand dollars. What is not a price is not checked.
    pub fn parse(content: &[u8]) -> Result<Self, FileError> {
        if content.len() > MAX_BYTES {
            return Err(FileError::TooLarge);
        }
        let file: BTreeMap<String, BTreeMap<String, &RawValue>> = serde_json::from_slice(content)?;
        let version: Arc<str> = format!("file:{}", hash8(content)).into();
        let mut entries = HashMap::with_capacity(file.len());
        for (model, fields) in file {
            if model == SAMPLE {
                continue;
            }
            let entry = entry(&fields, &version).map_err(|(key, problem)| FileError::Price {
                model: model.clone(),
                key: key.to_owned(),
                problem,
            })?;
            entries.insert(model, entry);
        }
        Ok(Self { version, entries })
    }

    /// `file:` and a word for the content.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// How many models the file names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the file says of `model` at a provider that is known by any of `providers`: the entry
    /// called `provider/model`, or the one called `model` whose `litellm_provider` is one of them
    /// or not told. `None` where it has no such entry, or one that is not billed by tokens.
    pub fn find(&self, providers: &[&str], model: &str) -> Option<Listing> {
        let qualified =
            providers.iter().find_map(|name| self.entries.get(&format!("{name}/{model}")));
        let plain = || {
            let entry = self.entries.get(model)?;
            let fits = entry.provider.as_deref().is_none_or(|name| providers.contains(&name));
            fits.then_some(entry)
        };
        let entry = qualified.or_else(plain)?;
        Some(Listing {
            price: entry.price.clone()?,
            max_output_tokens: entry.max_output_tokens,
            max_input_tokens: entry.max_input_tokens,
        })
    }
}

/// The names by which LiteLLM knows a provider of the catalogue, beside the catalogue's own.
pub fn provider_names(catalogue: &str) -> &'static [&'static str] {
    match catalogue {
        "bedrock" => &["bedrock_converse"],
        "cohere" => &["cohere_chat"],
        "fireworks" => &["fireworks_ai", "fireworks_ai-embedding-models"],
        "github" => &["github"],
        "nvidia" => &["nvidia_nim"],
        "openai" => &["text-completion-openai"],
        "together" => &["together_ai"],
        "vertex" => &["vertex_ai", "vertex_ai-language-models", "vertex_ai-anthropic_models"],
        "vllm" => &["hosted_vllm"],
        _ => &[],
    }
}

type Fields<'f> = BTreeMap<String, &'f RawValue>;
type Bands = BTreeMap<u64, Told>;

fn entry<'f>(fields: &'f Fields<'_>, version: &Arc<str>) -> Result<Entry, (&'f str, DecimalError)> {
    let mut told = ToldPrices::default();
    told.take(fields, 0)?;
    let number = |key: &str| fields.get(key).and_then(|value| value.get().parse::<u64>().ok());
    let text = |key: &str| fields.get(key).and_then(|v| serde_json::from_str(v.get()).ok());
    let provider: Option<String> = text("litellm_provider");
    let mut by_length = true;
    if let Some(bands) = fields.get("tiered_pricing") {
        let bands: Vec<Fields<'_>> = serde_json::from_str(bands.get()).unwrap_or_default();
        let starts: Option<Vec<u64>> = bands.iter().map(|band| start(band.get("range")?)).collect();
        // Of something else than tokens, such as the results of a search: no price of ours.
        by_length = starts.as_ref().is_some_and(|starts| !starts.is_empty());
        for (band, start) in bands.iter().zip(starts.unwrap_or_default()) {
            told.take(band, start).map_err(|(_, problem)| ("tiered_pricing", problem))?;
        }
    }
    // There, every request searches.
    if provider.as_deref() == Some("perplexity")
        && let Some(fees) = fields.get("search_context_cost_per_query")
    {
        told.request = told
            .request
            .max(dearest(fees).map_err(|problem| ("search_context_cost_per_query", problem))?);
    }
    Ok(Entry {
        provider,
        price: price(told.tiers, told.request, version).filter(|_| by_length).map(Arc::new),
        max_output_tokens: number("max_output_tokens").or_else(|| number("max_tokens")),
        max_input_tokens: number("max_input_tokens"),
    })
}

/// What one entry says, as it is read.
#[derive(Default)]
struct ToldPrices {
    tiers: BTreeMap<ServiceTier, Bands>,
    request: u64,
}

impl ToldPrices {
    /// Takes the prices among `fields`, which are those of inputs longer than `start` tokens.
    fn take<'f>(
        &mut self,
        fields: &'f Fields<'_>,
        start: u64,
    ) -> Result<(), (&'f str, DecimalError)> {
        for (key, value) in fields {
            let Some((tier, over, kind)) = meaning(key) else { continue };
            if value.get() == "null" {
                continue;
            }
            let rate = decimal::parse_json_number(value.get(), DECIMALS, MAX_RATE)
                .map_err(|problem| (key.as_str(), problem))?;
            match kind {
                Kind::Request => self.request = self.request.max(rate),
                Kind::Token(slot) => {
                    let bands = self.tiers.entry(tier).or_default();
                    let slot = slot(bands.entry(over.max(start)).or_default());
                    // Two keys for one kind (images and video, say): the dearer counts.
                    *slot = (*slot).max(Some(rate));
                }
            }
        }
        Ok(())
    }
}

/// The first number of a range of tokens.
fn start(range: &RawValue) -> Option<u64> {
    let numbers: Vec<&RawValue> = serde_json::from_str(range.get()).ok()?;
    decimal::parse_json_number(numbers.first()?.get(), 0, u64::MAX).ok()
}

/// The dearest of several fees, in pico-USD.
fn dearest(fees: &RawValue) -> Result<u64, DecimalError> {
    let fees: Fields<'_> = serde_json::from_str(fees.get()).map_err(|_| DecimalError::Malformed)?;
    let mut amounts =
        fees.values().map(|value| decimal::parse_json_number(value.get(), DECIMALS, MAX_RATE));
    amounts.try_fold(0, |most, amount| Ok(most.max(amount?)))
}

/// The price of one entry; `None` where it has no rate for plain input.
fn price(
    mut tiers: BTreeMap<ServiceTier, Bands>,
    request: u64,
    version: &Arc<str>,
) -> Option<Price> {
    let standard = filled(tiers.remove(&ServiceTier::Standard)?, &Bands::new());
    let rates = |bands: &Bands| {
        Rates::new(bands.iter().map(|(over, told)| (*over, *told)).collect(), request)
    };
    let others =
        tiers.into_iter().map(|(tier, bands)| Some((tier, rates(&filled(bands, &standard))?)));
    let others = others.collect::<Option<_>>()?;
    Some(Price::tiered(version.clone(), rates(&standard)?, others))
}

/// Bands with every start of both. What `bands` does not say is as in its shorter inputs, and else
/// as in `base`.
fn filled(bands: Bands, base: &Bands) -> Bands {
    let starts = bands.keys().chain(base.keys()).copied();
    let starts: std::collections::BTreeSet<u64> = starts.collect();
    let mut below = Told::default();
    let mut filled = Bands::new();
    for start in starts {
        if let Some(told) = bands.get(&start) {
            below = over(*told, below);
        }
        let base = base.range(..=start).next_back().map(|(_, told)| *told);
        filled.insert(start, over(below, base.unwrap_or_default()));
    }
    filled
}

/// `told`, and what it does not say from `rest`.
fn over(told: Told, rest: Told) -> Told {
    Told {
        input: told.input.or(rest.input),
        cache_read: told.cache_read.or(rest.cache_read),
        cache_write: told.cache_write.or(rest.cache_write),
        cache_write_1h: told.cache_write_1h.or(rest.cache_write_1h),
        output: told.output.or(rest.output),
        reasoning: told.reasoning.or(rest.reasoning),
        audio_input: told.audio_input.or(rest.audio_input),
        audio_cache_read: told.audio_cache_read.or(rest.audio_cache_read),
        audio_output: told.audio_output.or(rest.audio_output),
        image_input: told.image_input.or(rest.image_input),
        image_cache_read: told.image_cache_read.or(rest.image_cache_read),
        image_output: told.image_output.or(rest.image_output),
    }
}

enum Kind {
    Request,
    Token(fn(&mut Told) -> &mut Option<u64>),
}

/// What a key prices: the tier, the length that the input must exceed, and the kind of tokens.
/// `None` for every other key.
fn meaning(key: &str) -> Option<(ServiceTier, u64, Kind)> {
    let suffixes = [
        ("_batches", ServiceTier::Batch),
        ("_flex", ServiceTier::Flex),
        ("_priority", ServiceTier::Priority),
        ("_fast", ServiceTier::Fast),
    ];
    let suffixed =
        suffixes.into_iter().find_map(|(suffix, tier)| Some((key.strip_suffix(suffix)?, tier)));
    let (key, tier) = suffixed.unwrap_or((key, ServiceTier::Standard));
    let long = key.strip_suffix("k_tokens").and_then(|key| key.rsplit_once("_above_"));
    let (key, over) = match long {
        Some((key, thousands)) => (key, thousands.parse::<u64>().ok()?.checked_mul(1_000)?),
        None => (key, 0),
    };
    let slot: fn(&mut Told) -> &mut Option<u64> = match key {
        "input_cost_per_token" => |told| &mut told.input,
        "output_cost_per_token" => |told| &mut told.output,
        "cache_read_input_token_cost" | "input_cost_per_token_cache_hit" => {
            |told| &mut told.cache_read
        }
        "cache_creation_input_token_cost" => |told| &mut told.cache_write,
        "cache_creation_input_token_cost_above_1hr" => |told| &mut told.cache_write_1h,
        "output_cost_per_reasoning_token" => |told| &mut told.reasoning,
        "input_cost_per_audio_token" => |told| &mut told.audio_input,
        "cache_read_input_audio_token_cost" | "cache_read_input_token_cost_per_audio_token" => {
            |told| &mut told.audio_cache_read
        }
        "output_cost_per_audio_token" => |told| &mut told.audio_output,
        "input_cost_per_image_token" | "input_cost_per_video_token" => |told| &mut told.image_input,
        "cache_read_input_image_token_cost" => |told| &mut told.image_cache_read,
        "output_cost_per_image_token" | "output_cost_per_video_token" => {
            |told| &mut told.image_output
        }
        "input_cost_per_request" => return Some((tier, 0, Kind::Request)),
        _ => return None,
    };
    Some((tier, over, Kind::Token(slot)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;

    const FILE: &str = r#"{
        "sample_spec": {"input_cost_per_token": "USD", "max_tokens": "see below"},
        "gpt-x": {"litellm_provider": "openai", "input_cost_per_token": 1.5e-07,
            "input_cost_per_token_above_200k_tokens": 3e-07, "output_cost_per_token": 6e-07,
            "output_cost_per_token_above_200k_tokens": 9.0e-7, "cache_read_input_token_cost": 7.5e-08,
            "output_cost_per_reasoning_token": null, "input_cost_per_token_batches": 7.5e-08,
            "input_cost_per_token_priority": 3e-07, "input_cost_per_token_above_200k_tokens_priority": 6e-07,
            "max_input_tokens": 128000, "max_output_tokens": 16384, "max_tokens": 1, "mode": "chat",
            "supports_vision": true, "search_context_cost_per_query": {"low": 0.03}},
        "claude-x": {"litellm_provider": "anthropic", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
            "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
            "cache_read_input_token_cost": 3e-07, "max_tokens": 64000},
        "together_ai/llama": {"litellm_provider": "together_ai", "input_cost_per_token": 8.8e-07, "output_cost_per_token": 8.8e-07},
        "dashscope/qwen-x": {"litellm_provider": "dashscope", "tiered_pricing": [
            {"input_cost_per_token": 1e-06, "output_cost_per_token": 4e-06, "range": [0, 256e3]},
            {"input_cost_per_token": 3e-06, "output_cost_per_token": 8e-06, "range": [256000.0, 1e6]}]},
        "sonar-x": {"litellm_provider": "perplexity", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06,
            "search_context_cost_per_query": {"search_context_size_high": 0.012, "search_context_size_low": 0.005}},
        "searching": {"litellm_provider": "openai", "input_cost_per_token": 1e-06,
            "tiered_pricing": [{"input_cost_per_query": 5e-03, "max_results_range": [0, 25]}]},
        "own": {"input_cost_per_token": 0, "output_cost_per_token": 0.0, "input_cost_per_request": 0.001},
        "drawing": {"litellm_provider": "openai", "input_cost_per_pixel": 1.9e-08}
    }"#;

    fn cost(listing: &Listing, tier: ServiceTier, usage: Usage) -> u64 {
        listing.price.rates(0, tier).cost(&usage)
    }

    #[test]
    fn entries() {
        let file = PriceFile::parse(FILE.as_bytes()).unwrap();
        assert_eq!(file.len(), 8);
        let gpt = file.find(&["openai"], "gpt-x").unwrap();
        assert_eq!((gpt.max_output_tokens, gpt.max_input_tokens), (Some(16_384), Some(128_000)));
        assert_eq!(gpt.price.version(), file.version());
        assert!(file.version().starts_with("file:") && file.version().len() == 13);
        let none = Usage::default();
        let short = Usage { input: 100_000, cache_read: 100_000, output: 1_000, ..none };
        let long = Usage { input: 100_001, ..short };
        // 100,000 at 0.15, as many at 0.075 and 1,000 at 0.60 USD per million.
        assert_eq!(cost(&gpt, ServiceTier::Standard, short), 23_100_000);
        // Twice the input and half as much again for output; nothing is said of the cache.
        assert_eq!(cost(&gpt, ServiceTier::Standard, long), 38_400_300);
        // Half the input's price, and the output's as ever.
        assert_eq!(cost(&gpt, ServiceTier::Batch, short), 15_600_000);
        assert_eq!(cost(&gpt, ServiceTier::Priority, short), 38_100_000);
        assert_eq!(cost(&gpt, ServiceTier::Priority, long), 68_400_600);
        assert_eq!(cost(&gpt, ServiceTier::Flex, short), 23_100_000);

        let claude = file.find(&["anthropic"], "claude-x").unwrap();
        assert_eq!(claude.max_output_tokens, Some(64_000));
        let written = Usage { cache_write_5m: 1_000, cache_write_1h: 1_000, ..none };
        assert_eq!(cost(&claude, ServiceTier::Standard, written), 9_750_000);

        let qwen = file.find(&["dashscope"], "qwen-x").unwrap();
        let lengths = [256_000, 256_001].map(|input| Usage { input, ..none });
        let costs = lengths.map(|usage| cost(&qwen, ServiceTier::Standard, usage));
        assert_eq!(costs, [256_000_000, 768_003_000]);
        let sonar = file.find(&["perplexity"], "sonar-x").unwrap();
        assert_eq!(cost(&sonar, ServiceTier::Standard, none), 12_000_000);

        let own = file.find(&["mine"], "own").unwrap();
        assert_eq!(cost(&own, ServiceTier::Standard, short), 1_000_000);
    }

    #[test]
    fn a_model_is_found_at_its_provider_only() {
        let file = PriceFile::parse(FILE.as_bytes()).unwrap();
        assert!(file.find(&["together", "together_ai"], "llama").is_some());
        assert!(file.find(&["groq"], "llama").is_none());
        assert!(file.find(&["azure"], "gpt-x").is_none());
        assert!(file.find(&["openai"], "drawing").is_none());
        assert!(file.find(&["openai"], "searching").is_none());
        assert!(file.find(&["openai"], "sample_spec").is_none());
    }

    #[test]
    fn a_price_that_cannot_be_used_is_named() {
        for (value, problem) in [
            ("-1e-07", "is not a decimal number"),
            ("\"1e-07\"", "is not a decimal number"),
            ("[1]", "is not a decimal number"),
            ("1e9", "is too large"),
        ] {
            let text = format!(r#"{{"m":{{"input_cost_per_token":{value}}}}}"#);
            let error = PriceFile::parse(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("`input_cost_per_token` of `m` {problem}"));
        }
        for text in ["", "[]", r#"{"m":[]}"#, "\u{feff}{}", r#"{"m":{"input_cost_per_token":NaN}}"#]
        {
            assert!(PriceFile::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_that_are_no_prices_are_left_alone() {
        for key in
            ["input_cost_per_second", "max_tokens", "input_cost_per_token_above_xk_tokens", ""]
        {
            assert!(meaning(key).is_none(), "{key}");
        }
    }
}
