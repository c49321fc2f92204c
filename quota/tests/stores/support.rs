//! What starts servers, shared with the gateway's own tests.

#[path = "../../../tests/it/support/pgbouncer.rs"]
pub mod pgbouncer;
#[path = "../../../tests/it/support/postgres.rs"]
#[expect(dead_code, reason = "the gateway's tests use the rest")]
pub mod postgres;
#[path = "../../../tests/it/support/redis.rs"]
pub mod redis;

use std::net::SocketAddr;
use std::time::Duration;

/// The longest that anything here waits. Not a measurement: only so that a hang fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An address where nobody listens.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits for `future`, but not for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}
