//! Why a request was refused, in a closed set of kinds.
//!
//! Every refusal of the gateway, from the first byte to the provider's last, is a [`Denial`]. Its
//! [`DenialKind`] fixes the status and the stable `code` that callers may program against; each code
//! is a row of `docs/errors.md`. The message is for the caller, the detail for the log only.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;

/// A refused request: what the caller is told, and what only the log is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    kind: DenialKind,
    message: Cow<'static, str>,
    param: Option<Box<str>>,
    allow: Option<&'static str>,
    retry_after: Option<u32>,
    detail: Option<Cow<'static, str>>,
}

impl Denial {
    /// A denial with a public message. The message must hold nothing that the caller did not send,
    /// and nothing secret that they did.
    pub fn new(kind: DenialKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            allow: None,
            retry_after: None,
            detail: None,
        }
    }

    /// Names the request's field that is at fault, such as `model`.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Box<str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Sets the `Allow` header of a 405 (RFC 9110 section 15.5.6).
    #[must_use]
    pub fn with_allow(mut self, allow: &'static str) -> Self {
        self.allow = Some(allow);
        self
    }

    /// Says after how many seconds it is worth another try, where that is known better than by the
    /// [kind](DenialKind::retry_after_seconds).
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds what the log should know and the caller should not.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn kind(&self) -> DenialKind {
        self.kind
    }

    /// Shorthand for the kind's status.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Shorthand for the kind's code.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The sentence for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The request's field at fault, if one is.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// The value of the `Allow` header, on a 405.
    pub fn allow(&self) -> Option<&'static str> {
        self.allow
    }

    /// The `Retry-After` header, in seconds.
    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after.or_else(|| self.kind.retry_after_seconds())
    }

    /// For logs only.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

/// The public half: code and message, never the detail.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.message)
    }
}

impl std::error::Error for Denial {}

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident = $status:ident, $code:literal, $connection:ident;)+) => {
        /// Every way in which the gateway can refuse or fail a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DenialKind {
            $($(#[$doc])+ $kind,)+
        }

        impl DenialKind {
            /// All kinds, in the order of a request's life.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The status of the answer.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$kind => StatusCode::$status,)+
                }
            }

            /// The stable word in the answer's `code`. It is never renamed.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$kind => $code,)+
                }
            }

            /// Whether the connection ends with the answer, because where the next request begins is
            /// in doubt, because the rest of this one is too much to read, because we are leaving, or because
            /// Pingora does not use a connection again after an exchange that failed.
            pub const fn closes_connection(self) -> bool {
                match self {
                    $(Self::$kind => kinds!(@$connection),)+
                }
            }
        }
    };
    (@closes) => { true };
    (@keeps) => { false };
}

kinds! {
    /// The gateway is draining.
    ServiceShuttingDown = SERVICE_UNAVAILABLE, "service_shutting_down", closes;
    /// The head or the body did not arrive in time.
    RequestTimeout = REQUEST_TIMEOUT, "request_timeout", closes;
    /// Two parsers could disagree on where the message ends or what it asks.
    InvalidRequestFraming = BAD_REQUEST, "invalid_request_framing", closes;
    /// The target is not a plain path, or it hides where it leads.
    InvalidRequestTarget = BAD_REQUEST, "invalid_request_target", closes;
    /// `Host` or `:authority` is absent, repeated, malformed or contradictory.
    InvalidHost = BAD_REQUEST, "invalid_host", closes;
    /// The head as a whole, or its target, is too long.
    HeaderTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", closes;
    /// The client asked for another protocol on this connection.
    UpgradeNotSupported = BAD_REQUEST, "upgrade_not_supported", closes;
    /// No such path.
    NotFound = NOT_FOUND, "not_found", keeps;
    /// The path exists, but not with this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", keeps;
    /// A browser page of an origin that is not on the list.
    CorsOriginDenied = FORBIDDEN, "cors_origin_denied", keeps;
    /// The body is over its route's limit.
    RequestTooLarge = PAYLOAD_TOO_LARGE, "request_too_large", closes;
    /// The body is compressed.
    UnsupportedContentEncoding = UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", keeps;
    /// The body is not JSON in UTF-8.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", keeps;
    /// The peer's address has sent too many requests.
    TooManyRequests = TOO_MANY_REQUESTS, "too_many_requests", keeps;
    /// No credential was sent.
    MissingApiKey = UNAUTHORIZED, "missing_api_key", keeps;
    /// A credential was sent, and it is not a valid one.
    InvalidApiKey = UNAUTHORIZED, "invalid_api_key", keeps;
    /// The key's time is over.
    ApiKeyExpired = UNAUTHORIZED, "api_key_expired", keeps;
    /// The key, or whom it belongs to, is blocked.
    ApiKeyBlocked = FORBIDDEN, "api_key_blocked", keeps;
    /// A token was sent, and it is not a valid one.
    InvalidToken = UNAUTHORIZED, "invalid_token", keeps;
    /// A token was sent that is valid no more.
    TokenExpired = UNAUTHORIZED, "token_expired", keeps;
    /// The peer has sent too many credentials that nobody has.
    TooManyFailedCredentials = TOO_MANY_REQUESTS, "too_many_failed_credentials", keeps;
    /// Whose credential it is can't be looked up now.
    IdentityUnavailable = SERVICE_UNAVAILABLE, "identity_unavailable", keeps;
    /// More than one credential was sent, so whose request it is is in doubt.
    ConflictingCredentials = BAD_REQUEST, "conflicting_credentials", keeps;
    /// The credential is not for this route.
    RouteNotAllowed = FORBIDDEN, "route_not_allowed", keeps;
    /// The gateway has as much to do as it can.
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", keeps;
    /// The body ended before its declared length.
    IncompleteRequestBody = BAD_REQUEST, "incomplete_request_body", closes;
    /// The body is not the JSON that the endpoint takes.
    InvalidRequestBody = BAD_REQUEST, "invalid_request_body", keeps;
    /// No such model.
    ModelNotFound = NOT_FOUND, "model_not_found", keeps;
    /// The model exists, but not for this caller or this endpoint.
    ModelNotAllowed = FORBIDDEN, "model_not_allowed", keeps;
    /// No such tool.
    ToolNotFound = NOT_FOUND, "tool_not_found", keeps;
    /// The request is longer than any target of the model can look at.
    ContextLengthExceeded = BAD_REQUEST, "context_length_exceeded", keeps;
    /// The policies do not permit it.
    PolicyDenied = FORBIDDEN, "policy_denied", keeps;
    /// A limit on requests, tokens or parallel requests leaves no room for this one.
    RateLimitExceeded = TOO_MANY_REQUESTS, "rate_limit_exceeded", keeps;
    /// A budget does not cover what this request may cost.
    BudgetExceeded = PAYMENT_REQUIRED, "budget_exceeded", keeps;
    /// The model has no price, and the caller has a budget.
    ModelNotPriced = FORBIDDEN, "model_not_priced", keeps;
    /// Whether the limits leave room can't be found out now.
    QuotaUnavailable = SERVICE_UNAVAILABLE, "quota_unavailable", keeps;
    /// No provider could be reached.
    UpstreamUnavailable = SERVICE_UNAVAILABLE, "upstream_unavailable", closes;
    /// The provider was reached and took too long.
    UpstreamTimeout = GATEWAY_TIMEOUT, "upstream_timeout", closes;
    /// The provider's answer could not be passed on.
    UpstreamError = BAD_GATEWAY, "upstream_error", closes;
    /// A stream broke after it had begun. It is told as an event, since the status has been sent.
    StreamInterrupted = BAD_GATEWAY, "stream_interrupted", closes;
    /// A fault of the gateway itself.
    InternalError = INTERNAL_SERVER_ERROR, "internal_error", closes;
}

impl DenialKind {
    /// The `WWW-Authenticate` header that a 401 must carry (RFC 9110 section 15.5.2).
    pub const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::MissingApiKey | Self::InvalidApiKey | Self::ApiKeyExpired => Some("Bearer"),
            // For both (RFC 6750 section 3.1).
            Self::InvalidToken | Self::TokenExpired => Some("Bearer error=\"invalid_token\""),
            _ => None,
        }
    }

    /// The `Retry-After` header, in seconds, of the refusals that pass by themselves.
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Self::ServiceShuttingDown
            | Self::IdentityUnavailable
            | Self::Overloaded
            | Self::QuotaUnavailable
            | Self::UpstreamUnavailable => Some(1),
            Self::TooManyFailedCredentials => Some(60),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const DOCUMENTED: &str = include_str!("../../docs/errors.md");

    /// Code, status and what becomes of the connection, of the page's table rows.
    fn documented() -> Vec<(&'static str, &'static str, &'static str)> {
        DOCUMENTED
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
                Some((cells.next()?.trim_end_matches('`'), cells.next()?, cells.next()?))
            })
            .collect()
    }

    #[test]
    fn every_code_is_documented_with_its_status_and_nothing_else_is() {
        let expected: Vec<_> = DenialKind::ALL
            .iter()
            .map(|kind| {
                let connection = if kind.closes_connection() { "closes" } else { "stays" };
                (kind.code(), kind.status().as_str().to_owned(), connection)
            })
            .collect();
        let mut found: Vec<_> = documented()
            .into_iter()
            .map(|(code, status, it)| (code, status.to_owned(), it))
            .collect();
        for row in &expected {
            assert!(found.contains(row), "{row:?} is not in docs/errors.md");
        }
        found.retain(|row| !expected.contains(row));
        assert_eq!(found, [], "docs/errors.md has codes that do not exist");
    }

    #[test]
    fn codes_are_distinct_lower_snake_case_words() {
        let codes: HashSet<_> = DenialKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), DenialKind::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        }
    }

    #[test]
    fn every_kind_is_an_error_and_every_401_carries_a_challenge() {
        for kind in DenialKind::ALL {
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
            let unauthorized = kind.status() == StatusCode::UNAUTHORIZED;
            assert_eq!(kind.challenge().is_some(), unauthorized, "{kind:?}");
        }
    }

    #[test]
    fn the_detail_is_never_displayed() {
        let denial = Denial::new(DenialKind::UpstreamUnavailable, "no provider could be reached")
            .with_detail("10.0.0.7:443 refused the connection");
        assert_eq!(denial.to_string(), "upstream_unavailable: no provider could be reached");
        assert_eq!(denial.detail(), Some("10.0.0.7:443 refused the connection"));
    }
}
