//! Sends traces to a collector, by a thread of its own.
//!
//! Requests only put their record into a queue that has an end. A collector that is slow, away or silent
//! costs traces: what finds no room is dropped, and what is not taken in time is given up; both are counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SpanExporter;
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
/// Bytes of an error's text that are logged: it may be the collector's.
const MAX_ERROR: usize = 200;

/// Traces, by what became of them.
#[derive(Default)]
pub struct Counts {
    /// The collector has taken them.
    pub sent: AtomicU64,
    /// The collector has not, not in time, or not all.
    pub failed: AtomicU64,
    /// There was no room for them in the queue.
    pub dropped: AtomicU64,
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
        // A channel of gRPC belongs to the runtime that it is made on.
        let guard = runtime.enter();
        let otlp = exporter(settings)?;
        drop(guard);
        let timeout = settings.timeout;
        std::thread::Builder::new()
            .name("traces".into())
            .spawn(move || runtime.block_on(self.run(&otlp, timeout)))
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    async fn run(mut self, otlp: &impl SpanExporter, within: Duration) {
        let scope = InstrumentationScope::builder("sluicegate")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let mut health = Health::default();
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch).await {
            let mut all = Vec::with_capacity(batch.len() * 7);
            let count = batch.len() as u64;
            for finished in batch.drain(..) {
                spans::of(&finished, &scope, &mut all);
            }
            let sent = match timeout(within, otlp.export(all)).await {
                Ok(sent) => sent,
                Err(_) => Err(OTelSdkError::Timeout(within)),
            };
            health.note(&sent);
            let counted = if sent.is_ok() { &self.counts.sent } else { &self.counts.failed };
            counted.fetch_add(count, Ordering::Relaxed);
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
}

impl Health {
    fn note(&mut self, sent: &Result<(), OTelSdkError>) {
        match (sent, self.fails) {
            (Err(error), false) => {
                let error = error.to_string();
                let error = &error[..error.floor_char_boundary(MAX_ERROR)];
                tracing::warn!(error, "traces can't be exported and are lost until they can");
            }
            (Ok(()), true) => tracing::info!("traces are exported again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        self.fails = sent.is_err();
    }
}

fn exporter(settings: &Traces) -> Result<OtlpExporter, String> {
    let endpoint = &settings.endpoint;
    let headers =
        || settings.headers.iter().map(|(name, secret)| (name, secret.value.expose_secret()));
    let built = match settings.protocol {
        TraceProtocol::Http => {
            let mut url = endpoint.to_string();
            if !url.ends_with(TRACES_PATH) {
                url.push_str(TRACES_PATH);
            }
            let headers: HashMap<_, _> =
                headers().map(|(name, value)| (name.to_string(), value.to_owned())).collect();
            OtlpExporter::builder()
                .with_http()
                .with_http_client(Sender::new(endpoint.tls)?)
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(url)
                .with_headers(headers)
                .with_timeout(settings.timeout)
                .build()
        }
        TraceProtocol::Grpc => {
            let mut metadata = HeaderMap::new();
            for (name, value) in headers() {
                let mut value =
                    http::HeaderValue::from_str(value).map_err(|error| error.to_string())?;
                value.set_sensitive(true);
                metadata.append(name, value);
            }
            let builder = OtlpExporter::builder()
                .with_tonic()
                .with_protocol(Protocol::Grpc)
                .with_endpoint(endpoint.to_string())
                .with_metadata(MetadataMap::from_headers(metadata))
                .with_timeout(settings.timeout);
            if endpoint.tls {
                builder.with_tls_config(ClientTlsConfig::new().with_native_roots()).build()
            } else {
                builder.build()
            }
        }
    };
    let mut exporter = built.map_err(|error| error.to_string())?;
    exporter.set_resource(&resource(settings));
    Ok(exporter)
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

    /// Takes what it is sent, or never answers.
    #[derive(Clone, Debug, Default)]
    struct Memory {
        spans: Arc<Mutex<Vec<usize>>>,
        silent: bool,
    }

    impl SpanExporter for Memory {
        async fn export(
            &self,
            batch: Vec<opentelemetry_sdk::trace::SpanData>,
        ) -> opentelemetry_sdk::error::OTelSdkResult {
            if self.silent {
                std::future::pending::<()>().await;
            }
            self.spans.lock().unwrap().push(batch.len());
            Ok(())
        }
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
        let run = tokio::spawn(async move { exporter.run(&sent, Duration::from_secs(5)).await });
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
        tokio::spawn(async move { exporter.run(&silent, Duration::from_secs(5)).await });
        closing.cancel();
        closed.cancelled().await;
        assert_eq!(counts.failed.load(Ordering::Relaxed), 1);
    }
}
