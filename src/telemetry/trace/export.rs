//! Sends traces to a collector, by a thread of its own.
//!
//! Requests only put their record into a queue that has an end. A collector that is slow, away or silent
//! costs traces: what finds no room is dropped, and what is not taken in time is given up; both are counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use secrecy::ExposeSecret;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::client::Sender;
use super::record::Finished;
use super::spans;
use crate::config::valid::{TraceProtocol, Traces};

/// Traces that are sent at once.
const BATCH: usize = 256;
/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Where OTLP over HTTP takes spans, below the collector's URL.
const TRACES_PATH: &str = "/v1/traces";
/// How long a client with TLS is used: whom the machine trusts can change.
const TRUSTED_FOR: Duration = Duration::from_secs(60);
/// The least time between two clients of which the first has failed.
const REMAKE_AFTER: Duration = Duration::from_secs(5);
/// Bytes of an error's text that are logged: it may be the collector's.
const MAX_ERROR: usize = 200;

/// Traces, by what became of them.
#[derive(Default)]
pub struct Counts {
    /// The collector has taken them.
    pub sent: AtomicU64,
    /// They were sent together, and the collector has not taken all spans of them.
    pub partial: AtomicU64,
    /// The collector has not, not in time, or not all.
    pub failed: AtomicU64,
    /// There was no room for them in the queue.
    pub dropped: AtomicU64,
    /// Spans that the collector has rejected.
    pub spans_rejected: AtomicU64,
    /// Spans of traces that failed.
    pub spans_failed: AtomicU64,
}

/// Takes spans somewhere.
trait Collector {
    /// How many of the spans were not taken, of an export that otherwise was.
    async fn export(&self, spans: Vec<SpanData>) -> Result<u64, OTelSdkError>;
}

/// A collector that OTLP leads to.
struct Otlp {
    exporter: OtlpExporter,
    /// What its client has heard of since the last export.
    rejected: Arc<AtomicU64>,
}

impl Collector for Otlp {
    async fn export(&self, spans: Vec<SpanData>) -> Result<u64, OTelSdkError> {
        self.rejected.store(0, Ordering::Relaxed);
        let count = spans.len() as u64;
        self.exporter.export(spans).await?;
        Ok(self.rejected.load(Ordering::Relaxed).min(count))
    }
}

/// The end of the queue.
pub struct Exporter {
    /// What is to be sent.
    pub queue: Receiver<Box<Finished>>,
    /// What became of it.
    pub counts: Arc<Counts>,
    /// Send what there is, and end.
    pub closing: CancellationToken,
    /// All is sent, or given up.
    pub closed: CancellationToken,
}

impl Exporter {
    /// Starts the thread. It ends with the queue.
    ///
    /// # Errors
    /// What keeps the collector from ever being reached.
    pub fn start(self, settings: &Traces) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let otlp = exporter(settings)?;
        let (settings, timeout) = (settings.clone(), settings.timeout);
        let remake = move || {
            // Without TLS, another client would be the same.
            if settings.endpoint.tls { exporter(&settings).map(Some) } else { Ok(None) }
        };
        std::thread::Builder::new()
            .name("traces".into())
            .spawn(move || runtime.block_on(self.run(otlp, remake, timeout)))
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    async fn run<C: Collector>(
        mut self,
        mut otlp: C,
        remake: impl Fn() -> Result<Option<C>, String>,
        within: Duration,
    ) {
        let scope = InstrumentationScope::builder("sluicegate")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let mut health = Health::default();
        let mut batch = Vec::with_capacity(BATCH);
        let mut made = Instant::now();
        while self.gather(&mut batch).await {
            let used_for = if health.fails { REMAKE_AFTER } else { TRUSTED_FOR };
            if made.elapsed() >= used_for {
                made = Instant::now();
                // Where nobody can be trusted now, there is still whom was trusted before.
                if let Ok(Some(other)) = remake() {
                    otlp = other;
                }
            }
            let mut all = Vec::with_capacity(batch.len() * 7);
            let count = batch.len() as u64;
            for finished in batch.drain(..) {
                spans::of(&finished, &scope, &mut all);
            }
            let spans = all.len() as u64;
            let sent = match timeout(within, otlp.export(all)).await {
                Ok(sent) => sent,
                Err(_) => Err(OTelSdkError::Timeout(within)),
            };
            health.note(&sent);
            let counts = &*self.counts;
            let (counted, lost, which) = match sent {
                Ok(0) => (&counts.sent, 0, &counts.spans_rejected),
                Ok(rejected) => (&counts.partial, rejected, &counts.spans_rejected),
                Err(_) => (&counts.failed, spans, &counts.spans_failed),
            };
            counted.fetch_add(count, Ordering::Relaxed);
            which.fetch_add(lost, Ordering::Relaxed);
        }
        self.closed.cancel();
    }

    /// Waits for traces; `false` at the queue's end.
    #[expect(clippy::vec_box, reason = "they come boxed from the queue, whose places are small so")]
    async fn gather(&mut self, batch: &mut Vec<Box<Finished>>) -> bool {
        let mut until = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let ends = self.queue.is_closed();
            let more = async {
                match until {
                    None => Some(self.queue.recv_many(batch, room).await),
                    Some(until) => timeout_at(until, self.queue.recv_many(batch, room)).await.ok(),
                }
            };
            let more = tokio::select! {
                more = more => more,
                () = self.closing.cancelled(), if !ends => {
                    // From here on it yields what is in it, and then its end.
                    self.queue.close();
                    continue;
                }
            };
            match more {
                None | Some(0) => break,
                Some(_) => until = until.or_else(|| Some(Instant::now() + GATHER)),
            }
        }
        !batch.is_empty()
    }
}

/// Whether the last export went well: only changes are logged.
#[derive(Default)]
struct Health {
    fails: bool,
    rejects: bool,
}

impl Health {
    fn note(&mut self, sent: &Result<u64, OTelSdkError>) {
        match (sent, self.fails) {
            (Err(error), false) => {
                let error = error.to_string();
                let error = &error[..error.floor_char_boundary(MAX_ERROR)];
                tracing::warn!(error, "traces can't be exported and are lost until they can");
            }
            (Ok(_), true) => tracing::info!("traces are exported again"),
            (Err(_), true) | (Ok(_), false) => {}
        }
        self.fails = sent.is_err();
        if let Ok(rejected) = sent {
            if *rejected > 0 && !self.rejects {
                tracing::warn!(spans = rejected, "the collector rejects some of the spans");
            }
            self.rejects = *rejected > 0;
        }
    }
}

fn exporter(settings: &Traces) -> Result<Otlp, String> {
    let Traces { endpoint, protocol, .. } = settings;
    let mut url = endpoint.to_string();
    if *protocol == TraceProtocol::Http && !url.ends_with(TRACES_PATH) {
        url.push_str(TRACES_PATH);
    }
    let headers = settings.headers.iter();
    let headers: HashMap<_, _> = headers
        .map(|(name, secret)| (name.to_string(), secret.value.expose_secret().to_owned()))
        .collect();
    let rejected = Arc::new(AtomicU64::new(0));
    let mut exporter = OtlpExporter::builder()
        .with_http()
        .with_http_client(Sender::new(*protocol, endpoint.tls, rejected.clone())?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_headers(headers)
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| error.to_string())?;
    exporter.set_resource(&resource(settings));
    Ok(Otlp { exporter, rejected })
}

/// What every span is of. The variables that OpenTelemetry has for it, which know of pods and nodes, are
/// heard; the configuration wins.
fn resource(settings: &Traces) -> Resource {
    let attributes = settings.attributes.iter();
    let attributes = attributes.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(attributes)
        .with_service_name(settings.service_name.clone())
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::mpsc;

    use super::super::tests::finished;
    use super::*;

    /// Takes what it is sent, or not all of it, or never answers.
    #[derive(Clone, Debug, Default)]
    struct Memory {
        spans: Arc<Mutex<Vec<usize>>>,
        silent: bool,
        rejects: u64,
    }

    impl Collector for Memory {
        async fn export(&self, batch: Vec<SpanData>) -> Result<u64, OTelSdkError> {
            if self.silent {
                std::future::pending::<()>().await;
            }
            self.spans.lock().unwrap().push(batch.len());
            Ok(self.rejects)
        }
    }

    fn same() -> Result<Option<Memory>, String> {
        Ok(None)
    }

    fn queue(
        room: usize,
    ) -> (mpsc::Sender<Box<Finished>>, Exporter, Arc<Counts>, [CancellationToken; 2]) {
        let (sender, queue) = mpsc::channel(room);
        let counts = Arc::new(Counts::default());
        let [closing, closed] = [CancellationToken::new(), CancellationToken::new()];
        let exporter = Exporter {
            queue,
            counts: counts.clone(),
            closing: closing.clone(),
            closed: closed.clone(),
        };
        (sender, exporter, counts, [closing, closed])
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_together_is_sent_together() {
        let (sender, exporter, counts, [closing, closed]) = queue(1_000);
        let memory = Memory::default();
        for _ in 0..600 {
            sender.try_send(Box::new(finished())).unwrap();
        }
        let sent = memory.clone();
        let run =
            tokio::spawn(async move { exporter.run(sent, same, Duration::from_secs(5)).await });
        while counts.sent.load(Ordering::Relaxed) < 600 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let spans = memory.spans.lock().unwrap().clone();
        let of_each = spans.iter().sum::<usize>() / 600;
        assert_eq!(spans, [256 * of_each, 256 * of_each, 88 * of_each]);
        // The end: what is there is sent, without a wait for more.
        sender.try_send(Box::new(finished())).unwrap();
        closing.cancel();
        closed.cancelled().await;
        run.await.unwrap();
        assert_eq!(counts.sent.load(Ordering::Relaxed), 601);
        assert!(sender.try_send(Box::new(finished())).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_given_up_and_counted() {
        let (sender, exporter, counts, [closing, closed]) = queue(16);
        let silent = Memory { silent: true, ..Memory::default() };
        sender.try_send(Box::new(finished())).unwrap();
        tokio::spawn(async move { exporter.run(silent, same, Duration::from_secs(5)).await });
        closing.cancel();
        closed.cancelled().await;
        assert_eq!(counts.failed.load(Ordering::Relaxed), 1);
        assert!(counts.spans_failed.load(Ordering::Relaxed) > 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_collector_rejects_does_not_count_as_sent() {
        let (sender, exporter, counts, [closing, closed]) = queue(16);
        let picky = Memory { rejects: 3, ..Memory::default() };
        for _ in 0..2 {
            sender.try_send(Box::new(finished())).unwrap();
        }
        tokio::spawn(async move { exporter.run(picky, same, Duration::from_secs(5)).await });
        closing.cancel();
        closed.cancelled().await;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&counts.sent), count(&counts.partial), count(&counts.failed)), (0, 2, 0));
        assert_eq!((count(&counts.spans_rejected), count(&counts.spans_failed)), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_made_anew_after_a_failure_and_after_a_while() {
        let (sender, exporter, counts, [closing, closed]) = queue(16);
        let (silent, good) = (Memory { silent: true, ..Memory::default() }, Memory::default());
        let next = good.clone();
        let remake = move || Ok(Some(next.clone()));
        sender.try_send(Box::new(finished())).unwrap();
        tokio::spawn(async move { exporter.run(silent, remake, Duration::from_secs(5)).await });
        while counts.failed.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sender.try_send(Box::new(finished())).unwrap();
        closing.cancel();
        closed.cancelled().await;
        assert_eq!(counts.sent.load(Ordering::Relaxed), 1);
        assert_eq!(good.spans.lock().unwrap().len(), 1);
    }
}
