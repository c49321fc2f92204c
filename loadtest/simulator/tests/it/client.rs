//! A client that shows exactly what was on the wire.

use std::{io, net::SocketAddr};

use serde_json::Value;
use sluicegate_simulator::{Behaviour, Options, Simulator};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) async fn simulator() -> Simulator {
    Simulator::start(Options::default()).await.unwrap()
}

pub(crate) async fn simulator_that(behaviour: Behaviour) -> Simulator {
    Simulator::start(Options { defaults: behaviour, ..Options::default() }).await.unwrap()
}

/// Headers that satisfy either dialect.
pub(crate) const HEADERS: &str = "authorization: Bearer sk-test\r\nx-api-key: sk-test\r\n\
    anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n";

pub(crate) const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const CHAT_STREAM: &str =
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
pub(crate) const MESSAGES: &str =
    r#"{"model":"m","max_tokens":99,"messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const MESSAGES_STREAM: &str =
    r#"{"model":"m","max_tokens":99,"messages":[{"role":"user","content":"hi"}],"stream":true}"#;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As its framing said.
    Complete,
    /// With an orderly close before that.
    Closed,
    /// With a reset.
    Reset,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Sizes of the HTTP chunks, if it was chunked.
    pub(crate) chunks: Vec<usize>,
    pub(crate) end: End,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Name and data of the whole events. Comments are skipped.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let text = self.body.replace("\r\n", "\n");
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
        let mut events = Vec::new();
        for block in whole.split("\n\n") {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().to_owned()
            };
            if !block.is_empty() && !block.starts_with(':') {
                events.push((field("event: "), field("data: ")));
            }
        }
        events
    }

    /// The events' data that is JSON.
    pub(crate) fn data(&self) -> Vec<Value> {
        let events = self.events();
        events.iter().filter_map(|(_, data)| serde_json::from_str(data).ok()).collect()
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: sim\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

pub(crate) async fn get(simulator: &Simulator, path: &str) -> Answer {
    send(simulator, &request("GET", path, &format!("{HEADERS}connection: close\r\n"), "")).await
}

pub(crate) async fn post(simulator: &Simulator, path: &str, body: &str) -> Answer {
    post_with(simulator, path, HEADERS, body).await
}

/// With directives in the header.
pub(crate) async fn post_sim(
    simulator: &Simulator,
    path: &str,
    directives: &str,
    body: &str,
) -> Answer {
    post_with(simulator, path, &format!("{HEADERS}x-sim: {directives}\r\n"), body).await
}

pub(crate) async fn post_with(
    simulator: &Simulator,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    send(simulator, &request("POST", path, &format!("{headers}connection: close\r\n"), body)).await
}

/// Sends bytes and reads until the connection ends. Fails if nothing was answered.
pub(crate) async fn send(simulator: &Simulator, bytes: &str) -> Answer {
    exchange(simulator.address(), bytes).await.expect("an answer")
}

/// `None` when the connection ended before a whole head.
pub(crate) async fn exchange(address: SocketAddr, bytes: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let reset = match stream.read_to_end(&mut received).await {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    };
    parse(&received, reset)
}

/// Reads until `wanted` has arrived, and returns the connection, which is still open.
pub(crate) async fn open(simulator: &Simulator, bytes: &str, wanted: &str) -> TcpStream {
    let mut stream = TcpStream::connect(simulator.address()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut received = String::new();
    while !received.contains(wanted) {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "closed after {received}");
        received.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    stream
}

fn parse(bytes: &[u8], reset: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = (String::from_utf8(bytes[..end].to_vec()).unwrap(), &bytes[end + 4..]);
    let mut answer = Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head,
        body: String::new(),
        chunks: Vec::new(),
        end: if reset { End::Reset } else { End::Closed },
    };
    let (body, complete) = match answer.header("content-length") {
        Some(length) => (rest.to_vec(), length.parse() == Ok(rest.len())),
        None => {
            assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
            dechunk(rest, &mut answer.chunks)
        }
    };
    // A character may be cut at the very end, where a fault cuts the body.
    answer.body = String::from_utf8_lossy(&body).into_owned();
    if complete && !reset {
        answer.end = End::Complete;
    }
    Some(answer)
}

/// The body, and whether the last chunk was there.
fn dechunk(mut rest: &[u8], chunks: &mut Vec<usize>) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let data = &rest[line + 2..];
        if size == 0 {
            return (body, data == b"\r\n");
        }
        chunks.push(size);
        body.extend_from_slice(&data[..size.min(data.len())]);
        let Some(next) = data.get(size + 2..) else {
            break;
        };
        rest = next;
    }
    (body, false)
}
