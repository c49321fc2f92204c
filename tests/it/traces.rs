//! Traces: what a collector gets of a request, and that no collector is in a request's way.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::collector::{Collector, attribute};
use crate::support::{Config, Gateway, chat, free_address, provider, soon};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The configuration's lines; `more` are keys of `traces`.
fn traces(endpoint: &str, more: &str) -> String {
    format!("telemetry:\n  traces: {{ endpoint: \"{endpoint}\", {more} }}\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parent(sampled: bool) -> String {
    format!("traceparent: 00-{TRACE}-{CALLER}-0{}\r\n", u8::from(sampled))
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind() == kind).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

#[track_caller]
fn has(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(attribute(span, name).as_deref(), Some(*value), "{name}: {span:#?}");
    }
}

/// From the caller over the gateway to the provider, and to the collector by both protocols.
#[tokio::test]
async fn a_trace_goes_from_the_caller_to_the_provider() {
    let (collector, provider) = (Collector::start().await, provider().await);
    for (protocol, endpoint) in [("http", collector.http()), ("grpc", collector.grpc())] {
        let before = collector.spans(0).await.len();
        let more = format!(
            "protocol: {protocol}, sampling: 0, service_name: gate, attributes: {{ zone: a }}"
        );
        let store = "store: { sqlite: { path: \":memory:\" } }\n\
                     admin: { master_key: env:MASTER_KEY }";
        let config = Config::for_provider(provider.address());
        let head = config.head.replace("auth: { anonymous: true }\n", "");
        let config = Config { head, ..config }.with(&traces(&endpoint, &more)).with(store);
        let gateway = Gateway::start(&config);
        let team = gateway.admin("POST", "/team/new", &json!({"team_alias": "red"})).await;
        let team = team.json()["team_id"].as_str().unwrap().to_owned();
        let key = gateway.key(&json!({"team_id": team})).await;
        let requests = provider.requests().len();
        let headers = format!(
            "Authorization: Bearer {key}\r\n{}tracestate: rojo=1\r\ntracestate: congo=2\r\n",
            parent(true)
        );
        let path = "/v1/chat/completions";
        let answer = gateway.client().post_with(path, &headers, &chat(true, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());

        let spans = collector.spans(before + 7).await.split_off(before);
        assert_eq!(spans.len(), 7, "{spans:#?}");
        assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
        assert!(spans.iter().all(|span| span.trace_state == "rojo=1,congo=2"), "{spans:#?}");
        let server = named(&spans, "POST /v1/chat/completions");
        assert_eq!(
            (server.kind(), hex(&server.parent_span_id).as_str()),
            (SpanKind::Server, CALLER)
        );
        let id = answer.header("x-request-id").unwrap();
        has(
            server,
            &[
                ("http.request.method", "POST"),
                ("http.route", path),
                ("http.response.status_code", "200"),
                ("sluicegate.request_id", id),
                ("sluicegate.caller", "key"),
                ("sluicegate.team", &team),
                ("sluicegate.model", "sim-1"),
                ("sluicegate.attempts", "1"),
                ("sluicegate.end", "complete"),
            ],
        );
        assert!(attribute(server, "sluicegate.key").is_some());
        for name in ["screen", "identify", "read body", "authorize", "admit"] {
            let phase = named(&spans, name);
            assert_eq!(phase.kind(), SpanKind::Internal);
            assert_eq!(phase.parent_span_id, server.span_id, "{name}");
            assert!(phase.start_time_unix_nano >= server.start_time_unix_nano, "{name}");
            assert!(phase.end_time_unix_nano <= server.end_time_unix_nano, "{name}");
        }
        let call = named(&spans, "chat sim-1");
        assert_eq!((call.kind(), &call.parent_span_id), (SpanKind::Client, &server.span_id));
        has(
            call,
            &[
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.provider.name", "sim"),
                ("gen_ai.request.model", "sim-1"),
                ("gen_ai.response.model", "sim-1"),
                ("gen_ai.response.finish_reasons", "stop"),
                ("http.response.status_code", "200"),
                ("sluicegate.stream", "true"),
            ],
        );
        assert!(attribute(call, "gen_ai.usage.input_tokens").is_some(), "{call:#?}");
        assert!(attribute(call, "gen_ai.usage.output_tokens").is_some(), "{call:#?}");
        assert_eq!(call.events[0].name, "gen_ai.first_token");
        assert!(call.events[0].time_unix_nano <= call.end_time_unix_nano);

        // The provider was told the span that called it.
        let told = &provider.requests()[requests].headers;
        let expected = format!("00-{TRACE}-{}-01", hex(&call.span_id));
        assert_eq!(told["traceparent"], expected);
        let states: Vec<_> = told.get_all("tracestate").iter().collect();
        assert_eq!(states, ["rojo=1,congo=2"]);

        assert_eq!(collector.resource("service.name").as_deref(), Some("gate"));
        assert_eq!(collector.resource("zone").as_deref(), Some("a"));
        gateway.until_metric("sluicegate_traces_exported_total", "sent", 1.0).await;
        let shown = format!("{spans:?}");
        assert!(!shown.contains(&key) && !shown.contains("sk-") && !shown.contains("Hello"));
        let log = gateway.stop().await;
        let line = log.iter().find(|line| line["request_id"] == id).unwrap();
        assert_eq!(line["trace_id"], TRACE);
    }
}

/// Each attempt is a span of its own; a refusal says which phase and why.
#[tokio::test]
async fn attempts_and_refusals_are_told_apart() {
    let (collector, provider) = (Collector::start().await, provider().await);
    let mut config = Config::for_provider(provider.address())
        .with(&traces(&collector.http(), "sampling: 1.0"))
        .with_models(
            "  m:\n    targets:\n      - { provider: dead, model: gone, priority: 1 }\n      \
             - { provider: sim, model: sim-1, priority: 2 }\n",
        );
    let dead = free_address();
    config.providers.push_str(&format!(
        "  dead: {{ dialect: openai, base_url: \"http://{dead}/v1\", api_key: \"env:SIM_KEY\" }}\n"
    ));
    let gateway = Gateway::start(&config);
    let mut body = chat(false, "");
    body["model"] = json!("m");
    // What is no `traceparent` begins a trace, and is no error.
    let hostile = "traceparent: 00-00000000000000000000000000000000-0000000000000000-01\r\n";
    let answer = gateway.client().post_with("/v1/chat/completions", hostile, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let spans = collector.spans(8).await;
    let calls = of_kind(&spans, SpanKind::Client);
    assert_eq!(calls.len(), 2, "{spans:#?}");
    assert_ne!(calls[0].span_id, calls[1].span_id);
    has(calls[0], &[("sluicegate.provider", "dead"), ("error.type", "unreachable")]);
    has(calls[1], &[("sluicegate.provider", "sim"), ("http.response.status_code", "200")]);
    assert_eq!(attribute(calls[1], "error.type"), None);
    let server = of_kind(&spans, SpanKind::Server)[0];
    assert!(server.parent_span_id.is_empty(), "{server:#?}");
    has(server, &[("sluicegate.attempts", "2")]);
    let told =
        provider.requests().last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    assert_eq!(told, format!("00-{}-{}-01", hex(&server.trace_id), hex(&calls[1].span_id)));

    let mut long = chat(false, "");
    long["model"] = json!("nobody");
    let before = collector.spans(0).await.len();
    let refused = gateway.client().post("/v1/chat/completions", &long).await;
    assert_eq!(refused.status, 404);
    let spans = collector.spans(before + 4).await.split_off(before);
    let server = of_kind(&spans, SpanKind::Server)[0];
    has(server, &[("sluicegate.denial", "model_not_found"), ("sluicegate.end", "refused")]);
    assert!(of_kind(&spans, SpanKind::Client).is_empty());
}

/// A caller that records nothing decides so for its request, and its trace goes on to the provider.
#[tokio::test]
async fn sampling_is_the_callers_then_chance_and_changes_with_a_reload() {
    let (collector, provider) = (Collector::start().await, provider().await);
    let with = |more: &str| {
        Config::for_provider(provider.address()).with(&traces(&collector.http(), more))
    };
    let gateway = Gateway::start(&with("sampling: 0"));
    let path = "/v1/chat/completions";
    let call = async |headers: &str| {
        let answer = gateway.client().post_with(path, headers, &chat(false, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        provider.requests().last().unwrap().headers.clone()
    };
    for _ in 0..20 {
        assert!(!call("").await.contains_key("traceparent"));
    }
    let told = call(&parent(false)).await;
    assert_eq!(told["traceparent"], format!("00-{TRACE}-{CALLER}-00"));
    assert!(!call("traceparent: nonsense\r\ntracestate: a=1\r\n").await.contains_key("tracestate"));

    gateway.rewrite_config(&with("sampling: 1.0, parent_limit: 1"));
    gateway.await_log("configuration in force");
    assert!(call("").await.contains_key("traceparent"));
    let spans = collector.spans(7).await;
    assert_eq!(of_kind(&spans, SpanKind::Server).len(), 1, "{spans:#?}");
    assert_ne!(hex(&spans[0].trace_id), TRACE);

    // Callers' wishes have an end in each second.
    gateway.rewrite_config(&with("sampling: 0.0, parent_limit: 1"));
    gateway.await_log("configuration in force");
    let mut over = 0.0;
    while over < 1.0 {
        call(&parent(true)).await;
        over = gateway.metric("sluicegate_traces_parent_limited_total", "").await;
    }

    // Where nobody is trusted, a caller's trace is no trace.
    gateway.rewrite_config(&with("sampling: 0.0, parent: ignore"));
    gateway.await_log("configuration in force");
    assert!(!call(&parent(true)).await.contains_key("traceparent"));
    gateway.stop().await;
}

/// A collector that refuses connections, and one that takes them and says nothing.
#[tokio::test]
async fn no_collector_is_in_a_requests_way() {
    let provider = provider().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hole = format!("http://{}", silent.local_addr().unwrap());
    let dead = format!("http://{}", free_address());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            kept.push(connection);
        }
    });
    for (endpoint, protocol) in [(&dead, "http"), (&dead, "grpc"), (&hole, "http"), (&hole, "grpc")]
    {
        // The timeout is longer than a test's patience: only the queue is in between.
        let more = format!("protocol: {protocol}, sampling: 1, queue: 16, timeout: 60s");
        let config = Config::for_provider(provider.address()).with(&traces(endpoint, &more));
        let gateway = Gateway::start(&config);
        for n in 0..700 {
            let answer = soon("an answer", gateway.client().get("/v1/models")).await;
            assert_eq!(answer.status, 200, "{endpoint} {protocol} {n}");
        }
        let answer = gateway.client().post("/v1/chat/completions", &chat(true, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let lost = gateway.metric("sluicegate_traces_exported_total", "failed").await
            + gateway.metric("sluicegate_traces_dropped_total", "").await;
        if endpoint == &hole {
            assert!(lost > 0.0, "{protocol}: what finds no room is counted");
        }
        assert_eq!(gateway.metric("sluicegate_traces_exported_total", "sent").await, 0.0);
        // Within the patience of a test, and so sooner than the export's timeout.
        let log = gateway.stop().await;
        assert_eq!(log.len(), 701);
        assert!(log.iter().all(|line| line["trace_id"].as_str().is_some_and(|id| id.len() == 32)));
    }
}

/// Takes every export, and answers it late.
async fn slow(by: Duration) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let service = service_fn(move |request: Request<Incoming>| async move {
                request.into_body().collect().await.unwrap();
                tokio::time::sleep(by).await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                builder.serve_connection(TokioIo::new(connection), service).await.ok();
            });
        }
    });
    address
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Beside a gateway whose collector is quick, with the same traces: they are asked in turn, so that whatever else
/// the machine does slows all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_dead_collector_costs_a_request_nothing() {
    const REQUESTS: usize = 150;
    let (collector, provider) = (Collector::start().await, provider().await);
    let endpoints = [
        collector.http(),
        format!("http://{}", slow(Duration::from_secs(1)).await),
        format!("http://{}", free_address()),
    ];
    let gateways = endpoints.map(|endpoint| {
        // Each second brings more than the queue takes: a slow collector's is full nearly all the time.
        let traces = traces(&endpoint, "sampling: 1, queue: 16");
        Gateway::start(&Config::for_provider(provider.address()).with(&traces))
    });
    // By how much the others may be slower: far less than a collector takes. The best of three tries counts, as the
    // machine's pauses may hit one more than another.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..REQUESTS {
            for (gateway, times) in gateways.iter().zip(&mut times) {
                let asked = Instant::now();
                let answer = gateway.client().post("/v1/chat/completions", &chat(false, "")).await;
                times.push(asked.elapsed());
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
        let [quick, slow, dead] = times.each_mut().map(|times| median(times));
        seen.push((quick, slow, dead));
        if slow.max(dead) <= quick * 3 / 2 + Duration::from_millis(1) {
            break;
        }
    }
    let (quick, slow, dead) = seen[seen.len() - 1];
    assert!(slow.max(dead) <= quick * 3 / 2 + Duration::from_millis(1), "{seen:?}");
    let [_, slow, _] = &gateways;
    // A machine that is slow itself has not filled its queue yet.
    soon("a full queue", async {
        while slow.metric("sluicegate_traces_dropped_total", "").await == 0.0 {
            for _ in 0..20 {
                slow.client().post("/v1/chat/completions", &chat(false, "")).await;
            }
        }
    })
    .await;
    let [quick, ..] = &gateways;
    assert_eq!(quick.metric("sluicegate_traces_exported_total", "failed").await, 0.0);
}

/// What is in the queue when the process leaves is sent.
#[tokio::test]
async fn the_last_traces_leave_with_the_process() {
    let (collector, provider) = (Collector::start().await, provider().await);
    let config = Config::for_provider(provider.address())
        .with(&traces(&collector.grpc(), "protocol: grpc, sampling: 1"));
    let gateway = Gateway::start(&config);
    for _ in 0..3 {
        assert_eq!(gateway.client().get("/v1/models").await.status, 200);
    }
    gateway.stop().await;
    let spans = collector.spans(9).await;
    assert_eq!(of_kind(&spans, SpanKind::Server).len(), 3, "{spans:#?}");
}

/// Takes everything by either protocol, and says that it has rejected two spans of each export.
async fn picky() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async {
                let grpc = request.headers().get("content-type").unwrap() == "application/grpc";
                let path = request.uri().path().to_owned();
                let mut taken = request.into_body().collect().await.unwrap().to_bytes();
                if grpc {
                    assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
                    taken = taken.slice(5..);
                }
                ExportTraceServiceRequest::decode(taken).unwrap();
                let partial = ExportTracePartialSuccess {
                    rejected_spans: 2,
                    error_message: "attribute too long".to_owned(),
                };
                let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
                let mut answer = answer.encode_to_vec();
                if grpc {
                    let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
                    answer.splice(0..0, [0].into_iter().chain(length));
                }
                let trailers = grpc.then(|| {
                    Ok(HeaderMap::from_iter([(
                        HeaderName::from_static("grpc-status"),
                        HeaderValue::from_static("0"),
                    )]))
                });
                let body = Full::new(Bytes::from(answer)).with_trailers(async { trailers });
                Ok::<_, Infallible>(Response::new(body))
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                builder.serve_connection(TokioIo::new(connection), service).await.ok();
            });
        }
    });
    address
}

/// What a collector rejects is lost, and does not count as sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_the_collector_rejects_are_counted_as_lost() {
    let (provider, collector) = (provider().await, picky().await);
    for protocol in ["http", "grpc"] {
        let more = format!("protocol: {protocol}, sampling: 1");
        let endpoint = format!("http://{collector}");
        let config = Config::for_provider(provider.address()).with(&traces(&endpoint, &more));
        let gateway = Gateway::start(&config);
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let line = gateway.await_log("the collector rejects some of the spans");
        assert_eq!(line["spans"], 2);
        gateway.until_metric("sluicegate_trace_spans_lost_total", "rejected", 2.0).await;
        gateway.until_metric("sluicegate_traces_exported_total", "partial", 1.0).await;
        assert_eq!(gateway.metric("sluicegate_traces_exported_total", "sent").await, 0.0);
        assert_eq!(gateway.metric("sluicegate_traces_exported_total", "failed").await, 0.0);
        gateway.stop().await;
    }
}
