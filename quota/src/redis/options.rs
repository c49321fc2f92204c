//! Where Redis is, and how it is reached.

use std::path::PathBuf;
use std::sync::atomic::AtomicI64;

use redis::cluster::ClusterClient;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use redis::{RedisConnectionInfo, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};
use sluicegate_files::read_pem;

use super::fault::broken;
use super::link::{ANSWER, CONNECT, Place};
use super::nearby::Nearby;
use crate::store::QuotaStoreError;

/// The longest that a cluster's client waits before it tries a command again, in milliseconds, and how
/// often it does so.
const RETRY_MS: u64 = 200;
const RETRIES: u32 = 4;

/// What a certificate begins with (RFC 7468 section 5.1).
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Where Redis is, and what is to be minded.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where it is.
    pub servers: RedisServers,
    /// What the names of all keys begin with. Without braces.
    pub prefix: String,
    /// A PEM file of the authorities that may have issued the servers' certificates; `None`: the
    /// system's. New connections are made with what it holds then.
    pub ca: Option<PathBuf>,
    /// Whether another machine may be reached without TLS, whoever names it.
    pub plain_elsewhere: bool,
    /// How many replicas must have what was done before it counts as done.
    pub wait_replicas: u32,
}

/// Where it is. URLs are `redis://user:password@host:port`, or `rediss://` with TLS.
#[derive(Clone)]
pub enum RedisServers {
    /// One server.
    One(SecretString),
    /// Nodes of a cluster, to find the others by.
    Cluster(Vec<SecretString>),
    /// Sentinels, who know which server is the primary. The servers are reached with TLS if the
    /// sentinels are.
    Sentinel {
        nodes: Vec<SecretString>,
        /// What they call the primary.
        master: String,
        /// To log in at the servers. Sentinels' own are in their URLs.
        username: Option<SecretString>,
        password: Option<SecretString>,
    },
}

impl RedisOptions {
    /// What the file of authorities holds now. Blocks on the disk.
    pub(super) fn authorities(&self) -> Result<Option<Vec<u8>>, QuotaStoreError> {
        let Some(path) = &self.ca else { return Ok(None) };
        let refused = |why: &dyn std::fmt::Display| {
            broken(&format!("the authorities in {}: {why}", path.display()))
        };
        let pem = read_pem(path).map_err(|error| refused(&error))?;
        // The driver takes a file of none for one of some.
        if !pem.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE) {
            return Err(refused(&"the file holds no PEM certificate"));
        }
        Ok(Some(pem))
    }

    /// Whether connections must not leave this machine.
    pub(super) fn stays_nearby(&self) -> bool {
        let urls = match &self.servers {
            RedisServers::One(url) => std::slice::from_ref(url),
            RedisServers::Cluster(urls) | RedisServers::Sentinel { nodes: urls, .. } => urls,
        };
        let tls = |url: &SecretString| info(url).is_ok_and(|info| is_tls(&info));
        !self.plain_elsewhere && !urls.iter().any(tls)
    }

    /// The way there, with these authorities. Nothing is connected to.
    pub(super) fn place(&self, authorities: Option<&[u8]>) -> Result<Place, QuotaStoreError> {
        let nearby = self.stays_nearby();
        let make = Make {
            nearby,
            certificates: TlsCertificates {
                client_tls: None,
                root_cert: authorities.map(<[u8]>::to_vec),
            },
        };
        match &self.servers {
            RedisServers::One(url) => Ok(Place::Server(make.client(url)?)),
            RedisServers::Cluster(urls) => Ok(Place::Cluster(Box::new(make.cluster(urls)?))),
            RedisServers::Sentinel { nodes, master, username, password } => {
                let mut login = RedisConnectionInfo::default();
                if let Some(username) = username {
                    login = login.set_username(username.expose_secret());
                }
                if let Some(password) = password {
                    login = login.set_password(password.expose_secret());
                }
                let mut tls = false;
                for url in nodes {
                    tls |= is_tls(&info(url)?);
                }
                let nodes = nodes.iter().map(|url| make.client(url)).collect::<Result<_, _>>()?;
                Ok(Place::Sentinels(super::sentinel::Sentinels {
                    nodes,
                    epoch: AtomicI64::new(0),
                    master: master.clone(),
                    login,
                    tls: tls.then(|| make.certificates.clone()),
                }))
            }
        }
    }
}

/// Makes clients.
struct Make {
    nearby: bool,
    certificates: TlsCertificates,
}

impl Make {
    fn client(&self, url: &SecretString) -> Result<Client, QuotaStoreError> {
        let info = info(url)?;
        let client = if is_tls(&info) {
            Client::build_with_tls(info, self.certificates.clone())
        } else {
            Client::open(info)
        };
        client.map_err(|_| unusable())
    }

    fn cluster(&self, urls: &[SecretString]) -> Result<ClusterClient, QuotaStoreError> {
        let nodes = urls.iter().map(info).collect::<Result<Vec<_>, _>>()?;
        let tls = nodes.iter().any(is_tls);
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(CONNECT)
            .response_timeout(ANSWER)
            .retries(RETRIES)
            .max_retry_wait(RETRY_MS);
        if tls {
            builder = builder.certs(self.certificates.clone());
        }
        if self.nearby {
            builder = builder.async_dns_resolver(Nearby::default());
        }
        builder.build().map_err(|_| {
            broken("the URLs of a cluster must all have the same scheme, user and password")
        })
    }
}

/// What a URL says. No error shows any of it.
fn info(url: &SecretString) -> Result<ConnectionInfo, QuotaStoreError> {
    let info = url.expose_secret().into_connection_info().map_err(|_| unusable())?;
    match info.addr() {
        ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { insecure: false, .. } => Ok(info),
        _ => Err(unusable()),
    }
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

fn unusable() -> QuotaStoreError {
    broken("a URL can't be used; it is like rediss://user:password@redis.example.com:6379")
}
