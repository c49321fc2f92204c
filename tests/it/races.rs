//! Limits hold under many clients at once on two gateways that share a store. The provider's own ledger is
//! the judge.

use std::sync::Arc;

use serde_json::{Value, json};
use sluicegate_simulator::{Counts, Simulator};

use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{Config, Gateway, chat, provider, soon};

const CLIENTS: usize = 200;

/// Nano-USD a token: 10 and 20 USD a million.
const IN: u64 = 10_000;
const OUT: u64 = 20_000;

/// What the gateway takes a provider to write around a request, in tokens.
const FRAME: u64 = 64;

struct Pair {
    gateways: [Gateway; 2],
    provider: Simulator,
}

impl Pair {
    /// Two gateways whose records and counters are in `store`, given as lines of a configuration.
    async fn start(store: &str) -> Arc<Self> {
        let provider = provider().await;
        let mut config = Config::for_provider(provider.address());
        config.head = format!("admin: {{ master_key: \"env:MASTER_KEY\" }}\n{store}");
        let config = config.with_models(
            "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n",
        );
        let gateways = [Gateway::start(&config), Gateway::start(&config)];
        Arc::new(Self { gateways, provider })
    }

    /// A key that both know.
    async fn key(&self, limits: &Value) -> String {
        self.gateways[0].key(limits).await
    }

    /// What all requests have cost, by the gateways' logs.
    async fn stop(self: Arc<Self>) -> u64 {
        let Ok(pair) = Arc::try_unwrap(self) else { panic!("a client is left") };
        let mut cost = 0;
        for gateway in pair.gateways {
            let log = gateway.stop().await;
            cost += log.iter().filter_map(|line| line["cost_nano_usd"].as_u64()).sum::<u64>();
        }
        cost
    }
}

fn cost(counts: &Counts) -> u64 {
    counts.prompt_tokens * IN + counts.completion_tokens * OUT
}

fn request(most: u64) -> Value {
    let mut body = chat(false, &format!("tokens={most}"));
    body["max_tokens"] = json!(most);
    body
}

/// The most that a request may use, in tokens: in and out.
fn worst(body: &Value) -> (u64, u64) {
    (body.to_string().len() as u64 + FRAME, body["max_tokens"].as_u64().unwrap())
}

async fn a_budget_is_used_up_and_never_passed(store: &str) {
    let pair = Pair::start(store).await;
    let body = request(50);
    let (input, output) = worst(&body);
    let worst = input * IN + output * OUT;
    let budget = worst * 300;
    let key = pair.key(&json!({"max_budget": budget as f64 / 1e9})).await;
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        let (pair, key, body) = (pair.clone(), key.clone(), body.clone());
        clients.push(tokio::spawn(async move {
            let gateway = &pair.gateways[index % 2];
            loop {
                let answer = gateway.chat(&key, &body).await;
                match answer.status {
                    200 => assert!(cost(&pair.provider.ledger().total) <= budget),
                    402 => return,
                    _ => panic!("{}", answer.text()),
                }
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    // As long as what is left covers a worst case, whoever asks gets it, as soon as the other instance has
    // given back what it does not need.
    soon("the budget to be used up", async {
        while cost(&pair.provider.ledger().total) + worst <= budget {
            for gateway in &pair.gateways {
                gateway.chat(&key, &body).await;
            }
        }
    })
    .await;
    let spent = cost(&pair.provider.ledger().total);
    assert!(spent <= budget && spent + worst > budget, "{spent} of {budget}");
    for gateway in &pair.gateways {
        let refused = gateway.chat(&key, &body).await;
        assert_eq!((refused.status, refused.code().as_str()), (402, "budget_exceeded"));
    }
    assert_eq!(pair.stop().await, spent, "to the last unit");
}

async fn limits_of_many_keys_hold(store: &str, keys: usize) {
    let pair = Pair::start(store).await;
    let mut body = request(5);
    // Nearly as many as the gateway takes them to be at most: four use more than three may at worst.
    body["user"] = json!("tokens=5,prompt_tokens=180");
    let (input, output) = worst(&body);
    assert!((180..240).contains(&input), "{input}");
    let tokens = (input + output) * 3;
    let made: Vec<_> = {
        let mut made = Vec::new();
        for _ in 0..keys {
            made.push(pair.key(&json!({"tpm_limit": tokens})).await);
        }
        made
    };
    let made = Arc::new(made);
    let mut clients = Vec::new();
    // Each makes eight calls at once.
    let at_once = CLIENTS / 8;
    for client in 0..at_once {
        let (pair, made, body) = (pair.clone(), made.clone(), body.clone());
        clients.push(tokio::spawn(async move {
            let mut passed = 0_u64;
            for key in made.iter().skip(client).step_by(at_once) {
                // Of one key, more at once than its limit lets through, on both.
                let mut calls = tokio::task::JoinSet::new();
                for n in 0..8 {
                    let (pair, key, body) = (pair.clone(), key.clone(), body.clone());
                    calls.spawn(async move { pair.gateways[n % 2].chat(&key, &body).await });
                }
                while let Some(answer) = calls.join_next().await {
                    let answer = answer.unwrap();
                    match answer.status {
                        200 => passed += 1,
                        429 => {}
                        _ => panic!("{}", answer.text()),
                    }
                }
            }
            passed
        }));
    }
    let mut passed = 0;
    for client in clients {
        passed += client.await.unwrap();
    }
    let spent = pair.provider.ledger().total;
    assert_eq!(spent.requests, passed);
    assert!(passed >= keys as u64, "each key is good for a request: {passed}");
    let used = spent.prompt_tokens + spent.completion_tokens;
    assert!(used <= tokens * keys as u64, "{used} of {tokens} for each of {keys}");
    pair.stop().await;
}

async fn no_more_run_at_once_than_may(store: &str) {
    let pair = Pair::start(store).await;
    let key = pair.key(&json!({"max_parallel_requests": 10})).await;
    let mut body = request(5);
    body["user"] = json!("tokens=5,token_ms=2");
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        let (pair, key, body) = (pair.clone(), key.clone(), body.clone());
        clients.push(tokio::spawn(async move {
            loop {
                let answer = pair.gateways[index % 2].chat(&key, &body).await;
                match answer.status {
                    200 => return,
                    429 => tokio::task::yield_now().await,
                    _ => panic!("{}", answer.text()),
                }
            }
        }));
    }
    soon("all clients to be served", async {
        for client in clients {
            client.await.unwrap();
        }
    })
    .await;
    let stats = pair.provider.stats();
    assert_eq!(stats.total.completed, CLIENTS as u64);
    assert!(stats.most_in_flight <= 10, "{} at once", stats.most_in_flight);
    pair.stop().await;
}

fn postgres(postgres: &Postgres) -> String {
    format!("store: {{ postgres: {{ url: \"{}\" }} }}\n", postgres.url())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_on_postgres_is_used_up_and_never_passed() {
    let server = Postgres::start();
    a_budget_is_used_up_and_never_passed(&postgres(&server)).await;
}

/// Records in PostgreSQL, and counters in Redis.
fn both(postgres: &Postgres, redis: &Redis) -> String {
    format!(
        "{}quota_store: {{ redis: {{ url: \"{}\" }} }}\n",
        self::postgres(postgres),
        redis.url()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_on_redis_is_used_up_and_never_passed() {
    let (server, redis) = (Postgres::start(), Redis::start());
    a_budget_is_used_up_and_never_passed(&both(&server, &redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_at_once_than_may_on_postgres() {
    let server = Postgres::start();
    no_more_run_at_once_than_may(&postgres(&server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_at_once_than_may_on_redis() {
    let (server, redis) = (Postgres::start(), Redis::start());
    no_more_run_at_once_than_may(&both(&server, &redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_thousand_keys_hold_on_postgres() {
    let server = Postgres::start();
    limits_of_many_keys_hold(&postgres(&server), 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_thousand_keys_hold_on_redis() {
    let (server, redis) = (Postgres::start(), Redis::start());
    limits_of_many_keys_hold(&both(&server, &redis), 1_000).await;
}
