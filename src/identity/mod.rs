//! Who a credential belongs to: looked up once, remembered, and forgotten when it is no longer so.
//!
//! | module | what it is |
//! |---|---|
//! | [`freshness`] | whether what a verdict rests on has changed |
//! | [`feed`] | learns from the store what has changed |
//! | [`issuers`] | the issuers of tokens of one configuration |
//! | [`jwks`] | the keys of issuers of tokens |
//! | [`quotas`] | from the limits that are stored to those that are counted |
//! | [`strangers`] | bounds the look-ups that made-up credentials cause |
//! | [`verdict`] | from records to a verdict |
//!
//! A request whose credential is known costs a hash of the credential, a look into a map and a few
//! atomic loads. Others wait for the store, each credential once however many requests carry it. While
//! the store is away, what is known goes on being good for `auth.keys.stale_for`, and what is not is
//! answered by a 503 at once.

pub mod feed;
pub mod freshness;
pub mod issuers;
pub mod jwks;
pub mod quotas;
pub mod strangers;
pub mod verdict;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use sluicegate_filters::identify::jwt::JwtError;
use sluicegate_filters::identify::virtual_key::KeyHasher;
use sluicegate_filters::identify::{Credential, CredentialKind};
use sluicegate_filters::{Bearer, Caller, Denial, DenialKind};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use self::freshness::{Dependency, Freshness};
use self::issuers::Issuers;
use self::strangers::Strangers;
use self::verdict::{Judgement, Verdict, answer, judge_key, judge_token, refuse_token};
use crate::clock::now_ms;
use crate::stores::records::{KeyHash, Owner};
use crate::stores::{Store, StoreError};

/// Look-ups under way at once. More wait, and are given up with the store's own deadline.
const LOOKUPS: usize = 64;
/// How long a look-up may wait for its turn.
const TURN: Duration = Duration::from_secs(2);
/// How often a look-up is repeated when records change while it reads them.
const TRIES: usize = 3;

/// How to remember credentials.
pub struct Options {
    /// Under which pepper keys are stored.
    pub hasher: KeyHasher,
    /// Credentials that are remembered.
    pub capacity: u64,
    /// How long what is known is good while the store is away.
    pub stale_for: Duration,
    /// Marks every change of an issuer's keys.
    pub issuers: watch::Receiver<u64>,
}

/// Everything that is known of credentials. It outlives generations of the configuration.
pub struct Identity {
    store: Option<Arc<dyn Store>>,
    hasher: KeyHasher,
    known: Cache<[u8; 32], Arc<Verdict>>,
    freshness: Freshness,
    /// When the feed of changes was last seen to be complete, in milliseconds since the epoch.
    confirmed: AtomicI64,
    stale_for: i64,
    /// Connections to the store live on this runtime; requests live on others.
    io: Handle,
    lookups: Arc<Semaphore>,
    strangers: Strangers,
    counts: Counts,
}

/// What there was to do.
#[derive(Debug, Default)]
pub struct Counts {
    /// Credentials looked up and found.
    pub found: AtomicU64,
    /// Credentials looked up that nobody has.
    pub unknown: AtomicU64,
    /// Credentials that could not be looked up.
    pub unavailable: AtomicU64,
}

impl Identity {
    /// Remembers what `store` says. Starts to follow its changes on `io`.
    pub fn new(store: Option<Arc<dyn Store>>, options: Options, io: Handle) -> Arc<Self> {
        let identity = Arc::new(Self {
            store: store.clone(),
            hasher: options.hasher,
            known: Cache::new(options.capacity),
            freshness: Freshness::default(),
            confirmed: AtomicI64::new(now_ms()),
            stale_for: i64::try_from(options.stale_for.as_millis()).unwrap_or(i64::MAX),
            io: io.clone(),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            strangers: Strangers::default(),
            counts: Counts::default(),
        });
        if let Some(store) = store {
            io.spawn(feed::follow(identity.clone(), store));
        }
        io.spawn(follow_issuers(identity.clone(), options.issuers));
        identity
    }

    /// Who bears `credential`, which came from `peer`. Tokens are those of `issuers`.
    ///
    /// # Errors
    /// 401 and 403 for a credential that is not good, 429 for one of too many that nobody has, 503
    /// where it can't be found out now.
    pub async fn caller(
        self: &Arc<Self>,
        credential: &Credential<'_>,
        issuers: Option<&Arc<Issuers>>,
        peer: Option<IpAddr>,
    ) -> Result<Arc<Caller>, Denial> {
        if let Some(verdict) = self.known.get(credential.digest()).await
            && self.holds(&verdict, issuers)
        {
            return answer(&verdict, credential);
        }
        // In a box: it is rare, and large beside what every request goes through.
        Box::pin(self.find(credential, issuers, peer)).await
    }

    /// The same, of a credential that is not known, or no longer.
    async fn find(
        self: &Arc<Self>,
        credential: &Credential<'_>,
        issuers: Option<&Arc<Issuers>>,
        peer: Option<IpAddr>,
    ) -> Result<Arc<Caller>, Denial> {
        if peer.is_some_and(|peer| !self.strangers.may_ask(peer)) {
            let message = "too many unknown credentials came from this address; try again later";
            return Err(Denial::new(DenialKind::TooManyFailedCredentials, message));
        }
        let verdict = self
            .known
            .entry_by_ref(credential.digest())
            .or_insert_with_if(self.look_up(credential, issuers), |verdict| {
                !self.holds(verdict, issuers)
            })
            .await
            .into_value();
        let answer = answer(&verdict, credential);
        if let (None, Err(_), Some(peer)) = (&verdict.outcome, &answer, peer) {
            self.strangers.failed(peer);
        }
        answer
    }

    /// Under which pepper keys are stored.
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// What there was to do.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How long ago the store's changes were last seen to be complete, in milliseconds.
    pub fn feed_age_ms(&self) -> i64 {
        now_ms() - self.confirmed.load(Ordering::Relaxed)
    }

    fn confirm(&self, at: i64) {
        self.confirmed.store(at, Ordering::Relaxed);
    }

    /// Whether a verdict may still be used.
    fn holds(&self, verdict: &Verdict, issuers: Option<&Arc<Issuers>>) -> bool {
        let now = now_ms();
        if verdict.issuers.is_some() && verdict.issuers != issuers.map(|issuers| issuers.since()) {
            return false;
        }
        now < verdict.until
            && !verdict.cells.iter().any(freshness::Cell::changed)
            && (!verdict.stored || now - self.confirmed.load(Ordering::Relaxed) <= self.stale_for)
    }

    /// Asks whoever knows.
    async fn look_up(
        &self,
        credential: &Credential<'_>,
        issuers: Option<&Arc<Issuers>>,
    ) -> Arc<Verdict> {
        let mut judged = None;
        for _ in 0..TRIES {
            let epoch = self.freshness.epoch();
            let judgement = match credential.kind() {
                CredentialKind::Key => self.key(credential.text()).await,
                CredentialKind::Token => self.token(credential.text(), issuers).await,
            };
            let Judgement { outcome, until, dependencies } = judgement;
            let watched = self.freshness.watch(dependencies, epoch);
            let settled = watched.is_some();
            // If changes come faster than they can be read, the verdict is for this request alone.
            let (cells, until) = watched.map_or((Box::default(), 0), |cells| (cells, until));
            let is_token = credential.kind() == CredentialKind::Token;
            let issuers = issuers.filter(|_| is_token).map(|issuers| issuers.since());
            judged = Some(Verdict { outcome, until, cells, stored: self.store.is_some(), issuers });
            if settled {
                break;
            }
        }
        let verdict = judged.unwrap_or_else(|| unreachable!("there is at least one try"));
        self.count(&verdict);
        Arc::new(verdict)
    }

    async fn key(&self, text: &str) -> Judgement {
        let presented = self.hasher.candidates(text);
        let hashes: Vec<_> = presented.iter().copied().map(KeyHash).collect();
        let found = self.ask(|store| async move { store.key_by_hash(&hashes).await }).await;
        let now = now_ms();
        judge_key(found, &presented, now)
    }

    async fn token(&self, text: &str, issuers: Option<&Arc<Issuers>>) -> Judgement {
        let verified = match issuers {
            Some(issuers) => issuers.verify(text, now_ms()).await,
            None => Err(JwtError::UnknownIssuer),
        };
        let verified = match verified {
            Ok(verified) => verified,
            Err(error) => return refuse_token(error, now_ms()),
        };
        let Bearer { user, team, organization, .. } = verified.bearer.clone();
        let nobody = user.is_none() && team.is_none() && organization.is_none();
        let owner = if self.store.is_none() || nobody {
            Ok(Owner::default())
        } else {
            self.ask(|store| async move {
                store.owner(user.as_deref(), team.as_deref(), organization.as_deref()).await
            })
            .await
        };
        judge_token(verified, owner, now_ms())
    }

    /// Asks the store, on its own runtime, when it is this question's turn.
    async fn ask<T, F>(&self, question: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let Some(store) = self.store.clone() else {
            return Err(StoreError::Unavailable("none is configured".to_owned()));
        };
        let busy = || StoreError::Unavailable("too many look-ups wait for it".to_owned());
        let turn = tokio::time::timeout(TURN, self.lookups.clone().acquire_owned()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
        match self.io.spawn(question(store)).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        }
    }

    fn count(&self, verdict: &Verdict) {
        let count = match &verdict.outcome {
            None => &self.counts.unknown,
            Some(Err(denial)) if denial.kind() == DenialKind::IdentityUnavailable => {
                &self.counts.unavailable
            }
            Some(_) => &self.counts.found,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A key that is withdrawn must end what it signed.
async fn follow_issuers(identity: Arc<Identity>, mut issuers: watch::Receiver<u64>) {
    while issuers.changed().await.is_ok() {
        identity.freshness.changed(&Dependency::Issuers);
    }
}

#[cfg(test)]
mod tests;
