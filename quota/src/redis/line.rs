//! A connection, whatever it leads to, and scripts run over it.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::task::JoinSet;

use super::fault::{fault, unavailable};
use super::wire::Call;
use crate::store::QuotaStoreError;

/// How long to wait for replicas, in milliseconds.
const REPLICATION_MS: u64 = 500;

/// A connection. Its copies share one socket, or one for each node.
#[derive(Clone)]
pub enum Line {
    /// To one server.
    Server {
        connection: MultiplexedConnection,
        /// Where it is, if that was found out.
        address: Option<(String, u16)>,
    },
    /// To all nodes of a cluster.
    Cluster(ClusterConnection),
}

impl Line {
    /// Runs the scripts and gives their answers in the same order, once `replicas` have their effects
    /// as well.
    ///
    /// # Errors
    /// Where one of them has failed. Others may have been run.
    pub async fn run(self, calls: Vec<Call>, replicas: u32) -> Result<Vec<Value>, QuotaStoreError> {
        match self {
            Self::Server { connection, .. } => on_server(connection, &calls, replicas).await,
            Self::Cluster(connection) => on_cluster(&connection, calls, replicas).await,
        }
    }
}

/// All in one go. Those whose script the server has not seen, or has forgotten, once more.
async fn on_server(
    mut connection: MultiplexedConnection,
    calls: &[Call],
    replicas: u32,
) -> Result<Vec<Value>, QuotaStoreError> {
    let mut values = pipelined(&mut connection, calls.iter().map(Call::by_hash)).await?;
    let unknown: Vec<_> = (0..values.len()).filter(|&at| is_unknown(&values[at])).collect();
    if !unknown.is_empty() {
        let whole = unknown.iter().map(|&at| calls[at].whole());
        let again = pipelined(&mut connection, whole).await?;
        for (at, value) in unknown.into_iter().zip(again) {
            values[at] = value;
        }
    }
    let values = values.into_iter().zip(calls).map(|(value, call)| answered(value, call));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    if replicas > 0 {
        let told = connection.req_packed_command(&wait(replicas)).await;
        enough(told, replicas)?;
    }
    Ok(values)
}

async fn pipelined(
    connection: &mut MultiplexedConnection,
    commands: impl Iterator<Item = Cmd>,
) -> Result<Vec<Value>, QuotaStoreError> {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command);
    }
    let count = pipeline.len();
    let values = connection.req_packed_commands(&pipeline, 0, count).await;
    let values = values.map_err(|error| fault(&error))?;
    if values.len() == count { Ok(values) } else { Err(unavailable("answers are missing")) }
}

/// Each to the node that has its counter, all at once.
async fn on_cluster(
    connection: &ClusterConnection,
    calls: Vec<Call>,
    replicas: u32,
) -> Result<Vec<Value>, QuotaStoreError> {
    let mut values = vec![Value::Nil; calls.len()];
    let mut tasks = JoinSet::new();
    for (at, call) in calls.into_iter().enumerate() {
        let connection = connection.clone();
        tasks.spawn(async move { (at, on_node(connection, &call, replicas).await) });
    }
    while let Some(done) = tasks.join_next().await {
        let (at, value) = done.map_err(|_| unavailable("a call was broken off"))?;
        values[at] = value?;
    }
    Ok(values)
}

async fn on_node(
    mut connection: ClusterConnection,
    call: &Call,
    replicas: u32,
) -> Result<Value, QuotaStoreError> {
    let mut value = connection.req_packed_command(&call.by_hash()).await;
    let unknown = match &value {
        Ok(value) => is_unknown(value),
        Err(error) => is_no_script(error),
    };
    if unknown {
        value = connection.req_packed_command(&call.whole()).await;
    }
    let value = answered(value.map_err(|error| at_fault(&error, call))?, call)?;
    if replicas > 0 {
        let route = Route::with_key(&call.key, SlotAddr::Master);
        let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
        enough(connection.route_command(wait(replicas), route).await, replicas)?;
    }
    Ok(value)
}

fn is_unknown(value: &Value) -> bool {
    match value {
        Value::ServerError(error) => error.kind() == Some(ServerErrorKind::NoScript),
        _ => false,
    }
}

fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn answered(value: Value, call: &Call) -> Result<Value, QuotaStoreError> {
    value.extract_error().map_err(|error| at_fault(&error, call))
}

fn at_fault(error: &RedisError, call: &Call) -> QuotaStoreError {
    match fault(error) {
        QuotaStoreError::Broken(why) => {
            QuotaStoreError::Broken(format!("counter {}: {why}", call.key))
        }
        passing @ QuotaStoreError::Unavailable(_) => passing,
    }
}

fn wait(replicas: u32) -> Cmd {
    let mut command = redis::cmd("WAIT");
    command.arg(replicas).arg(REPLICATION_MS);
    command
}

/// What was not copied in time was done all the same: it is sent again until it was.
fn enough(told: Result<Value, RedisError>, replicas: u32) -> Result<(), QuotaStoreError> {
    let told = told.and_then(Value::extract_error).map_err(|error| fault(&error))?;
    match told {
        Value::Int(count) if count >= i64::from(replicas) => Ok(()),
        _ => Err(unavailable("too few replicas have the counters")),
    }
}
