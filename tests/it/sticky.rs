//! The same target for the same conversation.

use std::collections::BTreeSet;

use serde_json::json;
use sluicegate_simulator::{Options, Simulator};

use crate::support::{Config, Gateway, provider, soon};

const TARGETS: &str = "    targets:\n      - { provider: p0, model: m }\n      \
                       - { provider: p1, model: m }\n      - { provider: p2, model: m }\n";

fn config(providers: &[Simulator], model: &str) -> Config {
    let mut config = Config::for_provider(providers[0].address());
    config.head = "admin: { master_key: \"env:MASTER_KEY\" }\n\
                   store: { sqlite: { path: \":memory:\" } }\n"
        .to_owned();
    for (index, simulator) in providers.iter().enumerate() {
        config.providers += &format!(
            "  p{index}: {{ dialect: openai, base_url: \"http://{}/v1\", api_key: \"env:SIM_KEY\" }}\n",
            simulator.address()
        );
    }
    config.with_models(&format!("  sim-1:\n{TARGETS}{model}"))
}

async fn three() -> Vec<Simulator> {
    vec![provider().await, provider().await, provider().await]
}

/// Which provider answers in this conversation.
async fn home(gateway: &Gateway, key: &str, providers: &[Option<&Simulator>], name: &str) -> usize {
    let count = |simulator: &Option<&Simulator>| {
        simulator.map_or(0, |simulator| simulator.ledger().total.completed)
    };
    let before: Vec<_> = providers.iter().map(count).collect();
    let mut body = crate::support::chat(false, "");
    body["prompt_cache_key"] = json!(name);
    let answer = gateway.chat(key, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // A provider writes an answer down after the last byte of it has left.
    let found = async {
        loop {
            let place = providers.iter().zip(&before).position(|(it, before)| count(it) > *before);
            match place {
                Some(place) => return place,
                None => tokio::task::yield_now().await,
            }
        }
    };
    soon("whoever answered", found).await
}

#[tokio::test]
async fn a_conversation_stays_moves_from_the_dead_and_comes_back() {
    let mut providers = three().await;
    let model = "    sticky: conversation\n    balance: least_busy\n    \
                 health: { failures: 1, cooldown: 100ms, slow_start: 0s }\n    \
                 retries: { budget: 100 }\n";
    let gateway = Gateway::start(&config(&providers, model));
    let key = gateway.key(&json!({})).await;
    let names: Vec<_> = (0..24).map(|n| format!("conversation {n}")).collect();
    let mut homes = Vec::new();
    let all: Vec<_> = providers.iter().map(Some).collect();
    for name in &names {
        homes.push(home(&gateway, &key, &all, name).await);
    }
    assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
    for (name, at) in names.iter().zip(&homes).chain(names.iter().zip(&homes)) {
        assert_eq!(home(&gateway, &key, &all, name).await, *at, "{name}");
    }

    let dead = providers.remove(1);
    let address = dead.address();
    dead.shutdown().await;
    let left = [Some(&providers[0]), None, Some(&providers[1])];
    for (name, at) in names.iter().zip(&homes) {
        let now = home(&gateway, &key, &left, name).await;
        assert!(now != 1 && (*at == 1 || now == *at), "{name}: {at} {now}");
    }

    let options = Options { address, ..Options::default() };
    let back = Simulator::start(options).await.unwrap();
    let all = [Some(&providers[0]), Some(&back), Some(&providers[1])];
    for (name, at) in names.iter().zip(&homes) {
        let again = async { while home(&gateway, &key, &all, name).await != *at {} };
        soon("its home again", again).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn tenants_do_not_share_and_who_names_nothing_is_spread() {
    let providers = three().await;
    let all: Vec<_> = providers.iter().map(Some).collect();
    let gateway = Gateway::start(&config(&providers, "    sticky: conversation\n"));
    let mut keys = Vec::new();
    for team in ["a", "b"] {
        let made = gateway.admin("POST", "/team/new", &json!({"team_id": team})).await;
        assert_eq!(made.status, 200, "{}", made.text());
        for _ in 0..2 {
            keys.push(gateway.key(&json!({"team_id": team})).await);
        }
    }
    let mut differ = 0;
    for n in 0..24 {
        let name = format!("conversation {n}");
        let at = home(&gateway, &keys[0], &all, &name).await;
        assert_eq!(home(&gateway, &keys[1], &all, &name).await, at, "one team");
        differ += u32::from(home(&gateway, &keys[2], &all, &name).await != at);
    }
    assert!(differ > 0, "another team's conversations of the same names");
    let mut homes = BTreeSet::new();
    // By chance: that none of 60 calls goes to one of three has a chance of one in ten billion.
    for _ in 0..60 {
        homes.insert(home(&gateway, &keys[0], &all, "").await);
    }
    assert_eq!(homes.len(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_header_can_name_what_is_kept_together() {
    let providers = three().await;
    let gateway = Gateway::start(&config(&providers, "    sticky: { header: x-session-id }\n"));
    let key = gateway.key(&json!({})).await;
    let headers = format!("Authorization: Bearer {key}\r\nX-Session-Id: 7\r\n");
    for _ in 0..12 {
        let body = crate::support::chat(false, "");
        let answer = gateway.client().post_with("/v1/chat/completions", &headers, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let served: Vec<_> = providers.iter().map(|it| it.ledger().total.requests).collect();
    assert_eq!(served.iter().max(), Some(&12), "{served:?}");
    gateway.stop().await;
}
