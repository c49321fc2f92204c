//! PEM files: certificates, keys, authorities. Nothing of a file's content is in an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use sluicegate_files::read_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Certificate, Kind};

/// A file, and the config key that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The whole config key.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
}

/// A file that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}: {message}", file.key, file.path.display())]
pub struct TlsError {
    file: File,
    message: String,
}

/// A certificate with its chain and its key, which belong together.
pub struct Pair {
    /// The certificate first, then who signed it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// Both, ready to sign with.
    pub certified: Arc<CertifiedKey>,
    /// What there is to tell of the certificate.
    pub leaf: Certificate,
}

/// Whoever may have signed a certificate.
pub struct Authorities {
    /// Their certificates. Never empty.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The same, to verify with.
    pub roots: RootCertStore,
    /// The one that expires next.
    pub next: Certificate,
}

impl TlsError {
    /// The config key of the file.
    pub fn key(&self) -> &str {
        &self.file.key
    }

    /// What is wrong with it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl File {
    /// The file at `path`, which `key` names.
    pub fn new(key: impl Into<String>, path: &Path) -> Self {
        Self { key: key.into(), path: path.to_owned() }
    }

    /// Its content.
    ///
    /// # Errors
    /// It can't be read, or is far too long.
    pub fn read(&self) -> Result<Vec<u8>, TlsError> {
        read_pem(&self.path).map_err(|error| self.wrong(&error))
    }

    /// An error about it.
    pub fn wrong(&self, message: &dyn ToString) -> TlsError {
        TlsError { file: self.clone(), message: message.to_string() }
    }
}

/// Reads a certificate and its key.
///
/// # Errors
/// There is none, it can't be read, or the key belongs to another certificate.
pub fn pair(
    kind: Kind,
    certificate: (&File, &[u8]),
    key: (&File, &[u8]),
) -> Result<Pair, TlsError> {
    let chain = certificates(certificate.0, certificate.1)?;
    let leaf = first_of(describe_all(kind, certificate.0, &chain)?);
    // The parser's errors show lines of the file.
    let private = PrivateKeyDer::from_pem_slice(key.1)
        .map_err(|_| key.0.wrong(&"the file holds no PEM private key"))?;
    let certified = CertifiedKey::from_der(chain.clone(), private.clone_key(), &provider())
        .map_err(|error| match error {
            Error::InconsistentKeys(_) => key.0.wrong(&"the key is not that of the certificate"),
            error => key.0.wrong(&error),
        })?;
    Ok(Pair { chain, key: private, certified: Arc::new(certified), leaf })
}

/// Reads a certificate with those that are sent beside it.
///
/// # Errors
/// There is none, or one can't be read.
pub fn chain(kind: Kind, file: &File, pem: &[u8]) -> Result<Certificate, TlsError> {
    Ok(first_of(describe_all(kind, file, &certificates(file, pem)?)?))
}

/// Reads certificates of authorities.
///
/// # Errors
/// There is none, or one can't be read.
pub fn authorities(kind: Kind, file: &File, pem: &[u8], now: i64) -> Result<Authorities, TlsError> {
    let certificates = certificates(file, pem)?;
    let described = describe_all(kind, file, &certificates)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| file.wrong(&error))?;
    }
    // One that has expired already harms nobody, as long as there are others: files of many keep some.
    let next = described
        .iter()
        .filter(|one| one.not_after >= now)
        .min_by_key(|one| one.not_after)
        .or_else(|| described.iter().max_by_key(|one| one.not_after))
        .cloned()
        .ok_or_else(|| file.wrong(&NO_CERTIFICATE))?;
    Ok(Authorities { certificates, roots, next })
}

/// What there is to tell of a certificate.
///
/// # Errors
/// It is none.
pub fn describe(
    kind: Kind,
    file: &File,
    certificate: &CertificateDer<'_>,
) -> Result<Certificate, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| file.wrong(&error))?;
    let validity = parsed.validity();
    Ok(Certificate {
        kind,
        file: file.clone(),
        serial: parsed.raw_serial_as_string(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        chain_not_after: validity.not_after.timestamp(),
    })
}

/// The first of a chain, which is never empty.
fn first_of(mut chain: Vec<Certificate>) -> Certificate {
    let end = chain.iter().map(|one| one.not_after).min();
    let mut first = chain.swap_remove(0);
    first.chain_not_after = end.unwrap_or(first.not_after);
    first
}

/// The same of several.
///
/// # Errors
/// One of them is none.
pub fn describe_all(
    kind: Kind,
    file: &File,
    certificates: &[CertificateDer<'_>],
) -> Result<Vec<Certificate>, TlsError> {
    certificates.iter().map(|certificate| describe(kind, file, certificate)).collect()
}

/// The cryptography of this process.
pub fn provider() -> Arc<CryptoProvider> {
    let installed = CryptoProvider::get_default().cloned();
    installed.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()))
}

const NO_CERTIFICATE: &str = "the file holds no PEM certificate";

fn certificates(file: &File, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    // Not with the parser's words: a key may stand in the same file.
    let chain = chain.map_err(|_| file.wrong(&"the file is not PEM"))?;
    if chain.is_empty() {
        return Err(file.wrong(&NO_CERTIFICATE));
    }
    Ok(chain)
}
