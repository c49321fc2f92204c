//! Where Redis is, and how it is reached.

use std::sync::atomic::AtomicUsize;

use redis::cluster::ClusterClient;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use redis::{RedisConnectionInfo, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};

use super::fault::broken;
use super::link::{ANSWER, CONNECT, Place};
use crate::store::QuotaStoreError;

/// The longest that a cluster's client waits before it tries a command again, in milliseconds, and how
/// often it does so.
const RETRY_MS: u64 = 200;
const RETRIES: u32 = 4;

/// Where Redis is, and what is to be minded.
pub struct RedisOptions {
    /// Where it is.
    pub servers: RedisServers,
    /// What the names of all keys begin with. Without braces.
    pub prefix: String,
    /// Authorities that may have issued the servers' certificates, in PEM. `None`: the system's.
    pub authorities: Option<Vec<u8>>,
    /// How many replicas must have what was done before it counts as done.
    pub wait_replicas: u32,
}

/// Where it is. URLs are `redis://user:password@host:port`, or `rediss://` with TLS.
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
    /// Nothing is connected to.
    pub(super) fn place(&self) -> Result<Place, QuotaStoreError> {
        match &self.servers {
            RedisServers::One(url) => Ok(Place::Server(self.client(url)?)),
            RedisServers::Cluster(urls) => Ok(Place::Cluster(Box::new(self.cluster(urls)?))),
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
                let nodes = nodes.iter().map(|url| self.client(url)).collect::<Result<_, _>>()?;
                Ok(Place::Sentinels(super::sentinel::Sentinels {
                    nodes,
                    first: AtomicUsize::new(0),
                    master: master.clone(),
                    login,
                    tls: tls.then(|| self.certificates()),
                }))
            }
        }
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: self.authorities.clone() }
    }

    fn client(&self, url: &SecretString) -> Result<Client, QuotaStoreError> {
        let info = info(url)?;
        let client = if is_tls(&info) {
            Client::build_with_tls(info, self.certificates())
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
            builder = builder.certs(self.certificates());
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
