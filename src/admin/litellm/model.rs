//! `/model/info`.

use serde_json::{Value, json};
use sluicegate_filters::price::ServiceTier;

use super::super::call::{Answer, Call, Ignored};
use super::told;
use crate::routing::Target;

/// For the numbers of JSON, which LiteLLM's clients expect.
const PICO_PER_USD: f64 = 1e12;

/// The models that the actor may call, one row for each place where one is served.
pub async fn info(call: Call) -> Answer {
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let runtime = call.services.gateway.current();
    let everything = call.actor.reach().is_none();
    let now = (call.services.clock)() / 1_000;
    let mut rows: Vec<Value> = Vec::new();
    for model in runtime.config.models.values() {
        let row = |id: String, served_as: String, info: Value| {
            let mut info = info;
            info["id"] = json!(id);
            info["db_model"] = json!(false);
            json!({
                "model_name": model.name,
                "litellm_params": {"model": served_as},
                "model_info": info,
            })
        };
        let served = runtime.routes.model(&model.name).map(|model| model.targets());
        if everything {
            rows.extend(model.targets.iter().enumerate().map(|(index, target)| {
                let served_as = format!("{}/{}", target.provider, target.model);
                let info = served.and_then(|served| served.get(index));
                let info = info.map_or_else(|| json!({}), |target| cost(target, now));
                row(format!("{}-{index}", model.name), served_as, info)
            }));
        } else if call.actor.caller.as_ref().is_some_and(|c| c.models().allows(&model.name)) {
            // Where it is served is nothing to its callers.
            rows.push(row(model.name.clone(), model.name.clone(), json!({})));
        }
    }
    told(ignored, json!({"data": rows}))
}

/// LiteLLM's fields of what a target costs. They are for people to look at: what is charged is
/// reckoned in integers.
fn cost(target: &Target, now: i64) -> Value {
    let mut info = json!({"max_output_tokens": target.answerer.ceiling});
    let Some(price) = &target.price else { return info };
    let rates = price.rates(now, ServiceTier::Standard);
    let told = rates.base();
    info["price_version"] = json!(**price.version());
    for (key, rate) in [
        ("input_cost_per_token", told.input),
        ("output_cost_per_token", told.output),
        ("cache_read_input_token_cost", told.cache_read),
        ("cache_creation_input_token_cost", told.cache_write),
        ("cache_creation_input_token_cost_above_1hr", told.cache_write_1h),
        ("output_cost_per_reasoning_token", told.reasoning),
        ("input_cost_per_audio_token", told.audio_input),
        ("output_cost_per_audio_token", told.audio_output),
        ("input_cost_per_request", Some(rates.per_request()).filter(|fee| *fee > 0)),
    ] {
        if let Some(rate) = rate {
            info[key] = json!(rate as f64 / PICO_PER_USD);
        }
    }
    info
}
