//! What a stream costs in memory while it waits for its provider.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Failure;
use crate::ledger;
use crate::load::{self, Load};
use crate::procfs::open_files_limit;
use crate::reply::{self, ReplyError};
use crate::service::{Service, Setup};
use crate::system::System;
use crate::workload::{Workload, stalled_stream};

/// Streams that are opened at the same time.
const OPENING: usize = 64;
/// Files beside the streams.
const SPARE_FILES: u64 = 100;
/// How long a proxy may take to tell the provider that all clients have left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(20);

/// One proxy's memory, in bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdleFigures {
    #[serde(rename = "proxy")]
    pub(crate) system: System,
    pub(crate) streams: u32,
    /// After a short load, without connections.
    pub(crate) rss_before: u64,
    /// With all streams open, each past its first event.
    pub(crate) rss_during: u64,
    /// Once the provider has seen all of them end.
    pub(crate) rss_after: u64,
    pub(crate) bytes_per_stream: f64,
}

/// Opens `streams` stalled streams through each system.
///
/// # Errors
/// When something does not start, a stream does not open, or a stream outlives its client.
pub(crate) async fn measure(
    streams: u32,
    systems: &[System],
    setup: &Setup,
) -> Result<Vec<IdleFigures>, Failure> {
    let (needed, limit) = (u64::from(streams) + SPARE_FILES, open_files_limit()?);
    if needed > limit {
        return Err(Failure::OpenFiles { needed, limit });
    }
    let mut figures = Vec::new();
    for system in systems {
        // Each with a provider of its own: nobody's leftovers count for the next.
        let simulator = Service::simulator(setup).await?;
        if let Some(service) = Service::system(system, simulator.address, setup).await? {
            figures.push(measure_one(system, &service, simulator.address, streams).await?);
        }
    }
    Ok(figures)
}

async fn measure_one(
    system: &System,
    service: &Service,
    simulator: SocketAddr,
    streams: u32,
) -> Result<IdleFigures, Failure> {
    let failure = |source| Failure::Measurement {
        proxy: system.name().to_owned(),
        workload: "idle streams",
        source,
        log: format!("\n{}", service.last_words()),
    };
    let processes = service.processes()?;
    let request = Workload::Stream.request(service.address, system.credential()).into();
    let warm_up =
        Load { connections: 8, duration: Duration::from_millis(300), rate: None, request };
    load::run(service.address, warm_up).await.map_err(failure)?;
    let aborted_before = ledger::read(simulator).await.map_err(failure)?.aborted;
    let rss_before = processes.rss()?;

    let request = stalled_stream(service.address, system.credential());
    let open = open(service.address, request.into(), streams).await.map_err(failure)?;
    let rss_during = processes.rss()?;

    drop(open);
    let start = Instant::now();
    loop {
        let aborted = ledger::read(simulator).await.map_err(failure)?.aborted;
        let seen = aborted.saturating_sub(aborted_before);
        if seen >= u64::from(streams) {
            break;
        }
        if start.elapsed() > LEAVE_TIMEOUT {
            return Err(Failure::StreamsLeft { seen, expected: u64::from(streams) });
        }
        // The ledger is another process's: it can only be asked.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(IdleFigures {
        system: system.clone(),
        streams,
        rss_before,
        rss_during,
        rss_after: processes.rss()?,
        bytes_per_stream: (rss_during as f64 - rss_before as f64) / f64::from(streams),
    })
}

/// Opens the streams and reads the first event of each.
async fn open(
    address: SocketAddr,
    request: Arc<[u8]>,
    streams: u32,
) -> Result<Vec<TcpStream>, ReplyError> {
    let places = Arc::new(Semaphore::new(OPENING));
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let (request, places) = (Arc::clone(&request), Arc::clone(&places));
        tasks.spawn(async move {
            // The semaphore is never closed, so there is always a permit to wait for.
            let _permit = places.acquire().await;
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&request).await?;
            reply::read_first_event(&mut stream, &mut Vec::new()).await?;
            Ok::<_, ReplyError>(stream)
        });
    }
    let mut open = Vec::with_capacity(streams as usize);
    while let Some(task) = tasks.join_next().await {
        open.push(task.map_err(std::io::Error::other)??);
    }
    Ok(open)
}
