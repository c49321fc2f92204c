//! Who the primary is, as the sentinels tell.
//!
//! All are asked at once. A failover has a number, its configuration epoch, that more than half of them
//! have agreed to; a sentinel that the network has parted from the others goes on naming the primary of an
//! older one. So the highest counts, and one that is lower than what was heard before is not believed.
//!
//! Documentation: <https://redis.io/docs/latest/develop/reference/sentinel-clients/>.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo};
use redis::{RedisConnectionInfo, TlsCertificates, Value};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fault::{fault, unavailable};
use super::line::Line;
use crate::store::QuotaStoreError;

/// How long each of them may take, all at once.
const PATIENCE: Duration = Duration::from_millis(400);

/// The sentinels of one primary.
pub struct Sentinels {
    pub nodes: Vec<Client>,
    /// The last that was believed: of the failover that made the primary one.
    pub epoch: AtomicI64,
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

    /// Who most of the sentinels, or the best informed of those that answer, call the primary.
    async fn primary(&self) -> Result<(String, u16), QuotaStoreError> {
        let mut asked = JoinSet::new();
        for node in &self.nodes {
            let (node, master) = (node.clone(), self.master.clone());
            asked.spawn(async move { timeout(PATIENCE, ask(&node, &master)).await });
        }
        let mut why = unavailable("no sentinel answers");
        let mut answers = Vec::new();
        let known = self.epoch.load(Ordering::Relaxed);
        // Where more than half say the same, and nothing older than what is known, it is so.
        while !is_agreed(&answers, self.nodes.len(), known)
            && let Some(answer) = asked.join_next().await
        {
            match answer {
                Ok(Ok(Ok(Some(answer)))) => answers.push(answer),
                Ok(Ok(Ok(None))) => why = unavailable("the sentinels know no primary of this name"),
                Ok(Ok(Err(error))) => why = error,
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let Some(best) = best(&answers) else { return Err(why) };
        // Those that are parted from the others don't hear of a failover, and all but one may for a moment
        // not have heard of it. If really nobody knows of it, they were set up anew.
        if best.epoch < known && answers.len() < self.nodes.len() {
            return Err(unavailable("the sentinels that answer have missed a failover"));
        }
        self.epoch.store(best.epoch, Ordering::Relaxed);
        Ok(best.address.clone())
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

/// What one sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    address: (String, u16),
    epoch: i64,
}

/// `None` where it knows no primary of this name. The address is asked for by the command that is for it:
/// during a failover, it tells of the new primary first.
async fn ask(node: &Client, master: &str) -> Result<Option<Answer>, QuotaStoreError> {
    let ask = async {
        let mut connection = node.get_multiplexed_async_connection().await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        // An error for a name that is not known, which is none here.
        pipeline.cmd("SENTINEL").arg("MASTER").arg(master);
        let count = pipeline.len();
        connection.req_packed_commands(&pipeline, 0, count).await
    };
    let answers: Vec<Value> = ask.await.map_err(|error| fault(&error))?;
    let [address, state] = <[Value; 2]>::try_from(answers)
        .map_err(|_| unavailable("a sentinel's answers are missing"))?;
    let address = address.extract_error().map_err(|error| fault(&error))?;
    let address: Option<(String, u16)> =
        redis::from_redis_value(address).map_err(|error| fault(&error.into()))?;
    Ok(address.map(|address| Answer { address, epoch: epoch(&state) }))
}

/// The configuration epoch of what `SENTINEL MASTER` answers; 0 where it does not say.
fn epoch(state: &Value) -> i64 {
    let state: Option<HashMap<String, String>> = redis::from_redis_value_ref(state).ok();
    let epoch = state.and_then(|state| state.get("config-epoch")?.parse().ok());
    epoch.unwrap_or(0)
}

/// Whether more than half of `all` sentinels have said the same, so that nobody else needs to be heard.
fn is_agreed(answers: &[Answer], all: usize, known: i64) -> bool {
    let Some(first) = answers.first() else { return false };
    let same = answers.iter().all(|answer| answer == first);
    same && answers.len() > all / 2 && first.epoch >= known
}

/// The highest epoch; among several of it, what most say.
fn best(answers: &[Answer]) -> Option<&Answer> {
    let supporters = |one: &Answer| answers.iter().filter(|other| *other == one).count();
    answers.iter().max_by_key(|answer| (answer.epoch, supporters(answer)))
}

/// The first word of what `ROLE` answers.
fn is_primary(role: &Value) -> bool {
    let Value::Array(items) = role else { return false };
    matches!(items.first(), Some(Value::BulkString(role)) if role == b"master")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(host: &str, epoch: i64) -> Answer {
        Answer { address: (host.to_owned(), 6379), epoch }
    }

    #[test]
    fn the_highest_epoch_counts_and_then_the_most() {
        let (old, new, odd) = (answer("old", 3), answer("new", 4), answer("odd", 4));
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[old.clone(), new.clone(), old.clone()]), Some(&new));
        assert_eq!(best(&[odd, new.clone(), new.clone()]), Some(&new));
        assert!(!is_agreed(std::slice::from_ref(&old), 2, 0) && !is_agreed(&[], 1, 0));
        assert!(is_agreed(&[new.clone(), new.clone()], 3, 4));
        assert!(!is_agreed(&[new, old.clone()], 3, 3));
        assert!(!is_agreed(&[old.clone(), old], 3, 4), "older than what is known");
    }

    proptest! {
        #[test]
        fn nobody_with_a_lower_epoch_is_believed(
            said in proptest::collection::vec(("[a-c]", 0..5_i64), 1..8),
        ) {
            let answers: Vec<_> = said.iter().map(|(host, epoch)| answer(host, *epoch)).collect();
            let highest = said.iter().map(|(_, epoch)| *epoch).max();
            prop_assert_eq!(best(&answers).map(|best| best.epoch), highest);
        }
    }
}
