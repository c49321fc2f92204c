//! The load generator: keep-alive connections, each with one request at a time, sent as fast as replies come
//! or at a fixed rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::reply::{self, ReplyError};

/// How much longer than planned a peer that can't keep the rate is waited for.
const PATIENCE: u32 = 2;

/// What to send, and how.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) request: Arc<[u8]>,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Requests a second, sent when they are due whatever has become of those before. Without, each connection
    /// sends its next request as soon as it has read the reply to the one before.
    pub(crate) rate: Option<f64>,
}

/// What one measurement saw.
#[derive(Debug)]
pub(crate) struct Sample {
    /// From the first request's start to the last reply's end.
    pub(crate) elapsed: Duration,
    /// Microseconds from a request's first byte, or from when it was due, to its reply's last; in rising order.
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

/// Sends the load.
///
/// # Errors
/// On the first reply that is not whole and of status 200: figures of a peer that fails are no
/// figures.
pub(crate) async fn run(address: SocketAddr, load: Load) -> Result<Sample, ReplyError> {
    let mut streams = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let start = Instant::now();
    let schedule = load.rate.map(|rate| Schedule::start(start, rate, &load)).transpose()?;
    let mut tasks = JoinSet::new();
    for stream in streams {
        let request = Arc::clone(&load.request);
        match &schedule {
            Some(schedule) => tasks.spawn(when_due(stream, request, Arc::clone(schedule))),
            None => tasks.spawn(one_after_another(stream, request, start + load.duration)),
        };
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

async fn one_after_another(
    mut stream: TcpStream,
    request: Arc<[u8]>,
    deadline: Instant,
) -> Result<Vec<u32>, ReplyError> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut latencies = Vec::with_capacity(64 * 1024);
    loop {
        let start = Instant::now();
        if start >= deadline {
            return Ok(latencies);
        }
        stream.write_all(&request).await?;
        reply::read(&mut stream, &mut buffer).await?;
        latencies.push(micros_since(start));
    }
}

async fn when_due(
    mut stream: TcpStream,
    request: Arc<[u8]>,
    schedule: Arc<Schedule>,
) -> Result<Vec<u32>, ReplyError> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut latencies = Vec::new();
    while let Some(due) = schedule.next().await {
        stream.write_all(&request).await?;
        reply::read(&mut stream, &mut buffer).await?;
        // A request that had to wait for a free connection has waited for the peer.
        latencies.push(micros_since(due));
    }
    Ok(latencies)
}

fn micros_since(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// When which request is due. A thread keeps the time: tokio's timers are a millisecond coarse, and would bundle the
/// requests.
struct Schedule {
    start: Instant,
    /// Between two requests.
    interval: Duration,
    requests: u64,
    deadline: Instant,
    /// One permit for each request that is due and not taken.
    due: Semaphore,
    taken: AtomicU64,
}

impl Schedule {
    fn start(start: Instant, rate: f64, load: &Load) -> std::io::Result<Arc<Self>> {
        let schedule = Arc::new(Self {
            start,
            interval: Duration::from_secs_f64(1.0 / rate),
            requests: (load.duration.as_secs_f64() * rate).ceil() as u64,
            deadline: start + load.duration * PATIENCE,
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
        });
        let pacer = Arc::clone(&schedule);
        std::thread::Builder::new().name("pacer".into()).spawn(move || pacer.keep_time())?;
        Ok(schedule)
    }

    fn keep_time(&self) {
        for number in 0..self.requests {
            let due = self.due_at(number);
            while let Some(wait) = due.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(wait);
            }
            self.due.add_permits(1);
        }
        // Nobody waits for more.
        self.due.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    fn due_at(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos(number.saturating_mul(self.interval.as_nanos() as u64))
    }

    /// Waits for the next request to be due, and takes it. None when all are, or it is too late.
    async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.requests && Instant::now() < self.deadline).then(|| self.due_at(number))
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

    fn load(rate: f64, connections: usize) -> Load {
        let duration = Duration::from_millis(500);
        Load { request: Arc::from(*b"x"), connections, duration, rate: Some(rate) }
    }

    #[tokio::test]
    async fn a_schedule_gives_every_request_once_and_not_before_it_is_due() {
        let start = Instant::now();
        let schedule = Schedule::start(start, 1000.0, &load(1000.0, 1)).unwrap();
        let mut due = Vec::new();
        while let Some(at) = schedule.next().await {
            assert!(at <= Instant::now());
            due.push(at);
        }
        assert_eq!(due.len(), 500);
        assert_eq!(due[499] - due[0], Duration::from_millis(499));
    }

    /// Answers one request at a time, for all connections together.
    #[tokio::test]
    async fn waiting_for_a_slow_peer_counts_as_latency() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut byte = [0];
            while tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(reply).await.unwrap();
            }
        });
        // Ten times what the peer can do.
        let sample = run(address, load(500.0, 1)).await.unwrap();
        assert!(sample.rate() < 60.0, "{}", sample.rate());
        assert!(sample.latency(0.5) > 100_000.0, "{}", sample.latency(0.5));
    }
}
