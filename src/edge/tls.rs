//! TLS for the proxy's listener: HTTP/2 and HTTP/1.1 by ALPN, client certificates where asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::{Acceptor as PingoraAcceptor, TlsSettings};
use pingora_core::protocols::ALPN;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::config::valid::TlsFiles;

/// Turns accepted sockets into TLS streams, with a certificate that can change under it.
pub struct Acceptor {
    acceptor: PingoraAcceptor,
    certificate: Arc<Certificate>,
}

/// A listener's TLS file that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("listeners.proxy.tls.{key}: {path}: {message}", path = path.display())]
pub struct TlsError {
    /// The config key that names the file.
    key: &'static str,
    path: PathBuf,
    message: String,
}

impl Acceptor {
    /// Loads the files of `tls`.
    pub fn load(tls: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let pair = load_pair(&tls.certificate, &tls.key)?;
        let certificate = Arc::new(Certificate(ArcSwap::from_pointee(pair)));
        // Pingora panics on a bad file, so it gets a resolver and never a path.
        let mut settings = TlsSettings::intermediate("", "")
            .map_err(|error| TlsError::new("certificate", &tls.certificate, error))?;
        settings.set_cert_resolver(certificate.clone());
        settings.set_alpn(ALPN::H2H1);
        if let Some(path) = &tls.client_ca {
            let verifier = WebPkiClientVerifier::builder(Arc::new(load_roots(path)?))
                .build()
                .map_err(|error| TlsError::new("client_ca", path, error))?;
            settings.set_client_cert_verifier(verifier);
        }
        Ok(Arc::new(Self { acceptor: settings.build(), certificate }))
    }

    /// Reads certificate and key again; connections already open keep what they have.
    pub fn reload(&self, tls: &TlsFiles) -> Result<(), TlsError> {
        self.certificate.0.store(Arc::new(load_pair(&tls.certificate, &tls.key)?));
        Ok(())
    }

    pub(super) fn get(&self) -> &PingoraAcceptor {
        &self.acceptor
    }
}

impl TlsError {
    fn new(key: &'static str, path: &Path, message: impl ToString) -> Self {
        Self { key, path: path.to_owned(), message: message.to_string() }
    }
}

/// One certificate for every name: the listener serves one gateway.
#[derive(Debug)]
struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn load_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = load_chain("certificate", certificate)?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::new("key", key, error))?;
    let provider = CryptoProvider::get_default()
        .ok_or_else(|| TlsError::new("key", key, "no TLS crypto provider is installed"))?;
    let pair = CertifiedKey::from_der(chain, private, provider)
        .map_err(|error| TlsError::new("key", key, error))?;
    Ok(pair)
}

fn load_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_chain("client_ca", path)? {
        roots.add(certificate).map_err(|error| TlsError::new("client_ca", path, error))?;
    }
    Ok(roots)
}

fn load_chain(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| TlsError::new(key, path, error))?
        .collect();
    let chain = chain.map_err(|error| TlsError::new(key, path, error))?;
    if chain.is_empty() {
        return Err(TlsError::new(key, path, "the file holds no PEM certificate"));
    }
    Ok(chain)
}
