//! `providers.<name>.health_check`: how a provider is asked whether it is well.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::value;
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::valid::{BaseUrl, Expect, HealthCheck};
use crate::providers::dialect::ProviderDialect;

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["path", "interval", "timeout", "unhealthy_after", "healthy_after", "expect"],
    renamed: &[
        ("url", "path"),
        ("every", "interval"),
        ("unhealthy_threshold", "unhealthy_after"),
        ("healthy_threshold", "healthy_after"),
        ("status", "expect"),
    ],
    later: &[],
};

const EXPECT: [(&str, Expect); 2] = [("2xx", Expect::Success), ("below_500", Expect::Below500)];

/// More often is a load of its own.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);

/// Reads the `health_check` of a provider that speaks `dialect` at `base`.
pub(super) fn health_check(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    base: &BaseUrl,
    dialect: ProviderDialect,
) -> HealthCheck {
    let fields = reader.fields(at, &KEYS);
    let fields = Some(&fields);
    let path = value(reader, fields, "path", path);
    let interval = value(reader, fields, "interval", |r, at| r.duration(at, INTERVALS));
    let timeout = value(reader, fields, "timeout", |r, at| r.duration(at, TIMEOUTS));
    let mut count = |key, default| {
        let count = value(reader, fields, key, |r, at| r.integer(at, 1..=100));
        count.and_then(|count| u32::try_from(count).ok()).unwrap_or(default)
    };
    HealthCheck {
        path: path.unwrap_or_else(|| {
            // Only a base of OpenAI's dialect has a version in it.
            let models = match dialect {
                ProviderDialect::OpenAi => "/models",
                ProviderDialect::Anthropic => "/v1/models",
                ProviderDialect::AzureOpenAi => "/openai/v1/models",
                ProviderDialect::Gemini => "/v1beta/models",
                // They have none; whoever answers at all is there.
                ProviderDialect::Vertex | ProviderDialect::Bedrock => "/",
            };
            format!("{}{models}", base.path_prefix)
        }),
        interval: interval.unwrap_or(Duration::from_secs(10)),
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
        unhealthy_after: count("unhealthy_after", 3),
        healthy_after: count("healthy_after", 2),
        expect: value(reader, fields, "expect", |r, at| r.choice(at, &EXPECT)).unwrap_or({
            match dialect {
                ProviderDialect::Vertex | ProviderDialect::Bedrock => Expect::Below500,
                _ => Expect::default(),
            }
        }),
    }
}

fn path(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<String> {
    let path = reader.text(at)?;
    if !path.starts_with('/') || path.parse::<PathAndQuery>().is_err() || path.contains('#') {
        reader.wrong(at, "not a path", "write it from the root of the host, as in /v1/models");
        return None;
    }
    Some(path.to_owned())
}
