//! The page: a request's life in the order in which Pingora calls it.
//!
//! ```text
//! early_request_filter   the connection's state; what Pingora's parser lets through
//! request_filter         screen, identify, answer or read the body, take a place,
//!                        authorize, admit, choose
//! upstream_peer          one attempt: choose the target            (again for each attempt)
//! upstream_request_filter  the head that the provider gets         (again for each attempt)
//! upstream_response_filter try again, or take this answer
//! response_filter        the head that the caller gets
//! response_body_filter   each piece: watch it, pass it on
//! fail_to_proxy          whatever broke: an error the caller can read
//! logging                back to the real session; metrics, log line
//! ```

mod admit;
pub mod attempt;
mod authorize;
mod bell;
mod body;
mod cost;
pub mod ctx;
mod failure;
mod gather;
mod held;
mod inference;
mod local;
pub mod mcp;
mod outgoing;
mod overload;
mod overrun;
mod reply;
mod respond;
mod route;
mod rows;
mod settle;
mod stream;
mod trace;
mod translate;
mod watchdog;
mod wire_check;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use self::ctx::Ctx;
use self::gather::Wish;
use self::local::Next;
pub use self::respond::{HSTS, is_https_alone};
use crate::app::Gateway;
use crate::dialects::{Dialect, Endpoint};
use crate::edge::{self, Conn};

/// The proxy: the phases, each in its own module.
pub struct Proxy {
    gateway: Arc<Gateway>,
}

impl Proxy {
    /// A proxy for what `gateway` serves.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    /// In a box: Pingora moves it about with what else it holds of a request.
    type CTX = Box<Ctx>;

    fn new_ctx(&self) -> Box<Ctx> {
        Box::new(Ctx::new(&self.gateway))
    }

    /// No modules: Pingora's only default one compresses, and a compressed stream is a late one.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Before anything believes the header: end its deadline, give writes theirs.
    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<()> {
        let limits = &ctx.runtime.config.limits;
        if session.is_http2() {
            // For room in its window. Whatever is written to the connection itself has a deadline there.
            session.set_write_timeout(Some(limits.write_timeout));
        }
        // Of each read; else it is Pingora's own 60 seconds. The next request on the connection begins anew.
        session.set_read_timeout(Some(limits.body_timeout));
        // Bytes of a next request are kept, so that it can be refused instead of vanishing.
        session.set_pipelining_enabled(true);
        // A provider's 1xx heads are between it and us.
        session.set_ignore_info_resp(true);
        ctx.conn = Conn::of(session).cloned();
        let trusted = &ctx.runtime.config.listeners.proxy.trusted_proxies;
        let peer = ctx.conn.as_ref().and_then(|conn| conn.peer());
        ctx.client = peer.map(|peer| edge::client(trusted, peer, &session.req_header().headers));
        if let (Some(most), Some(conn)) = (limits.requests_per_connection, &ctx.conn)
            && conn.is_last(most)
        {
            session.set_keepalive(None);
        }
        let traces = ctx.runtime.config.telemetry.traces.as_ref();
        let random = ctx.id.as_u64_pair().1;
        ctx.trace = self.gateway.tracer.begin(traces, session.req_header(), random, ctx.started);
        let path = session.req_header().uri.path();
        ctx.dialect = Endpoint::from_path(path).map_or(Dialect::OpenAi, Endpoint::dialect);
        ctx.mcp = mcp::Asked::at(path);
        Ok(())
    }

    /// All that decides: `Ok(true)` means that the answer is written.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<bool> {
        let judged = match wire_check::request(session, ctx) {
            Ok(()) => local::screen(&self.gateway, session, ctx).await,
            Err(denial) => Err(denial),
        };
        match judged {
            Ok(Next::Infer(endpoint, body)) => {
                inference::begin(&self.gateway, session, ctx, endpoint, &body).await
            }
            // In boxes, since this future has room for the largest of them, and every request has this future.
            Ok(Next::Mcp(server, body)) => {
                Box::pin(mcp::answer(&self.gateway, session, ctx, server.as_deref(), &body))
                    .await
                    .map(|()| true)
            }
            Ok(Next::Answer(route)) => {
                Box::pin(local::answer(&self.gateway, session, ctx, route)).await.map(|()| true)
            }
            Ok(Next::Preflight(answer)) => {
                Box::pin(local::preflight(session, ctx, &answer)).await.map(|()| true)
            }
            Err(denial) => respond::denial(session, ctx, denial).await.map(|()| true),
        }
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Box<Ctx>,
    ) -> Result<Box<HttpPeer>> {
        inference::next_peer(&self.gateway, ctx).await
    }

    #[cfg(unix)]
    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&pingora_core::protocols::Digest>,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        if let Some(exchange) = &mut ctx.exchange {
            exchange.times.connected = Some(Instant::now());
            exchange.times.reused = reused;
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        inference::write_head(upstream_request, ctx)
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        inference::take_or_retry(upstream_response, ctx)
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        stream::head(upstream_response, ctx);
        Ok(())
    }

    /// Runs for each piece of each answer: no allocation, no lock, no system call but the clock's.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Duration>> {
        stream::body(&self.gateway, body, end_of_stream, ctx)?;
        Ok(None)
    }

    /// An HTTP/2 body may end in trailers. They are the provider's and do not pass; but the end that
    /// they are is judged like any other. Pingora only logs an error from here and goes on, so that the held
    /// session is told instead.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        upstream_trailers: &mut HeaderMap,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Bytes>> {
        upstream_trailers.clear();
        let mut rest = None;
        if let Err(error) = stream::body(&self.gateway, &mut rest, true, ctx) {
            ctx.held.wish(Wish::Break(error));
        }
        Ok(rest)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Box<Ctx>,
        e: Box<Error>,
    ) -> Box<Error> {
        failure::while_connecting(ctx, e)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        ctx: &mut Box<Ctx>,
        client_reused: bool,
    ) -> Box<Error> {
        failure::while_proxying(session, ctx, e, client_reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        e: &Error,
        ctx: &mut Box<Ctx>,
    ) -> FailToProxy {
        failure::answer(session, e, ctx).await
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Box<Ctx>) {
        ctx.held.release(session);
        settle::settle(&self.gateway, session, e, ctx);
        if let Some(conn) = &ctx.conn {
            conn.request_ends();
        }
    }

    // Our access log has each of these, once, with the request's id.

    fn suppress_error_log(&self, _session: &Session, _ctx: &Box<Ctx>, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Box<Ctx>,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
