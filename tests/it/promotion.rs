//! PostgreSQL's primary is lost, its standby promoted, and the name that the store's URL has moved there.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::{Config, Gateway, chat, provider, soon};

/// What a name in the DNS, a virtual address or a proxy is for the gateway: it stays, and leads elsewhere.
struct Name {
    address: SocketAddr,
    leads_to: Arc<Mutex<SocketAddr>>,
}

impl Name {
    async fn of(server: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let leads_to = Arc::new(Mutex::new(server.address()));
        let target = leads_to.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = *target.lock().unwrap();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                });
            }
        });
        Self { address, leads_to }
    }

    fn move_to(&self, server: &Postgres) {
        *self.leads_to.lock().unwrap() = server.address();
    }
}

fn request() -> Value {
    let mut body = chat(false, "tokens=5");
    body["max_tokens"] = json!(5);
    body
}

async fn served(gateway: &Gateway, key: &str, times: usize) {
    for _ in 0..times {
        let answer = gateway.chat(key, &request()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_has_all_and_the_gateway_goes_on() {
    let provider = provider().await;
    let mut primary = Postgres::start();
    let standby = primary.standby();
    primary.wait_for_standbys().await;
    let name = Name::of(&primary).await;
    let port = name.address.port();
    let mut config = Config::for_provider(provider.address());
    config.head = format!(
        "admin: {{ master_key: \"env:MASTER_KEY\" }}\n\
         store: {{ postgres: {{ url: \"postgres://postgres:{PASSWORD}@localhost:{port}/postgres?sslmode=disable\" }} }}\n"
    );
    let config = config.with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n",
    );
    let gateway = Gateway::start(&config);
    let paid = gateway.key(&json!({"max_budget": 100})).await;
    let free = gateway.key(&json!({"key_alias": "free"})).await;
    served(&gateway, &paid, 30).await;
    served(&gateway, &free, 5).await;

    primary.kill();
    // Whoever has no limit notices nothing, and what is written down waits. A budget goes on by what is leased.
    served(&gateway, &free, 20).await;
    for _ in 0..5 {
        let answer = gateway.chat(&paid, &request()).await;
        assert!(answer.status == 200 || answer.code() == "quota_unavailable", "{}", answer.text());
    }
    standby.promote().await;
    name.move_to(&standby);
    let newer = soon("a new key", async {
        loop {
            let made = gateway.admin("POST", "/key/generate", &json!({"max_budget": 100})).await;
            if made.status == 200 {
                break made.json()["key"].as_str().unwrap().to_owned();
            }
        }
    })
    .await;
    // Counters have connections of their own, which are back as soon, but not at the same moment.
    for key in [&newer, &paid] {
        let asking = async { while gateway.chat(key, &request()).await.status != 200 {} };
        soon("what is left of a budget", asking).await;
        served(&gateway, key, 10).await;
    }
    gateway.stop().await;

    let mut connection = sqlx::PgConnection::connect(&standby.url()).await.unwrap();
    let found = sqlx::query(
        "SELECT count(*), sum(cost)::bigint, \
            (SELECT sum(cost)::bigint FROM sluicegate.ledger WHERE key_id <> \
             (SELECT id FROM sluicegate.keys WHERE alias = 'free')), \
            (SELECT sum(b.value::bigint)::bigint FROM sluicegate.quota_counters c, \
             jsonb_each_text(c.buckets) b WHERE c.counter LIKE '%nano_usd%') \
         FROM sluicegate.ledger",
    );
    let found = found.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let judge = provider.ledger().total;
    let cost = (judge.prompt_tokens * 10_000 + judge.completion_tokens * 20_000).cast_signed();
    let (rows, spent): (i64, i64) = (found.get(0), found.get(1));
    assert_eq!((rows, spent), (judge.completed.cast_signed(), cost));
    let (limited, counted): (i64, i64) = (found.get(2), found.get(3));
    assert_eq!(counted, limited, "the counters agree with the ledger");
}
