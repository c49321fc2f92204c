//! The MCP server over HTTP: what it answers in each era, what it refuses, what it notes.

use serde_json::{Value, json};
use sluicegate_simulator::{McpFault, McpFaultKind, Simulator};
use tokio::io::AsyncWriteExt;

use crate::client::*;

const ACCEPT: &str = "accept: application/json, text/event-stream\r\n";
const TYPE: &str = "content-type: application/json\r\n";

/// What is sent, and where.
struct Sent {
    path: &'static str,
    headers: Vec<String>,
    body: Value,
}

impl Sent {
    fn without(mut self, header: &str) -> Self {
        self.headers.retain(|line| !line.starts_with(header));
        self
    }

    fn with(mut self, header: &str) -> Self {
        self.headers.push(format!("{header}\r\n"));
        self
    }

    fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    fn id(mut self, id: i64) -> Self {
        self.body["id"] = json!(id);
        self
    }

    fn meta(mut self, key: &str, value: Value) -> Self {
        self.body["params"]["_meta"][key] = value;
        self
    }

    fn without_meta(mut self, key: &str) -> Self {
        self.body["params"]["_meta"].as_object_mut().unwrap().remove(key);
        self
    }

    fn text(&self) -> String {
        let headers = format!("{}connection: close\r\n", self.headers.concat());
        request("POST", self.path, &headers, &self.body.to_string())
    }

    async fn to(&self, simulator: &Simulator) -> Answer {
        send(simulator, &self.text()).await
    }
}

/// A request of the era without sessions.
fn modern(method: &str, params: Value) -> Sent {
    let mut body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    body["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    });
    let headers = [ACCEPT, TYPE, "mcp-protocol-version: 2026-07-28\r\n"].map(str::to_owned);
    let mut sent = Sent { path: "/mcp", headers: headers.to_vec(), body };
    sent = sent.with(&format!("mcp-method: {method}"));
    match params["name"].as_str() {
        Some(name) => sent.with(&format!("mcp-name: {name}")),
        None => sent,
    }
}

fn modern_call(tool: &str, arguments: Value) -> Sent {
    modern("tools/call", json!({ "name": tool, "arguments": arguments }))
}

/// A message of the era with sessions.
fn legacy(session: Option<&str>, body: Value) -> Sent {
    let mut headers = vec![ACCEPT.to_owned(), TYPE.to_owned()];
    if let Some(session) = session {
        headers.push(format!("mcp-session-id: {session}\r\n"));
        headers.push("mcp-protocol-version: 2025-11-25\r\n".to_owned());
    }
    Sent { path: "/mcp", headers, body }
}

fn legacy_call(session: &str, id: i64, tool: &str, arguments: Value) -> Sent {
    let params = json!({ "name": tool, "arguments": arguments });
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
    legacy(Some(session), body)
}

fn initialize(version: &str) -> Value {
    let client = json!({ "name": "test", "version": "1" });
    let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

/// Opens a session, all said that is to be said.
async fn session(simulator: &Simulator) -> String {
    let answer = legacy(None, initialize("2025-11-25")).to(simulator).await;
    let session = answer.header("mcp-session-id").unwrap().to_owned();
    let body = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let answer = legacy(Some(&session), body).to(simulator).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    session
}

fn refusal(answer: &Answer) -> (u16, i64) {
    (answer.status, answer.json()["error"]["code"].as_i64().unwrap())
}

#[tokio::test]
async fn without_sessions_a_request_stands_alone() {
    let simulator = simulator().await;
    let found = modern("server/discover", json!({})).to(&simulator).await.json();
    assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["result"]["resultType"], "complete");
    let listed = modern("tools/list", json!({})).to(&simulator).await.json();
    assert_eq!(listed["result"]["tools"][1]["name"], "add");
    assert_eq!(
        (&listed["result"]["ttlMs"], &listed["result"]["cacheScope"]),
        (&json!(60_000), &json!("public"))
    );
    let answer = modern_call("add", json!({ "a": 2, "b": 3 })).id(7).to(&simulator).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["id"], 7);
    assert_eq!(answer.json()["result"]["structuredContent"], json!({ "sum": 5 }));
    let failed = modern_call("fail", json!({})).to(&simulator).await.json();
    assert_eq!(failed["result"]["isError"], true);
    assert_eq!(simulator.mcp().refusals(), Vec::<String>::new());
    assert_eq!(simulator.mcp().stats().calls["add"], 1);
}

#[tokio::test]
async fn without_sessions_everything_must_be_said_and_agree() {
    let simulator = simulator().await;
    let call = || modern_call("echo", json!({}));
    let version = "io.modelcontextprotocol/protocolVersion";
    for (sent, wanted) in [
        (call().without("mcp-protocol"), (400, -32020)),
        (call().without("mcp-method"), (400, -32020)),
        (call().without("mcp-name"), (400, -32020)),
        (call().with("mcp-name: echo"), (400, -32020)),
        (call().without("mcp-name").with("mcp-name: add"), (400, -32020)),
        (call().without("mcp-method").with("mcp-method: tools/list"), (400, -32020)),
        (call().without("mcp-protocol").with("mcp-protocol-version: 2025-11-25"), (400, -32020)),
        (call().without_meta(version), (400, -32602)),
        (call().without_meta("io.modelcontextprotocol/clientCapabilities"), (400, -32602)),
        (call().meta("io.modelcontextprotocol/clientInfo", json!("me")), (400, -32602)),
        (call().meta("progressToken", json!(null)), (400, -32602)),
        (
            call()
                .without("mcp-protocol")
                .with("mcp-protocol-version: 2027-01-01")
                .meta(version, json!("2027-01-01")),
            (400, -32022),
        ),
        (modern("resources/list", json!({})), (404, -32601)),
        (modern_call("nothing", json!({})), (400, -32602)),
        (modern("tools/list", json!({ "cursor": "mine" })), (400, -32602)),
        (call().without("accept").with("accept: application/json"), (406, -32600)),
        (call().without("content-type"), (415, -32600)),
        (call().with("origin: http://example.com"), (403, -32600)),
        (Sent { body: json!([]), ..call() }, (400, -32600)),
        (Sent { body: initialize("2025-11-25"), ..call() }.at("/mcp-2026"), (400, -32022)),
    ] {
        let answer = sent.to(&simulator).await;
        assert_eq!(refusal(&answer), wanted, "{:?} {}", sent.headers, sent.body);
    }
    let coded = call().without("mcp-name").with("mcp-name: =?base64?ZWNobw==?=");
    assert_eq!(coded.to(&simulator).await.status, 200);
    assert_eq!(simulator.mcp().stats().refused, 20);
}

#[tokio::test]
async fn a_schema_can_want_arguments_in_headers() {
    let simulator = simulator().await;
    let properties = json!({
        "region": { "type": "string", "x-mcp-header": "Region" },
        "at": { "type": "object", "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
    });
    let schema = json!({ "type": "object", "properties": properties });
    let tool = json!({ "name": "routed", "inputSchema": schema });
    simulator.mcp().change(|settings| settings.extra_tools = vec![tool]);
    let call = || modern_call("routed", json!({ "region": "eu", "at": { "n": 3 } }));
    let whole = || call().with("mcp-param-region: eu").with("Mcp-Param-N: 3");
    assert_eq!(whole().to(&simulator).await.status, 200);
    for sent in [
        call(),
        call().with("mcp-param-region: eu"),
        call().with("mcp-param-region: us").with("mcp-param-n: 3"),
        whole().with("mcp-param-n: 3"),
        modern_call("routed", json!({})).with("mcp-param-n: 3"),
    ] {
        assert_eq!(refusal(&sent.to(&simulator).await), (400, -32020), "{:?}", sent.headers);
    }
    assert_eq!(modern_call("routed", json!({})).to(&simulator).await.status, 200);
}

#[tokio::test]
async fn a_session_is_opened_and_demanded() {
    let simulator = simulator().await;
    let opened = legacy(None, initialize("2025-11-25")).to(&simulator).await;
    assert_eq!(opened.json()["result"]["protocolVersion"], "2025-11-25");
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let early = legacy_call(&session, 1, "echo", json!({})).to(&simulator).await;
    assert_eq!(refusal(&early), (400, -32600));
    let body = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(legacy(Some(&session), body).to(&simulator).await.status, 202);

    let call = |id| legacy_call(&session, id, "echo", json!({ "b": 1, "a": [1.50] }));
    let answer = call(2).to(&simulator).await.json();
    assert_eq!(answer["result"]["structuredContent"], json!({ "b": 1, "a": [1.5] }));
    assert_eq!(answer["result"].get("resultType"), None);
    for (sent, wanted) in [
        (call(3).without("mcp-session-id"), (400, -32600)),
        (call(3).without("mcp-session-id").with("mcp-session-id: other"), (404, -32600)),
        (call(3).without("mcp-protocol"), (400, -32600)),
        (call(3).without("mcp-protocol").with("mcp-protocol-version: 2025-06-18"), (400, -32600)),
        (call(2), (400, -32600)),
        (call(3).at("/mcp-2026"), (400, -32602)),
        (legacy_call(&session, 4, "nothing", json!({})), (200, -32602)),
    ] {
        let answer = sent.to(&simulator).await;
        assert_eq!(refusal(&answer), wanted, "{:?} {}", sent.headers, sent.body);
    }
    simulator.mcp().lose_sessions();
    assert_eq!(refusal(&call(5).to(&simulator).await), (404, -32600));
    let stats = simulator.mcp().stats();
    assert_eq!((stats.sessions_opened, stats.sessions_open), (1, 0));
}

#[tokio::test]
async fn an_unknown_version_gets_the_newest_of_the_era() {
    let simulator = simulator().await;
    for (asked, agreed) in [("2024-11-05", "2024-11-05"), ("2026-07-28", "2025-11-25")] {
        let answer = legacy(None, initialize(asked)).to(&simulator).await.json();
        assert_eq!(answer["result"]["protocolVersion"], agreed);
    }
    simulator.mcp().change(|settings| settings.versions = vec!["2025-03-26".to_owned()]);
    let answer = legacy(None, initialize("2025-11-25")).to(&simulator).await;
    assert_eq!(answer.json()["result"]["protocolVersion"], "2025-03-26");
}

#[tokio::test]
async fn the_list_comes_in_pages_and_can_grow() {
    let simulator = simulator().await;
    simulator.mcp().change(|settings| {
        settings.page_size = 4;
        settings.extra_tools = vec![json!({ "name": "more", "inputSchema": { "type": "object" } })];
    });
    let mut names = Vec::new();
    let mut params = json!({});
    loop {
        let listed = modern("tools/list", params).to(&simulator).await.json();
        let page = listed["result"]["tools"].as_array().unwrap();
        assert!(page.len() <= 4);
        names.extend(page.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = listed["result"].get("nextCursor") else { break };
        params = json!({ "cursor": cursor });
    }
    assert_eq!(names.len(), 11);
    assert_eq!(names[10], "more");
    modern_call("grow", json!({ "name": "even-more" })).to(&simulator).await;
    let answer = modern_call("even-more", json!({ "x": 1 })).to(&simulator).await.json();
    assert_eq!(answer["result"]["structuredContent"], json!({ "x": 1 }));
}

#[tokio::test]
async fn progress_comes_as_a_stream_under_the_callers_token() {
    let simulator = simulator().await;
    for adorned in [false, true] {
        simulator.mcp().change(|settings| settings.adorned = adorned);
        let sent = modern_call("count", json!({ "n": 2 })).meta("progressToken", json!("p"));
        let answer = sent.to(&simulator).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        if adorned {
            assert!(answer.body.contains("\r\ndata:{\r\ndata:  "), "{}", answer.body);
        } else {
            let data = answer.data();
            let progress: Vec<_> = data.iter().map(|data| &data["params"]["progress"]).collect();
            assert_eq!(progress, [&json!(1), &json!(2), &Value::Null]);
            assert_eq!(data[0]["params"]["progressToken"], "p");
            assert_eq!(data[2]["id"], 1);
        }
    }
    let silent = modern_call("count", json!({ "n": 2 })).to(&simulator).await;
    assert_eq!(silent.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn whoever_leaves_cancels_where_there_are_no_sessions() {
    let simulator = simulator().await;
    let mut gone = open(&simulator, "", "").await;
    gone.write_all(modern_call("slow", json!({})).text().as_bytes()).await.unwrap();
    let stays = modern_call("slow", json!({})).text();
    let address = simulator.address();
    let stays = tokio::spawn(async move { exchange(address, &stays).await.unwrap() });
    simulator.mcp().wait_until(|stats| stats.waiting == 2).await;
    drop(gone);
    simulator.mcp().wait_until(|stats| stats.cancelled == 1).await;
    simulator.mcp().release();
    assert_eq!(stays.await.unwrap().status, 200);
    let stats = simulator.mcp().stats();
    assert_eq!((stats.cancelled, stats.under_way, stats.most_under_way), (1, 0, 2));
}

#[tokio::test]
async fn within_a_session_a_notification_cancels() {
    let simulator = simulator().await;
    let session = session(&simulator).await;
    let mut gone = open(&simulator, "", "").await;
    let mut slow = legacy_call(&session, 9, "slow", json!({})).meta("progressToken", json!(5));
    gone.write_all(slow.text().as_bytes()).await.unwrap();
    simulator.mcp().wait_until(|stats| stats.waiting == 1).await;
    // Neither the id nor the progress token may be used again now.
    assert_eq!(refusal(&slow.to(&simulator).await), (400, -32600));
    slow = slow.id(10);
    assert_eq!(refusal(&slow.to(&simulator).await), (400, -32602));
    drop(gone);
    simulator.wait_until(|stats| stats.connections_open == 0).await;
    assert_eq!(simulator.mcp().stats().waiting, 1);
    let params = json!({ "requestId": 9 });
    let body = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    assert_eq!(legacy(Some(&session), body).to(&simulator).await.status, 202);
    simulator.mcp().wait_until(|stats| stats.cancelled == 1 && stats.under_way == 0).await;
}

#[tokio::test]
async fn whoami_says_what_a_call_came_with() {
    let simulator = simulator().await;
    simulator.mcp().change(|settings| settings.require_key = Some("k".to_owned()));
    let call = || modern_call("whoami", json!({}));
    let refused = call().to(&simulator).await;
    assert_eq!(refusal(&refused), (401, -32600));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    let answer = call().with("authorization: Bearer k").meta("mine", json!(1)).to(&simulator).await;
    let who = &answer.json()["result"]["structuredContent"];
    assert_eq!(who["headers"]["authorization"], json!(["Bearer k"]));
    assert_eq!((&who["meta"]["mine"], &who["protocol"]), (&json!(1), &json!("2026-07-28")));
    assert_eq!(simulator.mcp().last_headers()["authorization"], "Bearer k");
    assert_eq!(simulator.mcp().last_call()["_meta"]["mine"], 1);
    assert_eq!(call().with("x-api-key: k").to(&simulator).await.status, 200);
}

#[tokio::test]
async fn who_listens_hears_that_the_list_has_changed() {
    let simulator = simulator().await;
    let session = session(&simulator).await;
    let headers = format!(
        "accept: text/event-stream\r\nmcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n"
    );
    let listening = open(&simulator, &request("GET", "/mcp", &headers, ""), "listening").await;
    simulator.mcp().wait_until(|stats| stats.listening == 1).await;
    drop(listening);
    simulator.mcp().wait_until(|stats| stats.listening == 0).await;
    let address = simulator.address();
    let text = request("GET", "/mcp", &headers, "");
    let heard = async {
        simulator.mcp().wait_until(|stats| stats.listening == 1).await;
        simulator.mcp().list_changed();
    };
    let listens = async { open(&simulator, &text, "tools/list_changed").await };
    tokio::join!(listens, heard);
    let none = exchange(address, &request("GET", "/mcp-2026", "connection: close\r\n", "")).await;
    assert_eq!(none.unwrap().status, 405);
}

#[tokio::test]
async fn each_fault_is_what_it_says() {
    let simulator = simulator().await;
    let faulty = |fault: &str| modern_call("faulty", json!({ "fault": format!("fault={fault}") }));
    for (fault, status, kind, body) in [
        ("status,status=502", 502, Some("text/plain"), "simulated"),
        ("retry-after,seconds=7", 429, Some("text/plain"), "simulated"),
        ("redirect", 307, Some("text/plain"), "simulated"),
        ("not-json", 200, Some("text/html"), "<!doctype"),
        ("accepted", 202, None, ""),
        ("error,code=-32099", 200, Some("application/json"), "-32099"),
        ("wrong-id", 200, Some("application/json"), "\"not-1\""),
        ("duplicate-members", 200, Some("application/json"), ",\"id\":1,\"result\":{"),
        ("truncate", 200, Some("text/event-stream"), ": here"),
        ("truncate-mid-event", 200, Some("text/event-stream"), "data: {"),
        ("delay-head,ms=1", 200, Some("application/json"), "\"result\""),
    ] {
        let answer = faulty(fault).to(&simulator).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, kind), "{fault}");
        assert!(answer.body.contains(body), "{fault}: {}", answer.body);
        assert_eq!(answer.end, End::Complete, "{fault}");
    }
    let retry = faulty("retry-after,seconds=7").to(&simulator).await;
    assert_eq!(retry.header("retry-after"), Some("7"));
    let redirect = faulty("redirect,status=308").to(&simulator).await;
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("/mcp-elsewhere")));
    let broken = faulty("bad-json").to(&simulator).await;
    assert!(serde_json::from_str::<Value>(&broken.body).is_err() && broken.end == End::Complete);
    assert_eq!(faulty("reset").to(&simulator).await.end, End::Reset);
    assert!(exchange(simulator.address(), &faulty("empty-reply").text()).await.is_none());
    for (fault, first) in [("stall", ": here"), ("endless", "still here")] {
        let open = open(&simulator, &faulty(fault).text(), first).await;
        let before = simulator.mcp().stats().cancelled;
        drop(open);
        simulator.mcp().wait_until(|stats| stats.cancelled == before + 1).await;
    }
    assert_eq!(refusal(&faulty("nonsense").to(&simulator).await), (400, -32602));
}

#[tokio::test]
async fn a_fault_can_be_set_for_a_method_and_a_number_of_times() {
    let simulator = simulator().await;
    let kind = McpFaultKind::Status(503);
    let fault = McpFault { on: "tools/list".to_owned(), times: Some(1), ..McpFault::new(kind) };
    simulator.mcp().change(|settings| settings.fault = Some(fault));
    let statuses = async |method: &str| {
        let name = json!({ "name": "echo" });
        let params = if method == "tools/call" { name } else { json!({}) };
        modern(method, params).to(&simulator).await.status
    };
    assert_eq!(statuses("tools/call").await, 200);
    assert_eq!(statuses("tools/list").await, 503);
    assert_eq!(statuses("tools/list").await, 200);
    let header = modern_call("echo", json!({})).with("x-sim: fault=status");
    assert_eq!(header.to(&simulator).await.status, 500);
    assert_eq!(simulator.mcp().stats().faults, 2);
    let stats = get(&simulator, "/mcp-stats").await.json();
    assert_eq!((&stats["faults"], &stats["refusals"]), (&json!(2), &json!([])));
}
