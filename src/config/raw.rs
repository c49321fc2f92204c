//! The file's shape as types: source of the JSON Schema, of the dump and of comparisons.
//!
//! Loading does not go through these types, for serde stops at the first mistake; a test sees that
//! they have the same keys as what loads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::models::RETRY_ON;
use super::raw_mcp::Mcp;
use super::raw_quotas::Quota;
use super::raw_secrets::Secrets;
use super::raw_telemetry::Telemetry;
use super::units;
use super::valid;

/// Sluicegate's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where this process runs; `production` turns on the strict rules. The variable `ENVIRONMENT`
    /// wins. Default: development.
    pub environment: Option<Environment>,
    /// Where secrets come from that are in neither a variable nor a file. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
    /// Where the process listens.
    pub listeners: Option<Listeners>,
    /// How the process stops.
    pub shutdown: Option<Shutdown>,
    /// Threads that carry requests.
    pub workers: Option<Workers>,
    /// What one client, one connection and one request may take.
    pub limits: Option<Limits>,
    /// Which web pages may call the gateway.
    pub cors: Option<Cors>,
    /// Which headers of a request go on to a provider.
    pub request_headers: Option<RequestHeaders>,
    /// Where keys, usage and the like are kept: `sqlite` or `postgres`. Default: nowhere, there are
    /// no keys but the master key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// Where it is counted what callers use. Default: in the store, or in memory where there is none.
    pub quota_store: Option<QuotaStore>,
    /// Who may call.
    pub auth: Option<Auth>,
    /// The administrator's credential.
    pub admin: Option<Admin>,
    /// The rules of who may do what. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Policies>,
    /// The record of who changed what. Default: none is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// The record of what was used and paid. There is one where there is a `store`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Ledger>,
    /// What becomes of requests that count against a budget.
    pub budgets: Option<Budgets>,
    /// Limits for scopes that no record has. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<Quota>,
    /// What answers tell beside what the provider says.
    pub answers: Option<Answers>,
    /// Prices from a file, which win over those in the binary. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// What is told of requests to other systems. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// The providers, by name. A well-known one needs only its key.
    pub providers: Option<BTreeMap<String, Option<Provider>>>,
    /// The models, by the name that callers use.
    pub models: Option<BTreeMap<String, Model>>,
    /// The MCP servers whose tools are offered. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp: Option<Mcp>,
}

/// Where the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum Environment {
    Development,
    Staging,
    Production,
}

/// The three listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listeners {
    /// For callers.
    pub proxy: Option<ProxyListener>,
    /// For the administrator.
    pub admin: Option<AdminListener>,
    /// For Prometheus.
    pub metrics: Option<MetricsListener>,
}

/// The listener that callers use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyListener {
    /// IP address and port. Default: 127.0.0.1:8080.
    pub address: Option<String>,
    /// TLS. Default: none, plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether HTTP/2 without TLS is understood; only for trusted networks. Default: false.
    pub h2c: Option<bool>,
    /// Networks of proxies that say in `x-forwarded-for` who their clients are, as in `10.0.0.0/8`. Default:
    /// none, and a client's address is that of its connection.
    pub trusted_proxies: Option<Vec<String>>,
}

/// PEM files of a TLS listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and its chain.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// With it, clients must show a certificate that one of these authorities signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
}

/// The listener of the admin API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminListener {
    /// IP address and port. Default: 127.0.0.1:8081.
    pub address: Option<String>,
    /// TLS. Default: none, plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Networks that may connect. Default: this machine, [127.0.0.0/8, "::1/128"].
    pub allow: Option<Vec<String>>,
}

/// The listener of `/metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsListener {
    /// IP address and port. Default: 127.0.0.1:9464.
    pub address: Option<String>,
    /// TLS. Default: none, plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Networks that may connect. Default: this machine, [127.0.0.0/8, "::1/128"].
    pub allow: Option<Vec<String>>,
    /// With it, a scrape must present this bearer token. A reference, `env:NAME`, `file:/path` or
    /// `vault:MOUNT/PATH#FIELD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<String>,
}

/// How the process stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// The longest that requests in flight are waited for, up to 1h. The variable
    /// `SHUTDOWN_TIMEOUT_SECONDS` wins. Default: 30s.
    pub timeout: Option<Wait>,
}

/// Threads that carry requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workers {
    /// Their number. Default: the number of cores.
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<usize>,
}

/// What one client, one connection and one request may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Largest request body, up to 1GiB. The variable `MAX_REQUEST_SIZE_BYTES` wins. Default: 1MiB.
    pub request_size: Option<Size>,
    /// From a request's first byte to the end of its head. Default: 10s.
    pub header_timeout: Option<Wait>,
    /// From the end of the head to the end of the body. Default: 30s.
    pub body_timeout: Option<Wait>,
    /// How long a connection may be idle between requests. Default: 60s.
    pub keepalive_timeout: Option<Wait>,
    /// How long one write to a client may make no progress. Default: 30s.
    pub write_timeout: Option<Wait>,
    /// Open connections from one address. Default: 1000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections_per_ip: Option<usize>,
    /// Open connections in all. Default: 20000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: Option<usize>,
    /// New connections from one address. Default: as many as come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_rate_per_ip: Option<ConnectionRate>,
    /// Requests from one address, before anybody knows whose they are. Default: as many as come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_ip: Option<RequestsPerIp>,
    /// Requests that one connection may carry, 2 to 1000000. Default: as many as come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1_000_000))]
    pub requests_per_connection: Option<u32>,
    /// Requests for inference that are served at once. Default: as many as come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent_requests: Option<usize>,
    /// Where requests wait beyond `concurrent_requests`.
    pub queue: Option<Queue>,
    /// Bytes of request bodies and translated answers that are held at once, 1MiB to 1TiB; no less than the
    /// largest body. Default: a quarter of the memory that the process may use, and at least 64MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffered_bytes: Option<Size>,
    /// Largest request head, 1KiB to 1MiB. Default: 64KiB.
    pub header_size: Option<Size>,
    /// Endpoints with limits of their own, by path, as in `/v1/responses`. Default: none.
    pub routes: Option<BTreeMap<String, RouteLimits>>,
}

/// How often one address may connect: an IPv4 address, or a /64 of IPv6.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionRate {
    /// Connections a second, in the long run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rate: u64,
    /// Connections at once. Default: ten seconds' worth.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub burst: Option<u64>,
    /// For how long of its rate a connection that is cut off for abuse counts, up to 60s. Default: 2s.
    pub penalty: Option<Wait>,
}

/// How often one address may ask: an IPv4 address, or a /64 of IPv6.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestsPerIp {
    /// Requests a second, in the long run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rate: u64,
    /// Requests at once. Default: ten seconds' worth.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub burst: Option<u64>,
}

/// A queue of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Requests that may wait; with 0 none does. Default: 1000.
    #[schemars(range(max = 1_000_000))]
    pub size: Option<usize>,
    /// How long each may wait. Default: 5s.
    pub timeout: Option<Wait>,
}

/// Limits of one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteLimits {
    /// Largest request body, up to 1GiB. Default: that of all endpoints.
    pub request_size: Option<Size>,
}

/// Which web pages may call the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins as `scheme://host[:port]`, or `*` alone. Production refuses `*` and `http://`. The
    /// variable `CORS_ORIGINS` (comma separated) wins. Default: none.
    pub origins: Option<Vec<String>>,
    /// Request headers that a page may set. Default: those of the providers' own clients.
    pub allow_headers: Option<Vec<String>>,
    /// Answer headers that a page may read. Default: x-request-id, retry-after, x-ratelimit-*,
    /// x-sluicegate-cost-usd.
    pub expose_headers: Option<Vec<String>>,
    /// How long a browser may remember the answer to a preflight, up to 24h. Default: 10m.
    pub max_age: Option<Wait>,
    /// Whether a page may send cookies and the like; never with `*`. Default: false.
    pub credentials: Option<bool>,
}

/// Which headers of a request go on to a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestHeaders {
    /// Names beside those that always do. Default: none.
    pub allow: Option<Vec<String>>,
}

/// Where keys, usage and the like are kept: one of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Store {
    /// A database of this process alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<Sqlite>,
    /// A database that several processes share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
}

/// A SQLite database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sqlite {
    /// Its file, made where it is missing. Or `:memory:`, which ends with the process and which
    /// production refuses.
    pub path: String,
}

/// A Postgres database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Its URL, as a reference: `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`. Production asks
    /// for `sslmode=require`, `verify-ca` or `verify-full` in it, unless it is on this machine.
    pub url: String,
    /// Connections that this process opens at most. Default: 20.
    #[schemars(range(min = 1, max = 1000))]
    pub max_connections: Option<u32>,
    /// The URL of a copy that may lag behind, for what only reads; a reference as well. Default:
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_url: Option<String>,
}

/// Where it is counted what callers use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaStore {
    /// Redis, or what speaks like it. Default: the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// After how long what a process that is gone had leased counts as lost. 1s to 10m. Default: 30s.
    #[schemars(with = "Option<String>")]
    pub lease_ttl: Option<Wait>,
}

/// Redis: one of `url`, `cluster` and `sentinel`. Production asks for `rediss://`, unless it is on this
/// machine. A URL with a user or a password in it is a reference: `env:NAME`, `file:/path` or
/// `vault:MOUNT/PATH#FIELD`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// The URL of one server, `rediss://user:password@host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// URLs of nodes of a cluster; the others are found by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Vec<String>>,
    /// Sentinels, who know which server is the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// What the names of all keys begin with. Default: `sluicegate:quota:`.
    #[schemars(length(max = 100))]
    pub prefix: Option<String>,
    /// A PEM file with the authorities that may have issued the servers' certificates. Default: the
    /// system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How many replicas must have an exchange before it counts as done. Default: 0.
    #[schemars(range(min = 0, max = 10))]
    pub wait_replicas: Option<u32>,
}

/// Sentinels, who know which server is the primary. It is reached with TLS if they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sentinel {
    /// Their URLs, each with the sentinel's own credentials if it has any.
    pub nodes: Vec<String>,
    /// The name that they monitor the primary by.
    pub master: String,
    /// The user at the primary, as a reference. Default: Redis' default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password at the primary, as a reference. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Who may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Whether calls without a credential are served. Production refuses it. Default: false.
    pub anonymous: Option<bool>,
    /// How the keys in the store are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// Whose JSON Web Tokens are trusted. Default: nobody's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<JwtIssuer>,
}

/// An issuer of JSON Web Tokens that is trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtIssuer {
    /// The `iss` of its tokens, exactly.
    #[schemars(length(min = 1))]
    pub issuer: String,
    /// What `aud` of its tokens must name one of: this gateway's own names.
    #[schemars(length(min = 1))]
    pub audience: Vec<String>,
    /// What its tokens may be signed with. Default: RS256, ES256, EdDSA.
    pub algorithms: Option<Vec<JwtAlgorithm>>,
    /// Where its keys are. Default: where its `/.well-known/openid-configuration` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Its keys as a file, instead of a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<String>,
    /// Authorities to trust instead of the public ones, as a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How long its keys are used when it can't be reached, up to 7d. Default: 24h.
    pub stale_for: Option<Wait>,
    /// What clocks may differ by, up to 5m. Default: 30s.
    pub leeway: Option<Wait>,
    /// Claims that every token must have beside `iss`, `aud`, `exp` and the user's. Default: none.
    pub required: Option<Vec<String>>,
    /// Which claim says what of a caller.
    pub claims: Option<JwtClaims>,
}

/// A signature algorithm of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum JwtAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// Which claim says what of a caller. A claim within others is written with dots, as in
/// `realm_access.roles`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtClaims {
    /// Who it is; the claim must be there. Default: sub.
    pub user: Option<String>,
    /// The team. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The organization. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The roles: a list, or one text with spaces between. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<String>,
    /// The tags, as roles. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// Stands before every name that these claims give. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Further claims that policies may look at. Default: none.
    pub expose: Option<Vec<String>>,
}

/// How the keys in the store are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// What keys are hashed with, at least 32 bytes and not the master key. A reference, `env:NAME`
    /// or `file:/path`. Production needs one where there is a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pepper: Option<String>,
    /// The pepper before a change; keys made under it stay good. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_pepper: Option<String>,
    /// Credentials kept in memory. Default: 100000.
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub cache: Option<usize>,
    /// How long a key in memory stays good while the store can't be asked, up to 7d. Default: 1h.
    pub stale_for: Option<Wait>,
}

/// The administrator's credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// A reference, `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`. Needed unless there is
    /// `auth.anonymous` or `store`, and always in production, where it must hold 256 bits of entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_key: Option<String>,
}

/// The rules of who may do what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// The directory with the Cedar policies.
    pub directory: String,
    /// Whether they hold (`enforce`), or their decisions are recorded only (`shadow`). Default:
    /// enforce.
    pub mode: Option<PolicyMode>,
}

/// What becomes of the policies' decisions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum PolicyMode {
    Enforce,
    Shadow,
}

/// The record of who changed what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Where it is kept; made where it is missing.
    pub directory: String,
    /// How long it is kept, 1d to 3650d. Default: 90d.
    pub retention: Option<Wait>,
    /// Size after which a new file is begun, 1MiB to 1GiB. Default: 64MiB.
    pub segment_size: Option<Size>,
}

/// The record of what was used and paid: a row for each attempt that reached a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Where rows wait that the store does not have yet; on a disk of this machine's own. Default: for a
    /// SQLite file, the file's name with `.ledger` behind it; else data/ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// How much may wait there, 16MiB to 64GiB; beyond it, requests are refused. Default: 256MiB.
    pub journal_size: Option<Size>,
    /// How long the store keeps rows, 1d to 3650d; totals by day stay. Default: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Wait>,
}

/// What becomes of requests that count against a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// What a caller with a budget of money may do with a model that has no price: nothing
    /// (`refuse`), or use it free of charge (`allow`). Default: refuse.
    pub unpriced: Option<Unpriced>,
}

/// What a caller with a budget of money may do with a model that has no price.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum Unpriced {
    Refuse,
    Allow,
}

/// What answers tell beside what the provider says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// Whether a whole answer of a model with a price tells its cost in `x-sluicegate-cost-usd`.
    /// Default: true.
    pub cost_header: Option<bool>,
    /// Whether the usage of a stream tells its cost where the caller does not say in
    /// `x-sluicegate-include-cost` what it wants. Default: false.
    pub stream_cost: Option<bool>,
}

/// Prices from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The file; read when the configuration is loaded, up to 32 MiB.
    pub file: String,
    /// What it is written in. Default: litellm, as in `model_prices_and_context_window.json`.
    pub format: Option<PriceFormat>,
}

/// What a file of prices is written in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum PriceFormat {
    LiteLlm,
}

/// Somewhere that serves models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it speaks. Default: the catalogue's.
    pub dialect: Option<Dialect>,
    /// Where it is; OpenAI's dialect usually with `/v1`, all others without. Default: the
    /// catalogue's, else that of the dialect, the region or the location.
    pub base_url: Option<String>,
    /// Its key, as a reference: `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`. Production
    /// refuses anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// How calls carry the key. Default: the catalogue's, else the dialect's.
    pub auth: Option<AuthStyle>,
    /// Headers sent with every call. Values may be references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Which HTTP to speak. Default: auto, agreed on by TLS, HTTP/1.1 without it.
    pub http_version: Option<HttpVersion>,
    /// Authorities to trust instead of the public ones, as a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The certificate that is shown to a provider that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// Whether its certificate is looked at once an hour, over a connection of its own, to tell when it
    /// expires. Default: true.
    pub check_certificate: Option<bool>,
    /// Whether it understands `stream_options.include_usage`. Default: the catalogue's, else true.
    pub stream_usage: Option<bool>,
    /// Azure: the API's version, with which deployments stand in the address. Default: none, for the
    /// address that every version has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Azure: an application in Entra, whose token takes the key's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entra: Option<Entra>,
    /// Bedrock: the region, such as eu-central-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Bedrock: the access key that calls are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsKeys>,
    /// Vertex AI: the project's identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Vertex AI: where it runs, such as europe-west4. Default: global.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Vertex AI: the key file of a service account, as a reference to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// How it is asked whether it is well. One that is not is left out by all models. Default: it is not
    /// asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// An application in Entra.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entra {
    /// Its directory.
    pub tenant_id: String,
    /// Its identifier.
    pub client_id: String,
    /// Its secret, as a reference.
    pub client_secret: String,
    /// Where its tokens come from. Default: <https://login.microsoftonline.com>.
    pub authority: Option<String>,
}

/// An access key of Amazon's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsKeys {
    /// Its public name.
    pub access_key_id: String,
    /// The key, as a reference.
    pub secret_access_key: String,
    /// What temporary ones come with, as a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
}

/// PEM files of a certificate for a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The certificate and its chain.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// How a provider is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What a GET asks for, from the root of the host. Default: the list of models.
    pub path: Option<String>,
    /// How often, 100ms to 1h. Default: 10s.
    pub interval: Option<Wait>,
    /// How long an answer may take, 10ms to 1m. Default: 5s.
    pub timeout: Option<Wait>,
    /// Failures in a row after which it is left out. Default: 3.
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_after: Option<u32>,
    /// Good answers in a row after which it comes back. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    pub healthy_after: Option<u32>,
    /// Which status is good: `2xx`, or any that is `below_500`. Default: 2xx.
    pub expect: Option<Expect>,
}

/// Which status of an answer to a health check is good.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum Expect {
    #[serde(rename = "2xx")]
    Success,
    #[serde(rename = "below_500")]
    Below500,
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum Dialect {
    #[serde(rename = "openai")]
    OpenAi,
    Anthropic,
    #[serde(rename = "azure_openai")]
    AzureOpenAi,
    Gemini,
    Vertex,
    Bedrock,
}

/// How a call carries the provider's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AuthStyle {
    /// `authorization: Bearer <key>`.
    Bearer(Bearer),
    /// The key alone in a header.
    Header(HeaderAuth),
}

/// The one word for a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum Bearer {
    Bearer,
}

/// A header that carries a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderAuth {
    /// Its name.
    pub header: String,
}

/// Which HTTP to speak to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum HttpVersion {
    Auto,
    H1,
    H2,
}

/// A model that callers can name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Where it is served.
    #[schemars(length(min = 1))]
    pub targets: Vec<Target>,
    /// How one of several targets is chosen. Default: `weighted`.
    pub balance: Option<Balance>,
    /// What one target is kept for, as long as it is there and well: an `end_user`, a `conversation`, or the
    /// value of a header, for the sake of the provider's cache. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Other models, whose targets are asked in this order when none of its own can answer. Their own
    /// fallbacks don't count. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Vec<String>>,
    /// When a target is left out.
    pub health: Option<Health>,
    /// Whether parameters that a target's dialect can't say are left out, and named in a header of the
    /// answer, rather than refused. Default: false.
    pub drop_params: Option<bool>,
    /// When a failed call is tried again.
    pub retries: Option<Retries>,
    /// How long to wait for what.
    pub timeouts: Option<Timeouts>,
    /// What it costs, wherever it is served. Default: what `prices` and the table in the binary say
    /// of each target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The most tokens that an answer can have where a request does not say. Default: what `prices`
    /// says, else 131072 or the size of the model's context.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_output_tokens: Option<u64>,
}

/// What a model costs: USD per million tokens as text, with up to six decimals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input.
    pub input: String,
    /// Output; "0" for a model without any.
    pub output: String,
    /// Input read from the provider's cache. Default: as input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<String>,
    /// Input written to the provider's cache. Default: as input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<String>,
    /// Input written to the provider's cache for an hour. Default: as `cache_write`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<String>,
    /// Reasoning. Default: as output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Audio in the input. Default: as input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<String>,
    /// Audio in the output. Default: as output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<String>,
    /// USD for each request, beside its tokens. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// One place where a model is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The name of one of `providers`.
    pub provider: String,
    /// The model's name there. Default: the name that callers use.
    pub model: Option<String>,
    /// Its share of calls relative to the other targets. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<u32>,
    /// Targets with a lower one are asked first; those with a higher one only when all of these have failed
    /// or are left out. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub priority: Option<u32>,
    /// Whose requests it serves. Default: everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Tokens of a request and its answer together, at most. Default: what `prices` and the table in the
    /// binary say of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub context_window: Option<u64>,
}

/// Whose requests a target serves: those that are on each of the lists that are given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Callers of one of these teams. Default: of any, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub teams: Option<Vec<String>>,
    /// Callers who are one of these users. Default: anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub users: Option<Vec<String>>,
    /// Callers of one of these organizations. Default: of any, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub organizations: Option<Vec<String>>,
    /// Callers whose credential has one of these tags. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub tags: Option<Vec<String>>,
    /// Requests that have each of these headers with one of its values. Default: any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
}

/// How one of several targets is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// By weight.
    Weighted,
    /// The one with the fewest calls under way, for its weight.
    LeastBusy,
    /// Of two chosen by weight, the one that is likely to answer sooner.
    Latency,
}

/// What one target is kept for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Sticky {
    /// What a request says of itself.
    Field(StickyField),
    /// A header of the request.
    Header(StickyHeader),
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum StickyField {
    EndUser,
    Conversation,
}

/// A header of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StickyHeader {
    /// Its name.
    pub header: String,
}

/// When a target is left out: after failures in a row, for a while that doubles each time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// So many failures in a row. Default: 5.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: Option<u32>,
    /// How long it is left out, the first time. Default: 10s.
    pub cooldown: Option<Wait>,
    /// From its return, with a tenth of its share, to all of it. Default: 20s.
    pub slow_start: Option<Wait>,
}

/// When a failed call is tried again; never after the first byte of an answer has been sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// Calls in all, the first included. Default: 2.
    #[schemars(range(min = 1, max = 5))]
    pub attempts: Option<u8>,
    /// Failures worth another attempt. Default: all of them.
    pub on: Option<Vec<RetryOn>>,
    /// The wait before a target is asked again that has failed the call; doubled each time, and up to half
    /// of it left to chance. Default: 100ms.
    pub backoff: Option<Wait>,
    /// Up to when another attempt can take a stream's place: `first_content`, for which the stream's beginning
    /// waits, or `first_byte`. Default: `first_content`.
    pub until: Option<RetryUntil>,
    /// Attempts beyond the first, in percent of the model's calls; ten, and one more each second, are there
    /// in any case. Default: 20.
    #[schemars(range(max = 100))]
    pub budget: Option<u32>,
}

/// Up to when another attempt can take a stream's place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryUntil {
    /// Its first event with content.
    FirstContent,
    /// Its first byte.
    FirstByte,
}

/// A failure that may be worth another attempt: `connect`, `timeout`, `429` or `5xx`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryOn(pub valid::RetryOn);

/// How long to wait for a model's provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection, TLS included. Default: 2s.
    pub connect: Option<Wait>,
    /// From the request's end to the answer's first byte. Default: 60s.
    pub first_byte: Option<Wait>,
    /// Between two chunks of an answer. Default: 30s.
    pub idle: Option<Wait>,
    /// For one call with all its attempts. Default: 10m.
    pub total: Option<Wait>,
}

/// A size, written `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size(pub u64);

/// A duration, written `30s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wait(pub Duration);

/// A YAML value that a person would write as a number or as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl NumberOrText {
    fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::format_size(self.0))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = NumberOrText::deserialize(deserializer)?.into_text();
        units::parse_size(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A whole number of bytes, or one with a unit: 512KiB, 1MiB, 10MB.",
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": "^([0-9]+ ?(B|KiB|MiB|GiB|kB|MB|GB)?|.*\\$\\{.+\\}.*)$",
        })
    }
}

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Wait {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A whole number with its unit: 500ms, 30s, 10m, 1h.",
            "type": "string",
            "pattern": "^([0-9]+ ?(ms|s|m|h|d)|.*\\$\\{.+\\}.*)$",
        })
    }
}

impl Serialize for RetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = RETRY_ON.iter().find(|(_, on)| *on == self.0).map_or("", |(name, _)| name);
        serializer.serialize_str(name)
    }
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = NumberOrText::deserialize(deserializer)?.into_text();
        let found = RETRY_ON.iter().find(|(name, _)| *name == text);
        found.map(|(_, on)| Self(*on)).ok_or_else(|| serde::de::Error::custom("unknown failure"))
    }
}

impl JsonSchema for RetryOn {
    fn schema_name() -> Cow<'static, str> {
        "RetryOn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["connect", "timeout", 429, "429", "5xx"] })
    }
}
