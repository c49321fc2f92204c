//! `telemetry`.

use super::*;
use crate::config::valid::{TraceParent, TraceProtocol};

const HEAD: &str = "auth: { anonymous: true }\n";

#[test]
fn an_endpoint_is_enough() {
    assert!(loaded(HEAD).config.telemetry.traces.is_none());
    let text = format!("{HEAD}telemetry: {{ traces: {{ endpoint: \"http://c:4318\" }} }}\n");
    let first = loaded(&text);
    let traces = first.config.telemetry.traces.clone().unwrap();
    assert_eq!(traces.endpoint.to_string(), "http://c:4318");
    assert_eq!((traces.protocol, traces.parent), (TraceProtocol::Http, TraceParent::Trust));
    assert_eq!((traces.sampling, traces.parent_limit, traces.queue), (0.1, 100, 2048));
    assert_eq!(traces.service_name, "sluicegate");
    assert_eq!(loaded(&dump(&first.config)).hash, first.hash);
}

#[test]
fn everything_comes_through_a_dump() {
    let text = format!(
        "{HEAD}telemetry:\n  traces:\n    endpoint: \"https://c.example.com:4317\"\n    \
         protocol: grpc\n    headers: {{ x-scope: sluice }}\n    sampling: 0.25\n    parent: ignore\n    \
         parent_limit: 0\n    timeout: 2s\n    queue: 99\n    service_name: g\n    \
         attributes: {{ deployment.environment.name: test }}\n"
    );
    let first = loaded(&text);
    let dumped = dump(&first.config);
    let again = loaded(&dumped);
    assert_eq!(again.hash, first.hash, "{dumped}");
    assert_eq!(diff(&first.config, &again.config), []);
    let live = loaded(&text.replace("0.25", "1").replace("parent_limit: 0", "parent_limit: 7"));
    let effects: Vec<_> = diff(&first.config, &live.config)
        .iter()
        .map(|change| (change.path.clone(), change.effect))
        .collect();
    let expected = [
        ("telemetry.traces.parent_limit".to_owned(), Effect::Live),
        ("telemetry.traces.sampling".to_owned(), Effect::Live),
    ];
    assert_eq!(effects, expected);
    let elsewhere = loaded(&text.replace("c.example.com", "d.example.com"));
    assert_eq!(diff(&first.config, &elsewhere.config)[0].effect, Effect::Restart);
    assert_eq!(diff(&first.config, &loaded(HEAD).config)[0].effect, Effect::Restart);
}

#[test]
fn what_can_not_be_is_refused() {
    for (traces, expected) in [
        ("{ }", "`endpoint` is missing"),
        ("{ endpoint: \"c:4318\" }", "does not begin with http:// or https://"),
        ("{ endpoint: \"http://u:p@c\" }", "has a user name or password in it"),
        ("{ endpoint: \"http://c/x\", protocol: grpc }", "a path, which gRPC has none of"),
        ("{ endpoint: \"http://c\", protocol: zipkin }", "unknown value `zipkin`"),
        ("{ endpoint: \"http://c\", sampling: 1.5 }", "expected a number from 0 to 1"),
        ("{ endpoint: \"http://c\", sampling: -0.5 }", "expected a number from 0 to 1"),
        ("{ endpoint: \"http://c\", sampling: nan }", "expected a number from 0 to 1"),
        ("{ endpoint: \"http://c\", queue: 0 }", "traces.queue"),
        ("{ endpoint: \"http://c\", headers: { host: x } }", "`host` is set by the gateway"),
        ("{ endpoint: \"http://c\", service_name: \"\" }", "traces.service_name"),
        ("{ endpoint: \"http://c\", attributes: { service.name: x } }", "not an attribute's name"),
        ("{ url: \"http://c\" }", "it is called `endpoint` here"),
    ] {
        let text = format!("{HEAD}telemetry: {{ traces: {traces} }}\n");
        let found = problems(&text);
        assert!(found.iter().any(|line| line.contains(expected)), "{traces}: {found:?}");
    }
    let text = PRODUCTION.to_owned()
        + "telemetry: { traces: { endpoint: \"http://c:4318\", headers: { x-key: env:OPENAI_API_KEY } } }\n";
    let found = problems(&text);
    let expected = "headers over plain http to another host are refused in production";
    assert!(found.iter().any(|line| line.contains(expected)), "{found:?}");
}
