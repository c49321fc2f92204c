//! The rest: sizes of requests, variables that the file sets.

use super::Migration;
use super::at::At;
use super::yaml::Map;

/// Makes `limits`.
pub(super) fn request_limits(migration: &mut Migration<'_>) -> Map {
    let mut limits = Map::default();
    let Some(at) = migration.in_section("general_settings", "max_request_size_mb") else {
        return limits;
    };
    match at.count().filter(|count| (1..=1_024).contains(count)) {
        Some(count) => {
            limits.plain("request_size", format!("{count}MiB"));
            migration.accounts.carried(&at, "limits.request_size");
        }
        None => {
            let message = "is no whole number from 1 to 1024";
            migration.accounts.no_equal(&at, message, "write `limits.request_size`");
        }
    }
    limits
}

/// Of what LiteLLM sends to others, what is there in any case.
pub(super) fn callbacks(migration: &mut Migration<'_>) {
    for key in ["callbacks", "success_callback", "failure_callback", "service_callbacks"] {
        let list = migration.in_section("litellm_settings", key);
        for at in list.iter().flat_map(At::items) {
            if at.text() == Some("prometheus") {
                let message =
                    "metrics are there in any case, by other names and on another listener";
                let action = "see docs/metrics.md, and `listeners.metrics`";
                migration.accounts.noted(&at, message, action);
            }
        }
    }
}

/// `environment_variables`: the gateway does not set its own environment.
pub(super) fn environment(migration: &mut Migration<'_>) {
    let Some(section) = migration.root.get("environment_variables") else { return };
    let entries: Vec<(&str, At<'_>)> = section.entries();
    for (name, at) in entries {
        if migration.accounts.is_decided(&at) || at.is_null() {
            continue;
        }
        if migration.variables.reads(name) {
            let action = format!("set {name} in the gateway's environment");
            let message = "variables are not set by the file";
            migration.accounts.noted(&at, message, action.as_str());
        } else {
            migration.accounts.not_needed(&at, "a variable that nothing here reads");
        }
    }
}
