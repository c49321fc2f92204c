//! The configuration after checking: what the rest of the program reads.
//!
//! Values of these types come only from [`load_file`](super::load_file) and
//! [`load_str`](super::load_str), which have checked everything that the comments here promise.

pub mod mcp;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, Uri};
use ipnet::IpNet;
use secrecy::SecretString;
use sluicegate_filters::admit::{OnLostLease, OnOverrun, OnStoreLoss, ScopeKind, Unit, Window};
use sluicegate_filters::identify::jwt::Issuer;
use sluicegate_filters::price::{ManualPrice, PriceFile};

use super::secrets::SecretRef;
use crate::providers::dialect::ProviderDialect;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where this process runs; decides how strict the checks were.
    pub environment: Environment,
    /// Where secrets come from that are in neither a variable nor a file.
    pub secrets: Secrets,
    /// Where it listens.
    pub listeners: Listeners,
    /// How it stops.
    pub shutdown: Shutdown,
    /// Threads that carry requests.
    pub workers: Workers,
    /// What one client, one connection and one request may take.
    pub limits: Limits,
    /// Which web pages may call the gateway.
    pub cors: Cors,
    /// Which headers of a request go on to a provider.
    pub request_headers: RequestHeaders,
    /// Where keys, usage and the like are kept. Without it there are no keys but the master key.
    pub store: Option<Store>,
    /// Where it is counted what callers use.
    pub quota_store: QuotaStore,
    /// Who may call.
    pub auth: Auth,
    /// The administrator's credential.
    pub admin: Admin,
    /// The rules of who may do what. Without them, whoever may call may use every model that the
    /// key allows.
    pub policies: Option<Policies>,
    /// The record of who changed what. Without it, none is kept.
    pub audit: Option<Audit>,
    /// The record of what was used and paid, where there is a store.
    pub ledger: Ledger,
    /// What becomes of requests that count against a budget.
    pub budgets: Budgets,
    /// Limits for scopes that no record has. No two have the same counter.
    pub quotas: Vec<ConfiguredQuota>,
    /// What answers tell beside what the provider says.
    pub answers: Answers,
    /// Prices from a file, which win over the table's.
    pub prices: Option<Prices>,
    /// What is told of requests to other systems.
    pub telemetry: Telemetry,
    /// The providers, by name.
    pub providers: BTreeMap<String, Provider>,
    /// The models, by the name that callers use. Each one's targets name providers that exist.
    pub models: BTreeMap<String, Model>,
    /// The MCP servers whose tools are offered.
    pub mcp: mcp::Mcp,
}

/// What is told of requests to other systems.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// Where traces are sent. Without it, none are made.
    pub traces: Option<Traces>,
}

/// Traces of requests.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The collector; for gRPC without a path.
    pub endpoint: BaseUrl,
    /// How it is spoken to.
    pub protocol: TraceProtocol,
    /// Headers of every export, by name. Each value can stand in a header. In production there are none
    /// where the collector is on another host and without TLS.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The part of requests that is traced, 0 to 1, where a caller has not decided.
    pub sampling: f64,
    /// What a caller's `traceparent` counts for.
    pub parent: TraceParent,
    /// Requests in each second that are traced because their callers ask, at most.
    pub parent_limit: u32,
    /// The longest that one export may take, 100 ms to 60 s.
    pub timeout: Duration,
    /// Traced requests that may wait, 16 to 65536.
    pub queue: usize,
    /// What the traces call the gateway.
    pub service_name: String,
    /// More attributes of the gateway.
    pub attributes: BTreeMap<String, String>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceProtocol {
    /// Protobuf over HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

/// What a caller's `traceparent` counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceParent {
    /// The request is part of the caller's trace, and is traced where that is.
    Trust,
    /// Nothing: each request begins a trace of its own.
    Ignore,
}

/// Stores of secrets.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Where `vault:` references lead.
    pub vault: Option<Vault>,
}

/// A server of HashiCorp Vault or OpenBao. In production it is reached with TLS, and a root token is
/// refused.
#[derive(Clone, Debug)]
pub struct Vault {
    /// How it is reached and used.
    pub options: sluicegate_vault::Options,
    /// The role of the AppRole method, where that is used: its value is in the options as well.
    pub role_id: Option<Secret>,
}

/// Where the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A person's machine.
    Development,
    /// Like production, without its strict rules.
    Staging,
    /// The strict rules hold.
    Production,
}

impl Environment {
    /// The name used in configuration, logs and `ENVIRONMENT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// The three listeners.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// For callers.
    pub proxy: ProxyListener,
    /// For the administrator.
    pub admin: AdminListener,
    /// For Prometheus.
    pub metrics: MetricsListener,
}

/// The listener that callers use.
#[derive(Clone, Debug)]
pub struct ProxyListener {
    /// Address and port.
    pub address: SocketAddr,
    /// Without it, plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether HTTP/2 without TLS is understood. Never with `tls`.
    pub h2c: bool,
    /// Networks of proxies that say who their clients are.
    pub trusted_proxies: Vec<IpNet>,
}

/// PEM files of a certificate and its key. They existed when the configuration was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// PEM files of a TLS listener. They existed when the configuration was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// What the listener shows to clients.
    pub pair: PairFiles,
    /// With it, clients must show a certificate that one of these authorities signed.
    pub client_ca: Option<PathBuf>,
}

/// The listener of the admin API.
#[derive(Clone, Debug)]
pub struct AdminListener {
    /// Address and port.
    pub address: SocketAddr,
    /// Without it, plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Networks that may connect; loopback unless configured, never empty.
    pub allow: Vec<IpNet>,
}

/// The listener of `/metrics`.
#[derive(Clone, Debug)]
pub struct MetricsListener {
    /// Address and port.
    pub address: SocketAddr,
    /// Without it, plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Networks that may connect; loopback unless configured, never empty.
    pub allow: Vec<IpNet>,
    /// With it, a scrape must present this bearer token.
    pub bearer_token: Option<Secret>,
}

/// How the process stops.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// The longest that requests in flight are waited for.
    pub timeout: Duration,
}

/// Threads that carry requests.
#[derive(Clone, Debug)]
pub struct Workers {
    /// 1 to 1024; the number of cores unless configured.
    pub threads: usize,
}

/// What one client, one connection and one request may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub request_size: u64,
    /// From the first byte of a connection, or of a later request on it, to the end of the head.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub keepalive_timeout: Duration,
    /// How long one write to a client may make no progress.
    pub write_timeout: Duration,
    /// Open connections from one address.
    pub connections_per_ip: usize,
    /// Open connections in all.
    pub connections: usize,
    /// New connections from one address.
    pub connection_rate_per_ip: Option<ConnectionRate>,
    /// Requests from one address.
    pub requests_per_ip: Option<RequestsPerIp>,
    /// Requests that one connection may carry.
    pub requests_per_connection: Option<u32>,
    /// Requests for inference that are served at once.
    pub concurrent_requests: Option<usize>,
    /// Where requests wait beyond those.
    pub queue: Queue,
    /// Bytes of request bodies and translated answers that are held at once. `None`: a part of the memory.
    pub buffered_bytes: Option<u64>,
    /// Largest request head, in bytes.
    pub header_size: usize,
    /// Endpoints with limits of their own, by path.
    pub routes: BTreeMap<String, RouteLimits>,
}

/// How often one address may connect.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionRate {
    /// Connections a second, in the long run.
    pub rate: u64,
    /// Connections at once.
    pub burst: u64,
    /// For how long of its rate one that is cut off for abuse counts.
    pub penalty: Duration,
}

/// How often one address may ask.
#[derive(Clone, Copy, Debug)]
pub struct RequestsPerIp {
    /// Requests a second, in the long run.
    pub rate: u64,
    /// Requests at once.
    pub burst: u64,
}

/// A queue of requests.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Requests that may wait.
    pub size: usize,
    /// How long each may wait.
    pub timeout: Duration,
}

/// Limits of one endpoint.
#[derive(Clone, Debug)]
pub struct RouteLimits {
    /// Largest request body, in bytes.
    pub request_size: u64,
}

/// Which web pages may call the gateway.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Origins as browsers send them: `scheme://host`, with a port only where it is not the
    /// scheme's own, in lower case. Or a single `*`. Empty: none.
    pub origins: Vec<String>,
    /// Request headers that a page may set.
    pub allow_headers: Vec<HeaderName>,
    /// Answer headers that a page may read.
    pub expose_headers: Vec<HeaderName>,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Duration,
    /// Whether a page may send cookies and the like. Never with `*`.
    pub credentials: bool,
}

impl Cors {
    /// Whether every origin is allowed.
    pub fn any_origin(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }
}

/// Which headers of a request go on to a provider.
#[derive(Clone, Debug)]
pub struct RequestHeaders {
    /// Names beside those that always do.
    pub allow: Vec<HeaderName>,
}

/// Where keys, usage and the like are kept.
#[derive(Clone, Debug)]
pub enum Store {
    /// A database of this process alone.
    Sqlite {
        /// Where it is.
        path: SqlitePath,
    },
    /// A database that several processes share.
    Postgres {
        /// `postgres://` with a host. In production, one on this machine or with an `sslmode` that
        /// does without no TLS.
        url: Secret,
        /// Connections that this process opens at most, 1 to 1000.
        max_connections: u32,
        /// A copy that may lag behind, for what only reads. Obeys the same rules as `url`.
        replica_url: Option<Secret>,
    },
}

/// Where it is counted what callers use.
#[derive(Clone, Debug)]
pub struct QuotaStore {
    /// Redis. Without it, it is counted in the store, or in memory where there is none.
    pub redis: Option<Redis>,
    /// After how long what a process that is gone had leased counts as lost; 1 s to 10 min.
    pub lease_ttl: Duration,
}

/// Redis.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where it is.
    pub servers: RedisServers,
    /// What the names of all keys begin with. No braces.
    pub prefix: String,
    /// A file with the authorities that may have issued the servers' certificates; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// How many replicas must have an exchange before it counts as done; up to 10.
    pub wait_replicas: u32,
}

/// Where Redis is. In production, all of it is on this machine or reached with TLS.
#[derive(Clone, Debug)]
pub enum RedisServers {
    /// One server.
    One(RedisUrl),
    /// Nodes of a cluster; the others are found by them. Never empty.
    Cluster(Vec<RedisUrl>),
    /// Sentinels, who know which server is the primary.
    Sentinel {
        /// Never empty. With TLS all or none.
        nodes: Vec<RedisUrl>,
        /// The name that they monitor the primary by.
        master: String,
        /// The user at the primary.
        username: Option<Secret>,
        /// The password there.
        password: Option<Secret>,
    },
}

/// `redis://` or `rediss://`, with a host.
#[derive(Clone, Debug)]
pub enum RedisUrl {
    /// Without a credential.
    Written(String),
    /// With one, perhaps.
    Secret(Secret),
}

/// Where a SQLite database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlitePath {
    /// Nowhere: it ends with the process. Never in production.
    Memory,
    /// In this file, which need not exist yet.
    File(PathBuf),
}

/// Who may call.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Whether calls without a credential are served. Never in production.
    pub anonymous: bool,
    /// How the keys in the store are read.
    pub keys: Keys,
    /// Whose JSON Web Tokens are trusted. No two have one name.
    pub jwt: Vec<JwtIssuer>,
}

/// An issuer of JSON Web Tokens that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtIssuer {
    /// What its tokens must say, and what they say of a caller.
    pub rules: Issuer,
    /// Where its keys are.
    pub keys: KeySource,
    /// Authorities to trust instead of the public ones, as a PEM file. Only with an https URL.
    pub ca: Option<PathBuf>,
    /// How long its keys are used when it can't be reached; up to 7 days.
    pub stale_for: Duration,
}

/// Where an issuer's keys are. URLs are https, or outside production http to this machine; they
/// have no user name and no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Where the document says that is found by the issuer's own URL (OpenID Connect Discovery 1.0
    /// section 4).
    Discovery(Uri),
    /// At this URL.
    Url(Uri),
    /// In this file. It existed when the configuration was loaded.
    File(PathBuf),
}

/// How the keys in the store are read.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What keys are hashed with, at least 32 bytes and not the master key. Present in production
    /// where there is a store.
    pub pepper: Option<Secret>,
    /// The pepper before, under which keys stay good. Only with `pepper`.
    pub previous_pepper: Option<Secret>,
    /// Credentials kept in memory, 1000 to 10,000,000.
    pub cache: usize,
    /// How long a key that is in memory stays good while the store can't be asked; up to 7 days.
    pub stale_for: Duration,
}

/// The administrator's credential.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Present unless `auth.anonymous` or there is a store; always in production.
    pub master_key: Option<Secret>,
}

/// The rules of who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    /// Where they are. It could be read when the configuration was loaded.
    pub directory: PathBuf,
    /// What becomes of their decisions.
    pub mode: PolicyMode,
}

/// What becomes of the policies' decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyMode {
    /// They hold.
    Enforce,
    /// They are recorded only; nothing is refused.
    Shadow,
}

/// The record of who changed what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Where it is kept. Need not exist yet.
    pub directory: PathBuf,
    /// How long, 1 to 3650 days.
    pub retention: Duration,
    /// Bytes after which a new file is begun, 1 MiB to 1 GiB.
    pub segment_size: u64,
}

/// The record of what was used and paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Where rows wait that the store does not have yet. `None`: beside the store's file, or in data/ledger.
    pub directory: Option<PathBuf>,
    /// Bytes that may wait there, 16 MiB to 64 GiB.
    pub journal_size: u64,
    /// How long the store keeps rows. `None`: for ever.
    pub retention: Option<Duration>,
}

/// What becomes of requests that count against a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// What a caller with a budget of money may do with a model that has no price.
    pub unpriced: Unpriced,
}

/// A limit for a scope that no record has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredQuota {
    /// Whom it is for.
    pub scope: ScopeKind,
    /// Which one. `None`: each one separately, or the gateway, which is one.
    pub id: Option<String>,
    /// Only their requests for this model.
    pub model: Option<String>,
    /// What is counted.
    pub unit: Unit,
    /// How many units may be used in the window.
    pub limit: u64,
    /// When it begins anew.
    pub window: Window,
    /// From how many units on there are warnings.
    pub soft: Option<u64>,
    /// What becomes of requests while the counters are away.
    pub on_store_loss: OnStoreLoss,
    /// What becomes of units leased to an instance that is gone.
    pub on_lost_lease: OnLostLease,
    /// What becomes of a stream that uses more than it holds.
    pub on_overrun: OnOverrun,
}

impl ConfiguredQuota {
    /// Whether both are counted by the same counters.
    pub fn shares_counter(&self, other: &Self) -> bool {
        (self.scope, self.unit) == (other.scope, other.unit)
            && (&self.id, &self.model) == (&other.id, &other.model)
            && self.window == other.window
    }
}

/// What a caller with a budget of money may do with a model that has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpriced {
    /// Nothing.
    Refuse,
    /// Use it; it costs nothing.
    Allow,
}

/// What answers tell beside what the provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Whether a whole answer of a model with a price tells its cost in a header.
    pub cost_header: bool,
    /// Whether the usage of a stream tells its cost where the caller does not say.
    pub stream_cost: bool,
}

/// Prices from a file.
#[derive(Clone, Debug)]
pub struct Prices {
    /// Where it is.
    pub file: PathBuf,
    /// What was in it when the configuration was loaded.
    pub content: Arc<PriceFile>,
}

/// Somewhere that serves models.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// What it speaks, and what it has to be told beside.
    pub api: Api,
    /// Where it is.
    pub base_url: BaseUrl,
    /// The credential that calls carry. A legal header value.
    pub api_key: Option<Secret>,
    /// How calls carry it.
    pub auth: AuthStyle,
    /// Headers sent with every call. Legal header values.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Which HTTP to speak.
    pub http_version: HttpVersion,
    /// Authorities to trust instead of the public ones, as a PEM file. Only with TLS.
    pub ca: Option<PathBuf>,
    /// What is shown to a provider that asks for a certificate. Only with TLS.
    pub client_certificate: Option<PairFiles>,
    /// Whether its certificate is looked at now and then, to tell when it expires.
    pub check_certificate: bool,
    /// Whether it understands `stream_options.include_usage`.
    pub stream_usage: bool,
    /// How it is asked whether it is well. `None`: it is not.
    pub health_check: Option<HealthCheck>,
}

/// How a provider is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for: begins with `/`, may have a query.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take, its end included.
    pub timeout: Duration,
    /// So many failures in a row, 1 to 100.
    pub unhealthy_after: u32,
    /// So many good answers in a row, 1 to 100.
    pub healthy_after: u32,
    /// Which answer is good.
    pub expect: Expect,
}

/// Which answer to a health check is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// A status of 200 to 299.
    #[default]
    Success,
    /// Any status below 500.
    Below500,
}

/// What a provider speaks, and what it has to be told beside an address.
#[derive(Clone, Debug)]
pub enum Api {
    /// OpenAI's dialect.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// OpenAI's, as Azure has it.
    AzureOpenAi(Azure),
    /// Gemini's own.
    Gemini,
    /// Vertex AI.
    Vertex(Vertex),
    /// Amazon Bedrock.
    Bedrock(Bedrock),
}

impl Api {
    /// What it is called.
    pub fn dialect(&self) -> ProviderDialect {
        match self {
            Self::OpenAi => ProviderDialect::OpenAi,
            Self::Anthropic => ProviderDialect::Anthropic,
            Self::AzureOpenAi(_) => ProviderDialect::AzureOpenAi,
            Self::Gemini => ProviderDialect::Gemini,
            Self::Vertex(_) => ProviderDialect::Vertex,
            Self::Bedrock(_) => ProviderDialect::Bedrock,
        }
    }

    /// Whether there is a credential of a cloud's, which takes the key's place.
    pub fn has_credential(&self) -> bool {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Gemini => false,
            Self::AzureOpenAi(azure) => azure.entra.is_some(),
            Self::Bedrock(bedrock) => bedrock.keys.is_some(),
            Self::Vertex(_) => true,
        }
    }
}

/// What Azure has to be told.
#[derive(Clone, Debug)]
pub struct Azure {
    /// With it, deployments stand in the address. A part of an address.
    pub api_version: Option<String>,
    /// An application whose token stands for the key.
    pub entra: Option<Entra>,
}

/// An application in Entra.
#[derive(Clone, Debug)]
pub struct Entra {
    /// Its directory.
    pub tenant_id: Secret,
    /// Its identifier.
    pub client_id: Secret,
    /// Its secret.
    pub client_secret: Secret,
    /// Where tokens come from: https, or this machine.
    pub authority: BaseUrl,
    /// The token endpoint there.
    pub endpoint: Uri,
}

/// What Bedrock has to be told.
#[derive(Clone, Debug)]
pub struct Bedrock {
    /// Such as `eu-central-1`. A part of an address.
    pub region: String,
    /// What calls are signed with. Without them there is a key that is sent.
    pub keys: Option<AwsKeys>,
}

/// An access key of Amazon's.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// Its public name.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
    /// What temporary ones come with.
    pub session_token: Option<Secret>,
}

/// What Vertex AI has to be told.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// The project's identifier. A part of an address.
    pub project: String,
    /// Such as `europe-west4`, or `global`. A part of an address.
    pub location: String,
    /// Who calls.
    pub service_account: ServiceAccount,
}

/// A service account of Google's, as its key file tells.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// The key file.
    pub document: Secret,
    /// The account's mail address.
    pub client_email: String,
    /// The private key's name.
    pub key_id: Option<String>,
    /// The private key: an RSA key in PEM.
    pub private_key: SecretString,
    /// The token endpoint: https, or this machine.
    pub endpoint: Uri,
}

/// Where a provider is, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// `https` rather than `http`.
    pub tls: bool,
    /// Name or address, in lower case; an IPv6 address without its brackets.
    pub host: String,
    /// Port, the scheme's own where the URL names none.
    pub port: u16,
    /// Path before every endpoint's, beginning with `/` and not ending with it; empty for none.
    pub path_prefix: String,
    /// For the `Host` header: host with brackets, and the port where it is not the scheme's own.
    pub authority: String,
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path_prefix)
    }
}

/// How a call carries the provider's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthStyle {
    /// `authorization: Bearer <key>`.
    Bearer,
    /// The key alone in this header.
    Header(HeaderName),
}

/// Which HTTP to speak to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// Agreed on during the TLS handshake; HTTP/1.1 without TLS.
    Auto,
    /// HTTP/1.1.
    H1,
    /// HTTP/2, without TLS by prior knowledge.
    H2,
}

/// A model that callers can name.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name that callers use.
    pub name: String,
    /// What its first target speaks.
    pub dialect: ProviderDialect,
    /// Whether parameters that a target's dialect can't say are left out, rather than refused.
    pub drop_params: bool,
    /// Where it is served; at least one.
    pub targets: Vec<Target>,
    /// How one of several targets is chosen.
    pub balance: Balance,
    /// What one target is kept for. `None`: nothing.
    pub sticky: Option<Sticky>,
    /// Other models, whose targets are asked when none of its own can answer. They exist.
    pub fallback: Vec<String>,
    /// When a target is left out.
    pub health: HealthRules,
    /// When to try again.
    pub retries: Retries,
    /// How long to wait for what.
    pub timeouts: ModelTimeouts,
    /// What it costs at every target, whatever other sources say.
    pub price: Option<ManualPrice>,
    /// The most tokens of an answer, whatever other sources say. At least 1.
    pub max_output_tokens: Option<u64>,
}

/// One place where a model is served.
#[derive(Clone, Debug)]
pub struct Target {
    /// A provider's name; it exists.
    pub provider: String,
    /// The model's name there.
    pub model: String,
    /// Its share of calls relative to the other targets, 1 to 1000.
    pub weight: u32,
    /// Those with a lower one are asked first.
    pub priority: u32,
    /// Whose requests it serves. `None`: everybody's.
    pub when: Option<When>,
    /// Tokens of a request and its answer together, at least 1. `None`: nobody said.
    pub context_window: Option<u64>,
}

/// Whose requests a target serves: those that are on each list that is not empty. One is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// The caller's team.
    pub teams: Vec<String>,
    /// The caller's user.
    pub users: Vec<String>,
    /// The caller's organization.
    pub organizations: Vec<String>,
    /// A tag of the caller's credential.
    pub tags: Vec<String>,
    /// Headers with the values that each may have. None carries a credential.
    pub headers: Vec<(HeaderName, Vec<String>)>,
}

/// How one of several targets is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// By weight.
    #[default]
    Weighted,
    /// The one with the fewest requests under way, for its weight.
    LeastBusy,
    /// Of two, the one that answers sooner.
    Latency,
}

/// What one target is kept for, as long as it is there and well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// An end user.
    EndUser,
    /// A conversation; where the request names none, an end user.
    Conversation,
    /// The value of this header, which carries no credential.
    Header(HeaderName),
}

/// When a target is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    /// So many failures in a row, 1 to 1000.
    pub failures: u32,
    /// For so long, the first time.
    pub cooldown: Duration,
    /// From its return to its whole share.
    pub slow_start: Duration,
}

/// When a failed call is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Calls in all, the first included: 1 to 5.
    pub attempts: u8,
    /// Failures worth another attempt.
    pub on: BTreeSet<RetryOn>,
    /// The wait before a target is asked again that has failed the request; longer each time.
    pub backoff: Duration,
    /// Up to when a stream can be replaced.
    pub until: RetryUntil,
    /// Attempts beyond the first, in hundredths of the model's requests. 0 to 100.
    pub budget: u32,
}

/// Up to when another attempt can take a stream's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryUntil {
    /// Its first event with content, for which its beginning waits.
    #[default]
    FirstContent,
    /// Its first byte.
    FirstByte,
}

/// A failure that may be worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryOn {
    /// No connection, or one lost before the answer began.
    Connect,
    /// No first byte in time.
    Timeout,
    /// Status 429.
    TooManyRequests,
    /// A status from 500 to 599.
    ServerError,
}

/// How long to wait for a model's provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTimeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From the request's end to the answer's first byte.
    pub first_byte: Duration,
    /// Between two chunks of an answer.
    pub idle: Duration,
    /// For one call with all its attempts.
    pub total: Duration,
}

/// A secret's value with where it came from. `Debug` shows only the latter.
#[derive(Clone)]
pub struct Secret {
    /// Where it came from.
    pub reference: SecretRef,
    /// Since when it is what it is, as far as its source can tell: when the version in Vault or the
    /// file was written.
    pub since: Option<SystemTime>,
    /// Never empty; printable ASCII, so that it can stand in a header.
    pub value: SecretString,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.reference)
    }
}
