//! What is recorded: who did what to which resource, and what came of it.
//!
//! There is no place in an [`Event`] for a prompt, an answer, a credential or the value of a changed
//! field. Texts that come from outside are cut, and what looks like a credential in them is taken out:
//! people put keys where names belong.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;

/// Bytes of a text that are kept.
const MAX_TEXT: usize = 256;
/// Bytes of a changed field's name that are kept.
const MAX_FIELD: usize = 64;
/// Policies that are named.
const MAX_POLICIES: usize = 16;
/// Changed fields that are named.
const MAX_CHANGES: usize = 64;
/// What stands at the end of a text or list that was cut.
const CUT: &str = "…";

/// How the credentials begin that are taken out of texts: keys in the form of ours and of most
/// providers, and JSON Web Tokens (`{"` in base64url, RFC 7515 section 3.1).
const CREDENTIALS: [&str; 2] = ["sk-", "eyJ"];
/// A shorter run of a credential's characters is a name.
const CREDENTIAL_LENGTH: usize = 16;

/// Something to be recorded. Absent members are left out of the line.
///
/// ```
/// use sluicegate::audit::{Actor, Event, Kind, Outcome, Resource};
///
/// let event = Event {
///     actor: Actor { kind: "master".into(), ..Actor::default() },
///     resource: Resource { kind: "key".into(), id: Some("0197".into()) },
///     outcome: Outcome::Allowed,
///     status: 200,
///     ..Event::new(1_764_000_000_000, Kind::AdminAct, "keys.block")
/// };
/// # drop(event);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When it happened, in milliseconds since the epoch.
    #[serde(skip)]
    pub at_ms: i64,
    /// What sort of event it is.
    pub kind: Kind,
    /// What was asked for, as `resource.verb`: `keys.create`, `chat.completions`.
    pub action: Cow<'static, str>,
    /// What came of it.
    pub outcome: Outcome,
    /// The status of the answer; 0 where there was none.
    #[serde(skip_serializing_if = "is_zero")]
    pub status: u16,
    /// The stable word of a refusal or failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Who asked.
    pub actor: Actor,
    /// For what.
    pub resource: Resource,
    /// The policies that decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy_ids: Vec<String>,
    /// The generation of the policies that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_generation: Option<u64>,
    /// The generation of the configuration in force.
    pub config_generation: u64,
    /// `x-request-id` of the answer; empty where there was none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The names of the fields that the act changed. Never their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Cow<'static, str>>>,
}

/// Sorts of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An administrator changed something, or tried to.
    AdminAct,
    /// A policy refused a request.
    PolicyRefusal,
    /// A policy that is only tried out would have refused a request.
    PolicyShadow,
    /// A credential was not accepted.
    CredentialRefusal,
    /// A configuration was put in force, or refused.
    ConfigReload,
    /// A soft limit was reached, the first time in its window.
    SoftLimit,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done, or let through.
    Allowed,
    /// It was not allowed.
    Refused,
    /// It was allowed and did not succeed.
    Failed,
}

impl Outcome {
    /// The outcome of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Allowed, Self::Refused, Self::Failed].into_iter().find(|known| known.name() == name)
    }

    /// The word in the line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Who asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// What sort of caller: `master`, `key`, `token`, `anonymous`, `system`.
    pub kind: Cow<'static, str>,
    /// The id of the key or user. Never a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Their team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The address that they came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

/// What it was about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// `key`, `team`, `model`, `config`.
    pub kind: Cow<'static, str>,
    /// Which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Event {
    /// An event that was allowed, by nobody, about nothing: to be filled in.
    pub fn new(at_ms: i64, kind: Kind, action: impl Into<Cow<'static, str>>) -> Self {
        Self {
            at_ms,
            kind,
            action: action.into(),
            outcome: Outcome::Allowed,
            status: 0,
            code: None,
            actor: Actor::default(),
            resource: Resource::default(),
            policy_ids: Vec::new(),
            policy_generation: None,
            config_generation: 0,
            request_id: String::new(),
            changes: None,
        }
    }

    /// The event in the size in which it may wait and be written.
    pub(super) fn bounded(mut self) -> Self {
        let names = [&mut self.action, &mut self.actor.kind, &mut self.resource.kind];
        names.into_iter().for_each(|name| bound_name(name, MAX_TEXT));
        let texts = [&mut self.actor.id, &mut self.actor.team, &mut self.resource.id];
        texts.into_iter().flatten().for_each(|text| bound(text, MAX_TEXT));
        bound(&mut self.request_id, MAX_TEXT);
        bound_list(&mut self.policy_ids, MAX_POLICIES, CUT.to_owned());
        self.policy_ids.iter_mut().for_each(|id| bound(id, MAX_TEXT));
        if let Some(changes) = &mut self.changes {
            bound_list(changes, MAX_CHANGES, CUT.into());
            changes.iter_mut().for_each(|name| bound_name(name, MAX_FIELD));
        }
        self
    }
}

/// `text` with its end and what looks like a credential taken out, and no memory held for them.
pub(super) fn bound(text: &mut String, max: usize) {
    let cut = text.len() > max;
    if cut {
        text.truncate(text.floor_char_boundary(max));
    }
    if CREDENTIALS.iter().any(|begin| text.contains(begin)) {
        *text = conceal(text, cut);
    }
    if cut {
        text.push_str(CUT);
        text.shrink_to_fit();
    }
}

fn bound_name(name: &mut Cow<'static, str>, max: usize) {
    if let Cow::Owned(text) = name {
        bound(text, max);
    }
}

fn bound_list<T>(list: &mut Vec<T>, max: usize, last: T) {
    if list.len() > max {
        list.truncate(max);
        list.push(last);
        list.shrink_to_fit();
    }
}

/// `cut`: a credential at the end may have been longer.
fn conceal(text: &str, cut: bool) -> String {
    let in_credential = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c| !in_credential(c)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(length);
        match credential_in(run) {
            Some((at, begin))
                if run.len() - at >= CREDENTIAL_LENGTH || (cut && behind.is_empty()) =>
            {
                out.extend([&run[..at], begin, CUT]);
            }
            _ => out.push_str(run),
        }
        let mut chars = behind.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out
}

/// Where a credential may begin. Not within a word: `risk-assessment` holds no key.
fn credential_in(run: &str) -> Option<(usize, &'static str)> {
    let starts = |at: usize| !run[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
    let find = |begin| run.match_indices(begin).map(|(at, _)| at).find(|at| starts(*at));
    CREDENTIALS.into_iter().filter_map(|begin| Some((find(begin)?, begin))).min()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(status: &u16) -> bool {
    *status == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounded(text: &str) -> String {
        let mut text = text.to_owned();
        bound(&mut text, MAX_TEXT);
        text
    }

    #[test]
    fn credentials_are_taken_out_and_names_stay() {
        for (text, expected) in [
            ("sk-0123456789abcdef0123", "sk-…"),
            ("key sk-proj-0123456789abcdef!", "key sk-…!"),
            ("Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "Bearer eyJ…"),
            ("risk-assessment-of-the-agents", "risk-assessment-of-the-agents"),
            ("sk-telecom", "sk-telecom"),
            ("team_sk-0123456789abcdef", "team_sk-…"),
            ("gpt-4o-mini", "gpt-4o-mini"),
            ("0197c0de-0000-7000-8000-000000000000", "0197c0de-0000-7000-8000-000000000000"),
        ] {
            assert_eq!(bounded(text), expected);
        }
        // Half a key at the cut is part of a key.
        let text = format!("{} sk-01234567", "x".repeat(MAX_TEXT - 8));
        assert!(bounded(&text).ends_with(" sk-……"), "{}", bounded(&text));
    }

    #[test]
    fn an_event_of_any_size_becomes_a_small_one() {
        let huge = "ü\u{1}".repeat(1 << 12);
        let event = Event {
            actor: Actor {
                kind: huge.clone().into(),
                id: Some(huge.clone()),
                team: Some(huge.clone()),
                ip: Some(IpAddr::from([1, 2, 3, 4])),
            },
            resource: Resource { kind: huge.clone().into(), id: Some(huge.clone()) },
            policy_ids: vec![huge.clone(); 100],
            request_id: huge.clone(),
            changes: Some(vec![huge.clone().into(); 1000]),
            ..Event::new(0, Kind::PolicyRefusal, huge)
        };
        let event = event.bounded();
        assert_eq!(event.policy_ids.len(), MAX_POLICIES + 1);
        assert!(event.request_id.capacity() <= MAX_TEXT + CUT.len());
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.len() < super::super::line::MAX_LINE / 2, "{}", line.len());
    }

    proptest! {
        #[test]
        fn no_text_grows_and_none_shows_a_key(
            before in "\\PC{0,300}",
            key in "[A-Za-z0-9_-]{16,64}",
            after in "\\PC{0,20}",
        ) {
            let text = bounded(&format!("{before} sk-{key} {after}"));
            prop_assert!(text.len() <= MAX_TEXT + 2 * CUT.len() + 8);
            prop_assert!(!text.contains(&key), "{text}");
        }
    }
}
