//! Any text as policies: it is read, or every problem has a place in it; what was read decides without
//! a panic, and in the same way again.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use sluicegate_filters::authorize::{
    Action, Ask, Authorize, Facts, Mode, Policies, Resource, ResourceKind, Source, World,
};
use sluicegate_filters::caller::{Bearer, CallerKind};

fuzz_target!(|text: &str| {
    let policies = match Policies::parse(&[Source { file: "fuzz.cedar", text }], None) {
        Ok(policies) => policies,
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!((1..=text.lines().count() + 1).contains(&problem.line), "{problem}");
                assert!(problem.column >= 1 && !problem.to_string().contains('\n'), "{problem}");
            }
            return;
        }
    };
    let world = World::default().with_model("m", &[]).with_tool("s", "t").with_agent("a");
    let authorize = Authorize::new(policies, Mode::Enforce, "production", world, 1);
    let arguments = serde_json::json!({"a": {"b": ["c", 1]}});
    for &action in Action::ALL {
        let resource = match action.resource_kind() {
            ResourceKind::Model => Resource::Model("m"),
            ResourceKind::Tool => Resource::Tool { server: "s", name: "t" },
            ResourceKind::Agent => Resource::Agent("a"),
        };
        let facts = Facts {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            stream: true,
            estimated_tokens: 1,
            estimated_cost: None,
            now_ms: 0,
        };
        let ask = Ask { arguments: Some(&arguments), ..Ask::new(action, resource, facts) };
        let bearer = Bearer {
            user: Some("alice".to_owned()),
            team: Some("red".to_owned()),
            roles: vec!["member".to_owned()],
            ..Bearer::default()
        };
        let explain = || authorize.explain_for(CallerKind::Token, bearer.clone(), &ask);
        assert_eq!(explain().decision, explain().decision);
    }
});
