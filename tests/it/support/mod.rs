//! What the tests share: a gateway process, a client that hides nothing, a provider.

#[path = "../../../vault/tests/bao/server.rs"]
#[expect(dead_code, reason = "the tests of the client use the rest")]
pub mod bao;
pub mod certificates;
mod client;
pub mod collector;
mod gateway;
pub mod issuer;
pub mod pgbouncer;
pub mod postgres;
#[expect(dead_code, reason = "the stores' tests use the rest")]
pub mod redis;
pub mod scripted;

use std::time::{Duration, Instant};

pub use client::{Client, Response, read_response, split_events};
pub use gateway::{Config, Gateway, MASTER_KEY, free_address};
use serde_json::{Value, json};
use sluicegate_simulator::{Options, Simulator};

/// The longest that anything here waits. Not a measurement: only so that a hang fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `future`, but not for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Tries up to five times to see `what` last no longer than `promised`, where that time is the promise itself.
/// Each attempt is the whole of it anew, and says how long it took. A machine that does other things as well
/// stands still now and then, and these pauses are not the gateway's; what is too slow by itself is so each time.
pub async fn in_time(what: &str, promised: Duration, mut attempt: impl AsyncFnMut() -> Duration) {
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(attempt().await);
        if seen.last().is_some_and(|took| *took <= promised) {
            return;
        }
    }
    panic!("{what}: {seen:?} instead of {promised:?}");
}

/// Waits until `seen`.
fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A provider that records what it gets.
pub async fn provider() -> Simulator {
    Simulator::start(Options { record_requests: true, ..Options::default() }).await.unwrap()
}

/// A gateway before `provider`, with everything else at its defaults.
pub async fn gateway(provider: &Simulator) -> Gateway {
    Gateway::start(&Config::for_provider(provider.address()))
}

/// A chat request. `directives` tell the simulated provider how to behave.
pub fn chat(stream: bool, directives: &str) -> Value {
    json!({
        "model": "sim-1",
        "stream": stream,
        "user": directives,
        "messages": [{"role": "user", "content": "Hello"}],
    })
}

/// A messages request.
pub fn messages(stream: bool, directives: &str) -> Value {
    json!({
        "model": "claude-sim",
        "stream": stream,
        "max_tokens": 100,
        "metadata": {"user_id": directives},
        "messages": [{"role": "user", "content": "Hello"}],
    })
}
