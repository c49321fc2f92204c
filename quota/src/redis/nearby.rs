//! Keeps connections without TLS on this machine.
//!
//! Whoever is asked for the way, a node of a cluster or a sentinel, may name any address. That they were
//! reached on this machine, where TLS is not needed, says nothing of where they send us.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::io::AsyncDNSResolver;
use redis::{ErrorKind, RedisError, RedisFuture};

const ELSEWHERE: &str = "a server on another machine was named, and the way to it has no TLS, which \
                         production refuses; use rediss:// URLs";

/// Finds addresses on this machine, and no others.
#[derive(Default)]
pub struct Nearby {
    /// A cluster's client asks again and again.
    told: AtomicBool,
}

impl AsyncDNSResolver for Nearby {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let all = tokio::net::lookup_host((host, port)).await?;
            let near: Vec<_> = all.filter(|address| address.ip().is_loopback()).collect();
            if near.is_empty() {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::error!(host, port, "Redis: {ELSEWHERE}");
                }
                return Err(RedisError::from((ErrorKind::InvalidClientConfig, ELSEWHERE)));
            }
            Ok(Box::new(near.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_machine_is_found() {
        let nearby = Nearby::default();
        for host in ["127.0.0.1", "127.8.8.8", "::1", "localhost"] {
            let found: Vec<_> = nearby.resolve(host, 6379).await.unwrap().collect();
            assert!(!found.is_empty(), "{host}");
            assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        }
        for host in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0"] {
            assert!(nearby.resolve(host, 6379).await.is_err(), "{host}");
        }
    }
}
