//! Decisions as a whole: text of policies in, permits and refusals out.

mod against_cedar;

use std::net::{IpAddr, Ipv4Addr};

use uuid::Uuid;

use super::*;
use crate::caller::{Claim, KeyIdentity};

pub(super) fn facts() -> Facts {
    Facts {
        ip: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
        stream: false,
        estimated_tokens: 1000,
        estimated_cost: None,
        // Thursday, 2026-10-01 09:30:00 UTC.
        now_ms: 1_790_847_000_000,
    }
}

fn world() -> World {
    let target = |provider: &str, dialect: &str| Target {
        provider: provider.to_owned(),
        dialect: dialect.to_owned(),
    };
    World::default()
        .with_model("gpt-4o", &[target("openai", "openai"), target("azure", "openai")])
        .with_model("claude-sonnet", &[target("anthropic", "anthropic")])
        .with_tool("github", "search")
        .with_agent("planner")
}

pub(super) fn policies(text: &str) -> Policies {
    let source = Source { file: "test.cedar", text };
    Policies::parse(&[source], None).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn authorize(text: &str) -> Authorize {
    Authorize::new(policies(text), Mode::Enforce, "production", world(), 7)
}

fn user(name: &str) -> Bearer {
    Bearer { user: Some(name.to_owned()), ..Bearer::default() }
}

fn key(n: u128) -> KeyIdentity {
    KeyIdentity { id: Uuid::from_u128(n), alias: None }
}

fn chat(model: &str) -> Ask<'_> {
    Ask { action: Action::ChatCompletions, resource: Resource::Model(model), facts: facts() }
}

#[test]
fn nothing_is_permitted_unless_a_policy_permits_it() {
    let alice = Caller::new(CallerKind::Token, user("alice"));
    let refusal = authorize("").authorize(&alice, &chat("gpt-4o")).expect_err("refused");
    assert_eq!(refusal.denial.kind(), DenialKind::PolicyDenied);
    assert_eq!(refusal.denial.message(), "no policy permits this request");

    let some = authorize(
        "@id(\"alice may chat\")\npermit(principal == User::\"alice\", action in Action::\"infer\", resource);\n\
         @id(\"not by claude\")\nforbid(principal, action, resource in Provider::\"anthropic\");",
    );
    let permit = some.authorize(&alice, &chat("gpt-4o")).expect("permitted");
    let decision = permit.decision().expect("there are policies");
    assert_eq!(decision.policy_ids().collect::<Vec<_>>(), ["alice may chat"]);
    let refusal = some.authorize(&alice, &chat("claude-sonnet")).expect_err("refused");
    assert_eq!(refusal.denial.message(), "the policy `not by claude` forbids this request");
    let bob = Caller::new(CallerKind::Token, user("bob"));
    some.authorize(&bob, &chat("gpt-4o")).expect_err("nobody permits it to bob");
}
