//! Which targets a call may go to: whom each is for, how long a request it takes, and whether its provider's
//! limits have room.

use serde_json::json;
use sluicegate_simulator::Simulator;

use crate::support::{Client, Config, Gateway, Response, chat, provider, soon};

/// Two providers, `sim` and `other`, keys, and the model `sim-1` with these targets.
fn config(sim: &Simulator, other: &Simulator, targets: &[&str]) -> Config {
    let mut config = Config::for_provider(sim.address());
    config.head = "admin: { master_key: \"env:MASTER_KEY\" }\n\
                   store: { sqlite: { path: \":memory:\" } }\n"
        .to_owned();
    config.providers += &format!(
        "  other: {{ dialect: openai, base_url: \"http://{}/v1\", api_key: \"env:SIM_KEY\" }}\n",
        other.address()
    );
    let targets: String = targets.iter().map(|target| format!("      - {target}\n")).collect();
    config
        .with_models(&format!("  sim-1:\n    retries: {{ attempts: 3 }}\n    targets:\n{targets}"))
}

fn served(simulator: &Simulator) -> u64 {
    simulator.ledger().total.requests
}

async fn team(gateway: &Gateway, id: &str) -> String {
    let made = gateway.admin("POST", "/team/new", &json!({"team_id": id})).await;
    assert_eq!(made.status, 200, "{}", made.text());
    gateway.key(&json!({"team_id": id})).await
}

async fn call(gateway: &Gateway, key: &str, headers: &str) -> Response {
    let headers = format!("Authorization: Bearer {key}\r\n{headers}");
    gateway.client().post_with("/v1/chat/completions", &headers, &chat(false, "")).await
}

#[tokio::test]
async fn a_target_serves_whom_it_is_for_and_nobody_can_claim_to_be() {
    let (sim, other) = (provider().await, provider().await);
    let targets = [
        "{ provider: sim, model: m, when: { teams: [gold], headers: { x-tier: [fast, faster] } } }",
        "{ provider: other, model: m, when: { tags: [batch] } }",
    ];
    let gateway = Gateway::start(&config(&sim, &other, &targets));
    let (gold, lead) = (team(&gateway, "gold").await, team(&gateway, "lead").await);
    let batch = gateway.key(&json!({"tags": ["nightly", "batch"]})).await;
    let fast = "X-Tier: faster\r\n";
    for (key, headers, at_sim, at_other) in
        [(&gold, fast, 1, 0), (&batch, fast, 0, 1), (&batch, "", 0, 1)]
    {
        let before = (served(&sim), served(&other));
        let answer = call(&gateway, key, headers).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!((served(&sim), served(&other)), (before.0 + at_sim, before.1 + at_other));
    }
    let before = (served(&sim), served(&other));
    let claims = "X-Tier: fast\r\nX-Team: gold\r\nX-Team-Id: gold\r\nX-Tags: batch\r\n";
    for (key, headers) in [(&gold, ""), (&gold, "X-Tier: slow\r\n"), (&lead, fast), (&lead, claims)]
    {
        let refused = call(&gateway, key, headers).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "model_not_allowed"));
        assert!(refused.text().contains("No target of the model `sim-1` serves this caller"));
    }
    // In the dialect of whoever asks.
    let headers = format!("x-api-key: {lead}\r\n");
    let mut body = crate::support::messages(false, "");
    body["model"] = json!("sim-1");
    let refused = gateway.client().post_with("/v1/messages", &headers, &body).await;
    assert_eq!(refused.json()["type"], "error", "{}", refused.text());
    assert_eq!(refused.json()["error"]["type"], "permission_error", "{}", refused.text());
    assert_eq!((served(&sim), served(&other)), before);
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_goes_where_it_fits() {
    let (sim, other) = (provider().await, provider().await);
    let targets = [
        "{ provider: sim, model: small, context_window: 2000 }",
        "{ provider: other, model: large, context_window: 10000, priority: 2 }",
    ];
    let gateway = Gateway::start(&config(&sim, &other, &targets));
    let key = gateway.key(&json!({})).await;
    let ask = async |words: usize, output: u64| {
        let mut body = chat(false, "");
        body["messages"][0]["content"] = json!("word ".repeat(words));
        body["max_tokens"] = json!(output);
        let before = (served(&sim), served(&other));
        let answer = gateway.chat(&key, &body).await;
        (answer, served(&sim) - before.0, served(&other) - before.1)
    };
    for (words, output, at_sim, at_other) in
        [(10, 100, 1, 0), (1_000, 100, 1, 0), (1_000, 1_500, 0, 1), (4_000, 100, 0, 1)]
    {
        let (answer, sim, other) = ask(words, output).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!((sim, other), (at_sim, at_other), "{words} words, {output} tokens of output");
    }
    // It may have half as many tokens as it is likely to have: whoever knows better answers.
    let (answer, _, other) = ask(9_000, 100).await;
    assert_eq!((answer.status, other), (200, 1), "{}", answer.text());
    for (words, output) in [(20_000, 100), (10, 10_000)] {
        let (refused, sim, other) = ask(words, output).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "context_length_exceeded"));
        let text = refused.text();
        assert!(text.contains("the context window of every target of the model `sim-1`"), "{text}");
        assert!(text.contains("tokens of 10000"), "{text}");
        assert_eq!((sim, other), (0, 0));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn where_a_providers_limit_has_no_room_another_target_is_asked() {
    let (sim, other) = (provider().await, provider().await);
    let targets = ["{ provider: sim, model: m }", "{ provider: other, model: m, priority: 2 }"];
    let quotas = "quotas:\n  - { scope: provider, id: sim, unit: requests, limit: 2, window: 1h }\n  \
                  - { scope: provider, id: other, unit: requests, limit: 4, window: 1h }\n";
    let gateway = Gateway::start(&config(&sim, &other, &targets).with(quotas));
    // One more than is served: whatever stayed held for who had no room would use this up.
    let key = gateway.key(&json!({"rpm_limit": 7})).await;
    for call in 1..=6_u64 {
        let answer = gateway.chat(&key, &chat(call % 2 == 0, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!((served(&sim), served(&other)), (2, 4));
    for _ in 0..3 {
        let refused = gateway.chat(&key, &chat(false, "")).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
        assert!(refused.text().contains("The provider of this model"), "{}", refused.text());
    }
    gateway.until_metric("sluicegate_targets_passed_over_total", "model=\"sim-1\"", 7.0).await;
    let ejections = gateway.metric("sluicegate_target_ejections_total", "").await;
    let retries = gateway.metric("sluicegate_retries_total", "").await;
    assert_eq!((ejections, retries), (0.0, 0.0), "it is no failure and no attempt");
    let log = gateway.stop().await;
    let passed = log.iter().filter(|line| line["status"] == 200);
    assert!(passed.clone().all(|line| line["attempts"] == 1), "{log:#?}");
    assert_eq!(passed.count(), 6);
}

#[tokio::test]
async fn a_place_at_a_provider_that_is_free_again_is_taken_again() {
    let (sim, other) = (provider().await, provider().await);
    let targets = ["{ provider: sim, model: m }", "{ provider: other, model: m, priority: 2 }"];
    let quotas = "quotas: [{ scope: provider, id: sim, unit: parallel, limit: 1 }]\n";
    let gateway = Gateway::start(&config(&sim, &other, &targets).with(quotas));
    let key = gateway.key(&json!({"max_parallel_requests": 2})).await;
    let mut stream = gateway.client().connect().await;
    let headers = format!("Authorization: Bearer {key}\r\n");
    let stalls =
        Client::request("/v1/chat/completions", &headers, &chat(true, "fault=stall,after=3"));
    tokio::io::AsyncWriteExt::write_all(&mut stream, &stalls).await.unwrap();
    soon("a stream", sim.wait_until(|stats| stats.streams_open == 1)).await;
    // The key may have two at once: of what was refused at `sim`, nothing counts.
    for _ in 0..5 {
        soon("a place of the key's", async {
            while gateway.chat(&key, &chat(false, "")).await.status != 200 {}
        })
        .await;
    }
    assert_eq!(served(&sim), 1);
    assert!(served(&other) >= 5);
    drop(stream);
    soon("the place at `sim`", async {
        while served(&sim) < 2 {
            gateway.chat(&key, &chat(false, "")).await;
        }
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_attempt_beyond_the_first_passes_over_a_provider_without_room_as_well() {
    let (sim, other) = (provider().await, provider().await);
    let targets = [
        "{ provider: sim, model: \"bad;fault=status;status=503\" }",
        "{ provider: other, model: m, priority: 2 }",
        "{ provider: anth, model: claude-sim, priority: 3 }",
    ];
    let quotas = "quotas:\n  - { scope: provider, id: other, unit: requests, limit: 1, window: 1h }\n  \
                  - { scope: provider, id: sim, unit: requests, limit: 100, window: 1h }\n";
    let gateway = Gateway::start(&config(&sim, &other, &targets).with(quotas));
    let key = gateway.key(&json!({})).await;
    for _ in 0..3 {
        let answer = gateway.chat(&key, &chat(false, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(served(&other), 1);
    let log = gateway.stop().await;
    let by: Vec<_> = log.iter().filter(|line| line["model"] == "sim-1").collect();
    let found: Vec<_> =
        by.iter().map(|line| (line["provider"].as_str(), line["attempts"].as_u64())).collect();
    assert_eq!(found, [(Some("other"), Some(2)), (Some("anth"), Some(2)), (Some("anth"), Some(2))]);
}
