//! From what is stored to a verdict on a credential.

use std::sync::Arc;

use sluicegate_filters::admit::{Scope, ScopeKind};
use sluicegate_filters::identify::jwt::{JwtError, Verified};
use sluicegate_filters::identify::virtual_key::{self, KeyFacts, KeyHash};
use sluicegate_filters::{Bearer, Caller, Denial, DenialKind, KeyIdentity};

use super::freshness::{Cell, Dependency};
use super::quotas;
use crate::stores::records::{MemberRole, OwnedKey, Owner, UserRole};
use crate::stores::{RecordKind, StoreError};

/// What is known of one credential.
pub struct Verdict {
    /// Who bears it, or why it is refused. `None`: nobody has it.
    pub outcome: Option<Result<Arc<Caller>, Denial>>,
    /// When to judge it anew, in milliseconds since the epoch.
    pub until: i64,
    /// What it depends on.
    pub cells: Box<[Cell]>,
    /// Whether it rests on the store, and thus on the feed of its changes.
    pub stored: bool,
    /// Of a token: which issuers were trusted, see [`Issuers::since`](super::issuers::Issuers::since).
    pub issuers: Option<u64>,
}

/// A verdict that does not know yet what to watch.
pub struct Judgement {
    pub outcome: Option<Result<Arc<Caller>, Denial>>,
    /// When to judge it anew, in milliseconds since the epoch.
    pub until: i64,
    pub dependencies: Vec<Dependency>,
}

/// How long it is remembered that nobody has a credential, in milliseconds.
const ABSENT: i64 = 10_000;
/// How long it is remembered that the store could not be asked, in milliseconds: so that those who wait
/// for the same answer share it.
const UNAVAILABLE: i64 = 100;

/// Judges a presented key by what the store has.
pub fn judge_key(
    found: Result<Option<OwnedKey>, StoreError>,
    presented: &[KeyHash],
    now: i64,
) -> Judgement {
    let OwnedKey { key, owner } = match found {
        Ok(Some(found)) => found,
        Ok(None) => {
            let dependencies = vec![Dependency::NoSuchKey];
            return Judgement { outcome: None, until: now + ABSENT, dependencies };
        }
        Err(error) => return unavailable(&error, now),
    };
    let mut dependencies = vec![Dependency::Record(RecordKind::Key, key.id.to_string())];
    let mut bearer = Bearer {
        key: Some(KeyIdentity { id: key.id, alias: key.alias }),
        user: key.user,
        team: key.team,
        organization: key.organization,
        tags: key.tags,
        models: vec![key.models],
        routes: key.routes,
        quotas: quotas::of(&Scope::new(ScopeKind::Key, key.id.to_string()), &key.limits),
        ..Bearer::default()
    };
    let blocked_owner = add_owner(&mut bearer, owner, &mut dependencies);
    let facts = KeyFacts {
        hash: key.hash.0,
        previous: key.previous.map(|previous| (previous.hash.0, previous.until)),
        blocked: key.blocked,
        expires_at: key.expires_at,
        blocked_owner,
        bearer,
    };
    match facts.admit(presented, now) {
        Ok(admitted) => Judgement {
            outcome: Some(Ok(Arc::new(admitted.caller))),
            until: admitted.until.unwrap_or(i64::MAX),
            dependencies,
        },
        // The store said that this is the key; a refusal stays until a record changes.
        Err(denial) => Judgement { outcome: Some(Err(denial)), until: i64::MAX, dependencies },
    }
}

/// Judges a verified token by what the store has of its bearer.
pub fn judge_token(verified: Verified, owner: Result<Owner, StoreError>, now: i64) -> Judgement {
    let owner = match owner {
        Ok(owner) => owner,
        Err(error) => return unavailable(&error, now),
    };
    let mut dependencies = vec![Dependency::Issuers];
    let mut bearer = verified.bearer.clone();
    let blocked = add_owner(&mut bearer, owner, &mut dependencies);
    let until = verified.until_ms;
    let outcome = match blocked {
        Some(owner) => Err(virtual_key::blocked_owner("token", owner)),
        None => Ok(Arc::new(verified.into_caller(bearer))),
    };
    Judgement { outcome: Some(outcome), until, dependencies }
}

/// The verdict on a token that is not good, or can't be told to be.
pub fn refuse_token(error: JwtError, now: i64) -> Judgement {
    let remember = match error.kind() {
        DenialKind::IdentityUnavailable => UNAVAILABLE,
        _ => ABSENT,
    };
    Judgement {
        outcome: Some(Err(error.into())),
        until: now + remember,
        dependencies: vec![Dependency::Issuers],
    }
}

/// The verdict when the store can't be asked.
pub fn unavailable(error: &StoreError, now: i64) -> Judgement {
    let message = "whose credential this is can't be looked up now; try again";
    let denial =
        Denial::new(DenialKind::IdentityUnavailable, message).with_detail(error.to_string());
    Judgement { outcome: Some(Err(denial)), until: now + UNAVAILABLE, dependencies: Vec::new() }
}

/// Adds to `bearer` what is stored of their user, team and organization, and to `dependencies` those
/// records, stored or not. Returns what of them is blocked.
pub fn add_owner(
    bearer: &mut Bearer,
    owner: Owner,
    dependencies: &mut Vec<Dependency>,
) -> Option<&'static str> {
    let mut blocked = None;
    let Owner { user, team, member, organization } = owner;
    if let Some(organization) = organization {
        let scope = Scope::new(ScopeKind::Organization, organization.id.clone());
        bearer.quotas.extend(quotas::of(&scope, &organization.limits));
        bearer.organization.get_or_insert(organization.id);
        bearer.tags.extend(organization.tags);
        bearer.models.push(organization.models);
        blocked = organization.blocked.then_some("organization").or(blocked);
    }
    if let Some(team) = team {
        let scope = Scope::new(ScopeKind::Team, team.id);
        bearer.quotas.extend(quotas::of(&scope, &team.limits));
        bearer.tags.extend(team.tags);
        bearer.models.push(team.models);
        blocked = team.blocked.then_some("team").or(blocked);
    }
    if let Some(user) = user {
        let scope = Scope::new(ScopeKind::User, user.id);
        bearer.quotas.extend(quotas::of(&scope, &user.limits));
        bearer.roles.push(role(user.role).to_owned());
        bearer.tags.extend(user.tags);
        bearer.models.push(user.models);
        blocked = user.blocked.then_some("user").or(blocked);
    }
    if member == Some(MemberRole::Admin) {
        bearer.roles.push("team_admin".to_owned());
    }
    for list in [&mut bearer.roles, &mut bearer.tags] {
        list.sort_unstable();
        list.dedup();
    }
    let records = [
        (RecordKind::User, &bearer.user),
        (RecordKind::Team, &bearer.team),
        (RecordKind::Organization, &bearer.organization),
    ];
    dependencies.extend(
        records
            .into_iter()
            .filter_map(|(kind, id)| Some(Dependency::Record(kind, id.as_ref()?.clone()))),
    );
    blocked
}

/// The role's name in policies and in tokens.
fn role(role: UserRole) -> &'static str {
    match role {
        UserRole::ProxyAdmin => "proxy_admin",
        UserRole::ProxyAdminViewer => "proxy_admin_viewer",
        UserRole::InternalUser => "internal_user",
        UserRole::InternalUserViewer => "internal_user_viewer",
    }
}

/// The outcome for the sender of a request.
pub fn answer(
    verdict: &Verdict,
    credential: &sluicegate_filters::identify::Credential<'_>,
) -> Result<Arc<Caller>, Denial> {
    match &verdict.outcome {
        Some(outcome) => outcome.clone(),
        None => credential.unknown(),
    }
}
