//! A client that keeps its connections, for one server that is asked all the time.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sluicegate_files::{Current, Look};
use tower_service::Service;

use super::{ClientError, read, tls};
use crate::tls::{File, Kind, pem};

/// How long a connection waits for its next request. Servers of the common frameworks close it after five
/// seconds, and a request that meets them in it is lost.
const IDLE: Duration = Duration::from_secs(4);

/// How long a connection waits for the files that say whom it trusts.
const READING: Duration = Duration::from_secs(2);

/// Connections that wait for their next request.
const MOST_IDLE: usize = 64;

/// How often an HTTP/2 connection with requests on it is asked whether it still is one, and how long it may
/// take to say so: one whose other end has vanished would be used for minutes.
const ALIVE: Duration = Duration::from_secs(10);

/// Bytes that one HTTP/2 answer may have on the way to somebody who does not read on.
const WINDOW: u32 = 256 * 1024;

/// Bytes that all answers of an HTTP/2 connection may, which is all that there are: nobody who does not read
/// on holds up the others.
const WINDOW_OF_ALL: u32 = (1 << 31) - 1;

/// A client that keeps its connections, for requests with bodies of `B`.
pub type KeepingClient<B> = Client<Connector, B>;

/// What a client shows to a server that asks for a certificate.
#[derive(Debug)]
pub struct Shown {
    /// The certificate, with its chain.
    pub certificate: File,
    /// Its key.
    pub key: File,
}

/// A client that keeps its connections, for one server that is asked all the time. HTTP/2 where the server
/// offers it in the TLS handshake. `connect` is for the TCP connection alone.
///
/// The files of `ca` and `shown` are read now, and before each connection: one that is made trusts whom they
/// name then. Files that can't be used are told, and those before stay in use.
///
/// # Errors
/// There are no authorities, or the certificate can't be used.
pub fn keeping_client<B>(
    https: bool,
    ca: Option<&Path>,
    shown: Option<Shown>,
    connect: Duration,
) -> Result<KeepingClient<B>, ClientError>
where
    B: Body + Send,
    B::Data: Send,
{
    let mut tcp = HttpConnector::new();
    // Otherwise it takes no `https`.
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(connect));
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    tcp.set_nodelay(true);
    let plan = Plan { https, ca: ca.map(Path::to_owned), shown, tcp };
    let contents = plan.read()?;
    let current = Current::new(contents.joined(), |_| plan.connector(&contents))?;
    let connector = Connector(Arc::new(Following {
        plan,
        current: Mutex::new(current),
        reading: AtomicBool::new(false),
    }));
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MOST_IDLE)
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(ALIVE)
        .http2_keep_alive_timeout(ALIVE)
        .http2_initial_connection_window_size(WINDOW_OF_ALL)
        .http2_initial_stream_window_size(WINDOW)
        .build(connector))
}

/// Makes connections with what files hold at the time. Its clones are the same.
#[derive(Clone)]
pub struct Connector(Arc<Following>);

struct Following {
    plan: Plan,
    current: Mutex<Current<Https>>,
    /// Whether somebody reads the files.
    reading: AtomicBool,
}

struct Plan {
    https: bool,
    ca: Option<PathBuf>,
    shown: Option<Shown>,
    tcp: HttpConnector,
}

/// What the files hold.
struct Contents {
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

type Https = HttpsConnector<HttpConnector>;

impl Plan {
    /// Blocks on the disk.
    fn read(&self) -> Result<Contents, ClientError> {
        let file = |file: fn(&Shown) -> &File| {
            let read = self.shown.as_ref().map(|shown| file(shown).read());
            read.transpose().map_err(ClientError::Shown)
        };
        Ok(Contents {
            ca: self.ca.as_deref().map(read).transpose()?,
            certificate: file(|shown| &shown.certificate)?,
            key: file(|shown| &shown.key)?,
        })
    }

    fn connector(&self, contents: &Contents) -> Result<Https, ClientError> {
        let pair = match (&self.shown, &contents.certificate, &contents.key) {
            (Some(shown), Some(certificate), Some(key)) => {
                let certificate = (&shown.certificate, certificate.as_slice());
                let pair = pem::pair(Kind::Client, certificate, (&shown.key, key));
                Some(pair.map_err(ClientError::Shown)?.certified)
            }
            _ => None,
        };
        let ca = self.ca.as_deref().zip(contents.ca.as_deref());
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls(self.https, ca, pair)?);
        let builder = if self.https { builder.https_only() } else { builder.https_or_http() };
        Ok(builder.enable_all_versions().wrap_connector(self.tcp.clone()))
    }
}

impl Contents {
    /// All of it, to be compared; `None` where there are no files.
    fn joined(&self) -> Option<Vec<u8>> {
        let all = [&self.ca, &self.certificate, &self.key];
        if all.iter().all(|content| content.is_none()) {
            return None;
        }
        let mut joined = Vec::new();
        for content in all.into_iter().flatten() {
            // With the lengths no two of them are the same.
            joined.extend_from_slice(&content.len().to_le_bytes());
            joined.extend_from_slice(content);
        }
        Some(joined)
    }
}

impl Following {
    /// The connector of now. Reads the files, on a thread for that.
    async fn connector(self: Arc<Self>) -> Https {
        let Plan { ca, shown, .. } = &self.plan;
        if ca.is_none() && shown.is_none() {
            return self.current().it().clone();
        }
        // One at a time, so that what was read last is what is used, and a disk that hangs keeps no more than
        // one thread.
        if !self.reading.swap(true, Ordering::AcqRel) {
            let of_files = self.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let connector = of_files.look();
                of_files.reading.store(false, Ordering::Release);
                connector
            });
            // Otherwise the runtime is on its way out, or the disk takes too long.
            if let Ok(Ok(connector)) = tokio::time::timeout(READING, looked).await {
                return connector;
            }
        }
        self.current().it().clone()
    }

    fn look(&self) -> Https {
        let contents = self.plan.read();
        let mut current = self.current();
        let joined = contents.as_ref().map(Contents::joined);
        let look = current.look(joined.map_err(ToString::to_string), |_| match &contents {
            Ok(contents) => self.plan.connector(contents).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        });
        let ca = self.plan.ca.as_deref();
        let certificate = self.plan.shown.as_ref().map(|shown| &shown.certificate.path);
        match look {
            Look::Same => {}
            Look::Changed => {
                tracing::info!(?ca, ?certificate, "other authorities or client certificate in use");
            }
            Look::Refused(error) => tracing::error!(
                error,
                "authorities or client certificate refused, those before stay in use"
            ),
        }
        current.it().clone()
    }

    fn current(&self) -> MutexGuard<'_, Current<Https>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Uri> for Connector {
    type Response = <Https as Service<Uri>>::Response;
    type Error = <Https as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let following = self.0.clone();
        Box::pin(async move {
            let mut connector = following.connector().await;
            poll_fn(|cx| connector.poll_ready(cx)).await?;
            connector.call(to).await
        })
    }
}
