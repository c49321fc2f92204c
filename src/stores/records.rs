//! What is stored. Times are milliseconds since the epoch; money is nano-USD.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sluicegate_filters::admit::{OnLostLease, OnOverrun, OnStoreLoss};
use uuid::Uuid;

/// What is kept of a key instead of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").ok();
            hex
        })
    }

    /// The reverse of [`to_hex`](Self::to_hex).
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) =
                (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({}..)", &self.to_hex()[..8])
    }
}

/// A virtual key.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub id: Uuid,
    pub hash: KeyHash,
    /// After a rotation: the hash before, and until when it is good.
    pub previous: Option<PreviousHash>,
    /// What a person may see of it: its beginning and end.
    pub hint: String,
    /// Unique where given.
    pub alias: Option<String>,
    pub user: Option<String>,
    pub team: Option<String>,
    pub organization: Option<String>,
    /// Which models; empty: all that its owner may use.
    pub models: Vec<String>,
    /// Which routes; empty: all.
    pub routes: Vec<String>,
    pub expires_at: Option<i64>,
    pub blocked: bool,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub limits: Limits,
    pub created_at: i64,
    pub updated_at: i64,
    /// Who made it, as the audit log names them.
    pub created_by: String,
    pub version: i64,
}

/// A key's hash before its rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousHash {
    pub hash: KeyHash,
    pub until: i64,
}

/// A team.
#[derive(Clone, Debug, PartialEq)]
pub struct Team {
    pub id: String,
    pub alias: Option<String>,
    pub organization: Option<String>,
    pub members: Vec<Member>,
    pub models: Vec<String>,
    pub blocked: bool,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub limits: Limits,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

/// A user's place in a team. The user need not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub user: String,
    pub role: MemberRole,
}

/// What a member may do in the team.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Manages the team's members and keys.
    Admin,
    /// Uses them.
    User,
}

impl MemberRole {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub id: String,
    pub email: Option<String>,
    pub alias: Option<String>,
    pub role: UserRole,
    pub organization: Option<String>,
    pub models: Vec<String>,
    pub blocked: bool,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub limits: Limits,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

/// What a user may do in the admin API. The words are LiteLLM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Everything.
    ProxyAdmin,
    /// Sees everything.
    ProxyAdminViewer,
    /// Manages keys of their own.
    InternalUser,
    /// Sees keys of their own.
    InternalUserViewer,
}

impl UserRole {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProxyAdmin => "proxy_admin",
            Self::ProxyAdminViewer => "proxy_admin_viewer",
            Self::InternalUser => "internal_user",
            Self::InternalUserViewer => "internal_user_viewer",
        }
    }
}

/// An organization.
#[derive(Clone, Debug, PartialEq)]
pub struct Organization {
    pub id: String,
    pub alias: Option<String>,
    pub models: Vec<String>,
    pub blocked: bool,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub limits: Limits,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

/// Limits and budgets, as data. Absent: none. Stored as one JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Requests under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u64>,
    /// Nano-USD in each budget window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Nano-USD from which on there are warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_budget: Option<u64>,
    /// The budget's window, as LiteLLM writes it: `30s`, `30m`, `30h`, `30d`. Absent: it never resets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_duration: Option<String>,
    /// Requests a minute, by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_rpm: BTreeMap<String, u64>,
    /// Tokens a minute, by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_tpm: BTreeMap<String, u64>,
    /// The time zone whose days, weeks and months budgets follow. Absent: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_time_zone: Option<String>,
    /// Budgets beside `budget`, each with a window of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// Budgets by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_budgets: BTreeMap<String, Budget>,
    /// A raise of `budget` for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_raise: Option<BudgetRaise>,
    /// Limits in windows of any sort.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowLimit>,
    /// What becomes of requests while the store of the counters is away. Absent: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_store_loss: Option<OnStoreLoss>,
    /// What becomes of units that were leased to an instance that is gone. Absent: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_lost_lease: Option<OnLostLease>,
    /// What becomes of a stream that uses more than it holds. Absent: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_overrun: Option<OnOverrun>,
}

/// A budget with a window of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Nano-USD.
    pub limit: u64,
    /// As [`Limits::budget_duration`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
}

/// A raise of a budget. Its two parts may come one after the other; it counts when both are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetRaise {
    /// Nano-USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<u64>,
    /// When it ends, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// A limit in a window of any sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowLimit {
    pub unit: LimitUnit,
    /// Requests, tokens or nano-USD.
    pub limit: u64,
    /// As [`Window::from_words`](sluicegate_filters::admit::Window::from_words) reads it.
    pub window: String,
    /// From what on there are warnings, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft: Option<u64>,
}

/// What a limit in a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitUnit {
    Requests,
    Tokens,
    /// Stored in nano-USD.
    Usd,
}

/// A key with what is stored of whom it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedKey {
    pub key: Key,
    pub owner: Owner,
}

/// What is stored of a user, a team and an organization. The team's members are left out but for the
/// user's own place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owner {
    pub user: Option<User>,
    pub team: Option<Team>,
    /// The user's role in the team, where they are a member.
    pub member: Option<MemberRole>,
    pub organization: Option<Organization>,
}
