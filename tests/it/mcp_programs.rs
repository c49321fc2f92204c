//! Programs of MCP servers end with the gateway that has started them, however it ends.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::leaving::hand_over;
use crate::support::{Client, Config, Gateway, free_address, soon};

/// A server that starts a process of its own. Its argument says how it takes the end of its input.
const PROGRAM: &str = r#"
import json, os, signal, subprocess, sys, time

stubborn = sys.argv[1] == "stubborn"
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = subprocess.Popen(["sleep", "600"])
with open("processes", "a") as file:
    file.write(f"{os.getpid()}\n{other.pid}\n")
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "server/discover":
        result = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
    elif message["method"] == "tools/list":
        result = {"tools": [{"name": "wait", "inputSchema": {"type": "object"}}]}
    else:
        open("called", "w").close()
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
if stubborn:
    time.sleep(600)
open("left", "w").close()
"#;

/// A gateway whose one server is [`PROGRAM`], which has been started, and where that runs.
async fn running(kind: &str) -> (Gateway, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("server.py");
    std::fs::write(&script, PROGRAM).unwrap();
    let mut config = Config::for_provider(free_address()).with(&format!(
        "mcp: {{ targets: {{ it: {{ command: [python3, \"{}\", {kind}], directory: \"{}\" }} }} }}",
        script.display(),
        directory.path().display()
    ));
    config.listen = free_address().to_string();
    let gateway = Gateway::start(&config);
    start(&gateway).await;
    (gateway, directory)
}

/// The first request starts the program.
async fn start(gateway: &Gateway) {
    let tools = gateway.client().get("/mcp/tools").await;
    assert_eq!(tools.json()["tools"][0]["name"], "it_wait", "{}", tools.text());
}

/// The processes that have been started.
fn processes(directory: &TempDir) -> Vec<u32> {
    let processes = std::fs::read_to_string(directory.path().join("processes")).unwrap();
    processes.lines().map(|id| id.parse().unwrap()).collect()
}

fn runs(process: u32) -> bool {
    // One that has lost its parent may have nobody who collects it.
    let stat = std::fs::read_to_string(Path::new(&format!("/proc/{process}/stat")));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    soon(what, async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Waits until none of them runs.
async fn until_gone(processes: &[u32]) {
    until("the end of all processes", || !processes.iter().any(|&process| runs(process))).await;
}

#[tokio::test]
async fn a_program_that_leaves_with_its_input_is_let_leave_and_its_own_processes_end() {
    let (gateway, directory) = running("polite").await;
    let started = processes(&directory);
    assert!(started.len() == 2 && started.iter().all(|&process| runs(process)), "{started:?}");
    gateway.stop().await;
    assert!(directory.path().join("left").exists(), "it was not killed");
    until_gone(&started).await;
}

#[tokio::test]
async fn a_program_that_does_not_leave_ends_with_the_gateway() {
    let (gateway, directory) = running("stubborn").await;
    let started = processes(&directory);
    gateway.stop().await;
    until_gone(&started).await;
    assert!(!directory.path().join("left").exists(), "it was killed");
}

#[tokio::test]
async fn a_gateway_that_does_not_wait_for_calls_kills_its_programs() {
    let (gateway, directory) = running("stubborn").await;
    let started = processes(&directory);
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait"}
    });
    let mut waits = gateway.client().connect().await;
    let head = "Accept: application/json, text/event-stream\r\n";
    waits.write_all(&Client::request("/mcp/it", head, &call)).await.unwrap();
    until("a call under way", || directory.path().join("called").exists()).await;
    gateway.signal("TERM");
    gateway.await_log("draining");
    assert!(started.iter().all(|&process| runs(process)), "who waits is waited for");
    gateway.signal("INT");
    assert_eq!(gateway.ended().await.0, 130);
    until_gone(&started).await;
}

#[tokio::test]
async fn a_process_that_has_handed_its_sockets_over_leaves_no_programs_behind() {
    let (old, directory) = running("stubborn").await;
    let olds = processes(&directory);
    let mut new = old.successor();
    hand_over(&old, &mut new).await;
    assert_eq!(old.ended().await.0, 0);
    until_gone(&olds).await;
    start(&new).await;
    let all = processes(&directory);
    let news: Vec<_> = all.into_iter().filter(|process| !olds.contains(process)).collect();
    assert!(news.len() == 2 && news.iter().all(|&process| runs(process)), "{news:?}");
    new.stop().await;
    until_gone(&news).await;
}
