mod server;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use self::server::{
    Asked, Reply, Server, error, events, greeted, modern, open, pieces, result, status, whole, with,
};
use super::{Answer, HttpUpstream};
use crate::config::secrets::SecretRef;
use crate::config::valid::mcp::{HttpTransport, Target, Timeouts, Transport};
use crate::config::valid::{AuthStyle, BaseUrl, Secret};
use crate::mcp::members::Members;
use crate::mcp::upstream::{Call, Event, Failure, MAX_MESSAGE};
use crate::overload::BodyBytes;

const LONG: Duration = Duration::from_secs(60);

fn secret(value: &str) -> Secret {
    Secret { reference: SecretRef::Env("X".to_owned()), since: None, value: value.into() }
}

fn transport(url: &str) -> HttpTransport {
    let (scheme, authority) = url.split_once("://").unwrap();
    let (host, port) = authority.rsplit_once(':').unwrap();
    HttpTransport {
        url: BaseUrl {
            tls: scheme == "https",
            host: host.to_owned(),
            port: port.parse().unwrap(),
            path_prefix: "/a/mcp/".to_owned(),
            authority: authority.to_owned(),
        },
        api_key: None,
        auth: AuthStyle::Bearer,
        headers: Vec::new(),
        query: Vec::new(),
        ca: None,
        client_certificate: None,
    }
}

fn upstream_of(transport: HttpTransport) -> HttpUpstream {
    HttpUpstream::new(&target_of(&transport), &transport).unwrap()
}

fn target_of(transport: &HttpTransport) -> Target {
    Target {
        name: "files".to_owned(),
        transport: Transport::Http(Box::new(transport.clone())),
        tools: None,
        timeouts: Timeouts { connect: LONG, call: LONG, list: LONG },
        list_ttl: LONG,
    }
}

fn upstream(server: &Server) -> HttpUpstream {
    upstream_of(transport(&server.url))
}

fn call(params: &str) -> Call {
    Call {
        method: "tools/call",
        name: Some("read".to_owned()),
        params: Members::parse(params.as_bytes()).unwrap(),
        headers: Vec::new(),
        timeout: LONG,
    }
}

fn plain() -> Call {
    call(r#"{"name":"read","arguments":{}}"#)
}

fn text(event: Event) -> String {
    match event {
        Event::Notification(text) => format!("notification {}", String::from_utf8_lossy(&text)),
        Event::Result(result) => format!("result {}", result.get()),
        Event::Error(error) => format!("error {}", error.get()),
    }
}

/// All that comes of a call.
async fn all(upstream: &HttpUpstream, call: Call) -> (Vec<String>, Option<Failure>) {
    let mut events = Vec::new();
    let mut answer = match upstream.request(call, None).await {
        Ok(answer) => answer,
        Err(failure) => return (events, Some(failure)),
    };
    loop {
        match answer.next().await {
            Ok(event) => {
                let more = matches!(event, Event::Notification(_));
                events.push(text(event));
                if !more {
                    return (events, None);
                }
            }
            Err(failure) => return (events, Some(failure)),
        }
    }
}

async fn only(upstream: &HttpUpstream, call: Call) -> String {
    let (mut events, failure) = all(upstream, call).await;
    assert_eq!((events.len(), failure), (1, None), "{events:?}");
    events.remove(0)
}

async fn fails(upstream: &HttpUpstream, call: Call) -> Failure {
    let (events, failure) = all(upstream, call).await;
    failure.unwrap_or_else(|| panic!("no failure: {events:?}"))
}

/// A server of 2026-07-28 that answers calls so.
async fn stateless(does: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |asked| {
        let reply = modern(&asked).unwrap_or_else(|| does(&asked));
        async move { reply }
    })
    .await
}

/// A server of the era of sessions that answers calls so.
async fn with_sessions(does: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |asked| {
        let reply = greeted(&asked).unwrap_or_else(|| does(&asked));
        async move { reply }
    })
    .await
}

fn methods(server: &Server) -> Vec<String> {
    server.asked().iter().map(|asked| asked.method().to_owned()).collect()
}

#[tokio::test]
async fn a_stateless_server_is_told_all_with_each_request() {
    let server = stateless(|asked| {
        let id = &asked.body["id"];
        // As a server writes it, with what a parser would change.
        let text =
            format!(r#"{{ "id":{id}, "result":{{"n": 1.0e0, "a":[1 , 2]}}, "jsonrpc":"2.0"}}"#);
        pieces("application/json; charset=utf-8", [text.as_bytes()])
    })
    .await;
    let upstream = upstream(&server);
    let params = r#"{"name":"read","_meta":{"x/y":1.50,"io.modelcontextprotocol/clientInfo":{"name":"who"},
        "io.modelcontextprotocol/protocolVersion":"1999-01-01"},"arguments":{}}"#;
    let mut asked = call(params);
    asked.name = Some("löschen".to_owned());
    assert_eq!(only(&upstream, asked).await, r#"result {"n": 1.0e0, "a":[1 , 2]}"#);
    assert_eq!(only(&upstream, plain()).await, r#"result {"n": 1.0e0, "a":[1 , 2]}"#);
    assert_eq!(methods(&server), ["server/discover", "tools/call", "tools/call"]);
    let all = server.asked();
    assert_eq!(
        all[1].body["params"]["_meta"],
        json!({
            "x/y": 1.5,
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "who"},
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    );
    let ours = json!({"name": "sluicegate", "version": env!("CARGO_PKG_VERSION")});
    for asked in [&all[0], &all[2]] {
        let meta = &asked.body["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"], ours);
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
    }
    for asked in &all {
        assert_eq!(asked.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(asked.header("mcp-method"), Some(asked.method()));
        assert_eq!(asked.header("mcp-session-id"), None);
    }
    let names: Vec<_> = all.iter().map(|asked| asked.header("mcp-name")).collect();
    assert_eq!(names, [None, Some("=?base64?bMO2c2NoZW4=?="), Some("read")]);
    let mut ids: Vec<_> = all.iter().map(|asked| asked.body["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each id is there once");
}

#[tokio::test]
async fn a_server_with_sessions_is_greeted_once_for_all() {
    let server = with_sessions(|asked| whole(&result(asked, &json!({"ok": true})))).await;
    let upstream = upstream(&server);
    let params = r#"{"name":"read","_meta":{"io.modelcontextprotocol/clientInfo":{},
        "io.modelcontextprotocol/clientCapabilities":{}}}"#;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let upstream = upstream.clone();
            tokio::spawn(async move { only(&upstream, call(params)).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), r#"result {"ok":true}"#);
    }
    assert_eq!((server.times("server/discover"), server.times("initialize")), (1, 1));
    let all = server.asked();
    let initialize = &all[1].body["params"];
    assert_eq!(
        (&initialize["protocolVersion"], &initialize["capabilities"]),
        (&json!("2025-11-25"), &json!({}))
    );
    assert_eq!(
        (all[1].header("mcp-session-id"), all[1].header("mcp-protocol-version")),
        (None, None)
    );
    for asked in &all[2..] {
        assert_eq!(asked.header("mcp-session-id"), Some("session-1"));
        assert_eq!(asked.header("mcp-protocol-version"), Some("2025-06-18"));
        assert_eq!(asked.header("mcp-method"), None);
        assert_eq!(asked.body["params"].get("_meta"), None);
    }
    assert_eq!(all[2].method(), "notifications/initialized");
    assert_eq!(all[2].body.get("id"), None);
    // The session ends with the last who could use it.
    drop(upstream);
    let end = server.first(|asked| asked.verb == Method::DELETE).await;
    assert_eq!(end.header("mcp-session-id"), Some("session-1"));
}

#[tokio::test]
async fn whatever_only_an_older_server_says_leads_to_the_greeting() {
    type Refusal = fn(&Asked) -> Reply;
    let refusals: [Refusal; 8] = [
        |asked| whole(&error(&asked.body["id"], -32_601, "method not found")),
        |asked| status(404, &error(&asked.body["id"], -32_601, "method not found")),
        |asked| whole(&result(asked, &json!({"supportedVersions": ["2025-11-25"]}))),
        |asked| whole(&error(&asked.body["id"], -32_022, "unsupported version")),
        |_| status(400, &json!("no session")),
        |_| status(422, &json!({})),
        |_| status(405, &Value::Null),
        |_| status(202, &Value::Null),
    ];
    for (number, refusal) in refusals.into_iter().enumerate() {
        let server = Server::start(move |asked| {
            let reply = match asked.method() {
                "server/discover" => refusal(&asked),
                "initialize" => {
                    // By a stream, with something before it.
                    let known = json!({"protocolVersion": "2024-11-05"});
                    let log = json!({"jsonrpc": "2.0", "method": "notifications/message"});
                    events(&format!("data: {log}\n\ndata: {}\n\n", result(&asked, &known)))
                }
                "notifications/initialized" => status(200, &json!({})),
                _ => whole(&result(&asked, &json!({}))),
            };
            async move { reply }
        })
        .await;
        assert_eq!(only(&upstream(&server), plain()).await, "result {}", "{number}");
        let last = server.asked().pop().unwrap();
        // It wants no session.
        assert_eq!(last.header("mcp-session-id"), None);
        assert_eq!(last.header("mcp-protocol-version"), Some("2024-11-05"));
    }
}

#[tokio::test]
async fn a_server_that_can_only_be_of_today_is_not_greeted() {
    let server = Server::start(|asked| async move {
        match asked.method() {
            "server/discover" => status(400, &error(&asked.body["id"], -32_021, "lacks sampling")),
            _ => status(404, &error(&asked.body["id"], -32_601, "no such tool")),
        }
    })
    .await;
    let error = only(&upstream(&server), plain()).await;
    assert_eq!(error, r#"error {"code":-32601,"message":"no such tool"}"#);
    assert_eq!(server.times("initialize"), 0);
}

#[tokio::test]
async fn a_greeting_that_can_t_be_understood_is_told_and_tried_again() {
    for (greeting, session) in [
        (json!({"protocolVersion": "2031-01-01"}), "session-1"),
        (json!({"protocolVersion": 7}), "session-1"),
        (json!({}), "session-1"),
        (json!({"protocolVersion": "2025-11-25"}), "session 1"),
        (json!({"protocolVersion": "2025-11-25"}), ""),
    ] {
        let server = Server::start(move |asked| {
            let reply = match asked.method() {
                "initialize" => with(whole(&result(&asked, &greeting)), "mcp-session-id", session),
                _ => greeted(&asked).unwrap(),
            };
            async move { reply }
        })
        .await;
        let upstream = upstream(&server);
        for times in 1..3 {
            let failure = fails(&upstream, plain()).await;
            assert!(matches!(failure, Failure::Malformed(_)), "{failure:?}");
            assert_eq!(server.times("initialize"), times);
        }
    }
}

#[tokio::test]
async fn a_server_that_is_overloaded_says_nothing_of_its_era() {
    for refusal in [503, 502, 504, 429, 408] {
        let times = AtomicUsize::new(0);
        let server = stateless_after(move |_| {
            let reply = with(status(refusal, &json!({})), "retry-after", "7");
            (times.fetch_add(1, Ordering::SeqCst) == 0).then_some(reply)
        })
        .await;
        let upstream = upstream(&server);
        let retry_after = Some(Duration::from_secs(7));
        let failure = Failure::Status { status: refusal, retry_after };
        assert_eq!(fails(&upstream, plain()).await, failure);
        assert_eq!(server.times("initialize"), 0);
        assert_eq!(only(&upstream, plain()).await, "result {}");
        let last = server.asked().pop().unwrap();
        assert_eq!(last.header("mcp-protocol-version"), Some("2026-07-28"));
    }
    // One that knows no greeting is not taken for an older one, whatever it says to it.
    let times = AtomicUsize::new(0);
    let server = stateless_after(move |asked| {
        let first = times.fetch_add(1, Ordering::SeqCst) < 2;
        first.then(|| status(500, &error(&asked.body["id"], -32_603, "internal error")))
    })
    .await;
    let upstream = upstream(&server);
    assert!(matches!(fails(&upstream, plain()).await, Failure::Malformed(_)));
    assert_eq!(only(&upstream, plain()).await, "result {}");
}

/// A server of 2026-07-28 that says something else first.
async fn stateless_after(
    first: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    Server::start(move |asked| {
        let reply = first(&asked)
            .or_else(|| modern(&asked))
            .unwrap_or_else(|| whole(&result(&asked, &json!({}))));
        async move { reply }
    })
    .await
}

#[tokio::test]
async fn nobody_there_is_no_sign_of_an_era() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let upstream = upstream_of(transport(&url));
    let failure = fails(&upstream, plain()).await;
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
}

#[tokio::test]
async fn a_server_that_speaks_something_else_by_now_is_asked_anew() {
    // It says so; or it says what nobody understands, often enough.
    for (says, takes) in [
        (error(&json!(0), -32_022, "unsupported version"), 1),
        (json!({"jsonrpc": "2.0", "nothing": "of sense"}), 3),
    ] {
        let calls = AtomicUsize::new(0);
        let server = Server::start(move |asked| {
            let number = calls.load(Ordering::SeqCst);
            let reply = match asked.method() {
                "tools/call" => {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let mut said = says.clone();
                    if said.get("error").is_some() {
                        said["id"] = asked.body["id"].clone();
                    }
                    if number < takes { whole(&said) } else { whole(&result(&asked, &json!({}))) }
                }
                _ if number == 0 => modern(&asked).unwrap(),
                _ => greeted(&asked).unwrap(),
            };
            async move { reply }
        })
        .await;
        let upstream = upstream(&server);
        for _ in 0..takes {
            assert_eq!(server.times("initialize"), 0);
            let _said = all(&upstream, plain()).await;
        }
        assert_eq!(only(&upstream, plain()).await, "result {}");
        assert_eq!((server.times("server/discover"), server.times("initialize")), (2, 1));
    }
}

fn bad_request(kind: &'static str, text: &str) -> Reply {
    let mut reply = pieces(kind, [text.as_bytes()]);
    *reply.status_mut() = StatusCode::BAD_REQUEST;
    reply
}

#[tokio::test]
async fn a_lost_session_is_made_anew_and_nobody_sees_it() {
    type Loss = fn(&Asked) -> Reply;
    let losses: [Loss; 7] = [
        |_| status(404, &error(&Value::Null, -32_001, "Session not found")),
        |_| status(404, &Value::Null),
        |_| status(400, &error(&Value::Null, -32_000, "Bad Request: No valid session ID provided")),
        |_| status(400, &error(&Value::Null, -32_000, "Bad Request: Server not initialized")),
        |_| bad_request("text/plain", "Bad Request: No valid session ID provided"),
        |_| bad_request("application/json", "Bad Request: No valid SESSION"),
        |_| bad_request("text/html", "<p>Not Initialized</p>"),
    ];
    for loss in losses {
        let sessions = AtomicUsize::new(0);
        let server = Server::start(move |asked| {
            let current = sessions.load(Ordering::SeqCst);
            let reply = match (asked.method(), asked.header("mcp-session-id")) {
                ("initialize", None) => {
                    sessions.fetch_add(1, Ordering::SeqCst);
                    let name = if current == 0 { "first" } else { "second" };
                    let known = json!({"protocolVersion": "2025-11-25"});
                    with(whole(&result(&asked, &known)), "mcp-session-id", name)
                }
                ("tools/call", Some("first")) => loss(&asked),
                ("tools/call", Some("second")) => whole(&result(&asked, &json!({}))),
                _ => greeted(&asked).unwrap(),
            };
            async move { reply }
        })
        .await;
        let upstream = upstream(&server);
        assert_eq!(upstream.list_changes(), 0);
        let both = tokio::join!(only(&upstream, plain()), only(&upstream, plain()));
        assert_eq!(upstream.list_changes(), 1, "it may be another version");
        assert_eq!(both, ("result {}".to_owned(), "result {}".to_owned()));
        assert_eq!(server.times("initialize"), 2);
        // The server knows by itself that the first is over, and nothing was begun in it.
        drop(upstream);
        let end = server.first(|asked| asked.verb == Method::DELETE).await;
        assert_eq!(end.header("mcp-session-id"), Some("second"));
        assert_eq!(server.times("notifications/cancelled"), 0);
    }
}

#[tokio::test]
async fn a_list_is_not_old_for_the_handshake_that_was_made_for_it() {
    let asked = AtomicUsize::new(0);
    let server = with_sessions(move |_| match asked.fetch_add(1, Ordering::SeqCst) % 2 {
        1 => status(404, &Value::Null),
        _ => whole(&json!({})),
    })
    .await;
    let upstream = upstream(&server);
    let list = |params: &str| {
        let mut asked = call(params);
        (asked.method, asked.name) = ("tools/list", None);
        asked
    };
    // What comes is no answer, but there is a handshake with every other request.
    let _said = all(&upstream, list("{}")).await;
    assert_eq!((server.times("initialize"), upstream.list_changes()), (1, 0));
    let _said = all(&upstream, list("{}")).await;
    assert_eq!((server.times("initialize"), upstream.list_changes()), (2, 0));
    let _said = all(&upstream, list(r#"{"cursor":"2"}"#)).await;
    assert_eq!(
        (server.times("initialize"), upstream.list_changes()),
        (3, 1),
        "other pages are old"
    );
}

#[tokio::test]
async fn a_changed_list_is_counted_and_not_told() {
    let server = stateless(|asked| {
        let note = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        events(&format!("data: {note}\n\ndata: {}\n\n", result(asked, &json!({}))))
    })
    .await;
    let upstream = upstream(&server);
    for times in 0..3 {
        assert_eq!(upstream.list_changes(), times);
        assert_eq!(only(&upstream, plain()).await, "result {}");
    }
}

#[tokio::test]
async fn a_session_that_is_lost_again_is_told() {
    let server = with_sessions(|_| status(404, &json!({}))).await;
    let failure = fails(&upstream(&server), plain()).await;
    assert_eq!(failure, Failure::Status { status: 404, retry_after: None });
    assert_eq!((server.times("initialize"), server.times("tools/call")), (2, 2));
}

#[tokio::test]
async fn other_refusals_are_not_taken_for_a_lost_session() {
    for (code, said, expected) in [
        (400, json!({"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "bad"}}), 400),
        (500, json!({"error": {"message": "session"}}), 500),
    ] {
        let server = with_sessions(move |_| status(code, &said)).await;
        let failure = fails(&upstream(&server), plain()).await;
        assert_eq!(failure, Failure::Status { status: expected, retry_after: None });
        assert_eq!(server.times("tools/call"), 1);
    }
    // One that is asked without a session has none to lose, and one that says nothing has said nothing.
    for server in [
        stateless(|_| bad_request("text/plain", "no session")).await,
        with_sessions(|_| bad_request("text/plain", "bad")).await,
        with_sessions(|_| bad_request("text/plain", &"session".repeat(1 << 18))).await,
    ] {
        let failure = fails(&upstream(&server), plain()).await;
        assert_eq!(failure, Failure::Status { status: 400, retry_after: None });
        assert_eq!(server.times("tools/call"), 1);
    }
    let server =
        with_sessions(|asked| status(400, &error(&asked.body["id"], -32_602, "no session"))).await;
    let said = only(&upstream(&server), plain()).await;
    assert_eq!(said, r#"error {"code":-32602,"message":"no session"}"#);
    assert_eq!(server.times("tools/call"), 1);
}

#[tokio::test]
async fn answers_come_in_any_pieces() {
    let notes = [
        "notification {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{ \"text\": \"a\\nb\" }}",
        "result {\"text\":\"Zürich\"}",
    ];
    for end in ["\n", "\r\n", "\r"] {
        for size in [1, 2, 3, 7, 64, 100_000] {
            let server = stateless(move |asked| {
                let id = &asked.body["id"];
                let text = format!(
                    ": hello\nid: 1\ndata:\n\nretry: 5\n\nevent: other\ndata: no JSON\n\n\
                     event: message\nid: 2\ndata: {{\"jsonrpc\":\"2.0\",\n\
                     data: \"method\":\"notifications/message\",\n\
                     data: \"params\":{{ \"text\":\ndata:\"a\\nb\" }}}}\n\n\
                     data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"text\":\"Zürich\"}}}}\n\n"
                );
                let text = text.replace('\n', end);
                pieces("text/event-stream", text.as_bytes().chunks(size))
            })
            .await;
            let (found, failure) = all(&upstream(&server), plain()).await;
            assert_eq!(failure, None);
            assert_eq!(found, notes, "{end:?} {size}");
        }
    }
    for size in [1, 5, 100_000] {
        let server = stateless(move |asked| {
            let text = format!("\r\n {} \n", result(asked, &json!({"text": "Zürich"})));
            pieces("APPLICATION/JSON", text.as_bytes().chunks(size))
        })
        .await;
        assert_eq!(only(&upstream(&server), plain()).await, notes[1]);
    }
}

#[tokio::test]
async fn the_progress_of_two_callers_with_one_token_is_kept_apart() {
    let both = Arc::new(Barrier::new(2));
    let server = Server::start(move |asked| {
        let both = both.clone();
        async move {
            if let Some(reply) = modern(&asked) {
                return reply;
            }
            both.wait().await;
            let token = &asked.body["params"]["_meta"]["progressToken"];
            let who = &asked.body["params"]["arguments"]["who"];
            let note = |token: &Value, says: &Value| {
                let params = json!({"progressToken": token, "progress": 1, "message": says});
                let note = json!({"method": "notifications/progress", "params": params,
                    "jsonrpc": "2.0"});
                format!("data: {note}\n\n")
            };
            let other = json!(token.as_u64().unwrap() ^ 1);
            let text = note(token, who)
                + &note(&other, &json!("not for this one"))
                + &note(&json!("same"), &json!("not for this one"))
                + &format!("data: {}\n\n", result(&asked, &json!({"who": who})));
            events(&text)
        }
    })
    .await;
    let upstream = upstream(&server);
    let asked = |who: &str| {
        call(&format!(r#"{{"_meta":{{"progressToken":"same"}},"arguments":{{"who":"{who}"}}}}"#))
    };
    let (a, b) = tokio::join!(all(&upstream, asked("a")), all(&upstream, asked("b")));
    for (who, (found, failure)) in [("a", a), ("b", b)] {
        assert_eq!(failure, None);
        let [note, last] = &found[..] else { panic!("{found:?}") };
        let note: Value =
            serde_json::from_str(note.strip_prefix("notification ").unwrap()).unwrap();
        let params = json!({"progressToken": "same", "progress": 1, "message": who});
        let expected =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        assert_eq!(note, expected);
        assert_eq!(*last, format!(r#"result {{"who":"{who}"}}"#));
    }
}

#[tokio::test]
async fn progress_that_nobody_asked_for_is_dropped() {
    let server = stateless(|asked| {
        let params = json!({"progressToken": asked.body["id"], "progress": 1});
        let note = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        let end = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": 1}});
        let last = result(asked, &json!({}));
        events(&format!("data: {note}\n\ndata: {end}\n\ndata: {last}\n\n"))
    })
    .await;
    assert_eq!(only(&upstream(&server), plain()).await, "result {}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_ends_the_call() {
    let server = stateless(|asked| {
        let long = "x".repeat(MAX_MESSAGE);
        match asked.body["params"]["arguments"]["as"].as_str() {
            Some("events") => events(&format!("data: {long}")),
            Some("told") => {
                let (reply, pen) = open("application/json");
                tokio::spawn(async move { pen.closed().await });
                with(reply, "content-length", "99999999")
            }
            _ => pieces("application/json", [b"\"".as_slice(), long.as_bytes()]),
        }
    })
    .await;
    let upstream = upstream(&server);
    for kind in ["events", "told", "json"] {
        let asked = call(&format!(r#"{{"arguments":{{"as":"{kind}"}}}}"#));
        assert_eq!(fails(&upstream, asked).await, Failure::TooLong, "{kind}");
    }
}

#[tokio::test]
async fn what_is_gathered_is_counted_and_may_find_no_room() {
    let server = stateless(|asked| {
        let note = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n";
        let last = |length| result(asked, &json!({"text": "x".repeat(length)})).to_string();
        match asked.body["params"]["arguments"]["as"].as_str() {
            Some("much") => whole(&result(asked, &json!({"text": "x".repeat(20_000)}))),
            Some("much in events") => events(&format!("{note}data: {}\n\n", last(20_000))),
            Some("refused") => status(500, &error(&asked.body["id"], 1, &"x".repeat(20_000))),
            Some("half") => {
                let (reply, pen) = open("application/json");
                pen.try_send(Ok(Bytes::from("x".repeat(5_000)))).unwrap();
                tokio::spawn(async move { pen.closed().await });
                reply
            }
            _ => events(&format!("{note}data: {}\n\n", last(9_000))),
        }
    })
    .await;
    let upstream = upstream(&server);
    let room = Arc::<BodyBytes>::default();
    room.limit_to(10_000);
    let ask = async |what: &str| {
        let asked = call(&format!(r#"{{"arguments":{{"as":"{what}"}}}}"#));
        upstream.request(asked, Some(room.hold_none())).await
    };
    let mut answer = ask("fits").await.unwrap();
    assert!(matches!(answer.next().await, Ok(Event::Notification(_))));
    assert!(matches!(answer.next().await, Ok(Event::Result(_))));
    assert_eq!(room.held(), 0, "it was handed over");
    for kind in ["much", "much in events", "refused"] {
        let failure = match ask(kind).await {
            Err(failure) => failure,
            Ok(mut answer) => answer.last().await.unwrap_err(),
        };
        assert_eq!(failure, Failure::NoRoom, "{kind}");
        assert_eq!(room.held(), 0, "{kind}");
    }
    let mut answer = ask("half").await.unwrap();
    let reading = tokio::spawn(async move { answer.next().await.map(text) });
    let gathered = async {
        while room.held() < 5_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gathered).await.unwrap();
    reading.abort();
    assert!(reading.await.unwrap_err().is_cancelled());
    assert_eq!(room.held(), 0, "nobody waits for it any more");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told() {
    let server = stateless(|asked| {
        let whole = result(asked, &json!({})).to_string();
        let half = &whole[..whole.len() - 1];
        let broken = |kind, text: &str| {
            let (reply, pen) = open(kind);
            pen.try_send(Ok(Bytes::copy_from_slice(text.as_bytes()))).unwrap();
            pen.try_send(Err(std::io::Error::other("gone"))).unwrap();
            reply
        };
        match asked.body["params"]["arguments"]["as"].as_str() {
            Some("nothing") => events(""),
            Some("half") => events(&format!("data: {half}")),
            Some("broken") => broken("text/event-stream", &format!("data: {half}")),
            Some("note") => events("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}"),
            _ => broken("application/json", half),
        }
    })
    .await;
    let upstream = upstream(&server);
    for kind in ["nothing", "half", "broken", "note", "json"] {
        let asked = call(&format!(r#"{{"arguments":{{"as":"{kind}"}}}}"#));
        let failure = fails(&upstream, asked).await;
        assert!(matches!(failure, Failure::Broken(_)), "{kind}: {failure:?}");
    }
}

#[tokio::test]
async fn what_is_no_answer_of_ours_is_told() {
    let upstream_of = |text: fn(u64) -> String, kind: &'static str| async move {
        let server = stateless(move |asked| {
            let text = text(asked.body["id"].as_u64().unwrap());
            pieces(kind, [text.as_bytes()])
        })
        .await;
        fails(&upstream(&server), plain()).await
    };
    let texts: [fn(u64) -> String; 12] = [
        |id| format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, id + 1),
        |id| format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{}}}}"#),
        |_| r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#.to_owned(),
        |id| format!(r#"{{"jsonrpc":"2.0","id":{id},"id":{id},"result":{{}}}}"#),
        |id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}},"error":{{"code":1}}}}"#),
        |id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":null,"error":null}}"#),
        |id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":[]}}"#),
        |id| format!(r#"{{"jsonrpc":"2.0","id":{id},"error":"bad"}}"#),
        |id| format!(r#"{{"jsonrpc":"2.0","id":{id}}}"#),
        |id| format!(r#"{{"id":{id},"result":{{}}}}"#),
        |id| format!(r#"[{{"jsonrpc":"2.0","id":{id},"result":{{}}}}]"#),
        |_| "secret-of-the-server".to_owned(),
    ];
    for text in texts {
        for kind in ["application/json", "text/event-stream"] {
            let framed: fn(u64) -> String = text;
            let failure = if kind == "application/json" {
                upstream_of(framed, kind).await
            } else {
                let server = stateless(move |asked| {
                    let text = framed(asked.body["id"].as_u64().unwrap());
                    events(&format!("data: {text}\n\n"))
                })
                .await;
                fails(&upstream(&server), plain()).await
            };
            assert!(matches!(failure, Failure::Malformed(_)), "{}: {failure:?}", text(7));
            assert!(!failure.to_string().contains("secret"), "{failure}");
        }
    }
    for (text, kind) in [
        ((|_| "<html></html>".to_owned()) as fn(u64) -> String, "text/html"),
        (|_| "<html></html>\n".to_owned(), "text/event-stream"),
        (|_| r#"{"jsonrpc":"2.0","method":"x"}"#.to_owned(), "application/json"),
    ] {
        let failure = upstream_of(text, kind).await;
        assert!(matches!(failure, Failure::Malformed(_)), "{failure:?}");
    }
}

#[tokio::test]
async fn what_is_null_is_not_there() {
    for (said, expected) in [
        (json!({"result": {"a": 1}, "error": null}), r#"result {"a":1}"#),
        (
            json!({"result": null, "error": {"code": 1, "message": "no"}}),
            r#"error {"code":1,"message":"no"}"#,
        ),
    ] {
        let server = stateless(move |asked| {
            let mut message = said.clone();
            message["jsonrpc"] = json!("2.0");
            message["id"] = asked.body["id"].clone();
            whole(&message)
        })
        .await;
        assert_eq!(only(&upstream(&server), plain()).await, expected);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_told() {
    let server = Server::start(|asked| async move {
        match greeted(&asked) {
            Some(reply) => reply,
            None if asked.body["params"]["name"] == "hang" => std::future::pending().await,
            None => whole(&result(&asked, &json!({}))),
        }
    })
    .await;
    let upstream = upstream(&server);
    assert_eq!(only(&upstream, plain()).await, "result {}");
    let mut asked = call(r#"{"name":"hang"}"#);
    asked.timeout = Duration::from_secs(1);
    assert_eq!(fails(&upstream, asked).await, Failure::TimedOut);
    let told = server.first(|asked| asked.method() == "notifications/cancelled").await;
    let called = server.first(|asked| asked.body["params"]["name"] == "hang").await;
    assert_eq!(told.body["params"]["requestId"], called.body["id"]);
    assert_eq!(told.header("mcp-session-id"), Some("session-1"));
}

#[tokio::test]
async fn a_server_that_never_answers_the_handshake_is_given_up() {
    let server = Server::start(|_| std::future::pending()).await;
    let mut asked = plain();
    asked.timeout = Duration::from_millis(100);
    assert_eq!(fails(&upstream(&server), asked).await, Failure::TimedOut);
}

#[tokio::test]
async fn a_server_that_never_stops_talking_is_given_up() {
    let server = Server::start(|asked| async move {
        if let Some(reply) = modern(&asked) {
            return reply;
        }
        let (reply, pen) = open("text/event-stream");
        tokio::spawn(async move {
            let note =
                Bytes::from("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n");
            while pen.send(Ok(note.clone())).await.is_ok() {}
        });
        reply
    })
    .await;
    let mut asked = plain();
    asked.timeout = Duration::from_millis(300);
    assert_eq!(fails(&upstream(&server), asked).await, Failure::TimedOut);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_cancelled_at_the_server() {
    let server = with_sessions(|_| {
        let (reply, pen) = open("text/event-stream");
        let note = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n";
        pen.try_send(Ok(Bytes::from(note))).unwrap();
        tokio::spawn(async move { pen.closed().await });
        reply
    })
    .await;
    let upstream = upstream(&server);
    let mut answer: Answer = upstream.request(plain(), None).await.unwrap();
    assert!(matches!(answer.next().await, Ok(Event::Notification(_))));
    assert_eq!(server.times("notifications/cancelled"), 0);
    drop(answer);
    let told = server.first(|asked| asked.method() == "notifications/cancelled").await;
    let called = server.first(|asked| asked.method() == "tools/call").await;
    assert_eq!(told.body["params"]["requestId"], called.body["id"]);
}

#[tokio::test]
async fn a_stateless_server_sees_it_by_the_connection() {
    let (ended, end) = tokio::sync::oneshot::channel();
    let ended = std::sync::Mutex::new(Some(ended));
    let server = stateless(move |_| {
        let (reply, pen) = open("text/event-stream");
        let note = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n";
        pen.try_send(Ok(Bytes::from(note))).unwrap();
        let ended = ended.lock().unwrap().take().unwrap();
        tokio::spawn(async move {
            pen.closed().await;
            ended.send(()).unwrap();
        });
        reply
    })
    .await;
    let upstream = upstream(&server);
    let mut answer = upstream.request(plain(), None).await.unwrap();
    assert!(matches!(answer.next().await, Ok(Event::Notification(_))));
    drop(answer);
    end.await.unwrap();
    assert_eq!(server.times("notifications/cancelled"), 0);
}

#[tokio::test]
async fn what_a_server_asks_of_the_client_is_answered() {
    let server = with_sessions(|asked| {
        let ping = json!({"jsonrpc": "2.0", "id": "p-1", "method": "ping"});
        let other = json!({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage"});
        let odd = json!({"jsonrpc": "2.0", "id": {"a": 1}, "method": "ping"});
        let last = result(asked, &json!({}));
        events(&format!("data: {odd}\n\ndata: {ping}\n\ndata: {other}\n\ndata: {last}\n\n"))
    })
    .await;
    let upstream = upstream(&server);
    assert_eq!(only(&upstream, plain()).await, "result {}");
    let pong = server.first(|asked| asked.body["id"] == "p-1").await;
    assert_eq!(pong.body, json!({"jsonrpc": "2.0", "id": "p-1", "result": {}}));
    assert_eq!(pong.header("mcp-session-id"), Some("session-1"));
    let is_refusal = |asked: &Asked| asked.body["error"]["code"] == -32_601;
    let refusal = server.first(is_refusal).await;
    assert_eq!((&refusal.body["id"], refusal.method()), (&json!(7), ""));
    assert!(server.asked().iter().all(|asked| !asked.body["id"].is_object()));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = stateless(|asked| whole(&result(asked, &json!({})))).await;
    let to: &'static str = String::leak(format!("{}/a/mcp/", elsewhere.url));
    for code in [301, 302, 307, 308] {
        let server = Server::start(move |asked| async move {
            modern(&asked).unwrap_or_else(|| with(status(code, &json!({})), "location", to))
        })
        .await;
        let mut transport = transport(&server.url);
        transport.api_key = Some(secret("k-1"));
        let failure = fails(&upstream_of(transport), plain()).await;
        let told = format!("answered with HTTP status {code}, and redirects are not followed");
        assert_eq!(failure.to_string(), told);
        assert_eq!(failure, Failure::Status { status: code, retry_after: None });
    }
    let other = Failure::Status { status: 404, retry_after: None };
    assert_eq!(other.to_string(), "answered with HTTP status 404");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_request_carries_what_is_configured_and_nothing_else() {
    let server = with_sessions(|asked| whole(&result(asked, &json!({})))).await;
    let mut transport = transport(&server.url);
    transport.api_key = Some(secret("k-1"));
    let name = HeaderName::from_static;
    transport.headers = vec![
        (name("x-team"), secret("blue")),
        (name("content-type"), secret("text/plain")),
        (name("mcp-session-id"), secret("configured")),
    ];
    let upstream = upstream_of(transport.clone());
    let mut asked = plain();
    let trace = HeaderValue::from_static("00-1-2-01");
    asked.headers = vec![
        (name("traceparent"), trace),
        (name("x-team"), HeaderValue::from_static("red")),
        (name("authorization"), HeaderValue::from_static("Bearer of-somebody")),
    ];
    assert_eq!(only(&upstream, asked).await, "result {}");
    drop(upstream);
    server.first(|asked| asked.verb == Method::DELETE).await;
    for asked in server.asked() {
        assert_eq!(asked.path, "/a/mcp/");
        assert_eq!(asked.header("authorization"), Some("Bearer k-1"));
        assert_eq!(asked.header("x-team"), Some("blue"));
        let agent = concat!("sluicegate/", env!("CARGO_PKG_VERSION"));
        assert_eq!(asked.header("user-agent"), Some(agent));
        if asked.verb == Method::POST {
            assert_eq!(asked.header("content-type"), Some("application/json"));
            assert_eq!(asked.header("accept"), Some("application/json, text/event-stream"));
        }
        let known = [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "mcp-method",
            "mcp-protocol-version",
            "mcp-session-id",
            "user-agent",
            "x-team",
        ];
        let others: Vec<_> =
            asked.headers.keys().filter(|name| !known.contains(&name.as_str())).collect();
        let expected: &[&str] = if asked.method() == "tools/call" { &["traceparent"] } else { &[] };
        assert_eq!(others, expected);
        assert_ne!(asked.header("mcp-session-id"), Some("configured"));
    }
    transport.auth = AuthStyle::Header(name("x-api-key"));
    assert_eq!(only(&upstream_of(transport), plain()).await, "result {}");
    let last = server.asked().pop().unwrap();
    assert_eq!((last.header("x-api-key"), last.header("authorization")), (Some("k-1"), None));
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let server = with_sessions(|_| {
        let (reply, pen) = open("text/event-stream");
        tokio::spawn(async move { pen.closed().await });
        reply
    })
    .await;
    let mut transport = transport(&server.url);
    transport.api_key = Some(secret("k-1"));
    transport.headers = vec![(HeaderName::from_static("x-team"), secret("blue-1"))];
    let upstream = upstream_of(transport);
    let answer = upstream.request(plain(), None).await.unwrap();
    let shown = format!("{upstream:?} {answer:?}");
    assert!(shown.contains("files"), "{shown}");
    for secret in ["k-1", "blue-1", "session-1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_configured_query_is_sent_and_shown_nowhere() {
    let server = with_sessions(|asked| whole(&result(asked, &json!({})))).await;
    let mut transport = transport(&server.url);
    transport.query =
        vec![("read_only".to_owned(), secret("true")), ("k&y".to_owned(), secret("hidden/ü 1"))];
    let upstream = upstream_of(transport.clone());
    assert_eq!(only(&upstream, plain()).await, "result {}");
    assert!(!format!("{upstream:?} {transport:?}").contains("hidden"));
    drop(upstream);
    server.first(|asked| asked.verb == Method::DELETE).await;
    for asked in server.asked() {
        assert_eq!(asked.path, "/a/mcp/?read_only=true&k%26y=hidden%2F%C3%BC+1");
    }
    transport.url.path_prefix.clear();
    assert_eq!(only(&upstream_of(transport.clone()), plain()).await, "result {}");
    let last = server.asked().pop().unwrap();
    assert_eq!(last.path, "/?read_only=true&k%26y=hidden%2F%C3%BC+1");

    let told = |failure: &Failure| assert!(!format!("{failure} {failure:?}").contains("hidden"));
    let at = |server: &Server| {
        let mut there = self::transport(&server.url);
        there.query.clone_from(&transport.query);
        there
    };
    // What is there speaks no TLS.
    let mut elsewhere = transport.clone();
    elsewhere.url.tls = true;
    told(&fails(&upstream_of(elsewhere), plain()).await);
    // Nobody is there.
    let mut nowhere = transport.clone();
    nowhere.url.port = 1;
    nowhere.url.authority = "127.0.0.1:1".to_owned();
    told(&fails(&upstream_of(nowhere), plain()).await);
    for code in [302, 401, 404, 500] {
        let server = stateless(move |_| status(code, &json!({}))).await;
        told(&fails(&upstream_of(at(&server)), plain()).await);
    }
    let server = stateless(|asked| {
        let whole = result(asked, &json!({})).to_string();
        let (reply, pen) = open("application/json");
        pen.try_send(Ok(Bytes::copy_from_slice(&whole.as_bytes()[..9]))).unwrap();
        pen.try_send(Err(std::io::ErrorKind::ConnectionReset.into())).unwrap();
        reply
    })
    .await;
    told(&fails(&upstream_of(at(&server)), plain()).await);
    // Longer than any URL: not even that it can't be sent shows what it was.
    transport.query[1].1 = secret(&"hidden".repeat(20_000));
    let error = HttpUpstream::new(&target_of(&transport), &transport).unwrap_err();
    assert!(!error.contains("hidden"), "{}", error.len());
}

#[tokio::test]
async fn refusals_are_told_for_what_they_are() {
    for (code, said) in [(401, Failure::Unauthorized(401)), (403, Failure::Unauthorized(403))] {
        let server = stateless(move |_| status(code, &json!({}))).await;
        assert_eq!(fails(&upstream(&server), plain()).await, said);
        // And before it is known what it speaks.
        let server = Server::start(move |_| async move { status(code, &json!({})) }).await;
        assert_eq!(fails(&upstream(&server), plain()).await, said);
        assert_eq!(server.asked().len(), 1);
    }
    for code in [400, 404, 429, 500, 503] {
        let server = stateless(move |_| with(status(code, &json!({})), "retry-after", "3")).await;
        let retry_after = Some(Duration::from_secs(3));
        let failure = Failure::Status { status: code, retry_after };
        assert_eq!(fails(&upstream(&server), plain()).await, failure);
    }
    for code in [400, 404, 500] {
        let server =
            stateless(move |asked| status(code, &error(&asked.body["id"], -32_602, "no"))).await;
        let said = only(&upstream(&server), plain()).await;
        assert_eq!(said, r#"error {"code":-32602,"message":"no"}"#);
    }
    let server = stateless(|_| status(400, &error(&json!(99_999), -32_602, "no"))).await;
    let failure = fails(&upstream(&server), plain()).await;
    assert_eq!(failure, Failure::Status { status: 400, retry_after: None });
}
