//! The MCP server over standard input and output, as a program.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate-simulator"))
            .arg("mcp-stdio")
            .args(arguments)
            .env_clear()
            .env("ONLY_THIS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { input: child.stdin.take(), child, output }
    }

    /// One that a session is open with.
    async fn greeted(arguments: &[&str]) -> Self {
        let mut server = Self::start(arguments);
        let client = json!({ "name": "test", "version": "1" });
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        let answer = server.ask(0, "initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        server.tell("notifications/initialized", json!({})).await;
        server
    }

    async fn write(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.input.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
    }

    async fn tell(&mut self, method: &str, params: Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    async fn request(&mut self, id: i64, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.write(&message).await;
    }

    async fn line(&mut self) -> Option<String> {
        self.output.next_line().await.unwrap()
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(&self.line().await.unwrap()).unwrap()
    }

    async fn ask(&mut self, id: i64, method: &str, params: Value) -> Value {
        self.request(id, method, params).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn call(&mut self, id: i64, tool: &str, arguments: Value) -> Value {
        self.ask(id, "tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    async fn code(mut self) -> Option<i32> {
        drop(self.input.take());
        self.child.wait().await.unwrap().code()
    }
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[tokio::test]
async fn a_session_begins_with_initialize() {
    let mut server = Server::start(&["--era", "2025", "--tool", "extra", "--page-size", "12"]);
    let early = server.ask(1, "tools/list", json!({})).await;
    assert_eq!(early["error"]["code"], -32600);
    let unknown = server.ask(2, "server/discover", json!({ "_meta": meta() })).await;
    assert_eq!(unknown["error"]["code"], -32601);
    drop(server);

    let mut server = Server::greeted(&["--tool", "extra", "--page-size", "11"]).await;
    let listed = server.ask(1, "tools/list", json!({})).await;
    assert_eq!(listed["result"]["tools"][10]["name"], "exit");
    let cursor = listed["result"]["nextCursor"].clone();
    let listed = server.ask(2, "tools/list", json!({ "cursor": cursor })).await;
    assert_eq!(listed["result"]["tools"][0]["name"], "extra");
    let who = server.call(3, "whoami", json!({})).await;
    assert_eq!(who["result"]["structuredContent"]["environment"], json!(["ONLY_THIS"]));
    let again = server.call(3, "echo", json!({})).await;
    assert_eq!(again["error"]["code"], -32600);
    assert_eq!(server.code().await, Some(0));
}

#[tokio::test]
async fn the_first_message_settles_the_era() {
    let mut server = Server::start(&[]);
    let found = server.ask(1, "server/discover", json!({ "_meta": meta() })).await;
    assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
    let late = server.ask(2, "initialize", json!({ "protocolVersion": "2025-11-25" })).await;
    assert_eq!(late["error"]["code"], -32022);
    let bare = server.ask(3, "tools/list", json!({})).await;
    assert_eq!(bare["error"]["code"], -32602);
    let params = json!({ "name": "add", "arguments": { "a": 1, "b": 2 }, "_meta": meta() });
    let sum = server.ask(4, "tools/call", params).await;
    assert_eq!(sum["result"]["structuredContent"]["sum"], 3);
    assert_eq!(sum["result"]["resultType"], "complete");
    assert_eq!(server.code().await, Some(0));
}

#[tokio::test]
async fn requests_are_under_way_beside_each_other_and_can_be_cancelled() {
    let mut server = Server::greeted(&[]).await;
    let slow = json!({ "name": "slow", "_meta": { "progressToken": 1 } });
    server.request(1, "tools/call", slow.clone()).await;
    let again = server.ask(2, "tools/call", slow).await;
    assert_eq!(again["error"]["code"], -32602, "the progress token is in use");
    let count =
        json!({ "name": "count", "arguments": { "n": 1 }, "_meta": { "progressToken": 2 } });
    server.request(3, "tools/call", count).await;
    assert_eq!(server.next().await["params"]["progressToken"], 2);
    assert_eq!(server.next().await["id"], 3);
    server.tell("notifications/cancelled", json!({ "requestId": 1 })).await;
    let mut id = 4;
    loop {
        let stats = server.call(id, "stats", json!({})).await;
        let stats = &stats["result"]["structuredContent"];
        if stats["cancelled"] == 1 {
            assert_eq!(stats["waiting"], 0);
            break;
        }
        id += 1;
    }
}

#[tokio::test]
async fn a_changed_list_is_announced() {
    let mut server = Server::greeted(&[]).await;
    server.request(1, "tools/call", json!({ "name": "grow", "arguments": { "name": "x" } })).await;
    let (first, second) = (server.next().await, server.next().await);
    let methods = [&first["method"], &second["method"]];
    assert!(methods.contains(&&json!("notifications/tools/list_changed")), "{methods:?}");
}

#[tokio::test]
async fn the_process_can_end_and_break() {
    let mut server = Server::greeted(&[]).await;
    server.request(1, "tools/call", json!({ "name": "exit", "arguments": { "code": 3 } })).await;
    assert_eq!(server.line().await, None);
    assert_eq!(server.child.wait().await.unwrap().code(), Some(3));

    let mut server = Server::greeted(&["--fault", "fault=not-json,times=1"]).await;
    server.request(1, "tools/call", json!({ "name": "echo" })).await;
    assert_eq!(server.line().await.unwrap(), "An intermediary speaks.");
    assert_eq!(
        server.call(2, "faulty", json!({ "fault": "fault=status" })).await["error"]["code"],
        -32603
    );
    let arguments = json!({ "fault": "fault=truncate-mid-event" });
    server.request(3, "tools/call", json!({ "name": "faulty", "arguments": arguments })).await;
    let half = server.line().await.unwrap();
    assert!(half.starts_with("{\"jsonrpc\"") && serde_json::from_str::<Value>(&half).is_err());
    assert_eq!(server.child.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let mut server = Server::greeted(&[]).await;
    server.input.as_mut().unwrap().write_all(b"what?\n[]\n").await.unwrap();
    let parse = server.next().await;
    assert_eq!((&parse["id"], &parse["error"]["code"]), (&Value::Null, &json!(-32700)));
    assert_eq!(server.next().await["error"]["code"], -32600);
}
