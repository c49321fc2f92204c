use std::sync::Arc;

use http::Version;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::server::{Server, modern, result, whole, with};
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
fn acceptor(leaf: &Leaf, clients: &Authority, protocols: &[&[u8]]) -> TlsAcceptor {
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
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn both_sides_show_who_they_are() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let tls = acceptor(&servers.leaf(), &clients, &[b"h2", b"http/1.1"]);
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

#[tokio::test]
async fn files_are_followed_without_a_restart() {
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let tls = acceptor(&servers.leaf(), &clients, &[b"http/1.1"]);
    let server = Server::behind(Some(tls), |asked| async move {
        let reply = modern(&asked).unwrap_or_else(|| whole(&result(&asked, &json!({}))));
        // So that each request makes a connection.
        with(reply, "connection", "close")
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let authorities = |pem: &str| std::fs::write(path("ca.pem"), pem).unwrap();
    let certificate = |leaf: &Leaf| std::fs::write(path("cert"), leaf.certificate.pem()).unwrap();
    let key = |leaf: &Leaf| std::fs::write(path("key"), leaf.key.serialize_pem()).unwrap();
    let (good, bad) = (clients.leaf(), others.leaf());
    authorities(&servers.0.pem());
    certificate(&good);
    key(&good);
    let mut transport = transport(&server.url);
    transport.ca = Some(path("ca.pem"));
    transport.client_certificate = Some(PairFiles { certificate: path("cert"), key: path("key") });
    let upstream = upstream_of(transport);
    assert_eq!(only(&upstream, plain()).await, "result {}");

    authorities("half a fi");
    assert_eq!(only(&upstream, plain()).await, "result {}", "those before stay");
    authorities(&others.0.pem());
    let failure = fails(&upstream, plain()).await;
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    authorities(&(others.0.pem() + &servers.0.pem()));
    assert_eq!(only(&upstream, plain()).await, "result {}");

    certificate(&bad);
    assert_eq!(only(&upstream, plain()).await, "result {}", "it has another key");
    key(&bad);
    let failure = fails(&upstream, plain()).await;
    assert!(matches!(failure, Failure::Unreachable(_) | Failure::Broken(_)), "{failure:?}");
    std::fs::remove_file(path("key")).unwrap();
    let failure = fails(&upstream, plain()).await;
    assert!(matches!(failure, Failure::Unreachable(_) | Failure::Broken(_)), "{failure:?}");
    certificate(&good);
    key(&good);
    assert_eq!(only(&upstream, plain()).await, "result {}");
}
