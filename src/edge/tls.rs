//! TLS for the proxy's listener: 1.3 and 1.2, HTTP/2 and HTTP/1.1 by ALPN, client certificates where
//! asked.
//!
//! All of it is made anew when a file changes, the memory of sessions included: a client whose
//! authority is gone can't come back by resuming.

use std::sync::Arc;

use pingora_core::listeners::tls::Acceptor as PingoraAcceptor;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use crate::config::valid::TlsFiles;
use crate::tls::slot::Made;
use crate::tls::{File, Kind, Slot, Source, TlsError, pem};

/// Turns accepted sockets into TLS streams, with files that can change under it.
pub type Acceptor = Slot<TlsFiles>;

impl Source for TlsFiles {
    type Made = PingoraAcceptor;

    fn files(&self) -> Vec<File> {
        let file = |key, path| File::new(format!("listeners.proxy.tls.{key}"), path);
        let mut files =
            vec![file("certificate", &self.pair.certificate), file("key", &self.pair.key)];
        files.extend(self.client_ca.as_deref().map(|path| file("client_ca", path)));
        files
    }

    fn make(&self, contents: &[Vec<u8>], now: i64) -> Result<Made<PingoraAcceptor>, TlsError> {
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
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Made { it: PingoraAcceptor::from_server_config(Arc::new(config)), certificates })
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
