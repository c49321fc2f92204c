//! `bare-pingora`: the least that Pingora needs to proxy, to measure what Sluicegate adds to it.
//!
//! It forwards everything to one address over HTTP/1.1 with keep-alive. No filter, no log, no
//! change of any header. Allocator and pool are those of Sluicegate.

use std::net::SocketAddr;

use async_trait::async_trait;
use clap::Parser;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// Sluicegate's allocator: without it the difference would be the allocator's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A proxy that does nothing but forward.
#[derive(Debug, Parser)]
#[command(name = "bare-pingora", version)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where to forward to, in plain HTTP/1.1.
    #[arg(long)]
    upstream: SocketAddr,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Idle upstream connections to keep.
    #[arg(long, default_value_t = 1024)]
    pool: usize,
}

fn main() {
    let Arguments { listen, upstream, threads, pool } = Arguments::parse();
    let conf = ServerConf { threads, upstream_keepalive_pool_size: pool, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Forward { upstream });
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    server.run_forever()
}

struct Forward {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> pingora_core::Result<Box<HttpPeer>> {
        // A name is for TLS, which this does not use.
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}
