//! Budgets of money: what is held, what is charged, and when there is no price to count by.

use serde_json::{Value, json};
use sluicegate_simulator::{Counts, Simulator};
use tokio::io::AsyncBufReadExt;

use crate::support::scripted::{Scripted, ScriptedProvider};
use crate::support::{Client, Config, Gateway, chat, provider, soon};

/// Nano-USD a token: 10 and 20 USD a million.
const IN: u64 = 10_000;
const OUT: u64 = 20_000;

fn config(provider: std::net::SocketAddr, model: &str) -> Config {
    let mut config = Config::for_provider(provider);
    config.head = "admin: { master_key: \"env:MASTER_KEY\" }\n\
                   store: { sqlite: { path: \":memory:\" } }\n"
        .to_owned();
    config.with_models(&format!(
        "  sim-1: {{ targets: [{{ provider: sim, model: sim-1 }}]{model} }}\n"
    ))
}

const PRICED: &str = ", price: { input: \"10\", output: \"20\" }";

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

/// A request for at most `most` tokens that gets five.
fn asks_for(most: u64, directives: &str) -> Value {
    let mut body = chat(false, directives);
    body["max_tokens"] = json!(most);
    body
}

fn cost(counts: &Counts) -> u64 {
    counts.prompt_tokens * IN + counts.completion_tokens * OUT
}

fn logged(log: &[Value]) -> u64 {
    log.iter().filter_map(|line| line["cost_nano_usd"].as_u64()).sum()
}

#[tokio::test]
async fn what_is_held_is_the_worst_case_and_what_is_charged_is_the_use() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address(), PRICED));
    // Worst: 1,000 tokens out are $0.02, and some hundred bytes in.
    let key = gateway.key(&json!({"max_budget": 0.025})).await;
    let mut passed = 0_u64;
    let refused = loop {
        let answer = gateway.chat(&key, &asks_for(1_000, "tokens=5")).await;
        if answer.status != 200 {
            break answer;
        }
        passed += 1;
        assert!(passed < 100, "nothing is charged");
    };
    assert!(passed > 1, "what was not used is given back");
    assert_eq!((refused.status, refused.code().as_str()), (402, "budget_exceeded"));
    assert!(refused.text().contains("This key may use $0.025 in all"), "{}", refused.text());
    // A smaller request still fits.
    assert_eq!(gateway.chat(&key, &asks_for(20, "tokens=5")).await.status, 200);
    let never = gateway.chat(&key, &asks_for(2_000, "tokens=5")).await;
    assert!(never.text().contains("never fits"), "{}", never.text());

    let counts = provider.ledger().total;
    assert_eq!(counts.requests, passed + 1, "what is refused goes no further");
    assert!(cost(&counts) <= 25_000_000);
    let log = gateway.stop().await;
    assert_eq!(logged(&log), cost(&counts), "to the last unit");
    assert!(log.iter().all(|line| line.get("usage_estimated").is_none()));
}

#[tokio::test]
async fn a_tight_budget_makes_it_worth_to_look_closer() {
    let provider = provider().await;
    let mut config = config(provider.address(), PRICED);
    // A host of OpenAI's is needed for its tokenizer, and nobody may call one: what is seen teaches instead.
    config.models = config.models.replace("10\"", "1000\"");
    let gateway = Gateway::start(&config);
    let mut body = asks_for(1, "tokens=1");
    body["messages"][0]["content"] = json!("word ".repeat(400));
    let bytes = body.to_string().len() as u64;
    // The simulated provider counts a token for four bytes; by bytes alone the request never fits.
    let rich = gateway.key(&json!({"max_budget": 1_000.0})).await;
    let half = bytes as f64 * 1_000.0 * 0.5 / 1e6;
    let poor = gateway.key(&json!({"max_budget": half})).await;
    assert_eq!(gateway.chat(&poor, &body).await.status, 402);
    for _ in 0..40 {
        assert_eq!(gateway.chat(&rich, &body).await.status, 200);
    }
    assert_eq!(gateway.chat(&poor, &body).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_model_without_a_price_is_not_for_a_budget() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address(), ""));
    let budgeted = gateway.key(&json!({"max_budget": 5})).await;
    let refused = gateway.chat(&budgeted, &asks_for(10, "")).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "model_not_priced"));
    let free = gateway.key(&json!({"tpm_limit": 100_000})).await;
    assert_eq!(gateway.chat(&free, &asks_for(10, "")).await.status, 200);
    let counted = gateway.metric("sluicegate_unpriced_requests_total", "refused=\"true\"").await;
    assert!((counted - 1.0).abs() < f64::EPSILON);
    gateway.stop().await;

    let allows = config(provider.address(), "").with("budgets: { unpriced: allow }");
    let gateway = Gateway::start(&allows);
    let budgeted = gateway.key(&json!({"max_budget": 5})).await;
    assert_eq!(gateway.chat(&budgeted, &asks_for(10, "")).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn who_leaves_pays_for_what_was_made() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address(), PRICED));
    let key = gateway.key(&json!({"max_budget": 5})).await;
    let mut body = asks_for(1_000, "fault=stall,after=3");
    body["stream"] = json!(true);
    let mut stream = gateway.client().connect().await;
    let request = Client::request("/v1/chat/completions", &bearer(&key), &body);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
    soon("a stalled stream", provider.wait_until(|stats| stats.stalled == 1)).await;
    soon("the first events", async {
        let mut line = String::new();
        while !line.starts_with("data:") {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
    })
    .await;
    drop(stream);
    soon("an end", provider.wait_until(|stats| stats.total.aborted == 1)).await;
    let log = gateway.stop().await;
    let (charged, spent) = (logged(&log), cost(&provider.ledger().total));
    assert_eq!(log[0]["usage_estimated"], true);
    assert!(charged >= spent && charged < 1_000 * OUT, "{charged} for {spent}");
}

/// Leaves a stream of `model` once it has so many events, and its provider stands still.
async fn leave_after(
    gateway: &Gateway,
    provider: &Simulator,
    key: &str,
    model: &str,
    (events, directives): (usize, &str),
) {
    let stalled = provider.stats().stalled;
    let aborted = provider.ledger().total.aborted;
    let mut body = asks_for(1_000, &format!("fault=stall,after={events},{directives}"));
    body["model"] = json!(model);
    body["stream"] = json!(true);
    let mut stream = gateway.client().connect().await;
    let request = Client::request("/v1/chat/completions", &bearer(key), &body);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
    soon("a stalled stream", provider.wait_until(|stats| stats.stalled > stalled)).await;
    // What has come here has been seen by the gateway. Of a translated stream it is a part.
    soon("events", async {
        let (mut line, mut come) = (String::new(), 0);
        while come < events.div_ceil(2) {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0);
            come += usize::from(line.starts_with("data:"));
        }
    })
    .await;
    drop(stream);
    soon("an end", provider.wait_until(|stats| stats.total.aborted > aborted)).await;
}

/// Who leaves early again and again does not get past a budget.
#[tokio::test]
async fn who_leaves_before_the_count_pays_for_all_that_may_have_been_made() {
    let provider = provider().await;
    let models = "  sim-1: { targets: [{ provider: sim, model: sim-1 }], retries: { attempts: 1 }, \
                  price: { input: \"10\", output: \"20\" } }\n  \
                  claude-sim: { targets: [{ provider: anth, model: claude-sim }], retries: { attempts: 1 }, \
                  price: { input: \"10\", output: \"20\" } }\n";
    let config = config(provider.address(), PRICED).with_models(models);
    for model in ["sim-1", "claude-sim"] {
        let gateway = Gateway::start(&config);
        // What is in events counts, not only how many there are. The first tell of no content.
        let rich = gateway.key(&json!({"max_budget": 5})).await;
        leave_after(&gateway, &provider, &rich, model, (5, "text_bytes=400")).await;
        // Nothing has come but the beginning: a model may have thought about it for long.
        let poor = gateway.key(&json!({"max_budget": 0.05})).await;
        for _ in 0..2 {
            leave_after(&gateway, &provider, &poor, model, (1, "")).await;
        }
        let mut third = asks_for(1_000, "");
        third["model"] = json!(model);
        let refused = gateway.chat(&poor, &third).await;
        assert_eq!((refused.status, refused.code().as_str()), (402, "budget_exceeded"), "{model}");
        let log = gateway.stop().await;
        let output = |line: usize| log[line]["usage"]["output"].as_u64().unwrap();
        assert!(log.iter().take(3).all(|line| line["usage_estimated"] == true), "{log:#?}");
        // Two events at least have content, of 400 bytes each.
        assert!((200..=500).contains(&output(0)), "{model}: {log:#?}");
        assert_eq!((output(1), output(2)), (1_000, 1_000), "{model}: {log:#?}");
    }
}

/// A provider that ends a stream by itself before there is anything in it has made nothing.
#[tokio::test]
async fn a_stream_without_content_costs_no_output() {
    const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    for model in ["sim-1", "to-chat"] {
        let answers = vec![Scripted::events(&[]), Scripted::events(&[ROLE])];
        let provider = ScriptedProvider::start(answers).await;
        let alone = format!(", retries: {{ attempts: 1 }}{PRICED}");
        let mut config = config(provider.address, &alone);
        config.providers = config.providers.replace("dialect:", "http_version: h2, dialect:");
        config.models +=
            &format!("  to-chat: {{ targets: [{{ provider: sim, model: m }}]{alone} }}\n");
        let gateway = Gateway::start(&config);
        // Enough for one worst case, not for two.
        let key = gateway.key(&json!({"max_budget": 0.03})).await;
        let body = json!({"model": model, "stream": true, "max_tokens": 1_000, "messages":
            [{"role": "user", "content": "Hello"}]});
        let (path, version) = match model {
            "sim-1" => ("/v1/chat/completions", ""),
            _ => ("/v1/messages", "anthropic-version: 2023-06-01\r\n"),
        };
        for (before, expected) in [502, 200, 200].into_iter().enumerate() {
            let headers = format!("{}{version}", bearer(&key));
            let answer = gateway.client().post_with(path, &headers, &body).await;
            assert_eq!(answer.status, expected, "{model}: {}", answer.text());
            assert!(answer.text().contains("\"error\""), "{}", answer.text());
            // What it held is free before it is counted.
            gateway.until_metric("sluicegate_exchanges_total", "", (before + 1) as f64).await;
        }
        let log = gateway.stop().await;
        for line in log {
            assert_eq!(
                (&line["end"], &line["usage"]["output"]),
                (&json!("upstream_broke"), &json!(0))
            );
            assert!(line["cost_nano_usd"].as_u64().is_some_and(|cost| cost < 1_000 * IN), "{line}");
        }
    }
}

#[tokio::test]
async fn a_plain_answer_that_breaks_off_is_charged_by_what_came_of_it() {
    let provider = provider().await;
    // One that waits for its cost and one that passes as it comes, of the caller's dialect and of another.
    let models = "  sim-1: { targets: [{ provider: sim, model: sim-1 }], \
                  price: { input: \"10\", output: \"20\" } }\n  \
                  claude-sim: { targets: [{ provider: anth, model: claude-sim }], \
                  price: { input: \"10\", output: \"20\" } }\n";
    let waits = config(provider.address(), PRICED).with_models(models);
    let passes = waits.clone().with("answers: { cost_header: false }");
    let mut before = 0;
    for config in [waits, passes] {
        let gateway = Gateway::start(&config);
        let key = gateway.key(&json!({"max_budget": 5})).await;
        for model in ["sim-1", "claude-sim"] {
            for (most, tokens) in [(1_000, 150), (100, 100)] {
                let mut body = asks_for(most, &format!("fault=close-mid-body,tokens={tokens}"));
                body["model"] = json!(model);
                let answer = gateway.chat(&key, &body).await;
                assert!(answer.cut || answer.status == 502, "{answer:?}");
            }
        }
        let log = gateway.stop().await;
        let spent = cost(&provider.ledger().total) - before;
        before += spent;
        assert_eq!(log.len(), 4);
        assert!(log.iter().all(|line| line["usage_estimated"] == true), "{log:#?}");
        // Of an answer, what came bounds what is in it; and no answer has more than was asked for.
        assert!(logged(&log) >= spent, "{} for {spent}", logged(&log));
        for (line, most) in log.iter().zip([1_000, 100, 1_000, 100]) {
            let output = line["usage"]["output"].as_u64().unwrap();
            assert!(output >= 100 && output <= most, "{line}");
        }
    }
}

#[tokio::test]
async fn what_each_attempt_used_is_counted_for_the_provider_that_it_was_made_at() {
    let provider = provider().await;
    let mut config = config(provider.address(), "");
    let sim = config.providers.lines().next().unwrap().replacen("sim:", "backup:", 1);
    config.providers.push_str(&format!("{sim}\n"));
    config.models = "  sim-1:\n    targets:\n      \
                     - { provider: sim, model: \"slow;fault=delay-head;ms=600000\" }\n      \
                     - { provider: backup, model: sim-1, priority: 2 }\n    \
                     price: { input: \"10\", output: \"20\" }\n    \
                     retries: { attempts: 2, on: [timeout] }\n    timeouts: { first_byte: 300ms }\n"
        .to_owned();
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({"max_budget": 5, "rpm_limit": 10})).await;
    let answer = gateway.chat(&key, &asks_for(1_000, "tokens=9")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let of = |provider: &str| format!("provider=\"{provider}\"");
    gateway.until_metric("sluicegate_estimated_usage_total", &of("sim"), 1.0).await;
    assert_eq!(gateway.metric("sluicegate_estimated_usage_total", &of("backup")).await, 0.0);
    let given_up = gateway.metric("sluicegate_cost_nano_usd_total", &of("sim")).await;
    let served = gateway.metric("sluicegate_cost_nano_usd_total", &of("backup")).await;
    assert!(given_up >= (1_000 * OUT) as f64, "all that was held: {given_up}");
    assert!(served > 0.0 && served < (100 * OUT) as f64, "{served}");
    assert!(gateway.metric("sluicegate_tokens_total", &of("backup")).await > 9.0);
    assert_eq!(gateway.metric("sluicegate_tokens_total", &of("sim")).await, 0.0);
    // Both were attempts at one request.
    gateway.until_metric("sluicegate_exchanges_total", "", 1.0).await;
    let next = gateway.chat(&key, &asks_for(1_000, "tokens=9")).await;
    assert_eq!(next.header("x-ratelimit-remaining-requests"), Some("8"), "{next:?}");
    let log = gateway.stop().await;
    assert!(log[0].get("usage_estimated").is_none(), "{}", log[0]);
    assert_eq!(log[0]["cost_nano_usd"].as_f64(), Some(given_up + served));
}

#[tokio::test]
async fn an_attempt_that_may_be_charged_is_paid_and_another_is_held_anew() {
    let provider = provider().await;
    let mut config = config(provider.address(), "");
    config.models = "  sim-1:\n    targets: [{ provider: sim, model: sim-1 }]\n    \
                     price: { input: \"10\", output: \"20\" }\n    \
                     retries: { attempts: 2, on: [timeout, 5xx] }\n    timeouts: { first_byte: 300ms }\n"
        .to_owned();
    let gateway = Gateway::start(&config);
    // Enough for one worst case, not for two.
    let poor = gateway.key(&json!({"max_budget": 0.03})).await;
    let silent = asks_for(1_000, "fault=delay-head,ms=600000");
    let answer = gateway.chat(&poor, &silent).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (402, "budget_exceeded"),
        "{}",
        answer.text()
    );
    let rich = gateway.key(&json!({"max_budget": 5})).await;
    let answer = gateway.chat(&rich, &silent).await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    // An error costs nothing, and its hold serves the next attempt.
    let poor = gateway.key(&json!({"max_budget": 0.03})).await;
    let failing = asks_for(1_000, "fault=refuse-first,n=1");
    let answer = gateway.chat(&poor, &failing).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = gateway.stop().await;
    let costs: Vec<_> = log.iter().map(|line| line["cost_nano_usd"].as_u64().unwrap()).collect();
    assert!((1_000 * OUT..1_500 * OUT).contains(&costs[0]), "{costs:?}");
    assert!((2_000 * OUT..3_000 * OUT).contains(&costs[1]), "{costs:?}");
    assert!(costs[2] < 500 * OUT, "{costs:?}");
    assert_eq!((&log[0]["attempts"], &log[0]["end"]), (&json!(1), &json!("refused")));
}
