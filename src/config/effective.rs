//! The effective configuration in the file's shape: every default filled in, every secret as its
//! reference.

use std::path::Path;

use http::HeaderName;
use sluicegate_filters::identify::jwt::{Algorithm, ClaimMap, ClaimPath, Issuer};
use sluicegate_filters::price::{ManualPrice, manual};

use super::raw;
use super::raw_mcp::Mcp;
use super::raw_quotas::Quota;
use super::raw_secrets::Secrets;
use super::raw_telemetry::Telemetry;
use super::valid;

/// `config` as a file that would load to it, where its secrets are references.
pub(super) fn raw(config: &valid::Config) -> raw::Config {
    raw::Config {
        environment: Some(match config.environment {
            valid::Environment::Development => raw::Environment::Development,
            valid::Environment::Staging => raw::Environment::Staging,
            valid::Environment::Production => raw::Environment::Production,
        }),
        secrets: Secrets::of(&config.secrets),
        listeners: Some(listeners(&config.listeners)),
        shutdown: Some(raw::Shutdown { timeout: Some(raw::Wait(config.shutdown.timeout)) }),
        workers: Some(raw::Workers { threads: Some(config.workers.threads) }),
        limits: Some(limits(&config.limits)),
        cors: Some(cors(&config.cors)),
        request_headers: Some(raw::RequestHeaders {
            allow: Some(names(&config.request_headers.allow)),
        }),
        store: config.store.as_ref().map(store),
        quota_store: Some(quota_store(&config.quota_store)),
        auth: Some(raw::Auth {
            anonymous: Some(config.auth.anonymous),
            // Without a store they have no effect, and loading them again would complain of that.
            keys: config.store.as_ref().map(|_| keys(&config.auth.keys)),
            jwt: config.auth.jwt.iter().map(jwt_issuer).collect(),
        }),
        admin: Some(raw::Admin { master_key: reference(config.admin.master_key.as_ref()) }),
        policies: config.policies.as_ref().map(policies),
        audit: config.audit.as_ref().map(|audit| raw::Audit {
            directory: path(&audit.directory),
            retention: Some(raw::Wait(audit.retention)),
            segment_size: Some(raw::Size(audit.segment_size)),
        }),
        ledger: config.store.as_ref().map(|_| raw::Ledger {
            directory: config.ledger.directory.as_deref().map(path),
            journal_size: Some(raw::Size(config.ledger.journal_size)),
            retention: config.ledger.retention.map(raw::Wait),
        }),
        budgets: Some(raw::Budgets {
            unpriced: Some(match config.budgets.unpriced {
                valid::Unpriced::Refuse => raw::Unpriced::Refuse,
                valid::Unpriced::Allow => raw::Unpriced::Allow,
            }),
        }),
        quotas: config.quotas.iter().map(Quota::of).collect(),
        answers: Some(raw::Answers {
            cost_header: Some(config.answers.cost_header),
            stream_cost: Some(config.answers.stream_cost),
        }),
        prices: config.prices.as_ref().map(|prices| raw::Prices {
            file: path(&prices.file),
            format: Some(raw::PriceFormat::LiteLlm),
        }),
        telemetry: Telemetry::of(&config.telemetry),
        providers: Some(map(&config.providers, |value| Some(provider(value)))),
        models: Some(map(&config.models, model)),
        mcp: Mcp::of(&config.mcp),
    }
}

fn jwt_issuer(issuer: &valid::JwtIssuer) -> raw::JwtIssuer {
    let Issuer { issuer: name, audience, algorithms, leeway, required, claims } = &issuer.rules;
    let (jwks_url, jwks_file) = match &issuer.keys {
        valid::KeySource::Discovery(_) => (None, None),
        valid::KeySource::Url(url) => (Some(url.to_string()), None),
        valid::KeySource::File(file) => (None, Some(path(file))),
    };
    raw::JwtIssuer {
        issuer: name.clone(),
        audience: audience.clone(),
        algorithms: Some(algorithms.iter().copied().map(algorithm).collect()),
        jwks_url,
        jwks_file,
        ca: issuer.ca.as_deref().map(path),
        stale_for: Some(raw::Wait(issuer.stale_for)),
        leeway: Some(raw::Wait(*leeway)),
        required: Some(required.iter().map(ToString::to_string).collect()),
        claims: Some(jwt_claims(claims)),
    }
}

fn algorithm(algorithm: Algorithm) -> raw::JwtAlgorithm {
    match algorithm {
        Algorithm::RS256 => raw::JwtAlgorithm::RS256,
        Algorithm::RS384 => raw::JwtAlgorithm::RS384,
        Algorithm::RS512 => raw::JwtAlgorithm::RS512,
        Algorithm::PS256 => raw::JwtAlgorithm::PS256,
        Algorithm::PS384 => raw::JwtAlgorithm::PS384,
        Algorithm::PS512 => raw::JwtAlgorithm::PS512,
        Algorithm::ES256 => raw::JwtAlgorithm::ES256,
        Algorithm::ES384 => raw::JwtAlgorithm::ES384,
        Algorithm::EdDSA => raw::JwtAlgorithm::EdDSA,
    }
}

fn jwt_claims(claims: &ClaimMap) -> raw::JwtClaims {
    let ClaimMap { user, team, organization, roles, tags, prefix, expose } = claims;
    let optional = |path: &Option<ClaimPath>| path.as_ref().map(ToString::to_string);
    raw::JwtClaims {
        user: Some(user.to_string()),
        team: optional(team),
        organization: optional(organization),
        roles: optional(roles),
        tags: optional(tags),
        prefix: (!prefix.is_empty()).then(|| prefix.clone()),
        expose: Some(expose.iter().map(ToString::to_string).collect()),
    }
}

fn listeners(listeners: &valid::Listeners) -> raw::Listeners {
    let valid::Listeners { proxy, admin, metrics } = listeners;
    raw::Listeners {
        proxy: Some(raw::ProxyListener {
            address: Some(proxy.address.to_string()),
            tls: proxy.tls.as_ref().map(tls),
            h2c: Some(proxy.h2c),
            trusted_proxies: Some(proxy.trusted_proxies.iter().map(ToString::to_string).collect()),
        }),
        admin: Some(raw::AdminListener {
            address: Some(admin.address.to_string()),
            tls: admin.tls.as_ref().map(tls),
            allow: Some(admin.allow.iter().map(ToString::to_string).collect()),
        }),
        metrics: Some(raw::MetricsListener {
            address: Some(metrics.address.to_string()),
            tls: metrics.tls.as_ref().map(tls),
            allow: Some(metrics.allow.iter().map(ToString::to_string).collect()),
            bearer_token: reference(metrics.bearer_token.as_ref()),
        }),
    }
}

fn tls(files: &valid::TlsFiles) -> raw::Tls {
    raw::Tls {
        certificate: path(&files.pair.certificate),
        key: path(&files.pair.key),
        client_ca: files.client_ca.as_deref().map(path),
    }
}

fn limits(limits: &valid::Limits) -> raw::Limits {
    raw::Limits {
        request_size: Some(raw::Size(limits.request_size)),
        header_timeout: Some(raw::Wait(limits.header_timeout)),
        body_timeout: Some(raw::Wait(limits.body_timeout)),
        keepalive_timeout: Some(raw::Wait(limits.keepalive_timeout)),
        write_timeout: Some(raw::Wait(limits.write_timeout)),
        connections_per_ip: Some(limits.connections_per_ip),
        connections: Some(limits.connections),
        connection_rate_per_ip: limits.connection_rate_per_ip.map(|it| raw::ConnectionRate {
            rate: it.rate,
            burst: Some(it.burst),
            penalty: Some(raw::Wait(it.penalty)),
        }),
        requests_per_ip: limits
            .requests_per_ip
            .map(|it| raw::RequestsPerIp { rate: it.rate, burst: Some(it.burst) }),
        requests_per_connection: limits.requests_per_connection,
        concurrent_requests: limits.concurrent_requests,
        queue: Some(raw::Queue {
            size: Some(limits.queue.size),
            timeout: Some(raw::Wait(limits.queue.timeout)),
        }),
        buffered_bytes: limits.buffered_bytes.map(raw::Size),
        header_size: Some(raw::Size(limits.header_size as u64)),
        routes: Some(map(&limits.routes, |route| raw::RouteLimits {
            request_size: Some(raw::Size(route.request_size)),
        })),
    }
}

fn cors(cors: &valid::Cors) -> raw::Cors {
    raw::Cors {
        origins: Some(cors.origins.clone()),
        allow_headers: Some(names(&cors.allow_headers)),
        expose_headers: Some(names(&cors.expose_headers)),
        max_age: Some(raw::Wait(cors.max_age)),
        credentials: Some(cors.credentials),
    }
}

fn store(store: &valid::Store) -> raw::Store {
    match store {
        valid::Store::Sqlite { path: place } => {
            let path = match place {
                valid::SqlitePath::Memory => ":memory:".to_owned(),
                valid::SqlitePath::File(file) => path(file),
            };
            raw::Store { sqlite: Some(raw::Sqlite { path }), postgres: None }
        }
        valid::Store::Postgres { url, max_connections, replica_url } => {
            let postgres = raw::Postgres {
                url: url.reference.to_string(),
                max_connections: Some(*max_connections),
                replica_url: reference(replica_url.as_ref()),
            };
            raw::Store { sqlite: None, postgres: Some(postgres) }
        }
    }
}

fn quota_store(store: &valid::QuotaStore) -> raw::QuotaStore {
    let redis = store.redis.as_ref().map(redis);
    raw::QuotaStore { redis, lease_ttl: Some(raw::Wait(store.lease_ttl)) }
}

fn redis(redis: &valid::Redis) -> raw::Redis {
    let url = |url: &valid::RedisUrl| match url {
        valid::RedisUrl::Written(url) => url.clone(),
        valid::RedisUrl::Secret(secret) => secret.reference.to_string(),
    };
    let (mut one, mut cluster, mut sentinel) = (None, None, None);
    match &redis.servers {
        valid::RedisServers::One(server) => one = Some(url(server)),
        valid::RedisServers::Cluster(nodes) => cluster = Some(nodes.iter().map(url).collect()),
        valid::RedisServers::Sentinel { nodes, master, username, password } => {
            sentinel = Some(raw::Sentinel {
                nodes: nodes.iter().map(url).collect(),
                master: master.clone(),
                username: reference(username.as_ref()),
                password: reference(password.as_ref()),
            });
        }
    }
    raw::Redis {
        url: one,
        cluster,
        sentinel,
        prefix: Some(redis.prefix.clone()),
        ca: redis.ca.as_deref().map(path),
        wait_replicas: Some(redis.wait_replicas),
    }
}

fn keys(keys: &valid::Keys) -> raw::Keys {
    raw::Keys {
        pepper: reference(keys.pepper.as_ref()),
        previous_pepper: reference(keys.previous_pepper.as_ref()),
        cache: Some(keys.cache),
        stale_for: Some(raw::Wait(keys.stale_for)),
    }
}

fn policies(policies: &valid::Policies) -> raw::Policies {
    raw::Policies {
        directory: path(&policies.directory),
        mode: Some(match policies.mode {
            valid::PolicyMode::Enforce => raw::PolicyMode::Enforce,
            valid::PolicyMode::Shadow => raw::PolicyMode::Shadow,
        }),
    }
}

fn provider(provider: &valid::Provider) -> raw::Provider {
    let headers = provider.headers.iter();
    let (mut azure, mut bedrock, mut vertex) = (None, None, None);
    match &provider.api {
        valid::Api::AzureOpenAi(api) => azure = Some(api),
        valid::Api::Bedrock(api) => bedrock = Some(api),
        valid::Api::Vertex(api) => vertex = Some(api),
        valid::Api::OpenAi | valid::Api::Anthropic | valid::Api::Gemini => {}
    }
    raw::Provider {
        dialect: Some(match provider.api {
            valid::Api::OpenAi => raw::Dialect::OpenAi,
            valid::Api::Anthropic => raw::Dialect::Anthropic,
            valid::Api::AzureOpenAi(_) => raw::Dialect::AzureOpenAi,
            valid::Api::Gemini => raw::Dialect::Gemini,
            valid::Api::Vertex(_) => raw::Dialect::Vertex,
            valid::Api::Bedrock(_) => raw::Dialect::Bedrock,
        }),
        base_url: Some(provider.base_url.to_string()),
        api_key: reference(provider.api_key.as_ref()),
        auth: Some(auth_style(&provider.auth)),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.reference.to_string()))
            .collect(),
        http_version: Some(match provider.http_version {
            valid::HttpVersion::Auto => raw::HttpVersion::Auto,
            valid::HttpVersion::H1 => raw::HttpVersion::H1,
            valid::HttpVersion::H2 => raw::HttpVersion::H2,
        }),
        ca: provider.ca.as_deref().map(path),
        client_certificate: provider.client_certificate.as_ref().map(client_certificate),
        check_certificate: Some(provider.check_certificate),
        stream_usage: Some(provider.stream_usage),
        api_version: azure.and_then(|azure| azure.api_version.clone()),
        entra: azure.and_then(|azure| azure.entra.as_ref()).map(|entra| raw::Entra {
            tenant_id: entra.tenant_id.reference.to_string(),
            client_id: entra.client_id.reference.to_string(),
            client_secret: entra.client_secret.reference.to_string(),
            authority: Some(entra.authority.to_string()),
        }),
        region: bedrock.map(|bedrock| bedrock.region.clone()),
        aws: bedrock.and_then(|bedrock| bedrock.keys.as_ref()).map(|keys| raw::AwsKeys {
            access_key_id: keys.access_key_id.reference.to_string(),
            secret_access_key: keys.secret_access_key.reference.to_string(),
            session_token: reference(keys.session_token.as_ref()),
        }),
        project: vertex.map(|vertex| vertex.project.clone()),
        location: vertex.map(|vertex| vertex.location.clone()),
        service_account: vertex.map(|vertex| vertex.service_account.document.reference.to_string()),
        health_check: provider.health_check.as_ref().map(health_check),
    }
}

pub(super) fn auth_style(auth: &valid::AuthStyle) -> raw::AuthStyle {
    match auth {
        valid::AuthStyle::Bearer => raw::AuthStyle::Bearer(raw::Bearer::Bearer),
        valid::AuthStyle::Header(name) => {
            raw::AuthStyle::Header(raw::HeaderAuth { header: name.to_string() })
        }
    }
}

pub(super) fn client_certificate(pair: &valid::PairFiles) -> raw::ClientCertificate {
    raw::ClientCertificate { certificate: path(&pair.certificate), key: path(&pair.key) }
}

fn health_check(check: &valid::HealthCheck) -> raw::HealthCheck {
    raw::HealthCheck {
        path: Some(check.path.clone()),
        interval: Some(raw::Wait(check.interval)),
        timeout: Some(raw::Wait(check.timeout)),
        unhealthy_after: Some(check.unhealthy_after),
        healthy_after: Some(check.healthy_after),
        expect: Some(match check.expect {
            valid::Expect::Success => raw::Expect::Success,
            valid::Expect::Below500 => raw::Expect::Below500,
        }),
    }
}

fn sticky(sticky: &valid::Sticky) -> raw::Sticky {
    match sticky {
        valid::Sticky::EndUser => raw::Sticky::Field(raw::StickyField::EndUser),
        valid::Sticky::Conversation => raw::Sticky::Field(raw::StickyField::Conversation),
        valid::Sticky::Header(name) => {
            raw::Sticky::Header(raw::StickyHeader { header: name.to_string() })
        }
    }
}

fn model(model: &valid::Model) -> raw::Model {
    let valid::ModelTimeouts { connect, first_byte, idle, total } = model.timeouts;
    raw::Model {
        targets: model
            .targets
            .iter()
            .map(|target| raw::Target {
                provider: target.provider.clone(),
                model: Some(target.model.clone()),
                weight: Some(target.weight),
                priority: Some(target.priority),
                when: target.when.as_ref().map(when),
                context_window: target.context_window,
            })
            .collect(),
        balance: Some(match model.balance {
            valid::Balance::Weighted => raw::Balance::Weighted,
            valid::Balance::LeastBusy => raw::Balance::LeastBusy,
            valid::Balance::Latency => raw::Balance::Latency,
        }),
        sticky: model.sticky.as_ref().map(sticky),
        fallback: (!model.fallback.is_empty()).then(|| model.fallback.clone()),
        health: Some(raw::Health {
            failures: Some(model.health.failures),
            cooldown: Some(raw::Wait(model.health.cooldown)),
            slow_start: Some(raw::Wait(model.health.slow_start)),
        }),
        drop_params: Some(model.drop_params),
        retries: Some(raw::Retries {
            attempts: Some(model.retries.attempts),
            on: Some(model.retries.on.iter().copied().map(raw::RetryOn).collect()),
            backoff: Some(raw::Wait(model.retries.backoff)),
            budget: Some(model.retries.budget),
            until: Some(match model.retries.until {
                valid::RetryUntil::FirstContent => raw::RetryUntil::FirstContent,
                valid::RetryUntil::FirstByte => raw::RetryUntil::FirstByte,
            }),
        }),
        timeouts: Some(raw::Timeouts {
            connect: Some(raw::Wait(connect)),
            first_byte: Some(raw::Wait(first_byte)),
            idle: Some(raw::Wait(idle)),
            total: Some(raw::Wait(total)),
        }),
        price: model.price.as_ref().map(price),
        max_output_tokens: model.max_output_tokens,
    }
}

fn when(when: &valid::When) -> raw::When {
    let list = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
    let headers = when.headers.iter();
    raw::When {
        teams: list(&when.teams),
        users: list(&when.users),
        organizations: list(&when.organizations),
        tags: list(&when.tags),
        headers: headers.map(|(name, values)| (name.to_string(), values.clone())).collect(),
    }
}

fn price(price: &ManualPrice) -> raw::Price {
    let tokens = manual::format_per_million;
    raw::Price {
        input: tokens(price.input),
        output: tokens(price.output),
        cached_input: price.cached_input.map(tokens),
        cache_write: price.cache_write.map(tokens),
        cache_write_1h: price.cache_write_1h.map(tokens),
        reasoning: price.reasoning.map(tokens),
        audio_input: price.audio_input.map(tokens),
        audio_output: price.audio_output.map(tokens),
        request: price.request.map(manual::format_per_request),
    }
}

pub(super) fn map<V, R>(
    values: &std::collections::BTreeMap<String, V>,
    convert: impl Fn(&V) -> R,
) -> std::collections::BTreeMap<String, R> {
    values.iter().map(|(name, value)| (name.clone(), convert(value))).collect()
}

pub(super) fn reference(secret: Option<&valid::Secret>) -> Option<String> {
    secret.map(|secret| secret.reference.to_string())
}

fn names(names: &[HeaderName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(super) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
