//! A provider made ready to be called: everything about a request to it that does not depend on the
//! request is computed here once, when a configuration is loaded.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora_core::protocols::{ALPN, TcpKeepalive};
use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use pingora_http::RequestHeader;
use secrecy::ExposeSecret;
use sluicegate_filters::screen::HeaderPolicy;

use super::Reach;
use super::address::{self, Address, VERTEX_VERSION};
use super::credential::{Credential, CredentialError, Signer};
use super::resolve::Resolver;
use super::tls::ProviderFiles;
use super::token::{AccessTokens, Grant, GrantedBy};
use crate::config::valid::{Api, AuthStyle, HttpVersion, ModelTimeouts, Provider, Vertex};
use crate::http_client::ClientError;
use crate::tls::{Slot, TlsError};

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
/// What a token of Entra's has to be good for at Azure.
/// <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/managed-identity>
const AZURE_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// So many headers a head has room for without hashing them anew.
const MANY_HEADERS: usize = 24;
/// How often a silent connection to a provider is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(15);

/// A provider, ready to be called.
pub struct Upstream {
    /// The name in the configuration.
    pub name: String,
    /// Whether it understands `stream_options.include_usage`.
    pub stream_usage: bool,
    /// Whom to trust and what to show; changes with its files.
    pub security: Slot<ProviderFiles>,
    /// Whether its certificate is looked at now and then.
    pub checked: bool,
    resolver: Arc<Resolver>,
    /// What is the same in every peer; its address is none, and its group is the provider's alone.
    peer: HttpPeer,
    host: HeaderValue,
    /// The credential and the configured headers, as sent.
    headers: HeaderMap,
    /// These and what else is the same in every head.
    every_head: HeaderMap,
    credential: Credential,
    /// What stands before a codec's path.
    prefix: String,
    version_in_body: Option<&'static str>,
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
    /// A file of authorities, or of the certificate to show.
    #[error("{error}")]
    Tls {
        /// The provider's name.
        provider: String,
        /// What is wrong with it.
        error: TlsError,
    },
    /// Access tokens can't be asked for.
    #[error("providers.{provider}: {error}")]
    Token {
        /// The provider's name.
        provider: String,
        /// Why not.
        error: ClientError,
    },
}

impl Upstream {
    /// Makes `provider` ready. `before` is what it was, where it was configured before.
    pub fn build(
        provider: &Provider,
        reach: Reach<'_>,
        before: Option<&Self>,
    ) -> Result<Self, UpstreamError> {
        let base = &provider.base_url;
        let value = |key, message: &dyn ToString| UpstreamError::Value {
            provider: provider.name.clone(),
            key,
            message: message.to_string(),
        };
        let host = HeaderValue::from_str(&base.authority);
        let files = ProviderFiles::of(provider);
        let security = match before {
            Some(before) => before.security.successor(files),
            None => Slot::load(files),
        };
        let host = host.map_err(|error| value("base_url", &error))?;
        let headers = headers(provider, &value)?;
        // Without a name, verification would be off: a literal address is its own name.
        let sni = base.host.trim_matches(['[', ']']).to_owned();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut peer = HttpPeer::new(nowhere, base.tls, sni);
        peer.options = options(provider);
        peer.group_key = group_key(provider);
        Ok(Self {
            name: provider.name.clone(),
            stream_usage: provider.stream_usage,
            security: security
                .map_err(|error| UpstreamError::Tls { provider: provider.name.clone(), error })?,
            checked: base.tls && provider.check_certificate,
            resolver: reach.resolvers.get(&base.host, base.port),
            peer,
            every_head: every_head(&headers, &host),
            host,
            headers,
            credential: credential(provider, reach.tokens)?,
            prefix: address::prefix(provider),
            version_in_body: match provider.api {
                Api::Vertex(_) => Some(VERTEX_VERSION),
                _ => None,
            },
        })
    }

    /// Where `model`'s endpoints are; `provider` is what this was built from.
    ///
    /// # Errors
    /// No address can be made of its name.
    pub fn places(&self, provider: &Provider, model: &str) -> Result<Address, UpstreamError> {
        Address::new(provider, model).map_err(|error| UpstreamError::Value {
            provider: self.name.clone(),
            key: "base_url",
            message: error.to_string(),
        })
    }

    /// Where a codec's `path` is.
    pub fn path(&self, path: &str) -> Option<PathAndQuery> {
        format!("{}{path}", self.prefix).parse().ok()
    }

    /// The version of Anthropic's API, where it has to stand in the body, in the model's place.
    pub fn version_in_body(&self) -> Option<&'static str> {
        self.version_in_body
    }

    /// Waits until there is a credential, no longer than `patience`. Returns whether there is one.
    pub async fn ready(&self, patience: Duration) -> bool {
        match &self.credential {
            Credential::Token(source) => source.ready(patience).await,
            Credential::None | Credential::Signature(_) => true,
        }
    }

    /// Puts the credential that belongs to a call with `body` into its head.
    ///
    /// # Errors
    /// There is none.
    pub fn authorize(&self, head: &mut RequestHeader, body: &[u8]) -> Result<(), CredentialError> {
        self.credential.show(head, body)
    }

    /// Notes that the provider has refused the credential.
    pub fn refused(&self) {
        if let Credential::Token(source) = &self.credential {
            source.refused();
        }
    }

    /// Where to connect for one attempt; `None` while the name has no known address.
    /// Its write timeout is for all of the body, which Pingora writes at once.
    pub fn peer(&self, timeouts: &ModelTimeouts, body_len: usize) -> Option<Box<HttpPeer>> {
        let address = self.resolver.pick()?;
        let mut peer = Box::new(self.peer.clone());
        peer._address = address.into();
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.write_timeout = Some(WRITE_TIMEOUT + upload_time(body_len));
        self.secure(&mut peer);
        Some(peer)
    }

    /// Says whom to trust and what to show.
    fn secure(&self, peer: &mut HttpPeer) {
        let security = self.security.get();
        peer.options.ca.clone_from(&security.it().ca);
        peer.client_cert_key.clone_from(&security.it().client);
        // A connection that was made under other files is not for this request.
        peer.group_key ^= security.mark();
    }

    /// Where a connection of our own goes; `None` while the name has no known address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.resolver.pick()
    }

    /// The name that its certificate must be for.
    pub fn server_name(&self) -> &str {
        &self.peer.sni
    }

    /// Host and port.
    pub fn authority(&self) -> &HeaderValue {
        &self.host
    }

    /// Whether the configuration sets the header `name`.
    pub fn sets(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    /// Whether both are at one address.
    pub fn is_where(&self, other: &Self) -> bool {
        (self.peer.is_tls(), &self.host) == (other.peer.is_tls(), &other.host)
    }

    /// A request for `path` that only asks whether the provider is there, and a peer for it whose address
    /// is yet to be put in. `None` where `path` is none.
    pub fn probe(&self, path: &str) -> Option<(HttpPeer, RequestHeader)> {
        let mut peer = self.peer.clone();
        self.secure(&mut peer);
        let mut head = RequestHeader::build(Method::GET, path.as_bytes(), Some(8)).ok()?;
        for (name, value) in &self.headers {
            head.append_header(name, value).ok()?;
        }
        head.insert_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")).ok()?;
        if peer.options.alpn == ALPN::H2 {
            let scheme = if self.peer.is_tls() { "https" } else { "http" };
            let authority = self.host.to_str().ok()?;
            head.set_uri(format!("{scheme}://{authority}{path}").parse().ok()?);
            head.set_version(Version::HTTP_2);
        } else {
            // Either would do; the head has to be one's.
            peer.options.alpn = ALPN::H1;
            head.insert_header(HOST, &self.host).ok()?;
        }
        if let Credential::Token(_) = self.credential {
            self.authorize(&mut head, b"").ok();
        }
        Some((peer, head))
    }

    /// The request's head as this provider gets it, built anew: nothing of the caller's passes that
    /// `policy` does not name. The credential that [`authorize`](Self::authorize) adds comes last.
    pub fn head(
        &self,
        path: PathAndQuery,
        caller: &Parts,
        policy: &HeaderPolicy,
        body_len: usize,
    ) -> RequestHeader {
        let mut head = http::Request::new(()).into_parts().0;
        head.method = Method::POST;
        head.uri = Uri::from(path);
        head.headers.clone_from(&self.every_head);
        for (name, value) in policy.forwarded(caller) {
            if !self.every_head.contains_key(name) {
                head.headers.append(name, value.clone());
            }
        }
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body_len));
        head.into()
    }
}

/// What is the same in every head for a provider at `host`.
fn every_head(configured: &HeaderMap, host: &HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(MANY_HEADERS);
    headers.insert(HOST, host.clone());
    headers.extend(configured.iter().map(|(name, value)| (name.clone(), value.clone())));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // A compressed stream could be neither observed nor ended by us.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // Each request puts its own in this place: one that is new has to be made room for.
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers
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

/// What calls show beside headers that are always the same.
fn credential(provider: &Provider, tokens: &AccessTokens) -> Result<Credential, UpstreamError> {
    let token = |endpoint: &Uri, by| {
        let source = tokens.get(Grant { endpoint: endpoint.clone(), by });
        source
            .map(Credential::Token)
            .map_err(|error| UpstreamError::Token { provider: provider.name.clone(), error })
    };
    match &provider.api {
        Api::OpenAi | Api::Anthropic | Api::Gemini => Ok(Credential::None),
        Api::AzureOpenAi(azure) => match &azure.entra {
            Some(entra) => token(
                &entra.endpoint,
                GrantedBy::Application {
                    client_id: entra.client_id.value.expose_secret().to_owned(),
                    client_secret: entra.client_secret.value.clone(),
                    scope: AZURE_SCOPE,
                },
            ),
            None => Ok(Credential::None),
        },
        Api::Vertex(Vertex { service_account: account, .. }) => token(
            &account.endpoint,
            GrantedBy::ServiceAccount {
                client_email: account.client_email.clone(),
                key_id: account.key_id.clone(),
                private_key: account.private_key.clone(),
            },
        ),
        Api::Bedrock(bedrock) => Ok(match &bedrock.keys {
            Some(keys) => Credential::Signature(Box::new(Signer {
                access_key_id: keys.access_key_id.value.clone(),
                secret_access_key: keys.secret_access_key.value.clone(),
                session_token: keys.session_token.as_ref().map(|token| token.value.clone()),
                region: bedrock.region.clone(),
            })),
            None => Credential::None,
        }),
    }
}

fn options(provider: &Provider) -> PeerOptions {
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
    options
}

/// Pingora's pool does not tell connections apart by ALPN or by what they are secured with, and client
/// certificates by their serial numbers only. This does, together with the files' mark.
fn group_key(provider: &Provider) -> u64 {
    let mut hasher = DefaultHasher::new();
    provider.name.hash(&mut hasher);
    (provider.http_version as u8).hash(&mut hasher);
    hasher.finish()
}
