//! LiteLLM's dialect of the admin API: its paths, fields and answers, over the same rules as our own.
//!
//! | module | what it is |
//! |---|---|
//! | [`routes`] | the table |
//! | [`fields`] | what its requests have in common |
//! | [`budgets`] | budgets by model, in more windows, raised for a time |
//! | [`rows`] | what its answers have in common |
//! | [`key`], [`team`], [`user`], [`organization`], [`model`], [`spend`] | one resource each |
//!
//! Fields that mean nothing here are ignored, as LiteLLM ignores those that it does not know; the header
//! `x-sluicegate-ignored-fields` names them.

pub mod budgets;
pub mod fields;
pub mod key;
pub mod model;
pub mod organization;
pub mod routes;
pub mod rows;
pub mod spend;
pub mod team;
pub mod user;

use super::call::{Answer, Ignored, ok};
use super::error::ApiError;
use serde_json::Value;

/// Answers 200, and says what was ignored.
fn told(ignored: Ignored, body: Value) -> Answer {
    Ok(ignored.told(ok(body)))
}

/// An error with the names of LiteLLM's fields in place of ours.
pub fn in_its_words(mut error: ApiError, path: &str) -> ApiError {
    let Some(ours) = error.field.clone() else { return error };
    let theirs = match ours.as_str() {
        "user" => "user_id".to_owned(),
        "team" => "team_id".to_owned(),
        "organization" => "organization_id".to_owned(),
        "email" => "user_email".to_owned(),
        "routes" => "allowed_routes".to_owned(),
        "expires_at" => "duration".to_owned(),
        "grace" => "grace_period".to_owned(),
        "limits.parallel" => "max_parallel_requests".to_owned(),
        "limits.budget" => "max_budget".to_owned(),
        "limits.budget_raise" | "limits.budget_raise.by" => "temp_budget_increase".to_owned(),
        "id" | "alias" => {
            let kind = path.split('/').nth(1).unwrap_or("key");
            format!("{kind}_{ours}")
        }
        other => match other.strip_prefix("limits.") {
            Some(limit) if limit.starts_with("budgets") => limit
                .replacen("budgets", "budget_limits", 1)
                .replace("].limit", "].max_budget")
                .replace("].duration", "].budget_duration"),
            Some(limit) if limit.starts_with("model_budgets") => {
                let theirs = limit.replacen("model_budgets", "model_max_budget", 1);
                let ends = [(".limit", ".budget_limit"), (".duration", ".time_period")];
                let end = ends
                    .iter()
                    .find_map(|(ours, name)| Some(format!("{}{name}", theirs.strip_suffix(ours)?)));
                end.unwrap_or(theirs)
            }
            // `limits.rpm` is `rpm_limit`, `limits.model_rpm.gpt-4` is `model_rpm_limit.gpt-4`.
            Some(limit) if limit.contains("rpm") || limit.contains("tpm") => {
                let (name, model) = limit.split_once('.').unwrap_or((limit, ""));
                let dot = if model.is_empty() { "" } else { "." };
                format!("{name}_limit{dot}{model}")
            }
            Some(limit) => limit.to_owned(),
            None => return error,
        },
    };
    error.message = error.message.replace(&format!("`{ours}`"), &format!("`{theirs}`")).into();
    error.field = Some(theirs);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_fields_of_the_request() {
        for (path, ours, theirs) in [
            ("/key/generate", "limits.rpm", "rpm_limit"),
            ("/key/generate", "limits.model_tpm.gpt-4", "model_tpm_limit.gpt-4"),
            ("/key/generate", "limits.budget", "max_budget"),
            ("/key/generate", "limits.soft_budget", "soft_budget"),
            ("/key/generate", "limits.budget_duration", "budget_duration"),
            ("/key/generate", "limits.budgets[1].limit", "budget_limits[1].max_budget"),
            ("/key/generate", "limits.model_budgets.a.duration", "model_max_budget.a.time_period"),
            ("/key/generate", "limits.budget_raise.by", "temp_budget_increase"),
            ("/key/generate", "alias", "key_alias"),
            ("/team/new", "alias", "team_alias"),
            ("/team/new", "id", "team_id"),
            ("/key/update", "expires_at", "duration"),
            ("/key/update", "models[2]", "models[2]"),
        ] {
            let error = in_its_words(ApiError::invalid(ours, "is wrong"), path);
            assert_eq!(error.field.as_deref(), Some(theirs));
            assert_eq!(error.message, format!("`{theirs}` is wrong"));
        }
    }
}
