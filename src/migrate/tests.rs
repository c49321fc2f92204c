use std::collections::BTreeSet;
use std::path::PathBuf;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::source::{Kind, Node};
use super::*;
use crate::config::{Env, load_str};

mod property;

/// Every fixture: LiteLLM's file, beside it what is made of it.
const FIXTURES: [&str; 9] = [
    "balancing",
    "budgets",
    "clouds",
    "enterprise",
    "including",
    "jwt",
    "local",
    "prices",
    "quickstart",
];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/migrate/fixtures").join(name)
}

fn read(name: &str) -> Result<String, String> {
    std::fs::read_to_string(fixture(name)).map_err(|error| error.to_string())
}

fn migrated(name: &str) -> Migrated {
    let file = format!("{name}.yaml");
    let text = read(&file).unwrap();
    litellm(&file, &text, &mut read).unwrap()
}

fn of(text: &str) -> Migrated {
    let mut none = |_: &str| Err("there is none".to_owned());
    litellm("config.yaml", text, &mut none).unwrap()
}

fn refused(text: &str) -> String {
    let mut none = |_: &str| Err("there is none".to_owned());
    litellm("config.yaml", text, &mut none).unwrap_err().to_string()
}

/// An environment in which each variable holds what it has to.
fn environment(report: &Report) -> Env {
    let value = |(index, variable): (usize, &Variable)| {
        let value = match variable.holds {
            Holds::Secret => format!("a-secret-{index}"),
            Holds::MasterKey => format!("sk-{}", "0123456789abcdef".repeat(4)),
            Holds::Pepper => "fedcba9876543210".repeat(4),
            Holds::Text => format!("text-{index}"),
            Holds::BaseUrl => format!("https://host-{index}.example.com"),
            Holds::PostgresUrl => "postgres://user:password@db.example.com/gateway".to_owned(),
            Holds::RedisUrl => "rediss://user:password@redis.example.com:6379/0".to_owned(),
            Holds::KeysUrl => "https://login.example.com/keys".to_owned(),
        };
        (variable.name.clone(), value)
    };
    Env::from_iter(report.variables.iter().enumerate().map(value))
}

/// Whether a configuration has providers that need more than variables to be loaded: a key file.
fn needs_a_file(config: &str) -> bool {
    config.contains("dialect: vertex")
}

/// What has to be true of whatever comes of `source`.
fn check(source: &include::Joined, migrated: &Migrated) -> Result<(), String> {
    let Migrated { config, report } = migrated;
    if !needs_a_file(config) {
        load_str("out.yaml", config, &environment(report))
            .map_err(|problems| format!("it does not load: {problems}\n{config}"))?;
    }
    let output: Value =
        serde_saphyr::from_str(config).map_err(|error| format!("{error}\n{config}"))?;
    let mut written = BTreeSet::new();
    paths(&output, "", &mut written);
    for entry in &report.entries {
        if let Some(to) = &entry.to
            && !leads_somewhere(to, &written)
        {
            return Err(format!("{} went to {to}, where nothing is\n{config}", entry.path));
        }
        if entry.outcome == Outcome::NoEqual && entry.action.is_none() {
            return Err(format!("{}: nothing is said of what to do", entry.path));
        }
    }
    let reported: BTreeSet<&str> = report.entries.iter().map(|it| it.path.as_str()).collect();
    let mut missing = Vec::new();
    leaves(&source.root, "", &mut |leaf| {
        let inside = |end: usize| reported.contains(&leaf[..end]);
        let cut = leaf.char_indices().filter(|(_, char)| matches!(char, '.' | '[')).map(|it| it.0);
        if !reported.contains(leaf) && !cut.into_iter().any(inside) {
            missing.push(leaf.to_owned());
        }
    });
    if missing.is_empty() { Ok(()) } else { Err(format!("nothing is said of {missing:?}")) }
}

#[test]
fn clouds_load_where_the_key_file_is() {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let key = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let text = STANDARD.encode(key.as_ref());
    let key_file = serde_json::json!({
        "type": "service_account",
        "client_email": "gateway@example-project.iam.gserviceaccount.com",
        "private_key": format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"),
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vertex.json");
    std::fs::write(&path, key_file.to_string()).unwrap();
    let Migrated { config, report } = migrated("clouds");
    let config = config.replace("/run/secrets/vertex.json", path.to_str().unwrap());
    let loaded = load_str("out.yaml", &config, &environment(&report)).unwrap();
    let dialects: BTreeSet<_> =
        loaded.config.providers.values().map(|it| it.api.dialect().name()).collect();
    assert_eq!(dialects, ["azure_openai", "bedrock", "gemini", "vertex"].into());
}

fn paths(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    into.insert(path.to_owned());
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| paths(value, &at::join(path, key), into));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| paths(value, &format!("{path}[{index}]"), into));
        }
        _ => {}
    }
}

fn leads_somewhere(to: &str, written: &BTreeSet<String>) -> bool {
    match to.split_once('*') {
        Some((before, after)) => {
            written.iter().any(|path| path.starts_with(before) && path.ends_with(after))
        }
        None => written.contains(to),
    }
}

fn leaves(node: &Node, path: &str, found: &mut dyn FnMut(&str)) {
    match &node.kind {
        Kind::Map(entries) if !entries.is_empty() => {
            for entry in entries {
                leaves(&entry.node, &at::join(path, &entry.key), found);
            }
        }
        Kind::List(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                leaves(item, &format!("{path}[{index}]"), found);
            }
        }
        _ => found(path),
    }
}

#[test]
fn fixtures_become_what_stands_beside_them() {
    let update = std::env::var_os("UPDATE").is_some();
    for name in FIXTURES {
        let migrated = migrated(name);
        let shown = [
            (format!("{name}.out.yaml"), migrated.config.clone()),
            (format!("{name}.report.txt"), migrated.report.to_string()),
        ];
        for (file, text) in shown {
            if update {
                std::fs::write(fixture(&file), &text).unwrap();
            }
            let expected = read(&file).unwrap_or_default();
            assert!(text == expected, "{file} differs; UPDATE=1 writes it anew. Now:\n{text}");
        }
    }
}

#[test]
fn fixtures_load_and_nothing_of_them_is_lost() {
    for name in FIXTURES {
        let file = format!("{name}.yaml");
        let joined = include::join(&file, &read(&file).unwrap(), &mut read).unwrap();
        check(&joined, &migrated(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn no_secret_of_a_fixture_is_shown() {
    let secrets = [
        "sk-1234",
        "sk-example-of-a-key-in-the-file",
        "sk-another-example",
        "sk-lf-example",
        "dbpassword9090",
        "t0ps3cr3t",
        "eyJ0eXAiOiJKV1Qi",
    ];
    for name in FIXTURES {
        let Migrated { config, report } = migrated(name);
        let shown = format!("{config}{report}{}{report:?}", serde_json::json!(report));
        for secret in secrets {
            assert!(!shown.contains(secret), "{name} shows {secret}");
        }
    }
}

#[test]
fn what_litellm_could_not_read_is_refused_with_its_place() {
    for (text, expected) in [
        ("", "config.yaml:1:1: not a mapping of LiteLLM's settings"),
        ("- a\n", "config.yaml:1:1: not a mapping"),
        ("a: 1\n---\nb: 2\n", "config.yaml:3:1: a second YAML document"),
        ("a: [1\n", "not YAML: "),
        ("a:\n  b: *nobody\n", "config.yaml:2:"),
        ("? [a]\n: 1\n", "a key that is not plain text"),
        ("<<: 1\n", "`<<` without a mapping"),
        (
            "include: [more.yaml]\n",
            "config.yaml:1:11: include: more.yaml can't be read: there is none",
        ),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(refused(&deep).contains("nested more than 64 deep"));
    let bomb: String = (0..20).fold("a0: &a0 [x]\n".to_owned(), |text, index| {
        let of = format!("*a{index}, ").repeat(9);
        format!("{text}a{0}: &a{0} [{of}]\n", index + 1)
    });
    assert!(refused(&bomb).contains("more than 50000 values"));
    assert!(refused(&" ".repeat(1024 * 1024 + 1)).contains("larger than 1 MiB"));
}

#[test]
fn of_equal_keys_the_last_one_counts_and_the_others_are_told() {
    let text =
        "model_list:\n- model_name: a\n  model_name: b\n  litellm_params: { model: gpt-4o }\n";
    let Migrated { config, report } = of(text);
    assert!(config.contains("  b: {") || config.contains("  b:\n"), "{config}");
    let told: Vec<_> = report.entries.iter().filter(|it| it.path.ends_with("model_name")).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!((told[0].line, told[0].outcome), (2, Outcome::NotNeeded));
    assert_eq!((told[1].line, told[1].outcome), (3, Outcome::Carried));
}

#[test]
fn a_variable_that_the_source_names_is_not_given_to_something_else() {
    let text = "model_list:\n\
                - { model_name: a, litellm_params: { model: gpt-4o, api_key: sk-in-the-file } }\n\
                - { model_name: b, litellm_params: { model: gpt-4o, api_key: os.environ/OPENAI_API_KEY } }\n\
                - { model_name: c, litellm_params: { model: gpt-4o, api_key: sk-in-the-file } }\n";
    let Migrated { config, report } = of(text);
    let names: Vec<_> = report.variables.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["OPENAI_API_KEY_2", "OPENAI_API_KEY", "LITELLM_MASTER_KEY"]);
    // The first and the third have one key, and so one provider.
    assert_eq!(config.matches("env:OPENAI_API_KEY").count(), 2, "{config}");
}

#[test]
fn an_address_that_can_not_be_used_leaves_its_deployment_out() {
    for base in ["ftp://x", "https://user:hidden@x/v1", "https://x/v1?key=hidden", "x"] {
        let text = format!(
            "model_list: [{{ model_name: a, litellm_params: {{ model: openai/a, api_base: \"{base}\" }} }}]\n"
        );
        let Migrated { config, report } = of(&text);
        assert!(!config.contains("models") && !config.contains("api.openai.com"), "{config}");
        let left_out = report.entries.iter().find(|it| it.path == "model_list[0]").unwrap();
        assert_eq!(left_out.outcome, Outcome::NoEqual);
        assert!(!format!("{config}{report}").contains("hidden"));
    }
}
