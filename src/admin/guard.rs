//! What happens around every handler, in this order: who is it, may they do such things at all, read the
//! body, do it, write down what came of it, answer in the endpoint's words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use sluicegate_filters::screen::SECURITY_HEADERS;
use uuid::Uuid;

use super::actor::{Actor, Reach, Standing};
use super::audit::Act;
use super::call::Call;
use super::endpoint::Endpoint;
use super::error::{ApiError, Dialect};
use super::input::query::Query;
use super::services::Services;
use super::{identify, litellm};

/// Bytes of a body, at most.
pub const MAX_BODY: usize = 1024 * 1024;
/// Bytes of a body that is too long which are read all the same: who is still sending does not listen.
const MAX_DISCARDED: usize = 8 * MAX_BODY;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, in its extensions.
#[derive(Clone)]
struct RequestId(String);

/// Gives each request an id, and each answer that id and the headers of all our answers.
pub async fn dress(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in &SECURITY_HEADERS {
        headers.insert(name, value.clone());
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Serves one request to `endpoint`.
pub async fn serve(services: Arc<Services>, endpoint: Arc<Endpoint>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let dialect = endpoint.dialect;
    let peer = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(peer)| peer.ip().to_canonical());
    let request_id = parts.extensions.get().map_or_else(String::new, |RequestId(id)| id.clone());
    let act = |actor| {
        let action = endpoint.act.unwrap_or_default();
        Act::new(services.clone(), actor, action, peer, request_id.clone())
    };

    let actor = match admit(&services, &endpoint, &parts.headers, peer).await {
        Ok(actor) => Arc::new(actor),
        Err(error) => {
            // Nobody in particular: written down without waiting, or anybody could keep the disk busy.
            if endpoint.act.is_some() {
                act(None).note(error.status, error.code);
            }
            return error.answer(dialect);
        }
    };
    let act = Arc::new(act(Some(actor.clone())));
    let call = prepare(&services, &endpoint, actor, act.clone(), &mut parts, body).await;
    let closes = call.as_ref().is_err_and(|error| error.status == StatusCode::PAYLOAD_TOO_LARGE);
    let finished = match call {
        Ok(call) => {
            // In a task of its own: whoever goes away can't leave an act half done or not written down.
            match tokio::spawn(perform(endpoint.clone(), call)).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::error!(%error, path = endpoint.path, "a handler failed");
                    Err(ApiError::internal())
                }
            }
        }
        Err(error) => written_down(&endpoint, &act, Err(error)).await,
    };
    let mut response = finished.unwrap_or_else(|error| match dialect {
        Dialect::Own => error.answer(dialect),
        Dialect::LiteLlm => litellm::in_its_words(error, endpoint.path).answer(dialect),
    });
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Who it is.
async fn admit(
    services: &Services,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<Actor, ApiError> {
    if endpoint.needs.is_none() {
        let standing = Standing::Limited(Reach::default());
        return Ok(Actor { id: "anybody".to_owned(), standing, key: None, caller: None });
    }
    identify::actor(services, headers, peer).await
}

/// Whether they may, and what they sent.
async fn prepare(
    services: &Arc<Services>,
    endpoint: &Endpoint,
    actor: Arc<Actor>,
    act: Arc<Act>,
    parts: &mut Parts,
    body: Body,
) -> Result<Call, ApiError> {
    if let Some(permission) = endpoint.needs
        && !actor.may_at_all(permission)
    {
        return Err(ApiError::forbidden("Your credential does not allow this."));
    }
    let path = match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => {
            params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }
        Err(_) if !endpoint.path.contains('{') => Vec::new(),
        Err(_) => return Err(ApiError::invalid("path", "is not UTF-8")),
    };
    let query = Query::read(&parts.uri)?;
    let body = read(&parts.headers, body).await?;
    let headers = std::mem::take(&mut parts.headers);
    Ok(Call { services: services.clone(), actor, act, path, query, headers, body })
}

async fn perform(endpoint: Arc<Endpoint>, call: Call) -> Result<Response, ApiError> {
    let act = call.act.clone();
    let answer = (endpoint.handler)(call).await;
    written_down(&endpoint, &act, answer).await
}

/// Writes down what came of it, if it was to change anything.
async fn written_down(
    endpoint: &Endpoint,
    act: &Act,
    answer: Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    if endpoint.act.is_some() {
        match &answer {
            Ok(response) => act.finish(response.status(), None).await?,
            Err(error) => act.finish(error.status, Some(error.code)).await?,
        }
    }
    answer
}

/// Reads a body of JSON.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = body;
    let mut read = BytesMut::new();
    let mut length = 0;
    let all = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                let message = "The body ended before its declared length.";
                ApiError::new(StatusCode::BAD_REQUEST, "incomplete_request_body", message)
            })?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > MAX_DISCARDED {
                break;
            }
            if length <= MAX_BODY {
                read.extend_from_slice(&data);
            }
        }
        if length > MAX_BODY || declared.is_some_and(|declared: u64| declared > MAX_BODY as u64) {
            let message = format!("The body is over {MAX_BODY} bytes.");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message));
        }
        Ok(())
    };
    match tokio::time::timeout(BODY_TIMEOUT, all).await {
        Ok(result) => result?,
        Err(_) => {
            let message = "The body did not arrive in time.";
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message));
        }
    }
    if !read.is_empty() {
        typed(headers)?;
    }
    Ok(read.freeze())
}

/// Wants JSON. Web pages can't send it to another origin without asking first.
fn typed(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |code, message: &'static str| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message)
    };
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(unsupported("unsupported_content_encoding", "The body is compressed."));
    }
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media != "application/json" && media != "application/merge-patch+json" {
        return Err(unsupported("unsupported_media_type", "The body must be JSON.")
            .hint("send content-type: application/json"));
    }
    Ok(())
}

/// The answer where there is no such route.
pub async fn no_such_route() -> Response {
    let message = "There is no such path on the admin listener.";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
        .hint("see /admin/v1/openapi.json")
        .answer(Dialect::Own)
}

/// The answer where the path has other methods. `Allow` says which.
pub async fn no_such_method() -> Response {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This path does not have this method.",
    )
    .answer(Dialect::Own)
    .into_response()
}
