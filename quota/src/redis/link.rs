//! The way to Redis: one connection that all calls share, made anew where it has failed.
//!
//! Whoever finds none makes one, and the others wait for it; if that fails, it has failed for all who
//! waited. So a server that is away is tried one call at a time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::cluster::ClusterClient;
use redis::{AsyncConnectionConfig, Client, Value};
use sluicegate_files::{Current, Look};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::fault::{fault, unavailable};
use super::line::Line;
use super::nearby::Nearby;
use super::options::{RedisOptions, RedisServers};
use super::sentinel::Sentinels;
use super::wire::Call;
use crate::store::QuotaStoreError;

/// The longest that a call takes, whatever it has to do. The engine gives one up after three seconds.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// For a connection, and for an answer.
pub const CONNECT: Duration = Duration::from_secs(1);
pub const ANSWER: Duration = Duration::from_millis(1_500);

/// How often sentinels are asked whether the primary still is one. Whoever is demoted closes its
/// connections, but not if the network has parted it from the sentinels and not from us.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// After how many failed calls in a row a cluster is looked at anew, from the nodes that were named. It
/// finds nodes that fail and come back by itself, but not if all have got other addresses.
const FAILURES: u32 = 3;

/// What the way leads to.
pub enum Place {
    Server(Client),
    Sentinels(Sentinels),
    Cluster(Box<ClusterClient>),
}

impl Place {
    async fn connect(
        &self,
        present: Option<Line>,
        config: &AsyncConnectionConfig,
    ) -> Result<Line, QuotaStoreError> {
        match self {
            Self::Server(client) => {
                let connected = client.get_multiplexed_async_connection_with_config(config).await;
                let connection = connected.map_err(|error| fault(&error))?;
                Ok(Line::Server { connection, address: None })
            }
            Self::Sentinels(sentinels) => sentinels.connect(present, config).await,
            Self::Cluster(client) => {
                if let Some(present) = present {
                    return Ok(present);
                }
                let connected = client.get_async_connection().await;
                Ok(Line::Cluster(connected.map_err(|error| fault(&error))?))
            }
        }
    }
}

/// The way to Redis.
pub struct Link {
    options: RedisOptions,
    /// How connections are made, with what the file of authorities held then.
    way: Mutex<Current<Arc<Place>>>,
    /// Where connections live, whoever needs them first.
    io: Handle,
    /// How many replicas must have what was done.
    replicas: u32,
    config: AsyncConnectionConfig,
    present: Mutex<Present>,
    /// Held by who connects. When that has failed last, and why.
    connecting: tokio::sync::Mutex<Option<(Instant, QuotaStoreError)>>,
}

/// The connection that there is.
struct Present {
    line: Option<Line>,
    /// How many there have been.
    number: u64,
    /// Failed calls since the last that did not.
    failures: u32,
    /// When the sentinels were asked last.
    asked_at: Instant,
}

impl Link {
    /// Nothing is connected to.
    ///
    /// # Errors
    /// `Broken`, where a URL or the authorities can't be used.
    pub fn new(options: &RedisOptions, io: Handle) -> Result<Self, QuotaStoreError> {
        let way = Current::new(options.authorities()?, |pem| options.place(pem).map(Arc::new))?;
        let way = Mutex::new(way);
        let (options, replicas) = (options.clone(), options.wait_replicas);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let config = if options.stays_nearby() {
            config.set_dns_resolver(Nearby::default())
        } else {
            config
        };
        let present =
            Mutex::new(Present { line: None, number: 0, failures: 0, asked_at: Instant::now() });
        let connecting = tokio::sync::Mutex::default();
        Ok(Self { options, way, io, replicas, config, present, connecting })
    }

    /// Runs scripts that change something.
    ///
    /// # Errors
    /// Where one of them has failed. Others may have been run.
    pub async fn run(&self, calls: Vec<Call>) -> Result<Vec<Value>, QuotaStoreError> {
        self.call(calls, self.replicas).await
    }

    /// Runs scripts that only read.
    ///
    /// # Errors
    /// Where one of them has failed.
    pub async fn read(&self, calls: Vec<Call>) -> Result<Vec<Value>, QuotaStoreError> {
        self.call(calls, 0).await
    }

    async fn call(&self, calls: Vec<Call>, replicas: u32) -> Result<Vec<Value>, QuotaStoreError> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let mut used = None;
        let work = async {
            let (line, number) = self.line().await?;
            used = Some(number);
            line.run(calls, replicas).await
        };
        let done = match timeout(PATIENCE, work).await {
            Ok(done) => done,
            Err(_) => Err(unavailable("it does not answer in time")),
        };
        if let Some(number) = used {
            self.judge(number, !matches!(done, Err(QuotaStoreError::Unavailable(_))));
        }
        done
    }

    async fn line(&self) -> Result<(Line, u64), QuotaStoreError> {
        if let Some(usable) = self.usable() {
            return Ok(usable);
        }
        let since = Instant::now();
        let mut failed = self.connecting.lock().await;
        if let Some(usable) = self.usable() {
            return Ok(usable);
        }
        if let Some((at, why)) = &*failed
            && *at >= since
        {
            return Err(why.clone());
        }
        match self.connect().await {
            Ok(line) => {
                *failed = None;
                let mut present = self.present.lock();
                present.number += 1;
                present.asked_at = Instant::now();
                present.line = Some(line.clone());
                Ok((line, present.number))
            }
            Err(why) => {
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    fn usable(&self) -> Option<(Line, u64)> {
        let present = self.present.lock();
        let old = present.asked_at.elapsed() >= ASK_AGAIN;
        if old && self.looks_again() {
            return None;
        }
        present.line.clone().map(|line| (line, present.number))
    }

    /// Whether there is something to find out while a connection is good: whether the primary still is
    /// one, or whether a cluster's connections, which are made anew out of sight, must trust others.
    fn looks_again(&self) -> bool {
        match self.options.servers {
            RedisServers::One(_) => false,
            RedisServers::Sentinel { .. } => true,
            RedisServers::Cluster(_) => self.options.ca.is_some(),
        }
    }

    async fn connect(&self) -> Result<Line, QuotaStoreError> {
        let config = self.config.clone();
        let (place, changed) = self.place().await;
        let present = self.present.lock().line.clone().filter(|_| !changed);
        let connecting = self.io.spawn(async move { place.connect(present, &config).await });
        connecting.await.map_err(|_| unavailable("the attempt to connect was broken off"))?
    }

    /// The way with the authorities of now, and whether they are others than before. A file that can't be
    /// used is told, and whom it named before is trusted.
    async fn place(&self) -> (Arc<Place>, bool) {
        if self.options.ca.is_none() {
            return (self.way.lock().it().clone(), false);
        }
        let options = self.options.clone();
        let read = self.io.spawn_blocking(move || options.authorities()).await;
        let mut way = self.way.lock();
        // Otherwise the runtime is on its way out.
        let Ok(read) = read else { return (way.it().clone(), false) };
        let look = way.look(read, |pem| self.options.place(pem).map(Arc::new));
        match &look {
            Look::Same => {}
            Look::Changed => tracing::info!("other authorities for Redis in use"),
            Look::Refused(error) => {
                tracing::error!(error, "authorities for Redis refused, those before stay in use");
            }
        }
        (way.it().clone(), look == Look::Changed)
    }

    /// What a call says of the connection that it used.
    fn judge(&self, number: u64, good: bool) {
        let mut present = self.present.lock();
        if present.number != number {
            return;
        }
        present.failures = if good { 0 } else { present.failures + 1 };
        let patience =
            if matches!(self.options.servers, RedisServers::Cluster(_)) { FAILURES } else { 1 };
        if present.failures >= patience {
            present.failures = 0;
            present.line = None;
        }
    }
}
