//! From a token's claims to a caller: which claim says what, and which values can say it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::{ClaimProblem, JwtError};
use crate::caller::{Bearer, Claim};

/// Bytes of a claim's path, and of a name that a claim gives, at most.
const MAX_NAME: usize = 256;
/// Roles, or tags, at most.
const MAX_NAMES: usize = 256;
/// Dots of a path, at most. Each is a place where the path may go one object deeper.
const MAX_DOTS: usize = 8;
/// The largest whole number that every JSON parser reads exactly (RFC 8259 section 6).
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// Where a claim is: its name, or the names on the way to it with a dot between each.
///
/// A name may have dots itself (`https://example.com/roles`), so a member of the whole name comes
/// first; then the shortest beginning that is an object in which the rest is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimPath(String);

/// Text that is no claim's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a claim's path has 1 to 256 bytes, at most 8 dots and no control characters")]
pub struct ClaimPathError;

impl FromStr for ClaimPath {
    type Err = ClaimPathError;

    fn from_str(path: &str) -> Result<Self, ClaimPathError> {
        let dots = path.bytes().filter(|byte| *byte == b'.').count();
        let length = (1..=MAX_NAME).contains(&path.len());
        if !length || dots > MAX_DOTS || path.chars().any(char::is_control) {
            return Err(ClaimPathError);
        }
        Ok(Self(path.to_owned()))
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClaimPath {
    /// The registered claim of the subject (RFC 7519 section 4.1.2).
    pub fn subject() -> Self {
        Self("sub".to_owned())
    }

    /// The path as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The claim's value. Null is as good as absent.
    fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        find(claims, &self.0).filter(|value| !value.is_null())
    }

    fn wrong(&self, problem: ClaimProblem) -> JwtError {
        JwtError::Claim { name: self.0.clone(), problem }
    }
}

/// Bounded: every dot at which it tries again stands in a path of few dots.
fn find<'c>(members: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    members.get(path).or_else(|| {
        path.match_indices('.').find_map(|(dot, _)| match members.get(&path[..dot]) {
            Some(Value::Object(inner)) => find(inner, &path[dot + 1..]),
            _ => None,
        })
    })
}

/// Which claim says what of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMap {
    /// Who it is. The claim must be there.
    pub user: ClaimPath,
    /// The team.
    pub team: Option<ClaimPath>,
    /// The organization.
    pub organization: Option<ClaimPath>,
    /// Roles: a list of texts, or one text with a space between each, as `scope` has it (RFC 6749
    /// section 3.3).
    pub roles: Option<ClaimPath>,
    /// Tags, as roles.
    pub tags: Option<ClaimPath>,
    /// Stands before every name that these claims give, so that two issuers' `alice` are two.
    pub prefix: String,
    /// Claims that policies may look at, by their paths.
    pub expose: Vec<ClaimPath>,
}

impl Default for ClaimMap {
    /// The subject is the user; nothing else is taken.
    fn default() -> Self {
        Self {
            user: ClaimPath::subject(),
            team: None,
            organization: None,
            roles: None,
            tags: None,
            prefix: String::new(),
            expose: Vec::new(),
        }
    }
}

impl ClaimMap {
    /// The caller that `claims` tell of.
    pub(super) fn bearer(&self, claims: &Map<String, Value>) -> Result<Bearer, JwtError> {
        let user = self.name(claims, Some(&self.user))?;
        if user.is_none() {
            return Err(JwtError::MissingClaim(self.user.0.clone()));
        }
        let mut exposed = BTreeMap::new();
        for path in &self.expose {
            if let Some(value) = path.find(claims) {
                let claim = exposable(path, value);
                let claim = claim.ok_or_else(|| path.wrong(ClaimProblem::Unexposable))?;
                exposed.insert(path.0.clone(), claim);
            }
        }
        Ok(Bearer {
            user,
            team: self.name(claims, self.team.as_ref())?,
            organization: self.name(claims, self.organization.as_ref())?,
            roles: self.names(claims, self.roles.as_ref())?,
            tags: self.names(claims, self.tags.as_ref())?,
            claims: exposed,
            ..Bearer::default()
        })
    }

    fn name(
        &self,
        claims: &Map<String, Value>,
        path: Option<&ClaimPath>,
    ) -> Result<Option<String>, JwtError> {
        let found = path.and_then(|path| Some((path, path.find(claims)?)));
        let Some((path, value)) = found else { return Ok(None) };
        let name = value.as_str().ok_or_else(|| path.wrong(ClaimProblem::NotText))?;
        self.prefixed(path, name).map(Some)
    }

    fn names(
        &self,
        claims: &Map<String, Value>,
        path: Option<&ClaimPath>,
    ) -> Result<Vec<String>, JwtError> {
        let found = path.and_then(|path| Some((path, path.find(claims)?)));
        let Some((path, value)) = found else { return Ok(Vec::new()) };
        let texts = texts(value).ok_or_else(|| path.wrong(ClaimProblem::NotTexts))?;
        if texts.len() > MAX_NAMES {
            return Err(path.wrong(ClaimProblem::TooMany));
        }
        let mut names: Vec<String> = Vec::with_capacity(texts.len());
        for text in texts {
            let name = self.prefixed(path, text)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Names end up in logs, headers and keys of counters, so they are short and on one line.
    fn prefixed(&self, path: &ClaimPath, name: &str) -> Result<String, JwtError> {
        if name.is_empty() {
            return Err(path.wrong(ClaimProblem::Empty));
        }
        if name.len() > MAX_NAME {
            return Err(path.wrong(ClaimProblem::TooLong));
        }
        if name.chars().any(char::is_control) {
            return Err(path.wrong(ClaimProblem::Control));
        }
        Ok(format!("{}{name}", self.prefix))
    }
}

/// Whether `claims` has something under this name.
pub(super) fn is_there(claims: &Map<String, Value>, path: &ClaimPath) -> bool {
    path.find(claims).is_some_and(|value| value != "")
}

/// A list of texts, or one text with spaces between.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(text.split(' ').filter(|part| !part.is_empty()).collect()),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// The value as policies know values. One that they can't know is refused rather than left out: a
/// policy that forbids by it would forbid nothing.
fn exposable(path: &ClaimPath, value: &Value) -> Option<Claim> {
    Some(match value {
        Value::Bool(flag) => Claim::Flag(*flag),
        Value::Number(number) => Claim::Number(whole(number)?),
        // A list in all but its writing (RFC 6749 section 3.3, RFC 8693 section 4.2).
        Value::String(_) if matches!(path.as_str(), "scope" | "scp") => {
            Claim::Texts(texts(value)?.into_iter().map(str::to_owned).collect())
        }
        Value::String(text) => Claim::Text(text.clone()),
        Value::Array(_) => Claim::Texts(texts(value)?.into_iter().map(str::to_owned).collect()),
        Value::Null | Value::Object(_) => return None,
    })
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|_| number.is_f64())?;
        // Within this range the cast is exact.
        (float.fract() == 0.0 && float.abs() <= MAX_EXACT).then_some(float as i64)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> ClaimPath {
        text.parse().expect("a valid path")
    }

    fn claims(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            _ => panic!("a test's claims are an object"),
        }
    }

    fn bearer(map: &ClaimMap, value: Value) -> Result<Bearer, JwtError> {
        map.bearer(&claims(value))
    }

    fn everything() -> ClaimMap {
        ClaimMap {
            team: Some(path("team")),
            organization: Some(path("org")),
            roles: Some(path("realm_access.roles")),
            tags: Some(path("tags")),
            ..ClaimMap::default()
        }
    }

    #[test]
    fn a_whole_name_comes_before_a_way_through_objects() {
        let all = claims(json!({
            "a.b": 1,
            "a": {"b": 2, "b.c": 3, "d": {"e": 4}},
            "https://example.com/x": {"y": 5},
            "a.d": {"f": 6},
        }));
        for (text, expected) in [
            ("a.b", Some(1)),
            ("a.b.c", Some(3)),
            ("a.d.e", Some(4)),
            ("a.d.f", Some(6)),
            ("https://example.com/x.y", Some(5)),
            ("a.x", None),
            ("a.b.c.d", None),
            (".", None),
        ] {
            let found = path(text).find(&all).and_then(Value::as_i64);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn paths_are_bounded() {
        for text in ["", "a\nb", "a.b.c.d.e.f.g.h.i.j", &"a".repeat(257)] {
            assert_eq!(text.parse::<ClaimPath>(), Err(ClaimPathError), "{text:?}");
        }
    }

    #[test]
    fn claims_become_a_caller() {
        let found = bearer(
            &everything(),
            json!({
                "sub": "u-1", "team": "red", "org": "acme",
                "realm_access": {"roles": ["admin", "dev", "admin"]},
                "tags": "a  b c",
                "other": "not taken",
            }),
        )
        .expect("usable claims");
        assert_eq!(found.user.as_deref(), Some("u-1"));
        assert_eq!(found.team.as_deref(), Some("red"));
        assert_eq!(found.organization.as_deref(), Some("acme"));
        assert_eq!(found.roles, ["admin", "dev"]);
        assert_eq!(found.tags, ["a", "b", "c"]);
        assert!(found.claims.is_empty() && found.key.is_none() && found.models.is_empty());
        let bare = bearer(&everything(), json!({"sub": "u-1", "team": null})).expect("usable");
        assert_eq!((bare.team, bare.roles), (None, Vec::new()));
    }

    #[test]
    fn a_prefix_stands_before_every_name() {
        let map = ClaimMap { prefix: "corp:".to_owned(), ..everything() };
        let found = bearer(&map, json!({"sub": "a", "team": "t", "tags": ["x"]}));
        let found = found.expect("usable claims");
        assert_eq!(found.user.as_deref(), Some("corp:a"));
        assert_eq!(found.team.as_deref(), Some("corp:t"));
        assert_eq!(found.tags, ["corp:x"]);
    }

    #[test]
    fn names_that_would_mislead_are_refused() {
        let wrong = |name: &str, problem| JwtError::Claim { name: name.to_owned(), problem };
        let long = "x".repeat(257);
        let many: Vec<_> = (0..257).map(|n| n.to_string()).collect();
        for (value, expected) in [
            (json!({}), JwtError::MissingClaim("sub".to_owned())),
            (json!({"sub": null}), JwtError::MissingClaim("sub".to_owned())),
            (json!({"sub": ""}), wrong("sub", ClaimProblem::Empty)),
            (json!({"sub": 7}), wrong("sub", ClaimProblem::NotText)),
            (json!({"sub": ["a"]}), wrong("sub", ClaimProblem::NotText)),
            (json!({"sub": long}), wrong("sub", ClaimProblem::TooLong)),
            (json!({"sub": "a\nb"}), wrong("sub", ClaimProblem::Control)),
            (json!({"sub": "a\u{85}b"}), wrong("sub", ClaimProblem::Control)),
            (json!({"sub": "a", "team": ""}), wrong("team", ClaimProblem::Empty)),
            (json!({"sub": "a", "tags": [1]}), wrong("tags", ClaimProblem::NotTexts)),
            (json!({"sub": "a", "tags": {"x": "y"}}), wrong("tags", ClaimProblem::NotTexts)),
            (json!({"sub": "a", "tags": ["x", ""]}), wrong("tags", ClaimProblem::Empty)),
            (json!({"sub": "a", "tags": ["\u{0}"]}), wrong("tags", ClaimProblem::Control)),
            (json!({"sub": "a", "tags": many}), wrong("tags", ClaimProblem::TooMany)),
        ] {
            assert_eq!(bearer(&everything(), value.clone()), Err(expected), "{value}");
        }
    }

    #[test]
    fn exposed_claims_keep_their_kind_and_others_refuse_the_token() {
        let expose = ["scope", "level", "ok", "groups", "a.b", "none"].map(path).to_vec();
        let map = ClaimMap { expose, ..ClaimMap::default() };
        let found = bearer(
            &map,
            json!({
                "sub": "u", "scope": "read write", "level": 3.0, "ok": true,
                "groups": ["x y"], "a": {"b": "c d"}, "hidden": "x",
            }),
        )
        .expect("usable claims");
        let texts = |list: &[&str]| Claim::Texts(list.iter().map(|&t| t.to_owned()).collect());
        let expected = [
            ("a.b", Claim::Text("c d".to_owned())),
            ("groups", texts(&["x y"])),
            ("level", Claim::Number(3)),
            ("ok", Claim::Flag(true)),
            ("scope", texts(&["read", "write"])),
        ];
        let expected = expected.map(|(name, claim)| (name.to_owned(), claim));
        assert_eq!(found.claims, BTreeMap::from(expected));
        for value in [json!(1.5), json!(1e300), json!(u64::MAX), json!({}), json!([1]), json!([[]])]
        {
            let refused = bearer(&map, json!({"sub": "u", "level": value})).expect_err("refused");
            let problem = ClaimProblem::Unexposable;
            assert_eq!(refused, JwtError::Claim { name: "level".to_owned(), problem }, "{value}");
        }
    }
}
