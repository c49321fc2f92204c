//! What was decided, and by what.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::denial::{Denial, DenialKind};

/// What the policies said to one question. Shared by all requests to which it is the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Whether the policies permit. In [`Mode::Shadow`] that has no effect.
    pub allowed: bool,
    /// The policies that made the decision: those that forbid, else those that permit. Empty where
    /// none applied, which is a refusal.
    pub policies: Vec<Arc<PolicyInfo>>,
    /// Policies that could not be evaluated. One is enough to refuse.
    pub errors: Vec<EvaluationError>,
    /// Why the policies could not even be asked. Then the request is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The configuration generation whose policies these are.
    pub generation: u64,
    /// The policies' version: a digest of their text, the same on every instance.
    pub version: Arc<str>,
}

/// A policy, as a person knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyInfo {
    /// Its `@id`, or its file and line.
    pub id: String,
    /// Its `@description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub effect: Effect,
    pub file: String,
    /// From 1.
    pub line: usize,
}

/// What a policy does where it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    Permit,
    Forbid,
}

/// A policy that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvaluationError {
    pub policy: Arc<PolicyInfo>,
    /// In Cedar's words. They can hold what the policy looked at, so this is for administrators.
    pub message: String,
}

/// Whether policies refuse, or only say what they would refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What is not permitted is refused.
    #[default]
    Enforce,
    /// Nothing is refused by a policy. A [`Permit`] says what would have been.
    Shadow,
}

/// The proof that a caller may do what they asked for. What needs one takes it as an argument;
/// only [`Authorize`](super::Authorize) can make it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Permit {
    basis: Option<Arc<Decision>>,
}

impl Permit {
    /// A permit by the credential's own lists, where there are no policies.
    pub(super) fn by_lists() -> Self {
        Self { basis: None }
    }

    /// A permit by policies, or in spite of them in shadow mode.
    pub(super) fn by_policies(decision: Arc<Decision>) -> Self {
        Self { basis: Some(decision) }
    }

    /// What the policies said, where there are any.
    pub fn decision(&self) -> Option<&Arc<Decision>> {
        self.basis.as_ref()
    }

    /// In shadow mode, the decision by which this request would have been refused.
    pub fn shadow_refusal(&self) -> Option<&Arc<Decision>> {
        self.basis.as_ref().filter(|decision| !decision.allowed)
    }
}

/// A refusal: what the caller is told, and what the audit log is.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub denial: Denial,
    /// What the policies said. Absent where the credential's own lists refused before them.
    pub decision: Option<Arc<Decision>>,
}

impl Refusal {
    /// The refusal that a decision amounts to. It names the policies, and nothing that they looked at.
    pub(super) fn by_policies(decision: Arc<Decision>) -> Self {
        let (message, detail) = decision.words();
        let denial = Denial::new(DenialKind::PolicyDenied, message).with_detail(detail);
        Self { denial, decision: Some(decision) }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self { denial, decision: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.denial.fmt(f)
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.denial)
    }
}

impl Decision {
    /// The ids of the policies that made it.
    pub fn policy_ids(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.id.as_str())
    }

    /// For the caller, and for the log.
    fn words(&self) -> (String, String) {
        let broken: Vec<_> = self.errors.iter().map(|error| error.policy.id.as_str()).collect();
        let detail = if broken.is_empty() {
            format!("policies {}", self.version)
        } else {
            format!("policies {}; could not be evaluated: {}", self.version, broken.join(", "))
        };
        let forbids: Vec<_> = self
            .policies
            .iter()
            .filter(|policy| policy.effect == Effect::Forbid)
            .map(|policy| policy.id.as_str())
            .collect();
        if let Some(failure) = &self.failure {
            return ("the policies could not be asked".to_owned(), format!("{detail}; {failure}"));
        }
        let message = match (&*forbids, &*broken) {
            ([], []) => "no policy permits this request".to_owned(),
            ([], _) => "a policy could not be evaluated for this request".to_owned(),
            ([one], _) => format!("the policy `{one}` forbids this request"),
            (several, _) => format!("the policies `{}` forbid this request", several.join("`, `")),
        };
        (message, detail)
    }
}

/// Why a question is answered as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Whether the caller may. In [`Mode::Shadow`] policies do not count for it.
    #[serde(serialize_with = "allow_or_deny", rename = "outcome")]
    pub allowed: bool,
    pub mode: Mode,
    /// The question, in Cedar's words; absent where there are no policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// What the credential's own lists have against it. They are asked before the policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_by_credential: Option<String>,
    /// What the policies say; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Arc<Decision>>,
    /// Whether the answer can differ from one request of this caller to the next, because a policy
    /// that applies looks at the request itself.
    pub depends_on_request: bool,
    /// Whether the answer was there already.
    pub cached: bool,
}

/// A question in Cedar's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Question {
    pub principal: String,
    pub action: String,
    pub resource: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn allow_or_deny<S: Serializer>(allowed: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *allowed { "allow" } else { "deny" })
}
