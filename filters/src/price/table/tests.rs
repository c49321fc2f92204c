use super::*;
use crate::price::Worst;
use crate::usage::Usage;

fn cost(provider: &str, model: &str, usage: Usage) -> u64 {
    let listing = PriceTable::embedded().find(provider, model).unwrap();
    // The middle of the table's own day.
    listing.price.rates(0, ServiceTier::Standard).cost(&usage)
}

#[test]
fn the_table_in_the_binary_is_whole() {
    let table = PriceTable::parse(EMBEDDED).unwrap();
    assert!(table.version().starts_with("genai-prices "), "{}", table.version());
    let mut models = 0;
    for (name, provider) in &table.providers {
        for also in &provider.also {
            assert!(table.providers.contains_key(also), "{name} {also}");
        }
        for model in &provider.models {
            models += 1;
            let price = model.price(table.version.clone());
            let price = price.unwrap_or_else(|| panic!("{name} {}", model._id));
            for tier in ServiceTier::ALL {
                // A dollar for a token is a slip of the generator.
                let bound = price.rates(0, tier).bound(Worst {
                    input_tokens: 1,
                    output_tokens: 1,
                    audio: true,
                    cache_1h: true,
                });
                assert!(bound < 1_000_000_000, "{name} {} {tier:?}", model._id);
            }
        }
    }
    assert!(models > 1_000, "{models}");
}

#[test]
fn prices_that_the_providers_publish() {
    let million = Usage { input: 1_000_000, output: 1_000_000, ..Usage::default() };
    for (provider, model, nano) in [
        ("openai", "gpt-4o-2024-08-06", 12_500_000_000),
        ("openai", "gpt-4o-2024-05-13", 20_000_000_000),
        ("openai", "gpt-4o-mini", 750_000_000),
        ("openai", "GPT-4o-Mini", 750_000_000),
        ("openai", "text-embedding-3-small", 20_000_000),
        ("anthropic", "claude-3-5-haiku-20241022", 4_800_000_000),
        ("azure", "gpt-4o-mini", 750_000_000),
        ("vertex", "gemini-2.5-flash-lite", 500_000_000),
        ("vertex", "claude-haiku-4-5@20251001", 6_000_000_000),
        ("bedrock", "amazon.nova-lite-v1:0", 300_000_000),
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", 18_000_000_000),
        // A region's inference profile costs a tenth more.
        ("bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", 19_800_000_000),
    ] {
        assert_eq!(cost(provider, model, million), nano, "{provider} {model}");
    }
    let cached = Usage { cache_read: 1_000_000, ..Usage::default() };
    assert_eq!(cost("openai", "gpt-4o-mini", cached), 75_000_000);
    let written = Usage { cache_write_5m: 1_000_000, ..Usage::default() };
    assert_eq!(cost("anthropic", "claude-3-5-haiku-latest", written), 1_000_000_000);
    let written = Usage { cache_write_1h: 1_000_000, ..Usage::default() };
    assert_eq!(cost("anthropic", "claude-3-5-haiku-latest", written), 1_600_000_000);
}

#[test]
fn what_is_not_in_the_table_has_no_price() {
    let table = PriceTable::embedded();
    assert_eq!(table.find("nobody", "gpt-4o"), None);
    assert_eq!(table.find("openai", "no-such-model"), None);
    assert_eq!(table.find("openai", ""), None);
    assert_eq!(table.find("anthropic", "gpt-4o"), None);
}

#[test]
fn bands_days_and_tiers() {
    let table = PriceTable::parse(
        r#"{"source":"s 1","date":"2026-11-24","providers":{"p":{"models":[
            {"id":"m","context":9,"match":["m"],"prices":[
                {"standard":[{"input":1000,"output":2000,"request":7000},
                             {"over":10,"input":3000,"output":4000,"request":7000}],
                 "batch":[{"input":500,"output":1000}]},
                {"from":"2027-01-01","standard":[{"input":9000}]}]}]}}}"#,
    )
    .unwrap();
    let listing = table.find("p", "m").unwrap();
    assert_eq!((&**listing.price.version(), listing.max_input_tokens), ("s 1 2026-11-24", Some(9)));
    let cost = |at, tier, input| {
        listing.price.rates(at, tier).cost(&Usage { input, output: 1, ..Usage::default() })
    };
    assert_eq!(cost(0, ServiceTier::Standard, 10), 19);
    assert_eq!(cost(0, ServiceTier::Standard, 11), 44);
    assert_eq!(cost(0, ServiceTier::Batch, 10), 6);
    let new_year = 1_798_761_600;
    assert_eq!(cost(new_year - 1, ServiceTier::Standard, 1), 10);
    assert_eq!(cost(new_year, ServiceTier::Batch, 1), 9);
    assert!(PriceTable::parse("{}").is_err());
}
