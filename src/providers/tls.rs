//! TLS towards one provider: whom to trust, and what to show where it asks for a certificate.

use std::path::PathBuf;
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use crate::config::valid::{PairFiles, Provider};
use crate::tls::slot::Made;
use crate::tls::{File, Kind, Source, TlsError, pem};

/// The files of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFiles {
    provider: String,
    ca: Option<PathBuf>,
    client: Option<PairFiles>,
}

/// What connections to a provider are made with. Twice: once as Pingora takes it, once for
/// connections of our own.
pub struct ProviderTls {
    /// Authorities to trust instead of the system's.
    pub ca: Option<Arc<CaType>>,
    /// The same.
    pub roots: Option<Arc<RootCertStore>>,
    /// The certificate to show.
    pub client: Option<Arc<CertKey>>,
    /// The same.
    pub certified: Option<Arc<CertifiedKey>>,
}

impl ProviderFiles {
    /// Those that the configuration names.
    pub fn of(provider: &Provider) -> Self {
        Self {
            provider: provider.name.clone(),
            ca: provider.ca.clone(),
            client: provider.client_certificate.clone(),
        }
    }

    fn file(&self, key: &str, path: &std::path::Path) -> File {
        File::new(format!("providers.{}.{key}", self.provider), path)
    }

    fn ca_file(&self) -> Option<File> {
        self.ca.as_deref().map(|path| self.file("ca", path))
    }

    fn pair_files(&self) -> Option<[File; 2]> {
        self.client.as_ref().map(|pair| {
            [
                self.file("client_certificate.certificate", &pair.certificate),
                self.file("client_certificate.key", &pair.key),
            ]
        })
    }
}

impl Source for ProviderFiles {
    type Made = ProviderTls;

    fn files(&self) -> Vec<File> {
        self.ca_file().into_iter().chain(self.pair_files().into_iter().flatten()).collect()
    }

    fn make(&self, contents: &[Vec<u8>], now: i64) -> Result<Made<ProviderTls>, TlsError> {
        let mut contents = contents.iter();
        let mut certificates = Vec::new();
        let mut it = ProviderTls { ca: None, roots: None, client: None, certified: None };
        if let (Some(file), Some(content)) = (self.ca_file(), contents.as_slice().first()) {
            contents.next();
            let authorities = pem::authorities(Kind::Ca, &file, content, now)?;
            // Each has been parsed before: Pingora's wrapper panics on what is not a certificate.
            let wrapped = authorities.certificates.iter();
            let wrapped = wrapped.map(|one| WrappedX509::new(one.to_vec(), parse_x509));
            it.ca = Some(wrapped.collect());
            it.roots = Some(Arc::new(authorities.roots));
            certificates.push(authorities.next);
        }
        if let (Some([certificate, key]), [first, second]) =
            (self.pair_files(), contents.as_slice())
        {
            let pair = pem::pair(Kind::Client, (&certificate, first), (&key, second))?;
            let secret = pair.key.secret_der();
            // Pingora finds out by itself which kind of key it is, and panics where it can't.
            if PrivateKeyDer::try_from(secret).is_err() {
                return Err(key.wrong(&"this kind of key can't be used here"));
            }
            let chain = pair.chain.iter().map(|one| one.to_vec()).collect();
            it.client = Some(Arc::new(CertKey::new(chain, secret.to_vec())));
            it.certified = Some(pair.certified);
            certificates.push(pair.leaf);
        }
        Ok(Made { it, certificates })
    }
}
