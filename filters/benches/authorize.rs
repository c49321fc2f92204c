//! What a decision costs, with a hundred policies.
//!
//! "kept" is a question whose answer is there already, "asked" one for a model that is not configured,
//! whose answer is never kept. Of the hundred policies, those in whose scope the caller is are counted
//! in the name.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use sluicegate_filters::Caller;
use sluicegate_filters::authorize::{
    Action, Ask, Authorize, Facts, Mode, Policies, Resource, Source, Target, World,
};
use sluicegate_filters::identify::{Accepts, Identify, Presented};

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEY: &str = "sk-0123456789abcdef0123456789abcdef0123456789abcdef";
const BEARER: &str = "Bearer sk-0123456789abcdef0123456789abcdef0123456789abcdef";

/// The holder of the master key: `User::"master"` with the role `proxy_admin`.
fn caller() -> Arc<Caller> {
    let identify = Identify::new(false, Some(KEY), Accepts::default()).expect("a usable key");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(BEARER))]);
    match identify.identify(&headers).expect("the key") {
        Presented::Caller(caller) => caller,
        Presented::Credential(_) => panic!("this is the master key"),
    }
}

/// A hundred policies, of which `matching` have a scope that lets the caller in.
fn policies(matching: usize, condition: &str) -> String {
    let mut text = String::new();
    for n in 0..100 {
        let (role, effect) = if n < matching {
            ("proxy_admin".to_owned(), "permit")
        } else {
            (format!("role-{n}"), if n % 10 == 0 { "forbid" } else { "permit" })
        };
        text += &format!(
            "@id(\"policy-{n}\")\n{effect}(principal in Role::\"{role}\", \
             action in Action::\"infer\", resource is Model)\n\
             when {{ principal.tags.contains(\"tag-{n}\") || resource.providers.contains(\"openai\") }}\n\
             {condition};\n"
        );
    }
    text
}

fn authorize(text: &str) -> Authorize {
    let source = Source { file: "bench.cedar", text };
    let policies = Policies::parse(&[source], None).expect("valid policies");
    let target = Target { provider: "openai".to_owned(), dialect: "openai".to_owned() };
    let world = (0..50).fold(World::default(), |world, n| {
        world.with_model(&format!("model-{n}"), std::slice::from_ref(&target))
    });
    Authorize::new(policies, Mode::Shadow, "production", world, 1)
}

fn ask(model: &str) -> Ask<'_> {
    let facts = Facts {
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        stream: true,
        estimated_tokens: 2000,
        estimated_cost: Some(3_000_000),
        now_ms: 1_790_847_000_000,
    };
    Ask::new(Action::ChatCompletions, Resource::Model(model), facts)
}

fn decisions(c: &mut Criterion) {
    let caller = caller();
    let mut group = c.benchmark_group("authorize");
    let mut measure = |name: &str, authorize: &Authorize, model: &str| {
        group.bench_function(name, |b| {
            b.iter(|| authorize.authorize(black_box(&caller), &ask(black_box(model))));
        });
    };
    measure("no policies", &Authorize::open(), "model-7");
    for matching in [10, 30, 100] {
        let fixed = authorize(&policies(matching, ""));
        measure(&format!("kept, {matching} in scope"), &fixed, "model-7");
        measure(&format!("asked, {matching} in scope"), &fixed, "model-none");
        for (name, condition) in [
            ("tokens", "unless { context.estimated_tokens > 100000 }"),
            ("address", "when { context.ip.isInRange(ip(\"127.0.0.0/8\")) }"),
            ("time", "when { context.time > datetime(\"2026-01-01\") }"),
        ] {
            let open = authorize(&policies(matching, condition));
            let name = format!("asked of the {name}, {matching} in scope");
            measure(&format!("{name}, configured"), &open, "model-7");
            measure(&name, &open, "model-none");
        }
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
