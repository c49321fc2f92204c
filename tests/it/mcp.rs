//! The MCP gateway before simulated servers that refuse whatever a strict server refuses.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_simulator::{Era, McpFault, McpFaultKind, McpSettings, Options, Simulator};
use tokio::io::AsyncWriteExt;

use crate::support::{
    Client, Config, Gateway, Response, free_address, read_response, soon, split_events,
};

const STATELESS: &str = "2026-07-28";

/// A caller of one era.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Sessions,
    Stateless,
}

impl Caller {
    const BOTH: [Self; 2] = [Self::Sessions, Self::Stateless];

    /// Head lines and body of a request.
    fn request(self, id: &Value, method: &str, params: &Value) -> (String, Value) {
        let mut params = params.clone();
        let mut head = "Accept: application/json, text/event-stream\r\n".to_owned();
        match self {
            Self::Sessions => head += "MCP-Protocol-Version: 2025-11-25\r\n",
            Self::Stateless => {
                head += &format!("MCP-Protocol-Version: {STATELESS}\r\nMcp-Method: {method}\r\n");
                if let Some(name) = params["name"].as_str().filter(|_| method == "tools/call") {
                    head += &format!("Mcp-Name: {name}\r\n");
                }
                let meta = &mut params["_meta"];
                meta["io.modelcontextprotocol/protocolVersion"] = json!(STATELESS);
                meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "t", "version": "1"});
                meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
            }
        }
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        (head, body)
    }

    async fn ask(self, client: Client, path: &str, method: &str, params: &Value) -> Response {
        let (head, body) = self.request(&json!(7), method, params);
        client.post_with(path, &head, &body).await
    }

    /// Calls a tool, and takes the message that ends the answer.
    async fn call(self, client: Client, path: &str, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        last(&self.ask(client, path, "tools/call", &params).await)
    }
}

/// The last message of an answer, as JSON or as events.
fn last(answer: &Response) -> Value {
    assert!(!answer.cut, "{answer:?}");
    messages(answer).pop().expect("a message")
}

fn messages(answer: &Response) -> Vec<Value> {
    if answer.header("content-type") != Some("text/event-stream") {
        return vec![answer.json()];
    }
    let data = |event: String| {
        let line = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
        serde_json::from_str(&line).unwrap()
    };
    split_events(&answer.body).into_iter().map(data).collect()
}

async fn server(settings: McpSettings) -> Simulator {
    Simulator::start(Options { mcp: settings, ..Options::default() }).await.unwrap()
}

fn of(era: Era) -> McpSettings {
    McpSettings { era, ..McpSettings::default() }
}

/// A configuration with these servers, and no providers of its own to speak of.
fn config(targets: &[(&str, String)]) -> Config {
    let mut mcp = "mcp:\n  targets:\n".to_owned();
    for (name, target) in targets {
        mcp += &format!("    {name}: {{ {target} }}\n");
    }
    Config::for_provider(free_address()).with(&mcp)
}

fn at(server: &Simulator) -> String {
    format!("url: \"http://{}/mcp\"", server.address())
}

/// The simulated server as a program.
fn program(more: &str) -> String {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_sluicegate"));
    let program = beside.with_file_name("sluicegate-simulator");
    assert!(program.exists(), "{} is built with the workspace", program.display());
    format!("command: [\"{}\", mcp-stdio{more}]", program.display())
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

/// Why the server refused anything, but for the question by which a server of the older era is known.
fn refusals(server: &Simulator) -> Vec<String> {
    let mut refusals = server.mcp().refusals();
    refusals.retain(|why| why != "mcp-session-id is missing");
    refusals
}

fn names(list: &Value) -> Vec<String> {
    let tools = list["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn callers_of_each_era_use_tools_of_servers_of_each_era() {
    let (old, new) = (server(of(Era::Sessions)).await, server(of(Era::Stateless)).await);
    let gateway = Gateway::start(&config(&[
        ("old", at(&old)),
        ("new", at(&new)),
        ("old-program", program(", --era, \"2025\"")),
        ("new-program", program(", --era, \"2026\"")),
    ]));
    let client = gateway.client();
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let (_, hello) = Caller::Sessions.request(&json!("first"), "initialize", &hello);
    let hello = client.post("/mcp", &hello).await.json();
    assert_eq!(hello["id"], "first");
    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18", "{hello}");
    let noted = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(client.post("/mcp", &noted).await.status, 202);
    let found = Caller::Stateless.ask(client, "/mcp", "server/discover", &json!({})).await.json();
    assert_eq!(found["result"]["supportedVersions"].as_array().unwrap().len(), 5, "{found}");

    for caller in Caller::BOTH {
        let list = Caller::ask(caller, client, "/mcp", "tools/list", &json!({})).await.json();
        let all = names(&list["result"]);
        assert_eq!(list["result"].get("_meta"), None, "{list}");
        assert_eq!(list["result"].get("resultType").is_some(), matches!(caller, Caller::Stateless));
        for name in ["old", "new", "old-program", "new-program"] {
            let what = format!("{caller:?}, {name}");
            assert!(all.contains(&format!("{name}_add")), "{what}: {all:?}");
            let sum = json!({"a": 40, "b": 2});
            let answer = caller.call(client, "/mcp", &format!("{name}_add"), &sum).await;
            assert_eq!(answer["id"], 7, "{what}");
            assert_eq!(answer["result"]["structuredContent"]["sum"], 42, "{what}: {answer}");
            let answer = caller.call(client, &format!("/mcp/{name}"), "fail", &json!({})).await;
            assert_eq!(answer["result"]["isError"], true, "{what}: {answer}");
            let unknown = caller.call(client, &format!("/mcp/{name}"), "nothing", &json!({})).await;
            assert_eq!(unknown["error"]["code"], -32602, "{what}: {unknown}");
        }
    }
    let unknown = ["tools/call: Unknown tool: nothing"; 2].map(str::to_owned);
    for server in [&old, &new] {
        assert_eq!(refusals(server), unknown);
    }
    assert_eq!(old.mcp().stats().sessions_opened, 1, "all callers share one");
    let log = gateway.stop().await;
    let called: Vec<_> = log.iter().filter(|line| line["mcp_method"] == "tools_call").collect();
    assert_eq!(called.len(), 24);
    let failed = called.iter().filter(|line| line["mcp_outcome"] == "tool_failed").count();
    assert_eq!(failed, 8);
    assert!(called.iter().any(|line| line["server"] == "old-program" && line["tool"] == "add"));
}

#[tokio::test]
async fn what_a_server_says_passes_as_it_wrote_it() {
    let server = server(of(Era::Both)).await;
    let gateway = Gateway::start(&config(&[("sim", at(&server))]));
    let wrote = r#"{"n":1.50e+2,"big":123456789012345678901234567890,"text":"\u00e9\ud83d\ude00 \/","z":1,"a":[ ]}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"\u0069d","method":"tools/call","params":{{"name":"echo","arguments":{wrote}}}}}"#
    );
    let request = format!(
        "POST /mcp/sim HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = gateway.client().raw(request).await.text();
    assert!(answer.contains(wrote), "{answer}");
    assert!(answer.contains(r#""id":"\u0069d""#), "{answer}");
}

#[tokio::test]
async fn progress_comes_at_once_and_to_whom_it_belongs() {
    for (era, target) in
        [(Era::Sessions, None), (Era::Stateless, None), (Era::Both, Some(program("")))]
    {
        let server = server(of(era)).await;
        let target = target.unwrap_or_else(|| at(&server));
        let gateway = Gateway::start(&config(&[("sim", target)]));
        let many = (0..8).map(|n| {
            let client = gateway.client();
            async move {
                // The same id and the same token as everybody else.
                let params = json!({"name": "count", "arguments": {"n": 3 + n}, "_meta": {"progressToken": "t"}});
                let answer = Caller::BOTH[n % 2].ask(client, "/mcp/sim", "tools/call", &params).await;
                assert_eq!(answer.header("content-type"), Some("text/event-stream"));
                let messages = messages(&answer);
                assert_eq!(messages.len(), 4 + n, "{messages:?}");
                let (last, progress) = messages.split_last().unwrap();
                assert_eq!(last["id"], 7);
                for (step, message) in progress.iter().enumerate() {
                    assert_eq!(message["params"]["progressToken"], "t", "{message}");
                    assert_eq!(message["params"]["progress"].as_f64(), Some(step as f64 + 1.0), "{message}");
                }
            }
        });
        let many: Vec<_> = many.collect();
        soon("progress", futures_all(many)).await;
        assert_eq!(refusals(&server), Vec::<String>::new(), "{era:?}");
        // Who takes no events gets the result alone.
        let (_, body) = Caller::Sessions.request(
            &json!(1),
            "tools/call",
            &json!({"name": "count", "arguments": {"n": 2}, "_meta": {"progressToken": 1}}),
        );
        let plain = gateway.client().post("/mcp/sim", &body).await;
        assert_eq!(plain.header("content-type"), Some("application/json"));
        assert!(plain.json()["result"].is_object());
    }
}

async fn futures_all(futures: Vec<impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn an_event_passes_while_the_call_goes_on() {
    let server = server(of(Era::Both)).await;
    let gateway = Gateway::start(&config(&[("sim", at(&server))]));
    // Each step takes longer than anybody waits: only what passes at once is seen.
    let params =
        json!({"name": "count", "arguments": {"n": 100, "ms": 50}, "_meta": {"progressToken": 5}});
    let (head, body) = Caller::Sessions.request(&json!(1), "tools/call", &params);
    let mut stream = gateway.client().connect().await;
    stream.write_all(&Client::request("/mcp/sim", &head, &body)).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("\"progress\":2") {
        let mut buffer = [0; 4096];
        let n = soon("an event", tokio::io::AsyncReadExt::read(&mut stream, &mut buffer))
            .await
            .unwrap();
        assert!(n > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert_eq!(server.mcp().stats().under_way, 1, "it goes on");
    drop(stream);
    soon("the call's end", server.mcp().wait_until(|stats| stats.cancelled == 1)).await;
}

#[tokio::test]
async fn a_server_gets_its_own_credential_and_nothing_of_the_caller_s() {
    let settings =
        McpSettings { require_key: Some("sk-provider-secret".to_owned()), ..of(Era::Both) };
    let server = server(settings).await;
    let target = format!("{}, api_key: \"env:SIM_KEY\", headers: {{ x-team: blue }}", at(&server));
    let gateway = Gateway::start(&config(&[
        ("sim", target),
        ("wrong", at(&server)),
        ("program", format!("{}, environment: {{ TOOL_TOKEN: \"env:SIM_KEY\" }}", program(""))),
    ]));
    let head = "Authorization: Bearer sk-caller\r\nX-Custom: of-the-caller\r\nCookie: a=b\r\nMcp-Session-Id: mine\r\n\
                X-Forwarded-For: 1.2.3.4\r\nUser-Agent: caller\r\n";
    let (_, body) = Caller::Sessions.request(&json!(1), "tools/call", &json!({"name": "whoami"}));
    let answer = gateway.client().post_with("/mcp/sim", head, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let headers = server.mcp().last_headers();
    assert_eq!(headers["authorization"], "Bearer sk-provider-secret");
    assert_eq!(headers["x-team"], "blue");
    let told = format!("{headers:?}");
    for of_caller in ["sk-caller", "of-the-caller", "a=b", "mine", "1.2.3.4", "\"caller\""] {
        assert!(!told.contains(of_caller), "{told}");
    }
    let answer =
        Caller::Sessions.call(gateway.client(), "/mcp/program", "whoami", &json!({})).await;
    let told = answer.to_string();
    assert!(told.contains("TOOL_TOKEN"), "{told}");
    for of_gateway in ["MASTER_KEY", "SIM_KEY"] {
        assert!(!told.contains(of_gateway), "{told}");
    }
    let refused = Caller::Sessions.call(gateway.client(), "/mcp/wrong", "whoami", &json!({})).await;
    assert_eq!(refused["error"]["data"]["code"], "upstream_error", "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("`wrong`") && message.contains("credential"), "{message}");
}

const RULES: &str = r#"
@id("see-all")
permit (principal, action == Action::"list_tools", resource) unless { resource.name == "fail" };

@id("add-and-echo")
permit (principal, action == Action::"call_tool", resource in Server::"sim")
when { resource.name == "add" || resource.name == "echo" };

@id("echo-for-acme")
forbid (principal, action == Action::"call_tool", resource == Tool::"echo")
unless { context.arguments.hasTag("owner") && context.arguments.getTag("owner") == ["acme"] };
"#;

#[tokio::test]
async fn policies_say_who_sees_and_who_calls_what_and_with_which_arguments() {
    let server = server(of(Era::Both)).await;
    let (rules, audit) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(rules.path().join("mcp.cedar"), RULES).unwrap();
    let config = config(&[("sim", at(&server)), ("other", at(&server))]).with(&format!(
        "policies: {{ directory: \"{}\" }}\naudit: {{ directory: \"{}\" }}",
        rules.path().display(),
        audit.path().join("log").display()
    ));
    let gateway = Gateway::start(&config);
    let client = gateway.client();
    let list = Caller::Sessions.ask(client, "/mcp", "tools/list", &json!({})).await.json();
    let all = names(&list["result"]);
    assert!(all.contains(&"sim_add".to_owned()) && all.contains(&"other_add".to_owned()));
    assert!(!all.iter().any(|name| name.ends_with("_fail")), "{all:?}");
    let rest = client.get("/mcp/tools").await.json();
    assert_eq!(names(&rest), all);

    let call = async |path: &str, tool: &str, arguments: Value| {
        Caller::Sessions.call(client, path, tool, &arguments).await
    };
    assert!(call("/mcp", "sim_add", json!({"a": 1, "b": 2})).await["result"].is_object());
    assert!(call("/mcp/sim", "echo", json!({"owner": "acme"})).await["result"].is_object());
    for (path, tool, arguments, by) in [
        ("/mcp", "sim_echo", json!({"owner": "evil"}), "echo-for-acme"),
        ("/mcp", "sim_echo", json!({"owner": ["acme", "evil"]}), "echo-for-acme"),
        ("/mcp/sim", "echo", json!({}), "echo-for-acme"),
        ("/mcp/sim", "echo", json!({"Owner": "acme"}), "echo-for-acme"),
        ("/mcp", "other_add", json!({"a": 1, "b": 2}), ""),
        ("/mcp", "sim_fail", json!({}), ""),
    ] {
        let refused = call(path, tool, arguments).await;
        assert_eq!(refused["error"]["data"]["code"], "policy_denied", "{tool}: {refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(by), "{refused}");
    }
    // A member that stands twice might be read in two ways.
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"owner":"acme","\u006fwner":"evil"}}}"#;
    let request = format!(
        "POST /mcp/sim HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{twice}",
        twice.len()
    );
    let refused = client.raw(request).await.json();
    assert_eq!(
        (&refused["error"]["code"], &refused["id"]),
        (&json!(-32602), &json!(1)),
        "{refused}"
    );
    assert_eq!(server.mcp().stats().calls.values().sum::<u64>(), 2, "nothing else came through");
    assert_eq!(gateway.metric("sluicegate_refusals_total", "{code=\"policy_denied\"}").await, 6.0);
    let log = gateway.stop().await;
    let denied: Vec<_> = log.iter().filter(|line| line["code"] == "policy_denied").collect();
    assert_eq!(denied.len(), 6);
    assert!(denied.iter().all(|line| line["mcp_outcome"] == "refused" && line["end"] == "refused"));
    let files = std::fs::read_dir(audit.path().join("log")).unwrap();
    let written: String =
        files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok()).collect();
    assert!(written.contains(r#""resource":{"kind":"tool","id":"sim/echo"}"#), "{written}");
}

#[tokio::test]
async fn what_is_not_judged_reaches_no_server() {
    let server = server(of(Era::Both)).await;
    let rules = tempfile::tempdir().unwrap();
    std::fs::write(rules.path().join("all.cedar"), "permit (principal, action, resource);")
        .unwrap();
    let policies = format!("policies: {{ directory: \"{}\" }}", rules.path().display());
    let gateway = Gateway::start(&config(&[("sim", at(&server))]).with(&policies));
    let client = gateway.client();
    let params = json!({
        "name": "sim_add", "arguments": {"a": 1, "b": 2}, "_meta": {"k": 1},
        "Name": "fail", "NAME\u{0}": "fail", "Arguments": {"a": 9}, "argument\u{17f}": {"a": 9}, "task": {},
    });
    let answer = last(&Caller::Sessions.ask(client, "/mcp", "tools/call", &params).await);
    assert_eq!(answer["result"]["structuredContent"]["sum"], 3, "{answer}");
    let got = server.mcp().last_call();
    let names: Vec<_> = got.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["name", "arguments", "_meta"], "{got}");
    assert_eq!(got["_meta"]["k"], 1);
    // Some servers take these for one, others for two.
    for arguments in
        [json!({"a": 1, "b": 2, "A": 3}), json!({"A": 1, "b": 2}), json!({"x": [{"k": 1, "K": 2}]})]
    {
        let refused = Caller::Sessions.call(client, "/mcp/sim", "add", &arguments).await;
        assert_eq!(refused["error"]["code"], -32602, "{arguments}: {refused}");
    }
    let much = json!({"list": vec![0; 20_000]});
    let refused = Caller::Sessions.call(client, "/mcp/sim", "echo", &much).await;
    assert_eq!(refused["error"]["data"]["code"], "invalid_request_body", "{refused}");
    assert_eq!(server.mcp().stats().calls.values().sum::<u64>(), 1);
    let log = gateway.stop().await;
    let details: Vec<_> = log.iter().filter_map(|line| line["detail"].as_str()).collect();
    assert!(details.iter().all(|detail| detail.len() < 200), "{details:?}");
}

#[tokio::test]
async fn a_caller_can_cancel_a_call_by_another_request() {
    let server = server(of(Era::Both)).await;
    let gateway = Gateway::start(&config(&[("sim", at(&server))]));
    let client = gateway.client();
    for (cancelled, id) in [json!("x"), json!(41)].into_iter().enumerate() {
        let (head, body) = Caller::Sessions.request(&id, "tools/call", &json!({"name": "slow"}));
        let mut waits = client.connect().await;
        waits.write_all(&Client::request("/mcp/sim", &head, &body)).await.unwrap();
        soon("a call under way", server.mcp().wait_until(|stats| stats.waiting == 1)).await;
        let cancel = |id: Value| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        assert_eq!(client.post("/mcp", &cancel(json!("another"))).await.status, 202);
        assert_eq!(client.post("/mcp", &cancel(id.clone())).await.status, 202);
        let answer = read_response(&mut waits).await.json();
        assert_eq!((&answer["id"], &answer["error"]["data"]["code"]), (&id, &json!("cancelled")));
        let seen = cancelled as u64 + 1;
        soon("its end", server.mcp().wait_until(|stats| stats.cancelled == seen)).await;
    }
    let log = gateway.stop().await;
    let ends = log.iter().filter(|line| line["mcp_outcome"] == "client_gone").count();
    assert_eq!(ends, 2, "{log:?}");
}

#[tokio::test]
async fn a_server_that_hangs_delays_nobody_who_can_be_told_what_is_known() {
    let (well, hangs) = (
        server(of(Era::Both)).await,
        server(McpSettings { list_ttl_ms: 0, ..of(Era::Both) }).await,
    );
    let gateway = Gateway::start(&config(&[("well", at(&well)), ("hangs", at(&hangs))]));
    let client = gateway.client();
    let list = async || {
        let list = Caller::Sessions.ask(client, "/mcp", "tools/list", &json!({})).await.json();
        names(&list["result"])
    };
    let whole = list().await;
    assert!(whole.contains(&"hangs_add".to_owned()), "{whole:?}");
    let stall = McpFault { on: "tools/list".to_owned(), ..McpFault::new(McpFaultKind::Stall) };
    hangs.mcp().change(|settings| settings.fault = Some(stall));
    // As long as its timeout is, nobody waits for it.
    for _ in 0..3 {
        assert_eq!(soon("a list", list()).await, whole);
    }
}

#[tokio::test]
async fn only_the_tools_that_are_offered_are_seen_or_called() {
    let server = server(of(Era::Both)).await;
    let target = format!("{}, tools: [add, missing]", at(&server));
    let gateway = Gateway::start(&config(&[("sim", target)]));
    let list =
        Caller::Stateless.ask(gateway.client(), "/mcp", "tools/list", &json!({})).await.json();
    assert_eq!(names(&list["result"]), ["sim_add"]);
    for name in ["sim_echo", "sim_", "_add", "add", "nobody_add", "sim_a dd", ""] {
        let refused = Caller::Sessions.call(gateway.client(), "/mcp", name, &json!({})).await;
        assert_eq!(refused["error"]["code"], -32602, "{name}: {refused}");
        assert_eq!(refused["error"]["data"]["code"], "tool_not_found", "{name}");
    }
    assert_eq!(server.mcp().stats().calls.len(), 0);
}

#[tokio::test]
async fn calls_count_for_the_limits_of_their_caller() {
    let server = server(of(Era::Both)).await;
    let mut config = config(&[("sim", at(&server))]);
    config.head = config.head.replace("auth: { anonymous: true }\n", "");
    let config = config.with(
        "admin: { master_key: \"env:MASTER_KEY\" }\nstore: { sqlite: { path: \":memory:\" } }",
    );
    let gateway = Gateway::start(&config);
    let client = gateway.client();
    let call = async |key: &str, tool: &str| {
        let (head, body) =
            Caller::Sessions.request(&json!(1), "tools/call", &json!({"name": tool}));
        client.post_with("/mcp/sim", &(head + &bearer(key)), &body).await
    };
    let limited = gateway.key(&json!({"rpm_limit": 2})).await;
    let first = call(&limited, "echo").await;
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"), "{first:?}");
    call(&limited, "echo").await;
    let refused = call(&limited, "echo").await;
    assert_eq!(refused.status, 200, "many clients look at the body of no other status");
    assert_eq!(refused.json()["error"]["data"]["code"], "rate_limit_exceeded", "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");

    let one = gateway.key(&json!({"max_parallel_requests": 1})).await;
    let (head, body) = Caller::Sessions.request(&json!(1), "tools/call", &json!({"name": "slow"}));
    let mut waits = client.connect().await;
    waits.write_all(&Client::request("/mcp/sim", &(head + &bearer(&one)), &body)).await.unwrap();
    soon("a call under way", server.mcp().wait_until(|stats| stats.waiting == 1)).await;
    assert_eq!(call(&one, "echo").await.json()["error"]["data"]["code"], "rate_limit_exceeded");
    server.mcp().release();
    assert!(read_response(&mut waits).await.json()["result"].is_object());
    assert!(call(&one, "echo").await.json()["result"].is_object(), "it is free again");

    let spent = gateway.key(&json!({"max_budget": 0.0})).await;
    assert!(call(&spent, "echo").await.json()["result"].is_object(), "tools cost nothing here");
    let elsewhere = gateway.key(&json!({"allowed_routes": ["/chat/completions"]})).await;
    let refused = call(&elsewhere, "echo").await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["error"]["data"]["code"], "route_not_allowed", "{refused:?}");
    for (head, code) in [(String::new(), "missing_api_key"), (bearer("sk-no"), "invalid_api_key")] {
        let (_, body) = Caller::Sessions.request(&json!(1), "tools/list", &json!({}));
        let refused = client.post_with("/mcp", &head, &body).await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").is_some());
        let error = refused.json();
        assert_eq!((&error["error"]["data"]["code"], &error["id"]), (&json!(code), &Value::Null));
    }
}

#[tokio::test]
async fn a_server_that_fails_is_an_error_that_says_so() {
    let server = server(of(Era::Both)).await;
    let gateway = Gateway::start(&config(&[
        ("sim", format!("{}, timeouts: {{ call: 1s, list: 1s }}", at(&server))),
        ("gone", format!("url: \"http://{}/mcp\"", free_address())),
        ("nothing", "command: [/nowhere/at/all]".to_owned()),
        ("program", program("")),
    ]));
    let client = gateway.client();
    use McpFaultKind::*;
    for (kind, code) in [
        (Status(500), "upstream_error"),
        (RetryAfter { status: 429, seconds: 3 }, "upstream_error"),
        (Redirect(307), "upstream_error"),
        (DelayHead(Duration::from_secs(60)), "upstream_timeout"),
        (NotJson, "upstream_error"),
        (BadJson, "upstream_error"),
        (EmptyReply, "upstream_error"),
        (Accepted, "upstream_error"),
        (WrongId, "upstream_error"),
        (DuplicateMembers, "upstream_error"),
        (Truncate, "upstream_error"),
        (TruncateMidEvent, "upstream_error"),
        (Reset, "upstream_error"),
        (Stall, "upstream_timeout"),
        (Endless, "upstream_timeout"),
    ] {
        server.mcp().change(|settings| settings.fault = Some(McpFault::new(kind)));
        for caller in Caller::BOTH {
            let answer =
                caller.ask(client, "/mcp/sim", "tools/call", &json!({"name": "echo"})).await;
            let last = last(&answer);
            assert_eq!(last["id"], 7, "{kind:?}");
            assert_eq!(last.get("result"), None, "{kind:?}: {last}");
            assert_eq!(last["error"]["data"]["code"], code, "{kind:?}: {last}");
            assert!(last["error"]["message"].as_str().unwrap().contains("`sim`"), "{last}");
        }
    }
    assert_eq!(server.mcp().stats().redirected, 0, "a credential goes nowhere else");
    server.mcp().change(|settings| settings.fault = None);
    let refused = Caller::Sessions.call(client, "/mcp/sim", "echo", &json!({})).await;
    assert!(refused["result"].is_object(), "it is well again: {refused}");
    for name in ["gone", "nothing"] {
        let refused =
            Caller::Stateless.call(client, "/mcp", &format!("{name}_x"), &json!({})).await;
        assert_eq!(refused["error"]["data"]["code"], "upstream_unavailable", "{refused}");
        let labels = format!("{{reason=\"unreachable\",server=\"{name}\"}}");
        assert!(gateway.metric("sluicegate_mcp_server_failures_total", &labels).await >= 1.0);
        let up = format!("{{server=\"{name}\"}}");
        assert_eq!(gateway.metric("sluicegate_mcp_server_up", &up).await, 0.0);
    }
    let well = Caller::Sessions.call(client, "/mcp/program", "echo", &json!({})).await;
    assert!(well["result"].is_object(), "{well}");
    let died = Caller::Sessions.call(client, "/mcp/program", "exit", &json!({"code": 3})).await;
    assert_eq!(died["error"]["data"]["code"], "upstream_error", "{died}");
    let back = Caller::Sessions.call(client, "/mcp/program", "echo", &json!({})).await;
    assert!(back["result"].is_object(), "it is started again: {back}");

    let list = Caller::Sessions.ask(client, "/mcp", "tools/list", &json!({})).await.json();
    let missing = &list["result"]["_meta"]["sluicegate/unavailable"];
    let unreachable = |name: &str| json!({"server": name, "reason": "unreachable"});
    assert_eq!(missing, &json!([unreachable("gone"), unreachable("nothing")]), "{list}");
    assert!(names(&list["result"]).contains(&"sim_add".to_owned()));
    assert_eq!(client.get("/mcp/tools").await.json()["unavailable"], *missing);
}

#[tokio::test]
async fn a_list_is_kept_while_its_server_is_away_and_gathered_from_pages() {
    let extra: Vec<_> = (0..25)
        .map(|n| json!({"name": format!("extra-{n}"), "inputSchema": {"type": "object"}}))
        .collect();
    let settings =
        McpSettings { page_size: 7, extra_tools: extra, list_ttl_ms: 0, ..of(Era::Both) };
    let server = server(settings).await;
    let gateway = Gateway::start(&config(&[("sim", at(&server))]));
    let list = async || {
        let list = Caller::Sessions
            .ask(gateway.client(), "/mcp/sim", "tools/list", &json!({}))
            .await
            .json();
        names(&list["result"])
    };
    let whole = list().await;
    assert_eq!(whole.len(), 35, "{whole:?}");
    let fault =
        McpFault { on: "tools/list".to_owned(), ..McpFault::new(McpFaultKind::Status(500)) };
    server.mcp().change(|settings| settings.fault = Some(fault));
    assert_eq!(list().await, whole);
    assert_eq!(gateway.metric("sluicegate_mcp_server_up", "{server=\"sim\"}").await, 0.0);
    assert_eq!(gateway.metric("sluicegate_mcp_server_tools", "{server=\"sim\"}").await, 35.0);
}

#[tokio::test]
async fn whoever_leaves_has_their_call_cancelled() {
    let server = server(of(Era::Both)).await;
    for (era, cancelled) in [(Era::Sessions, 1), (Era::Stateless, 2)] {
        server.mcp().change(|settings| settings.era = era);
        let gateway = Gateway::start(&config(&[("sim", at(&server))]));
        let (head, body) =
            Caller::Sessions.request(&json!(1), "tools/call", &json!({"name": "slow"}));
        let mut leaves = gateway.client().connect().await;
        leaves.write_all(&Client::request("/mcp/sim", &head, &body)).await.unwrap();
        soon("a call under way", server.mcp().wait_until(|stats| stats.waiting == 1)).await;
        drop(leaves);
        soon("its end", server.mcp().wait_until(|stats| stats.cancelled == cancelled)).await;
        let log = gateway.stop().await;
        assert_eq!(log.last().unwrap()["end"], "client_gone", "{log:?}");
    }
}

#[tokio::test]
async fn a_session_that_is_lost_is_opened_again_unseen() {
    let server = server(of(Era::Sessions)).await;
    let gateway = Gateway::start(&config(&[("sim", at(&server))]));
    for opened in 1..4 {
        let answer = Caller::Sessions.call(gateway.client(), "/mcp/sim", "echo", &json!({})).await;
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(server.mcp().stats().sessions_opened, opened);
        server.mcp().lose_sessions();
    }
}

#[tokio::test]
async fn a_reload_keeps_sessions_and_calls_and_takes_servers_in_and_out() {
    let (kept, taken) = (server(of(Era::Sessions)).await, server(of(Era::Sessions)).await);
    let before = config(&[("kept", at(&kept)), ("taken", at(&taken))]);
    let gateway = Gateway::start(&before);
    let client = gateway.client();
    Caller::Sessions.call(client, "/mcp/kept", "echo", &json!({})).await;
    let (head, body) = Caller::Sessions.request(&json!(1), "tools/call", &json!({"name": "slow"}));
    let mut waits = client.connect().await;
    waits.write_all(&Client::request("/mcp/taken", &head, &body)).await.unwrap();
    soon("a call under way", taken.mcp().wait_until(|stats| stats.waiting == 1)).await;

    gateway.rewrite_config(&config(&[("kept", at(&kept)), ("added", at(&taken))]));
    gateway.until_metric("sluicegate_config_generation", "", 2.0).await;
    let gone = Caller::Sessions.ask(client, "/mcp/taken", "tools/list", &json!({})).await;
    assert_eq!((gone.status, &gone.json()["error"]["data"]["code"]), (404, &json!("not_found")));
    for name in ["kept", "added"] {
        let answer =
            Caller::Sessions.call(client, &format!("/mcp/{name}"), "echo", &json!({})).await;
        assert!(answer["result"].is_object(), "{answer}");
    }
    assert_eq!(kept.mcp().stats().sessions_opened, 1, "it is as it was");
    taken.mcp().release();
    assert!(read_response(&mut waits).await.json()["result"].is_object(), "it goes to its end");
}

#[tokio::test]
async fn what_is_no_message_is_told_so() {
    let server = server(of(Era::Both)).await;
    let config = config(&[("sim", at(&server))])
        .with("limits: { routes: { /mcp: { request_size: 2KiB } } }");
    let gateway = Gateway::start(&config);
    let client = gateway.client();
    for method in ["GET", "DELETE"] {
        let request = format!("{method} /mcp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let refused = client.raw(request).await;
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, Some("POST, OPTIONS")),
            "{method}"
        );
    }
    let batch = client.post("/mcp", &json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}])).await;
    assert_eq!((batch.status, &batch.json()["error"]["code"]), (400, &json!(-32600)));
    let large = client
        .post("/mcp/sim", &json!({"jsonrpc": "2.0", "id": 1, "method": "x".repeat(3000)}))
        .await;
    assert_eq!(
        (large.status, &large.json()["error"]["data"]["code"]),
        (413, &json!("request_too_large"))
    );
    let nobody =
        client.post("/mcp/nobody", &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
    assert_eq!(
        (nobody.status, &nobody.json()["error"]["data"]["code"]),
        (404, &json!("not_found"))
    );
    for (caller, status) in [(Caller::Sessions, 200), (Caller::Stateless, 404)] {
        let other = caller.ask(client, "/mcp", "resources/list", &json!({})).await;
        assert_eq!(
            (other.status, &other.json()["error"]["code"]),
            (status, &json!(-32601)),
            "{caller:?}"
        );
    }
    let (head, body) = Caller::Stateless.request(&json!(1), "tools/list", &json!({}));
    let unsure = client
        .post_with("/mcp", &head.replace("Mcp-Method: tools/list", "Mcp-Method: tools/call"), &body)
        .await;
    assert_eq!((unsure.status, &unsure.json()["error"]["code"]), (400, &json!(-32020)));
    let future = client.post_with("/mcp", &head.replace(STATELESS, "2030-01-01"), &body).await;
    assert_eq!((future.status, &future.json()["error"]["code"]), (400, &json!(-32022)));
    let ping = Caller::Sessions.ask(client, "/mcp", "ping", &json!({})).await;
    assert_eq!(ping.json()["result"], json!({}));
    let page = "POST /mcp HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(client.raw(page).await.status, 403, "a page of anybody's");
    let none = Gateway::start(&Config::for_provider(free_address()));
    let refused =
        none.client().post("/mcp", &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["data"]["code"]),
        (404, &json!("not_found"))
    );
    assert_eq!(
        none.client().get("/mcp/tools").await.json(),
        json!({"tools": [], "unavailable": []})
    );
}

#[tokio::test]
async fn a_drain_waits_for_calls_and_ends_what_outlasts_it() {
    let server = server(of(Era::Both)).await;
    for (timeout, ends) in [("20s", true), ("1s", false)] {
        let config =
            config(&[("sim", at(&server))]).with(&format!("shutdown: {{ timeout: {timeout} }}"));
        let gateway = Gateway::start(&config);
        let (head, body) =
            Caller::Sessions.request(&json!(1), "tools/call", &json!({"name": "slow"}));
        let mut waits = gateway.client().connect().await;
        waits.write_all(&Client::request("/mcp/sim", &head, &body)).await.unwrap();
        soon("a call under way", server.mcp().wait_until(|stats| stats.waiting == 1)).await;
        gateway.signal("TERM");
        if ends {
            gateway.await_log("draining");
            server.mcp().release();
        }
        let answer = read_response(&mut waits).await.json();
        if ends {
            assert!(answer["result"].is_object(), "{answer}");
        } else {
            assert_eq!(answer["error"]["data"]["code"], "service_shutting_down", "{answer}");
        }
        let (code, _) = gateway.ended().await;
        assert_eq!(code, 0);
        soon("its end", server.mcp().wait_until(|stats| stats.under_way == 0)).await;
    }
}
