//! A provider made ready to be called: everything about a request to it that does not depend on the
//! request is computed here once, when a configuration is loaded.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora_core::protocols::tls::CaType;
use pingora_core::protocols::{ALPN, TcpKeepalive};
use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_http::RequestHeader;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use sluicegate_filters::screen::HeaderPolicy;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::resolve::{Resolver, Resolvers};
use crate::config::valid::{AuthStyle, HttpVersion, ModelTimeouts, Provider};
use crate::dialects::{Dialect, Endpoint};

/// Streams on one HTTP/2 connection to a provider; Pingora's default of 1 would make HTTP/2 a
/// worse HTTP/1.
const MAX_H2_STREAMS: usize = 100;
/// How long a pooled connection may be idle. Below the 60 s after which common load balancers
/// close their side, so that few pooled connections turn out dead.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// How long writing a request may take, beside what its size needs.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest uplink that a large body is given time for, in bytes a second.
const SLOWEST_UPLINK: u64 = 128 * 1024;
/// How often a silent connection to a provider is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(15);

/// A provider, ready to be called.
pub struct Upstream {
    /// The name in the configuration.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Whether it understands `stream_options.include_usage`.
    pub stream_usage: bool,
    resolver: Arc<Resolver>,
    tls: bool,
    sni: String,
    options: PeerOptions,
    group_key: u64,
    host: HeaderValue,
    /// The credential and the configured headers, as sent.
    headers: HeaderMap,
    paths: [Option<PathAndQuery>; Endpoint::ALL.len()],
}

/// A provider that can't be made ready.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// A value that can't stand in a header, a path that can't stand in a URL.
    #[error("providers.{provider}.{key}: {message}")]
    Value {
        /// The provider's name.
        provider: String,
        /// The config key.
        key: &'static str,
        /// What is wrong; never the value.
        message: String,
    },
    /// The CA file.
    #[error("providers.{provider}.ca: {path}: {message}", path = path.display())]
    Ca {
        /// The provider's name.
        provider: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl Upstream {
    /// Makes `provider` ready.
    pub fn build(provider: &Provider, resolvers: &Resolvers) -> Result<Self, UpstreamError> {
        let base = &provider.base_url;
        let value = |key, message: &dyn ToString| UpstreamError::Value {
            provider: provider.name.clone(),
            key,
            message: message.to_string(),
        };
        let mut paths = [const { None }; Endpoint::ALL.len()];
        for endpoint in Endpoint::ALL {
            if endpoint.dialect() == provider.dialect {
                let path = format!("{}{}", base.path_prefix, endpoint.upstream_suffix());
                let path = path.parse().map_err(|error| value("base_url", &error))?;
                paths[endpoint as usize] = Some(path);
            }
        }
        let host = HeaderValue::from_str(&base.authority);
        Ok(Self {
            name: provider.name.clone(),
            dialect: provider.dialect,
            stream_usage: provider.stream_usage,
            resolver: resolvers.get(&base.host, base.port),
            tls: base.tls,
            // Without a name, verification would be off: a literal address is its own name.
            sni: base.host.trim_matches(['[', ']']).to_owned(),
            options: options(provider)?,
            group_key: group_key(provider),
            host: host.map_err(|error| value("base_url", &error))?,
            headers: headers(provider, &value)?,
            paths,
        })
    }

    /// Where to connect for one attempt; `None` while the name has no known address.
    /// Its write timeout is for all of the body, which Pingora writes at once.
    pub fn peer(&self, timeouts: &ModelTimeouts, body_len: usize) -> Option<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.resolver.pick()?, self.tls, self.sni.clone());
        peer.options = self.options.clone();
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.write_timeout = Some(WRITE_TIMEOUT + upload_time(body_len));
        peer.group_key = self.group_key;
        Some(Box::new(peer))
    }

    /// Whether the configuration sets the header `name`.
    pub fn sets(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    /// The next address in turn; `None` while the name has no known address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.resolver.pick()
    }

    /// Whether both are at one address.
    pub fn is_where(&self, other: &Self) -> bool {
        (self.tls, &self.host) == (other.tls, &other.host)
    }

    /// A request for `path` that only asks whether the provider is there, and a peer for it whose address
    /// is yet to be put in. `None` where `path` is none.
    pub fn probe(&self, path: &str) -> Option<(HttpPeer, RequestHeader)> {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut peer = HttpPeer::new(nowhere, self.tls, self.sni.clone());
        peer.options = self.options.clone();
        peer.group_key = self.group_key;
        let mut head = RequestHeader::build(Method::GET, path.as_bytes(), Some(8)).ok()?;
        for (name, value) in &self.headers {
            head.append_header(name, value).ok()?;
        }
        head.insert_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")).ok()?;
        if peer.options.alpn == ALPN::H2 {
            let scheme = if self.tls { "https" } else { "http" };
            let authority = self.host.to_str().ok()?;
            head.set_uri(format!("{scheme}://{authority}{path}").parse().ok()?);
            head.set_version(Version::HTTP_2);
        } else {
            // Either would do; the head has to be one's.
            peer.options.alpn = ALPN::H1;
            head.insert_header(HOST, &self.host).ok()?;
        }
        Some((peer, head))
    }

    /// The request's head as this provider gets it, built anew: nothing of the caller's passes that
    /// `policy` does not name. `None` where the provider does not serve `endpoint`.
    pub fn head(
        &self,
        endpoint: Endpoint,
        caller: &Parts,
        policy: &HeaderPolicy,
        body_len: usize,
    ) -> Option<RequestHeader> {
        let path = self.paths[endpoint as usize].clone()?;
        let mut head =
            RequestHeader::build_no_case(Method::POST, path.as_str().as_bytes(), Some(16)).ok()?;
        head.set_uri(Uri::from(path));
        for (name, value) in policy.forwarded(caller) {
            if !self.headers.contains_key(name) {
                head.append_header(name, value).ok()?;
            }
        }
        for (name, value) in &self.headers {
            head.append_header(name, value).ok()?;
        }
        head.insert_header(HOST, &self.host).ok()?;
        head.insert_header(CONTENT_LENGTH, body_len).ok()?;
        head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json")).ok()?;
        // A compressed stream could be neither observed nor ended by us.
        head.insert_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")).ok()?;
        Some(head)
    }
}

/// What a body of this size is allowed for its upload.
pub fn upload_time(body_len: usize) -> Duration {
    Duration::from_secs(body_len as u64 / SLOWEST_UPLINK)
}

fn headers(
    provider: &Provider,
    value: &dyn Fn(&'static str, &dyn ToString) -> UpstreamError,
) -> Result<HeaderMap, UpstreamError> {
    let mut headers = HeaderMap::new();
    for (name, secret) in &provider.headers {
        let mut header = HeaderValue::from_str(secret.value.expose_secret())
            .map_err(|error| value("headers", &error))?;
        header.set_sensitive(true);
        headers.insert(name.clone(), header);
    }
    if let Some(key) = &provider.api_key {
        let key = key.value.expose_secret();
        let (name, text): (HeaderName, _) = match &provider.auth {
            AuthStyle::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
            AuthStyle::Header(name) => (name.clone(), key.to_owned()),
        };
        let mut credential =
            HeaderValue::from_str(&text).map_err(|error| value("api_key", &error))?;
        credential.set_sensitive(true);
        headers.insert(name, credential);
    }
    Ok(headers)
}

fn options(provider: &Provider) -> Result<PeerOptions, UpstreamError> {
    let mut options = PeerOptions::new();
    options.alpn = match (provider.http_version, provider.base_url.tls) {
        (HttpVersion::H1, _) | (HttpVersion::Auto, false) => ALPN::H1,
        (HttpVersion::H2, _) => ALPN::H2,
        (HttpVersion::Auto, true) => ALPN::H2H1,
    };
    options.max_h2_streams = MAX_H2_STREAMS;
    options.idle_timeout = Some(POOL_IDLE);
    // A connection that a middlebox has forgotten looks alive for a quarter of an hour, and over
    // HTTP/2 it would take all of the provider's traffic. So it is asked.
    options.h2_ping_interval = Some(PING_EVERY);
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: PING_EVERY,
        interval: Duration::from_secs(5),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    });
    // Reads have the watchdog, which tells the first byte from the gaps between bytes.
    options.read_timeout = None;
    options.verify_cert = true;
    options.verify_hostname = true;
    if let Some(path) = &provider.ca {
        options.ca = Some(load_ca(&provider.name, path)?);
    }
    Ok(options)
}

fn load_ca(provider: &str, path: &Path) -> Result<Arc<CaType>, UpstreamError> {
    let refused = |message: &dyn ToString| UpstreamError::Ca {
        provider: provider.to_owned(),
        path: path.to_owned(),
        message: message.to_string(),
    };
    let mut authorities = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))? {
        let certificate = certificate.map_err(|error| refused(&error))?;
        // Pingora's wrapper panics on what is not a certificate.
        X509Certificate::from_der(&certificate).map_err(|error| refused(&error))?;
        authorities.push(WrappedX509::new(certificate.to_vec(), parse_x509));
    }
    if authorities.is_empty() {
        return Err(refused(&"the file holds no PEM certificate"));
    }
    Ok(authorities.into())
}

/// Pingora's pool does not tell connections apart by CA or ALPN; this does.
fn group_key(provider: &Provider) -> u64 {
    let mut hasher = DefaultHasher::new();
    provider.name.hash(&mut hasher);
    provider.ca.hash(&mut hasher);
    (provider.http_version as u8).hash(&mut hasher);
    hasher.finish()
}
