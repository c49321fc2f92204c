//! The only place that wires: a valid [`Config`] becomes a [`Runtime`], an immutable snapshot that
//! requests share; the [`Gateway`] holds the present one and what outlives it.

mod certificates;
pub mod runtime;
pub mod services;
pub mod source;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::StatusCode;
use sluicegate_filters::authorize::Policies;
use sluicegate_ledger::Ledger;
use sluicegate_vault::Vault;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::runtime::{LoadError, ModelLists, Runtime, model_info};
use self::services::Services;
pub use self::source::{Source, Sources};
use crate::audit::{self, AuditLog};
use crate::clock::now_ms;
use crate::config;
use crate::config::valid::Config;
use crate::edge::{Abuses, ConnectionLimits, Rates};
use crate::identity::Identity;
use crate::identity::jwks::{KeySets, Timing};
use crate::mcp::under_way::UnderWay;
use crate::overload::Overload;
use crate::providers::Reach;
use crate::providers::resolve::Resolvers;
use crate::providers::token::AccessTokens;
use crate::quotas::Quotas;
use crate::stores::Store;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracer;
use crate::tls::{Acceptors, beside};

/// The process: the present generation and what outlives all generations.
pub struct Gateway {
    source: Source,
    current: ArcSwap<Runtime>,
    /// Says when there is a new generation.
    generation: watch::Sender<u64>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    /// The TLS of the listeners that have it.
    pub tls: Acceptors,
    /// When the authorities of Vault, Redis and issuers expire.
    authorities: Arc<beside::Authorities>,
    /// Names and addresses of providers.
    pub resolvers: Resolvers,
    /// Access tokens for providers.
    tokens: AccessTokens,
    /// Everything that `/metrics` shows.
    pub metrics: Metrics,
    /// One line a request.
    pub access_log: AccessLog,
    /// Traces of requests, where they are wanted.
    pub tracer: Tracer,
    /// Where keys and their owners are kept, where that is configured.
    pub store: Option<Arc<dyn Store>>,
    /// Acts of administrators and refusals by policies.
    pub audit: Arc<AuditLog>,
    /// Who credentials belong to.
    pub identity: Arc<Identity>,
    /// Keys of issuers of tokens.
    pub key_sets: KeySets,
    /// How much callers may use.
    pub quotas: Quotas,
    /// What was used and paid.
    pub ledger: Ledger,
    /// Where `vault:` references of the present generation lead.
    vault: ArcSwapOption<Vault>,
    /// Places for connections.
    pub connections: Arc<ConnectionLimits>,
    /// Connections with a request, or part of one, on them.
    pub busy: Arc<AtomicUsize>,
    /// Open HTTP/2 connections of clients.
    pub multiplexed: Arc<AtomicUsize>,
    /// New connections, by address.
    pub arrivals: Arc<Rates>,
    /// HTTP/2 connections that were ended for what they are made of.
    pub abuses: Arc<Abuses>,
    /// How much is taken on at once.
    pub overload: Overload,
    /// Calls of tools under way.
    pub calls: Arc<UnderWay>,
    /// Requests that are not settled yet.
    pub in_flight: Arc<AtomicUsize>,
    draining: AtomicBool,
    /// Tells every exchange under way to end now: the process can't wait any longer.
    pub leaving: Arc<CancellationToken>,
    /// Answers of the health routes: ready, not ready.
    health: OnceLock<[Bytes; 2]>,
}

impl Gateway {
    /// Puts the first configuration in force.
    ///
    /// # Errors
    /// What keeps it from being served.
    pub fn new(
        source: Source,
        sources: Sources,
        services: Services,
    ) -> Result<Arc<Self>, LoadError> {
        let Services {
            metrics,
            access_log,
            tracer,
            store,
            audit,
            identity,
            key_sets,
            tokens,
            quotas,
            ledger,
        } = services;
        let resolvers = Resolvers::default();
        let tls = Acceptors::load(&sources.loaded.config.listeners)?;
        let vault = sources.loaded.vault.clone();
        metrics.secrets.observe(&sources.loaded.config);
        let reach = Reach { resolvers: &resolvers, tokens: &tokens };
        let runtime = Runtime::build(sources, 1, None, reach, &key_sets)?;
        metrics.process.started_with(runtime.config.workers.threads);
        metrics.configured(&runtime.config);
        let overload = Overload::default();
        overload.configure(&runtime.config.limits);
        metrics.config.in_force(runtime.generation, &runtime.hash);
        let gateway = Arc::new(Self {
            source,
            current: ArcSwap::from_pointee(runtime),
            generation: watch::Sender::new(1),
            reloading: tokio::sync::Mutex::new(()),
            tls,
            authorities: Arc::default(),
            resolvers,
            tokens,
            metrics,
            access_log,
            tracer,
            store,
            audit,
            identity,
            key_sets,
            quotas,
            ledger,
            vault: ArcSwapOption::new(vault),
            connections: ConnectionLimits::new(),
            busy: Arc::default(),
            multiplexed: Arc::default(),
            arrivals: Arc::default(),
            abuses: Arc::default(),
            overload,
            calls: Arc::default(),
            in_flight: Arc::default(),
            draining: AtomicBool::new(false),
            leaving: Arc::default(),
            health: OnceLock::new(),
        });
        gateway.certificates_configured();
        Ok(gateway)
    }

    /// The generation for a request that begins now.
    pub fn current(&self) -> Arc<Runtime> {
        self.current.load_full()
    }

    /// Where `vault:` references lead, where there is a Vault.
    pub fn vault(&self) -> Option<Arc<Vault>> {
        self.vault.load_full()
    }

    /// Marks each new generation.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Where the configuration comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Reads the configuration again and puts it in force, all of it or nothing. Returns the
    /// generation in force and whether it is a new one.
    ///
    /// # Errors
    /// What is wrong with the new one; the old one goes on serving.
    pub async fn reload(&self) -> Result<(u64, bool), LoadError> {
        let _one_at_a_time = self.reloading.lock().await;
        let result = self.load_next().await;
        self.record_reload(&result);
        match &result {
            Ok((generation, true)) => {
                let runtime = self.current();
                self.metrics.configured(&runtime.config);
                self.overload.configure(&runtime.config.limits);
                self.metrics.config.in_force(*generation, &runtime.hash);
                self.certificates_configured();
                tracing::info!(generation, hash = %runtime.hash, "configuration in force");
            }
            Ok((generation, false)) => tracing::info!(generation, "configuration is unchanged"),
            Err(error) => {
                self.metrics.config.refused();
                tracing::error!(
                    generation = self.current().generation,
                    "configuration refused, the one before stays in force:\n{error}"
                );
            }
        }
        result
    }

    /// Who may what changes with the configuration, so that it is for the audit log.
    fn record_reload(&self, result: &Result<(u64, bool), LoadError>) {
        let outcome = match result {
            Ok((_, false)) => return,
            Ok((_, true)) => audit::Outcome::Allowed,
            Err(_) => audit::Outcome::Refused,
        };
        self.audit.record(audit::Event {
            outcome,
            actor: audit::Actor { kind: "system".into(), ..audit::Actor::default() },
            resource: audit::Resource { kind: "config".into(), id: None },
            config_generation: self.current().generation,
            ..audit::Event::new(now_ms(), audit::Kind::ConfigReload, "config.reload")
        });
    }

    async fn load_next(&self) -> Result<(u64, bool), LoadError> {
        let (source, vault) = (self.source.clone(), self.vault());
        let load = move || {
            // Whoever asks for a reload means the values of now. One that is in trouble asks by itself
            // again and again; nobody needs to wait for that.
            if let Some(vault) = vault.as_ref().filter(|vault| vault.status().up) {
                // What is in the way is logged and counted there; what was read before is held on to.
                vault.refresh().ok();
            }
            source.load_again(vault)
        };
        let sources = tokio::task::spawn_blocking(load)
            .await
            .map_err(|error| LoadError::Filter { path: "config", message: error.to_string() })??;
        let loaded = &sources.loaded;
        let before = self.current();
        let changes = config::diff(&before.config, &loaded.config);
        for change in &changes {
            match change.effect {
                config::Effect::Live => {}
                config::Effect::InPart => {
                    tracing::warn!(key = %change.path, "for HTTP/2, the change takes effect when the process restarts");
                }
                config::Effect::Restart => {
                    tracing::warn!(key = %change.path, "the change takes effect when the process restarts");
                }
            }
        }
        let version = sources.policies.as_ref().map(|policies| policies.policies.version());
        let unchanged = changes.is_empty()
            && version == before.pipeline.authorize.policies().map(Policies::version);
        let (config, vault) = (loaded.config.clone(), loaded.vault.clone());
        let generation = before.generation + 1;
        if !unchanged {
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
        }
        let next = (!unchanged)
            .then(|| {
                let before = Some(&*before);
                let reach = Reach { resolvers: &self.resolvers, tokens: &self.tokens };
                Runtime::build(sources, generation, before, reach, &self.key_sets)
            })
            .transpose()?;
        // Certificates change behind unchanged paths, so they are read anew in any case; after all
        // else that could be refused, since from here on the change is made.
        let Some(next) = next else {
            self.look_at_certificates().await?;
            self.keep_secrets_of(&config, vault);
            return Ok((before.generation, false));
        };
        // New names get their addresses before the first request needs them.
        self.resolvers.refresh(true).await;
        Acceptors::put(self.tls.prepare(&config.listeners)?);
        self.keep_secrets_of(&config, vault);
        self.current.store(Arc::new(next));
        self.generation.send_replace(generation);
        Ok((generation, true))
    }

    /// Takes over the client of Vault that a configuration was loaded with, and lets go of what is not
    /// asked for any more.
    fn keep_secrets_of(&self, config: &Config, vault: Option<Arc<Vault>>) {
        self.metrics.secrets.observe(config);
        if let Some(vault) = &vault {
            vault.keep_only(config::vault::references(config));
        }
        self.vault.store(vault);
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Fails readiness from now on.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.metrics.process.leaving();
    }

    /// Whether no request is being served or sent to us.
    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0 && self.busy.load(Ordering::Relaxed) == 0
    }

    /// The answer of a health route.
    pub fn health(&self, ready: bool) -> (StatusCode, Bytes) {
        let [yes, no] = self.health.get_or_init(|| {
            let version = env!("CARGO_PKG_VERSION");
            ["ok", "draining"].map(|status| {
                format!("{{\"status\":\"{status}\",\"version\":\"{version}\"}}\n").into()
            })
        });
        if ready {
            (StatusCode::OK, yes.clone())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, no.clone())
        }
    }

    /// The text of `/metrics`.
    pub fn render_metrics(&self) -> Vec<u8> {
        self.metrics.requests.observe(self.in_flight.load(Ordering::Relaxed));
        self.metrics.connections.observe(self.connections.open(), &self.abuses);
        self.metrics.process.observe(self.access_log.dropped());
        self.metrics.access.observe(&self.identity, self.store.is_some(), &self.audit);
        self.metrics.quotas.observe(self.quotas.engine());
        self.metrics.ledger.observe(&self.ledger);
        self.metrics.overload.observe(&self.overload, &self.current().config.limits);
        let vault = self.vault();
        self.metrics.secrets.observe_vault(vault.map(|vault| vault.status()).as_ref());
        self.metrics.traces.observe(self.tracer.status());
        self.metrics.routes.observe(&self.current().routes);
        self.metrics.mcp.observe(&self.current().mcp);
        self.metrics.render()
    }
}

/// Builds all that a configuration needs and throws it away: what only shows when it is put to use,
/// such as certificates. Nothing is connected to.
///
/// # Errors
/// What keeps it from being served.
pub fn dry_run(sources: Sources) -> Result<(), LoadError> {
    Acceptors::load(&sources.loaded.config.listeners)?;
    let io = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| LoadError::Filter { path: "config", message: error.to_string() })?;
    // A runtime that nobody drives: nothing is fetched.
    let key_sets = KeySets::new(io.handle().clone(), Timing::default());
    let (resolvers, tokens) = (Resolvers::default(), AccessTokens::new(io.handle().clone()));
    let reach = Reach { resolvers: &resolvers, tokens: &tokens };
    Runtime::build(sources, 1, None, reach, &key_sets).map(drop)
}
