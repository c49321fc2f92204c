//! Who asks the admin API for something, and what they may do with it.
//!
//! | standing | who | may |
//! |---|---|---|
//! | master | the master key | everything |
//! | administrator | a token with an administrator's role; a stored user of role `proxy_admin` | everything but to import hashes |
//! | viewer | the same with `proxy_admin_viewer` | see everything |
//! | limited | everybody else | what [`Reach`] says |
//!
//! A key that belongs to a team speaks for its user within that team only, and for the team's
//! administrator only if its user is one. Otherwise whoever may make keys for a team could make one
//! that speaks for an administrator.

use std::sync::Arc;

use sluicegate_filters::caller::Caller;
use uuid::Uuid;

use super::error::ApiError;
use crate::stores::records::Key;

/// Who makes a request, found out once.
#[derive(Clone, Debug)]
pub struct Actor {
    /// As the audit log and `created_by` name them: `master`, `user:alice`, `key:<id>`.
    pub id: String,
    /// How far they may go.
    pub standing: Standing,
    /// The virtual key that they present, if it is one.
    pub key: Option<Arc<Key>>,
    /// The proof that a credential was checked. Nobody's, where no credential is needed.
    pub caller: Option<Arc<Caller>>,
}

/// How far an actor may go.
#[derive(Clone, Debug)]
pub enum Standing {
    /// The holder of the master key.
    Master,
    /// An administrator of everything.
    Admin,
    /// Sees everything.
    Viewer,
    /// Only this far.
    Limited(Reach),
}

/// What is within the reach of somebody who is no administrator of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The user, where the credential names one.
    pub user: Option<String>,
    /// Whether the user is stored, and may make keys of their own.
    pub makes_keys: bool,
    /// With it, only what belongs to this team counts: the credential does.
    pub bound_to: Option<String>,
    /// Teams that they administer.
    pub administers: Vec<String>,
    /// Teams of which they are a member, those that they administer included.
    pub member_of: Vec<String>,
}

/// What one can want to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    SeeKeys,
    ManageKeys,
    /// Replace a key's text, everything else staying as it is.
    RotateKeys,
    SeeTeams,
    ManageTeams,
    ManageMembers,
    SeeUsers,
    ManageUsers,
    SeeOrganizations,
    ManageOrganizations,
    /// See the models that one may call.
    SeeModels,
    SeeProviders,
    SeePolicies,
    SeeAudit,
    SeeConfig,
    /// See what was used and paid.
    SeeUsage,
    /// See limits, and what is left of them.
    SeeQuotas,
    ReloadConfig,
    /// Store hashes that were made elsewhere.
    ImportKeys,
}

/// With what one wants to do it.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// All there is.
    All,
    /// This key.
    Key(&'a Key),
    /// A key to be made for this user and this team.
    NewKey { user: Option<&'a str>, team: Option<&'a str> },
    /// This team.
    Team(&'a str),
    /// This user.
    User(&'a str),
}

impl Actor {
    /// Whether they may do it with that.
    pub fn may(&self, permission: Permission, scope: Scope<'_>) -> bool {
        match &self.standing {
            Standing::Master => true,
            Standing::Admin => permission != Permission::ImportKeys,
            Standing::Viewer => permission.only_sees(),
            Standing::Limited(reach) => {
                let own =
                    matches!((scope, &self.key), (Scope::Key(key), Some(own)) if key.id == own.id);
                let sees = matches!(permission, Permission::SeeKeys | Permission::SeeQuotas);
                own && sees || reach.may(permission, scope, &self.id)
            }
        }
    }

    /// Whether there can be anything at all with which they may do it: what can be said before it is
    /// known what they want to do it with.
    pub fn may_at_all(&self, permission: Permission) -> bool {
        let Standing::Limited(reach) = &self.standing else {
            return self.may(permission, Scope::All);
        };
        match permission {
            Permission::SeeModels => true,
            Permission::SeeKeys => self.key.is_some() || reach.user.is_some(),
            Permission::ManageKeys => reach.makes_keys || !reach.administers.is_empty(),
            Permission::RotateKeys => reach.user.is_some() || !reach.administers.is_empty(),
            Permission::SeeTeams => !reach.member_of.is_empty(),
            Permission::ManageMembers => !reach.administers.is_empty(),
            Permission::SeeUsers => reach.user.is_some(),
            Permission::SeeUsage => !reach.administers.is_empty(),
            Permission::SeeQuotas => {
                self.key.is_some() || reach.user.is_some() || !reach.administers.is_empty()
            }
            _ => false,
        }
    }

    /// Wants a permission, given that `see` lets one know that the thing exists.
    ///
    /// # Errors
    /// 404 for what they may not even see, so that ids can't be tried out; 403.
    pub fn demand(
        &self,
        see: Permission,
        permission: Permission,
        scope: Scope<'_>,
    ) -> Result<(), ApiError> {
        if !self.may(see, scope) {
            return Err(ApiError::not_found(scope.what()));
        }
        if !self.may(permission, scope) {
            return Err(ApiError::forbidden(format!(
                "You may see this {}, but not do that with it.",
                scope.what()
            )));
        }
        Ok(())
    }

    /// How far they may go, if not everywhere.
    pub fn reach(&self) -> Option<&Reach> {
        match &self.standing {
            Standing::Limited(reach) => Some(reach),
            _ => None,
        }
    }

    /// The id of their virtual key.
    pub fn key_id(&self) -> Option<Uuid> {
        self.key.as_ref().map(|key| key.id)
    }
}

impl Reach {
    fn may(&self, permission: Permission, scope: Scope<'_>, id: &str) -> bool {
        use Permission::{
            ManageKeys, ManageMembers, RotateKeys, SeeKeys, SeeModels, SeeQuotas, SeeTeams,
            SeeUsage, SeeUsers,
        };
        match (permission, scope) {
            (SeeModels, _) => true,
            // A list shows only what is within reach.
            (SeeKeys, Scope::All) => self.user.is_some() || !self.administers.is_empty(),
            (SeeUsage, Scope::All) => !self.administers.is_empty(),
            (SeeTeams, Scope::All) => !self.member_of.is_empty(),
            (SeeKeys | SeeQuotas, Scope::Key(key)) => {
                self.owns(key) || self.administers_team(&key.team)
            }
            (RotateKeys, Scope::Key(key)) => {
                self.makes_keys && self.owns(key) && key.team.is_none()
                    || self.administers_team(&key.team)
            }
            // What somebody else made for a user is theirs to use, not to change.
            (ManageKeys, Scope::Key(key)) => {
                self.makes_keys && self.owns(key) && key.team.is_none() && key.created_by == id
                    || self.administers_team(&key.team)
            }
            (ManageKeys, Scope::NewKey { team: Some(team), .. }) => self.administers(team),
            (ManageKeys, Scope::NewKey { user, team: None }) => {
                self.makes_keys && self.bound_to.is_none() && user == self.user.as_deref()
            }
            (SeeTeams, Scope::Team(team)) => self.member_of.iter().any(|own| own == team),
            (ManageMembers | SeeQuotas, Scope::Team(team)) => self.administers(team),
            (SeeUsers | SeeQuotas, Scope::User(user)) => self.user.as_deref() == Some(user),
            _ => false,
        }
    }

    fn owns(&self, key: &Key) -> bool {
        self.user.is_some()
            && key.user == self.user
            && (self.bound_to.is_none() || key.team == self.bound_to)
    }

    fn administers(&self, team: &str) -> bool {
        self.administers.iter().any(|own| own == team)
    }

    fn administers_team(&self, team: &Option<String>) -> bool {
        team.as_deref().is_some_and(|team| self.administers(team))
    }
}

impl Permission {
    /// Whether nothing is changed by it.
    pub const fn only_sees(self) -> bool {
        match self {
            Self::SeeKeys
            | Self::SeeTeams
            | Self::SeeUsers
            | Self::SeeOrganizations
            | Self::SeeModels
            | Self::SeeProviders
            | Self::SeePolicies
            | Self::SeeAudit
            | Self::SeeQuotas
            | Self::SeeUsage
            | Self::SeeConfig => true,
            Self::ManageKeys
            | Self::RotateKeys
            | Self::ManageTeams
            | Self::ManageMembers
            | Self::ManageUsers
            | Self::ManageOrganizations
            | Self::ReloadConfig
            | Self::ImportKeys => false,
        }
    }
}

impl Scope<'_> {
    fn what(&self) -> &'static str {
        match self {
            Self::All => "resource",
            Self::Key(_) | Self::NewKey { .. } => "key",
            Self::Team(_) => "team",
            Self::User(_) => "user",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Permission::*;
    use super::*;
    use crate::stores::records::{KeyHash, Limits};

    fn key(user: Option<&str>, team: Option<&str>, created_by: &str) -> Key {
        Key {
            id: Uuid::now_v7(),
            hash: KeyHash([0; 32]),
            previous: None,
            hint: String::new(),
            alias: None,
            user: user.map(str::to_owned),
            team: team.map(str::to_owned),
            organization: None,
            models: vec![],
            routes: vec![],
            expires_at: None,
            blocked: false,
            tags: vec![],
            metadata: serde_json::Map::new(),
            limits: Limits::default(),
            created_at: 0,
            updated_at: 0,
            created_by: created_by.to_owned(),
            version: 1,
        }
    }

    fn actor(id: &str, standing: Standing) -> Actor {
        Actor { id: id.to_owned(), standing, key: None, caller: None }
    }

    fn limited(user: &str, administers: &[&str], bound_to: Option<&str>) -> Actor {
        let administers: Vec<String> = administers.iter().map(|&team| team.to_owned()).collect();
        let reach = Reach {
            user: Some(user.to_owned()),
            makes_keys: true,
            bound_to: bound_to.map(str::to_owned),
            member_of: administers.clone(),
            administers,
        };
        actor(&format!("user:{user}"), Standing::Limited(reach))
    }

    #[test]
    fn administrators_go_everywhere_and_viewers_look_everywhere() {
        let theirs = key(Some("bob"), Some("red"), "master");
        for permission in [SeeKeys, ManageKeys, RotateKeys, ManageTeams, ReloadConfig, ImportKeys] {
            let scope = Scope::Key(&theirs);
            assert!(actor("master", Standing::Master).may(permission, scope));
            let admin = actor("user:root", Standing::Admin).may(permission, scope);
            assert_eq!(admin, permission != ImportKeys, "{permission:?}");
            let viewer = actor("user:eye", Standing::Viewer).may(permission, scope);
            assert_eq!(viewer, permission == SeeKeys, "{permission:?}");
        }
    }

    #[test]
    fn a_teams_administrator_ends_at_the_team() {
        let alice = limited("alice", &["red"], None);
        let (red, blue) =
            (key(Some("bob"), Some("red"), "master"), key(Some("bob"), Some("blue"), "master"));
        for permission in [SeeKeys, ManageKeys, RotateKeys] {
            assert!(alice.may(permission, Scope::Key(&red)), "{permission:?}");
            assert!(!alice.may(permission, Scope::Key(&blue)), "{permission:?}");
        }
        assert!(alice.may(ManageMembers, Scope::Team("red")));
        assert!(!alice.may(ManageMembers, Scope::Team("blue")));
        assert!(!alice.may(ManageTeams, Scope::Team("red")));
        assert!(!alice.may(SeeUsers, Scope::User("bob")));
        let status =
            |scope| alice.demand(SeeKeys, ManageKeys, scope).map_err(|e| e.status.as_u16());
        assert_eq!(status(Scope::Key(&blue)), Err(404));
        assert_eq!(status(Scope::Key(&key(Some("alice"), None, "master"))), Err(403));
    }

    #[test]
    fn a_user_manages_what_they_made_and_rotates_what_is_theirs() {
        let alice = limited("alice", &[], None);
        let made = key(Some("alice"), None, "user:alice");
        let given = key(Some("alice"), None, "master");
        let of_team = key(Some("alice"), Some("red"), "user:alice");
        assert!(alice.may(ManageKeys, Scope::Key(&made)));
        assert!(!alice.may(ManageKeys, Scope::Key(&given)));
        assert!(alice.may(RotateKeys, Scope::Key(&given)));
        assert!(alice.may(SeeKeys, Scope::Key(&of_team)));
        assert!(!alice.may(RotateKeys, Scope::Key(&of_team)));
        let new = |user, team| Scope::NewKey { user, team };
        assert!(alice.may(ManageKeys, new(Some("alice"), None)));
        assert!(!alice.may(ManageKeys, new(Some("bob"), None)));
        assert!(!alice.may(ManageKeys, new(None, None)), "a key of nobody has nobody's limits");
        assert!(!alice.may(ManageKeys, new(Some("alice"), Some("red"))));
    }

    #[test]
    fn what_is_bound_to_a_team_does_not_leave_it() {
        let alice = limited("alice", &[], Some("red"));
        assert!(alice.may(SeeKeys, Scope::Key(&key(Some("alice"), Some("red"), "master"))));
        assert!(!alice.may(SeeKeys, Scope::Key(&key(Some("alice"), None, "user:alice"))));
        let own = Scope::NewKey { user: Some("alice"), team: None };
        assert!(!alice.may(ManageKeys, own), "it would have none of the team's limits");
    }

    #[test]
    fn a_keys_holder_sees_that_key_and_nothing_else() {
        let own = key(None, None, "master");
        let mut holder = actor("key:1", Standing::Limited(Reach::default()));
        holder.key = Some(Arc::new(own.clone()));
        assert!(holder.may(SeeKeys, Scope::Key(&own)));
        assert!(!holder.may(RotateKeys, Scope::Key(&own)));
        assert!(!holder.may(SeeKeys, Scope::Key(&key(None, None, "master"))));
        assert!(!holder.may(SeeKeys, Scope::All));
        for permission in [ManageKeys, SeeTeams, SeeUsers, SeeConfig, ManageMembers] {
            assert!(!holder.may_at_all(permission), "{permission:?}");
        }
    }

    #[test]
    fn what_may_be_done_with_something_may_be_done_at_all() {
        let keys = [
            key(Some("alice"), None, "user:alice"),
            key(Some("alice"), Some("red"), "master"),
            key(None, None, "master"),
        ];
        let actors = [
            actor("master", Standing::Master),
            actor("user:root", Standing::Admin),
            actor("user:eye", Standing::Viewer),
            limited("alice", &["red"], None),
            limited("alice", &[], Some("red")),
            actor("key:1", Standing::Limited(Reach::default())),
        ];
        let scopes = keys.iter().map(Scope::Key).chain([
            Scope::All,
            Scope::Team("red"),
            Scope::User("alice"),
            Scope::NewKey { user: Some("alice"), team: None },
            Scope::NewKey { user: None, team: Some("red") },
        ]);
        for scope in scopes {
            for actor in &actors {
                for permission in [
                    SeeKeys,
                    ManageKeys,
                    RotateKeys,
                    SeeTeams,
                    ManageTeams,
                    ManageMembers,
                    SeeUsers,
                    ManageUsers,
                    SeeModels,
                    SeeConfig,
                    SeeQuotas,
                    ReloadConfig,
                    ImportKeys,
                ] {
                    if actor.may(permission, scope) {
                        assert!(actor.may_at_all(permission), "{actor:?} {permission:?} {scope:?}");
                    }
                }
            }
        }
    }
}
