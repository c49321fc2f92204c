//! Which targets may serve a request: whom each is for, and how long a request it can look at.
//!
//! Both narrow a set of targets, a bit for each. Where nothing is configured, and for every short request,
//! that is a comparison.

use http::HeaderMap;
use sluicegate_filters::Caller;

use crate::config::valid::When;
use crate::dialects::Endpoint;
use crate::dialects::peek::Peek;
use crate::quotas::estimate::contents::Body;
use crate::quotas::estimate::length::{self, Length};

/// Whose requests the targets of a model serve.
#[derive(Debug, Default)]
pub struct Conditions(Vec<(u64, When)>);

/// How long a request may be at the targets of a model.
#[derive(Debug, Default)]
pub struct Windows {
    each: Vec<(u64, Window)>,
    /// Tokens of the smallest.
    smallest: u64,
}

/// How long a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// In tokens.
    pub tokens: u64,
    /// Whether the answer is in it, too.
    pub holds_output: bool,
}

/// A request that is longer than every target can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The tokens that it has at least.
    pub tokens: u64,
    /// What the largest window holds.
    pub window: u64,
}

impl Conditions {
    /// The target at `index` serves requests that are as `when` says.
    pub(super) fn add(&mut self, index: usize, when: Option<&When>) {
        self.0.extend(when.map(|when| (1 << (index % 64), when.clone())));
    }

    /// Those of the `allowed` targets that serve this caller's request.
    pub fn narrow(&self, allowed: u64, caller: Option<&Caller>, headers: &HeaderMap) -> u64 {
        let refused = |(bit, when): &&(u64, When)| {
            allowed & bit != 0 && !caller.is_some_and(|caller| holds(when, caller, headers))
        };
        self.0.iter().filter(refused).fold(allowed, |left, (bit, _)| left & !bit)
    }
}

/// Who the caller is comes from the credential alone, whatever headers say.
fn holds(when: &When, caller: &Caller, headers: &HeaderMap) -> bool {
    let When { teams, users, organizations, tags, headers: wanted } = when;
    let one = |list: &[String], is: Option<&str>| {
        list.is_empty() || is.is_some_and(|is| list.iter().any(|name| name == is))
    };
    one(teams, caller.team())
        && one(users, caller.user())
        && one(organizations, caller.organization())
        && (tags.is_empty() || tags.iter().any(|tag| caller.tags().contains(tag)))
        && wanted.iter().all(|(name, values)| {
            let is = |value: &http::HeaderValue| {
                values.iter().any(|wanted| wanted.as_bytes() == value.as_bytes())
            };
            headers.get_all(name).iter().any(is)
        })
}

impl Windows {
    /// The target at `index` has this window.
    pub(super) fn add(&mut self, index: usize, window: Option<Window>) {
        let Some(window) = window else { return };
        let smallest = if self.each.is_empty() { u64::MAX } else { self.smallest };
        self.smallest = smallest.min(window.tokens);
        self.each.push((1 << (index % 64), window));
    }

    /// Those of the `allowed` targets that the request is likely to fit into; where there is none, those
    /// that it may fit into.
    ///
    /// # Errors
    /// It fits into none.
    pub fn narrow(
        &self,
        allowed: u64,
        endpoint: Endpoint,
        peek: &Peek,
        body: &Body<'_>,
    ) -> Result<u64, TooLong> {
        let output = peek.max_output_tokens.unwrap_or(0);
        // A token of text is at least a byte of it.
        let most = (body.bytes.len() as u64).saturating_add(output);
        if self.each.is_empty() || most <= self.smallest {
            return Ok(allowed);
        }
        match length::of(endpoint, peek, body) {
            Some(length) => self.fitting(allowed, length, output),
            None => Ok(allowed),
        }
    }

    fn fitting(&self, allowed: u64, length: Length, output: u64) -> Result<u64, TooLong> {
        let fits = |input: u64| {
            let beyond = |(_, window): &&(u64, Window)| window.needs(input, output) > window.tokens;
            self.each.iter().filter(beyond).fold(allowed, |left, (bit, _)| left & !bit)
        };
        let likely = fits(length.likely);
        let left = if likely == 0 { fits(length.least) } else { likely };
        if left != 0 || allowed == 0 {
            return Ok(left);
        }
        let of_allowed = self.each.iter().filter(|(bit, _)| allowed & bit != 0);
        let largest = of_allowed.map(|(_, window)| window).max_by_key(|window| window.tokens);
        let largest = largest.copied().unwrap_or(Window { tokens: 0, holds_output: false });
        Err(TooLong { tokens: largest.needs(length.least, output), window: largest.tokens })
    }
}

impl Window {
    fn needs(&self, input: u64, output: u64) -> u64 {
        if self.holds_output { input.saturating_add(output) } else { input }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;
    use proptest::prelude::*;
    use sluicegate_filters::Bearer;
    use sluicegate_filters::identify::jwt::Verified;

    use super::*;

    fn caller(team: Option<&str>, tags: &[&str]) -> Arc<Caller> {
        let bearer = Bearer {
            user: Some("alice".to_owned()),
            team: team.map(str::to_owned),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            ..Bearer::default()
        };
        let verified =
            Verified { issuer: 0, bearer: bearer.clone(), subject: None, until_ms: i64::MAX };
        Arc::new(verified.into_caller(bearer))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn conditions(each: &[Option<When>]) -> Conditions {
        let mut conditions = Conditions::default();
        for (index, when) in each.iter().enumerate() {
            conditions.add(index, when.as_ref());
        }
        conditions
    }

    #[test]
    fn each_list_must_have_the_caller_and_one_name_on_it_is_enough() {
        let both = When { teams: names(&["a", "b"]), tags: names(&["x"]), ..When::default() };
        let conditions = conditions(&[None, Some(both)]);
        for (team, tags, allowed) in [
            (Some("b"), &["w", "x"][..], 0b11),
            (Some("b"), &[], 0b01),
            (Some("c"), &["x"], 0b01),
            (None, &["x"], 0b01),
        ] {
            let caller = caller(team, tags);
            let found = conditions.narrow(0b11, Some(&caller), &HeaderMap::new());
            assert_eq!(found, allowed, "{team:?} {tags:?}");
        }
        assert_eq!(conditions.narrow(0b11, None, &HeaderMap::new()), 0b01, "nobody is on no list");
    }

    #[test]
    fn headers_are_compared_exactly_and_make_nobody_of_a_team() {
        let tier = http::HeaderName::from_static("x-tier");
        let gold = When { headers: vec![(tier, names(&["gold", "silver"]))], ..When::default() };
        let team = When { teams: names(&["a"]), ..When::default() };
        let conditions = conditions(&[Some(gold), Some(team)]);
        let caller = caller(None, &[]);
        for (name, value, allowed) in
            [("x-tier", "silver", 0b1), ("x-tier", "Gold", 0), ("x-team", "a", 0), ("team", "a", 0)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(
                conditions.narrow(0b11, Some(&caller), &headers),
                allowed,
                "{name}: {value}"
            );
        }
    }

    fn windows(each: &[Option<(u64, bool)>]) -> Windows {
        let mut windows = Windows::default();
        for (index, window) in each.iter().enumerate() {
            let window = window.map(|(tokens, holds_output)| Window { tokens, holds_output });
            windows.add(index, window);
        }
        windows
    }

    #[test]
    fn what_is_likely_chooses_and_what_is_certain_refuses() {
        let windows = windows(&[Some((100, true)), Some((1_000, true)), Some((1_000, false))]);
        let fitting =
            |least, likely, output| windows.fitting(0b111, Length { least, likely }, output);
        assert_eq!(fitting(10, 20, 50), Ok(0b111));
        assert_eq!(fitting(60, 120, 50), Ok(0b110));
        assert_eq!(fitting(400, 800, 500), Ok(0b100), "the answer is beside what the last holds");
        assert_eq!(fitting(600, 1_200, 0), Ok(0b110), "it may fit after all");
        assert_eq!(fitting(1_001, 2_002, 7), Err(TooLong { tokens: 1_001, window: 1_000 }));
    }

    proptest! {
        #[test]
        fn a_target_without_a_window_is_always_left_and_none_is_added(
            each in prop::collection::vec(prop::option::of((1_u64..1_000, any::<bool>())), 1..8),
            allowed in 1_u64..256,
            least in 0_u64..2_000,
            more in 0_u64..2_000,
            output in 0_u64..2_000,
        ) {
            let windows = windows(&each);
            let allowed = allowed & ((1 << each.len()) - 1);
            let unbounded = (0..each.len()).filter(|i| each[*i].is_none()).fold(0, |all, i| all | 1 << i);
            match windows.fitting(allowed, Length { least, likely: least + more }, output) {
                Ok(left) => {
                    prop_assert_eq!(left & !allowed, 0);
                    prop_assert_eq!(left & unbounded, allowed & unbounded);
                    prop_assert!(left != 0 || allowed == 0);
                }
                Err(TooLong { tokens, window }) => {
                    prop_assert_eq!(allowed & unbounded, 0);
                    prop_assert!(tokens > window);
                }
            }
        }
    }
}
