//! The command line: exit codes and what a person reads.

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(args)
        .env_clear()
        .env("OPENAI_API_KEY", "sk-one")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_says_every_error_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.yaml");
    std::fs::write(
        &file,
        "auth: { anonymous: true }\nlimts: { request_size: 1MiB }\nproviders:\n  openai: { api_key: \"env:NOT_SET\" }\n\
         models:\n  m: { targets: [{ provider: opnai, model: x }] }\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let output = run(&["check", "--config", file]);
    assert_eq!(output.status.code(), Some(64));
    let errors = text(&output.stderr);
    for expected in [":2:1: limts", "limits", ":4:", "NOT_SET", ":6:", "openai"] {
        assert!(errors.contains(expected), "{expected} is not in\n{errors}");
    }
    let output = run(&["check", "--json", "--config", file]);
    assert_eq!(output.status.code(), Some(64));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert!(report["problems"].as_array().unwrap().len() >= 3, "{report:#}");
    assert!(report["problems"][0]["line"].is_u64());
}

#[test]
fn good_files_pass_and_can_be_dumped_and_compared() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, more: &str| {
        let file = directory.path().join(name);
        let text = format!(
            "auth: {{ anonymous: true }}\n{more}\nproviders: {{ openai: {{ api_key: \"env:OPENAI_API_KEY\" }} }}\n\
             models: {{ gpt-4o-mini: {{ targets: [{{ provider: openai, model: gpt-4o-mini }}] }} }}\n"
        );
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (a, b) = (write("a.yaml", ""), write("b.yaml", "limits: { request_size: 2MiB }"));
    let output = run(&["check", "--config", &a]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let dump = text(&run(&["config", "dump", "--config", &a]).stdout);
    assert!(dump.contains("api.openai.com") && dump.contains("env:OPENAI_API_KEY"), "{dump}");
    assert!(!dump.contains("sk-one"));
    let diff = text(&run(&["config", "diff", &a, &b]).stdout);
    assert!(diff.contains("limits.request_size") && diff.contains("on reload"), "{diff}");
    let schema: serde_json::Value =
        serde_json::from_slice(&run(&["config", "schema"]).stdout).unwrap();
    assert!(schema["properties"]["providers"].is_object());
}

#[test]
fn a_generated_master_key_is_new_each_time_and_accepted_in_production() {
    let make = || text(&run(&["keys", "generate-master"]).stdout);
    let key = make();
    assert!(key.len() == 3 + 64 + 1 && key.starts_with("sk-"), "{key}");
    assert_ne!(key, make());

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("production.yaml");
    std::fs::write(
        &file,
        "environment: production\nadmin: { master_key: \"env:SLUICEGATE_MASTER_KEY\" }\n\
         store: { sqlite: { path: data/sluicegate.db } }\naudit: { directory: data/audit }\n\
         auth: { keys: { pepper: \"env:SLUICEGATE_KEY_PEPPER\" } }\n\
         providers: { openai: { api_key: \"env:OPENAI_API_KEY\" } }\n\
         models: { m: { targets: [{ provider: openai, model: m }] } }\n",
    )
    .unwrap();
    let check = |master: &str, pepper: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
            .args(["check", "--config", file.to_str().unwrap()])
            .env_clear()
            .env("OPENAI_API_KEY", "sk-one")
            .env("SLUICEGATE_MASTER_KEY", master)
            .env("SLUICEGATE_KEY_PEPPER", pepper)
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr))
    };
    // As a person has them, from a shell's `$(...)`.
    let fresh = || make().trim_end().to_owned();
    assert_eq!(check(&fresh(), &fresh()), (Some(0), String::new()));
    let one = fresh();
    for (master, pepper, at) in [
        ("sk-1234", fresh(), ":2:22: admin.master_key"),
        ("sk-1111111111111111111111111111111111111111111111", fresh(), ":2:22: admin.master_key"),
        (&one[..40], fresh(), ":2:22: admin.master_key"),
        (&one, one.clone(), ":5:"),
        ("", fresh(), ":2:"),
    ] {
        let (code, errors) = check(master, &pepper);
        assert!(code == Some(64) && errors.contains(at), "{code:?} {errors}");
        assert!(master.is_empty() || !errors.contains(master), "{errors}");
    }
}

#[test]
fn bad_usage_is_64_and_help_is_0() {
    assert_eq!(run(&["no-such-command"]).status.code(), Some(64));
    assert_eq!(run(&["serve", "--no-such-flag"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    let output = run(&["serve", "--config", "/nowhere/sluicegate.yaml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("/nowhere/sluicegate.yaml"));
}

#[test]
fn an_address_in_use_is_said_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    std::fs::write(
        &file,
        format!(
            "auth: {{ anonymous: true }}\nlisteners: {{ proxy: {{ address: \"{}\" }} }}\n\
             providers: {{ openai: {{ api_key: \"env:OPENAI_API_KEY\" }} }}\n\
             models: {{ m: {{ targets: [{{ provider: openai, model: m }}] }} }}\n",
            taken.local_addr().unwrap()
        ),
    )
    .unwrap();
    let socket = directory.path().join("handover/upgrade.sock");
    let output = run(&[
        "serve",
        "--config",
        file.to_str().unwrap(),
        "--upgrade-socket",
        socket.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("can't listen on") && error.contains("listeners.proxy"), "{error}");
}

/// LiteLLM's file in a directory of its own.
fn litellm(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, text).unwrap();
    (directory, file.to_str().unwrap().to_owned())
}

const LITELLM: &str = "include: [more.yaml]\nmodel_list:\n- model_name: gpt-4o\n  litellm_params:\n    \
                       model: openai/gpt-4o\n    api_key: sk-in-the-file\n    temperature: 0.2\n";
const MORE: &str = "litellm_settings: { num_retries: 2 }\n";

#[test]
fn a_file_of_litellm_becomes_a_configuration_that_passes_the_check() {
    let (directory, file) = litellm(LITELLM);
    std::fs::write(directory.path().join("more.yaml"), MORE).unwrap();
    let output = run(&["migrate", "litellm", "--config", &file]);
    let (config, report) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(config.contains("attempts: 3") && config.contains("env:OPENAI_API_KEY"), "{config}");
    assert!(
        report.contains("config.yaml:7:5: model_list[0].litellm_params.temperature"),
        "{report}"
    );
    assert!(
        report.contains("OPENAI_API_KEY  ") && report.contains("1 without an equal"),
        "{report}"
    );
    assert!(!format!("{config}{report}").contains("sk-in-the-file"));

    let migrated = directory.path().join("sluicegate.yaml");
    let out = migrated.to_str().unwrap();
    // To a file, or into a directory: the same.
    let output = run(&["migrate", "litellm", "--config", &file, "--out", out]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert_eq!(std::fs::read_to_string(&migrated).unwrap(), config);
    let output = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["check", "--config", out])
        .env_clear()
        .env("OPENAI_API_KEY", "sk-one")
        .env("LITELLM_MASTER_KEY", "sk-two")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    std::fs::write(&migrated, "mine").unwrap();
    let into = directory.path().to_str().unwrap();
    let output = run(&["migrate", "litellm", "--config", &file, "--out", into]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("--force"));
    assert_eq!(std::fs::read_to_string(&migrated).unwrap(), "mine");
    let output = run(&["migrate", "litellm", "--config", &file, "--out", into, "--force"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&migrated).unwrap(), config);
}

#[test]
fn what_litellm_s_file_loses_fails_where_that_is_asked_for() {
    let (directory, file) = litellm(LITELLM);
    std::fs::write(directory.path().join("more.yaml"), MORE).unwrap();
    let output = run(&["migrate", "litellm", "--config", &file, "--strict", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["summary"]["no_equal"], 1, "{shown:#}");
    assert!(shown["config"].as_str().unwrap().contains("gpt-4o"));
    let entries = shown["report"]["entries"].as_array().unwrap();
    let lost: Vec<_> = entries.iter().filter(|entry| entry["outcome"] == "no_equal").collect();
    assert_eq!(lost[0]["path"], "model_list[0].litellm_params.temperature");
    assert!(lost[0]["action"].is_string() && lost[0]["line"] == 7);

    std::fs::write(&file, "model_list: []\n").unwrap();
    let output = run(&["migrate", "litellm", "--config", &file, "--strict"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_file_that_litellm_could_not_read_is_bad_usage() {
    let (directory, file) = litellm("include: [more.yaml]\n");
    let output = run(&["migrate", "litellm", "--config", &file]);
    assert_eq!(output.status.code(), Some(64));
    let error = text(&output.stderr);
    assert!(error.contains("config.yaml:1:11") && error.contains("more.yaml"), "{error}");

    std::fs::write(&file, "model_list: [\n").unwrap();
    let output = run(&["migrate", "litellm", "--config", &file, "--json"]);
    assert_eq!(output.status.code(), Some(64));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["ok"], false);
    assert!(shown["problems"][0]["message"].as_str().unwrap().contains("not YAML"));

    for unreadable in [directory.path().to_str().unwrap(), "/nowhere/config.yaml"] {
        let output = run(&["migrate", "litellm", "--config", unreadable]);
        assert_eq!(output.status.code(), Some(64));
        assert!(text(&output.stderr).contains(unreadable));
    }
    std::fs::write(&file, b"a: \xff\n").unwrap();
    let output = run(&["migrate", "litellm", "--config", &file]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("not UTF-8"));
}
