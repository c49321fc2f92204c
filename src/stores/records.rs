//! What is stored. Times are milliseconds since the epoch; money is nano-USD.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub model_rpm: std::collections::BTreeMap<String, u64>,
    /// Tokens a minute, by model.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub model_tpm: std::collections::BTreeMap<String, u64>,
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
