//! The way in: what happens to a connection before Pingora sees a request on it.
//!
//! Pingora caps neither connections nor the time a client may take to send a header, and peeks for
//! HTTP/2 without a deadline. So the listener hands every accepted socket to [`Edge`], which counts
//! it, finishes TLS, wraps it in a [`GuardedStream`] with deadlines, and only then lets the proxy
//! have it.

mod conn;
mod guard;
mod limits;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::tls::server::handshake;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

pub use self::conn::{Conn, Phase};
pub use self::guard::GuardedStream;
pub use self::limits::{ConnectionLimits, ConnectionPermit, Refusal};
use crate::app::Gateway;
use crate::proxy::Proxy;

/// The connection-level application in front of the proxy.
pub struct Edge {
    proxy: Arc<HttpProxy<Proxy>>,
    gateway: Arc<Gateway>,
    tls: Option<Arc<tls::Acceptor>>,
}

impl Edge {
    /// Puts the edge in front of `proxy`; with `tls` set, every connection must be TLS.
    pub fn new(
        proxy: HttpProxy<Proxy>,
        gateway: Arc<Gateway>,
        tls: Option<Arc<tls::Acceptor>>,
    ) -> Self {
        Self { proxy: Arc::new(proxy), gateway, tls }
    }

    /// Finishes TLS within the header deadline. `None` closes the connection.
    async fn secure(&self, stream: Stream, within: Duration) -> Option<Stream> {
        let Some(acceptor) = &self.tls else { return Some(stream) };
        // What is in use now; a change meanwhile is for the next handshake.
        let acceptor = acceptor.get();
        // What the listener accepts is always a socket; the type is erased on the way here.
        let socket = stream.into_any().downcast::<L4Stream>().ok()?;
        match tokio::time::timeout(within, handshake(acceptor.it(), *socket)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                self.gateway.metrics.connection_refused("tls_handshake");
                None
            }
            Err(_) => {
                self.gateway.metrics.connection_refused("tls_timeout");
                None
            }
        }
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let runtime = self.gateway.current();
        let limits = &runtime.config.limits;
        let (header_timeout, idle_timeout) = (limits.header_timeout, limits.keepalive_timeout);
        let write_timeout = limits.write_timeout;

        // Before TLS: a handshake is the most expensive thing a stranger can make us do.
        let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr().cloned());
        let peer = peer.as_ref().and_then(|address| address.as_inet()).map(|inet| inet.ip());
        let permit = match self.gateway.connections.acquire(
            peer,
            limits.connections_per_ip,
            limits.connections,
        ) {
            Ok(permit) => permit,
            Err(refusal) => {
                self.gateway.metrics.connection_refused(refusal.reason());
                return None;
            }
        };
        drop(runtime);

        let stream = self.secure(stream, header_timeout).await?;
        let conn = Arc::new(Conn::new(
            peer,
            permit,
            self.gateway.busy.clone(),
            self.gateway.multiplexed.clone(),
        ));
        let guarded = GuardedStream::new(stream, conn, header_timeout, idle_timeout, write_timeout);
        ServerApp::process_new(&self.proxy, Box::new(guarded), shutdown).await
    }

    /// Deliberately leaves idle keep-alive connections open: closing one at the moment its client
    /// writes a request would lose that request. They end with their next answer, which says
    /// `connection: close`, or when the process leaves.
    async fn cleanup(&self) {}
}
