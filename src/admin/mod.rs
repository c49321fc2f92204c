//! The administrator's listener and the metrics' listener: small HTTP services beside the proxy.

mod auth;
mod config;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::app::Gateway;

/// Serves the admin API.
pub async fn serve_admin(gateway: Arc<Gateway>, listener: TcpListener) {
    let router = Router::new()
        .merge(config::routes())
        .route_layer(axum::middleware::from_fn_with_state(gateway.clone(), auth::administrator))
        .merge(health())
        .layer(axum::middleware::from_fn_with_state(gateway.clone(), auth::admin_network));
    serve("admin", gateway, router, listener).await;
}

/// Serves `/metrics`.
pub async fn serve_metrics(gateway: Arc<Gateway>, listener: TcpListener) {
    let router = Router::new()
        .merge(metrics::routes())
        .route_layer(axum::middleware::from_fn_with_state(gateway.clone(), auth::scraper))
        .route_layer(axum::middleware::from_fn_with_state(gateway.clone(), auth::metrics_network))
        // Outside the list: a kubelet's address is nobody's to know beforehand.
        .merge(health());
    serve("metrics", gateway, router, listener).await;
}

async fn serve(
    name: &'static str,
    gateway: Arc<Gateway>,
    router: Router<Arc<Gateway>>,
    listener: TcpListener,
) {
    let service = router.with_state(gateway).into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, service).await {
        tracing::error!(name, %error, "listener ended");
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
