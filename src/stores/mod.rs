//! Where keys, teams, users and organizations are kept: one port, two databases.
//!
//! | module | what it is |
//! |---|---|
//! | [`records`] | what is stored, in types |
//! | [`sqlite`] | one file and no server: the default |
//! | [`postgres`] | for several instances |
//! | `sql` | what the databases have in common: the statements and the rules |
//!
//! The request path never waits for a store in the common case: [`crate::identity`] keeps who a
//! credential belongs to, and follows [`Store::changes`] to know when that is no longer so.
//! Every write leaves a [`Change`] in the same transaction, numbered in the order of commits, so a
//! reader that has seen number `n` has seen everything before it.

pub mod records;
#[macro_use]
mod sql;

// They use a macro of the module above.
pub mod postgres;
pub mod sqlite;

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

use self::records::{Key, KeyHash, Organization, OwnedKey, Owner, Team, User};

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, or does not answer in time. Passes by itself.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Another record has this value already.
    #[error("`{field}` is already in use")]
    Conflict {
        /// The field that must be unique.
        field: &'static str,
    },
    /// The record was changed since it was read.
    #[error("the record was changed by somebody else since it was read")]
    Stale,
    /// There is no such record.
    #[error("no such record")]
    NotFound,
    /// A record that this one refers to does not exist.
    #[error("`{field}` names what does not exist")]
    Dangling {
        /// The field that refers.
        field: &'static str,
    },
    /// A value can't be stored, whatever the other records are.
    #[error("`{field}` {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it, as the rest of a sentence that begins with the field.
        reason: &'static str,
    },
    /// Other records refer to this one, so it can't be deleted.
    #[error("{0} still refer to it")]
    InUse(&'static str),
    /// What is stored can't be understood, or the database refused the statement.
    #[error("the store is at fault: {0}")]
    Broken(String),
}

/// Where the records are. All times in records are those of the callers; versions, and the order and
/// times of changes, are the store's.
///
/// Every method may fail with `Unavailable` and `Broken`. A write that fails with `Unavailable` may have
/// happened, if its answer got lost. Text that one of the databases could not hold is `Invalid` in all:
/// it holds a NUL character, or is a name of over [`MAX_NAME_BYTES`].
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// A short name, for logs: `sqlite`, `postgres`.
    fn name(&self) -> &'static str;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    // ---- For the request path -----------------------------------------------------------------

    /// The key with one of these hashes (present or, within its grace, previous), with its owner.
    /// Whether a previous one's time is over is the caller's to judge. A present one goes first. One
    /// statement.
    async fn key_by_hash(&self, hashes: &[KeyHash]) -> Result<Option<OwnedKey>, StoreError>;

    /// What is stored of the named user, team and organization. What is not stored is `None`. If
    /// `team` is given and stored, and no `organization` is given, the team's is looked up. One statement.
    async fn owner(
        &self,
        user: Option<&str>,
        team: Option<&str>,
        organization: Option<&str>,
    ) -> Result<Owner, StoreError>;

    /// The changes after number `after`, in order, at most [`CHANGES_AT_ONCE`]. With `None`, no
    /// changes and the present number.
    async fn changes(&self, after: Option<i64>) -> Result<Changes, StoreError>;

    /// Is marked changed whenever [`changes`](Store::changes) is worth asking. It may miss some: ask
    /// now and then all the same.
    fn wakeups(&self) -> watch::Receiver<()>;

    /// Forgets changes older than `before` (milliseconds since the epoch).
    async fn forget_changes(&self, before: i64) -> Result<u64, StoreError>;

    // ---- For the admin API ---------------------------------------------------------------------
    // Lists may be a little behind, but for those by hash or by member, which decisions depend on.
    // `create_*` stores the record as version 1. `update_*` stores it if the stored version is still
    // `record.version`, as the next version, and gives that version back. `delete_*` deletes whatever the
    // version is.

    /// Errors: `Conflict` (`alias`, `key`, `id`), `Dangling`.
    async fn create_key(&self, key: &Key) -> Result<(), StoreError>;
    async fn key(&self, id: Uuid) -> Result<Option<Key>, StoreError>;
    async fn keys(&self, filter: &KeyFilter, page: &Page) -> Result<Paged<Key>, StoreError>;
    async fn update_key(&self, key: &Key) -> Result<i64, StoreError>;
    async fn delete_key(&self, id: Uuid) -> Result<(), StoreError>;

    async fn create_team(&self, team: &Team) -> Result<(), StoreError>;
    async fn team(&self, id: &str) -> Result<Option<Team>, StoreError>;
    async fn teams(&self, filter: &TeamFilter, page: &Page) -> Result<Paged<Team>, StoreError>;
    async fn update_team(&self, team: &Team) -> Result<i64, StoreError>;
    /// Deletes its keys as well.
    async fn delete_team(&self, id: &str) -> Result<(), StoreError>;

    async fn create_user(&self, user: &User) -> Result<(), StoreError>;
    async fn user(&self, id: &str) -> Result<Option<User>, StoreError>;
    async fn users(&self, filter: &UserFilter, page: &Page) -> Result<Paged<User>, StoreError>;
    async fn update_user(&self, user: &User) -> Result<i64, StoreError>;
    /// Deletes their keys and memberships as well.
    async fn delete_user(&self, id: &str) -> Result<(), StoreError>;

    async fn create_organization(&self, organization: &Organization) -> Result<(), StoreError>;
    async fn organization(&self, id: &str) -> Result<Option<Organization>, StoreError>;
    async fn organizations(&self, page: &Page) -> Result<Paged<Organization>, StoreError>;
    async fn update_organization(&self, organization: &Organization) -> Result<i64, StoreError>;
    /// Errors: `InUse` while it has teams, users' or keys.
    async fn delete_organization(&self, id: &str) -> Result<(), StoreError>;
}

/// The longest identifier, alias or e-mail address, in bytes.
pub const MAX_NAME_BYTES: usize = 512;

/// Changes given at once, at most.
pub const CHANGES_AT_ONCE: usize = 1000;

/// A part of the feed of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the order of their commits.
    pub changes: Vec<Change>,
    /// Ask from here next time.
    pub last: i64,
    /// Changes between the asked number and the first of these have been forgotten: whoever asked
    /// must look at everything anew.
    pub gap: bool,
}

/// A committed write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub kind: RecordKind,
    /// The record's id.
    pub id: String,
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    Key,
    Team,
    User,
    Organization,
}

impl RecordKind {
    /// The word in the feed of changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team => "team",
            Self::User => "user",
            Self::Organization => "organization",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Key, Self::Team, Self::User, Self::Organization]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Which part of a list. Lists are ordered by `(created_at, id)`, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only records after this place: what is added or taken away before it shifts nothing.
    pub after: Option<Place>,
    /// Records to leave out from there on.
    pub offset: u64,
    /// Records to give, 1 to 1000.
    pub limit: u32,
}

impl Page {
    /// From `offset` on.
    pub const fn at(offset: u64, limit: u32) -> Self {
        Self { after: None, offset, limit }
    }

    /// What comes after `place`.
    pub const fn after(place: Place, limit: u32) -> Self {
        Self { after: Some(place), offset: 0, limit }
    }
}

/// A record's place in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub created_at: i64,
    pub id: String,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Paged<T> {
    pub items: Vec<T>,
    /// How many there are in all, those before the page included.
    pub total: u64,
}

/// Which keys. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    pub user: Option<String>,
    pub team: Option<String>,
    /// The key's own, or else its team's.
    pub organization: Option<String>,
    pub alias: Option<String>,
    /// Present or previous.
    pub hash: Option<KeyHash>,
    pub blocked: Option<bool>,
    /// Only keys of one of these teams, for an administrator of teams.
    pub within_teams: Option<Vec<String>>,
}

/// Which teams. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TeamFilter {
    pub organization: Option<String>,
    pub alias: Option<String>,
    /// Teams of which this user is a member.
    pub member: Option<String>,
    /// Only these teams.
    pub within: Option<Vec<String>>,
}

/// Which users. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFilter {
    pub email: Option<String>,
    pub role: Option<records::UserRole>,
    /// Members of this team.
    pub team: Option<String>,
}
