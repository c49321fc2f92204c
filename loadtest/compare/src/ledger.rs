//! The simulator's own count, to hold the load generator's against.

use std::net::SocketAddr;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::reply::ReplyError;

/// What the simulator counted in total since its start.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests accepted.
    pub(crate) requests: u64,
    /// Replies that the client left before their end.
    pub(crate) aborted: u64,
}

#[derive(Deserialize)]
struct Ledger {
    total: Counts,
}

/// Asks the simulator.
///
/// # Errors
/// When it does not answer with a ledger.
pub(crate) async fn read(simulator: SocketAddr) -> Result<Counts, ReplyError> {
    let mut stream = TcpStream::connect(simulator).await?;
    let request = format!("GET /ledger HTTP/1.1\r\nhost: {simulator}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    let text = String::from_utf8_lossy(&reply);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match serde_json::from_str::<Ledger>(body) {
        Ok(ledger) => Ok(ledger.total),
        Err(_) => Err(ReplyError::Malformed(text.into_owned())),
    }
}
