//! A provider's error.

/// What a provider says went wrong, in an error answer or in the midst of a stream.
///
/// Texts are the provider's own and may name what the client sent; they are meant for the client, not for
/// logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What kind of error it is.
    pub kind: FaultKind,
    /// One sentence for people. Never empty.
    pub message: String,
    /// The provider's own word for it, such as `context_length_exceeded`.
    pub code: Option<String>,
    /// The field at fault, in the upstream's terms.
    pub param: Option<String>,
    /// When to try again, in milliseconds, where the body tells.
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// A fault with nothing but a kind and a message.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.is_empty() {
            message = kind.sentence().to_owned();
        }
        Self { kind, message, code: None, param: None, retry_after_ms: None }
    }
}

/// Kinds of errors, by what a client can do about them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The request is wrong.
    InvalidRequest,
    /// The credential is missing or wrong.
    Authentication,
    /// The account is not paid for, or its quota is used up.
    Billing,
    /// The credential is not enough.
    Permission,
    /// There is no such model or thing.
    NotFound,
    /// The request is too large.
    TooLarge,
    /// Too many requests or tokens in a time.
    RateLimit,
    /// The provider took too long.
    Timeout,
    /// The provider has no capacity.
    Overloaded,
    /// Anything else that is the provider's fault.
    Server,
}

impl FaultKind {
    /// The kind that an HTTP status tells.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            400..=499 => Self::InvalidRequest,
            503 | 529 => Self::Overloaded,
            _ => Self::Server,
        }
    }

    /// The HTTP status that tells it.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Authentication => 401,
            Self::Billing => 402,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::TooLarge => 413,
            Self::RateLimit => 429,
            Self::Timeout => 504,
            Self::Overloaded => 503,
            Self::Server => 500,
        }
    }

    /// What to say where the provider says nothing.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The provider refused the request.",
            Self::Authentication => "The provider refused the credential.",
            Self::Billing => "The provider's account is not paid for.",
            Self::Permission => "The provider refused access.",
            Self::NotFound => "The provider does not know the model.",
            Self::TooLarge => "The request is too large for the provider.",
            Self::RateLimit => "The provider's rate limit was reached.",
            Self::Timeout => "The provider took too long.",
            Self::Overloaded => "The provider has no capacity.",
            Self::Server => "The provider failed.",
        }
    }
}
