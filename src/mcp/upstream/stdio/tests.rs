//! Against real child processes: `tests/server.py`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::{META_CAPABILITIES, META_CLIENT, META_PROTOCOL, STATELESS};
use super::super::{Members, SESSIONS};
use super::*;
use crate::config::secrets::SecretRef;
use crate::config::valid::Secret;
use crate::config::valid::mcp::{Timeouts, Transport};
use crate::overload::BodyBytes;

/// For what is waited for, and for what must come: never reached by a test that passes.
const LONG: Duration = Duration::from_secs(60);

struct Fixture {
    upstream: StdioUpstream,
    directory: TempDir,
}

impl Fixture {
    fn new(kind: &str) -> Self {
        Self::with_timing(kind, LONG, Duration::ZERO)
    }

    /// One that is left alone, as good as for ever.
    fn with_pause(kind: &str) -> Self {
        Self::with_timing(kind, LONG, LONG)
    }

    /// One that may think about the probe only as long as none could.
    fn without_patience(kind: &str) -> Self {
        Self::with_timing(kind, Duration::from_millis(1), Duration::ZERO)
    }

    fn with_timing(kind: &str, probe: Duration, pause: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("server.py");
        std::fs::write(&script, include_str!("tests/server.py")).unwrap();
        let command = ["python3", script.to_str().unwrap(), kind, "argument-s3cret"];
        let upstream = upstream(&command, Some(directory.path().to_owned()), probe, pause);
        Self { upstream, directory }
    }

    async fn call(&self, name: &str, more: &str) -> Result<Answer, Failure> {
        self.upstream.request(call(name, more, LONG), None).await
    }

    async fn result(&self, name: &str) -> Value {
        result(&mut self.call(name, "").await.unwrap()).await
    }

    async fn failure(&self, name: &str) -> Failure {
        match self.call(name, "").await {
            Ok(mut answer) => answer.next().await.unwrap_err(),
            Err(failure) => failure,
        }
    }

    /// The messages that the server has got, but for the one that asks.
    async fn seen(&self) -> Vec<Value> {
        let mut seen = self.result("seen").await["seen"].as_array().unwrap().clone();
        seen.pop();
        seen
    }

    fn starts(&self) -> usize {
        self.leaders().len()
    }

    /// The processes that were started.
    fn leaders(&self) -> Vec<Value> {
        let starts = std::fs::read_to_string(self.directory.path().join("starts"));
        starts.unwrap_or_default().lines().map(|line| line.parse().unwrap()).collect()
    }
}

fn upstream(
    command: &[&str],
    directory: Option<PathBuf>,
    probe: Duration,
    pause: Duration,
) -> StdioUpstream {
    let secret = |value: &str| Secret {
        reference: SecretRef::Env("TOKEN".to_owned()),
        since: None,
        value: value.into(),
    };
    let transport = StdioTransport {
        command: command.iter().map(|&part| part.to_owned()).collect(),
        environment: BTreeMap::from([
            ("TOKEN".to_owned(), secret("token-s3cret")),
            ("TZ".to_owned(), secret("Europe/Lisbon")),
        ]),
        directory,
    };
    let target = Target {
        name: "it".to_owned(),
        transport: Transport::Stdio(transport.clone()),
        tools: None,
        timeouts: Timeouts { connect: LONG, call: LONG, list: LONG },
        list_ttl: LONG,
    };
    let pauses = Pauses { first: pause, longest: pause };
    StdioUpstream::with_timing(&target, &transport, &Arc::default(), probe, pauses).unwrap()
}

fn call(name: &str, more: &str, timeout: Duration) -> Call {
    let params = format!(r#"{{"name":"{name}"{more}}}"#);
    Call {
        method: "tools/call",
        name: Some(name.to_owned()),
        params: Members::parse(params.as_bytes()).unwrap(),
        headers: Vec::new(),
        timeout,
    }
}

async fn result(answer: &mut Answer) -> Value {
    match answer.next().await.unwrap() {
        Event::Result(value) => serde_json::from_str(value.get()).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn notification(answer: &mut Answer) -> String {
    match answer.next().await.unwrap() {
        Event::Notification(text) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn methods(seen: &[Value]) -> Vec<&str> {
    seen.iter().map(|message| message["method"].as_str().unwrap_or("-")).collect()
}

fn is_cancellation(message: &Value) -> bool {
    message["method"] == "notifications/cancelled"
}

async fn until(what: impl AsyncFn() -> bool) {
    let look = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, look).await.expect("it comes");
}

async fn until_gone(pid: &Value) {
    let file = format!("/proc/{pid}/stat");
    // Nobody may be there to collect one that has lost its parent.
    let gone = || std::fs::read_to_string(&file).map_or(true, |stat| stat.contains(") Z "));
    until(async || gone()).await;
}

#[tokio::test]
async fn a_server_of_today_is_asked_without_a_greeting() {
    let server = Fixture::new("modern");
    let more = format!(r#","_meta":{{"{META_CLIENT}":{{"name":"caller"}},"k":1}}"#);
    let mut answer = server.call("seen", &more).await.unwrap();
    let seen = result(&mut answer).await;
    let of_us = |message: &Value| {
        let meta = &message["params"]["_meta"];
        assert_eq!(meta[META_PROTOCOL], STATELESS);
        assert_eq!(meta[META_CAPABILITIES], json!({}));
        meta[META_CLIENT]["name"].clone()
    };
    assert_eq!(methods(seen["seen"].as_array().unwrap()), ["server/discover", "tools/call"]);
    assert_eq!(of_us(&seen["seen"][0]), "sluicegate");
    assert_eq!(of_us(&seen["seen"][1]), "caller");
    assert_eq!(seen["seen"][1]["params"]["_meta"]["k"], 1);
    assert_eq!(seen["seen"][1]["jsonrpc"], "2.0");
    assert!(matches!(answer.next().await, Err(Failure::Broken(_))), "there was a last event");
}

#[tokio::test]
async fn an_older_server_is_greeted() {
    for kind in ["legacy", "old", "agrees"] {
        let server = Fixture::new(kind);
        let more = format!(r#","_meta":{{"{META_PROTOCOL}":"2026-07-28"}}"#);
        let answer = result(&mut server.call("seen", &more).await.unwrap()).await;
        let seen = answer["seen"].as_array().unwrap();
        let expected = ["server/discover", "initialize", "notifications/initialized", "tools/call"];
        assert_eq!(methods(seen), expected, "{kind}");
        assert_eq!(answer["greeted"], true);
        assert_eq!(seen[1]["params"]["protocolVersion"], SESSIONS);
        assert_eq!(seen[1]["params"]["clientInfo"]["name"], "sluicegate");
        assert_eq!(seen[3]["params"], json!({"name": "seen"}), "no `_meta`");
    }
}

#[tokio::test]
async fn one_that_ignores_what_it_does_not_know_is_greeted_after_a_while() {
    let server = Fixture::without_patience("mute");
    let answer = server.result("seen").await;
    assert_eq!(answer["greeted"], true);
    let expected = ["server/discover", "initialize", "notifications/initialized", "tools/call"];
    assert_eq!(methods(answer["seen"].as_array().unwrap()), expected, "nothing is cancelled");
    assert_eq!(server.starts(), 1);
}

#[tokio::test]
async fn one_that_ends_on_what_it_does_not_know_is_started_again() {
    let server = Fixture::new("exits");
    let seen = server.seen().await;
    assert_eq!(methods(&seen), ["initialize", "notifications/initialized"]);
    assert_eq!(server.starts(), 2);
}

#[tokio::test]
async fn one_that_is_slow_to_start_is_still_known_for_what_it_is() {
    let server = Fixture::without_patience("slow");
    let seen = server.seen().await;
    assert_eq!(methods(&seen), ["server/discover", "initialize"]);
    let answer = server.result("seen").await;
    assert_eq!(answer["seen"][2]["params"]["_meta"][META_PROTOCOL], STATELESS);
}

#[tokio::test]
async fn one_that_agrees_on_no_known_version_is_none() {
    for (kind, expected) in [
        ("odd", "does not speak MCP: it answered `initialize` with an unknown version"),
        ("neither", "does not speak MCP: it answered `initialize` with error -32601"),
    ] {
        let server = Fixture::with_pause(kind);
        assert_eq!(server.failure("seen").await.to_string(), expected);
        let again = server.failure("seen").await.to_string();
        assert!(again.contains("`initialize`") && again.contains("is started again in"), "{again}");
        assert_eq!(server.starts(), 1);
    }
    let server = Fixture::new("stateless");
    let seen = server.seen().await;
    assert_eq!(methods(&seen), ["server/discover", "initialize"]);
}

#[tokio::test]
async fn those_who_come_at_once_start_one_process() {
    let server = Fixture::new("modern");
    let (one, other, third) =
        tokio::join!(server.result("seen"), server.result("seen"), server.result("seen"));
    assert!(one["seen"].is_array() && other["seen"].is_array() && third["seen"].is_array());
    assert_eq!(server.starts(), 1);
}

#[tokio::test]
async fn a_start_goes_on_without_who_asked_first() {
    let server = Fixture::new("modern");
    let none = server.upstream.request(call("seen", "", Duration::ZERO), None).await.unwrap_err();
    assert_eq!(none, Failure::TimedOut);
    server.result("seen").await;
    assert_eq!(server.starts(), 1);
}

#[tokio::test]
async fn answers_come_to_whom_they_belong_in_any_order() {
    let server = Fixture::new("modern");
    let mut held = Vec::new();
    for number in 0..20 {
        // Line ends between tokens are no ends of messages.
        let more = format!(",\r\n\"arguments\":{{\r\n\"n\":\n{number}}}");
        held.push(server.call("hold", &more).await.unwrap());
    }
    assert_eq!(server.result("release").await, json!({"structured": true}));
    for (number, answer) in held.iter_mut().enumerate() {
        assert_eq!(result(answer).await, json!({"arguments": {"n": number}}));
    }
    let mut refused = server.call("refuse", "").await.unwrap();
    match refused.next().await.unwrap() {
        Event::Error(error) => assert_eq!(error.get(), r#"{"code": -32000, "message": "no"}"#),
        other => panic!("{other:?}"),
    }
    let what = server.failure("neither").await;
    assert!(matches!(what, Failure::Malformed(_)), "{what}");
}

#[tokio::test]
async fn progress_comes_to_who_asked_for_it_with_its_own_token() {
    let server = Fixture::new("legacy");
    let token = r#""t\u00e9""#;
    let more = |who| format!(r#","arguments":"{who}","_meta":{{"progressToken":{token}}}"#);
    let mut one = server.call("hold", &more("one")).await.unwrap();
    let mut other = server.call("hold", &more("other")).await.unwrap();
    server.result("progress").await;
    server.result("release").await;
    for (answer, who) in [(&mut one, "one"), (&mut other, "other")] {
        let text = notification(answer).await;
        let params = format!(r#"{{"progressToken":{token},"progress":1,"message":"{who}"}}"#);
        assert_eq!(
            text.replace(": ", ":").replace(", ", ","),
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#)
        );
        assert_eq!(result(answer).await, json!({"arguments": who}));
    }
    let seen = server.seen().await;
    let tokens: Vec<_> = seen.iter().map(|it| &it["params"]["_meta"]["progressToken"]).collect();
    let ours: Vec<_> = tokens.iter().filter_map(|token| token.as_u64()).collect();
    assert!(ours.len() == 2 && ours[0] != ours[1], "{tokens:?}");
}

#[tokio::test]
async fn what_is_no_message_is_passed_over() {
    let server = Fixture::new("legacy");
    let more = ",\"_meta\":{\"progressToken\":{\n}}";
    let mut answer = server.call("spaces", more).await.unwrap();
    let text = notification(&mut answer).await;
    assert!(!text.contains(['\n', '\r']) && text.contains(r#""progressToken":{ }"#), "{text}");
    match answer.next().await.unwrap() {
        Event::Result(value) => assert_eq!(value.get(), "{ \"a\": 1.0e0}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_cancelled() {
    let server = Fixture::new("modern");
    let held = server.call("hold", r#","arguments":1"#).await.unwrap();
    // It has arrived, as what came after it has.
    let seen = server.seen().await;
    let id = &seen.last().unwrap()["id"];
    assert!(id.is_u64() && !seen.iter().any(is_cancellation));
    drop(held);
    let seen = server.seen().await;
    let cancelled: Vec<_> = seen.iter().filter(|message| is_cancellation(message)).collect();
    let params = json!({"requestId": id});
    let method = "notifications/cancelled";
    let expected = json!({"jsonrpc": "2.0", "method": method, "params": params});
    assert_eq!(cancelled, [&expected], "those that were answered are not");
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_cancelled() {
    let server = Fixture::new("modern");
    server.result("seen").await;
    let short = call("hold", r#","arguments":1"#, Duration::from_millis(200));
    let mut answer = server.upstream.request(short, None).await.unwrap();
    assert_eq!(answer.next().await.unwrap_err(), Failure::TimedOut);
    assert!(server.seen().await.iter().any(is_cancellation));
}

#[tokio::test]
async fn a_program_that_ends_ends_its_calls_and_is_started_again() {
    let server = Fixture::new("legacy");
    server.result("seen").await;
    let mut held = server.call("hold", r#","arguments":1"#).await.unwrap();
    let expected = Failure::Broken("its program ended with exit status: 3".to_owned());
    assert_eq!(server.failure("die").await, expected);
    assert_eq!(held.next().await.unwrap_err(), expected);
    let seen = server.seen().await;
    assert_eq!(server.starts(), 2);
    assert_eq!(methods(&seen), ["initialize", "notifications/initialized"], "it is known");
    assert_eq!(server.upstream.list_changes(), 1, "it may be another version");

    let expected = Failure::Broken("its program closed its output".to_owned());
    assert_eq!(server.failure("close").await, expected);
    server.result("seen").await;
    assert_eq!(server.starts(), 3);
}

#[tokio::test]
async fn a_program_that_does_not_stay_is_left_alone_for_a_while() {
    let server = Fixture::with_pause("crash");
    let first = server.failure("seen").await;
    let expected = "its program ended with exit status: 7".to_owned();
    assert_eq!(first, Failure::Unreachable(expected));
    let again = server.failure("seen").await.to_string();
    let expected =
        "can't be reached: its program ended with exit status: 7 (it is started again in ";
    assert!(again.starts_with(expected), "{again}");
    assert_eq!(server.starts(), 2, "once with the probe, once without");

    let server = Fixture::with_pause("modern");
    assert!(matches!(server.failure("die").await, Failure::Broken(_)), "before any answer");
    let again = server.failure("seen").await;
    assert!(matches!(&again, Failure::Unreachable(why) if why.contains("again in")), "{again}");
    assert_eq!(server.starts(), 1);
}

#[tokio::test]
async fn a_program_that_is_missing_is_told_by_its_name() {
    let missing = upstream(&["sluicegate-no-such-program", "s3cret"], None, LONG, LONG);
    let why = missing.request(call("seen", "", LONG), None).await.unwrap_err().to_string();
    let expected = "can't be reached: the program `sluicegate-no-such-program` can't be started: ";
    assert!(why.starts_with(expected) && why.ends_with("(os error 2)"), "{why}");
    let again = missing.request(call("seen", "", LONG), None).await.unwrap_err().to_string();
    assert!(again.starts_with(&why) && again.contains("started again in"), "{again}");

    let nowhere = upstream(&["true"], Some("/sluicegate/nowhere".into()), LONG, LONG);
    let why = nowhere.request(call("seen", "", LONG), None).await.unwrap_err().to_string();
    assert!(why.contains("`true` can't be started in /sluicegate/nowhere: "), "{why}");
}

#[tokio::test]
async fn a_message_that_is_too_long_fails_its_own_call_alone() {
    let server = Fixture::new("modern");
    let mut held = server.call("hold", r#","arguments":1"#).await.unwrap();
    for place in ["first", "last"] {
        let more = format!(r#","arguments":"{place}""#);
        let mut long = server.call("long", &more).await.unwrap();
        assert_eq!(long.next().await.unwrap_err(), Failure::TooLong, "{place}");
    }
    assert!(!server.seen().await.iter().any(is_cancellation), "they were answered");
    let nobodys = call("long", "", Duration::from_millis(200));
    let mut nobodys = server.upstream.request(nobodys, None).await.unwrap();
    assert_eq!(nobodys.next().await.unwrap_err(), Failure::TimedOut);
    server.result("release").await;
    assert_eq!(result(&mut held).await, json!({"arguments": 1}), "the other goes on");
    assert_eq!(server.starts(), 1);
}

#[tokio::test]
async fn a_caller_that_does_not_read_fails_alone() {
    let server = Fixture::new("modern");
    let more = r#","arguments":1,"_meta":{"progressToken":1}"#;
    let mut slow = server.call("hold", more).await.unwrap();
    assert_eq!(server.result("flood").await, json!({}), "the other is not held up");
    assert_eq!(slow.next().await.unwrap_err(), Failure::TooLong);
    assert!(server.seen().await.iter().any(is_cancellation));
    assert_eq!(server.starts(), 1);
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_given_up() {
    let server = Fixture::new("modern");
    let all = Arc::<BodyBytes>::default();
    all.limit_to(10_000);
    let more = r#","arguments":1,"_meta":{"progressToken":1}"#;
    let held = call("hold", more, LONG);
    let mut held = server.upstream.request(held, Some(all.hold_none())).await.unwrap();
    // Forty of a mebibyte each; whoever asked for them does not count what it gets.
    assert_eq!(server.result("flood").await, json!({}));
    assert_eq!(held.next().await.unwrap_err(), Failure::NoRoom);
    assert!(server.seen().await.iter().any(is_cancellation));

    let release = call("release", "", LONG);
    let mut release = server.upstream.request(release, Some(all.hold_none())).await.unwrap();
    assert_eq!(result(&mut release).await, json!({"structured": true}));
    assert_eq!(all.held(), 0);
}

#[tokio::test]
async fn a_program_may_complain_as_much_as_it_likes() {
    let server = Fixture::new("modern");
    assert_eq!(server.result("complain").await, json!({}));
}

#[tokio::test]
async fn a_program_that_does_not_read_makes_callers_wait_for_no_longer_than_they_would() {
    let server = Fixture::new("modern");
    let deaf = server.result("deaf").await;
    let more = format!(r#","arguments":"{}""#, "x".repeat(1 << 20));
    // More than wait to be written, so that some wait for room.
    let mut waiting = Vec::new();
    let late = loop {
        let patience = if waiting.len() < 8 { LONG } else { Duration::from_millis(200) };
        match server.upstream.request(call("seen", &more, patience), None).await {
            Ok(answer) => waiting.push(answer),
            Err(failure) => break failure,
        }
        assert!(waiting.len() < 100, "the queue has an end");
    };
    assert_eq!(late, Failure::TimedOut);
    let mut last = waiting.pop().unwrap();
    assert_eq!(last.next().await.unwrap_err(), Failure::TimedOut);
    drop((waiting, last));
    drop(server);
    until_gone(&deaf["leader"]).await;
}

#[tokio::test]
async fn a_server_that_asks_something_is_answered() {
    let server = Fixture::new("modern");
    assert_eq!(server.upstream.list_changes(), 0);
    server.result("ask").await;
    let seen = server.seen().await;
    let replies: Vec<_> = seen.iter().filter(|message| message.get("method").is_none()).collect();
    let refusal = json!({"code": -32601, "message": "method not found"});
    assert_eq!(
        replies,
        [
            &json!({"jsonrpc": "2.0", "id": "p", "result": {}}),
            &json!({"jsonrpc": "2.0", "id": 2, "error": refusal}),
        ]
    );
    assert_eq!(server.upstream.list_changes(), 1);
}

#[tokio::test]
async fn a_program_gets_nothing_that_it_is_not_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = format!("/proc/self/fd/{}", listener.as_raw_fd());
    let ours = std::fs::read_link(ours).unwrap();
    let server = Fixture::new("modern");
    let surroundings = server.result("surroundings").await;

    let mut environment = surroundings["environment"].as_object().unwrap().clone();
    assert_eq!(environment.remove("TOKEN").unwrap(), "token-s3cret");
    assert_eq!(environment.remove("TZ").unwrap(), "Europe/Lisbon", "what is given comes first");
    // The interpreter sets one itself where there is no locale, and a wrapper of it others of its own.
    let own =
        |name: &str| name == "LC_CTYPE" || name.starts_with("PYENV_") || name.starts_with('_');
    for (name, value) in environment.iter().filter(|(name, _)| !own(name)) {
        assert!(
            ["PATH", "HOME", "LANG", "TMPDIR", "USER", "PWD", "SHLVL", "OLDPWD"].contains(&&**name),
            "{name}={value}"
        );
    }
    assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"), "there is more");

    let directory = surroundings["directory"].as_str().unwrap();
    assert_eq!(Path::new(directory), server.directory.path().canonicalize().unwrap());

    let files = surroundings["files"].as_object().unwrap();
    assert!(files["0"].as_str().unwrap().starts_with("pipe:"), "they are seen");
    assert!(files.values().all(|file| file != ours.to_str().unwrap()), "{files:?}");
}

#[tokio::test]
async fn a_program_gets_no_socket_that_was_handed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("upgrade.sock").to_str().unwrap().to_owned();
    let mut fds = pingora_core::server::Fds::new();
    fds.add("it".to_owned(), listener.as_raw_fd());
    let to = path.clone();
    let taking = tokio::task::spawn_blocking(move || {
        let mut taken = pingora_core::server::Fds::new();
        taken.get_from_sock(to.as_str()).unwrap();
        *taken.get("it").unwrap()
    });
    tokio::task::spawn_blocking(move || fds.send_to_sock(path.as_str()).unwrap()).await.unwrap();
    let taken = std::fs::read_link(format!("/proc/self/fd/{}", taking.await.unwrap())).unwrap();
    let ours = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
    assert_eq!(taken, ours, "it was handed over");

    let server = Fixture::new("modern");
    let files = server.result("surroundings").await["files"].as_object().unwrap().clone();
    assert!(files.values().all(|file| file != ours.to_str().unwrap()), "{files:?}");
}

#[tokio::test]
async fn nothing_is_left_of_a_program_that_nobody_needs() {
    let server = Fixture::new("modern");
    let mut held = server.call("hold", r#","arguments":1"#).await.unwrap();
    let processes = server.result("processes").await;
    let mut release = server.call("release", "").await.unwrap();
    let Fixture { upstream, directory } = server;
    drop(upstream);
    assert_eq!(result(&mut held).await, json!({"arguments": 1}), "who waits is waited for");
    result(&mut release).await;
    drop((held, release));
    until_gone(&processes["leader"]).await;
    until_gone(&processes["other"]).await;
    drop(directory);
}

#[tokio::test]
async fn one_that_does_not_leave_is_killed() {
    let server = Fixture::new("modern");
    let mut answer = server.call("processes", r#","arguments":"stubborn""#).await.unwrap();
    let processes = result(&mut answer).await;
    drop((server, answer));
    until_gone(&processes["leader"]).await;
    until_gone(&processes["other"]).await;
}

#[tokio::test]
async fn one_that_is_not_needed_any_more_while_it_starts_ends_as_well() {
    // It answers neither.
    let server = Fixture::new("silent");
    let short = call("seen", "", Duration::from_millis(1));
    assert_eq!(server.upstream.request(short, None).await.unwrap_err(), Failure::TimedOut);
    until(async || server.starts() == 1).await;
    let leader = server.leaders().remove(0);
    drop(server);
    until_gone(&leader).await;
}

#[test]
fn nothing_is_left_at_the_end_of_the_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Fixture::new("modern");
    let first = runtime();
    let processes = first.block_on(server.result("processes"));
    drop(first);
    runtime().block_on(async {
        until_gone(&processes["leader"]).await;
        until_gone(&processes["other"]).await;
        server.result("seen").await;
    });
    assert_eq!(server.starts(), 2, "another is started on the next");
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let server = Fixture::new("modern");
    let answer = server.call("seen", "").await.unwrap();
    let shown = format!("{:?} {answer:?}", server.upstream);
    assert!(shown.contains("python3") && !shown.contains("s3cret"), "{shown}");
}
