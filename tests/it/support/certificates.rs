//! Authorities, certificates, directories as the kubelet mounts them, and TLS in front of a provider.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Years in which a certificate is good.
pub type Years = (i32, i32);

/// Good now, and for long.
pub const GOOD: Years = (2020, 2080);

/// Each certificate has a serial number of its own.
static SERIAL: AtomicU64 = AtomicU64::new(1000);

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Leaf {
    pub pem: String,
    pub key: String,
    der: CertificateDer<'static>,
    private: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::good(name, GOOD)
    }

    pub fn good(name: &str, years: Years) -> Self {
        let mut params = params(Vec::new(), years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For this machine, good now.
    pub fn leaf(&self) -> Leaf {
        self.leaf_good(GOOD)
    }

    pub fn leaf_good(&self, years: Years) -> Leaf {
        self.sign(&leaf_params(years))
    }

    fn sign(&self, params: &CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let certificate = params.clone().signed_by(&key, &self.0).unwrap();
        Leaf {
            pem: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            private: key.serialize_der().try_into().unwrap(),
        }
    }

    /// For this machine, good until the beginning of the day that is so many days from today.
    pub fn leaf_for(&self, days: i64) -> Leaf {
        let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(days * 24);
        let day = day.to_zoned(jiff::tz::TimeZone::UTC).date();
        let number = |part: i8| u8::try_from(part).unwrap();
        let mut params = leaf_params(GOOD);
        params.not_after =
            rcgen::date_time_ymd(day.year().into(), number(day.month()), number(day.day()));
        self.sign(&params)
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

fn leaf_params(years: Years) -> CertificateParams {
    params(vec!["localhost".to_owned(), "127.0.0.1".to_owned()], years)
}

fn params(names: Vec<String>, (from, to): Years) -> CertificateParams {
    let mut params = CertificateParams::new(names).unwrap();
    params.serial_number = Some(SERIAL.fetch_add(1, Ordering::Relaxed).into());
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params
}

/// The first second of a year, in seconds since the epoch.
pub fn new_year(year: i32) -> f64 {
    rcgen::date_time_ymd(year, 1, 1).unix_timestamp() as f64
}

impl Leaf {
    pub fn serial(&self) -> String {
        serial(&self.der)
    }

    /// The files of a pair, as Kubernetes names them.
    pub fn files(&self) -> [(&'static str, String); 2] {
        [("tls.crt", self.pem.clone()), ("tls.key", self.key.clone())]
    }
}

/// Its serial number.
pub fn serial(certificate: &CertificateDer<'_>) -> String {
    X509Certificate::from_der(certificate).unwrap().1.raw_serial_as_string()
}

/// A directory as the kubelet makes it of a Secret: all files change at once.
pub struct Mounted {
    path: PathBuf,
    version: u32,
}

impl Mounted {
    pub fn new(path: PathBuf, files: &[(&str, String)]) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mut mounted = Self { path, version: 0 };
        mounted.put(files);
        for (name, _) in files {
            std::os::unix::fs::symlink(format!("..data/{name}"), mounted.at(name)).unwrap();
        }
        mounted
    }

    /// Swaps `..data` for a directory with these files.
    pub fn put(&mut self, files: &[(&str, String)]) {
        self.version += 1;
        let version = format!("..{}", self.version);
        std::fs::create_dir(self.at(&version)).unwrap();
        for (name, content) in files {
            std::fs::write(self.at(&version).join(name), content).unwrap();
        }
        std::os::unix::fs::symlink(&version, self.at("..data_tmp")).unwrap();
        std::fs::rename(self.at("..data_tmp"), self.at("..data")).unwrap();
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Replaces a file as cert-manager's driver and careful scripts do: a new one is renamed over it.
pub fn replace(path: &Path, content: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, content).unwrap();
    std::fs::rename(next, path).unwrap();
}

/// What a client connects with. Sessions are resumed where the server remembers them.
pub fn client_config(roots: RootCertStore, client: Option<&Leaf>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match client {
        Some(leaf) => {
            builder.with_client_auth_cert(vec![leaf.der.clone()], leaf.private.clone_key()).unwrap()
        }
        None => builder.with_no_client_auth(),
    })
}

/// A handshake as `localhost`.
pub async fn handshake(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config.clone()).connect(name, stream).await
}

/// The serial number of what the server shows.
pub async fn shown(address: SocketAddr, roots: RootCertStore) -> String {
    let stream = handshake(address, &client_config(roots, None)).await.unwrap();
    serial(&stream.get_ref().1.peer_certificates().unwrap()[0])
}

/// One request on a connection of its own; the whole answer. A server that refuses a client's certificate
/// says so only after the handshake.
pub async fn ask(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    request: &[u8],
) -> std::io::Result<String> {
    let mut stream = handshake(address, config).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        // Without a close_notify, an answer that says its length is whole all the same.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        Err(error) => return Err(error),
    }
    Ok(String::from_utf8(answer).unwrap())
}

/// Ends TLS before a provider. It ends when dropped.
pub struct TlsFront {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: AbortHandle,
}

/// What was agreed on one connection that had a request.
struct Seen {
    /// The serial number of the certificate that the client has shown.
    certificate: Option<String>,
    /// The protocol, by ALPN.
    protocol: Option<String>,
}

impl TlsFront {
    /// Shows `leaf`; with `clients`, asks for a certificate of theirs. Speaks of no protocol.
    pub async fn start(provider: SocketAddr, leaf: &Leaf, clients: Option<&Authority>) -> Self {
        Self::offering(provider, leaf, clients, &[]).await
    }

    /// Offers `protocols` by ALPN.
    pub async fn offering(
        provider: SocketAddr,
        leaf: &Leaf,
        clients: Option<&Authority>,
        protocols: &[&str],
    ) -> Self {
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(crypto.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), crypto)
                    .build()
                    .unwrap(),
            ),
            None => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_single_cert(vec![leaf.der.clone()], leaf.private.clone_key()).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn(serve(listener, acceptor, provider, seen.clone()));
        Self { address, seen, server: server.abort_handle() }
    }

    /// The serial numbers that clients have shown, of connections that had a request.
    pub fn shown(&self) -> Vec<Option<String>> {
        self.seen.lock().unwrap().iter().map(|seen| seen.certificate.clone()).collect()
    }

    /// The protocols that were agreed by ALPN, of connections that had a request.
    pub fn agreed(&self) -> Vec<Option<String>> {
        self.seen.lock().unwrap().iter().map(|seen| seen.protocol.clone()).collect()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    provider: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        connections.spawn(async move {
            // A client that is refused, or refuses, leaves.
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut first = [0; 16 * 1024];
            let Ok(n @ 1..) = stream.read(&mut first).await else { return };
            let agreed = stream.get_ref().1;
            let protocol = agreed.alpn_protocol().map(|name| String::from_utf8(name.to_vec()));
            seen.lock().unwrap().push(Seen {
                certificate: agreed.peer_certificates().map(|chain| serial(&chain[0])),
                protocol: protocol.transpose().unwrap(),
            });
            let mut behind = TcpStream::connect(provider).await.unwrap();
            behind.write_all(&first[..n]).await.unwrap();
            tokio::io::copy_bidirectional(&mut stream, &mut behind).await.ok();
        });
    }
}
