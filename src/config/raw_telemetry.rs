//! The shape of `telemetry`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw::Wait;
use super::valid;

/// What is told of requests to other systems.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Where traces of requests are sent. Default: nowhere, none are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<Traces>,
}

/// Traces of requests, sent by OTLP to a collector of OpenTelemetry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The collector's URL: as in http://otel-collector:4318 for `http`, to which `/v1/traces` is
    /// added, and http://otel-collector:4317 for `grpc`.
    pub endpoint: String,
    /// How it is spoken to. Default: http, protobuf over HTTP.
    pub protocol: Option<TraceProtocol>,
    /// Headers sent with every export. Values may be references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The part of requests that is traced, 0 to 1, where a caller has not decided. Default: 0.1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sampling: Option<f64>,
    /// Whether a caller's `traceparent` decides (`trust`) or counts for nothing (`ignore`).
    /// Default: trust.
    pub parent: Option<TraceParent>,
    /// Requests in each second that are traced because their callers ask, at most; beyond it
    /// `sampling` decides. Default: 100.
    #[schemars(range(max = 1_000_000))]
    pub parent_limit: Option<u32>,
    /// The longest that one export may take, 100ms to 60s. Default: 10s.
    pub timeout: Option<Wait>,
    /// Traced requests that may wait for their export, 16 to 65536. Beyond it traces are dropped.
    /// Default: 2048.
    #[schemars(range(min = 16, max = 65_536))]
    pub queue: Option<usize>,
    /// What the traces call the gateway. Default: sluicegate.
    pub service_name: Option<String>,
    /// More attributes of the gateway, such as `deployment.environment.name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum TraceProtocol {
    Http,
    Grpc,
}

/// What a caller's `traceparent` counts for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum TraceParent {
    Trust,
    Ignore,
}

impl Telemetry {
    /// The effective section; `None` where nothing is configured.
    pub(super) fn of(telemetry: &valid::Telemetry) -> Option<Self> {
        let traces = telemetry.traces.as_ref()?;
        let headers = traces.headers.iter();
        Some(Self {
            traces: Some(Traces {
                endpoint: traces.endpoint.to_string(),
                protocol: Some(match traces.protocol {
                    valid::TraceProtocol::Http => TraceProtocol::Http,
                    valid::TraceProtocol::Grpc => TraceProtocol::Grpc,
                }),
                headers: headers
                    .map(|(name, value)| (name.to_string(), value.reference.to_string()))
                    .collect(),
                sampling: Some(traces.sampling),
                parent: Some(match traces.parent {
                    valid::TraceParent::Trust => TraceParent::Trust,
                    valid::TraceParent::Ignore => TraceParent::Ignore,
                }),
                parent_limit: Some(traces.parent_limit),
                timeout: Some(Wait(traces.timeout)),
                queue: Some(traces.queue),
                service_name: Some(traces.service_name.clone()),
                attributes: traces.attributes.clone(),
            }),
        })
    }
}
