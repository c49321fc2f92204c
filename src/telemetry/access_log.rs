//! One JSON line a request, written by a thread of its own. Never a prompt, an answer or a key.

use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use serde::{Serialize, Serializer};

use crate::chat::Usage;

/// Lines that may wait for the writer. Beyond it lines are dropped and counted: a full disk must
/// not stop the traffic.
const QUEUE: usize = 16 * 1024;
/// How often the writer looks for lines while traffic goes on.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long it sleeps at most where there is none.
const IDLE: Duration = Duration::from_secs(10);
/// Bytes that are written at once.
const BUFFER: usize = 64 * 1024;

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
pub struct AccessLog(Arc<Shared>);

struct Shared {
    lines: ArrayQueue<Vec<u8>>,
    writer: OnceLock<Thread>,
    /// The writer waits for a line; whoever brings one wakes it. While lines keep coming it looks
    /// by itself now and then instead: waking a thread for each line costs more than the line.
    parked: AtomicBool,
    dropped: AtomicU64,
    /// Lines handed over and lines that are past the buffer.
    queued: AtomicU64,
    written: AtomicU64,
}

impl AccessLog {
    /// Starts a writer to `out`. It ends when the last handle is dropped.
    pub fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            lines: ArrayQueue::new(QUEUE),
            writer: OnceLock::new(),
            parked: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
        });
        let lines = Arc::downgrade(&shared);
        let writer = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&lines, std::io::BufWriter::with_capacity(BUFFER, out)))?;
        shared.writer.set(writer.thread().clone()).ok();
        Ok(Self(shared))
    }

    /// Hands a line to the writer; never waits.
    pub fn write(&self, line: &Line<'_>) {
        let mut text = Vec::with_capacity(640);
        text.extend_from_slice(br#"{"time":""#);
        let written = write!(text, "{:.3}", jiff::Timestamp::now());
        text.extend_from_slice(br#"","#);
        let head = text.len();
        if written.is_err() || serde_json::to_writer(&mut text, line).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The line's own opening brace: ours stands at the front already.
        text.remove(head);
        text.push(b'\n');
        self.0.queued.fetch_add(1, Ordering::SeqCst);
        if self.0.lines.push(text).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            self.0.written.fetch_add(1, Ordering::SeqCst);
        }
        if self.0.parked.load(Ordering::SeqCst) {
            self.0.wake();
        }
    }

    /// Lines that were not written.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over before is written, at most `within`.
    pub fn flush(&self, within: Duration) {
        let (until, deadline) = (self.0.queued.load(Ordering::SeqCst), Instant::now() + within);
        while self.0.written.load(Ordering::SeqCst) < until && Instant::now() < deadline {
            self.0.wake();
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Shared {
    fn wake(&self) {
        self.parked.store(false, Ordering::SeqCst);
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.wake();
    }
}

fn write_lines(shared: &Weak<Shared>, mut out: impl Write) {
    // Held only while there is work, so that the last handle's drop ends this thread.
    while let Some(shared) = shared.upgrade() {
        let mut count = 0;
        while let Some(line) = shared.lines.pop() {
            // A log that can't be written must not end the process; the next line may succeed.
            out.write_all(&line).ok();
            count += 1;
        }
        if count > 0 {
            out.flush().ok();
            shared.written.fetch_add(count, Ordering::SeqCst);
            drop(shared);
            std::thread::park_timeout(LOOK_EVERY);
            continue;
        }
        shared.parked.store(true, Ordering::SeqCst);
        // A line that came before the flag was seen has woken nobody.
        if shared.lines.is_empty() {
            drop(shared);
            std::thread::park_timeout(IDLE);
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

    #[test]
    fn lines_of_many_threads_are_all_written_whole() {
        let out = Memory::default();
        let log = AccessLog::start(out.clone()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        log.write(&Line { request_id: "x", ..Line::default() });
                    }
                });
            }
        });
        log.flush(Duration::from_secs(10));
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let whole = text.lines().filter(|line| line.starts_with('{') && line.ends_with('}'));
        assert_eq!(whole.count() as u64 + log.dropped(), 4000);
    }
}
