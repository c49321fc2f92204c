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
    Ask::new(Action::ChatCompletions, Resource::Model(model), facts())
}

fn caller(kind: CallerKind, bearer: Bearer) -> Caller {
    Caller::new(kind, bearer)
}

fn alice() -> Caller {
    caller(CallerKind::Token, user("alice"))
}

/// The code and the message of a refusal, if it is one.
fn refusal(authorize: &Authorize, caller: &Caller, ask: &Ask<'_>) -> Option<(DenialKind, String)> {
    let refusal = authorize.authorize(caller, ask).err()?;
    Some((refusal.denial.kind(), refusal.denial.message().to_owned()))
}

fn may(authorize: &Authorize, caller: &Caller, ask: &Ask<'_>) -> bool {
    refusal(authorize, caller, ask).is_none()
}

/// A policy that permits everything on a condition.
fn when(condition: &str) -> String {
    format!("permit(principal, action, resource) when {{ {condition} }};")
}

#[test]
fn without_policies_the_lists_of_the_credential_decide_alone() {
    let open = Authorize::open();
    let permit = open.authorize(&alice(), &chat("gpt-4o")).expect("no list is against it");
    assert!(permit.decision().is_none() && permit.shadow_refusal().is_none());
    let some = Bearer { models: vec![vec!["o3".to_owned()]], ..user("alice") };
    let (kind, _) =
        refusal(&open, &caller(CallerKind::Key, some), &chat("gpt-4o")).expect("refused");
    assert_eq!(kind, DenialKind::ModelNotAllowed);
    let some = Bearer { routes: vec!["/messages".to_owned()], ..user("alice") };
    let (kind, _) =
        refusal(&open, &caller(CallerKind::Key, some), &chat("gpt-4o")).expect("refused");
    assert_eq!(kind, DenialKind::RouteNotAllowed);
}

#[test]
fn no_policy_and_no_mode_allows_what_the_credential_does_not() {
    let some = Bearer { models: vec![vec!["o3".to_owned()]], ..user("alice") };
    let caller = caller(CallerKind::Key, some);
    for mode in [Mode::Enforce, Mode::Shadow] {
        let all = Authorize::new(policies(&when("true")), mode, "production", world(), 1);
        let refusal = all.authorize(&caller, &chat("gpt-4o")).expect_err("refused");
        assert_eq!(refusal.denial.kind(), DenialKind::ModelNotAllowed);
        assert_eq!(refusal.decision, None, "no policy was asked");
    }
}

#[test]
fn nothing_is_permitted_unless_a_policy_permits_it() {
    let none = authorize("");
    let (kind, message) = refusal(&none, &alice(), &chat("gpt-4o")).expect("refused");
    assert_eq!((kind, &*message), (DenialKind::PolicyDenied, "no policy permits this request"));

    let some = authorize(
        "@id(\"alice may chat\")\n\
         permit(principal == User::\"alice\", action in Action::\"infer\", resource);\n\
         @id(\"not by claude\")\n\
         forbid(principal, action, resource in Provider::\"anthropic\");",
    );
    let permit = some.authorize(&alice(), &chat("gpt-4o")).expect("permitted");
    let decision = permit.decision().expect("there are policies");
    assert_eq!(decision.policy_ids().collect::<Vec<_>>(), ["alice may chat"]);
    assert_eq!(decision.generation, 7);
    let (_, message) = refusal(&some, &alice(), &chat("claude-sonnet")).expect("refused");
    assert_eq!(message, "the policy `not by claude` forbids this request");
    let bob = caller(CallerKind::Token, user("bob"));
    assert!(!may(&some, &bob, &chat("gpt-4o")), "nobody permits it to bob");
}

#[test]
fn a_policy_that_fails_refuses_and_says_only_its_name() {
    let text = "@id(\"sum\") forbid(principal, action, resource) when {\n\
                principal.roles.contains(\"secret-role\") && 9223372036854775807 + 1 > 0 };\n"
        .to_owned()
        + &when("true");
    let some = authorize(&text);
    assert!(may(&some, &alice(), &chat("gpt-4o")), "it does not fail for alice");
    let bearer = Bearer { roles: vec!["secret-role".to_owned()], ..user("bob") };
    let bob = caller(CallerKind::Token, bearer);
    let refusal = some.authorize(&bob, &chat("gpt-4o")).expect_err("refused");
    assert_eq!(refusal.denial.message(), "a policy could not be evaluated for this request");
    let detail = refusal.denial.detail().expect("for the log");
    assert!(detail.contains("could not be evaluated: sum"), "{detail}");
    assert!(!format!("{}{detail}", refusal.denial).contains("secret-role"));
    let decision = refusal.decision.expect("by policies");
    assert!(decision.errors[0].message.contains("overflow"), "{decision:?}");
}

#[test]
fn in_shadow_mode_a_refusal_is_a_permit_that_says_so() {
    let text = "@id(\"never\") forbid(principal, action, resource in Provider::\"anthropic\");"
        .to_owned()
        + &when("true");
    let shadow = Authorize::new(policies(&text), Mode::Shadow, "production", world(), 1);
    let permit = shadow.authorize(&alice(), &chat("gpt-4o")).expect("permitted");
    assert!(permit.shadow_refusal().is_none());
    let permit = shadow.authorize(&alice(), &chat("claude-sonnet")).expect("permitted");
    let refused = permit.shadow_refusal().expect("it would have been refused");
    assert_eq!(refused.policy_ids().collect::<Vec<_>>(), ["never"]);
}

#[test]
fn a_caller_is_the_principal_that_their_credential_names() {
    let key_only = Bearer { key: Some(key(1)), ..Bearer::default() };
    let key_of_user = Bearer { user: Some("alice".to_owned()), ..key_only.clone() };
    let id = "00000000-0000-0000-0000-000000000001";
    for (caller, principal, kind) in [
        (caller(CallerKind::Anonymous, Bearer::default()), "User::\"anonymous\"", "anonymous"),
        (caller(CallerKind::Master, Bearer::default()), "User::\"master\"", "master"),
        (alice(), "User::\"alice\"", "token"),
        (caller(CallerKind::Key, key_of_user), "User::\"alice\"", "key"),
        (caller(CallerKind::Key, key_only), &*format!("Key::\"{id}\""), "key"),
    ] {
        let text = format!(
            "permit(principal == {principal}, action, resource) when {{ principal.kind == \"{kind}\" }};"
        );
        assert!(may(&authorize(&text), &caller, &chat("gpt-4o")), "{caller:?} is not {principal}");
        let explanation = authorize(&text).explain(&caller, &chat("gpt-4o"));
        assert_eq!(explanation.question.expect("one").principal, principal);
    }
}

#[test]
fn the_master_key_is_subject_to_policies_as_a_proxy_admin() {
    let master = caller(CallerKind::Master, Bearer::default());
    assert!(!may(&authorize(""), &master, &chat("gpt-4o")));
    let admins = authorize("permit(principal in Role::\"proxy_admin\", action, resource);");
    assert!(may(&admins, &master, &chat("gpt-4o")));
    assert!(!may(&admins, &alice(), &chat("gpt-4o")));
}

#[test]
fn nobody_can_take_a_name_of_the_gateway_or_have_none() {
    let all = authorize(&when("true"));
    for bearer in [user("master"), user("anonymous"), user(""), Bearer::default()] {
        for kind in [CallerKind::Token, CallerKind::Key] {
            let caller = caller(kind, bearer.clone());
            let refusal = all.authorize(&caller, &chat("gpt-4o")).expect_err("refused");
            assert_eq!(refusal.denial.kind(), DenialKind::PolicyDenied);
            let failure = refusal.decision.and_then(|decision| decision.failure.clone());
            assert!(failure.is_some_and(|it| it.contains("credential names")), "{bearer:?}");
        }
    }
}

#[test]
fn all_that_a_credential_says_can_be_asked_for() {
    let claims = [
        ("department", Claim::Texts(vec!["research".to_owned(), "law".to_owned()])),
        ("level", Claim::Number(3)),
        ("staff", Claim::Flag(true)),
        ("office", Claim::Text("Oslo".to_owned())),
    ];
    let bearer = Bearer {
        key: Some(key(1)),
        team: Some("red".to_owned()),
        organization: Some("acme".to_owned()),
        roles: vec!["reader".to_owned()],
        tags: vec!["batch".to_owned()],
        claims: claims.map(|(name, claim)| (name.to_owned(), claim)).into(),
        ..user("alice")
    };
    let caller = caller(CallerKind::Key, bearer);
    for holds in [
        "principal in Team::\"red\" && principal in Organization::\"acme\"",
        "principal in Role::\"reader\" && principal.roles == [\"reader\"]",
        "principal has team && principal.team in Organization::\"acme\"",
        "principal has key && principal.key == Key::\"00000000-0000-0000-0000-000000000001\"",
        "principal.id == \"alice\" && principal.tags.contains(\"batch\")",
        "principal.hasTag(\"department\") && principal.getTag(\"department\").contains(\"law\")",
        "principal.hasTag(\"level\") && principal.getTag(\"level\") == [\"3\"]",
        "principal.hasTag(\"staff\") && principal.getTag(\"staff\") == [\"true\"]",
        "principal.hasTag(\"office\") && principal.getTag(\"office\") == [\"Oslo\"]",
        "resource.name == \"gpt-4o\" && resource.providers == [\"openai\", \"azure\"]",
        "resource.dialects == [\"openai\"] && resource in Provider::\"azure\"",
        "context.environment == \"production\"",
    ] {
        let inference =
            format!("permit(principal, action in Action::\"infer\", resource) when {{ {holds} }};");
        assert!(may(&authorize(&inference), &caller, &chat("gpt-4o")), "{holds}");
        assert!(!may(&authorize(&inference.replace("when", "unless")), &caller, &chat("gpt-4o")));
    }
}

#[test]
fn tools_and_agents_are_resources_too() {
    let some = authorize(
        "permit(principal == User::\"alice\", action == Action::\"call_tool\", resource == Tool::\"search\")\n\
         when { resource in Server::\"github\" };\n\
         permit(principal, action == Action::\"invoke_agent\", resource == Agent::\"planner\");",
    );
    let ask = |action, resource| Ask::new(action, resource, facts());
    let tool = |server, name| ask(Action::CallTool, Resource::Tool { server, name });
    assert!(may(&some, &alice(), &tool("github", "search")));
    assert!(!may(&some, &alice(), &tool("github", "delete")));
    assert!(!may(&some, &alice(), &tool("elsewhere", "search")), "a tool of the same name");
    assert!(may(&some, &alice(), &ask(Action::InvokeAgent, Resource::Agent("planner"))));
    assert!(!may(&some, &alice(), &ask(Action::InvokeAgent, Resource::Agent("other"))));
}

#[test]
fn a_tool_of_the_same_name_on_another_server_is_another_resource_also_when_kept() {
    let text = "permit(principal, action, resource in Server::\"b\");";
    let world = World::default().with_tool("a", "search").with_tool("b", "search");
    let some = Authorize::new(policies(text), Mode::Enforce, "production", world, 1);
    let alice = alice();
    for _ in 0..2 {
        for (server, allowed) in [("a", false), ("b", true)] {
            let resource = Resource::Tool { server, name: "search" };
            let ask = Ask::new(Action::CallTool, resource, facts());
            assert_eq!(may(&some, &alice, &ask), allowed, "{server}");
        }
    }
}

#[test]
fn the_arguments_of_a_call_are_asked_for_as_tags() {
    let some = authorize(
        "permit(principal, action == Action::\"call_tool\", resource == Tool::\"search\")\n\
         when { context.arguments.hasTag(\"filter.owner\") }\n\
         when { [\"acme\", \"acme-labs\"].containsAll(context.arguments.getTag(\"filter.owner\")) };",
    );
    let resource = Resource::Tool { server: "github", name: "search" };
    let alice = alice();
    let call = |arguments: Option<&serde_json::Value>| {
        let ask = Ask { arguments, ..Ask::new(Action::CallTool, resource, facts()) };
        (may(&some, &alice, &ask), some.explain(&alice, &ask).decision.expect("one"))
    };
    for (arguments, allowed) in [
        (serde_json::json!({"filter": {"owner": "acme"}}), true),
        (serde_json::json!({"filter": {"owner": ["acme", "acme-labs"]}, "page": 3}), true),
        (serde_json::json!({"filter": {"owner": ["acme", "other"]}}), false),
        (serde_json::json!({"filter": {"owner": "other"}}), false),
        (serde_json::json!({"owner": "acme"}), false),
        (serde_json::json!({}), false),
    ] {
        let (may, decision) = call(Some(&arguments));
        assert_eq!((may, &decision.failure), (allowed, &None), "{arguments}");
    }
    assert!(!call(None).0);
    for hostile in [
        serde_json::json!({"filter.owner": "acme", "filter": {"owner": "other"}}),
        serde_json::json!(["acme"]),
        serde_json::json!({"filter": {"owner": "acme"}, "more": vec![1; 5000]}),
    ] {
        let (may, decision) = call(Some(&hostile));
        assert!(!may && decision.failure.is_some(), "{hostile}");
    }
}

#[test]
fn an_answer_that_is_the_same_for_every_request_is_kept() {
    let some = authorize(&when("context.environment == \"production\""));
    let alice = alice();
    let first = some.explain(&alice, &chat("gpt-4o"));
    assert!(!first.cached && !first.depends_on_request);
    let second = some.explain(&alice, &chat("gpt-4o"));
    assert!(second.cached);
    let (first, second) = (first.decision.expect("one"), second.decision.expect("one"));
    assert!(Arc::ptr_eq(&first, &second), "no new one was made");
    assert!(!some.explain(&alice, &chat("claude-sonnet")).cached, "another model");
    let messages = Ask { action: Action::Messages, ..chat("gpt-4o") };
    assert!(!some.explain(&alice, &messages).cached, "another action");
    for _ in 0..2 {
        assert!(!some.explain(&alice, &chat("not configured")).cached);
    }
}

#[test]
fn what_a_policy_asks_of_the_request_is_asked_of_each() {
    let some = authorize(
        "permit(principal, action, resource) when { context.ip.isInRange(ip(\"10.0.0.0/8\")) };\n\
         permit(principal == User::\"bob\", action, resource);",
    );
    let from = |ip: &str| {
        let facts = Facts { ip: ip.parse().expect("an address"), ..facts() };
        Ask { facts, ..chat("gpt-4o") }
    };
    let (alice, bob) = (alice(), caller(CallerKind::Token, user("bob")));
    for _ in 0..2 {
        assert!(may(&some, &alice, &from("10.1.1.1")));
        assert!(!may(&some, &alice, &from("11.1.1.1")));
        assert!(may(&some, &alice, &from("::ffff:10.1.1.1")), "it is an IPv4 address");
        assert!(may(&some, &bob, &from("11.1.1.1")));
    }
    let explanation = some.explain(&alice, &from("11.1.1.1"));
    assert!(explanation.depends_on_request && !explanation.cached && !explanation.allowed);
}

#[test]
fn new_policies_are_asked_at_once_and_old_ones_do_not_come_back() {
    let alice = alice();
    let version = |generation: u64, text: &str| {
        Authorize::new(policies(text), Mode::Enforce, "production", world(), generation)
    };
    let (old, new) = (version(1, &when("true")), version(2, ""));
    assert!(may(&old, &alice, &chat("gpt-4o")));
    assert!(!may(&new, &alice, &chat("gpt-4o")));
    assert!(may(&old, &alice, &chat("gpt-4o")), "a request of before the reload");
    assert!(new.explain(&alice, &chat("gpt-4o")).cached, "which drives nothing out");
    assert!(!old.explain(&alice, &chat("gpt-4o")).cached);
}

#[test]
fn more_models_than_slots_are_answered_for_all_the_same() {
    let names: Vec<_> = (0..1500).map(|n| format!("model-{n}")).collect();
    let world = names.iter().fold(World::default(), |world, name| world.with_model(name, &[]));
    let text = "permit(principal, action, resource) when { resource.name like \"*7\" };"
        .replace("resource)", "resource is Model)");
    let some = Authorize::new(policies(&text), Mode::Enforce, "production", world, 1);
    let alice = alice();
    for _ in 0..2 {
        for name in &names {
            assert_eq!(may(&some, &alice, &chat(name)), name.ends_with('7'), "{name}");
        }
    }
}

#[test]
fn requests_at_once_get_the_answers_they_would_get_alone() {
    let some = authorize("permit(principal, action, resource in Provider::\"openai\");");
    let alice = alice();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    assert!(may(&some, &alice, &chat("gpt-4o")));
                    assert!(!may(&some, &alice, &chat("claude-sonnet")));
                    assert!(!may(&some, &alice, &chat("not configured")));
                }
            });
        }
    });
}

#[test]
fn an_explanation_says_all_there_is_to_say() {
    let text = "@id(\"staff\") @description(\"staff may use everything\")\n\
                permit(principal in Role::\"staff\", action, resource);";
    let bearer = Bearer { roles: vec!["staff".to_owned()], ..user("alice") };
    let explanation = authorize(text).explain_for(CallerKind::Token, bearer, &chat("gpt-4o"));
    let shown = serde_json::to_value(&explanation).expect("serializable");
    let version = shown["decision"]["version"].clone();
    assert_eq!(
        shown,
        serde_json::json!({
            "outcome": "allow",
            "mode": "enforce",
            "question": {
                "principal": "User::\"alice\"",
                "action": "Action::\"chat_completions\"",
                "resource": "Model::\"gpt-4o\"",
            },
            "decision": {
                "allowed": true,
                "policies": [{
                    "id": "staff",
                    "description": "staff may use everything",
                    "effect": "permit",
                    "file": "test.cedar",
                    "line": 1,
                }],
                "errors": [],
                "generation": 7,
                "version": version,
            },
            "depends_on_request": false,
            "cached": false,
        })
    );
}

#[test]
fn names_of_any_kind_are_only_names() {
    let name = "\" || true); permit(principal, action, resource); \u{202e}\\\n";
    let some = authorize("permit(principal == User::\"alice\", action, resource);");
    let hostile = Bearer {
        team: Some(name.to_owned()),
        roles: vec![name.to_owned(); 3],
        tags: vec![name.to_owned()],
        claims: [(name.to_owned(), Claim::Text(name.to_owned()))].into(),
        ..user(name)
    };
    let caller = caller(CallerKind::Token, hostile);
    assert!(!may(&some, &caller, &chat("gpt-4o")));
    assert!(!may(&some, &caller, &chat(name)));
    assert!(may(&some, &alice(), &chat(name)));
}
