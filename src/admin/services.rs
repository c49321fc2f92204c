//! What the admin API needs of the rest of the program, in one place.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use serde_json::Value;
use sluicegate_filters::caller::Caller;
use sluicegate_filters::denial::Denial;
use sluicegate_filters::identify::Presented;
use sluicegate_filters::identify::virtual_key::KeyHasher;

use super::audit::AuditSink;
use super::backoff::Backoff;
use super::error::ApiError;
use super::own::policies::ExplainRequest;
use crate::app::Gateway;
use crate::stores::Store;

/// Everything that the handlers use.
pub struct Services {
    /// The configuration in force, models and providers among it.
    pub gateway: Arc<Gateway>,
    /// Keys and their owners, where that is configured. See [`Services::store`].
    pub store: Option<Arc<dyn Store>>,
    /// Makes keys and what is stored of them.
    pub hasher: KeyHasher,
    /// Whose credential it is.
    pub identity: Arc<dyn AdminIdentity>,
    /// Where acts are written down before they are answered.
    pub audit: Arc<dyn AuditSink>,
    /// The policies, where there are any.
    pub policies: Option<Arc<dyn PolicyView>>,
    /// What has been written down, where it is kept.
    pub history: Option<Arc<dyn AuditHistory>>,
    /// Which roles in tokens make an administrator.
    pub roles: AdminRoles,
    /// Milliseconds since the epoch.
    pub clock: Clock,
    /// Who guesses credentials.
    pub backoff: Backoff,
}

/// A clock, in milliseconds since the epoch.
pub type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// Says whose a credential is. The same answer as on the proxy's listener.
#[async_trait]
pub trait AdminIdentity: Send + Sync + 'static {
    /// Who sends these headers from `peer`.
    ///
    /// # Errors
    /// Why they are nobody: `missing_api_key`, `invalid_api_key`, `identity_unavailable` and so on.
    async fn identify(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Arc<Caller>, Denial>;
}

/// The policies in force, to be looked at.
#[async_trait]
pub trait PolicyView: Send + Sync + 'static {
    /// Mode, generation and the policies themselves.
    fn in_force(&self) -> Value;

    /// What would be decided, and why.
    ///
    /// # Errors
    /// Where the question makes no sense.
    async fn explain(&self, question: ExplainRequest) -> Result<Value, ApiError>;
}

/// The audit log, to be looked at.
#[async_trait]
pub trait AuditHistory: Send + Sync + 'static {
    /// The newest lines, newest first, from `cursor` on, and the cursor of the next page.
    ///
    /// # Errors
    /// Where the log can't be read, or the cursor is none of ours.
    async fn newest(
        &self,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<(Vec<Value>, Option<String>), ApiError>;
}

/// The roles in a token's claims that count here.
#[derive(Clone, Debug)]
pub struct AdminRoles {
    /// Administers everything.
    pub admin: Vec<String>,
    /// Sees everything.
    pub viewer: Vec<String>,
    /// Administers the token's team.
    pub team_admin: Vec<String>,
}

impl Default for AdminRoles {
    fn default() -> Self {
        let one = |role: &str| vec![role.to_owned()];
        Self {
            admin: one("proxy_admin"),
            viewer: one("proxy_admin_viewer"),
            team_admin: one("team_admin"),
        }
    }
}

impl Services {
    /// Those of `gateway`, with the system's clock, the usual roles, and neither policies nor a history.
    pub fn new(gateway: Arc<Gateway>, audit: Arc<dyn AuditSink>) -> Self {
        Self {
            store: gateway.store.clone(),
            hasher: gateway.identity.hasher().clone(),
            identity: gateway.clone(),
            gateway,
            audit,
            policies: None,
            history: None,
            roles: AdminRoles::default(),
            clock: Box::new(crate::clock::now_ms),
            backoff: Backoff::default(),
        }
    }

    /// Those of `gateway`, with its policies and its audit log.
    pub fn of(gateway: &Arc<Gateway>) -> Self {
        let audit = gateway.audit.clone();
        let history = audit.directory().is_some().then(|| audit.clone() as Arc<dyn AuditHistory>);
        let policies = Some(gateway.clone() as Arc<dyn PolicyView>);
        Self { policies, history, ..Self::new(gateway.clone(), audit) }
    }

    /// Keys and their owners.
    ///
    /// # Errors
    /// 503 `no_store`, where none is configured.
    pub fn store(&self) -> Result<&dyn Store, ApiError> {
        self.store.as_deref().ok_or_else(|| {
            let message = "No store of keys is configured.";
            ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, "no_store", message)
                .hint("set `store` in the configuration")
        })
    }

    /// Milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        (self.clock)()
    }

    /// 256 random bits.
    ///
    /// # Errors
    /// 500, if the system has none.
    pub fn random(&self) -> Result<[u8; 32], ApiError> {
        let mut bits = [0; 32];
        let source = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        source.fill(&mut bits).map_err(|_| {
            tracing::error!("the system gives no random bits");
            ApiError::internal()
        })?;
        Ok(bits)
    }
}

/// As on the proxy's listener, but that it is up to the caller to slow down who guesses.
#[async_trait]
impl AdminIdentity for Gateway {
    async fn identify(&self, headers: &HeaderMap, _: IpAddr) -> Result<Arc<Caller>, Denial> {
        let runtime = self.current();
        match runtime.pipeline.identify.identify(headers)? {
            Presented::Caller(caller) => Ok(caller),
            Presented::Credential(credential) => {
                self.identity.caller(&credential, runtime.issuers.as_ref(), None).await
            }
        }
    }
}
