//! Clients that mean harm, with HTTP/2 frames written by hand: each is cut off, memory stays as it is, and those
//! beside them notice nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

use crate::reload::Load;
use crate::support::{Client, Config, Gateway, chat, provider, soon};

/// Frames that an attacker would like to send. None gets this far.
const FRAMES: u32 = 400_000;
/// By how much memory may grow.
const MEMORY: u64 = 50 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header list that takes nothing from a table but names (RFC 7541 section 6.2.2).
fn header_list(method: u8, path: &str) -> Vec<u8> {
    let text = |name: &[u8], value: &str| {
        [name, &[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
    };
    let parts = [
        vec![method, 0x86],
        text(&[0x04], path),
        text(&[0x01], "localhost"),
        text(&[0x0f, 0x10], "application/json"),
    ];
    parts.concat()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// A whole request for a stream that does not end by itself.
fn endless(stream: u32) -> Vec<u8> {
    let body = chat(true, "fault=stall,after=2").to_string();
    [
        frame(HEADERS, END_HEADERS, stream, &header_list(POST, "/v1/chat/completions")),
        frame(DATA, END_STREAM, stream, body.as_bytes()),
    ]
    .concat()
}

/// The number of the `n`th stream.
fn nth(n: u32) -> u32 {
    2 * n + 1
}

/// Where attackers are, and nobody else.
const ATTACKER: [u8; 4] = [127, 0, 0, 2];

fn attacker(gateway: &Gateway) -> Client {
    gateway.client().from(ATTACKER.into())
}

async fn connect(client: Client, settings: &[u8]) -> (OwnedReadHalf, OwnedWriteHalf) {
    let (read, mut write) = client.connect().await.into_inner().into_split();
    let hello =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, settings)[..]].concat();
    write.write_all(&hello).await.unwrap();
    (read, write)
}

/// Reads until the gateway ends the connection.
async fn ended(mut read: OwnedReadHalf) {
    let mut piece = vec![0; 64 * 1024];
    while read.read(&mut piece).await.is_ok_and(|n| n > 0) {}
}

/// Sends `unit` after `unit` until the gateway has enough of it. Returns how many it took.
async fn flood(gateway: &Gateway, begin: Vec<u8>, unit: impl Fn(u32) -> Vec<u8>) -> u32 {
    let (read, mut write) = connect(attacker(gateway), &[]).await;
    let end = tokio::spawn(ended(read));
    write.write_all(&begin).await.unwrap();
    let mut sent = 0;
    while sent < FRAMES && !end.is_finished() {
        // Many at once, as fast as they can be sent.
        let many: Vec<u8> = (sent..sent + 16).flat_map(&unit).collect();
        if write.write_all(&many).await.is_err() {
            break;
        }
        sent += 16;
    }
    soon("the end of the connection", end).await.unwrap();
    sent
}

/// A gateway that speaks HTTP/2 without TLS.
fn gateway(address: std::net::SocketAddr, rest: &str) -> Gateway {
    let listeners = "listeners:\n  proxy: { address: \"127.0.0.1:0\", h2c: true }\n  \
                     admin: { address: \"127.0.0.1:0\" }\n  metrics: { address: \"127.0.0.1:0\" }";
    Gateway::start(&Config::for_provider(address).with(listeners).with(rest))
}

/// Bytes of memory: the most there were, and those of now.
fn memory(gateway: &Gateway) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    (kib("VmHWM:"), kib("VmRSS:"))
}

/// Waits until nothing is under way any more.
async fn all_is_quiet(gateway: &Gateway) {
    for name in ["sluicegate_requests_served", "sluicegate_buffered_bytes"] {
        soon(name, async {
            while gateway.metric(name, "").await > 0.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Floods a gateway beside good clients, several connections of it one after the other.
async fn is_survived(begin: Vec<u8>, unit: impl Fn(u32) -> Vec<u8>) {
    let provider = provider().await;
    let gateway = gateway(provider.address(), "");
    let load = Load::start(gateway.client(), 2);
    load.go_on_for(20).await;
    let (_, before) = memory(&gateway);
    for _ in 0..3 {
        let sent = flood(&gateway, begin.clone(), &unit).await;
        assert!(sent < FRAMES, "it took all {sent}");
    }
    load.go_on_for(20).await;
    load.finish().await;
    let (most, _) = memory(&gateway);
    assert!(most - before < MEMORY, "{} MiB more", (most - before) >> 20);
    let ended = gateway.metric("sluicegate_connections_aborted_total", "").await;
    assert!(ended >= 3.0, "{ended}");
    all_is_quiet(&gateway).await;
    soon("the provider's streams", provider.wait_until(|stats| stats.streams_open == 0)).await;
}

#[tokio::test]
async fn rapid_reset() {
    let reset = |n| frame(RST_STREAM, 0, nth(n), &8u32.to_be_bytes());
    is_survived(Vec::new(), |n| [endless(nth(n)), reset(n)].concat()).await;
}

#[tokio::test]
async fn resets_of_streams_that_are_under_way() {
    let provider = provider().await;
    let gateway = gateway(provider.address(), "");
    let (read, mut write) = connect(gateway.client(), &[]).await;
    let end = tokio::spawn(ended(read));
    for n in 0..FRAMES {
        if write.write_all(&endless(nth(n))).await.is_err() {
            break;
        }
        if n < 100 {
            // Forwarded before it is reset: what the library does not count.
            let seen = |_: &_| provider.ledger().total.requests > u64::from(n);
            soon("a request", provider.wait_until(seen)).await;
        }
        let reset = frame(RST_STREAM, 0, nth(n), &8u32.to_be_bytes());
        if write.write_all(&reset).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    soon("the end", end).await.unwrap();
    all_is_quiet(&gateway).await;
    soon("the provider's streams", provider.wait_until(|stats| stats.streams_open == 0)).await;
}

#[tokio::test]
async fn made_you_reset() {
    // A window that grows by nothing is an error of the stream, which we must reset (RFC 9113 section 6.9).
    let nothing = |n| frame(WINDOW_UPDATE, 0, nth(n), &[0; 4]);
    is_survived(Vec::new(), |n| [endless(nth(n)), nothing(n)].concat()).await;
}

#[tokio::test]
async fn continuation_flood() {
    let begin = frame(HEADERS, END_STREAM, 1, &header_list(GET, "/v1/models"));
    // A literal header without an index, of a name that is never the same.
    let more = |n: u32| {
        let name = format!("x-{n:06}");
        let header = [&[0, 8], name.as_bytes(), &[1], b"v"].concat();
        frame(CONTINUATION, 0, 1, &header)
    };
    is_survived(begin, more).await;
}

#[tokio::test]
async fn settings_flood() {
    // Each time another window for every stream.
    let setting = |n: u32| [&[0, 4][..], &(n % 65_536).to_be_bytes()].concat();
    is_survived(Vec::new(), |n| frame(SETTINGS, 0, 0, &setting(n))).await;
}

#[tokio::test]
async fn ping_flood() {
    is_survived(Vec::new(), |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())).await;
}

#[tokio::test]
async fn floods_of_frames_without_content() {
    let open = frame(HEADERS, END_HEADERS, 1, &header_list(POST, "/v1/chat/completions"));
    is_survived(open.clone(), |_| frame(DATA, 0, 1, &[])).await;
    is_survived(open.clone(), |_| frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())).await;
    is_survived(open.clone(), |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])).await;
    is_survived(open, |_| frame(0x99, 0, 0, b"what nobody knows")).await;
}

#[tokio::test]
async fn a_header_list_has_its_deadline_beside_other_streams() {
    let provider = provider().await;
    let gateway = gateway(provider.address(), "limits: { header_timeout: 400ms }");
    // One that another frame must follow, and one whose only frame is not whole.
    let list = header_list(GET, "/v1/models");
    let open = frame(HEADERS, END_STREAM, 3, &list);
    let mut part = frame(HEADERS, END_STREAM | END_HEADERS, 3, &list);
    part.truncate(part.len() - 1);
    for begun in [open, part] {
        let (read, mut write) = connect(gateway.client(), &[]).await;
        let end = tokio::spawn(ended(read));
        write.write_all(&endless(1)).await.unwrap();
        soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
        write.write_all(&begun).await.unwrap();
        // Kept open, so that only the gateway can end it.
        soon("the end", end).await.unwrap();
        let gone = provider.wait_until(|stats| stats.streams_open == 0);
        soon("the provider's stream", gone).await;
        drop(write);
    }
}

#[tokio::test]
async fn a_client_without_a_window_holds_nothing_for_long() {
    let provider = provider().await;
    let gateway = gateway(provider.address(), "limits: { write_timeout: 300ms }");
    // SETTINGS_INITIAL_WINDOW_SIZE: 0, and then one byte now and then.
    let (read, mut write) = connect(gateway.client(), &[0, 4, 0, 0, 0, 0]).await;
    let reading = tokio::spawn(ended(read));
    for n in 0..50 {
        let body = chat(n % 2 == 0, "tokens=200").to_string();
        let head = frame(HEADERS, END_HEADERS, nth(n), &header_list(POST, "/v1/chat/completions"));
        let request = [head, frame(DATA, END_STREAM, nth(n), body.as_bytes())].concat();
        write.write_all(&request).await.unwrap();
    }
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let window = frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes());
        while write.write_all(&window).await.is_ok() {
            tick.tick().await;
        }
    });
    soon("the requests", provider.wait_until(|_| provider.ledger().total.requests == 50)).await;
    all_is_quiet(&gateway).await;
    soon("the provider's streams", provider.wait_until(|stats| stats.streams_open == 0)).await;
    dripping.abort();
    reading.abort();
}

#[tokio::test]
async fn a_connection_carries_so_many_requests_and_loses_none() {
    let provider = provider().await;
    let gateway = gateway(provider.address(), "limits: { requests_per_connection: 3 }");
    let mut stream = gateway.client().connect().await;
    for n in 1..=3 {
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let answer = crate::support::read_response(&mut stream).await;
        assert_eq!((answer.status, answer.closes()), (200, n == 3));
    }
    // All good clients: what each connection may carry is over again and again.
    let load = Load::start(gateway.client(), 2);
    load.go_on_for(20).await;
    load.finish().await;
    // Over HTTP/2 the client is told, and what it has begun by then is answered.
    let (mut read, mut write) = connect(gateway.client(), &[]).await;
    for n in 0..3 {
        let head = header_list(GET, "/v1/models");
        write.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, nth(n), &head)).await.unwrap();
    }
    let (mut answered, mut told) = (0, false);
    soon("three answers and a farewell", async {
        while answered < 3 || !told {
            let mut head = [0; 9];
            read.read_exact(&mut head).await.unwrap();
            let [_, high, low, kind, flags, ..] = head;
            let mut payload = vec![0; usize::from(high) << 8 | usize::from(low)];
            read.read_exact(&mut payload).await.unwrap();
            answered += u32::from(kind == DATA && flags & END_STREAM != 0);
            told |= kind == GOAWAY;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_reset_leaves_the_queue() {
    let provider = provider().await;
    let limits = "limits: { concurrent_requests: 1, queue: { size: 9, timeout: 1h } }";
    let gateway = gateway(provider.address(), limits);
    let (read, mut write) = connect(gateway.client(), &[]).await;
    let reading = tokio::spawn(ended(read));
    write.write_all(&endless(1)).await.unwrap();
    soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
    for n in 1..=9 {
        write.write_all(&endless(nth(n))).await.unwrap();
    }
    gateway.until_metric("sluicegate_requests_queued", "", 9.0).await;
    for n in 1..=9 {
        write.write_all(&frame(RST_STREAM, 0, nth(n), &8u32.to_be_bytes())).await.unwrap();
    }
    soon("an empty queue", async {
        while gateway.metric("sluicegate_requests_queued", "").await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(gateway.metric("sluicegate_requests_served", "").await, 1.0);
    write.write_all(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes())).await.unwrap();
    all_is_quiet(&gateway).await;
    assert_eq!(provider.ledger().total.requests, 1, "nobody was there any more");
    reading.abort();
}

/// Whether a connection of `client` is closed without an answer.
async fn is_closed_at_once(client: Client) -> bool {
    let mut stream = client.connect().await;
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.ok();
    soon("an answer or the end", stream.read_u8()).await.is_err()
}

const CLOSED: &str = "sluicegate_connections_refused_total";

#[tokio::test]
async fn whoever_is_cut_off_is_out_for_a_while() {
    let provider = provider().await;
    // One cut-off is more than there is: it takes 50 seconds to be let in again.
    let limits = "limits: { connection_rate_per_ip: { rate: 1, burst: 10, penalty: 60s } }";
    let gateway = gateway(provider.address(), limits);
    let mut open = attacker(&gateway).connect().await;
    let load = Load::start(gateway.client(), 2);
    load.go_on_for(20).await;
    flood(&gateway, Vec::new(), |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())).await;
    for _ in 0..5 {
        assert!(is_closed_at_once(attacker(&gateway)).await);
    }
    let closed = gateway.metric(CLOSED, "reason=\"connection_rate_per_ip\"").await;
    assert_eq!(closed, 5.0);
    // What is open stays so, and the others notice nothing.
    open.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(crate::support::read_response(&mut open).await.status, 200);
    load.go_on_for(20).await;
    load.finish().await;
    assert_eq!(gateway.metric(CLOSED, "").await, 5.0);
}

#[tokio::test]
async fn new_connections_of_one_address_have_a_rate() {
    let provider = provider().await;
    let limits = "limits: { connection_rate_per_ip: { rate: 1, burst: 20 } }";
    let gateway = gateway(provider.address(), limits);
    let mut served = 0;
    soon("the end of one", async {
        while !is_closed_at_once(attacker(&gateway)).await {
            served += 1;
        }
    })
    .await;
    assert!(served >= 20, "{served}");
    assert!(!is_closed_at_once(gateway.client()).await, "another address");
    // It is back before long.
    soon("another one", async { while is_closed_at_once(attacker(&gateway)).await {} }).await;
}

/// What a slow client does for ever, each in its own way.
async fn crawl(client: Client, number: usize) {
    let mut stream = client.connect().await;
    let (first, drop_by_drop): (&[u8], &[u8]) = match number % 4 {
        0 => (b"GET /v1/models HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"),
        1 => (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
              Content-Length: 90000\r\n\r\n{",
            b" ",
        ),
        2 => (b"P", b"O"),
        _ => (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0"),
    };
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    if stream.write_all(first).await.is_err() {
        return;
    }
    while stream.write_all(drop_by_drop).await.is_ok() {
        tick.tick().await;
    }
}

#[tokio::test]
async fn slow_clients_keep_nobody_waiting() {
    let provider = provider().await;
    // Some of them send what is no HTTP/2. They may come again at once, as from many addresses.
    let limits = "limits: { header_timeout: 2s, body_timeout: 2s }";
    let gateway = gateway(provider.address(), limits);
    let mut slow = JoinSet::new();
    for number in 0..400 {
        // Whoever is cut off comes again.
        let client = gateway.client();
        slow.spawn(async move {
            loop {
                crawl(client, number).await;
            }
        });
    }
    soon("the slow ones", async {
        while gateway.metric("sluicegate_connections", "").await < 300.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let load = Load::start(gateway.client(), 2);
    load.go_on_for(300).await;
    load.finish().await;
    slow.shutdown().await;
    all_is_quiet(&gateway).await;
}
