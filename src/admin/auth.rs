//! Who may use these listeners: networks first, then credentials.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::app::Gateway;
use crate::config::Secret;
use crate::tls::Listener;

/// Lets only the networks of `listeners.admin.allow` in.
pub async fn admin_network(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = allows(&gateway, Listener::Admin, peer.ip());
    if allowed { next.run(request).await } else { foreign("listeners.admin.allow") }
}

/// Lets only the networks of `listeners.metrics.allow` in.
pub async fn metrics_network(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = allows(&gateway, Listener::Metrics, peer.ip());
    if allowed { next.run(request).await } else { foreign("listeners.metrics.allow") }
}

/// Wants the scraper's token, where one is configured.
pub async fn scraper(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let token = gateway.current().config.listeners.metrics.bearer_token.clone();
    if presents(&request, token.as_ref()) { next.run(request).await } else { unauthorized() }
}

/// Whether the list of a listener has a network that `peer` is in.
pub fn allows(gateway: &Gateway, which: Listener, peer: IpAddr) -> bool {
    let runtime = gateway.current();
    let listeners = &runtime.config.listeners;
    let networks: &[IpNet] = match which {
        Listener::Admin => &listeners.admin.allow,
        Listener::Metrics => &listeners.metrics.allow,
        Listener::Proxy => return true,
    };
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}

/// Whether `request` carries `secret` as its bearer token; `true` where there is no secret.
fn presents(request: &Request, secret: Option<&Secret>) -> bool {
    let Some(secret) = secret else { return true };
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return false;
    };
    // Digests have one length, so the comparison's time tells nothing of the secret's.
    let (ours, theirs) =
        (Sha256::digest(secret.value.expose_secret()), Sha256::digest(token.trim()));
    scheme.eq_ignore_ascii_case("bearer") && bool::from(ours.ct_eq(&theirs))
}

fn unauthorized() -> Response {
    let error = json!({"error": {
        "code": "invalid_api_key",
        "message": "This listener wants its key as `Authorization: Bearer`.",
    }});
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], Json(error)).into_response()
}

fn foreign(key: &str) -> Response {
    let message = format!("Your address is not in {key}.");
    let error = json!({"error": {"code": "address_not_allowed", "message": message}});
    (StatusCode::FORBIDDEN, Json(error)).into_response()
}
