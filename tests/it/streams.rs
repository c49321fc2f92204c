//! Streams tell the truth: whatever breaks upstream is an error event, never a fake end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::reload::asked;
use crate::support::{
    Client, Config, Gateway, Response, chat, gateway, in_time, messages, provider, soon,
    split_events,
};

/// A reset takes what was sent before it along, where it is faster than the reader: then not even
/// the status had come, and the answer is a plain error.
fn lost_to_a_reset(fault: &str, answer: &Response) -> bool {
    fault == "reset" && answer.status == 502 && answer.json()["error"].is_object()
}

/// The data of the last event, as JSON.
fn last_data(body: &[u8]) -> Value {
    let events = split_events(body);
    let last = events.last().expect("events");
    let data = last.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    serde_json::from_str(data).unwrap_or_else(|_| panic!("the last event is {last}"))
}

fn with_idle_timeout(provider: &sluicegate_simulator::Simulator) -> Config {
    Config::for_provider(provider.address()).with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], timeouts: { idle: 300ms } }\n  \
         claude-sim: { targets: [{ provider: anth, model: claude-sim }], timeouts: { idle: 300ms } }\n",
    )
}

#[tokio::test]
async fn a_broken_stream_ends_in_an_error_event_of_the_dialect() {
    let provider = provider().await;
    let gateway = Gateway::start(&with_idle_timeout(&provider));
    let version = "anthropic-version: 2023-06-01\r\n";
    for fault in
        ["truncate", "truncate-mid-event", "stall", "reset", "malformed-sse", "error-event"]
    {
        for chunking in ["events", "5"] {
            let directives = format!("fault={fault},after=3,tokens=20,chunking={chunking}");
            let what = format!("{directives}: ");
            let openai =
                gateway.client().post("/v1/chat/completions", &chat(true, &directives)).await;
            assert!(!openai.cut, "{what}the stream itself must end in order");
            if !lost_to_a_reset(fault, &openai) {
                assert_eq!(openai.status, 200, "{what}");
                let last = last_data(&openai.body);
                assert!(last["error"]["message"].is_string(), "{what}{}", openai.text());
                assert!(!openai.text().contains("[DONE]"), "{what}");
            }

            let anthropic = gateway
                .client()
                .post_with("/v1/messages", version, &messages(true, &directives))
                .await;
            if !lost_to_a_reset(fault, &anthropic) {
                let last = last_data(&anthropic.body);
                assert_eq!(last["type"], "error", "{what}{}", anthropic.text());
                assert!(split_events(&anthropic.body).last().unwrap().starts_with("event: error"));
                assert!(!anthropic.text().contains("message_stop"), "{what}");
            }

            let responses = serde_json::json!({
                "model": "sim-1", "input": "Hello", "stream": true, "user": directives,
            });
            let responses = gateway.client().post("/v1/responses", &responses).await;
            if !lost_to_a_reset(fault, &responses) {
                let kind = last_data(&responses.body)["type"].as_str().unwrap().to_owned();
                let kinds = ["error", "response.failed"];
                assert!(kinds.contains(&kind.as_str()), "{what}{}", responses.text());
            }
        }
    }
    let log = gateway.stop().await;
    assert_eq!(log.len(), 36);
    for line in &log {
        let end = line["end"].as_str().unwrap();
        assert!(["upstream_broke", "timed_out"].contains(&end), "{line}");
    }
    let stalled = log.iter().filter(|line| line["end"] == "timed_out").count();
    assert_eq!(stalled, 6);
}

/// Neither silence nor a late first byte: what counts is how long it takes in all.
#[tokio::test]
async fn an_answer_that_takes_longer_than_it_may_in_all_ends_in_an_error() {
    let provider = provider().await;
    let gateway = Gateway::start(&Config::for_provider(provider.address()).with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], timeouts: { total: 700ms } }\n",
    ));
    let endless = "tokens=100000,token_ms=20";
    let stream = gateway.client().post("/v1/chat/completions", &chat(true, endless)).await;
    assert!(!stream.cut && stream.status == 200, "{stream:?}");
    assert!(stream.text().contains("token"), "it had begun: {}", stream.text());
    assert!(last_data(&stream.body)["error"]["message"].is_string(), "{}", stream.text());
    assert!(!stream.text().contains("[DONE]"));
    let whole = gateway.client().post("/v1/chat/completions", &chat(false, endless)).await;
    assert_eq!((whole.status, whole.code().as_str()), (504, "upstream_timeout"), "{whole:?}");
    for line in gateway.stop().await {
        assert_eq!(line["end"], "timed_out", "{line}");
    }
}

#[tokio::test]
async fn a_broken_plain_answer_is_never_made_to_look_whole() {
    let provider = provider().await;
    let gateway = Gateway::start(&with_idle_timeout(&provider));
    let cut =
        gateway.client().post("/v1/chat/completions", &chat(false, "fault=close-mid-body")).await;
    assert!(cut.cut, "{cut:?}");
    for stream in [false, true] {
        let request = chat(stream, "fault=not-json");
        let page = gateway.client().post("/v1/chat/completions", &request).await;
        assert_eq!((page.status, page.code().as_str()), (502, "upstream_error"), "{page:?}");
    }
    let empty =
        gateway.client().post("/v1/chat/completions", &chat(false, "fault=empty-reply")).await;
    assert_eq!((empty.status, empty.code().as_str()), (502, "upstream_error"));
    let error = gateway
        .client()
        .post("/v1/chat/completions", &chat(false, "fault=status,status=418"))
        .await;
    assert_eq!(error.status, 418, "a provider's own error passes");
    let busy = "fault=retry-after,status=429,seconds=7";
    let busy = gateway.client().post("/v1/chat/completions", &chat(false, busy)).await;
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("7")));
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_upstream_request_with_it() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    for directives in ["fault=stall,after=2", "tokens=100000,token_ms=5"] {
        in_time("the abort", Duration::from_secs(1), async || {
            let mut stream = gateway.client().connect().await;
            let request = Client::request("/v1/chat/completions", "", &chat(true, directives));
            stream.write_all(&request).await.unwrap();
            let mut some = [0; 64];
            stream.read_exact(&mut some).await.unwrap();
            assert_eq!(provider.streams_open(), 1);
            let left = Instant::now();
            drop(stream);
            soon("the abort", provider.wait_until(|stats| stats.streams_open == 0)).await;
            left.elapsed()
        })
        .await;
    }
    // While nothing has come yet, too.
    in_time("the abort without an answer", Duration::from_secs(1), async || {
        let before = provider.ledger().total;
        let mut stream = gateway.client().connect().await;
        let request =
            Client::request("/v1/chat/completions", "", &chat(false, "fault=delay-head,ms=600000"));
        stream.write_all(&request).await.unwrap();
        soon("the request", provider.wait_until(|stats| stats.total.requests > before.requests))
            .await;
        let left = Instant::now();
        drop(stream);
        soon("the abort", provider.wait_until(|stats| stats.total.aborted > before.aborted)).await;
        left.elapsed()
    })
    .await;
    let log = gateway.stop().await;
    assert!(log.iter().all(|line| line["end"] == "client_gone"), "{log:#?}");
}

#[tokio::test]
async fn events_pass_one_by_one_as_they_come() {
    let provider = provider().await;
    // Of a stream that can be replaced, the beginning waits for the first content.
    let gateway = Gateway::start(&Config::for_provider(provider.address()).with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], retries: { until: first_byte } }\n",
    ));
    // The provider falls silent after each event count: what came before must be here already.
    for after in 1..6 {
        let directives = format!("fault=stall,after={after},tokens=50");
        let request = Client::request("/v1/chat/completions", "", &chat(true, &directives));
        let mut stream = gateway.client().connect().await;
        stream.write_all(&request).await.unwrap();
        let mut text = String::new();
        soon("the events", async {
            while text.matches("\n\n").count() < after {
                let mut piece = [0; 4096];
                let n = stream.read(&mut piece).await.unwrap();
                assert_ne!(n, 0, "ended after {text}");
                text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
            }
        })
        .await;
        assert_eq!(text.matches("data: ").count(), after);
    }
}

/// Events of every shape: line ends, comments, data over several lines, letters of several bytes.
fn odd_events() -> Vec<String> {
    let chunk = |n: usize, end: &str| {
        let text = ["short", "\u{e4}\u{1f980}\u{4e16}", &"long ".repeat(40)][n % 3].to_owned();
        let choice = serde_json::json!({"index": 0, "delta": {"content": text}});
        let data =
            serde_json::json!({"id": "c", "object": "chat.completion.chunk", "choices": [choice]});
        format!("data: {data}{end}")
    };
    let mut events: Vec<_> = (0..24)
        .map(|n| match n % 4 {
            0 => chunk(n, "\n\n"),
            1 => chunk(n, "\r\n\r\n"),
            2 => format!(": a comment\n{}", chunk(n, "\n\n")),
            _ => chunk(n, "\n\n").replacen("\"choices\"", "\ndata: \"choices\"", 1),
        })
        .collect();
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// Answers one request with `events`, cut into chunks of `size` bytes. With the end of each event come `ahead`
/// bytes of the next one, and no more until `seen` says that the event has arrived. Tells when each one's end
/// was written.
async fn cut_up(
    listener: TcpListener,
    events: Vec<String>,
    (size, ahead): (usize, usize),
    mut seen: mpsc::Receiver<()>,
    written: mpsc::Sender<Instant>,
) {
    let mut stream = asked(&listener).await;
    stream.set_nodelay(true).unwrap();
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let all = events.concat().into_bytes();
    let (mut sent, mut end) = (0, 0);
    for event in &events {
        end += event.len();
        let to = (end + ahead).min(all.len());
        for piece in all[sent..to].chunks(size) {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&chunk).await.unwrap();
        }
        sent = to;
        written.send(Instant::now()).await.unwrap();
        seen.recv().await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
}

/// The body of an answer to a request for a stream, on a connection of its own.
async fn ask(gateway: &Gateway) -> Incoming {
    let stream = tokio::net::TcpStream::connect(gateway.proxy).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("/v1/chat/completions")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(chat(true, "").to_string())))
        .unwrap();
    soon("a head", sender.send_request(request)).await.unwrap().into_body()
}

/// How long the events were under way through the gateway, the shortest first.
async fn delays(cut: (usize, usize)) -> Vec<Duration> {
    let events = odd_events();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&Config::for_provider(listener.local_addr().unwrap()));
    let (see, seen) = mpsc::channel(1);
    let (write, mut written) = mpsc::channel(1);
    let provider = tokio::spawn(cut_up(listener, events.clone(), cut, seen, write));
    let mut body = ask(&gateway).await;
    let (mut read, mut end, mut delays) = (Vec::new(), 0, Vec::new());
    for event in &events {
        end += event.len();
        soon("an event", async {
            while read.len() < end {
                let frame = body.frame().await.expect("not the end").unwrap();
                read.extend_from_slice(&frame.into_data().unwrap());
            }
        })
        .await;
        let arrived = Instant::now();
        delays.push(arrived.saturating_duration_since(written.recv().await.unwrap()));
        see.send(()).await.unwrap();
    }
    provider.await.unwrap();
    assert!(soon("the end", body.frame()).await.is_none());
    assert_eq!(String::from_utf8(read).unwrap(), events.concat(), "{cut:?}");
    delays.sort_unstable();
    delays
}

#[tokio::test]
async fn however_a_stream_is_cut_its_bytes_stay_and_each_event_passes_within_five_milliseconds() {
    for cut in [(1, 0), (7, 3), (100, 61), (1_000, 1), (usize::MAX, 0), (usize::MAX, 40)] {
        in_time("most events", Duration::from_millis(5), async || {
            let delays = delays(cut).await;
            // Those behind are the machine's pauses; whatever is held back for good fails anyway.
            delays[delays.len() * 3 / 4]
        })
        .await;
    }
}

/// Answers each request with a head and as many events as its turn says, all in one piece, and leaves off there.
async fn in_bursts(listener: TcpListener, most: usize) {
    for events in 1..=most {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut burst = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n"
                .to_vec();
            for event in odd_events()[..24].iter().cycle().take(events) {
                burst.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
            }
            stream.set_nodelay(true).unwrap();
            let mut request = vec![0; 64 * 1024];
            let _ = stream.read(&mut request).await;
            stream.write_all(&burst).await.unwrap();
            while stream.read(&mut request).await.is_ok_and(|n| n > 0) {}
        });
    }
}

#[tokio::test]
async fn a_burst_passes_whole_though_nothing_comes_after_it() {
    let most = 41;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&Config::for_provider(listener.local_addr().unwrap()));
    tokio::spawn(in_bursts(listener, most));
    for events in 1..=most {
        let mut body = ask(&gateway).await;
        let expected: String =
            odd_events()[..24].iter().cycle().take(events).map(String::as_str).collect();
        let mut read = Vec::new();
        soon(&format!("{events} events"), async {
            while read.len() < expected.len() {
                let frame = body.frame().await.expect("not the end").unwrap();
                read.extend_from_slice(&frame.into_data().unwrap());
            }
        })
        .await;
        assert_eq!(String::from_utf8(read).unwrap(), expected, "{events}");
    }
}
