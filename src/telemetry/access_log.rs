//! One JSON line a request, written by a thread of its own. Never a prompt, an answer or a key.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::chat::Usage;

/// Lines that may wait for the writer. Beyond it lines are dropped and counted: a full disk must
/// not stop the traffic.
const QUEUE: usize = 16 * 1024;
/// The longest that a line may wait in the buffer while traffic goes on.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// What is written of a request. Durations are in seconds.
#[derive(Default, Serialize)]
pub struct Line<'a> {
    /// `x-request-id` of the answer.
    pub request_id: &'a str,
    /// The HTTP method.
    pub method: &'a str,
    /// A short name of the route, never the path as sent.
    pub route: &'a str,
    /// The status sent; 0 where none was.
    pub status: u16,
    /// How the request ended.
    pub end: &'a str,
    /// The refusal's stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// More about a refusal or failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// How the caller was identified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<&'a str>,
    /// The configuration generation that decided.
    pub generation: u64,
    /// The model asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// The provider of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'a str>,
    /// The model's name there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_model: Option<&'a str>,
    /// The status of the provider's last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// Whether the answer was an event stream.
    pub stream: bool,
    /// Calls made to providers.
    pub attempts: usize,
    /// Bytes of the request's body as sent on.
    pub bytes_in: u64,
    /// Bytes of the answer's body as forwarded.
    pub bytes_out: u64,
    /// From the header's last byte to the end.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// To the first content.
    #[serde(serialize_with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<Duration>,
    /// What the gateway added.
    #[serde(serialize_with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Duration>,
    /// Tokens by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// The way to the log. Cheap to share.
#[derive(Clone)]
pub struct AccessLog {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Starts a writer to `out`. It ends when the last handle is dropped.
    pub fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&receiver, std::io::BufWriter::with_capacity(64 * 1024, out)))?;
        Ok(Self { sender, dropped: Arc::new(AtomicU64::new(0)) })
    }

    /// Hands a line to the writer; never waits.
    pub fn write(&self, line: &Line<'_>) {
        let mut text = Vec::with_capacity(640);
        text.extend_from_slice(br#"{"time":""#);
        let written = write!(text, "{:.3}", jiff::Timestamp::now());
        text.extend_from_slice(br#"","#);
        let head = text.len();
        if written.is_err() || serde_json::to_writer(&mut text, line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The line's own opening brace: ours stands at the front already.
        text.remove(head);
        text.push(b'\n');
        if self.sender.try_send(Message::Line(text)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were not written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over before is written, at most `within`.
    pub fn flush(&self, within: Duration) {
        let (done, wait) = sync_channel(1);
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            wait.recv_timeout(within).ok();
        }
    }
}

fn write_lines(receiver: &Receiver<Message>, mut out: impl Write) {
    loop {
        match receiver.recv_timeout(FLUSH_EVERY) {
            // A log that can't be written must not end the process; the next line may succeed.
            Ok(Message::Line(line)) => drop(out.write_all(&line)),
            Ok(Message::Flush(done)) => {
                out.flush().ok();
                done.try_send(()).ok();
            }
            Err(RecvTimeoutError::Timeout) => drop(out.flush()),
            Err(RecvTimeoutError::Disconnected) => {
                out.flush().ok();
                return;
            }
        }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Microseconds are enough, and shorter.
    serializer.serialize_f64(duration.as_micros() as f64 / 1e6)
}

fn maybe_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_with_its_time_first() {
        let out = Memory::default();
        let log = AccessLog::start(out.clone()).unwrap();
        log.write(&Line { request_id: "r\"1", status: 200, ..Line::default() });
        log.flush(Duration::from_secs(10));
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with(r#"{"time":"2"#), "{text}");
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["request_id"], "r\"1");
        assert_eq!(line["status"], 200);
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(log.dropped(), 0);
    }
}
