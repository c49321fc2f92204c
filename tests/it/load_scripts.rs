//! The scripts for k6, without k6: what they send is understood, and their checks tell right from wrong.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Config, Gateway, provider, soon};

/// Runs a script for some turns.
async fn run(script: &'static str, turns: u32, at: SocketAddr, more: &[(&str, &str)]) -> Output {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/k6");
    let mut command = Command::new("node");
    command
        .args(["--no-warnings", "run.mjs", script, &turns.to_string()])
        .current_dir(here)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("BASE_URL", format!("http://{at}/"))
        .envs(more.iter().copied())
        .stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    soon(script, run).await.unwrap()
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How often the check of this name held and did not.
fn counts(report: &Value, check: &str) -> (u64, u64) {
    let counted = &report["checks"][check];
    (counted["held"].as_u64().unwrap_or(0), counted["failed"].as_u64().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_script_finds_the_gateway_s_answers_in_order() {
    let provider = provider().await;
    let gateway = Gateway::start(&Config::for_provider(provider.address()));
    // Of ten turns of a mixture six are streams, three plain, one asks for the models.
    for (script, turns, chats, streams, models) in
        [("chat", 3, 3, 0, 0), ("stream", 3, 0, 3, 0), ("mixed", 10, 3, 6, 1)]
    {
        let report = report(&run(script, turns, gateway.proxy, &[]).await);
        assert_eq!(report["verdict"]["wrong_replies"], 0, "{script}: {report:#}");
        assert_eq!(report["verdict"]["http_req_failed"], 0, "{script}: {report:#}");
        for (check, times) in [
            ("chat: usage adds up", chats),
            ("stream: reports usage once", streams),
            ("stream: ends with [DONE]", streams),
            ("models: lists the model", models),
        ] {
            assert_eq!(counts(&report, check), (times, 0), "{script}: {check}: {report:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_fails_a_script() {
    let provider = provider().await;
    let gateway = Gateway::start(&Config::for_provider(provider.address()).with_models(
        "  cut: { targets: [{ provider: sim, model: \"sim-1;fault=truncate;after=3\" }] }\n",
    ));
    let cut = report(&run("stream", 2, gateway.proxy, &[("MODEL", "cut")]).await);
    assert_eq!(cut["verdict"]["wrong_replies"], 2, "{cut:#}");
    assert_eq!(counts(&cut, "stream: status 200"), (2, 0), "{cut:#}");
    assert_eq!(counts(&cut, "stream: ends with [DONE]"), (0, 2), "{cut:#}");
    let unknown = report(&run("chat", 1, gateway.proxy, &[("MODEL", "nobody")]).await);
    assert_eq!(unknown["verdict"]["wrong_replies"], 1, "{unknown:#}");
    assert_eq!(unknown["verdict"]["http_req_failed"], 1, "{unknown:#}");
}
