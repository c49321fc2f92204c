//! The load generator: keep-alive connections, each with one request at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::reply::{self, ReplyError};

/// What one measurement saw.
#[derive(Debug)]
pub(crate) struct Sample {
    /// From the first request's start to the last reply's end.
    pub(crate) elapsed: Duration,
    /// Microseconds from a request's first byte to its reply's last, in rising order.
    latencies: Vec<u32>,
}

impl Sample {
    /// Replies read.
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// Replies a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency in microseconds that `part` of the requests (0 to 1) stay within.
    pub(crate) fn latency(&self, part: f64) -> f64 {
        // The nearest rank: at least one value, at most the last.
        let rank = (part * self.latencies.len() as f64).ceil() as usize;
        let index = rank.saturating_sub(1).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).copied().map_or(f64::NAN, f64::from)
    }
}

/// Sends `request` over `connections` connections for `duration`, each as soon as the reply before
/// it was read.
///
/// # Errors
/// On the first reply that is not whole and of status 200: figures of a peer that fails are no
/// figures.
pub(crate) async fn run(
    address: SocketAddr,
    request: Arc<[u8]>,
    connections: usize,
    duration: Duration,
) -> Result<Sample, ReplyError> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(one_connection(address, Arc::clone(&request), start + duration));
    }
    let mut latencies = Vec::new();
    while let Some(task) = tasks.join_next().await {
        // A task fails to join only if it panicked or was cancelled, and nothing cancels it.
        let mut own = task.map_err(std::io::Error::other)??;
        latencies.append(&mut own);
    }
    let elapsed = start.elapsed();
    latencies.sort_unstable();
    Ok(Sample { elapsed, latencies })
}

async fn one_connection(
    address: SocketAddr,
    request: Arc<[u8]>,
    deadline: Instant,
) -> Result<Vec<u32>, ReplyError> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut latencies = Vec::with_capacity(64 * 1024);
    loop {
        let start = Instant::now();
        if start >= deadline {
            return Ok(latencies);
        }
        stream.write_all(&request).await?;
        reply::read(&mut stream, &mut buffer).await?;
        latencies.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latencies = (1..=100).collect();
        let sample = Sample { elapsed: Duration::from_secs(2), latencies };
        assert_eq!(sample.latency(0.5), 50.0);
        assert_eq!(sample.latency(0.99), 99.0);
        assert_eq!(sample.latency(1.0), 100.0);
        assert_eq!(sample.rate(), 50.0);
        let none = Sample { elapsed: Duration::from_secs(1), latencies: Vec::new() };
        assert!(none.latency(0.5).is_nan());
    }
}
