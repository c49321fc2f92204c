//! Counters in Redis, or in what speaks like it: for any number of instances, and for many requests.
//!
//! | module | what it is |
//! |---|---|
//! | `options` | where Redis is: one server, a cluster, or behind sentinels |
//! | `link` | the connection that all calls share, and how it comes back |
//! | `nearby` | keeps connections without TLS on this machine, in production |
//! | `sentinel` | who the primary is |
//! | `line` | scripts run over a connection |
//! | `wire` | what the scripts are sent and what they answer |
//! | `fault` | what passes by itself and what does not |
//!
//! A counter is a hash, and an exchange one script that reads and writes it, at the server's time.
//! Counters expire by themselves once nothing in them counts. A script that the server does not know,
//! because it was started anew or told to forget, is sent whole, and known from then on.
//!
//! # What may be lost
//!
//! Redis answers before its disk or its replicas have what was done. A crash (with `appendonly`, of the
//! last second; without, of all since the last snapshot) or a failover may lose exchanges that were
//! answered. What of it is made good, and what is not:
//!
//! - *Use that was told* is told again. An instance keeps its last exchanges, and sees by
//!   [`previous_seq`](crate::store::Answer::previous_seq) which of them the store has lost. That is so
//!   for the last few of each counter, and as long as the instance lives; no use is counted twice.
//! - *Leases* come back with the next exchange: an instance always says what it has. Until it has, which
//!   is the shorter the more it uses, the store may give the same units to others. So at most what was
//!   leased in the lost exchanges may be used beyond the limit, once for each loss.
//! - *An instance that is lost together with the primary* tells nothing again: what it had used in the
//!   exchanges lost is not counted.
//! - *A primary that the network has parted from its sentinels*, and not from an instance, goes on giving
//!   units until the instance asks a sentinel, which it does every five seconds. Set
//!   `min-replicas-to-write 1` and `min-replicas-max-lag 5`: then such a primary refuses.
//! - *Clocks*: time is the server's. If a new primary's clock is behind the old one's, windows last as
//!   much longer; if it is ahead, as much shorter, and leases may count as lost.
//!
//! With `wait_replicas`, an exchange is only done once so many replicas have it, and sent again until then.
//! A failover to one of those loses nothing. `WAIT` does not keep sentinels from choosing another.

mod fault;
mod line;
mod link;
mod nearby;
mod options;
mod sentinel;
mod wire;

use async_trait::async_trait;
use tokio::runtime::Handle;

use self::link::Link;
pub use self::options::{RedisOptions, RedisServers};
use self::wire::Call;
use crate::check;
use crate::store::{Exchange, Look, QuotaStore, QuotaStoreError, Reply, State};

/// Counters in Redis.
pub struct RedisQuotas {
    link: Link,
    prefix: String,
}

impl RedisQuotas {
    /// Connects when it is needed first. Its connections live on `io`.
    ///
    /// # Errors
    /// `Broken`, where a URL, the authorities or the prefix can't be used. Blocks on the disk for a moment.
    pub fn new(options: &RedisOptions, io: &Handle) -> Result<Self, QuotaStoreError> {
        if options.prefix.contains(['{', '}']) {
            return Err(fault::broken("the prefix of keys has a brace in it"));
        }
        let link = Link::new(options, io.clone())?;
        Ok(Self { link, prefix: options.prefix.clone() })
    }
}

#[async_trait]
impl QuotaStore for RedisQuotas {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn exchange(&self, batch: &[Exchange]) -> Result<Vec<Reply>, QuotaStoreError> {
        check::batch(batch)?;
        let calls = batch.iter().map(|it| Call::exchange(&self.prefix, it)).collect();
        self.link.run(calls).await?.iter().map(wire::reply).collect()
    }

    async fn look(&self, asked: &[Look]) -> Result<Vec<State>, QuotaStoreError> {
        check::looks(asked)?;
        let calls = asked.iter().map(|look| Call::look(&self.prefix, &look.counter)).collect();
        let values = self.link.read(calls).await?.into_iter();
        let state = |(look, value): (&Look, _)| {
            let (now, counter) = wire::state(&look.counter, value)?;
            Ok(counter.look(look.span, now))
        };
        asked.iter().zip(values).map(state).collect()
    }

    /// Redis forgets by itself.
    async fn forget(&self, _before: i64) -> Result<u64, QuotaStoreError> {
        Ok(0)
    }
}
