//! Nobody gives more than they have.
//!
//! A key is bounded three times: by whom it belongs to, by the key with which it is made, and (at the time
//! of each request, not here) by its owners' own limits. The first two are refused at once and with a
//! reason, so that nobody is surprised later.

use super::super::error::ApiError;
use crate::stores::records::{Key, Limits, Team, User};

/// Words of LiteLLM's that stand for "all that the other lists allow".
const ALL: [&str; 3] = ["*", "all-proxy-models", "all-team-models"];

/// Whether `key` stays within what its team or user has, for whoever manages no more than that.
///
/// # Errors
/// 422, which names the field and the bound.
pub fn within_team(key: &Key, team: &Team) -> Result<(), ApiError> {
    within("team", &team.models, &team.limits, key)
}

/// As [`within_team`].
///
/// # Errors
/// As [`within_team`].
pub fn within_user(key: &Key, user: &User) -> Result<(), ApiError> {
    within("user", &user.models, &user.limits, key)
}

fn within(owner: &str, models: &[String], limits: &Limits, key: &Key) -> Result<(), ApiError> {
    // Without models of its own a key has its owner's.
    if let Some(index) =
        key.models.iter().position(|entry| !ALL.contains(&entry.as_str()) && !allows(models, entry))
    {
        let reason = format!("is not among the {owner}'s models");
        return Err(ApiError::invalid(format!("models[{index}]"), reason));
    }
    let pairs = [
        ("limits.rpm", key.limits.rpm, limits.rpm),
        ("limits.tpm", key.limits.tpm, limits.tpm),
        ("limits.parallel", key.limits.parallel, limits.parallel),
        ("limits.budget", key.limits.budget, limits.budget),
    ];
    let raise = key.limits.budget_raise.and_then(|raise| raise.by);
    let raised = raise.and_then(|by| Some(key.limits.budget?.saturating_add(by)));
    for (field, wanted, bound) in
        pairs.into_iter().chain([("limits.budget_raise", raised, limits.budget)])
    {
        if let (Some(wanted), Some(bound)) = (wanted, bound)
            && wanted > bound
        {
            return Err(ApiError::invalid(field, format!("must not be over the {owner}'s")));
        }
    }
    for (field, wanted, bound) in [
        ("limits.model_rpm", &key.limits.model_rpm, &limits.model_rpm),
        ("limits.model_tpm", &key.limits.model_tpm, &limits.model_tpm),
    ] {
        let over = wanted.iter().find(|(model, n)| bound.get(*model).is_some_and(|m| *n > m));
        if let Some((model, _)) = over {
            let reason = format!("must not be over the {owner}'s");
            return Err(ApiError::invalid(format!("{field}.{model}"), reason));
        }
    }
    Ok(())
}

/// Whether whoever presents `acting` may make `key`, or give it a new text.
///
/// Limits can't be divided among keys, so a key that has any makes none: many such keys would have their
/// sum. Which routes it may use is no matter: the right to manage is one of them.
///
/// # Errors
/// 403, 422.
pub fn within_acting_key(acting: &Key, key: &Key) -> Result<(), ApiError> {
    if acting.limits != Limits::default() {
        return Err(ApiError::forbidden(
            "A key that has limits of its own can neither make nor change keys.",
        ));
    }
    if !acting.models.is_empty() {
        if key.models.is_empty() && !allows(&acting.models, "*") {
            return Err(ApiError::invalid(
                "models",
                "must be given: the key with which you ask is for some models only",
            ));
        }
        // A word for "all" stands for all here, since the new key would not have the old one's list.
        let all =
            |entry: &str| if ALL.contains(&entry) { "*".to_owned() } else { entry.to_owned() };
        if let Some(index) =
            key.models.iter().position(|entry| !allows(&acting.models, &all(entry)))
        {
            let reason = "is not among the models of the key with which you ask";
            return Err(ApiError::invalid(format!("models[{index}]"), reason));
        }
    }
    if acting.expires_at.is_some_and(|end| key.expires_at.is_none_or(|wanted| wanted > end)) {
        let reason = "must not be after the end of the key with which you ask";
        return Err(ApiError::invalid("expires_at", reason));
    }
    Ok(())
}

/// Whether all that `entry` stands for is among `models`. An entry is a name, or a beginning and `*`.
fn allows(models: &[String], entry: &str) -> bool {
    models.is_empty()
        || models.iter().any(|allowed| {
            let allowed = if ALL.contains(&allowed.as_str()) { "*" } else { allowed };
            match allowed.strip_suffix('*') {
                Some(beginning) => entry.starts_with(beginning),
                None => entry == allowed,
            }
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::stores::records::{BudgetRaise, KeyHash};

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn key(models: &[&str], limits: Limits, expires_at: Option<i64>) -> Key {
        Key {
            id: Uuid::now_v7(),
            hash: KeyHash([0; 32]),
            previous: None,
            hint: String::new(),
            alias: None,
            user: None,
            team: None,
            organization: None,
            models: names(models),
            routes: vec![],
            expires_at,
            blocked: false,
            tags: vec![],
            metadata: serde_json::Map::new(),
            limits,
            created_at: 0,
            updated_at: 0,
            created_by: String::new(),
            version: 1,
        }
    }

    fn none() -> Limits {
        Limits::default()
    }

    #[test]
    fn models_are_within_their_owners() {
        let check = |owner: &[&str], own: &[&str]| {
            within("team", &names(owner), &none(), &key(own, none(), None)).map_err(|e| e.field)
        };
        assert!(check(&[], &["anything"]).is_ok());
        assert!(check(&["gpt-*", "o3"], &["gpt-4o", "gpt-4*", "o3"]).is_ok());
        assert!(check(&["gpt-4o"], &[]).is_ok(), "those of the owner");
        assert!(check(&["gpt-4o"], &["all-team-models"]).is_ok(), "the same in a word");
        assert_eq!(check(&["gpt-4o"], &["gpt-4o", "o3"]), Err(Some("models[1]".to_owned())));
        assert!(check(&["gpt-4o"], &["gpt-*"]).is_err());
        assert!(check(&["gpt-4*"], &["gpt-*"]).is_err());
    }

    #[test]
    fn limits_are_within_their_owners() {
        let owner = Limits {
            rpm: Some(10),
            budget: Some(100),
            model_rpm: [("m".to_owned(), 5)].into(),
            ..none()
        };
        let check = |own: Limits| {
            within("team", &[], &owner, &key(&[], own, None)).map_err(|e| e.field.unwrap())
        };
        assert!(check(none()).is_ok());
        assert!(check(Limits { rpm: Some(10), tpm: Some(1 << 40), ..none() }).is_ok());
        assert_eq!(check(Limits { rpm: Some(11), ..none() }), Err("limits.rpm".to_owned()));
        assert_eq!(check(Limits { budget: Some(101), ..none() }), Err("limits.budget".to_owned()));
        let raise = Some(BudgetRaise { by: Some(60), until: None });
        let raised = Limits { budget: Some(50), budget_raise: raise, ..none() };
        assert_eq!(check(raised), Err("limits.budget_raise".to_owned()));
        let model = Limits { model_rpm: [("m".to_owned(), 6)].into(), ..none() };
        assert_eq!(check(model), Err("limits.model_rpm.m".to_owned()));
    }

    #[test]
    fn a_key_makes_no_key_that_is_more_than_itself() {
        let check = |acting: &Key, made: &Key| {
            within_acting_key(acting, made).map_err(|e| (e.status.as_u16(), e.field))
        };
        let free = key(&[], none(), None);
        assert!(check(&free, &key(&["m"], none(), Some(5))).is_ok());
        let limited = key(&[], Limits { budget: Some(5), ..none() }, None);
        assert_eq!(check(&limited, &free), Err((403, None)));
        let some = key(&["m", "n*"], none(), None);
        assert!(check(&some, &key(&["n1"], none(), None)).is_ok());
        for wanted in [&[][..], &["x"], &["*"], &["all-team-models"], &["all-proxy-models"]] {
            assert!(check(&some, &key(wanted, none(), None)).is_err(), "{wanted:?}");
        }
        let short = key(&[], none(), Some(10));
        assert!(check(&short, &key(&[], none(), Some(10))).is_ok());
        for end in [None, Some(11)] {
            let error = check(&short, &key(&[], none(), end));
            assert_eq!(error, Err((422, Some("expires_at".to_owned()))));
        }
        assert!(check(&limited, &limited).is_err(), "itself neither: it would lose its limits");
    }

    proptest! {
        /// Whatever model the narrower list names, the wider one names too.
        #[test]
        fn what_is_allowed_is_a_subset(
            wide in proptest::collection::vec("[ab]{1,2}\\*?", 1..4),
            narrow in "[ab]{1,3}\\*?",
            model in "[ab]{1,4}",
        ) {
            let named = |entry: &str| allows(&[entry.to_owned()], &model);
            if allows(&wide, &narrow) && named(&narrow) {
                prop_assert!(wide.iter().any(|entry| named(entry)), "{wide:?} {narrow} {model}");
            }
        }
    }
}
