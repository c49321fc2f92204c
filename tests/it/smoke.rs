//! `scripts/smoke.sh`, which people and pipelines judge a deployment by.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::{Config, Gateway, MASTER_KEY, free_address, provider};

fn smoke(gateway: &Gateway, key: &str, model: &str) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/smoke.sh");
    let mut child = Command::new(script)
        .args([&format!("http://{}", gateway.proxy), "-", model])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{key}").unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_serves_passes_and_one_that_does_not_fails_and_says_where() {
    let provider = provider().await;
    let mut config = Config::for_provider(provider.address());
    config.head = "admin: { master_key: \"env:MASTER_KEY\" }\n\
                   store: { sqlite: { path: \":memory:\" } }\n"
        .to_owned();
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({})).await;
    let good = smoke(&gateway, &key, "sim-1");
    let said = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success(), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok")).count(), 5, "{said}");
    assert!(!said.contains(&key), "{said}");

    let blind = smoke(&gateway, "sk-of-nobody", "sim-1");
    let said = String::from_utf8(blind.stdout).unwrap();
    assert_eq!(blind.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("FAIL  ")).count(), 3, "{said}");
    let other = smoke(&gateway, &key, "there-is-none");
    assert_eq!(other.status.code(), Some(1));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_mcp_servers_are_looked_at_and_one_that_gives_none_is_named() {
    let provider = provider().await;
    for (gone, ok) in [(None, 6), (Some(free_address()), 5)] {
        let gone = gone.map(|address| format!(", gone: {{ url: \"http://{address}/mcp\" }}"));
        let mut config = Config::for_provider(provider.address());
        config.head = format!(
            "admin: {{ master_key: \"env:MASTER_KEY\" }}\n\
             store: {{ sqlite: {{ path: \":memory:\" }} }}\n\
             mcp: {{ targets: {{ sim: {{ url: \"http://{}/mcp\" }}{} }} }}\n",
            provider.address(),
            gone.as_deref().unwrap_or_default()
        );
        let gateway = Gateway::start(&config);
        let judged = smoke(&gateway, MASTER_KEY, "sim-1");
        let said = String::from_utf8(judged.stdout).unwrap();
        assert_eq!(judged.status.success(), gone.is_none(), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("ok")).count(), ok, "{said}");
        assert_eq!(said.contains("10 tools of MCP servers"), gone.is_none(), "{said}");
        let named =
            said.lines().any(|line| line.starts_with("FAIL  tools") && line.contains("\"gone\""));
        assert_eq!(named, gone.is_some(), "{said}");
        gateway.stop().await;
    }
}
