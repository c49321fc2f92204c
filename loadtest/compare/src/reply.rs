//! Reads HTTP/1.1 replies with little CPU, for on a small machine the load generator competes with
//! what it measures.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest reply that is accepted.
const MAX_REPLY: usize = 16 * 1024 * 1024;
/// The last chunk and the empty trailer, after the line end of the chunk before.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// A reply that is not what the workload expects: it makes the whole measurement void.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Closed within a reply.
    #[error("the connection was closed before the reply's end")]
    Closed,
    /// An error status.
    #[error("status {status}: {start}")]
    Status {
        /// The status.
        status: u16,
        /// The start of what was read of the body.
        start: String,
    },
    /// No HTTP, or no length.
    #[error("not a reply with a length: {0}")]
    Malformed(String),
    /// A stream without `[DONE]`.
    #[error("the stream ended without its last event")]
    Incomplete,
    /// Past 16 MiB.
    #[error("the reply is too large")]
    TooLarge,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    status: u16,
    framing: Framing,
}

/// Reads one reply to its end into `buffer`, which is cleared first.
///
/// No request is sent before the reply's end, so the buffer never holds bytes of two replies; that
/// makes the look at its end enough to find a chunked body's end.
///
/// # Errors
/// When the reply is not a whole one of status 200.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<(), ReplyError> {
    let head = read_head(stream, buffer).await?;
    loop {
        match head.framing {
            Framing::Length(length) if buffer.len() >= head.bytes + length => break,
            Framing::Chunked if buffer.ends_with(LAST_CHUNK) => {
                let tail = &buffer[buffer.len().saturating_sub(64).max(head.bytes)..];
                return if find(tail, b"[DONE]").is_some() {
                    Ok(())
                } else {
                    Err(ReplyError::Incomplete)
                };
            }
            _ => more(stream, buffer).await?,
        }
    }
    Ok(())
}

/// Reads the head and the first event of a stream.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_first_event(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<(), ReplyError> {
    let head = read_head(stream, buffer).await?;
    while find(&buffer[head.bytes..], b"\n\n").is_none() {
        more(stream, buffer).await?;
    }
    Ok(())
}

async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<Head, ReplyError> {
    buffer.clear();
    let head = loop {
        more(stream, buffer).await?;
        if let Some(head) = parse_head(buffer)? {
            break head;
        }
    };
    if head.status != 200 {
        let start = &buffer[head.bytes..];
        let start = String::from_utf8_lossy(&start[..start.len().min(200)]).into_owned();
        return Err(ReplyError::Status { status: head.status, start });
    }
    Ok(head)
}

async fn more(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<(), ReplyError> {
    if buffer.len() > MAX_REPLY {
        return Err(ReplyError::TooLarge);
    }
    buffer.reserve(16 * 1024);
    match stream.read_buf(buffer).await? {
        0 => Err(ReplyError::Closed),
        _ => Ok(()),
    }
}

/// `None` while the head is not whole.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, ReplyError> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let malformed = || {
        let start = &bytes[..end.min(200)];
        ReplyError::Malformed(String::from_utf8_lossy(start).into_owned())
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed())?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|line| line.get(..3))
        .and_then(|status| status.parse().ok())
        .ok_or_else(malformed)?;
    let mut framing = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            framing = Some(Framing::Length(value.trim().parse().map_err(|_| malformed())?));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Some(Framing::Chunked);
        }
    }
    let framing = framing.ok_or_else(malformed)?;
    Ok(Some(Head { bytes: end + 4, status, framing }))
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(reply: &[u8]) -> Result<(), ReplyError> {
        // Byte by byte, so that every boundary is met.
        let mut stream = OneByte(reply.iter());
        read(&mut stream, &mut Vec::new()).await
    }

    struct OneByte<'a>(std::slice::Iter<'a, u8>);

    impl AsyncRead for OneByte<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if let Some(byte) = self.0.next() {
                buffer.put_slice(&[*byte]);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn whole_replies() {
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert!(read_all(length).await.is_ok());
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
            e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
        assert!(read_all(chunked).await.is_ok());
    }

    #[tokio::test]
    async fn broken_replies() {
        let read = |reply: &'static str| read_all(reply.as_bytes());
        let cut = read("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab").await;
        assert!(matches!(cut, Err(ReplyError::Closed)));
        let status = read("HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(status, Err(ReplyError::Status { status: 502, .. })));
        let incomplete = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        assert!(matches!(read(incomplete).await, Err(ReplyError::Incomplete)));
        let endless = read("HTTP/1.1 200 OK\r\n\r\nabc").await;
        assert!(matches!(endless, Err(ReplyError::Malformed(_))));
        assert!(matches!(read("SSH-2.0\r\n\r\n").await, Err(ReplyError::Malformed(_))));
    }
}
