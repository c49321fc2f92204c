//! Which web pages may call, and may read the answers (the Fetch standard, "HTTP-CORS protocol").
//!
//! An origin is compared byte for byte with a list of exact origins. A request from a page of any
//! other origin is refused, and not only hidden from the page: a "simple" request needs no preflight,
//! and would have had its effect by the time the browser hides the answer.
//!
//! The gateway serves no pages, so there is no "same origin". `Origin` is never compared with `Host`:
//! a page whose name is rebound to the gateway's address would pass.
//!
//! `null` is the origin of sandboxed frames, redirects and local files, thus of anybody: it is never
//! allowed, also not by `*`. Access from public pages to private networks is not granted.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;

use super::methods::Allowed;
use crate::denial::{Denial, DenialKind};
use crate::pipeline::Denied;

/// Request headers that pages may send unless configured otherwise: what the SDKs send.
pub const DEFAULT_ALLOW_HEADERS: [&str; 14] = [
    "authorization",
    "content-type",
    "x-api-key",
    "api-key",
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "idempotency-key",
    "traceparent",
    "x-sluicegate-include-cost",
    "mcp-protocol-version",
    "mcp-session-id",
    "mcp-method",
    "mcp-name",
];

/// Response headers that pages may read unless configured otherwise.
pub const DEFAULT_EXPOSE_HEADERS: [&str; 9] = [
    "x-request-id",
    "retry-after",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-sluicegate-cost-usd",
];

/// Names of one preflight that are looked at. More would make comparing them expensive.
const MAX_ASKED_HEADERS: usize = 64;

/// The filter. Without origins, it refuses every page.
#[derive(Clone, Debug)]
pub struct Cors {
    rules: Arc<Rules>,
}

/// What the filter is built from.
#[derive(Clone, Debug)]
pub struct CorsConfig {
    pub origins: Origins,
    /// Request headers that a page may send.
    pub allow_headers: Vec<HeaderName>,
    /// Response headers that a page may read.
    pub expose_headers: Vec<HeaderName>,
    /// How long a browser may keep a preflight's answer, in whole seconds.
    pub max_age: Duration,
    /// Whether a page may send cookies and client certificates.
    pub credentials: bool,
}

/// The origins whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// `*`: all but `null`.
    Any,
    /// Exactly these, each as `scheme://host` or `scheme://host:port`.
    List(Vec<String>),
}

impl CorsConfig {
    /// The default headers, ten minutes, and no credentials.
    pub fn new(origins: Origins) -> Self {
        let names =
            |names: &[&'static str]| names.iter().copied().map(HeaderName::from_static).collect();
        Self {
            origins,
            allow_headers: names(&DEFAULT_ALLOW_HEADERS),
            expose_headers: names(&DEFAULT_EXPOSE_HEADERS),
            max_age: Duration::from_secs(600),
            credentials: false,
        }
    }
}

/// CORS settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    #[error("`{origin}` is not an origin: {reason}")]
    InvalidOrigin { origin: String, reason: &'static str },
    #[error("credentials cannot be allowed together with the origin `*`")]
    CredentialsForAny,
}

impl Cors {
    /// Checks the settings and builds all header values. An origin's upper-case letters are lowered,
    /// as browsers do.
    ///
    /// # Errors
    ///
    /// [`CorsError`] for the first setting that cannot be used.
    pub fn new(config: CorsConfig) -> Result<Self, CorsError> {
        let origins = match config.origins {
            Origins::Any if config.credentials => return Err(CorsError::CredentialsForAny),
            Origins::Any => Matcher::Any,
            Origins::List(list) => {
                let mut values =
                    list.into_iter().map(parse_origin).collect::<Result<Vec<_>, _>>()?;
                values.sort_unstable();
                values.dedup();
                Matcher::List(values)
            }
        };
        Ok(Self {
            rules: Arc::new(Rules {
                origins,
                allow_headers: config.allow_headers,
                expose_headers: join(&config.expose_headers),
                max_age: HeaderValue::from(config.max_age.as_secs()),
                credentials: config.credentials,
            }),
        })
    }

    /// No page may call.
    pub fn disabled() -> Self {
        Self {
            rules: Arc::new(Rules {
                origins: Matcher::List(Vec::new()),
                allow_headers: Vec::new(),
                expose_headers: None,
                max_age: HeaderValue::from_static("0"),
                credentials: false,
            }),
        }
    }

    /// Judges the origin of a request that is not `OPTIONS`. `None`: its answers need no CORS
    /// headers.
    ///
    /// # Errors
    ///
    /// `cors_origin_denied` for a page of an origin that is not allowed.
    pub fn grant(&self, head: &Parts) -> Result<Option<CorsGrant>, Denied> {
        let mut origins = head.headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(self.without_origin());
        };
        if origins.next().is_some() {
            return Err(self.denied("more than one Origin header was sent"));
        }
        match self.rules.origins.find(origin) {
            Some(origin) => {
                Ok(Some(CorsGrant(Grant::Page { rules: Arc::clone(&self.rules), origin })))
            }
            None => Err(self.denied("web pages of this origin may not call the gateway")),
        }
    }

    /// Answers `OPTIONS`: a preflight if the browser says so, else a list of the methods.
    ///
    /// # Errors
    ///
    /// `cors_origin_denied`, as [`grant`](Self::grant).
    pub fn answer_options(
        &self,
        head: &Parts,
        allowed: Allowed,
    ) -> Result<PreflightAnswer, Denied> {
        let grant = self.grant(head)?;
        let mut headers = vec![(header::ALLOW, HeaderValue::from_static(allowed.header()))];

        let is_preflight = head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        match grant {
            Some(CorsGrant(Grant::Page { rules, origin })) if is_preflight => {
                headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, rules.origins.value(origin)));
                headers.push((header::ACCESS_CONTROL_ALLOW_METHODS, allowed.cors()));
                if let Some(value) = rules.allowed_of(&head.headers) {
                    headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, value));
                }
                if rules.credentials {
                    headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE));
                }
                headers.push((header::ACCESS_CONTROL_MAX_AGE, rules.max_age.clone()));
                headers.push((header::VARY, PREFLIGHT_VARY));
            }
            Some(grant) => headers.extend(grant.headers()),
            None => {}
        }
        Ok(PreflightAnswer { headers })
    }

    /// A shared cache must not give one page the answer that was made for another, nor the answer
    /// that was made for none.
    fn without_origin(&self) -> Option<CorsGrant> {
        self.rules.origins.varies().then_some(CorsGrant(Grant::Vary))
    }

    fn denied(&self, message: &'static str) -> Denied {
        Denied {
            denial: Denial::new(DenialKind::CorsOriginDenied, message),
            cors: self.without_origin(),
        }
    }
}

/// The CORS headers that every answer to one request must carry.
#[derive(Clone, Debug)]
pub struct CorsGrant(Grant);

impl CorsGrant {
    /// The headers. Append them: the answer may have a `Vary` of its own.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let headers = match &self.0 {
            Grant::Vary => [Some((header::VARY, VARY)), None, None, None],
            Grant::Page { rules, origin } => [
                Some((header::ACCESS_CONTROL_ALLOW_ORIGIN, rules.origins.value(*origin))),
                rules
                    .expose_headers
                    .clone()
                    .map(|value| (header::ACCESS_CONTROL_EXPOSE_HEADERS, value)),
                rules.credentials.then_some((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE)),
                rules.origins.varies().then_some((header::VARY, VARY)),
            ],
        };
        headers.into_iter().flatten()
    }
}

/// The answer to `OPTIONS`: status 204, no body, these headers.
#[derive(Clone, Debug)]
pub struct PreflightAnswer {
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone, Debug)]
enum Grant {
    /// No page asked; an answer to a page would be different.
    Vary,
    /// A page of an allowed origin asked.
    Page { rules: Arc<Rules>, origin: Found },
}

#[derive(Debug)]
struct Rules {
    origins: Matcher,
    allow_headers: Vec<HeaderName>,
    expose_headers: Option<HeaderValue>,
    max_age: HeaderValue,
    credentials: bool,
}

impl Rules {
    /// Those of the asked-for headers that are allowed. What a tool's arguments say again in headers has
    /// names of the tool's.
    fn allowed_of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let of_tool = |asked: &[u8]| {
            HeaderName::from_bytes(asked).ok().filter(|it| it.as_str().starts_with("mcp-param-"))
        };
        let mut allowed: Vec<HeaderName> = headers
            .get_all(header::ACCESS_CONTROL_REQUEST_HEADERS)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .take(MAX_ASKED_HEADERS)
            .map(<[u8]>::trim_ascii)
            .filter_map(|asked| {
                self.allow_headers
                    .iter()
                    .find(|name| asked.eq_ignore_ascii_case(name.as_str().as_bytes()))
                    .cloned()
                    .or_else(|| of_tool(asked))
            })
            .collect();
        allowed.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        allowed.dedup();
        join(&allowed)
    }
}

#[derive(Debug)]
enum Matcher {
    Any,
    /// Sorted.
    List(Vec<HeaderValue>),
}

/// Where a [`Matcher`] found an origin.
#[derive(Clone, Copy, Debug)]
enum Found {
    Any,
    At(usize),
}

impl Matcher {
    fn find(&self, origin: &HeaderValue) -> Option<Found> {
        match self {
            Self::Any => (!origin.is_empty() && origin != "null").then_some(Found::Any),
            Self::List(list) => list.binary_search(origin).ok().map(Found::At),
        }
    }

    fn value(&self, found: Found) -> HeaderValue {
        match (self, found) {
            (Self::List(list), Found::At(index)) => list[index].clone(),
            _ => HeaderValue::from_static("*"),
        }
    }

    /// Whether answers depend on the origin.
    fn varies(&self) -> bool {
        matches!(self, Self::List(list) if !list.is_empty())
    }
}

const TRUE: HeaderValue = HeaderValue::from_static("true");
const VARY: HeaderValue = HeaderValue::from_static("Origin");
const PREFLIGHT_VARY: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
);

/// `None` for an empty list. Header names are header values, so nothing else can fail.
fn join<'a>(names: impl IntoIterator<Item = &'a HeaderName>) -> Option<HeaderValue> {
    let names: Vec<&str> = names.into_iter().map(HeaderName::as_str).collect();
    if names.is_empty() {
        return None;
    }
    HeaderValue::try_from(names.join(", ")).ok()
}

/// An origin in the form in which browsers send it (RFC 6454 section 6.2).
fn parse_origin(origin: String) -> Result<HeaderValue, CorsError> {
    let lower = origin.to_ascii_lowercase();
    let invalid = |reason| CorsError::InvalidOrigin { origin: origin.clone(), reason };
    let Some((scheme, authority)) = lower.split_once("://") else {
        return Err(invalid("it must be scheme://host or scheme://host:port"));
    };
    let scheme_is_valid = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    if !scheme_is_valid {
        return Err(invalid("its scheme is malformed"));
    }
    let Some(port) = super::framing::split_authority(authority.as_bytes()) else {
        return Err(invalid("what follows the scheme must be a host, or a host and a port"));
    };
    if matches!((scheme, port), ("http", Some(80)) | ("https", Some(443))) {
        return Err(invalid("browsers leave the scheme's own port out"));
    }
    HeaderValue::try_from(lower.as_str()).map_err(|_| invalid("it holds characters of no header"))
}

#[cfg(test)]
mod tests;
