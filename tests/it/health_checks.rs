//! Providers that are asked whether they are well.
//!
//! Several threads: the simulated provider must answer while a test waits for a line of the log.

use serde_json::{Value, json};
use sluicegate_simulator::{Options, Simulator};

use crate::support::{Config, Gateway, chat, provider, soon};

const OFTEN: &str = "interval: 100ms, unhealthy_after: 2, healthy_after: 2";

/// Two providers, `sim` with this `health_check`, and `other` with that one.
fn config(sim: &Simulator, other: &Simulator, checks: [&str; 2], models: &str) -> Config {
    let mut config = Config::for_provider(sim.address());
    config.head = "auth: { anonymous: true }\nadmin: { master_key: \"env:MASTER_KEY\" }\n".into();
    config.providers = [("sim", sim, checks[0]), ("other", other, checks[1])]
        .map(|(name, simulator, check)| {
            format!(
                "  {name}: {{ dialect: openai, base_url: \"http://{}/v1\", api_key: \"env:SIM_KEY\"{check} }}\n",
                simulator.address()
            )
        })
        .concat();
    config.with_models(models)
}

/// A provider that wants its key, for its list of models as well.
async fn locked() -> Simulator {
    let require_key = Some("sk-provider-secret".to_owned());
    Simulator::start(Options { require_key, ..Options::default() }).await.unwrap()
}

async fn item(gateway: &Gateway, path: &str, id: &str) -> Value {
    let page = gateway.admin("GET", path, &Value::Null).await.json();
    page["items"].as_array().unwrap().iter().find(|item| item["id"] == id).unwrap().clone()
}

/// Waits until the provider was checked so often, with this result.
async fn checked(gateway: &Gateway, provider: &str, result: &str, times: f64) {
    let labels = format!("provider=\"{provider}\",result=\"{result}\"");
    soon("checks", async {
        while gateway.metric("sluicegate_provider_health_checks_total", &labels).await < times {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_not_well_is_not_asked_and_comes_back() {
    let (sim, other) = (locked().await, provider().await);
    let check = format!(", health_check: {{ {OFTEN} }}");
    let models = "  sim-1:\n    targets: [{ provider: sim, model: m }, \
                  { provider: other, model: m, priority: 2 }]\n    health: { slow_start: 1h }\n";
    let gateway = Gateway::start(&config(&sim, &other, [&check, ""], models));
    checked(&gateway, "sim", "passed", 2.0).await;
    assert_eq!(item(&gateway, "/admin/v1/providers", "sim").await["healthy"], true);
    assert_eq!(item(&gateway, "/admin/v1/providers", "other").await.get("healthy"), None);
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
    assert_eq!(other.ledger().total.requests, 0);

    let address = sim.address();
    sim.shutdown().await;
    let line = gateway.await_log("found unhealthy");
    assert_eq!(line["provider"], "sim");
    assert_eq!(gateway.metric("sluicegate_provider_health", "provider=\"sim\"").await, 0.0);
    assert_eq!(item(&gateway, "/admin/v1/providers", "sim").await["healthy"], false);
    let target = item(&gateway, "/admin/v1/models", "sim-1").await["targets"][0].clone();
    assert_eq!((&target["share"], &target["provider_healthy"]), (&json!(0.0), &json!(false)));
    for _ in 0..5 {
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, "")).await;
        assert_eq!((answer.status, answer.header("x-sluicegate-degraded")), (200, None));
    }
    assert_eq!(other.ledger().total.requests, 5);

    let require_key = Some("sk-provider-secret".to_owned());
    let options = Options { address, require_key, ..Options::default() };
    let back = Simulator::start(options).await.unwrap();
    gateway.await_log("found healthy again");
    let share = gateway.metric("sluicegate_target_share", "provider=\"sim\"").await;
    assert!((0.1..0.2).contains(&share), "by slow start: {share}");
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
    assert_eq!(back.ledger().total.requests, 1);
    for to in ["healthy", "unhealthy"] {
        let changes = "sluicegate_provider_health_changes_total";
        gateway.until_metric(changes, &format!("to=\"{to}\""), 1.0).await;
    }
    let log = gateway.stop().await;
    let calls = log.iter().filter(|line| line["model"] == "sim-1");
    assert!(calls.clone().all(|line| line["attempts"] == 1), "nobody has met the dead one");
    assert_eq!(calls.count(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_are_found_unhealthy_they_are_asked_all_the_same() {
    let (sim, other) = (provider().await, provider().await);
    let missing = format!(", health_check: {{ path: /nowhere, {OFTEN} }}");
    let there = format!(", health_check: {{ path: /nowhere, expect: below_500, {OFTEN} }}");
    let models = "  sim-1: { targets: [{ provider: sim, model: m }] }\n  \
                  fine: { targets: [{ provider: other, model: m }] }\n";
    let gateway = Gateway::start(&config(&sim, &other, [&missing, &there], models));
    let line = gateway.await_log("found unhealthy");
    assert_eq!((&line["provider"], &line["failure"]), (&json!("sim"), &json!("status 404")));
    let mut body = chat(false, "");
    let answer = gateway.client().post("/v1/chat/completions", &body).await;
    let said = answer.header("x-sluicegate-degraded");
    assert_eq!((answer.status, said), (200, Some("no-healthy-target")));
    checked(&gateway, "other", "passed", 3.0).await;
    body["model"] = json!("fine");
    let answer = gateway.client().post("/v1/chat/completions", &body).await;
    assert_eq!((answer.status, answer.header("x-sluicegate-degraded")), (200, None));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_begins_and_ends_checks() {
    let (sim, other) = (provider().await, provider().await);
    let missing = format!(", health_check: {{ path: /nowhere, {OFTEN} }}");
    let models = "  sim-1: { targets: [{ provider: sim, model: m }] }\n";
    let gateway = Gateway::start(&config(&sim, &other, [&missing, ""], models));
    gateway.await_log("found unhealthy");
    let reload = async |checks: [&str; 2]| {
        gateway.rewrite_config(&config(&sim, &other, checks, models));
        let answer = gateway.admin("POST", "/admin/v1/config/reload", &json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    // What is known stays where only the way of asking changes.
    let rarely = missing.replace("100ms", "1h");
    reload([&rarely, ""]).await;
    assert_eq!(item(&gateway, "/admin/v1/providers", "sim").await["healthy"], false);
    let there = format!(", health_check: {{ {OFTEN} }}");
    reload([&there, ""]).await;
    gateway.await_log("found healthy again");

    reload(["", &there]).await;
    assert_eq!(item(&gateway, "/admin/v1/providers", "sim").await.get("healthy"), None);
    let share = gateway.metric("sluicegate_target_share", "provider=\"sim\"").await;
    assert!((share - 1.0).abs() < f64::EPSILON, "{share}");
    // One may be under way as it ends.
    checked(&gateway, "other", "passed", 1.0).await;
    let before = sim.connections_accepted();
    checked(&gateway, "other", "passed", 10.0).await;
    assert!(sim.connections_accepted() <= before + 1, "nobody asks `sim` any more");
    gateway.stop().await;
}
