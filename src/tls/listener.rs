//! TLS for listeners: 1.3 and 1.2, client certificates where asked. By ALPN the proxy's speaks HTTP/2 and
//! HTTP/1.1, the others HTTP/1.1 alone.
//!
//! All of it is made anew when a file changes, the memory of sessions included: a client whose
//! authority is gone can't come back by resuming.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use super::slot::{Loaded, Made};
use super::{File, Kind, Slot, Source, TlsError, pem};
use crate::config::valid::{Listeners, TlsFiles};

/// One of the three listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// For callers.
    Proxy,
    /// For the administrator.
    Admin,
    /// For Prometheus.
    Metrics,
}

impl Listener {
    const ALL: [Self; 3] = [Self::Proxy, Self::Admin, Self::Metrics];

    /// Its name in the configuration, in metrics and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }

    fn files_in(self, listeners: &Listeners) -> Option<ListenerFiles> {
        let files = match self {
            Self::Proxy => &listeners.proxy.tls,
            Self::Admin => &listeners.admin.tls,
            Self::Metrics => &listeners.metrics.tls,
        };
        let files = files.clone()?;
        Some(ListenerFiles { listener: self, files })
    }
}

/// The TLS of all listeners that have it.
#[derive(Clone)]
pub struct Acceptors([Option<Arc<Acceptor>>; Listener::ALL.len()]);

/// What was read for listeners' next handshakes.
pub struct Prepared(Vec<(Arc<Acceptor>, Arc<Loaded<ListenerFiles>>)>);

impl Acceptors {
    /// Reads all files for the first time.
    ///
    /// # Errors
    /// Some can't be used.
    pub fn load(listeners: &Listeners) -> Result<Self, TlsError> {
        let mut all = [None, None, None];
        for (acceptor, listener) in all.iter_mut().zip(Listener::ALL) {
            let files = listener.files_in(listeners);
            *acceptor = files.map(Acceptor::load).transpose()?.map(Arc::new);
        }
        Ok(Self(all))
    }

    /// That of a listener, where it has TLS.
    pub fn get(&self, listener: Listener) -> Option<&Arc<Acceptor>> {
        self.0[listener as usize].as_ref()
    }

    /// All that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Listener, &Arc<Acceptor>)> {
        let with = |listener| Some((listener, self.get(listener)?));
        Listener::ALL.into_iter().filter_map(with)
    }

    /// Reads the files that another configuration names, to be [`put`](Self::put) in use once all else is
    /// ready, too. Whether a listener has TLS at all is not changed by it.
    ///
    /// # Errors
    /// Some can't be used.
    pub fn prepare(&self, listeners: &Listeners) -> Result<Prepared, TlsError> {
        let mut prepared = Vec::new();
        for (listener, acceptor) in self.iter() {
            if let Some(files) = listener.files_in(listeners) {
                prepared.push((acceptor.clone(), acceptor.prepare(files)?));
            }
        }
        Ok(Prepared(prepared))
    }

    /// Puts in use what was prepared.
    pub fn put(prepared: Prepared) {
        for (acceptor, loaded) in prepared.0 {
            acceptor.put(loaded);
        }
    }
}

/// What new connections of one listener are made with; its files can change under it.
pub type Acceptor = Slot<ListenerFiles>;

/// The files of a listener's TLS.
#[derive(Clone)]
pub struct ListenerFiles {
    listener: Listener,
    files: TlsFiles,
}

impl Source for ListenerFiles {
    type Made = Arc<ServerConfig>;

    fn files(&self) -> Vec<File> {
        let (listener, TlsFiles { pair, client_ca }) = (self.listener.name(), &self.files);
        let file = |key, path| File::new(format!("listeners.{listener}.tls.{key}"), path);
        let mut files = vec![file("certificate", &pair.certificate), file("key", &pair.key)];
        files.extend(client_ca.as_deref().map(|path| file("client_ca", path)));
        files
    }

    fn make(&self, contents: &[Vec<u8>], now: i64) -> Result<Made<Arc<ServerConfig>>, TlsError> {
        let files = self.files();
        let pair = pem::pair(Kind::Listener, (&files[0], &contents[0]), (&files[1], &contents[1]))?;
        let mut certificates = vec![pair.leaf];
        let provider = pem::provider();
        // Its suites are AEADs with forward secrecy, and nothing else; see the test below.
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| files[0].wrong(&error))?;
        let builder = match (files.get(2), contents.get(2)) {
            (Some(file), Some(content)) => {
                let authorities = pem::authorities(Kind::ClientCa, file, content, now)?;
                certificates.push(authorities.next);
                let roots = Arc::new(authorities.roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| file.wrong(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        // One certificate for every name: the listener serves one gateway.
        let mut config =
            builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified)));
        config.alpn_protocols = match self.listener {
            Listener::Proxy => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Listener::Admin | Listener::Metrics => vec![b"http/1.1".to_vec()],
        };
        Ok(Made { it: Arc::new(config), certificates })
    }
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite;
    use rustls::crypto::aws_lc_rs;

    /// An update of the library must not bring back what was left out.
    #[test]
    fn every_suite_is_an_aead_with_forward_secrecy() {
        use CipherSuite as S;
        let modern = [
            S::TLS13_AES_256_GCM_SHA384,
            S::TLS13_AES_128_GCM_SHA256,
            S::TLS13_CHACHA20_POLY1305_SHA256,
            S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        for suite in aws_lc_rs::default_provider().cipher_suites {
            assert!(modern.contains(&suite.suite()), "{suite:?}");
        }
    }
}
