//! `limits`, `shutdown` and `workers`: how much and how long.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{required, section, value};
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::report;
use crate::config::valid::{
    ConnectionRate, Limits, Queue, RequestsPerIp, RouteLimits, Shutdown, Workers,
};
use crate::dialects::Endpoint;

pub(in crate::config) const LIMITS: Keys = Keys {
    known: &[
        "request_size",
        "header_timeout",
        "body_timeout",
        "keepalive_timeout",
        "write_timeout",
        "connections_per_ip",
        "connections",
        "connection_rate_per_ip",
        "requests_per_ip",
        "requests_per_connection",
        "concurrent_requests",
        "queue",
        "buffered_bytes",
        "header_size",
        "routes",
    ],
    renamed: &[
        ("max_request_size", "request_size"),
        ("max_request_size_mb", "request_size"),
        ("max_request_size_bytes", "request_size"),
        ("body_size", "request_size"),
        ("max_body_size", "request_size"),
        ("request_timeout", "body_timeout"),
        ("idle_timeout", "keepalive_timeout"),
        ("keepalive", "keepalive_timeout"),
        ("keep_alive_timeout", "keepalive_timeout"),
        ("send_timeout", "write_timeout"),
        ("max_connections", "connections"),
        ("max_connections_per_ip", "connections_per_ip"),
        ("connection_rate", "connection_rate_per_ip"),
        ("connections_rate_per_ip", "connection_rate_per_ip"),
        ("max_header_size", "header_size"),
        ("rate_limit", "requests_per_ip"),
        ("rate_per_ip", "requests_per_ip"),
        ("keepalive_requests", "requests_per_connection"),
        ("max_requests_per_connection", "requests_per_connection"),
        ("concurrency", "concurrent_requests"),
        ("max_concurrent_requests", "concurrent_requests"),
        ("max_in_flight", "concurrent_requests"),
        ("queue_size", "queue.size"),
        ("queue_timeout", "queue.timeout"),
        ("memory", "buffered_bytes"),
        ("max_buffered_bytes", "buffered_bytes"),
        ("endpoints", "routes"),
    ],
    later: &[],
};

pub(in crate::config) const ROUTE: Keys = Keys {
    known: &["request_size"],
    renamed: &[("max_request_size", "request_size"), ("body_size", "request_size")],
    later: &[],
};

pub(in crate::config) const REQUESTS_PER_IP: Keys = Keys {
    known: &["rate", "burst"],
    renamed: &[("per_second", "rate"), ("requests", "rate"), ("size", "burst")],
    later: &[],
};

pub(in crate::config) const CONNECTION_RATE: Keys = Keys {
    known: &["rate", "burst", "penalty"],
    renamed: &[
        ("per_second", "rate"),
        ("connections", "rate"),
        ("size", "burst"),
        ("ban", "penalty"),
    ],
    later: &[],
};

pub(in crate::config) const QUEUE: Keys = Keys {
    known: &["size", "timeout"],
    renamed: &[("length", "size"), ("capacity", "size"), ("wait", "timeout")],
    later: &[],
};

pub(in crate::config) const SHUTDOWN: Keys = Keys {
    known: &["timeout"],
    renamed: &[("grace_period", "timeout"), ("drain", "timeout"), ("timeout_seconds", "timeout")],
    later: &[],
};

pub(in crate::config) const WORKERS: Keys = Keys {
    known: &["threads"],
    renamed: &[("count", "threads"), ("num_workers", "threads")],
    later: &[],
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const REQUEST_SIZES: RangeInclusive<u64> = 1..=GIB;
const BUFFERED_BYTES: RangeInclusive<u64> = MIB..=1024 * GIB;

/// Any wait of a connection: long enough to be met, short enough to end.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// Reads `limits`.
pub(super) fn limits(reader: &mut Reader<'_>, at: Option<Cursor<'_>>) -> Limits {
    let fields = section(reader, at.as_ref(), &LIMITS);
    let fields = fields.as_ref();
    let mut timeout = |key, default| {
        value(reader, fields, key, |reader, at| reader.duration(at, TIMEOUTS))
            .unwrap_or(Duration::from_secs(default))
    };
    let header_timeout = timeout("header_timeout", 10);
    let body_timeout = timeout("body_timeout", 30);
    let keepalive_timeout = timeout("keepalive_timeout", 60);
    let write_timeout = timeout("write_timeout", 30);
    let mut count = |key, most, default| {
        value(reader, fields, key, |reader, at| reader.integer(at, 1..=most))
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(default)
    };
    let connections_per_ip = count("connections_per_ip", 1_000_000, 1_000);
    let connections = count("connections", 1_000_000, 20_000);
    let concurrent_requests = fields.and_then(|fields| fields.get("concurrent_requests"));
    let concurrent_requests = concurrent_requests.and_then(|at| reader.integer(&at, 1..=1_000_000));
    let per_connection = value(reader, fields, "requests_per_connection", |reader, at| {
        reader.integer(at, 2..=1_000_000)
    });
    let queue_at = fields.and_then(|fields| fields.get("queue"));
    let header_size = value(reader, fields, "header_size", |r, at| r.size(at, KIB..=MIB));
    let request_size = value(reader, fields, "request_size", |r, at| r.size(at, REQUEST_SIZES));
    let request_size = request_size.unwrap_or(MIB);
    let routes = value(reader, fields, "routes", routes).unwrap_or_default();
    let largest = routes.values().map(|route| route.request_size).fold(request_size, u64::max);
    Limits {
        request_size,
        header_timeout,
        body_timeout,
        keepalive_timeout,
        write_timeout,
        connections_per_ip,
        connections,
        connection_rate_per_ip: value(reader, fields, "connection_rate_per_ip", connection_rate),
        requests_per_ip: value(reader, fields, "requests_per_ip", requests_per_ip),
        requests_per_connection: per_connection.and_then(|count| count.try_into().ok()),
        concurrent_requests: concurrent_requests.and_then(|count| count.try_into().ok()),
        queue: queue(reader, queue_at.as_ref()),
        buffered_bytes: value(reader, fields, "buffered_bytes", |reader, at| {
            buffered_bytes(reader, at, largest)
        }),
        header_size: header_size.and_then(|size| size.try_into().ok()).unwrap_or(64 * 1024),
        routes,
    }
}

/// Seconds that an address may be silent and then catch up on.
const BURST_SECONDS: u64 = 10;

/// `rate`, which must be there, and `burst`.
fn rate(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    fields: &Fields<'_>,
    hint: &str,
) -> Option<(u64, u64)> {
    let rate = required(reader, at, fields, "rate", hint);
    let rate = rate.and_then(|at| reader.integer(&at, 1..=1_000_000));
    let burst = value(reader, Some(fields), "burst", |r, at| r.integer(at, 1..=10_000_000));
    rate.map(|rate| (rate, burst.unwrap_or(rate * BURST_SECONDS)))
}

fn requests_per_ip(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<RequestsPerIp> {
    let fields = reader.fields(at, &REQUESTS_PER_IP);
    let hint = "write the requests a second, as in `{ rate: 100 }`";
    let (rate, burst) = rate(reader, at, &fields, hint)?;
    Some(RequestsPerIp { rate, burst })
}

/// So much that an address that goes on is out, and so little that others behind it are soon back.
const PENALTY: Duration = Duration::from_secs(2);

fn connection_rate(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<ConnectionRate> {
    let fields = reader.fields(at, &CONNECTION_RATE);
    let hint = "write the new connections a second, as in `{ rate: 500 }`";
    let limit = rate(reader, at, &fields, hint);
    let longest = Duration::ZERO..=Duration::from_secs(60);
    let penalty = value(reader, Some(&fields), "penalty", |r, at| r.duration(at, longest));
    let (rate, burst) = limit?;
    Some(ConnectionRate { rate, burst, penalty: penalty.unwrap_or(PENALTY) })
}

fn queue(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Queue {
    let fields = section(reader, at, &QUEUE);
    let size = value(reader, fields.as_ref(), "size", |r, at| r.integer(at, 0..=1_000_000));
    let timeout = value(reader, fields.as_ref(), "timeout", |r, at| r.duration(at, TIMEOUTS));
    Queue {
        size: size.and_then(|size| size.try_into().ok()).unwrap_or(1_000),
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
    }
}

/// The largest body must fit where no other is held.
fn buffered_bytes(reader: &mut Reader<'_>, at: &Cursor<'_>, largest: u64) -> Option<u64> {
    let bytes = reader.size(at, BUFFERED_BYTES)?;
    if bytes < largest {
        let message = "less than the largest request body";
        reader.wrong(at, message, format!("make it {largest}B or more, or bodies smaller"));
    }
    Some(bytes)
}

/// Where the tools of all MCP servers are, and below which those of each.
const MCP: &str = "/mcp";

fn routes(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<BTreeMap<String, RouteLimits>> {
    let mut routes = BTreeMap::new();
    for (path, at) in reader.map(at).all() {
        if Endpoint::from_path(path).is_none() && path != MCP {
            let paths = || Endpoint::ALL.into_iter().map(Endpoint::path).chain([MCP]);
            let hint = match report::nearest(path, paths()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", report::list(paths())),
            };
            reader.report.error(at.key, &at.path, "not an endpoint that takes requests", hint);
            continue;
        }
        let fields = reader.fields(&at, &ROUTE);
        let size = value(reader, Some(&fields), "request_size", |r, at| r.size(at, REQUEST_SIZES));
        if let Some(request_size) = size {
            routes.insert(path.to_owned(), RouteLimits { request_size });
        }
    }
    Some(routes)
}

/// Reads `shutdown`.
pub(super) fn shutdown(reader: &mut Reader<'_>, at: Option<Cursor<'_>>) -> Shutdown {
    let fields = section(reader, at.as_ref(), &SHUTDOWN);
    let range = Duration::ZERO..=Duration::from_secs(3600);
    let timeout = value(reader, fields.as_ref(), "timeout", |r, at| r.duration(at, range));
    Shutdown { timeout: timeout.unwrap_or(Duration::from_secs(30)) }
}

/// Reads `workers`.
pub(super) fn workers(reader: &mut Reader<'_>, at: Option<Cursor<'_>>) -> Workers {
    let fields = section(reader, at.as_ref(), &WORKERS);
    let threads = value(reader, fields.as_ref(), "threads", |r, at| r.integer(at, 1..=1024));
    let threads = threads.and_then(|threads| usize::try_from(threads).ok());
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Workers { threads: threads.unwrap_or_else(cores) }
}
