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
