//! Who sends a request.
//!
//! A [`Caller`] has no public constructor: whoever holds one holds the proof that a credential was
//! checked. It is made once a credential, not once a request, and shared by all requests that carry
//! it.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use uuid::Uuid;

use crate::admit::Quota;
use crate::authorize::Decisions;
use crate::grant::{ModelGrant, RouteGrant};

/// Who sends a request, and what their credential itself lets them do.
pub struct Caller {
    kind: CallerKind,
    bearer: Bearer,
    models: ModelGrant,
    routes: RouteGrant,
    /// What the policies said of this caller, as far as it can be said again.
    pub(crate) decisions: Decisions,
    kept: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What a checked credential says of whoever bears it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bearer {
    /// The virtual key, where it is one.
    pub key: Option<KeyIdentity>,
    pub user: Option<String>,
    pub team: Option<String>,
    pub organization: Option<String>,
    pub roles: Vec<String>,
    pub tags: Vec<String>,
    /// The token's claims that policies may look at.
    pub claims: BTreeMap<String, Claim>,
    /// Lists of models, each of which must allow a model: the key's, the team's, and so on. An empty list
    /// allows all. For the syntax see [`ModelGrant`].
    pub models: Vec<Vec<String>>,
    /// Which routes; empty: all. For the syntax see [`RouteGrant`].
    pub routes: Vec<String>,
    /// What limits their use: of the key, and of the user, team and organization.
    pub quotas: Vec<Quota>,
}

/// A virtual key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIdentity {
    pub id: Uuid,
    pub alias: Option<String>,
}

/// A value of a claim, of the kinds that Cedar knows too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Text(String),
    Number(i64),
    Flag(bool),
    /// A list of texts.
    Texts(Vec<String>),
}

impl Caller {
    /// Nobody in particular.
    pub(crate) fn anonymous() -> Arc<Self> {
        static ANONYMOUS: LazyLock<Arc<Caller>> =
            LazyLock::new(|| Arc::new(Caller::new(CallerKind::Anonymous, Bearer::default())));
        ANONYMOUS.clone()
    }

    /// The holder of the master key.
    pub(crate) fn master() -> Arc<Self> {
        static MASTER: LazyLock<Arc<Caller>> =
            LazyLock::new(|| Arc::new(Caller::new(CallerKind::Master, Bearer::default())));
        MASTER.clone()
    }

    pub(crate) fn new(kind: CallerKind, bearer: Bearer) -> Self {
        let models = ModelGrant::new(&bearer.models);
        let routes = RouteGrant::new(&bearer.routes);
        Self {
            kind,
            bearer,
            models,
            routes,
            decisions: Decisions::default(),
            kept: OnceLock::new(),
        }
    }

    /// By what they were identified.
    pub fn kind(&self) -> CallerKind {
        self.kind
    }

    /// The virtual key, where it is one.
    pub fn key(&self) -> Option<&KeyIdentity> {
        self.bearer.key.as_ref()
    }

    pub fn user(&self) -> Option<&str> {
        self.bearer.user.as_deref()
    }

    pub fn team(&self) -> Option<&str> {
        self.bearer.team.as_deref()
    }

    pub fn organization(&self) -> Option<&str> {
        self.bearer.organization.as_deref()
    }

    pub fn roles(&self) -> &[String] {
        &self.bearer.roles
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.bearer.roles.iter().any(|held| held == role)
    }

    pub fn tags(&self) -> &[String] {
        &self.bearer.tags
    }

    pub fn claims(&self) -> &BTreeMap<String, Claim> {
        &self.bearer.claims
    }

    /// What limits their use.
    pub fn quotas(&self) -> &[Quota] {
        &self.bearer.quotas
    }

    /// What somebody has made for this caller, so that it is made once a credential: the first to ask
    /// makes it. `None` where it is of another type, because somebody else has.
    pub fn keep<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        let kept: &(dyn Any + Send + Sync) = &**self.kept.get_or_init(|| Arc::new(make()));
        kept.downcast_ref()
    }

    /// Which models the credential allows, before any policy.
    pub fn models(&self) -> &ModelGrant {
        &self.models
    }

    /// Which routes the credential allows, before any policy.
    pub fn routes(&self) -> &RouteGrant {
        &self.routes
    }
}

/// Who it is, without what has been decided on them.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("kind", &self.kind)
            .field("bearer", &self.bearer)
            .finish_non_exhaustive()
    }
}

/// By what a caller was identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// Nobody in particular: the configuration lets callers in without a credential.
    Anonymous,
    /// The holder of the master key.
    Master,
    /// The holder of a virtual key.
    Key,
    /// The bearer of a JSON Web Token.
    Token,
}

impl CallerKind {
    /// A stable word for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Master => "master",
            Self::Key => "key",
            Self::Token => "token",
        }
    }
}
