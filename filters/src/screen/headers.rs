//! Which headers pass: to the provider, back to the client, and on the gateway's own answers.
//!
//! To a provider only what is on a list passes, so that a credential, an internal address or a
//! header that nobody thought of stays here. From a provider everything passes but what is about its
//! connection, its site or its browser policy.
//!
//! A name with an underscore never passes. Behind CGI-like servers `x_api_key` and `x-api-key` are
//! one name, so it could carry in what was taken out.

use std::collections::HashSet;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, request};

/// On every answer that the gateway itself makes. Answers hold prompts or say who may do what, and
/// are never a page.
pub static SECURITY_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
];

/// The header rules of one configuration generation.
#[derive(Clone, Debug, Default)]
pub struct HeaderPolicy {
    extra: HashSet<HeaderName>,
}

/// A header was configured to be forwarded that must never be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` can never be forwarded to a provider: {reason}")]
pub struct HeaderPolicyError {
    pub name: HeaderName,
    pub reason: &'static str,
}

impl HeaderPolicy {
    /// The built-in list, and more request headers to forward.
    ///
    /// # Errors
    ///
    /// [`HeaderPolicyError`] for the first name that must never be forwarded.
    pub fn new(extra: impl IntoIterator<Item = HeaderName>) -> Result<Self, HeaderPolicyError> {
        let extra: HashSet<HeaderName> = extra.into_iter().collect();
        for name in &extra {
            if let Some(reason) = never_forwarded(name.as_str()) {
                return Err(HeaderPolicyError { name: name.clone(), reason });
            }
        }
        Ok(Self { extra })
    }

    /// Whether a request header of this name may go to a provider. A header that `Connection` names
    /// may not, whatever its name: use [`forwarded`](Self::forwarded) for a whole head.
    pub fn forwards(&self, name: &HeaderName) -> bool {
        forwarded_by_default(name.as_str()) || (!self.extra.is_empty() && self.extra.contains(name))
    }

    /// The request headers that go to a provider.
    pub fn forwarded<'a>(
        &'a self,
        head: &'a request::Parts,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        let named = names_headers(&head.headers);
        head.headers.iter().filter(move |(name, _)| {
            self.forwards(name) && !(named && named_by_connection(&head.headers, name))
        })
    }

    /// Whether a response header of this name may go from a provider to a client. A header that the
    /// response's `Connection` names may not: use [`withheld`](Self::withheld) for a whole head.
    pub fn forwards_response(&self, name: &HeaderName) -> bool {
        !withheld_from_response(name.as_str())
    }

    /// The response headers that do not go from a provider to a client.
    pub fn withheld<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a HeaderName> {
        let named = names_headers(headers);
        headers.keys().filter(move |name| {
            !self.forwards_response(name) || (named && named_by_connection(headers, name))
        })
    }
}

/// Whether `Connection` names this header as one for the next hop only (RFC 9110 section 7.6.1).
fn named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    connection_options(headers).any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Whether `Connection` says anything but the usual.
fn names_headers(headers: &HeaderMap) -> bool {
    connection_options(headers).any(|option| {
        !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
    })
}

/// The list items of all `Connection` lines.
pub(super) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// What providers' APIs and SDKs use, and nothing that says who or where the client is. Neither
/// `user-agent` nor the `openai-organization` that chooses who pays is here: both can be configured.
fn forwarded_by_default(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "content-type"
            | "openai-beta"
            | "anthropic-version"
            | "anthropic-beta"
            | "idempotency-key"
            | "traceparent"
            | "tracestate"
    ) || (name.starts_with("x-stainless-") && !name.contains('_'))
}

/// Why a request header must not be forwarded even if configured, or `None` if it may be.
pub fn never_forwarded(name: &str) -> Option<&'static str> {
    if name.contains('_') {
        return Some("some servers take an underscore for a hyphen");
    }
    if is_hop_by_hop(name) {
        return Some("it is about one connection (RFC 9110 section 7.6.1)");
    }
    if is_credential(name) {
        return Some("it is a credential for the gateway");
    }
    if name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip") {
        return Some("it says who the client is, and clients can write it themselves");
    }
    if name.starts_with("x-sluicegate-") {
        return Some("it is internal to the gateway");
    }
    if matches!(name, "host" | "content-length" | "content-encoding" | "accept-encoding" | "expect")
    {
        return Some("the gateway sets it for the message that it sends");
    }
    None
}

fn is_credential(name: &str) -> bool {
    matches!(
        name,
        "authorization" | "x-api-key" | "api-key" | "x-goog-api-key" | "cookie" | "cookie2"
    )
}

/// RFC 9110 section 7.6.1, with the older names that it replaced.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    ) || name.starts_with("proxy-")
}

fn withheld_from_response(name: &str) -> bool {
    is_hop_by_hop(name)
        || name.starts_with("access-control-")
        || name.starts_with("content-security-policy")
        || name.starts_with("cross-origin-")
        || name.starts_with("x-sluicegate-")
        || matches!(
            name,
            "set-cookie"
                | "set-cookie2"
                | "clear-site-data"
                | "server"
                | "via"
                | "x-powered-by"
                | "alt-svc"
                | "strict-transport-security"
                | "report-to"
                | "reporting-endpoints"
                | "nel"
                | "www-authenticate"
                | "openai-organization"
                // The answer carries the gateway's own.
                | "x-request-id"
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Head;

    const NEVER: [&str; 32] = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "cookie2",
        "proxy-authorization",
        "proxy-connection",
        "proxy-anything",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-anything",
        "x-real-ip",
        "x-sluicegate-caller",
        "host",
        "content-length",
        "content-encoding",
        "accept-encoding",
        "expect",
        "x_api_key",
        "content_type",
        "x_stainless_os",
        "x-stainless-os_name",
        "x-forwarded_for",
    ];

    fn name(text: &str) -> HeaderName {
        HeaderName::from_bytes(text.as_bytes()).expect("a test's header name")
    }

    #[test]
    fn what_providers_need_is_forwarded() {
        let policy = HeaderPolicy::default();
        for header in [
            "accept",
            "Content-Type",
            "openai-beta",
            "anthropic-version",
            "anthropic-beta",
            "x-stainless-os",
            "X-Stainless-Retry-Count",
            "idempotency-key",
            "traceparent",
            "tracestate",
        ] {
            assert!(policy.forwards(&name(header)), "{header}");
        }
        for header in [
            "user-agent",
            "openai-organization",
            "openai-project",
            "anthropic-dangerous-direct-browser-access",
            "x-sim",
            "x-stainless",
            "origin",
            "referer",
            "accept-language",
            "baggage",
        ] {
            assert!(!policy.forwards(&name(header)), "{header}");
        }
    }

    #[test]
    fn more_can_be_configured_but_not_what_must_stay() {
        let policy = HeaderPolicy::new([name("openai-project"), name("X-Sim")]).expect("permitted");
        assert!(policy.forwards(&name("OpenAI-Project")));
        assert!(policy.forwards(&name("x-sim")));
        assert!(!policy.forwards(&name("openai-organization")));

        for header in NEVER {
            let error = HeaderPolicy::new([name("x-sim"), name(header)]).expect_err(header);
            assert_eq!(error.name, name(header));
        }
    }

    #[test]
    fn what_connection_names_stays() {
        let policy = HeaderPolicy::new([name("x-sim")]).expect("permitted");
        let forwarded = |head: &Head| -> Vec<String> {
            policy
                .forwarded(&head.parts)
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
                .collect()
        };
        let head = || {
            Head::chat()
                .with("x-sim", "1")
                .with("x-sim", "2")
                .with("authorization", "Bearer secret")
        };
        let all = ["content-type: application/json", "x-sim: 1", "x-sim: 2"];
        assert_eq!(forwarded(&head()), all);
        assert_eq!(forwarded(&head().with("connection", "keep-alive, close")), all);
        for value in ["x-sim", "close,X-Sim", ", x-sim ,"] {
            assert_eq!(forwarded(&head().with("connection", value)), all[..1], "{value}");
        }
        let second_line = head().with("connection", "keep-alive").with("connection", "x-sim");
        assert_eq!(forwarded(&second_line), all[..1]);
    }

    #[test]
    fn responses_lose_what_is_about_the_providers_site() {
        let policy = HeaderPolicy::default();
        for header in [
            "connection",
            "Keep-Alive",
            "proxy-authenticate",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "set-cookie",
            "set-cookie2",
            "clear-site-data",
            "Server",
            "via",
            "x-powered-by",
            "alt-svc",
            "strict-transport-security",
            "access-control-allow-origin",
            "access-control-anything",
            "content-security-policy",
            "content-security-policy-report-only",
            "cross-origin-resource-policy",
            "report-to",
            "reporting-endpoints",
            "nel",
            "www-authenticate",
            "openai-organization",
            "x-request-id",
            "x-sluicegate-target",
        ] {
            assert!(!policy.forwards_response(&name(header)), "{header}");
        }
        for header in [
            "content-type",
            "content-length",
            "date",
            "cache-control",
            "retry-after",
            "openai-processing-ms",
            "openai-version",
            "request-id",
            "x-ratelimit-remaining-tokens",
            "anthropic-ratelimit-tokens-remaining",
        ] {
            assert!(policy.forwards_response(&name(header)), "{header}");
        }
    }

    #[test]
    fn what_a_responses_connection_names_can_be_asked() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close, X-Hop"));
        assert!(named_by_connection(&headers, &name("x-hop")));
        assert!(!named_by_connection(&headers, &name("x-ho")));
    }

    /// A name of the list, or one made from it, in random letter case.
    fn never_name() -> impl Strategy<Value = String> {
        const PREFIXES: [&str; 3] = ["x-forwarded-", "proxy-", "x-sluicegate-"];
        prop_oneof![
            prop::sample::select(&NEVER[..]).prop_map(str::to_owned),
            (prop::sample::select(&PREFIXES[..]), "[a-z-]{0,8}")
                .prop_map(|(p, s)| p.to_owned() + &s),
            "[a-z-]{0,8}_[a-z-]{0,8}",
        ]
        .prop_flat_map(|name| {
            let length = name.len();
            (Just(name), prop::collection::vec(any::<bool>(), length))
        })
        .prop_map(|(name, upper)| {
            name.chars()
                .zip(upper)
                .map(|(c, upper)| if upper { c.to_ascii_uppercase() } else { c })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_must_stay_is_never_forwarded_in_any_letter_case(
            never in never_name(),
            extra in "x-[a-z]{1,8}",
        ) {
            let never = name(&never);
            prop_assert!(!HeaderPolicy::default().forwards(&never));
            prop_assert!(HeaderPolicy::new([never.clone()]).is_err());
            if let Ok(policy) = HeaderPolicy::new([name(&extra)]) {
                prop_assert!(!policy.forwards(&never));
            }
        }

        /// The built-in list and the never-list do not meet.
        #[test]
        fn no_name_is_on_both_lists(text in "(x-stainless-|anthropic-|openai-|x-)?[a-z_-]{1,12}") {
            prop_assert!(!forwarded_by_default(&text) || never_forwarded(&text).is_none());
        }
    }
}
