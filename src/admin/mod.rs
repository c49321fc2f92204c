//! The administrator's listener and the metrics' listener: small HTTP services beside the proxy.
//!
//! | module | what it is |
//! |---|---|
//! | [`services`] | what the admin API needs of the rest of the program |
//! | [`routes`] | every route on one page |
//! | [`guard`] | what happens around every handler |
//! | [`identify`], [`actor`] | who asks, and what they may |
//! | [`backoff`] | slows down who guesses |
//! | [`audit`] | acts are written down before they are done |
//! | [`input`] | what callers send, read strictly |
//! | [`service`] | the rules |
//! | [`own`], [`litellm`] | the two dialects over them |
//! | [`ports`] | the gateway's own policies and audit log, as the handlers want them |
//! | [`openapi`] | the document of both |

pub mod actor;
pub mod audit;
mod auth;
pub mod backoff;
pub mod call;
pub mod endpoint;
pub mod error;
pub mod guard;
pub mod identify;
pub mod input;
pub mod litellm;
mod metrics;
pub mod openapi;
pub mod own;
pub mod ports;
pub mod routes;
pub mod service;
pub mod services;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use self::services::Services;
use crate::app::Gateway;
use crate::edge::ConnectionLimits;
use crate::tls::{Acceptor, Listener};

/// Connections of one of these listeners: from the networks that it allows, and as many again from elsewhere,
/// so that strangers, who get no more than health and refusals, keep nobody out.
const CONNECTIONS: usize = 256;
/// Those of one address.
const CONNECTIONS_PER_ADDRESS: usize = 64;
/// How long a handshake may take, and a request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after a failed accept, which is nearly always a lack of files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves the admin API.
pub async fn serve_admin(services: Arc<Services>, listener: TcpListener) {
    let gateway = services.gateway.clone();
    let router = routes::router(&services)
        .merge(health().with_state(gateway.clone()))
        .layer(axum::middleware::from_fn_with_state(gateway.clone(), auth::admin_network))
        .layer(axum::middleware::from_fn(guard::dress));
    serve(Listener::Admin, router, listener, &gateway).await;
}

/// Serves `/metrics`.
pub async fn serve_metrics(gateway: Arc<Gateway>, listener: TcpListener) {
    let router = Router::new()
        .merge(metrics::routes())
        .route_layer(axum::middleware::from_fn_with_state(gateway.clone(), auth::scraper))
        .route_layer(axum::middleware::from_fn_with_state(gateway.clone(), auth::metrics_network))
        // Outside the list: a kubelet's address is nobody's to know beforehand.
        .merge(health())
        .layer(axum::middleware::from_fn(guard::dress));
    serve(Listener::Metrics, router.with_state(gateway.clone()), listener, &gateway).await;
}

/// Serves connections, so many at once and no more, each with a deadline for its header: these
/// listeners may face a network, and files are for the proxy's connections.
async fn serve(which: Listener, router: Router, listener: TcpListener, gateway: &Gateway) {
    let name = which.name();
    let tls = gateway.tls.get(which);
    let (allowed, others) = (ConnectionLimits::new(), ConnectionLimits::new());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(name, %error, "connection not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let limits = if auth::allows(gateway, which, peer.ip()) { &allowed } else { &others };
        let place = limits.acquire(Some(peer.ip()), CONNECTIONS_PER_ADDRESS, CONNECTIONS);
        let place = match place {
            Ok(place) => place,
            Err(refusal) => {
                tracing::debug!(name, peer = %peer.ip(), ?refusal, "connection closed at once");
                continue;
            }
        };
        let router = router.clone().layer(Extension(ConnectInfo(peer)));
        let tls = tls.cloned();
        tokio::spawn(async move {
            match tls {
                None => converse(name, router, stream).await,
                Some(acceptor) => {
                    if let Some(stream) = secure(name, &acceptor, stream).await {
                        converse(name, router, stream).await;
                    }
                }
            }
            drop(place);
        });
    }
}

/// Finishes TLS. `None`: the connection is of no use.
async fn secure(
    name: &'static str,
    acceptor: &Acceptor,
    stream: TcpStream,
) -> Option<TlsStream<TcpStream>> {
    // What is in use now; a change meanwhile is for the next handshake.
    let config = acceptor.get().it().clone();
    match timeout(HEADER_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(name, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(name, "TLS handshake not in time");
            None
        }
    }
}

/// Answers the requests of one connection.
async fn converse(
    name: &'static str,
    router: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(name, %error, "connection ended");
    }
}

/// The health routes, here too: they answer until the process leaves, when the proxy's listener has
/// long been closed.
fn health() -> Router<Arc<Gateway>> {
    let ready = |State(gateway): State<Arc<Gateway>>| async move {
        answer(gateway.health(!gateway.is_draining()))
    };
    let live = |State(gateway): State<Arc<Gateway>>| async move { answer(gateway.health(true)) };
    Router::new()
        .route("/health", get(ready))
        .route("/health/ready", get(ready))
        .route("/health/readiness", get(ready))
        .route("/health/live", get(live))
        .route("/health/liveliness", get(live))
}

fn answer((status, body): (http::StatusCode, bytes::Bytes)) -> impl IntoResponse {
    (status, [(CONTENT_TYPE, "application/json")], body)
}
