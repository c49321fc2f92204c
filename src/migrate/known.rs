//! LiteLLM's keys that nothing is made of, each with what that means.
//!
//! A table and nothing else. The keys are those of LiteLLM's public documentation, above all
//! <https://docs.litellm.ai/docs/proxy/config_settings>. A key that is neither here nor carried over is
//! reported as unknown.

use super::report::Outcome;

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Known {
    /// Where it stands, without the numbers of lists; and its name.
    section: &'static str,
    keys: &'static [&'static str],
    pub(super) outcome: Outcome,
    pub(super) message: &'static str,
    pub(super) action: Option<&'static str>,
}

/// What is known of `key` in `section`.
pub(super) fn find(section: &str, key: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.section == section && known.keys.contains(&key))
}

/// The keys that something is known of in `section`.
#[cfg(test)]
pub(super) fn keys(section: &str) -> Vec<&'static str> {
    let known = KNOWN.iter().filter(|known| known.section == section);
    known.flat_map(|known| known.keys).copied().collect()
}

/// Whether what stands at `path` is looked at key by key.
pub(super) fn is_section(path: &str) -> bool {
    SECTIONS.contains(&path)
}

const SECTIONS: [&str; 16] = [
    "",
    "model_list",
    "model_list.litellm_params",
    "model_list.model_info",
    "credential_list",
    "credential_list.credential_values",
    "litellm_settings",
    "litellm_settings.callbacks",
    "litellm_settings.success_callback",
    "litellm_settings.failure_callback",
    "litellm_settings.service_callbacks",
    "router_settings",
    "router_settings.retry_policy",
    "general_settings",
    "general_settings.litellm_jwtauth",
    "environment_variables",
];

const fn no_equal(
    section: &'static str,
    keys: &'static [&'static str],
    message: &'static str,
    action: &'static str,
) -> Known {
    Known { section, keys, outcome: Outcome::NoEqual, message, action: Some(action) }
}

const fn not_needed(
    section: &'static str,
    keys: &'static [&'static str],
    message: &'static str,
) -> Known {
    Known { section, keys, outcome: Outcome::NotNeeded, message, action: None }
}

const PARAMS: &str = "model_list.litellm_params";
const INFO: &str = "model_list.model_info";
const MODULE: &str = "litellm_settings";
const ROUTER: &str = "router_settings";
const GENERAL: &str = "general_settings";
const JWT: &str = "general_settings.litellm_jwtauth";

const LOGGED: &str = "what it sends to is not known here";
const LOGGED_ACTION: &str =
    "use the access log, the ledger (docs/ledger.md) and the metrics (docs/metrics.md)";
const DEFAULTS: &str = "requests are passed on as callers send them, without defaults put in";
const DEFAULTS_ACTION: &str = "let callers send it";
const BY_API: &str = "keys, teams and users are not configured in the file";
const BY_API_ACTION: &str = "set it on each by the admin API (docs/admin.md)";
const LOOKS: &str = "for LiteLLM's own pages";
const INTERNALS: &str = "for LiteLLM's own workings";

static KNOWN: &[Known] = &[
    // Top level.
    no_equal(
        "",
        &["guardrails"],
        "guardrails have no equal",
        "keep what must be screened out in front of the gateway, or forbid by policies (docs/policies.md)",
    ),
    no_equal(
        "",
        &["mcp_tools", "mcp_settings"],
        "tools are those of MCP servers, and nothing else",
        "write a server for them, and `mcp.targets` (docs/configuration.md)",
    ),
    no_equal(
        "",
        &["agent_list", "a2a_agents"],
        "agents are not configured here",
        "let clients reach them by another way",
    ),
    no_equal(
        "",
        &[
            "vector_store_registry",
            "vector_stores",
            "search_tools",
            "prompts",
            "assistant_settings",
            "files_settings",
            "finetune_settings",
        ],
        "the gateway has no such endpoint",
        "let clients call the provider itself",
    ),
    no_equal("", &["callback_settings", "callbacks"], LOGGED, LOGGED_ACTION),
    no_equal(
        "",
        &["policies", "policy_attachments"],
        "LiteLLM's policies are about guardrails, which have no equal",
        "see docs/policies.md for what can be forbidden",
    ),
    no_equal(
        "",
        &["credential_list"],
        "no model refers to it",
        "add a provider with it, should one be needed",
    ),
    // The models' parameters.
    no_equal(
        PARAMS,
        &[
            "temperature",
            "top_p",
            "top_k",
            "n",
            "seed",
            "stop",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "top_logprobs",
            "max_tokens",
            "max_completion_tokens",
            "response_format",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "functions",
            "function_call",
            "reasoning_effort",
            "thinking",
            "user",
            "metadata",
            "extra_body",
            "safety_settings",
            "modalities",
            "audio",
            "prediction",
            "service_tier",
            "store",
            "stream",
            "stream_options",
            "dimensions",
            "encoding_format",
            "input_type",
            "web_search_options",
            "verbosity",
            "repetition_penalty",
            "min_p",
            "keep_alive",
            "num_ctx",
            "extra_query",
        ],
        DEFAULTS,
        DEFAULTS_ACTION,
    ),
    no_equal(
        PARAMS,
        &["tags"],
        "targets are not chosen by a request's tags",
        "give each its own model name, and say by policies who may use it",
    ),
    no_equal(
        PARAMS,
        &["mock_response", "mock_timeout", "mock_tool_calls"],
        "answers are not made up",
        "try with `sluicegate demo`",
    ),
    no_equal(
        PARAMS,
        &["additional_drop_params", "allowed_openai_params"],
        "parameters are not chosen one by one",
        "see `models.<name>.drop_params` (docs/dialects.md)",
    ),
    no_equal(
        PARAMS,
        &["guardrails"],
        "guardrails have no equal",
        "see docs/policies.md for what can be forbidden",
    ),
    no_equal(
        PARAMS,
        &["cache_control_injection_points"],
        "requests are not changed to be cached",
        "let callers mark what is to be cached",
    ),
    no_equal(
        PARAMS,
        &["configurable_clientside_auth_params", "clientside_auth"],
        "callers can't choose a provider's address or key",
        "configure each as a provider",
    ),
    no_equal(
        PARAMS,
        &["max_file_size_mb", "litellm_trace_id", "budget_duration"],
        "it has no effect by itself",
        "see docs/limits.md",
    ),
    no_equal(
        PARAMS,
        &["default_api_key_tpm_limit", "default_api_key_rpm_limit", "itpm", "otpm"],
        "it is not counted in this way",
        "set limits on keys, or in `quotas` (docs/limits.md)",
    ),
    no_equal(
        PARAMS,
        &[
            "input_cost_per_second",
            "output_cost_per_second",
            "input_cost_per_character",
            "output_cost_per_character",
            "input_cost_per_image",
            "output_cost_per_image",
            "input_cost_per_pixel",
            "output_cost_per_pixel",
            "input_cost_per_query",
            "input_cost_per_token_above_128k_tokens",
            "output_cost_per_token_above_128k_tokens",
            "input_cost_per_token_above_200k_tokens",
            "output_cost_per_token_above_200k_tokens",
            "input_cost_per_token_batches",
            "output_cost_per_token_batches",
            "input_cost_per_token_priority",
            "output_cost_per_token_priority",
            "input_cost_per_token_flex",
            "output_cost_per_token_flex",
            "tiered_pricing",
        ],
        "a price in the configuration is by token, of one rate",
        "put it into a file of prices (`prices.file`, docs/prices.md)",
    ),
    not_needed(
        PARAMS,
        &[
            "use_in_pass_through",
            "use_litellm_proxy",
            "litellm_credential_name",
            "merge_reasoning_content_in_choices",
            "supports_system_message",
            "model_info",
            "region_name",
            "azure_scope",
            "client_ttl",
            "keepalive_seconds",
            "ssl_verify",
        ],
        INTERNALS,
    ),
    no_equal(
        PARAMS,
        &[
            "auto_router_config",
            "auto_router_config_path",
            "auto_router_default_model",
            "auto_router_embedding_model",
            "complexity_router_config",
        ],
        "a request's model is not chosen by its content",
        "let callers name the model",
    ),
    // What is told of models.
    not_needed(
        INFO,
        &[
            "id",
            "db_model",
            "updated_at",
            "updated_by",
            "created_at",
            "created_by",
            "version",
            "description",
            "created",
            "owned_by",
            "litellm_provider",
            "key",
            "health_check_model",
            "health_check_timeout",
            "health_check_max_tokens",
            "health_check_voice",
            "disable_background_health_check",
            "supported_environments",
            "source",
            "hidden",
            "discoverable",
        ],
        "not asked for here",
    ),
    not_needed(
        INFO,
        &[
            "supports_vision",
            "supports_function_calling",
            "supports_parallel_function_calling",
            "supports_tool_choice",
            "supports_response_schema",
            "supports_system_messages",
            "supports_prompt_caching",
            "supports_reasoning",
            "supports_audio_input",
            "supports_audio_output",
            "supports_pdf_input",
            "supports_native_streaming",
            "supports_web_search",
            "supports_assistant_prefill",
            "supports_computer_use",
            "supports_embedding_image_input",
            "supports_url_context",
            "supported_openai_params",
            "supported_endpoints",
            "supported_modalities",
            "supported_output_modalities",
        ],
        "what a model can do is the provider's to say",
    ),
    no_equal(
        INFO,
        &["base_model"],
        "a price is looked for under the target's own name",
        "give the model a `price`, where the provider's deployment has another name than the model (docs/prices.md)",
    ),
    no_equal(
        INFO,
        &["max_input_tokens"],
        "a context's size is the provider's to refuse",
        "nothing, unless requests were turned away before the call",
    ),
    no_equal(
        INFO,
        &["access_groups"],
        "models are not grouped",
        "list names, or beginnings with `*`, in keys' and teams' `models` (docs/access.md)",
    ),
    no_equal(
        INFO,
        &["team_id", "team_public_model_name", "tier", "access_windows", "blocked"],
        "a model is not one team's",
        "say by policies, or by teams' `models`, who may use it (docs/access.md)",
    ),
    no_equal(
        INFO,
        &[
            "input_cost_per_second",
            "output_cost_per_second",
            "input_cost_per_character",
            "output_cost_per_character",
            "input_cost_per_image",
            "output_cost_per_image",
            "input_cost_per_pixel",
            "output_cost_per_pixel",
            "input_cost_per_query",
            "output_vector_size",
            "input_cost_per_token_above_128k_tokens",
            "output_cost_per_token_above_128k_tokens",
            "input_cost_per_token_above_200k_tokens",
            "output_cost_per_token_above_200k_tokens",
            "cache_read_input_token_cost_above_200k_tokens",
            "cache_creation_input_token_cost_above_200k_tokens",
            "tiered_pricing",
            "ptu_count",
            "cost_per_ptu_per_hour",
        ],
        "a price in the configuration is by token, of one rate",
        "put it into a file of prices (`prices.file`, docs/prices.md)",
    ),
    // `litellm_settings`.
    no_equal(
        MODULE,
        &[
            "callbacks",
            "success_callback",
            "failure_callback",
            "service_callbacks",
            "langfuse_default_tags",
            "s3_callback_params",
            "gcs_bucket_name",
            "datadog_params",
            "slack_alerting",
            "email",
            "otel",
            "callback_settings",
            "standard_logging_payload_excluded_fields",
            "logging_callback_manager",
            "custom_callback",
            "audit_log_callbacks",
        ],
        LOGGED,
        LOGGED_ACTION,
    ),
    no_equal(
        MODULE,
        &["cache", "cache_params", "enable_caching_on_provider_specific_optional_params"],
        "answers are not cached",
        "take into account that each request reaches a provider",
    ),
    no_equal(
        MODULE,
        &[
            "guardrails",
            "llm_guard_mode",
            "presidio_ad_hoc_recognizers",
            "output_parse_pii",
            "google_moderation_confidence_threshold",
            "blocked_user_list",
            "banned_keywords_list",
        ],
        "guardrails have no equal",
        "see docs/policies.md for what can be forbidden",
    ),
    no_equal(
        MODULE,
        &["content_policy_fallbacks"],
        "what a provider refuses for its content is passed on",
        "let callers choose another model",
    ),
    no_equal(
        MODULE,
        &["context_window_fallbacks"],
        "a request that is too long is refused by the provider, and that answer is passed on",
        "let callers choose the longer model, or name it for all",
    ),
    no_equal(
        MODULE,
        &["modify_params"],
        "requests are not changed but for what a translation needs",
        "let callers send what the provider takes (docs/dialects.md)",
    ),
    no_equal(
        MODULE,
        &[
            "default_internal_user_params",
            "default_team_params",
            "default_team_settings",
            "default_key_generate_params",
            "upperbound_key_generate_params",
            "key_generation_settings",
            "default_redis_batch_cache_expiry",
            "max_end_user_budget_id",
            "max_user_budget",
            "default_max_internal_user_budget",
            "internal_user_budget_duration",
            "budget_duration",
            "tag_budget_config",
            "default_in_memory_ttl",
            "default_redis_ttl",
            "enable_key_alias_format_validation",
        ],
        BY_API,
        BY_API_ACTION,
    ),
    no_equal(
        MODULE,
        &["ssl_verify", "ssl_certificate", "ssl_ca_bundle"],
        "certificates are always verified",
        "set `providers.<name>.ca` where an authority of your own signs",
    ),
    no_equal(
        MODULE,
        &["priority_reservation", "priority_reservation_settings"],
        "capacity is not reserved",
        "see `quotas` (docs/limits.md)",
    ),
    no_equal(
        MODULE,
        &[
            "public_model_groups",
            "public_agent_groups",
            "custom_provider_map",
            "mcp_aliases",
            "tag_filtering",
            "model_cost",
            "credential_list",
            "custom_prompt_dict",
            "default_vertex_config",
            "enable_json_schema_validation",
            "user_header_name",
            "user_header_mappings",
            "extra_spend_tag_headers",
            "add_user_information_to_llm_headers",
            "disable_end_user_cost_tracking",
            "headers",
            "api_base",
            "api_key",
            "organization",
            "force_ipv4",
        ],
        "nothing here corresponds to it",
        "see whether anything depends on it",
    ),
    not_needed(
        MODULE,
        &[
            "set_verbose",
            "json_logs",
            "suppress_debug_info",
            "log_raw_request_response",
            "telemetry",
            "turn_off_message_logging",
            "redact_messages_in_exceptions",
            "redact_user_api_key_info",
            "store_audit_logs",
        ],
        "logs are JSON, without content or keys",
    ),
    not_needed(
        MODULE,
        &[
            "disable_hf_tokenizer_download",
            "disable_copilot_system_to_assistant",
            "disable_add_transform_inline_image_block",
            "enable_preview_features",
            "use_chat_completions_url_for_anthropic_messages",
            "disable_end_user_cost_tracking_prometheus_only",
            "disable_token_counter",
            "disable_stop_sequence_limit",
            "LITELLM_DISABLE_STOP_SEQUENCE_LIMIT",
            "prometheus_initialize_budget_metrics",
            "custom_prometheus_metadata_labels",
            "prometheus_metrics_config",
            "require_auth_for_metrics_endpoint",
            "return_response_headers",
            "include_cost_in_streaming_usage",
            "aiohttp_trust_env",
            "use_aiohttp_transport",
            "disable_aiohttp_transport",
            "in_memory_llm_clients_cache",
            "local_model_names",
        ],
        INTERNALS,
    ),
    not_needed(MODULE, &["ui_theme_config", "default_ui_settings"], LOOKS),
    // `router_settings`.
    no_equal(
        ROUTER,
        &["content_policy_fallbacks"],
        "what a provider refuses for its content is passed on",
        "let callers choose another model",
    ),
    no_equal(
        ROUTER,
        &["context_window_fallbacks"],
        "a request that is too long is refused by the provider, and that answer is passed on",
        "let callers choose the longer model, or name it for all",
    ),
    no_equal(
        ROUTER,
        &["enable_pre_call_checks", "enable_pre_call_check"],
        "a context's size is the provider's to refuse, and `rpm` is a share rather than a limit",
        "add `quotas` where `rpm` was meant as a limit (docs/limits.md)",
    ),
    no_equal(
        ROUTER,
        &[
            "optional_pre_call_checks",
            "deployment_affinity_ttl_seconds",
            "model_group_affinity_config",
        ],
        "a caller is not kept at one target",
        "nothing, unless a provider's cache is to be kept warm",
    ),
    no_equal(
        ROUTER,
        &["enable_tag_filtering", "tag_filtering_match_any", "tag_routing_prefix"],
        "targets are not chosen by a request's tags",
        "give each its own model name, and say by policies who may use it",
    ),
    no_equal(
        ROUTER,
        &["allowed_fails_policy"],
        "failures are counted alike",
        "see `models.<name>.health` (docs/routing.md)",
    ),
    no_equal(
        ROUTER,
        &["routing_strategy_args", "routing_groups", "weights"],
        "a strategy has no arguments",
        "see `models.<name>.balance` (docs/routing.md)",
    ),
    no_equal(ROUTER, &["default_litellm_params"], DEFAULTS, DEFAULTS_ACTION),
    no_equal(
        ROUTER,
        &["cache_responses", "cache_kwargs", "caching_groups"],
        "answers are not cached",
        "take into account that each request reaches a provider",
    ),
    no_equal(
        ROUTER,
        &["max_fallbacks"],
        "the number of calls is bounded by `retries.attempts`",
        "see docs/routing.md",
    ),
    no_equal(
        ROUTER,
        &["alerting_config"],
        "alerts are Prometheus's to send",
        "load the rules in prometheus/ (docs/runbook.md)",
    ),
    no_equal(
        ROUTER,
        &["guardrail_list", "search_tools", "assistants_config"],
        "nothing here corresponds to it",
        "see whether anything depends on it",
    ),
    not_needed(
        ROUTER,
        &[
            "set_verbose",
            "debug_level",
            "client_ttl",
            "polling_interval",
            "default_priority",
            "router_general_settings",
            "ignore_invalid_deployments",
            "max_retries",
            "redis_socket_timeout",
        ],
        INTERNALS,
    ),
    // `general_settings`.
    no_equal(
        GENERAL,
        &["store_model_in_db", "supported_db_objects"],
        "models come from the file only",
        "export what LiteLLM's database has of models into model_list, and migrate again",
    ),
    no_equal(
        GENERAL,
        &[
            "alerting",
            "alerting_threshold",
            "alert_types",
            "alerting_args",
            "alert_to_webhook_url",
            "spend_report_frequency",
        ],
        "alerts are Prometheus's to send",
        "load the rules in prometheus/ (docs/runbook.md)",
    ),
    no_equal(
        GENERAL,
        &["allowed_ips"],
        "callers are not told by their address in the configuration",
        "forbid others by a policy on `context.ip` (docs/policies.md), or by a firewall",
    ),
    no_equal(
        GENERAL,
        &["use_x_forwarded_for"],
        "the header is taken from proxies that are named, and from nobody else",
        "write their networks into `listeners.proxy.trusted_proxies` (docs/protection.md)",
    ),
    no_equal(
        GENERAL,
        &["allowed_routes", "public_routes", "admin_only_routes"],
        "routes are not opened or closed for all",
        "set keys' `routes`, or policies (docs/access.md); administration has a listener of its own",
    ),
    no_equal(
        GENERAL,
        &[
            "custom_auth",
            "custom_key_generate",
            "custom_sso",
            "enable_oauth2_auth",
            "enable_oauth2_proxy_auth",
            "oauth2_config_mappings",
            "allow_user_auth",
            "custom_auth_settings",
            "custom_auth_run_common_checks",
            "custom_ui_sso_sign_in_handler",
        ],
        "code of one's own is not run",
        "use virtual keys or JSON Web Tokens (docs/access.md)",
    ),
    no_equal(
        GENERAL,
        &["completion_model", "embedding_model", "image_generation_model", "moderation_model"],
        "every request names its model",
        "let callers name it",
    ),
    no_equal(
        GENERAL,
        &["pass_through_endpoints", "use_client_credentials_pass_through_routes"],
        "there are no endpoints but the documented ones",
        "let clients call these addresses themselves",
    ),
    no_equal(
        GENERAL,
        &[
            "key_management_system",
            "key_management_settings",
            "use_azure_key_vault",
            "use_google_kms",
            "use_aws_secret_manager",
            "use_hashicorp_vault",
        ],
        "secrets come from variables, files, and Vault or OpenBao",
        "see docs/vault.md, or have them mounted as files",
    ),
    no_equal(
        GENERAL,
        &["allow_requests_on_db_unavailable"],
        "known keys stay good while the database is away, unknown ones do not",
        "see `auth.keys.stale_for` (docs/access.md)",
    ),
    no_equal(
        GENERAL,
        &[
            "enforce_user_param",
            "enforced_params",
            "reject_clientside_metadata_tags",
            "service_account_settings",
            "role_permissions",
            "default_team_disabled",
            "user_mcp_management_mode",
        ],
        "it is not demanded of requests here",
        "see what policies can demand (docs/policies.md)",
    ),
    no_equal(
        GENERAL,
        &[
            "forward_client_headers_to_llm_api",
            "forward_openai_org_id",
            "forward_llm_provider_auth_headers",
        ],
        "headers go on to providers by name",
        "list those that should in `request_headers.allow`",
    ),
    no_equal(
        GENERAL,
        &["infer_model_from_keys", "allow_client_side_credentials"],
        "callers can't choose a provider's address or key",
        "configure each as a provider",
    ),
    no_equal(
        GENERAL,
        &["max_response_size_mb"],
        "answers are not bounded in size",
        "see `models.<name>.timeouts.total`",
    ),
    no_equal(
        GENERAL,
        &["store_prompts_in_spend_logs"],
        "content is never kept",
        "log it in the application, if you must",
    ),
    no_equal(
        GENERAL,
        &["disable_spend_logs", "disable_spend_updates"],
        "there is a ledger wherever there is a store",
        "see `ledger.retention` (docs/ledger.md)",
    ),
    no_equal(
        GENERAL,
        &[
            "maximum_spend_logs_retention_interval",
            "disable_reset_budget",
            "disable_responses_id_security",
            "control_plane_url",
            "litellm_key_header_name",
            "litellm_jwtauth",
            "database_type",
            "database_args",
            "pass_through_request_timeout",
        ],
        "nothing here corresponds to it",
        "see whether anything depends on it",
    ),
    not_needed(
        GENERAL,
        &[
            "ui_access_mode",
            "ui_username",
            "ui_password",
            "disable_master_key_return",
            "litellm_license",
            "ui_logo_path",
            "proxy_logo_url",
            "disable_admin_ui",
            "proxy_base_url",
        ],
        LOOKS,
    ),
    not_needed(
        GENERAL,
        &[
            "database_connection_timeout",
            "disable_prisma_schema_update",
            "proxy_batch_write_at",
            "proxy_batch_polling_interval",
            "proxy_budget_rescheduler_min_time",
            "proxy_budget_rescheduler_max_time",
            "user_api_key_cache_ttl",
            "disable_adding_master_key_hash_to_db",
            "disable_retry_on_max_parallel_request_limit_error",
            "use_redis_transaction_buffer",
            "disable_error_logs",
            "dynamic_rate_limiting",
            "cli_settings",
            "token_rate_limit_type",
            "enable_public_model_hub",
            "disable_auth_on_metrics",
        ],
        INTERNALS,
    ),
    not_needed(
        GENERAL,
        &[
            "background_health_checks",
            "health_check_interval",
            "health_check_details",
            "health_check_concurrency",
            "use_shared_health_check",
        ],
        "a target's health is seen from the calls themselves",
    ),
    // Tokens.
    no_equal(
        JWT,
        &[
            "admin_jwt_scope",
            "admin_allowed_routes",
            "team_allowed_routes",
            "public_allowed_routes",
            "admin_role",
            "user_roles_jwt_field",
            "user_allowed_roles",
            "role_mappings",
            "enforce_rbac",
            "jwt_litellm_role_map",
            "sync_user_role_and_teams",
        ],
        "a token's roles are Cedar's to judge",
        "map a claim with `claims.roles`: `proxy_admin` administers, policies say the rest (docs/jwt.md)",
    ),
    no_equal(
        JWT,
        &[
            "scope_mappings",
            "enforce_scope_based_access",
            "enforce_team_based_model_access",
            "custom_validate",
        ],
        "what a token allows is said by policies and by stored teams",
        "see docs/policies.md",
    ),
    no_equal(
        JWT,
        &[
            "team_ids_jwt_field",
            "team_alias_jwt_field",
            "org_alias_jwt_field",
            "team_id_default",
            "object_id_jwt_field",
            "end_user_id_jwt_field",
            "user_email_jwt_field",
            "user_allowed_email_domain",
            "virtual_key_claim_field",
            "oidc_userinfo_enabled",
            "oidc_userinfo_endpoint",
            "issuer",
            "audience",
        ],
        "no claim is read for that",
        "name one claim each for the user, the team and the organization (docs/jwt.md)",
    ),
    not_needed(
        JWT,
        &["public_key_ttl", "oidc_userinfo_cache_ttl", "user_id_upsert", "team_id_upsert"],
        "keys are fetched before they are out of date, and a token's user needs no record",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_key_is_known_twice_and_each_can_be_reached() {
        let mut seen = BTreeSet::new();
        for known in KNOWN {
            assert!(is_section(known.section), "{}", known.section);
            for key in known.keys {
                assert!(seen.insert((known.section, *key)), "{}.{key}", known.section);
            }
            let left_out = known.outcome == Outcome::NoEqual;
            assert_eq!(known.action.is_some(), left_out, "{:?}", known.keys);
        }
    }
}
