//! Documents like LiteLLM's, with everything that can be wrong with one.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::{check, litellm, needs_a_file};
use crate::migrate::{include, known};

/// In every value that is a secret; it must not come out anywhere.
const CANARY: &str = "CANARY";

fn odd() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,12}".prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        select(vec![
            "",
            "*",
            "null",
            "true",
            "os.environ/",
            "os.environ/A-B",
            "os.environ/SHARED",
            "${X}",
            "{{",
            "env:X",
            "file:/x",
            "a b",
            "../../etc/passwd",
            "\u{1b}[31m",
            "\u{202e}abc",
            "0x10",
            ".nan",
            "1e999",
            "-1",
            "<<",
            "&a",
            "!!str",
            "~",
            "\"",
            "'",
            "#",
            ": ",
            "a: b",
            "\u{0}",
            "\u{feff}",
        ])
        .prop_map(Value::from),
    ];
    let number = prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        Just(json!(0)),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let leaf = prop_oneof![text, number];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z_]{1,8}|\\PC{1,4}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Mostly `good`, at times anything.
fn mostly(good: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![4 => good, 1 => odd()].boxed()
}

fn words(words: &[&'static str]) -> BoxedStrategy<Value> {
    mostly(select(words.to_vec()).prop_map(Value::from))
}

fn secret() -> BoxedStrategy<Value> {
    let named = "os.environ/(KEY_[A-C]|SHARED|OPENAI_API_KEY|DATABASE_URL|LITELLM_MASTER_KEY)";
    prop_oneof![
        "(sk-)?CANARY[a-zA-Z0-9]{0,8}".prop_map(Value::from),
        named.prop_map(Value::from),
        Just(Value::Null),
        Just(json!({ "inner": "CANARY" })),
        Just(json!(["CANARY"])),
    ]
    .boxed()
}

fn number() -> BoxedStrategy<Value> {
    mostly(prop_oneof![
        (0u64..2_000).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0u64..100_000).prop_map(|number| json!(number as f64 / 1_000.0)),
        Just(json!("os.environ/NUMBER")),
        "[0-9]{1,4}(\\.[0-9]{0,4})?(e-?[0-9]{1,2})?".prop_map(Value::from),
    ])
}

fn price() -> BoxedStrategy<Value> {
    mostly(prop_oneof![
        "[0-9](\\.[0-9]{1,3})?[eE]-[0-9]{1,2}".prop_map(Value::from),
        "0\\.0{0,12}[0-9]{1,4}".prop_map(Value::from),
        (0u64..4).prop_map(Value::from),
    ])
}

fn names() -> BoxedStrategy<Value> {
    mostly(
        select(vec!["a", "b", "gpt-4o", "gpt-4.1", "x/y", "openai/*", "*", "été", "1", "true"])
            .prop_map(Value::from),
    )
}

fn url() -> BoxedStrategy<Value> {
    words(&[
        "https://api.example.com/v1",
        "http://localhost:8000",
        "https://example.com/",
        "http://[::1]:80/x",
        "https://u:CANARY@example.com/v1",
        "https://example.com/v1?k=CANARY",
        "example.com",
        "os.environ/BASE",
        "os.environ/SHARED",
        "https://res.openai.azure.com/openai/deployments/x",
    ])
}

type Field = (&'static str, BoxedStrategy<Value>);

/// A mapping with some of `fields`, and at times a key that nobody knows.
fn mapping(fields: Vec<Field>) -> BoxedStrategy<Value> {
    let known: Vec<_> = fields
        .into_iter()
        .map(|(key, value)| {
            option::weighted(0.3, value)
                .prop_map(move |value| value.map(|value| (key.to_owned(), value)))
        })
        .collect();
    let unknown = vec(("[a-z_]{1,10}|\\PC{1,6}", odd()), 0..2);
    (known, unknown)
        .prop_map(|(known, unknown)| {
            let entries = known.into_iter().flatten().chain(unknown);
            Value::Object(entries.collect::<Map<_, _>>())
        })
        .boxed()
}

/// The same for a section, with some of its keys that nothing is made of.
fn section(path: &str, fields: Vec<Field>) -> BoxedStrategy<Value> {
    let value = prop_oneof![2 => odd().boxed(), 1 => secret(), 1 => number()];
    let known = vec((select(known::keys(path)), value), 0..4);
    (mapping(fields), known)
        .prop_map(|(mut mapping, known)| {
            if let Value::Object(mapping) = &mut mapping {
                for (key, value) in known {
                    mapping.entry(key).or_insert(value);
                }
            }
            mapping
        })
        .boxed()
}

fn switch() -> BoxedStrategy<Value> {
    mostly(prop_oneof![
        any::<bool>().prop_map(Value::from),
        select(vec!["yes", "Off", "True", "os.environ/SWITCH", "1"]).prop_map(Value::from),
    ])
}

fn params() -> BoxedStrategy<Value> {
    let plain = words(&[
        "gpt-4o",
        "openai/gpt-4o",
        "anthropic/claude",
        "claude-3",
        "groq/x",
        "ollama/m",
        "hosted_vllm/m",
        "huggingface/a/b/c",
        "openai/",
        "openai/*",
        "*",
        "nobody/x",
        "os.environ/MODEL",
        "mistral/x",
    ]);
    let cloud = words(&[
        "azure/x",
        "azure/gpt-4o-mini-2024-07-18",
        "azure_ai/x",
        "bedrock/us-east-1/m",
        "bedrock/converse/m",
        "bedrock/arn:aws:bedrock:us-east-1:1:inference-profile/m",
        "gemini/m",
        "gemini/",
    ]);
    // Few of these: what has one needs a key file, and is not loaded.
    let vertex = words(&["vertex_ai/m", "vertex_ai/claude-3@1"]);
    let model = prop_oneof![24 => plain, 12 => cloud, 1 => vertex].boxed();
    let rest = section(
        "model_list.litellm_params",
        vec![
            ("base_url", url()),
            ("azure_ad_token", secret()),
            ("client_id", words(&["c", "os.environ/CLIENT"])),
            ("aws_access_key_id", secret()),
            ("aws_session_token", secret()),
            ("aws_role_name", words(&["arn:aws:iam::1:role/x"])),
            ("aws_bedrock_runtime_endpoint", url()),
            ("vertex_project", words(&["p", "os.environ/PROJECT"])),
            ("vertex_location", words(&["global", "europe-west4", "os.environ/LOCATION"])),
            ("max_tokens", number()),
            ("cache_creation_input_token_cost", price()),
            ("api_key", secret()),
            ("api_base", url()),
            ("api_version", words(&["2024-10-21", "os.environ/VERSION"])),
            ("organization", words(&["org-1", "os.environ/ORG"])),
            ("custom_llm_provider", words(&["openai", "anthropic", "groq", "sagemaker"])),
            ("litellm_credential_name", words(&["house", "nobody"])),
            (
                "extra_headers",
                mostly(Just(json!({ "x-a": "b", "X-Api-Token": CANARY, "host": "x" }))),
            ),
            ("tenant_id", words(&["t"])),
            ("client_secret", secret()),
            ("aws_secret_access_key", secret()),
            ("aws_region_name", words(&["us-east-1", "os.environ/REGION"])),
            ("vertex_credentials", secret()),
            ("rpm", number()),
            ("tpm", number()),
            ("weight", number()),
            ("order", number()),
            ("timeout", number()),
            ("stream_timeout", number()),
            ("max_retries", number()),
            ("max_parallel_requests", number()),
            ("max_budget", number()),
            ("budget_duration", words(&["1d", "30d", "1mo", "10s", "99999999d", "0m"])),
            ("input_cost_per_token", price()),
            ("output_cost_per_token", price()),
            ("cache_read_input_token_cost", price()),
            ("drop_params", mostly(any::<bool>().prop_map(Value::from))),
            ("temperature", number()),
        ],
    );
    (model, rest)
        .prop_map(|(model, mut rest)| {
            if let Value::Object(rest) = &mut rest {
                rest.insert("model".to_owned(), model);
            }
            rest
        })
        .boxed()
}

fn deployment() -> BoxedStrategy<Value> {
    let info = section(
        "model_list.model_info",
        vec![
            ("mode", words(&["chat", "embedding", "image_generation"])),
            ("cache_creation_input_token_cost", price()),
            ("cache_read_input_token_cost", price()),
            ("max_tokens", number()),
            ("max_output_tokens", number()),
            ("input_cost_per_token", price()),
            ("output_cost_per_token", price()),
            ("base_model", names()),
        ],
    );
    (names(), mostly(params()), option::of(mostly(info)))
        .prop_map(|(name, params, info)| {
            json!({ "model_name": name, "litellm_params": params, "model_info": info })
        })
        .boxed()
}

fn fallbacks() -> BoxedStrategy<Value> {
    let entry = (
        select(vec!["a", "b", "gpt-4o", "*", "none", "x/y", "openai/*", "z", ""]),
        mostly(
            vec(prop_oneof![6 => names(), 1 => words(&["none", "z", "openai/gpt-9"])], 0..6)
                .prop_map(Value::from),
        ),
    );
    mostly(
        vec(entry.prop_map(|(model, others)| json!({ model: others })), 0..4).prop_map(Value::from),
    )
}

fn retry_policy() -> BoxedStrategy<Value> {
    mapping(vec![
        ("TimeoutErrorRetries", number()),
        ("RateLimitErrorRetries", number()),
        ("InternalServerErrorRetries", number()),
        ("ServiceUnavailableErrorRetries", number()),
        ("BadRequestErrorRetries", number()),
        ("ContentPolicyViolationErrorRetries", number()),
    ])
}

/// By models' names, of which some are nobody's.
fn by_name(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let name = select(vec!["a", "b", "gpt-4o", "x/y", "openai/*", "*", "none", "z", "été", ""]);
    vec((name, value), 0..5)
        .prop_map(|entries| {
            Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        })
        .boxed()
}

fn routing() -> Vec<Field> {
    let strategies =
        ["simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing-v2", "x"];
    vec![
        ("fallbacks", fallbacks()),
        ("context_window_fallbacks", fallbacks()),
        ("default_fallbacks", mostly(vec(names(), 0..4).prop_map(Value::from))),
        ("num_retries", number()),
        ("timeout", number()),
        ("request_timeout", number()),
        ("stream_timeout", number()),
        ("retry_after", number()),
        ("allowed_fails", number()),
        ("cooldown_time", number()),
        ("drop_params", switch()),
        ("disable_cooldowns", switch()),
        ("default_max_parallel_requests", number()),
        ("content_policy_fallbacks", fallbacks()),
        ("model_alias_map", mostly(by_name(names()))),
        ("model_group_retry_policy", mostly(by_name(mostly(retry_policy())))),
        ("routing_strategy", words(&strategies)),
        (
            "model_group_alias",
            // Aliases of aliases, of themselves and of nobody among them.
            mostly(by_name(
                prop_oneof![
                    2 => names(),
                    1 => (names(), switch())
                        .prop_map(|(model, hidden)| json!({ "model": model, "hidden": hidden })),
                    1 => words(&["z", "none"]),
                ]
                .boxed(),
            )),
        ),
        ("retry_policy", mostly(retry_policy())),
        (
            "optional_pre_call_checks",
            mostly(
                vec(words(&["enforce_model_rate_limits", "prompt_caching", "x"]), 0..3)
                    .prop_map(Value::from),
            ),
        ),
        (
            "provider_budget_config",
            mapping(
                ["openai", "anthropic", "azure", "bedrock", "nobody"]
                    .into_iter()
                    .map(|name| {
                        let period = words(&["1d", "7m", "os.environ/PERIOD"]);
                        let budget = vec![("budget_limit", number()), ("time_period", period)];
                        (name, mostly(mapping(budget)))
                    })
                    .collect(),
            ),
        ),
        ("redis_host", words(&["redis.internal", "os.environ/REDIS_HOST", "a b", "::1"])),
        ("redis_port", number()),
        ("redis_password", secret()),
        ("redis_url", words(&["redis://:CANARY@x", "os.environ/SHARED"])),
        ("cache", mostly(any::<bool>().prop_map(Value::from))),
        (
            "cache_params",
            mapping(vec![
                ("type", words(&["redis", "s3"])),
                ("host", words(&["h"])),
                ("password", secret()),
            ]),
        ),
        ("max_budget", number()),
        ("budget_duration", words(&["1d", "30d"])),
        ("max_internal_user_budget", number()),
        ("callbacks", mostly(Just(json!(["langfuse"])))),
    ]
}

fn credential() -> BoxedStrategy<Value> {
    let values = mapping(vec![
        ("api_key", secret()),
        ("api_base", url()),
        ("api_version", words(&["2024-10-21"])),
        ("aws_access_key_id", secret()),
        ("aws_secret_access_key", secret()),
        ("aws_region_name", words(&["us-east-1", "os.environ/REGION"])),
    ]);
    mapping(vec![
        ("credential_name", words(&["house", "nobody"])),
        ("credential_values", mostly(values)),
        ("credential_info", odd().boxed()),
    ])
}

fn server() -> BoxedStrategy<Value> {
    let headers =
        json!({ "x-a": "b", "X-Api-Token": CANARY, "host": "x", "Mcp-Name": "y", "x-b": "env:X" });
    let variables =
        json!({ "A": "b", "A_KEY": CANARY, "1A": "x", "B": "os.environ/SHARED", "C": "é" });
    let arguments =
        words(&["-y", "a b", "80", "--api-key", "${X}", "env:X", "os.environ/SHARED", "é"]);
    let way = prop_oneof![
        mapping(vec![("url", url())]),
        url().prop_map(|url| json!({ "url": url })),
        mostly(select(vec!["npx", "/bin/serve", "./serve", "a b", "80"]).prop_map(Value::from))
            .prop_map(|command| json!({ "command": command })),
    ];
    let rest = mapping(vec![
        ("transport", words(&["http", "sse", "stdio"])),
        ("auth_type", words(&["bearer_token", "api_key", "authorization", "basic", "none"])),
        ("auth_value", secret()),
        ("authentication_token", secret()),
        ("static_headers", mostly(Just(headers.clone()))),
        ("extra_headers", prop_oneof![Just(headers), Just(json!(["x-a"]))].boxed()),
        ("args", mostly(vec(arguments, 0..4).prop_map(Value::from))),
        ("env", mostly(Just(variables))),
        ("allowed_tools", mostly(vec(names(), 0..4).prop_map(Value::from))),
        ("disallowed_tools", odd().boxed()),
        ("timeout", number()),
        ("alias", names()),
        ("spec_path", words(&["x"])),
    ]);
    (way, rest)
        .prop_map(|(way, rest)| match (way, rest) {
            (Value::Object(mut way), Value::Object(rest)) => {
                rest.into_iter().for_each(|(key, value)| {
                    way.entry(key).or_insert(value);
                });
                Value::Object(way)
            }
            (way, _) => way,
        })
        .boxed()
}

fn document() -> BoxedStrategy<Value> {
    let database =
        words(&["postgresql://u:CANARY@db/x", "os.environ/DATABASE_URL", "os.environ/SHARED"]);
    let jwt = section(
        "general_settings.litellm_jwtauth",
        vec![
            ("user_id_jwt_field", words(&["sub", "a.b.c"])),
            ("team_id_jwt_field", words(&["team", "os.environ/SHARED"])),
            ("admin_jwt_scope", words(&["x"])),
        ],
    );
    mapping_of_sections(vec![
        ("model_list", mostly(vec(deployment(), 0..6).prop_map(Value::from))),
        ("litellm_settings", mostly(section("litellm_settings", routing()))),
        ("router_settings", mostly(section("router_settings", routing()))),
        ("mcp_servers", mostly(by_name(mostly(server())))),
        (
            "general_settings",
            mostly(section(
                "general_settings",
                vec![
                    ("master_key", secret()),
                    ("database_url", database),
                    ("database_connection_pool_limit", number()),
                    ("enable_jwt_auth", switch()),
                    ("litellm_jwtauth", mostly(jwt)),
                    ("max_parallel_requests", number()),
                    ("global_max_parallel_requests", number()),
                    ("max_request_size_mb", number()),
                    ("maximum_spend_logs_retention_period", words(&["30d", "1y", "0d"])),
                    ("allowed_ips", odd().boxed()),
                    ("alerting", odd().boxed()),
                ],
            )),
        ),
        (
            "environment_variables",
            mapping(vec![
                ("KEY_A", secret()),
                ("DATABASE_URL", secret()),
                (
                    "JWT_PUBLIC_KEY_URL",
                    words(&["https://a/keys", "http://a/keys", "https://a,https://b"]),
                ),
            ]),
        ),
        (
            "credential_list",
            mostly(prop_oneof![
                Just(json!([{
                    "credential_name": "house",
                    "credential_values": { "api_key": CANARY, "api_base": "https://house.example/v1" },
                }])),
                vec(credential(), 0..3).prop_map(Value::from),
            ]),
        ),
        ("guardrails", odd().boxed()),
    ])
}

fn mapping_of_sections(sections: Vec<Field>) -> BoxedStrategy<Value> {
    let sections: Vec<_> = sections
        .into_iter()
        .map(|(key, value)| {
            option::weighted(0.8, value)
                .prop_map(move |value| value.map(|value| (key.to_owned(), value)))
        })
        .collect();
    (sections, vec(("[a-z_]{1,10}|\\PC{1,6}", odd()), 0..2))
        .prop_map(|(sections, unknown)| {
            Value::Object(sections.into_iter().flatten().chain(unknown).collect())
        })
        .boxed()
}

/// As text. JSON is YAML, but for anchors, which `shared` brings in.
fn text(document: &Value, shared: bool) -> String {
    let Value::Object(sections) = document else { return document.to_string() };
    let mut text = String::new();
    if shared {
        text += "shared: &shared { timeout: 3, api_key: os.environ/SHARED }\nlist: &list [a, b]\n";
    }
    for (key, value) in sections {
        if ["shared", "list", "include"].contains(&key.as_str()) {
            continue;
        }
        let mut value = value.to_string();
        if shared {
            value = value
                .replace("{\"model\":", "{<<: *shared, \"model\":")
                .replace("[\"gpt-4o\"]", "*list ");
        }
        text += &format!("{}: {value}\n", Value::from(key.as_str()));
    }
    text
}

fn none(_: &str) -> Result<String, String> {
    Err("there is none".to_owned())
}

proptest! {
    #[test]
    fn whatever_comes_in_is_carried_over_or_told(document in document(), shared: bool) {
        let text = text(&document, shared);
        match litellm("config.yaml", &text, &mut none) {
            Ok(migrated) => {
                let joined = include::join("config.yaml", &text, &mut none).unwrap();
                check(&joined, &migrated).map_err(TestCaseError::fail)?;
                let report = &migrated.report;
                let shown = format!("{}{report}{}", migrated.config, json!(report));
                prop_assert!(!shown.contains(CANARY), "{}", shown);
            }
            Err(problems) => {
                prop_assert!(!problems.0.is_empty());
                for problem in problems.0 {
                    prop_assert!(problem.line > 0 || problem.hint.is_some(), "{}", problem);
                }
            }
        }
    }

    #[test]
    fn a_damaged_document_is_read_or_refused(
        document in document(),
        at: prop::sample::Index,
        length in 0usize..40,
        instead in "[\\[\\]{}:&*!|>'\"#%@,?~\\n -]{0,3}|.{0,2}",
    ) {
        let text = text(&document, true);
        let starts: Vec<usize> = text.char_indices().map(|(index, _)| index).collect();
        prop_assume!(!starts.is_empty());
        let at = at.index(starts.len());
        let end = starts.get(at + length).copied().unwrap_or(text.len());
        let damaged = format!("{}{instead}{}", &text[..starts[at]], &text[end..]);
        if let Ok(migrated) = litellm("config.yaml", &damaged, &mut none) {
            let joined = include::join("config.yaml", &damaged, &mut none).unwrap();
            check(&joined, &migrated).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn any_text_at_all_is_read_or_refused(text in "\\PC{0,60}|(.|\\n){0,40}") {
        if let Ok(migrated) = litellm("config.yaml", &text, &mut none) {
            let joined = include::join("config.yaml", &text, &mut none).unwrap();
            check(&joined, &migrated).map_err(TestCaseError::fail)?;
        }
    }
}

#[test]
fn the_documents_reach_everything_that_is_written() {
    let mut runner = TestRunner::deterministic();
    let mut missing = vec![
        "\nlimits:",
        "\nstore:",
        "\nquota_store:",
        "\nledger:",
        "\nauth:",
        "\nadmin:",
        "\nquotas:",
        "\nproviders:",
        "\nmodels:",
        "\nmcp:",
        "fallback:",
        "command:",
    ];
    let mut loaded = 0;
    let documents = document();
    for _ in 0..4_000 {
        let document = documents.new_tree(&mut runner).unwrap().current();
        let Ok(migrated) = litellm("config.yaml", &text(&document, false), &mut none) else {
            continue;
        };
        loaded += usize::from(!needs_a_file(&migrated.config));
        missing.retain(|expected| !migrated.config.contains(expected));
        if loaded > 200 && missing.is_empty() {
            break;
        }
    }
    assert!(loaded > 200, "{loaded}");
    assert!(missing.is_empty(), "{missing:?} never come of it");
}
