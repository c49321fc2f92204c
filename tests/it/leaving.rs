//! Shutdown and upgrade: nothing is dropped.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::reload::{Load, asked, first_part, second_part};
use crate::support::certificates::{Authority, client_config, handshake};
use crate::support::postgres::Postgres;
use crate::support::{
    Client, Config, Gateway, chat, gateway, in_time, provider, read_response, soon, split_events,
};

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_leaves_as_soon_as_idle() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let mut stream = gateway.client().connect().await;
    let request = Client::request("/v1/chat/completions", "", &chat(true, "tokens=30,token_ms=20"));
    stream.write_all(&request).await.unwrap();
    soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
    gateway.signal("TERM");
    gateway.await_log("draining");
    // Not ready any more, though it still answers.
    let ready = Client::new(gateway.metrics).get("/health/ready").await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("draining")));
    assert_eq!(Client::new(gateway.metrics).get("/health/live").await.status, 200);
    let answer = read_response(&mut stream).await;
    assert!(answer.text().ends_with("data: [DONE]\n\n") && !answer.cut, "{answer:?}");
    // The default timeout is 30 s, as is our patience: leaving late would fail.
    let (code, log) = gateway.ended().await;
    assert_eq!(code, 0);
    assert_eq!(log[0]["end"], "complete");
}

#[tokio::test]
async fn an_idle_gateway_leaves_at_once_even_with_open_connections() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let mut idle = gateway.client().connect().await;
    idle.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut idle).await.status, 200);
    assert_eq!(gateway.stop().await.len(), 1);
}

#[tokio::test]
async fn signals_are_heeded_from_the_moment_that_it_listens() {
    let provider = provider().await;
    for _ in 0..5 {
        let gateway = gateway(&provider).await;
        gateway.signal("HUP");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_outlasts_the_timeout_ends_in_an_error_event_and_so_does_the_process() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with("shutdown: { timeout: 1s }");
    in_time("the end", Duration::from_secs(2), async || {
        let gateway = Gateway::start(&config);
        let mut stream = gateway.client().connect().await;
        let request =
            Client::request("/v1/chat/completions", "", &chat(true, "fault=stall,after=3"));
        stream.write_all(&request).await.unwrap();
        soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
        let told = Instant::now();
        gateway.signal("TERM");
        let answer = read_response(&mut stream).await;
        let events = split_events(&answer.body);
        assert!(events.last().unwrap().contains("shutting down"), "{answer:?}");
        assert!(!answer.cut);
        let (code, log) = gateway.ended().await;
        assert_eq!((code, log.len()), (0, 1));
        told.elapsed()
    })
    .await;
}

/// A server that stands still; not for longer than this is there, so that it can be ended.
struct Paused<'a>(&'a Postgres);

impl<'a> Paused<'a> {
    fn new(server: &'a Postgres) -> Self {
        server.pause();
        Self(server)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.go_on();
    }
}

/// All at once: a stream that is silent, one that nobody reads, a database that stands still with leases to give
/// back and rows to take, a collector that says nothing.
#[tokio::test]
async fn nobody_who_does_not_answer_puts_off_the_end() {
    let (provider, postgres) = (provider().await, Postgres::start());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = silent.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            kept.push(connection);
        }
    });
    let mut config = Config::for_provider(provider.address());
    config.head = format!(
        "admin: {{ master_key: \"env:MASTER_KEY\" }}\nstore: {{ postgres: {{ url: \"{}\" }} }}\n\
         telemetry: {{ traces: {{ endpoint: \"http://{collector}\", sampling: 1, timeout: 60s }} }}\n\
         shutdown: {{ timeout: 2s }}\n",
        postgres.url()
    );
    let config = config.with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n",
    );
    in_time("the end", Duration::from_secs(3), async || {
        let gateway = Gateway::start(&config);
        let key = gateway.key(&json!({"max_budget": 100})).await;
        let bearer = format!("Authorization: Bearer {key}\r\n");
        let mut open = Vec::new();
        for directives in ["fault=stall,after=3", "tokens=100000,text_bytes=1000"] {
            let mut stream = gateway.client().connect().await;
            let mut body = chat(true, directives);
            body["max_tokens"] = json!(100_000);
            stream
                .write_all(&Client::request("/v1/chat/completions", &bearer, &body))
                .await
                .unwrap();
            soon("a beginning", stream.read_exact(&mut [0; 64])).await.unwrap();
            open.push(stream);
        }
        let paused = Paused::new(&postgres);
        // On what is leased, or refused because nothing is.
        let answer = gateway.chat(&key, &chat(false, "")).await;
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        let told = Instant::now();
        gateway.signal("TERM");
        let (code, log) = gateway.ended().await;
        let took = told.elapsed();
        drop(paused);
        assert_eq!((code, log.len()), (0, 3), "{log:#?}");
        took
    })
    .await;
}

#[tokio::test]
async fn sigquit_without_a_successor_changes_nothing() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    gateway.signal("QUIT");
    gateway.await_log("no new process waits");
    assert_eq!(gateway.client().get("/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_load_fails_nobody_and_open_streams_finish_on_the_old_process() {
    let provider = provider().await;
    let reserved = crate::support::free_address();
    let mut config = Config::for_provider(provider.address());
    config.listen = reserved.to_string();
    let old = Gateway::start(&config);
    let client = old.client();
    let load = Load::start(client, 8);
    load.go_on_for(50).await;

    // A stream that outlives the hand-over, which takes Pingora five seconds.
    let mut long = client.connect().await;
    let request =
        Client::request("/v1/chat/completions", "", &chat(true, "tokens=400,token_ms=20"));
    long.write_all(&request).await.unwrap();
    let mut first = [0; 16];
    long.read_exact(&mut first).await.unwrap();

    let mut new = old.successor();
    hand_over(&old, &mut new).await;
    load.go_on_for(200).await;

    until_done(&mut long).await;
    let (code, log) = old.ended().await;
    assert_eq!(code, 0);
    assert!(log.iter().all(|line| line["end"] == "complete"), "{log:?}");
    load.go_on_for(50).await;
    load.finish().await;
    let log = new.stop().await;
    assert!(log.len() >= 50 && log.iter().all(|line| line["end"] == "complete"));
}

/// Has `old` give its sockets to `new`, which waits for them.
pub async fn hand_over(old: &Gateway, new: &mut Gateway) {
    soon("the successor", async {
        while !old.root().join("handover/upgrade.sock").exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    old.signal("QUIT");
    new.await_listening();
}

/// Reads a stream to its end.
async fn until_done(stream: &mut (impl AsyncRead + Unpin)) {
    let mut read = String::new();
    soon("the long stream", async {
        while !read.contains("[DONE]") {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "the stream was cut after {read}");
            read.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        }
    })
    .await;
}

type H2 = SendRequest<Full<Bytes>>;

/// A connection over TLS for HTTP/2.
async fn h2(address: SocketAddr, config: &Arc<ClientConfig>) -> H2 {
    let stream = handshake(address, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

fn h2_request(key: &str, body: &Value) -> http::Request<Full<Bytes>> {
    http::Request::post("https://localhost/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

/// As a good client of HTTP/2 does: all on one connection, until it is told that the connection takes no more.
async fn over_h2(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    key: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut sender = h2(address, &config).await;
    while !stop.load(Ordering::Relaxed) {
        let streamed = done.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let body = chat(streamed, "tokens=20,token_ms=1");
        if sender.ready().await.is_err() {
            sender = h2(address, &config).await;
        }
        let answer = match sender.try_send_request(h2_request(&key, &body)).await {
            Ok(answer) => answer,
            // It was not sent: the connection was closed to new requests just before.
            Err(error) if error.message().is_some() => continue,
            Err(error) => {
                failures.push(format!("{:?}", error.into_error()));
                continue;
            }
        };
        let status = answer.status();
        match answer.into_body().collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                if status != 200 || (streamed && !body.ends_with(b"data: [DONE]\n\n")) {
                    failures.push(format!("{status} {}", body.escape_ascii()));
                }
            }
            Err(error) => failures.push(format!("{error:?}")),
        }
    }
    failures
}

/// Rows of a ledger in SQLite, what they cost, and how many of them are whole.
async fn rows(store: &Path) -> (i64, i64, i64) {
    let mut connection = SqliteConnection::connect(store.to_str().unwrap()).await.unwrap();
    let all = "SELECT count(*), COALESCE(sum(cost), 0), COALESCE(sum(outcome = 'complete'), 0) FROM ledger";
    let row = sqlx::query(all).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

/// What the counters in SQLite have counted of money, and what of it is leased.
async fn counted(store: &Path) -> (i64, i64) {
    let mut connection = SqliteConnection::connect(store.to_str().unwrap()).await.unwrap();
    let all = "SELECT \
        (SELECT COALESCE(sum(b.value), 0) FROM quota_counters c, json_each(c.buckets) b \
         WHERE c.counter LIKE '%nano_usd%'), \
        (SELECT COALESCE(sum(json_extract(l.value, '$.leased')), 0) FROM quota_counters c, \
         json_each(c.leases) l WHERE c.counter LIKE '%nano_usd%')";
    let row = sqlx::query(all).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (row.get(0), row.get(1))
}

/// As the runbook has it, with all that both processes use meanwhile: a file of keys, a directory of journals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_loses_no_connection_over_tls_no_key_and_no_row() {
    let provider = provider().await;
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let authority = Authority::new("servers");
    for (name, content) in authority.leaf().files() {
        std::fs::write(path(name), content).unwrap();
    }
    let mut config = Config::for_provider(provider.address());
    config.head = format!(
        "listeners:\n  proxy: {{ address: \"{}\", tls: {{ certificate: {}, key: {} }} }}\n  \
         admin: {{ address: \"127.0.0.1:0\" }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n\
         admin: {{ master_key: \"env:MASTER_KEY\" }}\n\
         store: {{ sqlite: {{ path: \"{}\" }} }}\nledger: {{ directory: \"{}\" }}\n\
         audit: {{ directory: \"{}\" }}\nshutdown: {{ timeout: 60s }}\n",
        crate::support::free_address(),
        path("tls.crt").display(),
        path("tls.key").display(),
        path("store.db").display(),
        path("ledger").display(),
        path("audit").display(),
    );
    config.providers.push_str(&format!(
        "  held: {{ dialect: openai, base_url: \"http://{}/v1\", api_key: \"env:SIM_KEY\" }}\n",
        held.local_addr().unwrap()
    ));
    let config = config.with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n  \
         held: { targets: [{ provider: held, model: m }], timeouts: { idle: 120s } }\n",
    );
    std::fs::write(path("sluicegate.yaml"), config.yaml()).unwrap();
    let old = Gateway::launch(root.path(), &path("sluicegate.yaml"));
    // Without a limit: how soon the file takes what is counted is the machine's affair.
    let made = old.admin("POST", "/admin/v1/keys", &json!({})).await.json();
    let [key, key_id] = ["key", "id"].map(|field| made[field].as_str().unwrap().to_owned());
    let proxy = old.proxy;
    let h1 = client_config(authority.roots(), None);
    let mut h2_too = (*h1).clone();
    h2_too.alpn_protocols = vec![b"h2".to_vec()];
    let h2_too = Arc::new(h2_too);
    let bearer = format!("Authorization: Bearer {key}\r\n");
    let load = Load::over_tls(proxy, &h1, 2, &bearer);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut multiplexing = JoinSet::new();
    for _ in 0..2 {
        let (config, key) = (h2_too.clone(), key.clone());
        multiplexing.spawn(over_h2(proxy, config, key, stop.clone(), done.clone()));
    }
    let go_on = async |n: usize| {
        let until = done.load(Ordering::Relaxed) + n;
        load.go_on_for(n).await;
        soon("load by HTTP/2", async {
            while done.load(Ordering::Relaxed) < until {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    go_on(20).await;

    // Streams that outlive the hand-over: they go on when the test says so.
    let mut body = chat(true, "");
    body["model"] = json!("held");
    let mut long = handshake(proxy, &h1).await.unwrap();
    long.write_all(&Client::request("/v1/chat/completions", &bearer, &body)).await.unwrap();
    let mut behind = asked(&held).await;
    behind.write_all(first_part().as_bytes()).await.unwrap();
    soon("a beginning", long.read_exact(&mut [0; 16])).await.unwrap();
    let mut sender = h2(proxy, &h2_too).await;
    let long_too = tokio::spawn(sender.send_request(h2_request(&key, &body)));
    let mut behind_too = asked(&held).await;
    behind_too.write_all(first_part().as_bytes()).await.unwrap();
    let long_too = soon("a beginning by HTTP/2", long_too).await.unwrap().unwrap();

    let new = old.successor_that_asks();
    go_on(50).await;
    // What one of them makes, the other knows. With a budget, which the new one counts.
    for maker in [&old, &new] {
        let made = maker.key(&json!({"max_budget": 100})).await;
        let mut sender = h2(proxy, &h2_too).await;
        soon("an answer", async {
            loop {
                let request = h2_request(&made, &chat(false, "tokens=20"));
                let answer = sender.send_request(request).await.unwrap();
                let status = answer.status().as_u16();
                answer.into_body().collect().await.unwrap();
                match status {
                    200 => return,
                    // The file was busy for too long: no limit is passed because of that.
                    503 => sender.ready().await.unwrap(),
                    _ => panic!("{status}"),
                }
            }
        })
        .await;
    }

    for mut behind in [behind, behind_too] {
        behind.write_all(second_part().as_bytes()).await.unwrap();
    }
    until_done(&mut long).await;
    let whole = soon("the long stream by HTTP/2", long_too.into_body().collect()).await.unwrap();
    assert!(whole.to_bytes().ends_with(b"data: [DONE]\n\n"));
    drop(sender);
    let (code, before) = old.ended().await;
    assert_eq!(code, 0);
    assert!(before.iter().all(|line| line["end"] == "complete"), "{before:?}");
    go_on(20).await;
    load.finish().await;
    stop.store(true, Ordering::Relaxed);
    let failures = soon("the clients", multiplexing.join_all()).await.concat();
    assert!(failures.is_empty(), "{} failures, such as {:?}", failures.len(), &failures[0]);
    let after = new.stop().await;
    let served: Vec<_> =
        before.iter().chain(&after).filter(|line| line["code"] != "quota_unavailable").collect();
    assert!(served.iter().all(|line| line["end"] == "complete"), "{served:#?}");

    let judge = provider.ledger().total;
    let cost = judge.prompt_tokens * 10_000 + judge.completion_tokens * 20_000;
    // With those two, which have no price.
    let count = judge.completed.cast_signed() + 2;
    assert_eq!(rows(&path("store.db")).await, (count, cost.cast_signed(), count));
    assert_eq!(served.len() as i64, count);
    assert_eq!(std::fs::read_dir(path("ledger")).unwrap().count(), 0, "the journals are gone");
    let budgeted: i64 = served
        .iter()
        .filter(|line| line["key"] != key_id.as_str())
        .map(|line| line["cost_nano_usd"].as_i64().unwrap())
        .sum();
    assert_eq!(counted(&path("store.db")).await, (budgeted, 0), "what is counted, what is leased");
    let report = sluicegate::audit::verify(&path("audit"), None).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[tokio::test]
async fn sockets_are_handed_to_nobody_but_a_process_that_waits() {
    let provider = provider().await;
    let mut config = Config::for_provider(provider.address());
    config.listen = crate::support::free_address().to_string();
    let gateway = Gateway::start(&config);
    // As a successor leaves it that is killed while it waits.
    drop(UnixListener::bind(gateway.root().join("handover/upgrade.sock")).unwrap());
    gateway.signal("QUIT");
    gateway.await_log("no new process waits");
    assert_eq!(gateway.client().get("/health").await.status, 200);
    let new = gateway.successor_that_asks();
    assert_eq!(gateway.ended().await.0, 0);
    assert_eq!(new.client().get("/health").await.status, 200, "the new process serves");
}

#[tokio::test]
async fn a_process_that_has_handed_its_sockets_over_can_be_ended_without_waiting() {
    let provider = provider().await;
    for (signal, expected) in [("TERM", 143), ("INT", 130)] {
        let mut config = Config::for_provider(provider.address());
        config.listen = crate::support::free_address().to_string();
        let old = Gateway::start(&config);
        let mut stream = old.client().connect().await;
        let stalls = chat(true, "fault=stall,after=3");
        let request = Client::request("/v1/chat/completions", "", &stalls);
        stream.write_all(&request).await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();

        let mut new = old.successor();
        hand_over(&old, &mut new).await;
        // Its stream would keep it until `shutdown.timeout`.
        old.signal(signal);
        let (code, _) = old.ended().await;
        assert_eq!(code, expected, "{signal}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"), "what was under way is cut");
        assert_eq!(new.client().get("/health").await.status, 200, "the new process serves");
    }
}
