//! Which target a call goes to, and what becomes of one that fails.

use serde_json::{Value, json};
use sluicegate_simulator::{Options, Simulator};

use crate::support::{Config, Gateway, Response, chat, provider, soon};

/// Two providers: `sim`, which does as it is told by a model's name, and `other`.
fn config(sim: &Simulator, other: &Simulator, models: &str) -> Config {
    let mut config = Config::for_provider(sim.address());
    config.head = "auth: { anonymous: true }\nadmin: { master_key: \"env:MASTER_KEY\" }\n".into();
    config.providers += &format!(
        "  other: {{ dialect: openai, base_url: \"http://{}/v1\", api_key: \"env:SIM_KEY\" }}\n",
        other.address()
    );
    config.with_models(models)
}

const BAD: &str = "{ provider: sim, model: \"bad;fault=status;status=503\" }";

async fn ask(gateway: &Gateway) -> Response {
    gateway.client().post("/v1/chat/completions", &chat(false, "")).await
}

/// The targets of the model `sim-1`, as the admin API tells of them.
async fn targets(gateway: &Gateway) -> Vec<Value> {
    let models = gateway.admin("GET", "/admin/v1/models", &Value::Null).await.json();
    let models = models["items"].as_array().unwrap();
    let model = models.iter().find(|model| model["id"] == "sim-1").unwrap();
    model["targets"].as_array().unwrap().clone()
}

/// How many calls are under way at each of them.
async fn in_flight(gateway: &Gateway) -> Vec<u64> {
    targets(gateway).await.iter().map(|target| target["in_flight"].as_u64().unwrap()).collect()
}

fn served(simulator: &Simulator) -> u64 {
    simulator.ledger().total.requests
}

#[tokio::test]
async fn a_model_falls_back_to_others_in_their_order() {
    let (sim, other) = (provider().await, provider().await);
    let models = format!(
        "  sim-1: {{ targets: [{BAD}], fallback: [second, third], retries: {{ attempts: 3 }} }}\n  \
         third: {{ targets: [{{ provider: other, model: the-third }}] }}\n  \
         second: {{ targets: [{{ provider: sim, model: \"also-bad;fault=status;status=500\" }}] }}\n"
    );
    let gateway = Gateway::start(&config(&sim, &other, &models));
    for stream in [false, true] {
        let answer = gateway.client().post("/v1/chat/completions", &chat(stream, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent: Value = serde_json::from_slice(&other.requests().last().unwrap().body).unwrap();
        assert_eq!(sent["model"], "the-third");
    }
    let asked: Vec<_> = sim
        .requests()
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["model"].clone())
        .collect();
    assert!(asked[0].as_str().unwrap().starts_with("bad;"), "{asked:?}");
    assert!(asked[1].as_str().unwrap().starts_with("also-bad;"), "{asked:?}");
    let log = gateway.stop().await;
    assert!(
        log.iter().all(|line| line["attempts"] == 3 && line["provider"] == "other"),
        "{log:#?}"
    );
}

#[tokio::test]
async fn a_target_that_fails_is_left_out_and_comes_back_slowly() {
    let (sim, other) = (provider().await, provider().await);
    let models = format!(
        "  sim-1:\n    targets: [{BAD}, {{ provider: other, model: good, priority: 2 }}]\n    \
         health: {{ failures: 3, cooldown: 1h }}\n    retries: {{ attempts: 2, budget: 100 }}\n"
    );
    let gateway = Gateway::start(&config(&sim, &other, &models));
    for _ in 0..20 {
        let answer = ask(&gateway).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-sluicegate-degraded"), None);
    }
    assert_eq!(served(&sim), 3, "after three failures it is asked no more");
    let found = targets(&gateway).await;
    assert_eq!(
        (&found[0]["share"], &found[0]["ejections"]),
        (&json!(0.0), &json!(1)),
        "{found:#?}"
    );
    assert!(found[0]["out_for_ms"].as_i64().unwrap() > 3_500_000, "{found:#?}");
    assert_eq!((&found[1]["share"], &found[1]["priority"]), (&json!(1.0), &json!(2)));
    let share = gateway.metric("sluicegate_target_share", "provider=\"sim\"").await;
    assert!(share.abs() < f64::EPSILON, "{share}");
    gateway.until_metric("sluicegate_target_ejections_total", "provider=\"sim\"", 1.0).await;
    gateway.until_metric("sluicegate_retries_total", "result=\"made\"", 3.0).await;

    // What is known of it outlives a reload.
    let answer = gateway.admin("POST", "/admin/v1/config/reload", &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(targets(&gateway).await[0]["ejections"], 1);
    assert_eq!(ask(&gateway).await.status, 200);
    assert_eq!(served(&sim), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_target_with_all_of_its_kind_left_out_is_asked_all_the_same_and_that_is_said() {
    let (sim, other) = (provider().await, provider().await);
    let models = format!(
        "  sim-1:\n    targets: [{BAD}]\n    health: {{ failures: 1, cooldown: 1h }}\n    \
         retries: {{ attempts: 1 }}\n"
    );
    let gateway = Gateway::start(&config(&sim, &other, &models));
    let first = ask(&gateway).await;
    assert_eq!((first.status, first.header("x-sluicegate-degraded")), (503, None));
    let second = ask(&gateway).await;
    let said = second.header("x-sluicegate-degraded");
    assert_eq!((second.status, said), (503, Some("no-healthy-target")));
    gateway.until_metric("sluicegate_degraded_attempts_total", "model=\"sim-1\"", 1.0).await;
    assert_eq!(served(&sim), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_and_a_long_wait_is_the_callers_to_make() {
    let (sim, other) = (provider().await, provider().await);
    let limited = "{ provider: sim, model: \"limited;fault=retry_after;status=429;seconds=30\" }";
    let alone = format!("  sim-1: {{ targets: [{limited}], retries: {{ attempts: 3 }} }}\n");
    let gateway = Gateway::start(&config(&sim, &other, &alone));
    let answer = ask(&gateway).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("30")));
    assert_eq!(served(&sim), 1, "nobody waits for half a minute");
    gateway.stop().await;

    let both = format!(
        "  sim-1: {{ targets: [{limited}, {{ provider: other, model: good, priority: 2 }}] }}\n"
    );
    let gateway = Gateway::start(&config(&sim, &other, &both));
    for _ in 0..5 {
        assert_eq!(ask(&gateway).await.status, 200);
    }
    assert_eq!((served(&sim), served(&other)), (2, 5));
    gateway.stop().await;
}

#[tokio::test]
async fn when_all_fails_there_are_few_attempts_more_than_calls() {
    let (sim, other) = (provider().await, provider().await);
    let models = format!(
        "  sim-1:\n    targets: [{BAD}]\n    health: {{ failures: 1000 }}\n    \
         retries: {{ attempts: 5, budget: 10, backoff: 0s }}\n"
    );
    let gateway = Gateway::start(&config(&sim, &other, &models));
    let calls = 100;
    for _ in 0..calls {
        assert_eq!(ask(&gateway).await.status, 503);
    }
    // A tenth, ten in reserve, and one for each second that this took: far from four more for each.
    let attempts = served(&sim);
    assert!((calls + 15..2 * calls).contains(&attempts), "{attempts}");
    assert!(gateway.metric("sluicegate_retries_total", "result=\"over_budget\"").await > 50.0);
    gateway.stop().await;
}

#[tokio::test]
async fn calls_go_to_the_less_busy() {
    let (sim, other) = (provider().await, provider().await);
    let models = "  sim-1:\n    targets: [{ provider: sim, model: \"slow;fault=stall;after=1\" }, \
                  { provider: other, model: good }]\n    balance: least_busy\n";
    let gateway = Gateway::start(&config(&sim, &other, models));
    // One hangs at the slow one; from then on all others go to the other. A call is under way for a
    // moment longer than its client sees, so each waits until the one before is over.
    let mut hanging = Vec::new();
    let started = async {
        while served(&sim) == 0 {
            let mut stream = gateway.client().connect().await;
            let request =
                crate::support::Client::request("/v1/chat/completions", "", &chat(true, ""));
            let before = served(&sim) + served(&other);
            tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
            hanging.push(stream);
            while served(&sim) + served(&other) == before {
                tokio::task::yield_now().await;
            }
        }
    };
    soon("one that hangs", started).await;
    for _ in 0..10 {
        let alone = async { while in_flight(&gateway).await != [1, 0] {} };
        soon("only the one that hangs", alone).await;
        assert_eq!(ask(&gateway).await.status, 200);
    }
    assert_eq!(served(&sim), 1);
    drop(hanging);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_content_is_replaced_unseen() {
    let (sim, other) = (provider().await, provider().await);
    for fault in [
        "truncate;after=1",
        "error_event;after=1",
        "reset;after=1",
        "stall;after=1",
        "malformed-sse;after=1",
    ] {
        let models = format!(
            "  sim-1:\n    targets: [{{ provider: sim, model: \"bad;fault={fault}\" }}, \
             {{ provider: other, model: good, priority: 2 }}]\n    timeouts: {{ idle: 300ms }}\n"
        );
        let gateway = Gateway::start(&config(&sim, &other, &models));
        let answer = gateway.client().post("/v1/chat/completions", &chat(true, "tokens=3")).await;
        assert_eq!(answer.status, 200, "{fault}: {}", answer.text());
        let text = answer.text();
        assert!(text.ends_with("data: [DONE]\n\n"), "{fault}: {text}");
        assert_eq!(text.matches("\"role\"").count(), 1, "{fault}: one beginning: {text}");
        assert_eq!(text.matches("token ").count(), 3, "{fault}: {text}");
        let log = gateway.stop().await;
        assert_eq!(
            (&log[0]["attempts"], &log[0]["end"]),
            (&json!(2), &json!("complete")),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_first_content_is_not_begun_anew() {
    let (sim, other) = (provider().await, provider().await);
    let models = "  sim-1:\n    targets: [{ provider: sim, model: \"bad;fault=truncate;after=3\" }, \
                  { provider: other, model: good, priority: 2 }]\n";
    let gateway = Gateway::start(&config(&sim, &other, models));
    let answer = gateway.client().post("/v1/chat/completions", &chat(true, "tokens=9")).await;
    let text = answer.text();
    assert!(!text.contains("[DONE]") && text.contains("stream_interrupted"), "{text}");
    assert_eq!(served(&other), 0);
    gateway.stop().await;
}

/// A target takes the calls with it that are under way when it dies, and no other.
#[tokio::test]
async fn who_dies_takes_only_what_is_under_way_and_comes_back_slowly() {
    let (sim, other) = (provider().await, provider().await);
    let models = "  sim-1:\n    targets: [{ provider: sim, model: m }, { provider: other, model: m }]\n    \
                  health: { failures: 1, cooldown: 100ms, slow_start: 1h }\n    \
                  retries: { budget: 100 }\n";
    let gateway = Gateway::start(&config(&sim, &other, models));
    let body = chat(true, "fault=stall,after=3");
    let request = crate::support::Client::request("/v1/chat/completions", "", &body);
    let mut streams = Vec::new();
    let opened = async {
        while sim.streams_open() < 4 || other.streams_open() < 1 {
            let open = sim.streams_open() + other.streams_open();
            let mut stream = gateway.client().connect().await;
            tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
            streams.push(stream);
            while sim.streams_open() + other.streams_open() == open {
                tokio::task::yield_now().await;
            }
        }
    };
    soon("streams at both", opened).await;
    // Once content has come, no other target can take their place.
    for stream in &mut streams {
        let mut seen = Vec::new();
        let content = async {
            while !String::from_utf8_lossy(&seen).contains("token ") {
                tokio::io::AsyncReadExt::read_buf(stream, &mut seen).await.unwrap();
            }
        };
        soon("content", content).await;
    }
    let (under_way, elsewhere) = (sim.streams_open(), other.streams_open());
    let address = sim.address();
    sim.shutdown().await;

    for _ in 0..20 {
        assert_eq!(ask(&gateway).await.status, 200);
    }
    // What is shown is what is: there is nothing to wait for.
    let share = gateway.metric("sluicegate_target_share", "provider=\"sim\"").await;
    assert!(share.abs() < 0.2, "left out, or on trial: {share}");
    let broken = "end=\"upstream_broke\"";
    gateway.until_metric("sluicegate_exchanges_total", broken, under_way as f64).await;
    assert_eq!(other.streams_open(), elsewhere, "those of the other go on");

    let back = Simulator::start(Options { address, ..Options::default() }).await.unwrap();
    let asked = async {
        while served(&back) == 0 {
            assert_eq!(ask(&gateway).await.status, 200);
        }
    };
    soon("a call at who is back", asked).await;
    let (before, calls) = (served(&back), 200);
    for _ in 0..calls {
        assert_eq!(ask(&gateway).await.status, 200);
    }
    let share = served(&back) - before;
    assert!(share < calls / 3, "a tenth of its weight at first, and not the half: {share}");
    drop(streams);
    gateway.stop().await;
}

/// Three targets: one answers 503 to three of ten, one stalls now and then, one breaks off. All sizes of trouble at once:
/// whoever asks gets a whole answer, or is told that it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_fails_nobody_and_is_paid_to_the_last_token() {
    const CLIENTS: usize = 16;
    // A whole number of calls for each client.
    #[expect(clippy::disallowed_methods, reason = "for whoever runs the test, not for a gateway")]
    let calls = std::env::var("SLUICEGATE_CHAOS_CALLS");
    let calls: usize = calls.map_or(2_000, |n| n.parse().unwrap());
    let calls = calls / CLIENTS * CLIENTS;
    let providers = [provider().await, provider().await, provider().await, provider().await];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gate.db");
    let head = format!(
        "auth: {{ anonymous: true }}\nadmin: {{ master_key: \"env:MASTER_KEY\" }}\n\
         store: {{ sqlite: {{ path: \"{}\" }} }}\n",
        file.display()
    );
    let mut config = Config::for_provider(providers[3].address());
    config.head = head;
    for (index, simulator) in providers.iter().enumerate() {
        config.providers += &format!(
            "  p{index}: {{ dialect: openai, base_url: \"http://{}/v1\", api_key: \"env:SIM_KEY\" }}\n",
            simulator.address()
        );
    }
    // Each provider has places that do well and one that does not, so that about three in ten of its calls fail.
    let mut targets = String::new();
    for (index, fault) in
        ["fault=status;status=503", "fault=stall;after=1", "fault=truncate;after=1"]
            .iter()
            .enumerate()
    {
        targets += &format!(
            "      - {{ provider: p{index}, model: good-{index}, weight: 7 }}\n      \
             - {{ provider: p{index}, model: \"bad-{index};{fault}\", weight: 3 }}\n"
        );
    }
    let config = config.with_models(&format!(
        "  sim-1:\n    targets:\n{targets}    price: {{ input: \"10\", output: \"20\" }}\n    \
         retries: {{ attempts: 5, budget: 100, backoff: 1ms }}\n    timeouts: {{ idle: 200ms, first_byte: 200ms }}\n    \
         health: {{ failures: 3, cooldown: 500ms, slow_start: 1s }}\n"
    ));
    let gateway = std::sync::Arc::new(Gateway::start(&config));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let gateway = gateway.clone();
        clients.spawn(async move {
            for call in 0..calls / CLIENTS {
                let stream = (client + call) % 2 == 0;
                let body = chat(stream, "tokens=5");
                let answer = gateway.client().post("/v1/chat/completions", &body).await;
                let text = answer.text();
                assert_eq!(answer.status, 200, "{stream}: {text}");
                let whole = if stream {
                    text.ends_with("data: [DONE]\n\n")
                } else {
                    answer.json()["usage"].is_object()
                };
                assert!(whole, "{text}");
                assert_eq!(text.matches("token ").count(), 5, "never two beginnings: {text}");
            }
        });
    }
    // Not a measurement: only so that a hang fails.
    let patience = crate::support::PATIENCE * u32::try_from(calls.div_ceil(2_000)).unwrap();
    let all = async {
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    };
    tokio::time::timeout(patience, all).await.expect("all calls");
    let Ok(gateway) = std::sync::Arc::try_unwrap(gateway) else { panic!("a client is left") };
    let made = gateway.metric("sluicegate_retries_total", "result=\"made\"").await;
    eprintln!("{calls} calls, {made} attempts beyond the first");
    assert!(made <= calls as f64 * 0.2, "{made} attempts more for {calls} calls");
    // A row for each attempt that a provider has seen.
    let seen = providers.iter().map(served).sum::<u64>() as f64;
    gateway.until_metric("sluicegate_ledger_rows_total", "result=\"stored\"", seen).await;
    let log = gateway.stop().await;
    let logged = log.iter().filter(|line| line["model"] == "sim-1").count();
    assert_eq!(logged, calls);
    assert!(
        log.iter().all(|line| line["end"] == "complete"),
        "{:#?}",
        log.iter().find(|line| line["end"] != "complete")
    );
    let completed: u64 = providers.iter().map(|it| it.ledger().total.completed).sum();
    // One may be whole at its provider after its deadline has passed here, and was asked for again.
    let most = calls as f64 + made;
    assert!(completed >= calls as u64 && completed as f64 <= most, "{completed} of {calls}");
}
