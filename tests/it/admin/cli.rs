//! `sluicegate keys` against a running admin API.

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::harness::Admin;
use crate::support::{MASTER_KEY, free_address, soon};

async fn keys_at(url: &str, credential: Option<&str>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.arg("keys").args(args).env_clear().env("SLUICEGATE_ADMIN_URL", url);
    if let Some(credential) = credential {
        command.env("SLUICEGATE_MASTER_KEY", credential);
    }
    soon("the command", command.stdin(Stdio::null()).kill_on_drop(true).output()).await.unwrap()
}

async fn keys(admin: &Admin, args: &[&str]) -> Output {
    keys_at(&format!("http://{}", admin.address), Some(MASTER_KEY), args).await
}

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_made_shown_changed_rotated_blocked_and_deleted() {
    let admin = Admin::start().await;
    let args = ["create", "--alias", "ci", "--model", "gpt-4o", "--rpm", "5", "--budget", "1.50"];
    let made = keys(&admin, &args).await;
    let key = out(&made).trim().to_owned();
    assert!(key.starts_with("sk-sg-") && key.len() == 55, "the key and nothing else: {key}");
    assert!(!err(&made).contains(&key) && err(&made).contains("shown this once"));

    let shown = out(&keys(&admin, &["show", "ci"]).await);
    for line in ["alias: ci", "models: [\"gpt-4o\"]", "created_by: master"] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains(&key));
    let show = keys(&admin, &["show", "ci", "--json"]).await;
    let shown: Value = serde_json::from_str(&out(&show)).unwrap();
    assert_eq!(shown["limits"]["budget"], "1.5");
    let id = shown["id"].as_str().unwrap();

    let args = ["update", id, "--unset", "rpm", "--tpm", "9", "--metadata", "a=b", "--json"];
    let updated: Value = serde_json::from_str(&out(&keys(&admin, &args).await)).unwrap();
    assert_eq!(updated["limits"], serde_json::json!({"tpm": 9, "budget": "1.5"}));
    assert_eq!(updated["metadata"]["a"], "b");

    out(&keys(&admin, &["block", "ci"]).await);
    let list = out(&keys(&admin, &["list"]).await);
    let line = list.lines().nth(1).unwrap();
    assert!(line.starts_with(id) && line.ends_with("blocked"), "{list}");
    assert!(!list.contains(&key));
    out(&keys(&admin, &["unblock", "ci"]).await);
    let rotated = out(&keys(&admin, &["rotate", "ci", "--grace", "1h"]).await);
    assert!(rotated.starts_with("sk-sg-") && rotated.trim() != key);
    assert_eq!(out(&keys(&admin, &["delete", "ci"]).await), "deleted: ci\n");
    assert_eq!(out(&keys(&admin, &["list", "--json"]).await).trim(), "[]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_command_again_gives_the_same_key() {
    let admin = Admin::start().await;
    let args = ["create", "--alias", "ci", "--idempotency-key", "deploy-7"];
    let first = out(&keys(&admin, &args).await);
    assert_eq!(out(&keys(&admin, &args).await), first);
    let made = keys(&admin, &["create", "--json", "--tag", "x"]).await;
    let made: Value = serde_json::from_str(&out(&made)).unwrap();
    assert!(made["key"].as_str().unwrap().starts_with("sk-sg-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_followed_to_its_limit() {
    let admin = Admin::start().await;
    for _ in 0..7 {
        admin.stored_key(None, None).await;
    }
    let count = async |args: &[&str]| out(&keys(&admin, args).await).lines().count() - 1;
    assert_eq!(count(&["list"]).await, 7);
    assert_eq!(count(&["list", "--limit", "3"]).await, 3);
    assert_eq!(count(&["list", "--blocked", "true"]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_is_wrong_and_what_to_do() {
    let admin = Admin::start().await;
    let url = format!("http://{}", admin.address);
    let table: [(&[&str], i32, &str); 6] = [
        (&["show", "nobody"], 1, "there is no key with the id or alias `nobody`"),
        (&["create", "--team", "nowhere"], 1, "`team` names a team that does not exist"),
        (&["create", "--budget", "ten"], 1, "`limits.budget` must be a decimal number"),
        (&["update", "x"], 64, "name something to change"),
        (&["create", "--metadata", "x"], 64, "must be NAME=VALUE"),
        (&["show", "sk-sg-0123456789"], 64, "its text can be seen"),
    ];
    for (args, code, expected) in table {
        let output = keys(&admin, args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(expected), "{args:?}: {}", err(&output));
        assert_eq!(err(&output).lines().count(), 1, "one line: {}", err(&output));
    }
    let output = keys_at(&url, None, &["list"]).await;
    assert!(err(&output).contains("SLUICEGATE_MASTER_KEY"), "{}", err(&output));
    let output = keys_at(&url, Some("sk-wrong-0123456789-secret"), &["list"]).await;
    assert!(err(&output).contains("not valid") && !err(&output).contains("secret"));
    let nobody = format!("http://{}", free_address());
    let output = keys_at(&nobody, Some(MASTER_KEY), &["list"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains(&nobody), "{}", err(&output));
    let output = keys_at("http://192.0.2.1:8081", Some(MASTER_KEY), &["list"]).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).contains("in the clear"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_credential_can_come_from_standard_input() {
    let admin = Admin::start().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["keys", "list", "--json", "--key-file", "-"])
        .env_clear()
        .env("SLUICEGATE_ADMIN_URL", format!("http://{}", admin.address))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{MASTER_KEY}\n").as_bytes()).await.unwrap();
    drop(stdin);
    let output = soon("the command", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
}
