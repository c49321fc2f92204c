//! A collector of OpenTelemetry: Rotel, a process of the test's own, which hands on what it has taken to a
//! receiver in the test.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{free_address, soon};

/// The collector. It ends when this is dropped.
pub struct Collector {
    http: SocketAddr,
    grpc: SocketAddr,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    changed: watch::Receiver<usize>,
    process: Child,
    _directory: TempDir,
}

impl Collector {
    pub async fn start() -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let (count, changed) = watch::channel(0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = listener.local_addr().unwrap();
        let taken = received.clone();
        let take = move |body: Bytes| async move {
            let mut plain = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("it always compresses");
            let request = ExportTraceServiceRequest::decode(&plain[..]).expect("OTLP");
            taken.lock().unwrap().push(request);
            count.send_modify(|count| *count += 1);
        };
        let app = Router::new().fallback(take);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let directory = tempfile::tempdir().unwrap();
        let [http, grpc] = [free_address(), free_address()];
        let process = Command::new(program())
            .args(["start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--batch-timeout", "20ms"])
            .arg(format!("--otlp-exporter-endpoint=http://{receiver}"))
            .arg(format!("--otlp-http-endpoint={http}"))
            .arg(format!("--otlp-grpc-endpoint={grpc}"))
            .arg(format!("--pid-file={}", directory.path().join("pid").display()))
            .arg(format!("--log-file={}", directory.path().join("log").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Rotel, which `make test-tools` installs");
        soon("a collector", async {
            for address in [http, grpc] {
                while TcpStream::connect(address).await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        Self { http, grpc, received, changed, process, _directory: directory }
    }

    /// Where it takes OTLP over HTTP.
    pub fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Where it takes OTLP over gRPC.
    pub fn grpc(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// All spans, once there are `count` of them or more.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        let mut changed = self.changed.clone();
        soon("spans", async {
            loop {
                changed.borrow_and_update();
                let spans = self.now();
                if spans.len() >= count {
                    return spans;
                }
                changed.changed().await.unwrap();
            }
        })
        .await
    }

    fn now(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// An attribute of the process that the first spans are of.
    pub fn resource(&self, name: &str) -> Option<String> {
        let received = self.received.lock().unwrap();
        let resource = received.first()?.resource_spans.first()?.resource.as_ref()?;
        let found = resource.attributes.iter().find(|it| it.key == name)?;
        Some(shown(found.value.as_ref()?.value.as_ref()?))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// An attribute of a span as text.
pub fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key == name)?;
    Some(shown(found.value.as_ref()?.value.as_ref()?))
}

fn shown(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        Value::ArrayValue(list) => {
            let values = list.values.iter().filter_map(|it| it.value.as_ref());
            values.map(shown).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}

/// Where `make test-tools` puts it, or wherever the system has it.
fn program() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/rotel/rotel");
    if ours.exists() { ours } else { "rotel".into() }
}
