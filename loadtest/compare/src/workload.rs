//! What is asked of the proxies.

use std::net::SocketAddr;

use clap::ValueEnum;
use serde::Serialize;

/// Content chunks of the streams.
const CHUNKS: u32 = 30;
/// Milliseconds between two of them, where they come as a model makes them.
const PACE: u32 = 10;
/// Bytes of the large prompt.
const PROMPT_BYTES: usize = 100 * 1024;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// A small JSON request and a small JSON reply.
    Small,
    /// A prompt of 100 KiB and a small JSON reply.
    Prompt,
    /// A small request and a stream of 30 content chunks without delays.
    Stream,
    /// The same, with 10 ms between two chunks.
    Paced,
}

impl Workload {
    /// All of them, in the order in which they run.
    pub(crate) const ALL: [Self; 4] = [Self::Small, Self::Prompt, Self::Stream, Self::Paced];

    /// Its name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Prompt => "prompt",
            Self::Stream => "stream",
            Self::Paced => "paced",
        }
    }

    /// The request's bytes. `credential` is sent as a bearer token.
    pub(crate) fn request(self, host: SocketAddr, credential: Option<&str>) -> Vec<u8> {
        match self {
            Self::Small => chat(host, credential, "Say hello.", ""),
            Self::Prompt => chat(host, credential, &"word ".repeat(PROMPT_BYTES / 5), ""),
            Self::Stream => stream(host, credential, &format!("tokens={CHUNKS}")),
            Self::Paced => stream(host, credential, &format!("tokens={CHUNKS},token_ms={PACE}")),
        }
    }
}

/// A stream that sends one event and then nothing more.
///
/// It stops after two events, since the first has no content yet: until there is some, a gateway may keep a
/// stream back for another attempt.
pub(crate) fn stalled_stream(host: SocketAddr, credential: Option<&str>) -> Vec<u8> {
    stream(host, credential, "fault=stall,after=2")
}

/// A request for a stream that is as `directives` say.
fn stream(host: SocketAddr, credential: Option<&str>, directives: &str) -> Vec<u8> {
    let rest = format!(r#","stream":true,"user":"{directives}""#);
    chat(host, credential, "Say hello.", &rest)
}

/// A chat request; `rest` is JSON for the end of its object. The simulator takes its settings from
/// `user`, which any proxy passes on.
fn chat(host: SocketAddr, credential: Option<&str>, prompt: &str, rest: &str) -> Vec<u8> {
    let body =
        format!(r#"{{"model":"sim-1","messages":[{{"role":"user","content":"{prompt}"}}]{rest}}}"#);
    let authorization = credential
        .map_or_else(String::new, |credential| format!("authorization: Bearer {credential}\r\n"));
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n{authorization}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_the_announced_length() {
        let host = SocketAddr::from(([127, 0, 0, 1], 80));
        let mut requests: Vec<_> =
            Workload::ALL.iter().map(|w| w.request(host, Some("sk-1"))).collect();
        requests.push(stalled_stream(host, None));
        for request in requests {
            let text = String::from_utf8(request).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())));
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
        }
    }
}
