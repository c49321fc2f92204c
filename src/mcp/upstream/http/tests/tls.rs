use std::sync::Arc;

use http::Version;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::server::{Server, modern, result, whole};
use super::{fails, only, plain, transport, upstream_of};
use crate::config::valid::PairFiles;
use crate::mcp::upstream::Failure;

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn leaf(&self) -> Leaf {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf { certificate, key }
    }
}

/// Wants a certificate of `clients`.
fn acceptor(leaf: &Leaf, clients: &Authority) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.0.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![leaf.certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn both_sides_show_who_they_are() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let tls = acceptor(&servers.leaf(), &clients);
    let server = Server::behind(Some(tls), |asked| async move {
        modern(&asked).unwrap_or_else(|| whole(&result(&asked, &json!({}))))
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let leaf = clients.leaf();
    let pair = PairFiles {
        certificate: file("client.pem", leaf.certificate.pem()),
        key: file("client.key", leaf.key.serialize_pem()),
    };
    let mut transport = transport(&server.url);
    transport.ca = Some(file("ca.pem", servers.0.pem()));
    transport.client_certificate = Some(pair.clone());

    assert_eq!(only(&upstream_of(transport.clone()), plain()).await, "result {}");
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.version == Version::HTTP_2), "{asked:?}");
    assert_eq!(asked.len(), 2);

    transport.client_certificate = None;
    let failure = fails(&upstream_of(transport.clone()), plain()).await;
    assert!(matches!(failure, Failure::Unreachable(_) | Failure::Broken(_)), "{failure:?}");
    transport.client_certificate = Some(pair);
    transport.ca = Some(file("other.pem", clients.0.pem()));
    let failure = fails(&upstream_of(transport), plain()).await;
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    assert_eq!(server.asked().len(), 2);
}
