//! Which price a target has: the operator's, else that of a file, else that of the table.

use std::sync::Arc;

use sluicegate_filters::price::{DEFAULT_MAX_OUTPUT_TOKENS, Listing, Price, PriceTable, litellm};

use super::conditions::Window;
use crate::config::valid::{Api, BaseUrl, Config, Model, Provider, Target};
use crate::providers::catalogue::{self, CATALOGUE};
use crate::quotas::estimate::close::Cut;

/// What is known of a target's cost.
pub(super) struct Resolved {
    pub(super) price: Option<Arc<Price>>,
    /// Tokens of one answer.
    pub(super) ceiling: u64,
    /// Tokens that the model can look at.
    pub(super) context: Option<u64>,
    /// What a request must fit into.
    pub(super) window: Option<Window>,
    /// How its provider cuts text, where that is public.
    pub(super) cut: Option<Cut>,
}

/// What `target` of `model` costs.
pub(super) fn resolve(config: &Config, model: &Model, target: &Target) -> Resolved {
    let known = config.providers.get(&target.provider).and_then(known_as);
    let listed = config.prices.as_ref().and_then(|prices| {
        let mut names = vec![target.provider.as_str()];
        if let Some(known) = known {
            names.push(known);
            names.extend(litellm::provider_names(known));
        }
        prices.content.find(&names, &target.model)
    });
    let listed = listed.or_else(|| PriceTable::embedded().find(known?, &target.model));
    let manual = model.price.as_ref().and_then(|manual| manual.price()).map(Arc::new);
    let of_openai = matches!(known, Some("openai" | "azure"));
    let max_input = listed.as_ref().and_then(|listed| listed.max_input_tokens);
    let window = match target.context_window {
        Some(tokens) => Some(Window { tokens, holds_output: true }),
        None => max_input.map(|tokens| Window { tokens, holds_output: false }),
    };
    Resolved {
        window,
        context: target.context_window.or(max_input),
        cut: if of_openai { Cut::of_openai(&target.model) } else { None },
        ceiling: model.max_output_tokens.unwrap_or_else(|| ceiling(listed.as_ref())),
        price: manual.or_else(|| listed.map(|listing| listing.price)),
    }
}

fn ceiling(listed: Option<&Listing>) -> u64 {
    let Some(listed) = listed else { return DEFAULT_MAX_OUTPUT_TOKENS };
    // No answer is longer than what the model can look at.
    let context = listed.max_input_tokens.unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS);
    let default = DEFAULT_MAX_OUTPUT_TOKENS.min(context);
    listed.max_output_tokens.unwrap_or(default).max(1)
}

/// The catalogue's name for a provider: that of whoever is at its address, else its own. A provider
/// of another name at an address of one's own has no price but from `prices` and `price`.
pub(super) fn known_as(provider: &Provider) -> Option<&'static str> {
    match provider.api {
        Api::AzureOpenAi(_) => return Some("azure"),
        Api::Bedrock(_) => return Some("bedrock"),
        Api::Vertex(_) => return Some("vertex"),
        Api::Gemini => return Some("gemini"),
        Api::OpenAi | Api::Anthropic => {}
    }
    let at = |url: &BaseUrl| {
        // Azure gives each customer a name.
        let azure = [".openai.azure.com", ".services.ai.azure.com"];
        if azure.iter().any(|suffix| url.host.ends_with(suffix)) {
            return Some("azure");
        }
        CATALOGUE.iter().find(|entry| host(entry.base_url) == url.host).map(|entry| entry.name)
    };
    let local = ["localhost", "127.0.0.1", "::1"].contains(&provider.base_url.host.as_str());
    let by_address = if local { None } else { at(&provider.base_url) };
    by_address.or_else(|| catalogue::find(&provider.name).map(|entry| entry.name))
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sluicegate_filters::Usage;
    use sluicegate_filters::price::ServiceTier;

    use super::*;
    use crate::config::{self, Env};

    fn config(text: &str) -> Config {
        config::load_str("c.yaml", text, &Env::from_iter([("K", "key")])).unwrap().config
    }

    fn resolved(config: &Config, name: &str) -> Vec<(Option<String>, Option<u64>, u64)> {
        let model = &config.models[name];
        let million = Usage { input: 1_000_000, ..Usage::default() };
        let of = |target: &Target| {
            let Resolved { price, ceiling, .. } = resolve(config, model, target);
            let cost = |price: &Arc<Price>| price.rates(0, ServiceTier::Standard).cost(&million);
            let cost = price.as_ref().map(cost);
            (price.map(|price| price.version().to_string()), cost, ceiling)
        };
        model.targets.iter().map(of).collect()
    }

    const PROVIDERS: &str = r#"
auth: { anonymous: true }
providers:
  openai: { api_key: "env:K" }
  eu: { dialect: openai, base_url: "https://api.openai.com/v1", api_key: "env:K" }
  cloud: { dialect: openai, base_url: "https://mine.openai.azure.com/openai/v1", api_key: "env:K" }
  vllm: {}
  sim: { dialect: openai, base_url: "http://127.0.0.1:4000/v1" }
models:
  plain:
    targets:
      - { provider: openai, model: gpt-4o-mini }
      - { provider: eu, model: gpt-4o-mini }
      - { provider: cloud, model: gpt-4o-mini }
      - { provider: vllm, model: gpt-4o-mini }
      - { provider: sim, model: gpt-4o-mini }
  own:
    targets: [{ provider: openai, model: gpt-4o-mini }, { provider: sim }]
    price: { input: "7", output: "8" }
    max_output_tokens: 100
"#;

    #[test]
    fn the_table_knows_a_provider_by_its_address_or_name() {
        let config = config(PROVIDERS);
        let table = Some(PriceTable::embedded().version().to_string());
        let known = (table, Some(150_000_000), 128_000);
        let unknown = (None, None, DEFAULT_MAX_OUTPUT_TOKENS);
        assert_eq!(
            resolved(&config, "plain"),
            [known.clone(), known.clone(), known, unknown.clone(), unknown]
        );
    }

    #[test]
    fn what_the_operator_says_wins() {
        for (version, cost, ceiling) in resolved(&config(PROVIDERS), "own") {
            assert!(version.unwrap().starts_with("config:"));
            assert_eq!((cost, ceiling), (Some(7_000_000_000), 100));
        }
    }

    #[test]
    fn a_file_wins_over_the_table() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prices.json");
        std::fs::write(
            &file,
            r#"{"gpt-4o-mini": {"litellm_provider": "openai", "input_cost_per_token": 3e-06, "max_output_tokens": 16384},
                "sim/gpt-4o-mini": {"input_cost_per_token": 0}}"#,
        )
        .unwrap();
        let config = config(&format!("{PROVIDERS}prices: {{ file: {} }}\n", file.display()));
        let found = resolved(&config, "plain");
        let costs: Vec<_> = found.iter().map(|(_, cost, ceiling)| (*cost, *ceiling)).collect();
        assert_eq!(
            costs,
            [
                (Some(3_000_000_000), 16_384),
                (Some(3_000_000_000), 16_384),
                (Some(150_000_000), 128_000),
                (None, DEFAULT_MAX_OUTPUT_TOKENS),
                (Some(0), DEFAULT_MAX_OUTPUT_TOKENS),
            ]
        );
        assert!(found[0].0.as_ref().unwrap().starts_with("file:"));
    }
}
