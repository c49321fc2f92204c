//! Who the primary is, as the sentinels tell.
//!
//! Documentation: <https://redis.io/docs/latest/develop/reference/sentinel-clients/>.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo};
use redis::{RedisConnectionInfo, TlsCertificates, Value};
use tokio::time::timeout;

use super::fault::{fault, unavailable};
use super::line::Line;
use crate::store::QuotaStoreError;

/// How long one of them may take: the next one may know as well.
const PATIENCE: Duration = Duration::from_millis(400);

/// The sentinels of one primary.
pub struct Sentinels {
    pub nodes: Vec<Client>,
    /// The one that was of use last is asked first.
    pub first: AtomicUsize,
    /// What they call the primary.
    pub master: String,
    /// How to log in at the primary.
    pub login: RedisConnectionInfo,
    /// Where the primary is reached with TLS.
    pub tls: Option<TlsCertificates>,
}

impl Sentinels {
    /// A connection to the primary. `present`, if it leads there.
    ///
    /// # Errors
    /// Where it can't be found or reached, or where who is called the primary says otherwise.
    pub async fn connect(
        &self,
        present: Option<Line>,
        config: &AsyncConnectionConfig,
    ) -> Result<Line, QuotaStoreError> {
        let found = match (self.primary().await, present) {
            // Sentinels may be away while the primary is not.
            (Err(_), Some(present)) => return Ok(present),
            (Err(error), None) => return Err(error),
            (Ok(found), Some(present)) => match &present {
                Line::Server { address: Some(address), .. } if *address == found => {
                    return Ok(present);
                }
                _ => found,
            },
            (Ok(found), None) => found,
        };
        let client = self.client(found.clone())?;
        let connected = client.get_multiplexed_async_connection_with_config(config).await;
        let mut connection = connected.map_err(|error| fault(&error))?;
        // For some seconds after a failover, the old one may be back before it is told what it is.
        let role = redis::cmd("ROLE").query_async::<Value>(&mut connection).await;
        let role = role.map_err(|error| fault(&error))?;
        if !is_primary(&role) {
            return Err(unavailable("who the sentinels call the primary is none"));
        }
        Ok(Line::Server { connection, address: Some(found) })
    }

    async fn primary(&self) -> Result<(String, u16), QuotaStoreError> {
        let first = self.first.load(Ordering::Relaxed);
        let mut why = unavailable("no sentinel answers");
        for turn in 0..self.nodes.len() {
            let at = (first + turn) % self.nodes.len();
            match timeout(PATIENCE, self.ask(&self.nodes[at])).await {
                Ok(Ok(Some(found))) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(found);
                }
                Ok(Ok(None)) => why = unavailable("the sentinels know no primary of this name"),
                Ok(Err(error)) => why = error,
                Err(_) => {}
            }
        }
        Err(why)
    }

    async fn ask(&self, node: &Client) -> Result<Option<(String, u16)>, QuotaStoreError> {
        let ask = async {
            let mut connection = node.get_multiplexed_async_connection().await?;
            let mut command = redis::cmd("SENTINEL");
            command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
            command.query_async(&mut connection).await
        };
        ask.await.map_err(|error| fault(&error))
    }

    fn client(&self, (host, port): (String, u16)) -> Result<Client, QuotaStoreError> {
        let address = match &self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let info = address.into_connection_info();
        let info = info.map(|info| info.set_redis_settings(self.login.clone()));
        let client = info.and_then(|info| match &self.tls {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        });
        client.map_err(|error| fault(&error))
    }
}

/// The first word of what `ROLE` answers.
fn is_primary(role: &Value) -> bool {
    let Value::Array(items) = role else { return false };
    matches!(items.first(), Some(Value::BulkString(role)) if role == b"master")
}
