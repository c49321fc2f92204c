//! Looks at providers' certificates now and then, to tell when they expire.
//!
//! Pingora keeps no more of a provider's certificate than its serial number and its hash. So each
//! provider is sent a handshake, and nothing after it, once an hour, over a connection that no request
//! uses: by the same authorities, with the same client certificate. A certificate is noted before it is
//! verified, so that one that has expired is told of, too; it is trusted by nobody for that.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::upstream::Upstream;
use crate::app::Gateway;

/// How often a provider that answers is looked at.
const EVERY: Duration = Duration::from_secs(3600);
/// How soon one that did not answer is looked at again.
const AGAIN: Duration = Duration::from_secs(600);
/// How often it is seen whether one is due.
const LOOK: Duration = Duration::from_secs(60);
/// For a connection and its handshake.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many are looked at at once.
const AT_ONCE: usize = 4;

/// Runs for as long as the process.
pub async fn run(gateway: &Gateway) {
    let mut generations = gateway.generations();
    let mut look = tokio::time::interval(LOOK);
    let mut seen = HashMap::new();
    loop {
        tokio::select! {
            _ = look.tick() => {}
            Ok(()) = generations.changed() => {}
        }
        let runtime = gateway.current();
        let checked: Vec<_> =
            runtime.routes.upstreams().filter(|upstream| upstream.checked).cloned().collect();
        drop(runtime);
        seen.retain(|name: &String, _| checked.iter().any(|upstream| upstream.name == *name));
        let now = Instant::now();
        let due: Vec<_> = checked
            .into_iter()
            .filter(|upstream| {
                seen.get(&upstream.name).is_none_or(|last| is_due(last, upstream, now))
            })
            .collect();
        if gateway.is_draining() || due.is_empty() {
            continue;
        }
        let roots = system_roots(&due).await;
        for some in due.chunks(AT_ONCE) {
            let mut checks = tokio::task::JoinSet::new();
            for upstream in some {
                let (upstream, roots) = (upstream.clone(), roots.clone());
                checks.spawn(async move {
                    let sight = check(&upstream, roots).await;
                    (upstream, sight)
                });
            }
            for (upstream, sight) in checks.join_all().await {
                note(gateway, &upstream, &sight);
                let due = Instant::now() + if sight.problem.is_none() { EVERY } else { AGAIN };
                seen.insert(upstream.name.clone(), Last { due, place: place(&upstream) });
            }
        }
    }
}

/// The last look at a provider.
struct Last {
    due: Instant,
    place: (HeaderValue, u64),
}

/// Where a provider is, and what it is reached with: either may change with a reload.
fn place(upstream: &Upstream) -> (HeaderValue, u64) {
    (upstream.authority().clone(), upstream.security.get().mark())
}

fn is_due(last: &Last, upstream: &Upstream, now: Instant) -> bool {
    now >= last.due || last.place != place(upstream)
}

/// What was seen of a provider.
struct Sight {
    /// Until when its certificate is good, in seconds since the epoch, where it showed one.
    not_after: Option<i64>,
    problem: Option<String>,
}

fn note(gateway: &Gateway, upstream: &Upstream, sight: &Sight) {
    let name = &upstream.name;
    // A reload may have taken it out meanwhile.
    if !gateway.current().routes.upstreams().any(|known| known.name == *name && known.checked) {
        return;
    }
    gateway.metrics.tls.checked(name, sight.problem.is_none(), sight.not_after);
    if let Some(problem) = &sight.problem {
        tracing::warn!(provider = %name, %problem, "the provider's certificate was not verified");
    }
}

/// Those that Pingora trusts, where a provider has none of its own.
async fn system_roots(due: &[Arc<Upstream>]) -> Arc<RootCertStore> {
    if due.iter().all(|upstream| upstream.security.get().it().roots.is_some()) {
        return Arc::new(RootCertStore::empty());
    }
    let load = || {
        let mut roots = RootCertStore::empty();
        match pingora_core::tls::load_platform_certs_incl_env_into_store(&mut roots) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the system's authorities can't be read"),
        }
        Arc::new(roots)
    };
    tokio::task::spawn_blocking(load).await.unwrap_or_else(|_| Arc::new(RootCertStore::empty()))
}

async fn check(upstream: &Upstream, system: Arc<RootCertStore>) -> Sight {
    let not_after = Arc::new(Mutex::new(None));
    let shaken =
        tokio::time::timeout(TIMEOUT, handshake(upstream, system, not_after.clone())).await;
    let problem = match shaken {
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(problem),
        Err(_) => Some(format!("no handshake within {TIMEOUT:?}")),
    };
    let not_after = *not_after.lock().unwrap_or_else(PoisonError::into_inner);
    Sight { not_after, problem }
}

async fn handshake(
    upstream: &Upstream,
    system: Arc<RootCertStore>,
    not_after: Arc<Mutex<Option<i64>>>,
) -> Result<(), String> {
    let told = |error: &dyn Display| error.to_string();
    let security = upstream.security.get();
    let provider = CryptoProvider::get_default().ok_or("no TLS crypto provider is installed")?;
    let roots = security.it().roots.clone().unwrap_or(system);
    let real = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| told(&error))?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| told(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Witness { real, not_after }));
    let config = match security.it().certified.clone() {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from(upstream.server_name().to_owned());
    let name = name.map_err(|error| told(&error))?;
    let address = upstream.address().ok_or("the name has no known address")?;
    let stream = TcpStream::connect(address).await.map_err(|error| told(&error))?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| told(&error))?;
    // What was to be seen has been seen.
    stream.shutdown().await.ok();
    Ok(())
}

/// Notes until when a certificate is good, and leaves it to the `real` one whether it is.
#[derive(Debug)]
struct Witness {
    real: Arc<WebPkiServerVerifier>,
    not_after: Arc<Mutex<Option<i64>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok((_, certificate)) = X509Certificate::from_der(end_entity) {
            *self.not_after.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(certificate.validity().not_after.timestamp());
        }
        self.real.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.real.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.real.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.real.supported_verify_schemes()
    }
}
