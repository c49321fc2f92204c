//! How long an answer is fresh, by what its header says (RFC 9111 section 4.2).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};
use jiff::Timestamp;

/// The time for which an answer received at `now` is fresh; `None` where it does not say. What
/// can't be read counts as stale already.
pub(super) fn of(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let age = text(headers, &AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    let left = |seconds: u64| Duration::from_secs(seconds.saturating_sub(age));
    cache_control(headers).map(left).or_else(|| {
        let expires = headers.get(EXPIRES)?;
        let expires = expires.to_str().ok().and_then(date);
        let date = text(headers, &DATE).and_then(date).unwrap_or(now);
        let lifetime = expires.map(|expires| expires.duration_since(date).as_secs());
        Some(left(lifetime.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)))
    })
}

/// The least of what `Cache-Control` allows, in seconds.
fn cache_control(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(str::trim);
    directives
        .filter_map(|directive| {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => Some(0),
                "max-age" => Some(argument.trim_matches('"').parse().unwrap_or(0)),
                _ => None,
            }
        })
        .min()
}

fn date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|zoned| zoned.timestamp())
}

fn text<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(headers: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), value.parse().expect("a header value"))
        });
        let now = "2026-11-06T08:00:00Z".parse().expect("a time");
        of(&headers.collect(), now).map(|lifetime| lifetime.as_secs())
    }

    #[test]
    fn the_header_says_how_long_an_answer_is_fresh() {
        for (headers, expected) in [
            (&[][..], None),
            (&[("cache-control", "public, max-age=600, must-revalidate")], Some(600)),
            (&[("cache-control", "Max-Age=\"60\"")], Some(60)),
            (&[("cache-control", "max-age=60, max-age=30")], Some(30)),
            (&[("cache-control", "max-age=60"), ("cache-control", "no-store")], Some(0)),
            (&[("cache-control", "max-age=x")], Some(0)),
            (&[("cache-control", "max-age=-1")], Some(0)),
            (&[("cache-control", "max-age=99999999999999999999999")], Some(0)),
            (&[("cache-control", "max-age=600"), ("age", "100")], Some(500)),
            (&[("cache-control", "max-age=600"), ("age", "700")], Some(0)),
            (&[("cache-control", "private")], None),
            (&[("expires", "Fri, 06 Nov 2026 08:10:00 GMT")], Some(600)),
            (
                &[
                    ("date", "Fri, 06 Nov 2026 08:09:00 GMT"),
                    ("expires", "Fri, 06 Nov 2026 08:10:00 GMT"),
                ],
                Some(60),
            ),
            (&[("expires", "Thu, 01 Jan 1970 00:00:00 GMT")], Some(0)),
            (&[("expires", "0")], Some(0)),
            (
                &[("cache-control", "max-age=5"), ("expires", "Fri, 06 Nov 2026 08:10:00 GMT")],
                Some(5),
            ),
        ] {
            assert_eq!(lifetime(headers), expected, "{headers:?}");
        }
    }
}
