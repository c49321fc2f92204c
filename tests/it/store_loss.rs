//! The store of the counters dies under load. Limits hold, what was counted meanwhile is told later, and
//! nothing counts twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};
use sluicegate_simulator::{Counts, Simulator};
use sqlx::Connection as _;
use tokio::task::JoinSet;

use crate::support::postgres::Postgres;
use crate::support::redis::{MASTER, Redis};
use crate::support::{Config, Gateway, chat, provider, soon};

/// Nano-USD a token: 10 and 20 USD a million.
const IN: u64 = 10_000;
const OUT: u64 = 20_000;

const CLIENTS: usize = 16;

fn config(provider: &Simulator, store: &str) -> Config {
    let mut config = Config::for_provider(provider.address());
    config.head = format!("admin: {{ master_key: \"env:MASTER_KEY\" }}\n{store}");
    config.with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n",
    )
}

fn request() -> Value {
    let mut body = chat(false, "tokens=5");
    body["max_tokens"] = json!(5);
    body
}

fn cost(counts: &Counts) -> u64 {
    counts.prompt_tokens * IN + counts.completion_tokens * OUT
}

/// What the whole of a budget may be worth in requests like [`request`].
fn budget(requests: u64) -> f64 {
    let worst = (request().to_string().len() as u64 + 64) * IN + 5 * OUT;
    (requests * worst) as f64 / 1e9
}

/// Clients that ask, whatever they are answered, until they are told to stop.
struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn on(gateways: &[&Gateway], key: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for index in 0..CLIENTS {
            let client = gateways[index % gateways.len()].client();
            let (bearer, stop) = (format!("Authorization: Bearer {key}\r\n"), stop.clone());
            clients.spawn(async move {
                while !stop.load(Relaxed) {
                    let answer =
                        client.post_with("/v1/chat/completions", &bearer, &request()).await;
                    let known = [(200, ""), (402, "budget_exceeded"), (503, "quota_unavailable")];
                    let code = if answer.status == 200 { String::new() } else { answer.code() };
                    assert!(known.contains(&(answer.status, code.as_str())), "{}", answer.text());
                    if answer.status != 200 {
                        // Whoever is refused does not ask again at once.
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        Self { clients, stop }
    }

    async fn stop(self) {
        self.stop.store(true, Relaxed);
        soon("the clients' last answers", self.clients.join_all()).await;
    }
}

/// What the budget's counter has counted, once the gateways have told everything, in nano-USD.
async fn counted(gateway: &Gateway, key_id: &str) -> u64 {
    let path = format!("/admin/v1/quotas/key:{key_id}");
    let told = gateway.admin("GET", &path, &Value::Null).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let told = told.json();
    let money = &told["quotas"][0];
    assert_eq!(money["unit"], "usd", "{told}");
    money["settled"]["nano_usd"].as_u64().unwrap()
}

/// A key with a budget for so many requests, and its id.
async fn key(gateway: &Gateway, requests: u64) -> (String, String) {
    let window =
        json!({"unit": "usd", "limit": budget(requests).to_string(), "window": "lifetime"});
    let body = json!({"limits": {"windows": [window]}});
    let made = gateway.admin("POST", "/admin/v1/keys", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_outlives_the_primary_of_its_redis() {
    let (provider, postgres) = (provider().await, Postgres::start());
    let mut primary = Redis::start_durable();
    let replicas = [Redis::start_replica(&primary), Redis::start_replica(&primary)];
    let sentinel = Redis::start_sentinel(&primary);
    let store = format!(
        "store: {{ postgres: {{ url: \"{}\" }} }}\n\
         quota_store: {{ redis: {{ sentinel: {{ nodes: [\"{}\"], master: {MASTER} }}, wait_replicas: 1 }} }}\n",
        postgres.url(),
        sentinel.url(),
    );
    let config = config(&provider, &store);
    let (one, other) = (Gateway::start(&config), Gateway::start(&config));
    let (key, id) = key(&one, 20_000).await;
    let load = Load::on(&[&one, &other], &key);
    let more = async |requests: u64| {
        let enough = provider.ledger().total.completed + requests;
        soon("answers", provider.wait_until(|stats| stats.total.completed >= enough)).await;
    };
    more(200).await;
    primary.kill();
    soon("another primary", async {
        let address = || sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        while address().get(1).is_none_or(|port| *port == primary.address().port().to_string()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let leading = replicas.iter().find(|replica| replica.command(&["ROLE"])[0] == "master");
    assert!(leading.is_some(), "one of the replicas leads");
    // What is counted from now on is counted there.
    more(2_000).await;
    load.stop().await;
    one.until_metric("sluicegate_quota_store_up", "", 1.0).await;
    other.stop().await;
    let spent = cost(&provider.ledger().total);
    soon("all to be told", async { while counted(&one, &id).await != spent {} }).await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_kept_while_its_postgres_is_away_and_told_once_later() {
    let (provider, mut postgres) = (provider().await, Postgres::start());
    let store = format!("store: {{ postgres: {{ url: \"{}\" }} }}\n", postgres.url());
    let config = config(&provider, &store);
    let (one, other) = (Gateway::start(&config), Gateway::start(&config));
    let requests = 600;
    let (key, id) = key(&one, requests).await;
    let load = Load::on(&[&one, &other], &key);
    soon("answers", provider.wait_until(|stats| stats.total.completed >= 50)).await;
    postgres.kill();
    // What is leased is spent, and then all is refused.
    soon("refusals", async {
        for gateway in [&one, &other] {
            while gateway.chat(&key, &request()).await.status != 503 {}
        }
    })
    .await;
    assert!(cost(&provider.ledger().total) < (budget(requests) * 1e9) as u64);
    postgres.restart();
    soon("the rest of the budget in use", async {
        for gateway in [&one, &other] {
            while gateway.chat(&key, &request()).await.status != 402 {}
        }
    })
    .await;
    load.stop().await;
    other.stop().await;
    let spent = cost(&provider.ledger().total);
    assert!(spent <= (budget(requests) * 1e9) as u64, "{spent}");
    soon("all to be told", async { while counted(&one, &id).await != spent {} }).await;
    one.stop().await;
    let mut connection = sqlx::PgConnection::connect(&postgres.url()).await.unwrap();
    let sums = "SELECT (SELECT sum(cost)::bigint FROM sluicegate.ledger), \
                (SELECT sum(cost)::bigint FROM sluicegate.ledger_daily)";
    let sums: (i64, i64) = sqlx::query_as(sums).fetch_one(&mut connection).await.unwrap();
    assert_eq!(sums, (spent.cast_signed(), spent.cast_signed()), "each row once");
}
