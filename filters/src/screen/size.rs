//! How large a body may be, and of what type.
//!
//! A declared length is judged before a byte of the body is read; a body of unknown length is
//! counted while it is read, by [`BodyLimit::admit`]. Exactly the limit passes.
//!
//! Compressed bodies are refused: a limit on compressed bytes is no limit on memory.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;

use super::methods::{Route, body_paths};
use crate::denial::{Denial, DenialKind};

/// The limits of body sizes, in bytes.
#[derive(Clone, Debug)]
pub struct RequestSize {
    default: u64,
    per_route: Vec<(&'static str, u64)>,
}

/// A limit was given for a path that takes no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a path that takes a body; these are: {}", body_paths().collect::<Vec<_>>().join(", "))]
pub struct UnknownRoute {
    pub path: String,
}

impl RequestSize {
    /// A limit for all routes, and others for some paths of [`body_paths`]. Where a path is
    /// named twice, the last limit counts.
    ///
    /// # Errors
    ///
    /// [`UnknownRoute`] for a path that takes no body.
    pub fn new<P: AsRef<str>>(
        default: u64,
        per_route: impl IntoIterator<Item = (P, u64)>,
    ) -> Result<Self, UnknownRoute> {
        let mut limits: Vec<(&'static str, u64)> = Vec::new();
        for (path, limit) in per_route {
            let path = path.as_ref();
            let Some(known) = body_paths().find(|known| *known == path) else {
                return Err(UnknownRoute { path: path.to_owned() });
            };
            limits.retain(|(path, _)| *path != known);
            limits.push((known, limit));
        }
        Ok(Self { default, per_route: limits })
    }

    /// Judges what the head says of the body. `declared` is the length that
    /// [`Framing::screen`](super::Framing::screen) found.
    ///
    /// # Errors
    ///
    /// `request_too_large`, `unsupported_content_encoding` or `unsupported_media_type`.
    pub fn screen(
        &self,
        route: &Route,
        head: &Parts,
        declared: Option<u64>,
    ) -> Result<BodyLimit, Denial> {
        let limit = self.check_declared(route, declared)?;
        if route.body_path().is_some() {
            check_encoding(head)?;
            check_type(head)?;
        }
        Ok(limit)
    }

    /// The limit of a route, if the declared length is within it.
    ///
    /// # Errors
    ///
    /// `request_too_large`, which says the limit and what was declared.
    pub fn check_declared(
        &self,
        route: &Route,
        declared: Option<u64>,
    ) -> Result<BodyLimit, Denial> {
        let limit = self.limit(route);
        match declared {
            Some(length) if length > limit => Err(Denial::new(
                DenialKind::RequestTooLarge,
                format!(
                    "the request body may be {limit} bytes long on this path, {length} were declared"
                ),
            )),
            _ => Ok(BodyLimit { limit, declared }),
        }
    }

    /// Bytes that a body may have. What is only read takes none.
    fn limit(&self, route: &Route) -> u64 {
        let Some(path) = route.body_path() else { return 0 };
        self.per_route
            .iter()
            .find(|(known, _)| *known == path)
            .map_or(self.default, |(_, limit)| *limit)
    }
}

/// How much of one body may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    limit: u64,
    declared: Option<u64>,
}

impl BodyLimit {
    /// Judges the total of the bytes received so far, the latest chunk included. Ask before the
    /// chunk is stored.
    ///
    /// # Errors
    ///
    /// `request_too_large`, which says the limit.
    pub fn admit(&self, received: u64) -> Result<(), Denial> {
        if received <= self.limit {
            return Ok(());
        }
        Err(Denial::new(
            DenialKind::RequestTooLarge,
            format!(
                "the request body may be {} bytes long on this path, and more were sent",
                self.limit
            ),
        ))
    }

    /// Bytes, at most.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The length that the head declared, in bytes, and never over the limit. Without one, the body
    /// is chunked or an HTTP/2 stream; 0 if there is none.
    pub fn declared(&self) -> Option<u64> {
        self.declared
    }
}

fn check_encoding(head: &Parts) -> Result<(), Denial> {
    let plain = head
        .headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if plain {
        return Ok(());
    }
    Err(Denial::new(
        DenialKind::UnsupportedContentEncoding,
        "compressed request bodies are not supported; send the body without content-encoding",
    ))
}

fn check_type(head: &Parts) -> Result<(), Denial> {
    let mut values = head.headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if is_json(value.as_bytes()) => Ok(()),
        _ => Err(Denial::new(
            DenialKind::UnsupportedMediaType,
            "the request body must be sent once as content-type: application/json",
        )),
    }
}

/// `application/json`, alone or with `charset=utf-8` (RFC 9110 section 8.3.1). RFC 8259 defines no
/// parameter; many clients send this one.
fn is_json(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next().unwrap_or_default();
    let parameter = parts.next();
    essence.eq_ignore_ascii_case(b"application/json")
        && parts.next().is_none()
        && parameter.is_none_or(|parameter| {
            parameter.eq_ignore_ascii_case(b"charset=utf-8")
                || parameter.eq_ignore_ascii_case(b"charset=\"utf-8\"")
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Head;

    const CHAT: Route = Route::Inference("/v1/chat/completions");
    const RESPONSES: Route = Route::Inference("/v1/responses");

    fn sizes() -> RequestSize {
        RequestSize::new(1000, [("/v1/responses", 8000)]).expect("known paths")
    }

    fn screen(head: &Head) -> Result<BodyLimit, DenialKind> {
        sizes().screen(&CHAT, &head.parts, Some(42)).map_err(|denial| denial.kind())
    }

    #[test]
    fn exactly_the_limit_passes_and_one_byte_more_does_not() {
        for (route, limit) in [(CHAT, 1000), (RESPONSES, 8000), (Route::ModelList, 0)] {
            let sizes = sizes();
            let body = sizes.check_declared(&route, Some(limit)).expect("at the limit");
            assert_eq!((body.limit(), body.declared()), (limit, Some(limit)));
            assert_eq!(body.admit(limit), Ok(()));

            let declared =
                sizes.check_declared(&route, Some(limit + 1)).expect_err("declared over the limit");
            let received = body.admit(limit + 1).expect_err("received over the limit");
            for denial in [&declared, &received] {
                assert_eq!(denial.kind(), DenialKind::RequestTooLarge);
                assert!(denial.message().contains(&limit.to_string()), "{denial}");
            }
            let length = (limit + 1).to_string();
            assert!(declared.message().contains(&length), "{declared}");
        }
    }

    #[test]
    fn an_unknown_length_is_left_to_counting() {
        let body = sizes().check_declared(&CHAT, None).expect("no length");
        assert_eq!((body.limit(), body.declared()), (1000, None));
    }

    #[test]
    fn a_limit_belongs_to_a_path_that_takes_a_body() {
        for path in ["/v1/models", "/v1/chat/completions/", ""] {
            let error = RequestSize::new(1, [(path, 2)]).expect_err("takes no body");
            assert_eq!(error.path, path);
        }
    }

    #[test]
    fn the_last_limit_of_a_path_counts() {
        let path = "/v1/responses";
        let sizes = RequestSize::new(1, [(path, 2), (path, 3)]).expect("known paths");
        let body = sizes.check_declared(&RESPONSES, None).expect("no length");
        assert_eq!(body.limit(), 3);
    }

    #[test]
    fn json_in_utf8_is_the_only_type() {
        for value in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json ; charset=UTF-8",
            "application/json; charset=\"utf-8\"",
        ] {
            let head = Head::chat().without("content-type").with("content-type", value);
            assert!(screen(&head).is_ok(), "{value:?}");
        }
        for value in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonx",
            "application/json, text/plain",
            "text/plain; application/json",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json;",
            "application/json; boundary=x",
        ] {
            let head = Head::chat().without("content-type").with("content-type", value);
            assert_eq!(screen(&head), Err(DenialKind::UnsupportedMediaType), "{value:?}");
        }
        let none = Head::chat().without("content-type");
        assert_eq!(screen(&none), Err(DenialKind::UnsupportedMediaType));
        let twice = Head::chat().with("content-type", "application/json");
        assert_eq!(screen(&twice), Err(DenialKind::UnsupportedMediaType));
    }

    #[test]
    fn compressed_bodies_are_refused() {
        for value in ["gzip", "br", "zstd", "", "identity, gzip", "x-gzip", "aes128gcm"] {
            let head = Head::chat().with("content-encoding", value);
            assert_eq!(screen(&head), Err(DenialKind::UnsupportedContentEncoding), "{value:?}");
        }
        let identity = Head::chat().with("content-encoding", "Identity");
        assert!(screen(&identity).is_ok());
        assert_eq!(
            screen(&identity.with("content-encoding", "gzip")),
            Err(DenialKind::UnsupportedContentEncoding)
        );
    }

    #[test]
    fn what_is_only_read_needs_no_type() {
        let head = Head::http1("GET", "/v1/models");
        let body = sizes().screen(&Route::ModelList, &head.parts, Some(0));
        assert_eq!(body.map(|body| body.limit()), Ok(0));
    }

    proptest! {
        #[test]
        fn declared_and_counted_agree_for_any_limit(
            limit in prop_oneof![0..100_u64, any::<u64>()],
            around in -2_i64..=2,
        ) {
            let length = limit.saturating_add_signed(around);
            let sizes = RequestSize::new(limit, None::<(&str, u64)>).expect("no paths");
            let counted = sizes.check_declared(&CHAT, None).expect("no length").admit(length);
            prop_assert_eq!(sizes.check_declared(&CHAT, Some(length)).is_ok(), length <= limit);
            prop_assert_eq!(counted.is_ok(), length <= limit);
        }
    }
}
