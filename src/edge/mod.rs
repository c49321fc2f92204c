//! The way in: what happens to a connection before Pingora sees a request on it.
//!
//! Pingora caps neither connections nor the time a client may take to send a header, and peeks for
//! HTTP/2 without a deadline. So the listener hands every accepted socket that [`Gate`] lets in to
//! [`Edge`], which counts it, finishes TLS, wraps it in a [`GuardedStream`] with deadlines, a bound on heads and a look at
//! HTTP/2 frames, and only then lets the proxy have it.

mod arrivals;
mod conn;
mod forwarded;
pub mod frames;
mod guard;
mod limits;
mod rate;
mod refusal;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::listeners::tls::Acceptor as PingoraAcceptor;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::tls::ALPN;
use pingora_core::protocols::tls::server::handshake;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;

pub use self::arrivals::{Blame, Gate};
pub use self::conn::{Conn, Phase};
pub use self::forwarded::{client, is_trusted};
pub use self::frames::{Abuse, Abuses};
pub use self::guard::{Bounds, GuardedStream, Speaks};
pub use self::limits::{ConnectionLimits, ConnectionPermit, Refusal};
pub use self::rate::{Rate, Rates, network};
pub use self::refusal::{Teller, Tells};
use crate::app::Gateway;
use crate::proxy::Proxy;
use crate::tls::Acceptor;

/// The connection-level application in front of the proxy.
pub struct Edge {
    proxy: Arc<HttpProxy<Proxy>>,
    gateway: Arc<Gateway>,
    tls: Option<Arc<Acceptor>>,
    /// Whether HTTP/2 is spoken without TLS.
    h2c: bool,
    teller: Arc<dyn Tells>,
}

impl Edge {
    /// Puts the edge in front of `proxy`; with `tls` set, every connection must be TLS.
    pub fn new(proxy: HttpProxy<Proxy>, gateway: Arc<Gateway>, tls: Option<Arc<Acceptor>>) -> Self {
        let h2c = proxy.server_options.as_ref().is_some_and(|options| options.h2c);
        let teller = Arc::new(Teller(gateway.clone()));
        Self { proxy: Arc::new(proxy), gateway, tls, h2c, teller }
    }

    /// Finishes TLS within the header deadline. `None` closes the connection.
    async fn secure(
        &self,
        acceptor: &Acceptor,
        stream: Stream,
        within: Duration,
    ) -> Option<Stream> {
        // What is in use now; a change meanwhile is for the next handshake.
        let acceptor = PingoraAcceptor::from_server_config(acceptor.get().it().clone());
        // What the listener accepts is always a socket; the type is erased on the way here.
        let socket = stream.into_any().downcast::<L4Stream>().ok()?;
        match tokio::time::timeout(within, handshake(&acceptor, *socket)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                self.gateway.metrics.connections.refused("tls_handshake");
                None
            }
            Err(_) => {
                self.gateway.metrics.connections.refused("tls_timeout");
                None
            }
        }
    }

    /// Serves a connection to its end.
    async fn serve(self: Arc<Self>, stream: Stream, mut shutdown: ShutdownWatch) {
        let Some(Admitted { peer, permit, blame, bounds, retires }) = self.admit(&stream) else {
            return;
        };
        let stream = match &self.tls {
            None => stream,
            // In a box, which is free again when it is done: connections live longer.
            Some(acceptor) => {
                let secured = Box::pin(self.secure(acceptor, stream, bounds.header_timeout));
                let Some(stream) = secured.await else { return };
                stream
            }
        };
        // As Pingora decides.
        let speaks = match stream.selected_alpn_proto() {
            Some(ALPN::H2) => Speaks::Http2,
            None if self.h2c && self.tls.is_none() => Speaks::Either,
            _ => Speaks::Http1,
        };
        // A leave of its own, so that one connection can be told to go; the process's comes through it, too.
        let multiplexes = speaks != Speaks::Http1;
        let leave = (retires && multiplexes).then(|| watch::channel(*shutdown.borrow()));
        let (retire, retired) = leave.unzip();
        let conn = Arc::new(Conn::new(
            peer,
            permit,
            self.gateway.busy.clone(),
            self.gateway.multiplexed.clone(),
            retire,
        ));
        let teller = self.teller.clone();
        let guarded = GuardedStream::new(stream, conn.clone(), speaks, bounds, blame, teller);
        let guarded = Box::new(guarded);
        if !multiplexes {
            return self.serve_http1(guarded, &shutdown).await;
        }
        let Some(retired) = retired else {
            ServerApp::process_new(&self.proxy, guarded, &shutdown).await;
            return;
        };
        let mut serving = ServerApp::process_new(&self.proxy, guarded, &retired);
        tokio::select! {
            biased;
            _ = &mut serving => return,
            _ = shutdown.changed() => conn.retire(),
        }
        serving.await;
    }

    /// Serves one request after the other. Pingora does the same, in a future that has room for HTTP/2.
    async fn serve_http1(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let mut session = ServerSession::new_http1(stream);
        // No limit of Pingora's, where the process does not leave: how long a head and the wait for one may take
        // is the guard's to say, who answers.
        session.set_keepalive((!*shutdown.borrow()).then_some(0));
        session.set_keepalive_reuses_remaining(
            self.proxy.server_options().and_then(|options| options.keepalive_request_limit),
        );
        loop {
            let served = self.proxy.process_new_http(session, shutdown).await;
            let Some((stream, settings)) = served.map(ReusedHttpStream::consume) else { return };
            session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
        }
    }

    /// Counts a connection before anything is done for it. `None` closes it.
    fn admit(&self, stream: &Stream) -> Option<Admitted> {
        let runtime = self.gateway.current();
        let limits = &runtime.config.limits;
        let bounds = Bounds {
            header_size: limits.header_size as u64,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.keepalive_timeout,
            write_timeout: limits.write_timeout,
        };
        // Before TLS: a handshake is the most expensive thing a stranger can make us do.
        let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr().cloned());
        let peer = peer.as_ref().and_then(|address| address.as_inet()).map(|inet| inet.ip());
        // A proxy carries everybody's connections: of its own there may be as many as in all.
        let trusted = &runtime.config.listeners.proxy.trusted_proxies;
        let single = peer.filter(|peer| !is_trusted(trusted, *peer));
        let permit = match self.gateway.connections.acquire(
            single,
            limits.connections_per_ip,
            limits.connections,
        ) {
            Ok(permit) => permit,
            Err(refusal) => {
                self.gateway.metrics.connections.refused(refusal.reason());
                return None;
            }
        };
        let arrivals = &self.gateway.arrivals;
        let limit = limits.connection_rate_per_ip;
        let who = single.zip(limit).map(|(peer, limit)| (peer, arrivals.clone(), limit));
        let blame = Blame::on(self.gateway.abuses.clone(), who);
        let retires = limits.requests_per_connection.is_some();
        Some(Admitted { peer, permit, blame, bounds, retires })
    }
}

/// A connection that may stay.
struct Admitted {
    peer: Option<IpAddr>,
    permit: ConnectionPermit,
    blame: Blame,
    bounds: Bounds,
    /// Whether it is to go after so many requests.
    retires: bool,
}

#[async_trait]
impl ServerApp for Edge {
    /// Serves the connection in a task of its own. That of Pingora, which asks here, has room for all that
    /// comes before, 9 KiB, for as long as it lives; and this way it ends at once.
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        tokio::spawn(self.clone().serve(stream, shutdown.clone()));
        None
    }

    /// Deliberately leaves idle keep-alive connections open: closing one at the moment its client
    /// writes a request would lose that request. They end with their next answer, which says
    /// `connection: close`, or when the process leaves.
    async fn cleanup(&self) {}
}
