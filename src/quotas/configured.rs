//! The limits that the configuration sets for scopes that no record has.

use sluicegate_filters::Caller;
use sluicegate_filters::admit::{Quota, Scope, ScopeKind};

use crate::config::valid::ConfiguredQuota;

/// Limits of a configuration.
#[derive(Debug, Default)]
pub struct Configured {
    quotas: Vec<ConfiguredQuota>,
}

impl Configured {
    /// Those of a configuration.
    pub fn new(quotas: &[ConfiguredQuota]) -> Self {
        Self { quotas: quotas.to_vec() }
    }

    /// All of them.
    pub fn all(&self) -> &[ConfiguredQuota] {
        &self.quotas
    }

    /// The limits that a request for `model` is under, which may go to any of `providers`. Where a record
    /// of the caller's has a limit on the same counter, the record's counts. Without quotas in the
    /// configuration, nothing is allocated.
    pub fn for_request(
        &self,
        caller: &Caller,
        model: &str,
        providers: &[&str],
        end_user: Option<&str>,
        tags: &[String],
    ) -> Vec<Quota> {
        let mut found = Vec::new();
        for quota in self.in_order() {
            if quota.model.as_deref().is_some_and(|only| only != model) {
                continue;
            }
            let mut add = |id: &str| {
                let added = quota.for_id(id);
                let of_a_record = caller.quotas().iter().any(|own| own.shares_counter(&added));
                let twice = |known: &Quota| known.shares_counter(&added);
                if !of_a_record && !found.iter().any(twice) {
                    found.push(added);
                }
            };
            let only = quota.id.as_deref();
            let mut one = |id: Option<&str>| {
                if let Some(id) = id.filter(|id| only.is_none_or(|only| only == *id)) {
                    add(id);
                }
            };
            match quota.scope {
                ScopeKind::Gateway => add(""),
                ScopeKind::Model => one(Some(model)),
                ScopeKind::Provider => providers.iter().for_each(|provider| one(Some(provider))),
                ScopeKind::Tag => tags.iter().for_each(|tag| one(Some(tag))),
                ScopeKind::EndUser => one(end_user.filter(|name| !name.is_empty())),
                ScopeKind::Team => one(caller.team()),
                ScopeKind::User => one(caller.user()),
                ScopeKind::Organization => one(caller.organization()),
                ScopeKind::Key => {
                    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
                    let id = caller.key().map(|key| &*key.id.hyphenated().encode_lower(&mut text));
                    one(id);
                }
            }
        }
        found
    }

    /// The limits of one scope. Of those that each one has separately, its own.
    pub fn of(&self, kind: ScopeKind, id: &str) -> Vec<Quota> {
        let applies = |quota: &&ConfiguredQuota| {
            quota.scope == kind && quota.id.as_deref().is_none_or(|only| only == id)
        };
        let mut found: Vec<Quota> = Vec::new();
        for quota in self.in_order().filter(applies).map(|quota| quota.for_id(id)) {
            if !found.iter().any(|known| known.shares_counter(&quota)) {
                found.push(quota);
            }
        }
        found
    }

    /// Those for somebody by name first: on one counter they count, and not those for each one.
    fn in_order(&self) -> impl Iterator<Item = &ConfiguredQuota> {
        let named = |quota: &&ConfiguredQuota| quota.id.is_some();
        let of_each = |quota: &&ConfiguredQuota| quota.id.is_none();
        self.quotas.iter().filter(named).chain(self.quotas.iter().filter(of_each))
    }
}

impl ConfiguredQuota {
    fn for_id(&self, id: &str) -> Quota {
        let mut scope = Scope::new(self.scope, id);
        scope.model.clone_from(&self.model);
        Quota {
            soft: self.soft,
            on_store_loss: self.on_store_loss,
            on_lost_lease: self.on_lost_lease,
            on_overrun: self.on_overrun,
            ..Quota::new(scope, self.unit, self.window.clone(), self.limit)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluicegate_filters::Bearer;
    use sluicegate_filters::admit::{Unit, Window};
    use sluicegate_filters::identify::jwt::Verified;

    use super::*;

    fn configured(scope: ScopeKind, id: Option<&str>) -> ConfiguredQuota {
        ConfiguredQuota {
            scope,
            id: id.map(str::to_owned),
            model: None,
            unit: Unit::Tokens,
            limit: 7,
            window: Window::Lifetime,
            soft: None,
            on_store_loss: Default::default(),
            on_lost_lease: Default::default(),
            on_overrun: Default::default(),
        }
    }

    fn caller(quotas: Vec<Quota>) -> Arc<Caller> {
        let bearer = Bearer {
            user: Some("alice".to_owned()),
            team: Some("blue".to_owned()),
            quotas,
            ..Bearer::default()
        };
        let verified =
            Verified { issuer: 0, bearer: bearer.clone(), subject: None, until_ms: i64::MAX };
        Arc::new(verified.into_caller(bearer))
    }

    fn ids(quotas: &[ConfiguredQuota], caller: &Caller) -> Vec<String> {
        let tags = ["a".to_owned(), "b".to_owned(), "a".to_owned()];
        let configured = Configured::new(quotas);
        let found = configured.for_request(caller, "m", &["p", "q"], Some("eve"), &tags);
        found
            .iter()
            .map(|quota| format!("{}:{}", quota.scope.kind.name(), quota.scope.id))
            .collect()
    }

    #[test]
    fn a_request_is_under_the_limits_of_every_scope_it_belongs_to() {
        use ScopeKind::{EndUser, Gateway, Model, Organization, Provider, Tag, Team, User};
        let quotas = [
            configured(Gateway, None),
            configured(Model, None),
            configured(Model, Some("n")),
            configured(Provider, Some("q")),
            configured(Provider, Some("r")),
            configured(Tag, None),
            configured(EndUser, None),
            configured(EndUser, Some("mallory")),
            configured(Team, Some("blue")),
            configured(User, None),
            configured(Organization, Some("o")),
            ConfiguredQuota { model: Some("n".to_owned()), ..configured(Gateway, None) },
        ];
        let expected = [
            "provider:q",
            "team:blue",
            "gateway:",
            "model:m",
            "tag:a",
            "tag:b",
            "end_user:eve",
            "user:alice",
        ];
        assert_eq!(ids(&quotas, &caller(Vec::new())), expected);
    }

    #[test]
    fn one_by_name_counts_and_not_that_for_each_one() {
        let of_each = ConfiguredQuota { limit: 1, ..configured(ScopeKind::Team, None) };
        let quotas = Configured::new(&[of_each, configured(ScopeKind::Team, Some("blue"))]);
        let of_request = quotas.for_request(&caller(Vec::new()), "m", &[], None, &[]);
        let limits = |found: &[Quota]| found.iter().map(|quota| quota.limit).collect::<Vec<_>>();
        assert_eq!(limits(&of_request), [7]);
        assert_eq!(limits(&quotas.of(ScopeKind::Team, "blue")), [7]);
        assert_eq!(limits(&quotas.of(ScopeKind::Team, "red")), [1]);
    }

    #[test]
    fn a_records_limit_on_the_same_counter_counts() {
        let quotas = [configured(ScopeKind::Team, Some("blue"))];
        let scope = Scope::new(ScopeKind::Team, "blue");
        let other = Quota::new(scope.clone(), Unit::Requests, Window::Lifetime, 1);
        assert_eq!(ids(&quotas, &caller(vec![other])), ["team:blue"]);
        let same = Quota::new(scope, Unit::Tokens, Window::Lifetime, 1);
        assert_eq!(ids(&quotas, &caller(vec![same])), [""; 0]);
    }

    #[test]
    fn without_quotas_nothing_is_allocated() {
        let found = Configured::default().for_request(&caller(Vec::new()), "m", &[], None, &[]);
        assert_eq!(found.capacity(), 0);
    }
}
