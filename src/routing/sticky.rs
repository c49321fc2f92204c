//! The same target for the same end user or conversation, so that a provider's cache of prompts is of use.
//!
//! By weighted rendezvous hashing: each target draws a score for each key, and the highest has it. Nothing is
//! remembered, so that all instances choose alike; when a target leaves, only the keys that it had move,
//! to the others by their weights; when it is back, so are they.
//!
//! The score is that of Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (SPAA 2005), with
//! the logarithm: `weight / -ln(u)`, for a `u` between 0 and 1 that follows from key and target.

use http::HeaderMap;
use sha2::{Digest, Sha256};
use sluicegate_filters::Caller;

use crate::config::valid::Sticky;
use crate::dialects::peek::Peek;

/// What stands for the value that `sticky` names, in this request of this tenant's. `None`: the request has no
/// such value.
pub fn key(
    sticky: &Sticky,
    caller: Option<&Caller>,
    headers: &HeaderMap,
    peek: &Peek,
) -> Option<u64> {
    let end_user = || peek.end_user.as_deref().map(str::as_bytes);
    let (kind, value) = match sticky {
        Sticky::EndUser => ("end_user", end_user()?),
        Sticky::Conversation => match &peek.conversation {
            Some(conversation) => ("conversation", conversation.as_bytes()),
            None => ("end_user", end_user()?),
        },
        Sticky::Header(name) => ("header", headers.get(name)?.as_bytes()),
    };
    let tenant = caller.map(tenant).unwrap_or_default();
    Some(hash(&[kind.as_bytes(), tenant.0.as_bytes(), tenant.1.as_bytes(), value]))
}

/// Whom a caller belongs to, so that what others call by the same name is not theirs.
fn tenant(caller: &Caller) -> (&'static str, String) {
    if let Some(team) = caller.team() {
        ("team", team.to_owned())
    } else if let Some(organization) = caller.organization() {
        ("organization", organization.to_owned())
    } else if let Some(user) = caller.user() {
        ("user", user.to_owned())
    } else if let Some(key) = caller.key() {
        ("key", key.id.to_string())
    } else {
        (caller.kind().name(), String::new())
    }
}

/// What stands for the model `model` at `provider`.
pub fn place(provider: &str, model: &str) -> u64 {
    hash(&[provider.as_bytes(), model.as_bytes()])
}

/// The same in every process and version, or instances would choose differently.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize()[..8]);
    u64::from_le_bytes(first)
}

/// The score of the place `place` with this `weight` for `key`. The highest has the key.
pub fn score(key: u64, place: u64, weight: u64) -> f64 {
    let bits = mix(key ^ mix(place)) >> 11;
    // In the middle of its step of 2^-53, so that it is neither 0 nor 1.
    let u = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
    weight as f64 / -u.ln()
}

/// The last step of `SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluicegate_filters::Bearer;
    use sluicegate_filters::identify::jwt::Verified;

    use super::*;
    use crate::dialects::Endpoint;
    use crate::dialects::peek::peek;

    fn best(key: u64, targets: &[(u64, u64)]) -> Option<u64> {
        let score = |&(place, weight): &(u64, u64)| (score(key, place, weight), place);
        let all = targets.iter().map(score);
        all.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, place)| place)
    }

    fn targets() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec(1_u64..10, 2..7).prop_map(|weights| {
            let named = weights.into_iter().enumerate();
            named.map(|(index, weight)| (place("p", &index.to_string()), weight)).collect()
        })
    }

    fn keys(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| hash(&[&n.to_le_bytes()]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn each_target_has_its_weights_share_of_the_keys(targets in targets()) {
            const KEYS: u64 = 8_000;
            let total: u64 = targets.iter().map(|(_, weight)| weight).sum();
            for (place, weight) in &targets {
                let has = keys(KEYS).filter(|key| best(*key, &targets) == Some(*place)).count() as f64;
                let share = *weight as f64 / total as f64;
                let expected = KEYS as f64 * share;
                // Six standard deviations.
                let allowed = 6.0 * (expected * (1.0 - share)).sqrt();
                prop_assert!((has - expected).abs() <= allowed, "{has} for {expected}");
            }
        }

        #[test]
        fn when_one_leaves_only_its_keys_move(targets in targets(), gone in any::<prop::sample::Index>()) {
            let gone = gone.index(targets.len());
            let mut rest = targets.clone();
            let (left, _) = rest.remove(gone);
            for key in keys(500) {
                let before = best(key, &targets);
                if before != Some(left) {
                    prop_assert_eq!(best(key, &rest), before);
                }
            }
        }

        #[test]
        fn who_gains_weight_loses_no_key_and_the_others_gain_none(
            targets in targets(),
            which in any::<prop::sample::Index>(),
            more in 1_u64..10,
        ) {
            let which = which.index(targets.len());
            let mut heavier = targets.clone();
            heavier[which].1 += more;
            for key in keys(500) {
                let (before, after) = (best(key, &targets), best(key, &heavier));
                prop_assert!(after == before || after == Some(targets[which].0));
            }
        }
    }

    fn caller(team: Option<&str>, user: &str) -> std::sync::Arc<Caller> {
        let bearer = Bearer {
            user: Some(user.to_owned()),
            team: team.map(str::to_owned),
            ..Bearer::default()
        };
        let verified =
            Verified { issuer: 0, bearer: bearer.clone(), subject: None, until_ms: i64::MAX };
        std::sync::Arc::new(verified.into_caller(bearer))
    }

    #[test]
    fn a_key_is_the_tenants_own() {
        let headers = HeaderMap::new();
        let of = |caller: &Caller, body: &str| {
            let peek = peek(Endpoint::ChatCompletions, body.as_bytes()).unwrap();
            key(&Sticky::EndUser, Some(caller), &headers, &peek)
        };
        let eve = r#"{"model":"m","user":"eve"}"#;
        let (a, b) = (caller(Some("a"), "alice"), caller(Some("b"), "alice"));
        assert!(of(&a, eve).is_some());
        assert_eq!(of(&a, eve), of(&caller(Some("a"), "bob"), eve), "one team");
        assert_ne!(of(&a, eve), of(&b, eve));
        assert_ne!(of(&caller(None, "a"), eve), of(&a, eve), "a user is no team of that name");
        assert_eq!(of(&a, r#"{"model":"m"}"#), None);
    }

    #[test]
    fn a_conversation_is_named_by_the_caller() {
        let headers = HeaderMap::new();
        let alice = caller(None, "alice");
        let of = |body: &str| {
            let peek = peek(Endpoint::Responses, body.as_bytes()).unwrap();
            key(&Sticky::Conversation, Some(&alice), &headers, &peek)
        };
        let named = of(r#"{"model":"m","prompt_cache_key":"c","user":"eve"}"#);
        assert!(named.is_some());
        assert_eq!(named, of(r#"{"model":"m","conversation":"c"}"#));
        assert_eq!(named, of(r#"{"model":"m","conversation":{"id":"c"}}"#));
        assert_ne!(named, of(r#"{"model":"m","user":"c"}"#), "an end user is no conversation");
        assert_eq!(of(r#"{"model":"m","input":"x"}"#), None);
    }
}
