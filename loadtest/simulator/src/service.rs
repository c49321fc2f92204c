//! From a request to its answer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, RETRY_AFTER,
    },
    request::Parts,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    Behaviour, Fault, Options, Recorded,
    auth::{self, Issued, TokenAnswer},
    directives::looks_like_directives,
    entry::{Entry, Tokens},
    errors::{Dialect, Refusal},
    ledger::Books,
    mcp::{self, Mcp},
    play::{Answer, Op, Play},
    replies::{Reply, Said, json_string, reasoning_tokens},
    request::{Call, Endpoint, check, parse, parse_routed},
    route::{Cloud, Route, parameter},
    server::ResetSwitch,
};

/// The simulated provider: all that its connections share.
#[derive(Debug)]
pub(crate) struct Provider {
    options: Options,
    books: Arc<Books>,
    serial: AtomicU64,
    google: Issued,
    entra: Issued,
    mcp: Mcp,
}

const MAX_BODY: usize = 64 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const FRAMES: HeaderValue = HeaderValue::from_static("application/vnd.amazon.eventstream");
const HTML: HeaderValue = HeaderValue::from_static("text/html");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const DIRECTIVES: HeaderName = HeaderName::from_static("x-sim");
const OPENAI_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const AZURE_REQUEST_ID: HeaderName = HeaderName::from_static("apim-request-id");
const AMAZON_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const AMAZON_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");
const GOOGLE_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const AZURE_KEY: HeaderName = HeaderName::from_static("api-key");
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

impl Provider {
    pub(crate) fn new(options: Options, books: Arc<Books>) -> Self {
        let mcp = Mcp::new(options.mcp.clone());
        Self {
            options,
            books,
            mcp,
            serial: AtomicU64::new(1),
            google: Issued::default(),
            entra: Issued::default(),
        }
    }

    pub(crate) fn books(&self) -> &Arc<Books> {
        &self.books
    }

    pub(crate) fn mcp(&self) -> &Mcp {
        &self.mcp
    }

    /// Answers one request.
    ///
    /// # Errors
    /// When the connection is to be closed without an answer, or broke while the body was read.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        reset: ResetSwitch,
    ) -> io::Result<Response<Answer>> {
        let (parts, body) = request.into_parts();
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let Some(body) = read(body).await? else {
            let refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.");
            return Ok(refuse(&refusal, Dialect::OpenAi, serial));
        };
        if mcp::serves(parts.uri.path()) {
            return self.mcp.shared().serve(&parts, &body, reset).await;
        }
        if self.options.record_requests && is_providers(parts.uri.path()) {
            self.record(&parts, &body);
        }
        let path = parts.uri.path();
        if let Some(answer) = self.token(&parts, &body) {
            return Ok(answer);
        }
        let Some(route) = Route::from_uri(&parts.uri) else {
            return Ok(self.side_door(&parts, serial));
        };
        if parts.method != Method::POST {
            let message = format!("Not allowed to {} on {path}.", parts.method);
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message);
            return Ok(refuse(&refusal, route.dialect(), serial));
        }
        self.call(&route, &parts, &body, serial, reset).await
    }

    /// A call of a model.
    async fn call(
        &self,
        route: &Route,
        parts: &Parts,
        body: &Bytes,
        serial: u64,
        reset: ResetSwitch,
    ) -> io::Result<Response<Answer>> {
        let (endpoint, headers) = (route.endpoint, &parts.headers);
        let dialect = route.dialect();
        let checked =
            self.admit(route, parts, body).and_then(|()| content_type(headers)).and_then(|()| {
                if let (Some(model), Some(stream)) = (&route.model, route.stream) {
                    let (call, asked) = parse_routed(endpoint, model, stream, body)?;
                    let behaviour = self.behaviour(&call, headers)?;
                    return Ok((call, behaviour, asked));
                }
                let call = parse(endpoint, route.model.as_deref(), body)?;
                let behaviour = self.behaviour(&call, headers)?;
                let asked = check(endpoint, body, &behaviour)?;
                Ok((call, behaviour, asked))
            });
        let (call, behaviour, asked) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                self.books.arrived("");
                self.books.refused("");
                return Ok(refuse(&refusal, dialect, serial));
            }
        };
        let model = call.model.split(';').next().unwrap_or_default().trim();
        let before = self.books.arrived(model);
        let said = Said::new(endpoint, &asked, &behaviour, limit(&call, &behaviour), serial);
        let (tokens, limited) = tokens(endpoint, &call, &behaviour, said.as_ref(), body.len());
        let reasoning = u64::from(reasoning_tokens(endpoint, &asked, &behaviour));
        let tokens = Tokens { reasoning, ..tokens };
        let mut entry = Entry::open(self.books.clone(), model, call.stream, tokens);
        if let Some(Fault::DelayHead(delay)) = behaviour.fault {
            tokio::time::sleep(delay).await;
        }
        if let Some(instead) = instead_of_answer(&behaviour, route, before, serial) {
            entry.failed_empty();
            return instead;
        }
        let reply = Reply {
            cloud: route.cloud,
            call: &call,
            asked: &asked,
            said,
            behaviour: &behaviour,
            model: json_string(model),
            serial,
            created: unix_seconds(),
            tokens,
            limited,
        };
        let mut response = if call.stream {
            stream(&reply, endpoint, entry, reset)
        } else {
            pace(&behaviour, &mut entry, tokens.content).await;
            whole(&reply, endpoint, entry, reset)
        };
        identify(response.headers_mut(), dialect, serial);
        Ok(response)
    }

    /// Credentials, version, and what the query has to say.
    fn admit(&self, route: &Route, parts: &Parts, body: &Bytes) -> Result<(), Refusal> {
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = bearer(&parts.headers);
        let required = self.options.require_key.as_deref();
        let fits = |key: &str| !key.is_empty() && required.is_none_or(|required| required == key);
        match (route.cloud, route.endpoint) {
            (Cloud::None, endpoint) => self.check(endpoint.dialect(), &parts.headers)?,
            (Cloud::GoogleAi, _) => {
                let parameter = parameter(&parts.uri, "key");
                match text(&GOOGLE_KEY).or(parameter.as_deref()) {
                    Some(key) if fits(key) => {}
                    Some(_) => {
                        let message = "API key not valid. Please pass a valid API key.";
                        return Err(Refusal::bad_request(message).code("API_KEY_INVALID"));
                    }
                    None => {
                        let message = "Method doesn't allow unregistered callers (callers without established identity).";
                        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
                    }
                }
            }
            (Cloud::Vertex, _) => {
                if !bearer.is_some_and(|token| self.google.is_good(token)) {
                    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.";
                    return Err(Refusal::new(StatusCode::UNAUTHORIZED, message)
                        .code("ACCESS_TOKEN_TYPE_UNSUPPORTED")
                        .spoken(Dialect::Google));
                }
            }
            (Cloud::Azure, _) => {
                let good = match (text(&AZURE_KEY), bearer) {
                    (Some(key), _) => fits(key),
                    (None, Some(token)) => self.entra.is_good(token),
                    (None, None) => false,
                };
                if !good {
                    let message = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.";
                    return Err(Refusal::new(StatusCode::UNAUTHORIZED, message));
                }
            }
            (Cloud::Bedrock, _) => {
                let account = self.options.cloud.aws.as_ref();
                auth::sigv4::verify(account, parts, body, unix_seconds())?;
            }
        }
        route.check_query(&parts.uri)
    }

    /// The token endpoints of Google and of Microsoft Entra.
    fn token(&self, parts: &Parts, body: &Bytes) -> Option<Response<Answer>> {
        let path = parts.uri.path();
        let tenant =
            path.strip_suffix("/oauth2/v2.0/token").and_then(|path| path.strip_prefix('/'));
        if path != "/token" && tenant.is_none() {
            return None;
        }
        let form = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let form = form.and_then(|value| value.split(';').next()).map(str::trim);
        let cloud = &self.options.cloud;
        let answer =
            if parts.method != Method::POST || form != Some("application/x-www-form-urlencoded") {
                let body =
                    r#"{"error":"invalid_request","error_description":"Post a form."}"#.to_owned();
                TokenAnswer { status: 400, body, issued: false }
            } else if let Some(tenant) = tenant {
                auth::entra::token(cloud.entra.as_ref(), &self.entra, tenant, body)
            } else {
                let host = parts.headers.get(HOST).and_then(|value| value.to_str().ok());
                let host = host.or(parts.uri.authority().map(http::uri::Authority::as_str));
                let host = host.unwrap_or_default();
                auth::google::token(cloud.google.as_ref(), &self.google, host, body, unix_seconds())
            };
        if answer.issued {
            self.books.token_issued();
        }
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_REQUEST);
        Some(plain(status, JSON, answer.body))
    }

    /// Credentials and version.
    fn check(&self, dialect: Dialect, headers: &HeaderMap) -> Result<(), Refusal> {
        let unauthorized = |message| Refusal::new(StatusCode::UNAUTHORIZED, message);
        let bearer = bearer(headers);
        let (key, absent, wrong) = match dialect {
            Dialect::OpenAi | Dialect::Azure | Dialect::Google | Dialect::Bedrock => {
                let wrong = unauthorized("Incorrect API key provided.").code("invalid_api_key");
                (bearer, unauthorized("You didn't provide an API key."), wrong)
            }
            Dialect::Anthropic => {
                // Releases of the Python SDK differ in which of the two headers has the key.
                let key = headers.get(API_KEY).and_then(|value| value.to_str().ok()).or(bearer);
                let absent = unauthorized("x-api-key header is required");
                (key, absent, unauthorized("invalid x-api-key"))
            }
        };
        match (key.filter(|key| !key.is_empty()), &self.options.require_key) {
            (None, _) => return Err(absent),
            (Some(key), Some(required)) if key != required => return Err(wrong),
            _ => {}
        }
        if dialect == Dialect::Anthropic && !headers.contains_key(VERSION) {
            return Err(Refusal::bad_request("anthropic-version: header is required"));
        }
        Ok(())
    }

    /// The defaults, changed by what the request says.
    fn behaviour(&self, call: &Call<'_>, headers: &HeaderMap) -> Result<Behaviour, Refusal> {
        let mut behaviour = self.options.defaults;
        let header = headers.get(DIRECTIVES).map(|value| value.to_str().unwrap_or("?"));
        let suffix = call.model.split_once(';').map(|(_, suffix)| suffix);
        let user = call.user.as_deref().filter(|user| looks_like_directives(user));
        for directives in [suffix, user, header].into_iter().flatten() {
            behaviour.apply(directives).map_err(|error| {
                Refusal::bad_request(format!("simulator directives: {error}"))
                    .code("invalid_directives")
            })?;
        }
        Ok(behaviour)
    }

    /// Everything that is not a call of a model.
    fn side_door(&self, parts: &Parts, serial: u64) -> Response<Answer> {
        let (method, path) = (&parts.method, parts.uri.path());
        match (method.as_str(), path) {
            ("GET", "/health") => plain(StatusCode::OK, JSON, r#"{"status":"ok"}"#),
            ("GET", "/ledger") => serialized(&self.books.ledger()),
            ("POST", "/ledger/reset") => {
                self.books.reset();
                serialized(&self.books.ledger())
            }
            ("GET", "/requests") => {
                let seen: Vec<_> = self.books.recorded().iter().map(recorded_json).collect();
                serialized(&seen)
            }
            ("GET", path) if path == "/v1/models" || path.starts_with("/v1/models/") => {
                let anthropic = parts.headers.contains_key(VERSION);
                let dialect = if anthropic { Dialect::Anthropic } else { Dialect::OpenAi };
                let name = path.strip_prefix("/v1/models/");
                let answer = self.check(dialect, &parts.headers);
                match answer.and_then(|()| self.models(dialect, name)) {
                    Ok(body) => {
                        let mut response = plain(StatusCode::OK, JSON, body);
                        identify(response.headers_mut(), dialect, serial);
                        response
                    }
                    Err(refusal) => refuse(&refusal, dialect, serial),
                }
            }
            _ => {
                let message = format!("Invalid URL ({method} {path})");
                refuse(&Refusal::new(StatusCode::NOT_FOUND, message), Dialect::OpenAi, serial)
            }
        }
    }

    fn models(&self, dialect: Dialect, name: Option<&str>) -> Result<String, Refusal> {
        let one = |model: &String| {
            let name = json_string(model);
            match dialect {
                Dialect::OpenAi | Dialect::Azure | Dialect::Google | Dialect::Bedrock => format!(
                    r#"{{"id":{name},"object":"model","created":1700000000,"owned_by":"simulator"}}"#
                ),
                Dialect::Anthropic => format!(
                    r#"{{"type":"model","id":{name},"display_name":{name},"created_at":"2023-11-14T22:13:20Z"}}"#
                ),
            }
        };
        let models = &self.options.models;
        if let Some(name) = name {
            let known = models.iter().find(|model| *model == name);
            return known.map(one).ok_or_else(|| {
                let message = format!("The model '{name}' does not exist");
                Refusal::new(StatusCode::NOT_FOUND, message).code("model_not_found")
            });
        }
        let data = models.iter().map(one).collect::<Vec<_>>().join(",");
        Ok(match dialect {
            Dialect::OpenAi | Dialect::Azure | Dialect::Google | Dialect::Bedrock => {
                format!(r#"{{"object":"list","data":[{data}]}}"#)
            }
            Dialect::Anthropic => {
                let end = |model: Option<&String>| {
                    model.map_or_else(|| "null".to_owned(), |model| json_string(model))
                };
                let (first, last) = (end(models.first()), end(models.last()));
                format!(
                    r#"{{"data":[{data}],"has_more":false,"first_id":{first},"last_id":{last}}}"#
                )
            }
        })
    }

    fn record(&self, parts: &Parts, body: &Bytes) {
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        self.books.record(Recorded {
            method: parts.method.clone(),
            path: path.to_owned(),
            headers: parts.headers.clone(),
            body: body.clone(),
        });
    }
}

/// The body, or `None` when it is too large. A body that arrives in one piece is not copied.
async fn read(mut body: Incoming) -> io::Result<Option<Bytes>> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > MAX_BODY {
            return Ok(None);
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(Some(first));
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(Some(whole.freeze()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Whether a path is one that a provider might have, and not the simulator's own.
fn is_providers(path: &str) -> bool {
    ["/v1", "/openai/", "/model/"].iter().any(|prefix| path.starts_with(prefix))
        || path.ends_with("/token")
}

fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let media = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "Unsupported content type. This API method only accepts 'application/json'.";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).code("unsupported_content_type"))
}

/// The most tokens that an answer may have.
fn limit(call: &Call<'_>, behaviour: &Behaviour) -> u64 {
    let asked = call.max_tokens.filter(|_| behaviour.fault != Some(Fault::IgnoreLimit));
    asked.unwrap_or(u64::MAX)
}

/// What the answer costs, without reasoning, and whether the request's limit cuts it.
fn tokens(
    endpoint: Endpoint,
    call: &Call<'_>,
    behaviour: &Behaviour,
    said: Option<&Said>,
    body: usize,
) -> (Tokens, bool) {
    let estimate = (body as u64 / 4).max(1);
    let (cached, mut cache_write) = (u64::from(behaviour.cached_tokens), 0);
    let mut tokens = Tokens::default();
    let mut limited = false;
    if matches!(endpoint, Endpoint::Messages | Endpoint::Converse) {
        cache_write = u64::from(behaviour.cache_write_tokens);
    }
    if endpoint.generates() {
        let limit = limit(call, behaviour);
        let each = said.map_or(u64::from(behaviour.tokens), Said::content_tokens);
        limited = said.map_or(limit < each, |said| said.limited);
        tokens.content = each.min(limit) * u64::from(call.choices);
    }
    tokens.prompt = behaviour.prompt_tokens.map_or(estimate, u64::from).max(cached + cache_write);
    (Tokens { cached, cache_write, ..tokens }, limited)
}

/// The faults that take the place of the whole answer.
fn instead_of_answer(
    behaviour: &Behaviour,
    route: &Route,
    before: u64,
    serial: u64,
) -> Option<io::Result<Response<Answer>>> {
    let error = |status: u16| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = match behaviour.fault {
            Some(Fault::RetryAfter { seconds, .. }) => Some(seconds),
            _ => None,
        };
        // Vertex AI speaks for Claude unless it is Claude that is overloaded.
        let dialect = match route.cloud {
            Cloud::Vertex if status.as_u16() != 529 => Dialect::Google,
            _ => route.dialect(),
        };
        let refusal = Refusal { retry, ..Refusal::new(status, "simulated fault") };
        refuse(&refusal, dialect, serial)
    };
    Some(match behaviour.fault? {
        Fault::Status(status) => Ok(error(status)),
        Fault::RetryAfter { status, seconds } => {
            let mut response = error(status);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            Ok(response)
        }
        Fault::NotJson => Ok(plain(
            StatusCode::OK,
            HTML,
            "<!doctype html><title>Not what you asked for</title><p>An intermediary speaks.",
        )),
        Fault::EmptyReply => Err(io::Error::other("closed by a fault")),
        Fault::RefuseFirst(count) if before < u64::from(count) => Ok(error(503)),
        _ => return None,
    })
}

/// An answer that is not a stream is generated before its head is sent.
async fn pace(behaviour: &Behaviour, entry: &mut Entry, tokens: u64) {
    let time = behaviour.time_until(tokens);
    if !time.is_zero() && tokens > 0 {
        entry.generate_unseen(behaviour);
        tokio::time::sleep(time).await;
    }
    entry.generated_all();
}

fn whole(
    reply: &Reply<'_>,
    endpoint: Endpoint,
    mut entry: Entry,
    reset: ResetSwitch,
) -> Response<Answer> {
    let body = reply.whole(endpoint);
    let half = body.slice(..body.len() / 2);
    let length = HeaderValue::from(body.len());
    let (ops, length) = match reply.behaviour.fault {
        Some(Fault::Stall { .. }) => (vec![Op::Write(half), Op::Stall], Some(length)),
        Some(Fault::Truncate { .. } | Fault::TruncateMidEvent { .. }) => {
            (vec![Op::Write(half), Op::EndFailed], None)
        }
        Some(Fault::Reset { .. }) => (vec![Op::Write(half), Op::Reset], Some(length)),
        Some(Fault::CloseMidBody) => (vec![Op::Write(half), Op::Close], Some(length)),
        Some(Fault::MalformedSse { .. } | Fault::CorruptFrame { .. }) => {
            let length = HeaderValue::from(half.len());
            (vec![Op::Write(half), Op::EndFailed], Some(length))
        }
        Some(Fault::ErrorEvent { .. }) => {
            entry.failed();
            let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "simulated fault");
            return refuse(&refusal, endpoint.dialect(), reply.serial);
        }
        _ if matches!(reply.behaviour.chunking, crate::Chunking::Bytes(_)) => {
            (vec![Op::Write(body), Op::End], Some(length))
        }
        _ => {
            let mut response = Response::new(Answer::Whole { body, entry: Some(entry) });
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            return response;
        }
    };
    let play = Play::fixed(ops, *reply.behaviour, entry, reset);
    let mut response = Response::new(Answer::Play(Box::new(play)));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response
}

fn stream(
    reply: &Reply<'_>,
    endpoint: Endpoint,
    entry: Entry,
    reset: ResetSwitch,
) -> Response<Answer> {
    let script = reply.script(endpoint);
    let frames = endpoint == Endpoint::Converse;
    let mut length = None;
    let play = if reply.behaviour.fault == Some(Fault::CloseMidBody) {
        let mut entry = entry;
        let body = script.joined();
        length = Some(HeaderValue::from(body.len()));
        entry.generated_all();
        let ops = vec![Op::Write(body.slice(..body.len() / 2)), Op::Close];
        Play::fixed(ops, *reply.behaviour, entry, reset)
    } else {
        Play::stream(script, frames, *reply.behaviour, entry, reset)
    };
    let mut response = Response::new(Answer::Play(Box::new(play)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, if frames { FRAMES } else { EVENT_STREAM });
    headers.insert(CACHE_CONTROL, NO_CACHE);
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length);
    }
    response
}

fn refuse(refusal: &Refusal, dialect: Dialect, serial: u64) -> Response<Answer> {
    let dialect = refusal.dialect.unwrap_or(dialect);
    let body = refusal.body(dialect, &request_id(serial));
    let mut response = plain(refusal.status, JSON, body);
    if dialect == Dialect::Bedrock {
        let kind = HeaderValue::from_static(refusal.amazon_kind());
        response.headers_mut().insert(AMAZON_ERROR, kind);
    }
    identify(response.headers_mut(), dialect, serial);
    response
}

fn plain(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Answer> {
    let mut response = Response::new(Answer::plain(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn serialized(value: &impl serde::Serialize) -> Response<Answer> {
    match serde_json::to_vec(value) {
        Ok(body) => plain(StatusCode::OK, JSON, body),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, JSON, "{}"),
    }
}

/// Header values and bodies need not be UTF-8; what is not is replaced.
fn recorded_json(request: &Recorded) -> serde_json::Value {
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    serde_json::json!({
        "method": request.method.as_str(),
        "path": request.path,
        "headers": headers,
        "body": String::from_utf8_lossy(&request.body),
    })
}

fn identify(headers: &mut HeaderMap, dialect: Dialect, serial: u64) {
    let name = match dialect {
        Dialect::OpenAi | Dialect::Google => OPENAI_REQUEST_ID,
        Dialect::Azure => AZURE_REQUEST_ID,
        Dialect::Bedrock => AMAZON_REQUEST_ID,
        Dialect::Anthropic => ANTHROPIC_REQUEST_ID,
    };
    if let Ok(value) = HeaderValue::try_from(request_id(serial)) {
        headers.insert(name, value);
    }
}

fn request_id(serial: u64) -> String {
    format!("req_sim{serial:016x}")
}

fn unix_seconds() -> u64 {
    // A clock before 1970 is not worth an error here.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
