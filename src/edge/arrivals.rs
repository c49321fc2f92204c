//! How often each address may connect, and what abuse costs it.
//!
//! Whoever is cut off for what comes on a connection would be back at once with another one, and what it
//! costs us to find out starts anew. So the address pays for it with connections to come. When it has none
//! left, the next are closed as they are accepted: no task is begun for them, and no TLS.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::listeners::ConnectionFilter;

use super::{Abuse, Abuses, Rate, Rates, is_trusted};
use crate::app::Gateway;
use crate::config::valid::ConnectionRate;

/// For how long an address that pays with what it does not have can be out.
const LONGEST: Duration = Duration::from_secs(60);

/// Closes connections of addresses that have had too many. Those of trusted proxies are everybody's.
pub struct Gate(pub Arc<Gateway>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionFilter for Gate {
    async fn should_accept(&self, peer: Option<&SocketAddr>) -> bool {
        let Some(peer) = peer else { return true };
        let Self(gateway) = self;
        let runtime = gateway.current();
        let config = &runtime.config;
        if is_trusted(&config.listeners.proxy.trusted_proxies, peer.ip()) {
            return true;
        }
        let Some(limit) = &config.limits.connection_rate_per_ip else { return true };
        let rate = rate(limit);
        let admitted = gateway.arrivals.take(peer.ip(), rate, Instant::now()).is_ok();
        if !admitted {
            gateway.metrics.connections.refused("connection_rate_per_ip");
        }
        admitted
    }
}

/// Who answers for what comes on a connection.
#[derive(Debug)]
pub struct Blame {
    abuses: Arc<Abuses>,
    /// `None`: nobody that we could keep from coming again.
    who: Option<(IpAddr, Arc<Rates>, ConnectionRate)>,
}

impl Blame {
    /// That `who` pays with its connections to come.
    pub(crate) fn on(
        abuses: Arc<Abuses>,
        who: Option<(IpAddr, Arc<Rates>, ConnectionRate)>,
    ) -> Self {
        Self { abuses, who }
    }

    /// The connection ends for `why`.
    pub(super) fn note(&self, why: Abuse) {
        self.abuses.add(why);
        if let Some((peer, arrivals, limit)) = &self.who {
            arrivals.charge(*peer, rate(limit), limit.penalty, LONGEST, Instant::now());
        }
    }
}

fn rate(limit: &ConnectionRate) -> Rate {
    Rate::per_second(limit.rate, limit.burst)
}
