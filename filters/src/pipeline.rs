//! The order of the filters.
//!
//! The order is this code, never configuration: each line of [`Pipeline::screen`] relies on the
//! lines above it.

use std::fmt;

use http::request::Parts;

use crate::authorize::Authorize;
use crate::call::Connection;
use crate::denial::Denial;
use crate::identify::{Identify, Presented};
use crate::screen::cors::{Cors, CorsGrant, PreflightAnswer};
use crate::screen::framing::Framing;
use crate::screen::headers::HeaderPolicy;
use crate::screen::methods::{Asked, Methods, Route};
use crate::screen::size::{BodyLimit, RequestSize};

/// All filters of one configuration generation.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Refuses what two parsers could read differently.
    pub framing: Framing,
    /// Knows the paths, and the methods of each.
    pub methods: Methods,
    /// Keeps foreign web pages out, and lets known ones read the answers.
    pub cors: Cors,
    /// Bounds the body, and says of what type it must be.
    pub size: RequestSize,
    /// Says which headers pass, to the provider and back. It transforms and never refuses.
    pub headers: HeaderPolicy,
    /// Says who is calling.
    pub identify: Identify,
    /// Says what they may do.
    pub authorize: Authorize,
}

impl Pipeline {
    /// Judges a head before its body is read and before anybody is identified.
    ///
    /// # Errors
    ///
    /// A [`Denied`]: the denial, and the CORS headers that its answer must carry.
    pub fn screen(&self, head: &Parts, connection: &Connection<'_>) -> Result<Screened, Denied> {
        // First: the filters below believe the head. If a proxy in front of us or the provider
        // behind us could read it in another way, every later decision would be about the wrong
        // request.
        let declared = self.framing.screen(head, connection)?;

        // Before CORS: its preflight answer names the methods of the route, so the route must exist.
        // A page gains nothing from a readable 404, as its preflight fails first.
        let asked = self.methods.resolve(head)?;

        // Before size and identity: a browser hides an answer without CORS headers from the page, so
        // a later refusal could not be read. And a preflight carries no credential: after identity,
        // each would fail.
        let (route, cors) = match asked {
            Asked::Options(allow) => {
                return Ok(Screened::Preflight(self.cors.answer_options(head, allow)?));
            }
            Asked::Route(route) => (route, self.cors.grant(head)?),
        };

        // Before identity: a declared length costs nothing to refuse, and nobody, however well
        // identified, may exceed it.
        let body = match self.size.screen(&route, head, declared) {
            Ok(body) => body,
            Err(denial) => return Err(Denied { denial, cors }),
        };

        Ok(Screened::Continue { route, cors, body })
    }

    /// Says who sends a request, or which credential has to be looked up. Call it for every route that
    /// is not [public](crate::screen::methods::Route::is_public), before the body is read.
    ///
    /// # Errors
    ///
    /// A 401 for an absent or wrong credential, a 400 for contradictory ones. The answer must carry
    /// the screen's CORS grant.
    pub fn identify<'h>(&self, head: &'h Parts) -> Result<Presented<'h>, Denial> {
        self.identify.identify(&head.headers)
    }
}

/// What the screen found.
#[derive(Clone, Debug)]
pub enum Screened {
    /// Go on.
    Continue {
        route: Route,
        /// To be written on every answer from here on, refusals included.
        cors: Option<CorsGrant>,
        /// To be kept while the body is read.
        body: BodyLimit,
    },
    /// An `OPTIONS` request: send this answer, and nothing else.
    Preflight(PreflightAnswer),
}

/// A refusal by the screen.
#[derive(Clone, Debug)]
pub struct Denied {
    pub denial: Denial,
    /// To be written on the refusal, so that a permitted web page can read it.
    pub cors: Option<CorsGrant>,
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { denial, cors: None }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.denial.fmt(f)
    }
}

impl std::error::Error for Denied {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.denial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::CallerKind;
    use crate::denial::DenialKind;
    use crate::identify::Accepts;
    use crate::screen::cors::{CorsConfig, Origins};
    use crate::testing::Head;

    const APP: &str = "https://app.example.com";
    const EVIL: &str = "https://evil.test";

    fn pipeline() -> Pipeline {
        Pipeline {
            framing: Framing::default(),
            methods: Methods,
            cors: Cors::new(CorsConfig::new(Origins::List(vec![APP.to_owned()])))
                .expect("a valid origin"),
            size: RequestSize::new(1000, [("/v1/responses", 8000)]).expect("a known path"),
            headers: HeaderPolicy::default(),
            identify: Identify::new(false, Some("sk-master"), Accepts::default())
                .expect("a usable key"),
            authorize: Authorize::open(),
        }
    }

    fn screen(head: &Head) -> Result<Screened, Denied> {
        pipeline().screen(&head.parts, &head.connection())
    }

    fn denied(head: &Head) -> Denied {
        screen(head).expect_err("refused")
    }

    fn allows(cors: Option<&CorsGrant>, origin: &str) -> bool {
        cors.into_iter()
            .flat_map(CorsGrant::headers)
            .any(|(name, value)| name == "access-control-allow-origin" && value == origin)
    }

    #[test]
    fn an_ordinary_request_goes_on_with_all_it_needs() {
        for head in [Head::chat(), Head::chat().with("origin", APP)] {
            let from_page = head.parts.headers.contains_key("origin");
            let Ok(Screened::Continue { route, cors, body }) = screen(&head) else {
                panic!("refused");
            };
            assert_eq!(route, Route::Inference("/v1/chat/completions"));
            assert_eq!((body.limit(), body.declared()), (1000, Some(42)));
            assert_eq!(allows(cors.as_ref(), APP), from_page);
        }
    }

    #[test]
    fn a_preflight_needs_no_credential_and_no_body() {
        let head = Head::http1("OPTIONS", "/v1/messages")
            .with("origin", APP)
            .with("access-control-request-method", "POST");
        assert!(matches!(screen(&head), Ok(Screened::Preflight(_))));
    }

    /// Each request offends against a filter and all below it; the first one must answer.
    #[test]
    fn the_filters_answer_in_their_order() {
        let worst = || {
            Head::http1("POST", "/v1/nowhere").with("origin", EVIL).with("content-length", "5000")
        };
        let post = || Head::http1("POST", "/v1/messages").with("content-length", "5000");
        for (head, kind) in [
            (worst().with("transfer-encoding", "chunked"), DenialKind::InvalidRequestFraming),
            (worst(), DenialKind::NotFound),
            (post().with("origin", EVIL), DenialKind::CorsOriginDenied),
            (post().with("origin", APP), DenialKind::RequestTooLarge),
            (
                post().without("content-length").with("content-length", "5"),
                DenialKind::UnsupportedMediaType,
            ),
        ] {
            assert_eq!(denied(&head).denial.kind(), kind);
        }
    }

    #[test]
    fn a_page_can_read_every_refusal_after_its_origin_was_allowed() {
        let page = || Head::http1("POST", "/v1/messages").with("origin", APP);
        for head in [
            page().with("content-length", "1001"),
            page().with("content-length", "5"),
            page().with("transfer-encoding", "chunked").with("content-encoding", "gzip"),
        ] {
            let denied = denied(&head);
            assert!(allows(denied.cors.as_ref(), APP), "{denied}");
        }
    }

    #[test]
    fn no_page_can_read_a_refusal_of_its_origin_or_before() {
        for head in [
            Head::chat().with("origin", EVIL),
            Head::chat().with("origin", APP).with("content-length", "42"),
            Head::http1("POST", "/v1/nowhere").with("origin", APP),
        ] {
            let denied = denied(&head);
            assert!(!allows(denied.cors.as_ref(), APP), "{denied}");
            assert!(!allows(denied.cors.as_ref(), EVIL), "{denied}");
        }
    }

    #[test]
    fn http2_is_screened_by_the_same_pipeline() {
        let head = Head::http2("POST", "/v1/responses").with("content-type", "application/json");
        let Ok(Screened::Continue { body, .. }) = screen(&head) else {
            panic!("refused");
        };
        assert_eq!((body.limit(), body.declared()), (8000, None));
    }

    #[test]
    fn the_caller_is_identified_apart_from_the_screen() {
        let head = Head::chat().with("api-key", "sk-master");
        let Ok(Presented::Caller(caller)) = pipeline().identify(&head.parts) else {
            panic!("not the master");
        };
        assert_eq!(caller.kind(), CallerKind::Master);
        assert!(matches!(screen(&Head::chat()), Ok(Screened::Continue { .. })));
    }
}
