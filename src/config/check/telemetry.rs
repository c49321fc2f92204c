//! `telemetry`: where traces of requests are sent, and of how many.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;

use super::{access, providers, required, section, value};
use crate::config::node::Scalar;
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::url::{self, UrlError};
use crate::config::valid::{BaseUrl, Secret, Telemetry, TraceParent, TraceProtocol, Traces};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["traces"],
    renamed: &[("tracing", "traces"), ("otlp", "traces"), ("opentelemetry", "traces")],
    later: &[],
};

pub(in crate::config) const TRACES: Keys = Keys {
    known: &[
        "endpoint",
        "protocol",
        "headers",
        "sampling",
        "parent",
        "parent_limit",
        "timeout",
        "queue",
        "service_name",
        "attributes",
    ],
    renamed: &[
        ("url", "endpoint"),
        ("collector", "endpoint"),
        ("ratio", "sampling"),
        ("sample_rate", "sampling"),
        ("sampling_ratio", "sampling"),
        ("trust_parent", "parent"),
        ("queue_size", "queue"),
        ("max_queue_size", "queue"),
        ("name", "service_name"),
        ("resource", "attributes"),
        ("resource_attributes", "attributes"),
    ],
    later: &[],
};

const PROTOCOLS: [(&str, TraceProtocol); 2] =
    [("http", TraceProtocol::Http), ("grpc", TraceProtocol::Grpc)];
const PARENTS: [(&str, TraceParent); 2] =
    [("trust", TraceParent::Trust), ("ignore", TraceParent::Ignore)];

const SAMPLING: f64 = 0.1;
const PARENT_LIMIT: u32 = 100;
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const QUEUE: usize = 2048;
const QUEUES: RangeInclusive<u64> = 16..=65_536;
const SERVICE_NAME: &str = "sluicegate";
/// Bytes of a name or a value that every span is sent with.
const MAX_TEXT: usize = 256;
const MAX_ATTRIBUTES: usize = 64;

/// Reads `telemetry`.
pub(super) fn telemetry(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Telemetry {
    let fields = section(reader, at, &KEYS);
    Telemetry { traces: value(reader, fields.as_ref(), "traces", traces) }
}

fn traces(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Traces> {
    let fields = reader.fields(at, &TRACES);
    let protocol = value(reader, Some(&fields), "protocol", |r, at| r.choice(at, &PROTOCOLS));
    let protocol = protocol.unwrap_or(TraceProtocol::Http);
    let hint = match protocol {
        TraceProtocol::Http => "write the collector's URL, as in http://otel-collector:4318",
        TraceProtocol::Grpc => "write the collector's URL, as in http://otel-collector:4317",
    };
    let endpoint = required(reader, at, &fields, "endpoint", hint);
    let endpoint = endpoint.and_then(|at| endpoint_url(reader, &at, protocol));
    let headers = value(reader, Some(&fields), "headers", |reader, at| {
        let exposed = endpoint.as_ref().is_some_and(|it| !it.tls && !url::is_loopback(&it.host));
        if reader.production && exposed {
            let message = "headers over plain http to another host are refused in production";
            reader.wrong(at, message, "use an https:// `endpoint`");
        }
        Some(headers(reader, at))
    });
    let sampling = value(reader, Some(&fields), "sampling", |r, at| r.ratio(at));
    let parent = value(reader, Some(&fields), "parent", |r, at| r.choice(at, &PARENTS));
    let parent_limit =
        value(reader, Some(&fields), "parent_limit", |r, at| r.integer(at, 0..=1_000_000));
    let timeout = value(reader, Some(&fields), "timeout", |r, at| r.duration(at, TIMEOUTS));
    let queue = value(reader, Some(&fields), "queue", |r, at| r.integer(at, QUEUES));
    let service_name = value(reader, Some(&fields), "service_name", short_text);
    let attributes = value(reader, Some(&fields), "attributes", |r, at| Some(attributes(r, at)));
    Some(Traces {
        endpoint: endpoint?,
        protocol,
        headers: headers.unwrap_or_default(),
        sampling: sampling.unwrap_or(SAMPLING),
        parent: parent.unwrap_or(TraceParent::Trust),
        parent_limit: parent_limit.and_then(|n| u32::try_from(n).ok()).unwrap_or(PARENT_LIMIT),
        timeout: timeout.unwrap_or(TIMEOUT),
        queue: queue.and_then(|n| usize::try_from(n).ok()).unwrap_or(QUEUE),
        service_name: service_name.unwrap_or_else(|| SERVICE_NAME.to_owned()),
        attributes: attributes.unwrap_or_default(),
    })
}

fn endpoint_url(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    protocol: TraceProtocol,
) -> Option<BaseUrl> {
    let text = reader.text(at)?;
    match url::parse_base(text) {
        Ok(base) if protocol == TraceProtocol::Grpc && !base.path_prefix.is_empty() => {
            reader.wrong(at, "a path, which gRPC has none of", "write scheme://host:port");
            None
        }
        Ok(base) => Some(base),
        Err(error) => {
            // A password in it must not get into a log.
            let (shown, hint) = match &error {
                UrlError::UserInfo => {
                    ("the URL".to_owned(), "leave them out; credentials go to `headers`")
                }
                UrlError::Query => ("the URL".to_owned(), error.hint()),
                UrlError::Scheme => (
                    at.scalar().map(Scalar::shown).unwrap_or_default(),
                    "write it as in http://otel-collector:4318",
                ),
                _ => (at.scalar().map(Scalar::shown).unwrap_or_default(), error.hint()),
            };
            reader.wrong(at, format!("{shown} {error}"), hint);
            None
        }
    }
}

fn headers(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Vec<(HeaderName, Secret)> {
    let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
    for (text, at) in reader.map(at).all() {
        let Ok(name) = text.parse::<HeaderName>() else {
            let hint = "a name has letters, digits and `-`";
            reader.report.error(at.key, &at.path, "not a valid header name", hint);
            continue;
        };
        if access::is_own(&name) {
            let message = format!("`{name}` is set by the gateway");
            reader.report.error(at.key, &at.path, message, "take it out");
        } else if headers.iter().any(|(other, _)| *other == name) {
            let message = format!("`{name}` stands here already, in other case");
            reader.report.error(at.key, &at.path, message, "take it out");
        } else if let Some(secret) = providers::header_value(reader, &name, &at) {
            use secrecy::ExposeSecret as _;
            if http::HeaderValue::from_str(secret.value.expose_secret()).is_err() {
                reader.wrong(&at, "the value can't stand in a header", "see that it is one line");
                continue;
            }
            headers.push((name, secret));
        }
    }
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    headers
}

fn attributes(reader: &mut Reader<'_>, at: &Cursor<'_>) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    for (name, at) in reader.map(at).all() {
        if name.is_empty() || name.len() > MAX_TEXT || name == "service.name" {
            let hint = "names are as in `deployment.environment.name`; `service.name` is the key \
                        `service_name`";
            reader.report.error(at.key, &at.path, "not an attribute's name", hint);
        } else if attributes.len() == MAX_ATTRIBUTES {
            let hint = format!("there can be {MAX_ATTRIBUTES}");
            reader.report.error(at.key, &at.path, "too many attributes", hint);
            break;
        } else if let Some(text) = short_text(reader, &at) {
            attributes.insert(name.to_owned(), text);
        }
    }
    attributes
}

fn short_text(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<String> {
    let text = reader.text(at)?;
    if text.is_empty() || text.len() > MAX_TEXT {
        reader.wrong(at, "no text, or too much of it", format!("write 1 to {MAX_TEXT} bytes"));
        return None;
    }
    Some(text.to_owned())
}
