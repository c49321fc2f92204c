//! A limit: of what, for whom, in which window.

use std::fmt::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::window::Window;

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    pub scope: Scope,
    pub unit: Unit,
    pub window: Window,
    /// How many units may be used in the window, without the raise.
    pub limit: u64,
    /// By how much the limit is raised for a time.
    pub raise: Option<Raise>,
    /// From how many units on there are warnings.
    pub soft: Option<u64>,
    pub on_store_loss: OnStoreLoss,
    pub on_lost_lease: OnLostLease,
    pub on_overrun: OnOverrun,
}

/// A limit's raise for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    /// Units.
    pub by: u64,
    /// When it ends, in milliseconds since the epoch, by the clock of the store of the counters.
    pub until_ms: i64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Requests that were admitted.
    Requests,
    /// Tokens, in and out.
    Tokens,
    /// Billionths of a US dollar.
    NanoUsd,
    /// Requests under way at once. It has no window.
    Parallel,
}

/// Whom a limit is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    pub kind: ScopeKind,
    pub id: String,
    /// Only their requests for this model.
    pub model: Option<String>,
}

/// Kinds of those whom limits are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeKind {
    Organization,
    Team,
    User,
    Key,
    /// Whom the caller names as the one behind the request.
    EndUser,
    Tag,
    Provider,
    Model,
    /// Everybody together.
    Gateway,
}

/// What becomes of requests while the store of the counters is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreLoss {
    /// What is leased is spent, then requests are refused.
    #[default]
    Lease,
    /// Requests are refused at once.
    Closed,
    /// Requests are admitted, and counted once the store is back.
    Open,
}

/// What becomes of units that were leased to an instance that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLostLease {
    /// They count as used until the instance, or whoever reads its journal, says what they were.
    #[default]
    Charge,
    /// They are free again.
    Release,
}

/// What becomes of a stream that uses more than was held for it, where the limit has no more to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOverrun {
    /// It goes on to its end, and what it used above its hold is counted.
    #[default]
    Finish,
    /// It is ended with an error, and what was used until then is charged.
    Cut,
}

impl Quota {
    /// A limit with the defaults for the rest.
    pub fn new(scope: Scope, unit: Unit, window: Window, limit: u64) -> Self {
        Self {
            scope,
            unit,
            window,
            limit,
            raise: None,
            soft: None,
            on_store_loss: OnStoreLoss::default(),
            on_lost_lease: OnLostLease::default(),
            on_overrun: OnOverrun::default(),
        }
    }

    /// How many units may be used in the window that holds `now_ms`, by the store's clock.
    pub fn limit_at(&self, now_ms: i64) -> u64 {
        let raise = self.raise.filter(|raise| now_ms < raise.until_ms);
        self.limit.saturating_add(raise.map_or(0, |raise| raise.by))
    }

    /// Whether both are counted by the same counter.
    pub fn shares_counter(&self, other: &Self) -> bool {
        self.unit == other.unit && self.scope == other.scope && self.window == other.window
    }

    /// By what its counter is known. It does not tell the limit, so that a changed limit goes on with
    /// what was counted. At most 600 bytes, of `A-Z a-z 0-9 - _ . @ % : | / ~`.
    pub fn id(&self) -> Arc<str> {
        let mut id = String::with_capacity(96);
        let Scope { kind, id: name, model } = &self.scope;
        id.push_str(kind.name());
        id.push(':');
        escape(&mut id, name);
        if let Some(model) = model {
            id.push_str("|model:");
            escape(&mut id, model);
        }
        id.push('|');
        id.push_str(self.unit.name());
        write!(id, "|{}", self.window).ok();
        id.into()
    }

    /// Unit and window of a counter, from its [id](Self::id).
    pub fn of_counter(id: &str) -> Option<(Unit, Window)> {
        let (rest, window) = id.rsplit_once('|')?;
        let (_, unit) = rest.rsplit_once('|')?;
        Some((Unit::from_name(unit)?, window.parse().ok()?))
    }

    /// Whether units are counted as used when a request is admitted (and given back when it used less),
    /// or when it has ended. In a rolling window it must be known when a unit will count no more, while
    /// requests are still under way.
    pub fn charges_at_admission(&self) -> bool {
        matches!(self.window, Window::Rolling { .. }) && self.unit != Unit::Parallel
    }
}

impl Scope {
    pub fn new(kind: ScopeKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into(), model: None }
    }

    /// The same for one model only.
    #[must_use]
    pub fn for_model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Tokens, Self::NanoUsd, Self::Parallel];

    /// The unit of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::NanoUsd => "nano_usd",
            Self::Parallel => "parallel",
        }
    }
}

impl ScopeKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Organization,
        Self::Team,
        Self::User,
        Self::Key,
        Self::EndUser,
        Self::Tag,
        Self::Provider,
        Self::Model,
        Self::Gateway,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Team => "team",
            Self::User => "user",
            Self::Key => "key",
            Self::EndUser => "end_user",
            Self::Tag => "tag",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Gateway => "gateway",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl OnStoreLoss {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lease, Self::Closed, Self::Open];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

impl OnLostLease {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Charge, Self::Release];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Release => "release",
        }
    }
}

impl OnOverrun {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Finish, Self::Cut];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Cut => "cut",
        }
    }
}

/// The longest name that is kept as it is.
const LONGEST: usize = 200;

/// Writes a name so that no two names, and no name and what surrounds it, look the same.
fn escape(out: &mut String, name: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@/:".contains(&byte);
    let len: usize = name.bytes().map(|byte| if plain(byte) { 1 } else { 3 }).sum();
    if len > LONGEST {
        out.push('~');
        for byte in Sha256::digest(name.as_bytes()) {
            write!(out, "{byte:02x}").ok();
        }
        return;
    }
    for byte in name.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(id: &str, model: Option<&str>) -> Quota {
        let mut scope = Scope::new(ScopeKind::Team, id);
        scope.model = model.map(str::to_owned);
        Quota::new(scope, Unit::Tokens, Window::Rolling { ms: 60_000 }, 7)
    }

    #[test]
    fn an_id_tells_scope_unit_and_window_and_not_the_limit() {
        let mut quota = quota("blue {1}|x", Some("gpt-4o"));
        let id = "team:blue%20%7B1%7D%7Cx|model:gpt-4o|tokens|rolling-60000ms";
        assert_eq!(&*quota.id(), id);
        let parsed = Quota::of_counter(id);
        assert_eq!(parsed, Some((Unit::Tokens, Window::Rolling { ms: 60_000 })));
        quota.limit = 8;
        assert_eq!(&*quota.id(), id);
    }

    #[test]
    fn a_raise_ends_at_its_time_and_not_a_moment_later() {
        let plain = quota("t", None);
        let mut quota = plain.clone();
        quota.raise = Some(Raise { by: 3, until_ms: 100 });
        assert_eq!((quota.limit_at(99), quota.limit_at(100)), (10, 7));
        assert_eq!(quota.id(), plain.id(), "what was used still counts");
        quota.limit = u64::MAX;
        assert_eq!(quota.limit_at(0), u64::MAX);
    }

    proptest! {
        #[test]
        fn different_names_have_different_ids(a in ".{0,300}", b in ".{0,300}", m in proptest::option::of(".{0,9}")) {
            let same = quota(&a, None).id() == quota(&b, m.as_deref()).id();
            prop_assert_eq!(same, a == b && m.is_none());
            prop_assert!(quota(&a, Some(&b)).id().len() <= 600);
        }
    }
}
