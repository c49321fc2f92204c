//! What the filters cost a request: each alone, and all together.
//!
//! The request is what an SDK sends: a POST with a dozen headers.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::request::Parts;
use http::{HeaderName, Request};
use sluicegate_filters::identify::{Accepts, Identify};
use sluicegate_filters::screen::{
    BodyLimit, Cors, CorsConfig, Framing, HeaderPolicy, Methods, Origins, RequestSize, Route,
};
use sluicegate_filters::{Connection, Pipeline};

const TARGET: &str = "/v1/chat/completions";
const KEY: &str = "sk-0123456789abcdef0123456789abcdef0123456789abcdef";
const APP: &str = "https://app.example.com";

fn head() -> Parts {
    Request::post(TARGET)
        .header("host", "gateway.example.com:8080")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate")
        .header("connection", "keep-alive")
        .header("user-agent", "OpenAI/Python 2.8.1")
        .header("x-stainless-lang", "python")
        .header("x-stainless-package-version", "2.8.1")
        .header("x-stainless-os", "Linux")
        .header("x-stainless-runtime", "CPython")
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .header("content-length", "1024")
        .body(())
        .expect("a valid request")
        .into_parts()
        .0
}

fn head_of_page() -> Parts {
    let mut head = head();
    head.headers.insert("origin", APP.parse().expect("a valid header value"));
    head
}

fn cors() -> Cors {
    let origins = [APP, "https://admin.example.com", "http://localhost:3000"];
    let list = origins.map(str::to_owned).to_vec();
    Cors::new(CorsConfig::new(Origins::List(list))).expect("valid origins")
}

fn sizes() -> RequestSize {
    RequestSize::new(1 << 20, [("/v1/responses", 8 << 20)]).expect("known paths")
}

fn pipeline() -> Pipeline {
    Pipeline {
        framing: Framing::default(),
        methods: Methods,
        cors: cors(),
        size: sizes(),
        headers: HeaderPolicy::new([HeaderName::from_static("openai-project")])
            .expect("permitted names"),
        identify: Identify::new(false, Some(KEY), Accepts::default()).expect("a usable key"),
        authorize: sluicegate_filters::authorize::Authorize::open(),
    }
}

fn each(c: &mut Criterion) {
    let connection = Connection::http1(TARGET.as_bytes());
    let pipeline = pipeline();
    let (head, page) = (head(), head_of_page());
    let route = Route::Inference(TARGET);

    let mut group = c.benchmark_group("filter");
    group.bench_function("framing", |b| {
        b.iter(|| pipeline.framing.screen(black_box(&head), &connection));
    });
    group.bench_function("methods", |b| {
        b.iter(|| pipeline.methods.resolve(black_box(&head)));
    });
    group.bench_function("cors without origin", |b| {
        b.iter(|| pipeline.cors.grant(black_box(&head)));
    });
    group.bench_function("cors of a page", |b| {
        b.iter(|| pipeline.cors.grant(black_box(&page)));
    });
    group.bench_function("size", |b| {
        b.iter(|| pipeline.size.screen(&route, black_box(&head), Some(1024)));
    });
    let limit: BodyLimit = pipeline.size.check_declared(&route, None).expect("no length");
    group.bench_function("size of a chunk", |b| {
        b.iter(|| limit.admit(black_box(65_536)));
    });
    group.bench_function("headers", |b| {
        b.iter(|| pipeline.headers.forwarded(black_box(&head)).count());
    });
    group.bench_function("identify", |b| {
        b.iter(|| pipeline.identify(black_box(&head)));
    });
    group.finish();
}

fn whole(c: &mut Criterion) {
    let connection = Connection::http1(TARGET.as_bytes());
    let pipeline = pipeline();
    let (head, page) = (head(), head_of_page());

    let mut group = c.benchmark_group("screen");
    group.bench_function("accepted", |b| {
        b.iter(|| pipeline.screen(black_box(&head), &connection));
    });
    group.bench_function("accepted, of a page", |b| {
        b.iter(|| pipeline.screen(black_box(&page), &connection));
    });
    group.finish();
}

criterion_group!(benches, each, whole);
criterion_main!(benches);
