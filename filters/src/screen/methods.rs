//! The route table: which paths exist, and with which methods.
//!
//! A path is compared as it was sent, byte for byte: no case folding, no unescaping, no trailing
//! slash but that of `/mcp/` and below. The only free parts are the id in `/v1/models/{id}` and the name in `/mcp/{server}`.

use http::request::Parts;
use http::{HeaderValue, Method};

use crate::denial::{Denial, DenialKind};

/// The endpoints that take a body for a model, all by `POST`.
pub const INFERENCE_PATHS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
];

/// The endpoint of all MCP servers. One server's is below it.
pub const MCP_PATH: &str = "/mcp";

/// The endpoints that take a body, by which their limits are named. What is said of [`MCP_PATH`] is said
/// of all below it.
pub fn body_paths() -> impl Iterator<Item = &'static str> {
    INFERENCE_PATHS.into_iter().chain([MCP_PATH])
}

/// The endpoints that are read, besides `/v1/models/{id}`.
const READ_PATHS: [&str; 7] = [
    MODELS_PATH,
    MCP_TOOLS_PATH,
    "/health",
    "/health/live",
    "/health/ready",
    "/health/liveliness",
    "/health/readiness",
];

const MODELS_PATH: &str = "/v1/models";

const MCP_TOOLS_PATH: &str = "/mcp/tools";

/// Bytes of the name of an MCP server, at most.
pub const MAX_MCP_SERVER: usize = 32;

/// Bytes of a decoded model id, at most.
const MAX_MODEL_ID: usize = 256;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// One of [`INFERENCE_PATHS`].
    Inference(&'static str),
    /// `GET /v1/models`.
    ModelList,
    /// `GET /v1/models/{id}`, with the id unescaped: 1 to 256 bytes without control characters.
    Model(String),
    /// `POST /mcp`, or with a server's name `/mcp/{server}`.
    Mcp(Option<String>),
    /// `GET /mcp/tools`.
    McpTools,
    /// `GET /health` and the paths below it.
    Health(Health),
}

/// Which health question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// `/health`.
    Overall,
    /// `/health/live`, `/health/liveliness`.
    Live,
    /// `/health/ready`, `/health/readiness`.
    Ready,
}

impl Route {
    /// The route of a path without its query, or `None` if there is no such path.
    pub fn resolve(path: &str) -> Option<Self> {
        if let Some(known) = INFERENCE_PATHS.into_iter().find(|known| *known == path) {
            return Some(Self::Inference(known));
        }
        match path {
            MODELS_PATH => Some(Self::ModelList),
            "/health" => Some(Self::Health(Health::Overall)),
            "/health/live" | "/health/liveliness" => Some(Self::Health(Health::Live)),
            "/health/ready" | "/health/readiness" => Some(Self::Health(Health::Ready)),
            // Clients' pages have it with a final slash as often as without.
            MCP_PATH | "/mcp/" => Some(Self::Mcp(None)),
            MCP_TOOLS_PATH => Some(Self::McpTools),
            _ => {
                if let Some(server) =
                    path.strip_prefix(MCP_PATH).and_then(|rest| rest.strip_prefix('/'))
                {
                    let server = server.strip_suffix('/').unwrap_or(server);
                    return is_mcp_server(server).then(|| Self::Mcp(Some(server.to_owned())));
                }
                let id = path.strip_prefix(MODELS_PATH)?.strip_prefix('/')?;
                unescape(id).map(Self::Model)
            }
        }
    }

    /// A label of bounded variety, for logs and metrics.
    pub fn template(&self) -> &'static str {
        match self {
            Self::Inference(path) => path,
            Self::ModelList => MODELS_PATH,
            Self::Model(_) => "/v1/models/{id}",
            Self::Mcp(None) => MCP_PATH,
            Self::Mcp(Some(_)) => "/mcp/{server}",
            Self::McpTools => MCP_TOOLS_PATH,
            Self::Health(_) => "/health",
        }
    }

    /// What a credential's list of routes must have for it: all of MCP is one.
    pub fn granted_as(&self) -> &'static str {
        match self {
            Self::Mcp(_) | Self::McpTools => MCP_PATH,
            route => route.template(),
        }
    }

    /// The one of [`body_paths`] that its limits are named by; `None`: it takes no body.
    pub(crate) fn body_path(&self) -> Option<&'static str> {
        match self {
            Self::Inference(path) => Some(path),
            Self::Mcp(_) => Some(MCP_PATH),
            Self::ModelList | Self::Model(_) | Self::McpTools | Self::Health(_) => None,
        }
    }

    /// Whether anybody may ask: only the health of the gateway is public.
    pub fn is_public(&self) -> bool {
        matches!(self, Self::Health(_))
    }

    /// The methods that the route answers to.
    pub fn allowed(&self) -> Allowed {
        match self {
            Self::Inference(_) | Self::Mcp(_) => Allowed::Post,
            Self::ModelList | Self::Model(_) | Self::McpTools | Self::Health(_) => Allowed::Get,
        }
    }
}

/// The methods of a route. `OPTIONS` is always among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// `GET`, and `HEAD` with it (RFC 9110 section 9.3.2).
    Get,
    /// `POST`.
    Post,
}

impl Allowed {
    /// The value of `Allow` (RFC 9110 section 10.2.1).
    pub const fn header(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD, OPTIONS",
            Self::Post => "POST, OPTIONS",
        }
    }

    /// The value of `Access-Control-Allow-Methods`: what a page may really do.
    pub(crate) const fn cors(self) -> HeaderValue {
        match self {
            Self::Get => HeaderValue::from_static("GET, HEAD"),
            Self::Post => HeaderValue::from_static("POST"),
        }
    }

    fn contains(self, method: &Method) -> bool {
        match self {
            Self::Get => matches!(*method, Method::GET | Method::HEAD),
            Self::Post => *method == Method::POST,
        }
    }

    const fn refusal(self) -> &'static str {
        match self {
            Self::Get => "this path answers to GET and HEAD only",
            Self::Post => "this path answers to POST only",
        }
    }
}

/// The filter. It has no settings: the table is part of the product.
#[derive(Clone, Copy, Debug, Default)]
pub struct Methods;

/// What [`Methods::resolve`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A route, by a method that it answers to.
    Route(Route),
    /// `OPTIONS` of a known path: a preflight, or the question which methods there are.
    Options(Allowed),
}

impl Methods {
    /// Finds the route of a request.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown path, naming the nearest known one; `method_not_allowed`, with
    /// `Allow`, for a method that the path does not answer to.
    pub fn resolve(&self, head: &Parts) -> Result<Asked, Denial> {
        let path = head.uri.path();
        let Some(route) = Route::resolve(path) else {
            return Err(not_found(path));
        };
        let allowed = route.allowed();
        if allowed.contains(&head.method) {
            Ok(Asked::Route(route))
        } else if head.method == Method::OPTIONS {
            Ok(Asked::Options(allowed))
        } else {
            Err(Denial::new(DenialKind::MethodNotAllowed, allowed.refusal())
                .with_allow(allowed.header()))
        }
    }
}

fn not_found(path: &str) -> Denial {
    match nearest(path) {
        Some(known) => {
            Denial::new(DenialKind::NotFound, format!("no such path; did you mean {known}?"))
        }
        None => Denial::new(DenialKind::NotFound, "no such path"),
    }
}

/// The known path that was probably meant. The given path is never echoed.
fn nearest(path: &str) -> Option<&'static str> {
    /// Comparing costs the product of both lengths, and the path's is the sender's to choose.
    const COMPARABLE: usize = 64;
    /// Two slips in a word of ten.
    const SIMILAR: f64 = 0.8;

    let path = path.trim_end_matches('/');
    if path.is_empty() || path.len() > COMPARABLE {
        return None;
    }
    let known = || body_paths().chain(READ_PATHS);

    // A forgotten, doubled or foreign prefix is the usual mistake: a base URL with or without `/v1`.
    // The longest match is the most telling: `/api/v1/chat/completions` ends in no other known path.
    let by_suffix = known()
        .filter(|known| known.ends_with(path) || path.ends_with(known))
        .min_by_key(|known| known.len().abs_diff(path.len()));
    if by_suffix.is_some() {
        return by_suffix;
    }

    let lower = path.to_ascii_lowercase();
    known()
        .map(|known| (known, strsim::normalized_levenshtein(known, &lower)))
        .filter(|(_, similarity)| *similarity >= SIMILAR)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(known, _)| known)
}

/// Whether it can be the name of an MCP server: so that in `{server}_{tool}` the first `_` ends it, and its
/// path needs no escapes. `tools` is the list of all tools.
pub fn is_mcp_server(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=MAX_MCP_SERVER).contains(&name.len()) && name.bytes().all(plain) && name != "tools"
}

/// Undoes the percent-encoding of a model id. `None` if what it hides is no id.
fn unescape(id: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(id.len().min(MAX_MODEL_ID));
    let mut rest = id.bytes();
    while let Some(byte) = rest.next() {
        if bytes.len() == MAX_MODEL_ID {
            return None;
        }
        bytes.push(match byte {
            b'%' => super::hex_pair(rest.next()?, rest.next()?)?,
            byte => byte,
        });
    }
    let id = String::from_utf8(bytes).ok()?;
    (!id.is_empty() && !id.chars().any(char::is_control)).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Head;

    fn resolve(method: &str, path: &str) -> Result<Asked, Denial> {
        Methods.resolve(&Head::http1(method, path).parts)
    }

    #[test]
    fn each_path_has_its_route() {
        for path in INFERENCE_PATHS {
            assert_eq!(Route::resolve(path), Some(Route::Inference(path)));
        }
        for (path, route) in [
            ("/v1/models", Route::ModelList),
            ("/v1/models/gpt-4o", Route::Model("gpt-4o".to_owned())),
            ("/v1/models/a/b", Route::Model("a/b".to_owned())),
            ("/v1/models/a%2Fb%3a", Route::Model("a/b:".to_owned())),
            ("/v1/models/%E6%A8%A1", Route::Model("\u{6a21}".to_owned())),
            ("/mcp", Route::Mcp(None)),
            ("/mcp/", Route::Mcp(None)),
            ("/mcp/github-2/", Route::Mcp(Some("github-2".to_owned()))),
            ("/mcp/github-2", Route::Mcp(Some("github-2".to_owned()))),
            ("/mcp/tools", Route::McpTools),
            ("/health", Route::Health(Health::Overall)),
            ("/health/live", Route::Health(Health::Live)),
            ("/health/liveliness", Route::Health(Health::Live)),
            ("/health/ready", Route::Health(Health::Ready)),
            ("/health/readiness", Route::Health(Health::Ready)),
        ] {
            assert_eq!(Route::resolve(path), Some(route), "{path}");
        }
    }

    #[test]
    fn nothing_near_a_path_is_that_path() {
        for path in [
            "",
            "/",
            "/v1",
            "/V1/models",
            "/v1/chat/completions/",
            "/v1/chat%2fcompletions",
            "/v1/chat/completionss",
            "/v1/models/",
            "/v1/modelsx",
            "/v1/models/%",
            "/v1/models/%2",
            "/v1/models/%ff",
            "/v1/models/%0a",
            "/v1/models/%C2%85",
            "/health/",
            "/health/alive",
            "/mcp//",
            "/mcp/GitHub",
            "/mcp/git_hub",
            "/mcp/git%2dhub",
            "/mcp/tools/",
            "/mcp/a/b",
            "/mcpx",
            "/MCP",
            "/admin/v1/keys",
        ] {
            assert_eq!(Route::resolve(path), None, "{path}");
        }
    }

    #[test]
    fn a_model_id_has_at_most_256_bytes() {
        let path = |n: usize| format!("/v1/models/{}", "%61".repeat(n));
        assert_eq!(Route::resolve(&path(256)), Some(Route::Model("a".repeat(256))));
        assert_eq!(Route::resolve(&path(257)), None);
    }

    #[test]
    fn all_of_mcp_is_granted_and_limited_as_one() {
        for path in ["/mcp", "/mcp/github", "/mcp/tools"] {
            let route = Route::resolve(path).expect(path);
            assert_eq!(route.granted_as(), "/mcp");
            assert_eq!(route.body_path().is_some(), route.allowed() == Allowed::Post, "{path}");
        }
        assert!(is_mcp_server(&"x".repeat(32)) && !is_mcp_server(&"x".repeat(33)));
        assert!(!is_mcp_server("") && !is_mcp_server("tools"));
    }

    #[test]
    fn methods_pass_where_they_are_allowed_and_nowhere_else() {
        const METHODS: [&str; 10] =
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get", "BREW"];
        for (path, passing, allow) in [
            ("/v1/messages", &["POST"][..], "POST, OPTIONS"),
            ("/mcp", &["POST"], "POST, OPTIONS"),
            ("/mcp/github", &["POST"], "POST, OPTIONS"),
            ("/mcp/tools", &["GET", "HEAD"], "GET, HEAD, OPTIONS"),
            ("/v1/models", &["GET", "HEAD"], "GET, HEAD, OPTIONS"),
            ("/v1/models/x", &["GET", "HEAD"], "GET, HEAD, OPTIONS"),
            ("/health/live", &["GET", "HEAD"], "GET, HEAD, OPTIONS"),
        ] {
            for method in METHODS {
                match resolve(method, path) {
                    Ok(Asked::Route(_)) => assert!(passing.contains(&method), "{method} {path}"),
                    Ok(asked) => panic!("{method} {path}: {asked:?}"),
                    Err(denial) => {
                        assert!(!passing.contains(&method), "{method} {path}");
                        assert_eq!(denial.kind(), DenialKind::MethodNotAllowed);
                        assert_eq!(denial.allow(), Some(allow));
                    }
                }
            }
            let options = resolve("OPTIONS", path).expect("OPTIONS of a known path");
            assert!(matches!(options, Asked::Options(allowed) if allowed.header() == allow));
        }
    }

    #[test]
    fn an_unknown_path_is_not_found_by_any_method() {
        for method in ["GET", "POST", "OPTIONS", "BREW"] {
            let denial = resolve(method, "/v2/models").expect_err("no such path");
            assert_eq!(denial.kind(), DenialKind::NotFound, "{method}");
        }
    }

    #[test]
    fn the_nearest_path_is_named() {
        for (path, meant) in [
            ("/chat/completions", Some("/v1/chat/completions")),
            ("/v1/v1/chat/completions", Some("/v1/chat/completions")),
            ("/api/v1/chat/completions", Some("/v1/chat/completions")),
            ("/v1/chat/completions/", Some("/v1/chat/completions")),
            ("/v1/chat/completion", Some("/v1/chat/completions")),
            ("/V1/Chat/Completions", Some("/v1/chat/completions")),
            ("/completions", Some("/v1/completions")),
            ("/messages", Some("/v1/messages")),
            ("/v1/message", Some("/v1/messages")),
            ("/messages/count_tokens", Some("/v1/messages/count_tokens")),
            ("/models", Some("/v1/models")),
            ("/v1/models/", Some("/v1/models")),
            ("/healthz", Some("/health")),
            ("/health/readyness", Some("/health/readiness")),
            ("/", None),
            ("/favicon.ico", None),
            ("/admin/v1/keys", None),
        ] {
            assert_eq!(nearest(path), meant, "{path}");
        }
        assert_eq!(nearest(&format!("/{}/v1/models", "x".repeat(8000))), None);
    }

    #[test]
    fn the_unknown_path_is_not_echoed() {
        let denial = resolve("GET", "/v1/model%3Cscript%3E").expect_err("no such path");
        assert!(!denial.message().contains("script"), "{denial}");
    }

    proptest! {
        /// A path has a route only if it is on the list, or below the models or MCP.
        #[test]
        fn no_other_path_resolves(path in "/(v1|health|v1/models|V1|mcp)?(/[a-z_%0-9]{0,12}){0,3}") {
            if let Some(route) = Route::resolve(&path) {
                let listed = body_paths().chain(READ_PATHS).any(|p| p == path) || path == "/mcp/";
                let model = matches!(route, Route::Model(_)) && path.starts_with("/v1/models/");
                let server = matches!(route, Route::Mcp(Some(_))) && path.starts_with("/mcp/");
                prop_assert!(listed || model || server, "{} is {:?}", path, route);
            }
        }

        #[test]
        fn an_escaped_id_is_found_again(id in "[^\\p{Cc}]{1,60}") {
            prop_assume!(id.len() <= MAX_MODEL_ID);
            let escaped: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let path = format!("/v1/models/{escaped}");
            prop_assert_eq!(Route::resolve(&path), Some(Route::Model(id)));
        }
    }
}
