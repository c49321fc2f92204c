//! `/model/info`.

use serde_json::{Value, json};

use super::super::call::{Answer, Call, Ignored};
use super::told;

/// The models that the actor may call, one row for each place where one is served.
pub async fn info(call: Call) -> Answer {
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let runtime = call.services.gateway.current();
    let everything = call.actor.reach().is_none();
    let mut rows: Vec<Value> = Vec::new();
    for model in runtime.config.models.values() {
        let row = |id: String, served_as: String| {
            json!({
                "model_name": model.name,
                "litellm_params": {"model": served_as},
                "model_info": {"id": id, "db_model": false},
            })
        };
        if everything {
            rows.extend(model.targets.iter().enumerate().map(|(index, target)| {
                let served_as = format!("{}/{}", target.provider, target.model);
                row(format!("{}-{index}", model.name), served_as)
            }));
        } else if call.actor.caller.as_ref().is_some_and(|c| c.models().allows(&model.name)) {
            // Where it is served is nothing to its callers.
            rows.push(row(model.name.clone(), model.name.clone()));
        }
    }
    told(ignored, json!({"data": rows}))
}
