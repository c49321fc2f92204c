//! Addresses of providers, resolved in the background.
//!
//! Pingora would resolve a name while a request waits, blocking its thread, and panic where that
//! fails. A request here only ever picks among addresses that are known already.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::{Error, ErrorType, Result};
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, LoadBalancer};

/// How long one look-up may take before the addresses known so far are kept.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses of one `host:port`.
pub struct Resolver {
    balancer: LoadBalancer<RoundRobin>,
    name: String,
}

impl Resolver {
    fn new(host: &str, port: u16) -> Self {
        let name = format!("{host}:{port}");
        let discovery = Dns { host: host.to_owned(), port };
        Self { balancer: LoadBalancer::from_backends(Backends::new(Box::new(discovery))), name }
    }

    /// The next address in turn; `None` while the name has never been resolved.
    pub fn pick(&self) -> Option<SocketAddr> {
        let backends = self.balancer.backends().get_backend();
        if let (Some(only), 1) = (backends.first(), backends.len()) {
            return only.addr.as_inet().copied();
        }
        self.balancer.select(b"", 1).and_then(|backend| backend.addr.as_inet().copied())
    }

    /// Looks the name up; on failure the addresses known so far stay.
    pub async fn refresh(&self) {
        let looked_up = tokio::time::timeout(LOOKUP_TIMEOUT, self.balancer.update()).await;
        match looked_up {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(name = %self.name, %error, "provider name not resolved");
            }
            Err(_) => tracing::warn!(name = %self.name, "provider name look-up timed out"),
        }
    }
}

/// All resolvers in use, so that a reload keeps what is known.
#[derive(Default)]
pub struct Resolvers(Mutex<HashMap<(String, u16), Arc<Resolver>>>);

impl Resolvers {
    /// The resolver of `host:port`, made on first use.
    pub fn get(&self, host: &str, port: u16) -> Arc<Resolver> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((host.to_owned(), port))
            .or_insert_with(|| Arc::new(Resolver::new(host, port)))
            .clone()
    }

    /// Looks up every name, or with `pending` only those without an address; forgets names that no
    /// generation uses any more.
    pub async fn refresh(&self, pending: bool) {
        let resolvers: Vec<_> = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, resolver| Arc::strong_count(resolver) > 1);
            all.values().filter(|r| !pending || r.pick().is_none()).cloned().collect()
        };
        let mut lookups = tokio::task::JoinSet::new();
        for resolver in resolvers {
            lookups.spawn(async move { resolver.refresh().await });
        }
        lookups.join_all().await;
    }
}

struct Dns {
    host: String,
    port: u16,
}

#[async_trait]
impl ServiceDiscovery for Dns {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let addresses: Vec<SocketAddr> = match self.host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, self.port)],
            Err(_) => tokio::net::lookup_host((self.host.as_str(), self.port))
                .await
                .map_err(|e| Error::because(ErrorType::ConnectNoRoute, "DNS", e))?
                .collect(),
        };
        // Where a name has both families, IPv4: hosts without an IPv6 route are common, and a
        // failed connect would cost an attempt.
        let prefer_v4 = addresses.iter().any(SocketAddr::is_ipv4);
        let backends = addresses
            .into_iter()
            .filter(|address| address.is_ipv4() || !prefer_v4)
            .map(|address| Backend::new(&address.to_string()))
            .collect::<Result<BTreeSet<_>>>()?;
        if backends.is_empty() {
            return Error::e_explain(ErrorType::ConnectNoRoute, "the name has no address");
        }
        Ok((backends, HashMap::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_literal_address_resolves_to_itself() {
        let resolvers = Resolvers::default();
        let resolver = resolvers.get("127.0.0.1", 8080);
        assert_eq!(resolver.pick(), None);
        resolvers.refresh(true).await;
        assert_eq!(resolver.pick(), Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
    }

    #[tokio::test]
    async fn a_failed_look_up_keeps_nothing_and_does_not_panic() {
        let resolvers = Resolvers::default();
        let resolver = resolvers.get("name.invalid", 443);
        resolvers.refresh(false).await;
        assert_eq!(resolver.pick(), None);
    }

    #[tokio::test]
    async fn unused_names_are_forgotten() {
        let resolvers = Resolvers::default();
        let kept = resolvers.get("127.0.0.1", 1);
        drop(resolvers.get("127.0.0.1", 2));
        resolvers.refresh(false).await;
        let all = resolvers.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(all.len(), 1);
        assert_eq!(kept.name, "127.0.0.1:1");
    }
}
