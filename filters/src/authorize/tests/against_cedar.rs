//! Decisions made of parts and kept ones are those that Cedar makes of the whole at once.

use std::collections::BTreeSet;

use cedar_policy::{AuthorizationError, Authorizer, Entities, PolicySet, Request};
use proptest::prelude::*;
use proptest::sample::select;

use super::super::context::context;
use super::super::uses::Uses;
use super::*;

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal == User::\"alice\"",
    "principal == User::\"master\"",
    "principal == Key::\"00000000-0000-0000-0000-000000000001\"",
    "principal in Team::\"red\"",
    "principal in Role::\"reader\"",
    "principal in Role::\"proxy_admin\"",
    "principal in Organization::\"acme\"",
    "principal in User::\"alice\"",
    "principal is User",
    "principal is Key",
    "principal is User in Team::\"red\"",
    "principal is Key in Organization::\"acme\"",
];

const ACTIONS: &[&str] = &[
    "action",
    "action == Action::\"chat_completions\"",
    "action == Action::\"any\"",
    "action in Action::\"infer\"",
    "action in Action::\"any\"",
    "action in Action::\"call_tool\"",
    "action in [Action::\"list_models\", Action::\"call_tool\"]",
    "action in [Action::\"infer\", Action::\"invoke_agent\"]",
];

const RESOURCES: &[&str] = &[
    "resource",
    "resource == Model::\"gpt-4o\"",
    "resource == Tool::\"search\"",
    "resource in Provider::\"openai\"",
    "resource in Model::\"gpt-4o\"",
    "resource in Server::\"github\"",
    "resource is Model",
    "resource is Agent",
    "resource is Tool in Server::\"github\"",
    "resource is Model in Provider::\"anthropic\"",
];

const CONDITIONS: &[&str] = &[
    "true",
    "principal.kind == \"token\"",
    "principal.roles.contains(\"reader\")",
    "principal.tags.containsAny([\"a\", \"b\"])",
    "principal has team && principal.team in Organization::\"acme\"",
    "principal has organization && principal in principal.organization",
    "principal has key && principal.key.kind == \"key\" && principal.key.tags.contains(\"a\")",
    "principal.hasTag(\"level\") && principal.getTag(\"level\").contains(\"3\")",
    "principal.hasTag(context.environment)",
    "resource is Model && resource.providers.contains(\"azure\")",
    "resource is Tool && resource.server == Server::\"github\"",
    "resource is Agent && resource.name like \"pl*\"",
    "action in Action::\"infer\"",
    "action == Action::\"list_models\" || resource is Tool",
    "context.environment == \"production\"",
    "context has environment",
    "context.ip.isInRange(ip(\"10.0.0.0/8\"))",
    "context.hour < 12",
    "context.weekday == 4 || context.hour == 0",
    "context.time > datetime(\"2026-10-01T09:00:00Z\")",
    "context has stream && context.stream",
    "context has estimated_tokens && context.estimated_tokens > 500",
    "context has estimated_cost && context.estimated_cost > 500",
    "if context.hour > 5 then principal is User else resource is Model",
    "[context.hour, 3].contains(9)",
    "{\"it\": context}.it.environment == \"production\"",
    "{\"it\": context.hour}.it == 9",
    "context == context",
    "context has arguments && context.arguments.hasTag(\"a\")",
    // These fail when they are evaluated.
    "9223372036854775807 + context.hour > 0",
    "principal.kind == \"key\" && 9223372036854775807 + 1 > 0",
    "resource is Tool || -9223372036854775807 - 2 < 0",
];

const ASKED: &[(Action, Resource<'static>)] = &[
    (Action::ChatCompletions, Resource::Model("gpt-4o")),
    (Action::ChatCompletions, Resource::Model("claude-sonnet")),
    (Action::ChatCompletions, Resource::Model("not configured")),
    (Action::Messages, Resource::Model("gpt-4o")),
    (Action::ListModels, Resource::Model("gpt-4o")),
    (Action::ListModels, Resource::Model("claude-sonnet")),
    (Action::CallTool, Resource::Tool { server: "github", name: "search" }),
    (Action::ListTools, Resource::Tool { server: "github", name: "search" }),
    (Action::CallTool, Resource::Tool { server: "github", name: "not configured" }),
    (Action::InvokeAgent, Resource::Agent("planner")),
];

fn callers() -> Vec<Caller> {
    let full = Bearer {
        key: Some(key(1)),
        user: Some("alice".to_owned()),
        team: Some("red".to_owned()),
        organization: Some("acme".to_owned()),
        roles: vec!["reader".to_owned(), "writer".to_owned()],
        tags: vec!["a".to_owned()],
        claims: [("level".to_owned(), Claim::Number(3))].into(),
        ..Bearer::default()
    };
    let bare = Bearer { key: Some(key(1)), ..Bearer::default() };
    vec![
        Caller::new(CallerKind::Anonymous, Bearer::default()),
        Caller::new(CallerKind::Master, Bearer::default()),
        Caller::new(CallerKind::Token, user("alice")),
        Caller::new(CallerKind::Token, Bearer { key: None, ..full.clone() }),
        Caller::new(CallerKind::Token, Bearer { organization: None, key: None, ..full.clone() }),
        Caller::new(CallerKind::Key, bare.clone()),
        Caller::new(CallerKind::Key, Bearer { user: Some("bob".to_owned()), ..bare }),
        Caller::new(CallerKind::Key, Bearer { user: None, ..full.clone() }),
        Caller::new(CallerKind::Key, full),
    ]
}

/// The text of a policy.
fn policy() -> impl Strategy<Value = String> {
    let clause = (prop_oneof![Just("when"), Just("unless")], select(CONDITIONS));
    let clauses = proptest::collection::vec(clause, 0..3);
    let scope = (select(PRINCIPALS), select(ACTIONS), select(RESOURCES));
    let effect = prop_oneof![3 => Just("permit"), 1 => Just("forbid")];
    (effect, scope, clauses).prop_map(|(effect, (principal, action, resource), clauses)| {
        let head = format!("{effect}({principal}, {action}, {resource})");
        clauses.iter().fold(head, |text, (word, is)| format!("{text} {word} {{ {is} }}")) + ";\n"
    })
}

fn some_facts() -> impl Strategy<Value = Facts> {
    let ip = select(&["10.9.8.7", "192.0.2.1", "::ffff:10.0.0.1", "2001:db8::1"][..]);
    let now = select(&[0, 1_790_847_000_000, 1_790_899_999_999, -1][..]);
    (ip, any::<bool>(), 0..1000u64, proptest::option::of(0..1000u64), now).prop_map(
        |(ip, stream, estimated_tokens, estimated_cost, now_ms)| Facts {
            ip: ip.parse().expect("an address"),
            stream,
            estimated_tokens,
            estimated_cost,
            now_ms,
        },
    )
}

/// Allowed or not, the policies that made it so, and those that failed.
type Outcome = (bool, BTreeSet<String>, BTreeSet<String>);

fn ours(authorize: &Authorize, caller: &Caller, ask: &Ask<'_>) -> Outcome {
    let (allowed, decision) = match authorize.authorize(caller, ask) {
        Ok(permit) => (true, permit.decision().cloned()),
        Err(refusal) => (false, refusal.decision),
    };
    let decision = decision.expect("there are policies");
    assert_eq!(decision.failure, None);
    let policies = decision.policy_ids().map(str::to_owned).collect();
    let errors = decision.errors.iter().map(|error| error.policy.id.clone()).collect();
    (allowed, policies, errors)
}

/// Asks Cedar itself: all policies, all entities there are, all that is known of the request.
fn cedars(text: &str, caller: &Caller, ask: &Ask<'_>) -> Outcome {
    let schema = schema::built_in();
    let set: PolicySet = text.parse().expect("valid policies");
    let principal = entities::principal(caller).expect("a principal");
    let mut world = world();
    let mut all = world.take_all();
    let resource = world.find(ask.resource).map(|number| all[number].0.uid.clone());
    let resource = resource.unwrap_or_else(|| {
        let (place, around) = entities::resource(ask.resource, &[]);
        let uid = place.uid.clone();
        all.push((place, around));
        uid
    });
    all.push((principal.clone(), entities::around(&principal, caller)));
    let mut all: Vec<_> = all.into_iter().flat_map(|(_, around)| around).collect();
    let tags = arguments::tags(ask.arguments).expect("no hostile ones");
    all.push(entities::arguments(tags));
    all.sort_by_key(cedar_policy::Entity::uid);
    all.dedup_by_key(|entity| entity.uid());
    let entities = Entities::from_entities(all, Some(&schema)).expect("by the schema");
    let context = context("production", ask.action, &ask.facts, Uses::ALL).expect("a context");
    let action = entities::action(ask.action);
    let request = Request::new(principal.uid, action, resource, context, Some(&schema));
    let request = request.expect("by the schema");
    let response = Authorizer::new().is_authorized(&request, &set, &entities);
    let name =
        |id: &cedar_policy::PolicyId| set.annotation(id, "id").expect("each has one").to_owned();
    let errors: BTreeSet<_> = response
        .diagnostics()
        .errors()
        .map(|AuthorizationError::PolicyEvaluationError(error)| name(error.policy_id()))
        .collect();
    let allowed = response.decision() == cedar_policy::Decision::Allow && errors.is_empty();
    (allowed, response.diagnostics().reason().map(name).collect(), errors)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each caller is asked about again and again, so that most answers are kept ones.
    #[test]
    fn every_decision_is_the_one_that_cedar_makes(
        policies in proptest::collection::vec(policy(), 0..14),
        asks in proptest::collection::vec(
            (0..9usize, select(ASKED), some_facts()), 1..25,
        ),
    ) {
        let numbered = policies.iter().enumerate();
        let text: String =
            numbered.map(|(n, policy)| format!("@id(\"{n}\") {policy}")).collect();
        let authorize = authorize(&text);
        let callers = callers();
        for (caller, (action, resource), facts) in asks {
            let (caller, ask) = (&callers[caller], Ask::new(action, resource, facts));
            prop_assert_eq!(
                ours(&authorize, caller, &ask),
                cedars(&text, caller, &ask),
                "{:?} {:?} of\n{}", caller, ask, text
            );
        }
    }
}
