//! One JSON line a request, written by a thread of its own. Never a prompt, an answer or a key.

use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::TraceId;
use sluicegate_filters::authorize::Decision;
use uuid::Uuid;

use crate::chat::Usage;

/// Bytes that may wait for the writer. Beyond it lines are dropped and counted: a full disk must
/// not stop the traffic.
const MOST_WAITING: usize = 8 * 1024 * 1024;
/// How often the writer looks for lines while traffic goes on.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long it sleeps at most where there is none.
const IDLE: Duration = Duration::from_secs(10);
/// Room that is kept for what waits, once there was so much.
const ROOM: usize = 512 * 1024;
/// Room for a line: nearly all are shorter.
const LINE: usize = 1024;

/// A member's name, with the comma before it and the colon behind it.
struct Name(&'static str);

/// Writes one down as the one piece that it is in the line.
macro_rules! name {
    ($name:literal) => {
        Name(concat!(",\"", $name, "\":"))
    };
}

/// What is written of a request. Durations are in seconds.
#[derive(Default)]
pub struct Line<'a> {
    /// `x-request-id` of the answer.
    pub request_id: &'a str,
    /// The trace that the request is part of, where there is one.
    pub trace: Option<TraceId>,
    /// The HTTP method.
    pub method: &'a str,
    /// A short name of the route, never the path as sent.
    pub route: &'static str,
    /// The status sent; 0 where none was.
    pub status: u16,
    /// How the request ended.
    pub end: &'static str,
    /// The refusal's stable word.
    pub code: Option<&'a str>,
    /// More about a refusal or failure.
    pub detail: Option<&'a str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// How the caller was identified.
    pub caller: Option<&'a str>,
    /// The virtual key's id.
    pub key: Option<Uuid>,
    /// The caller's user.
    pub user: Option<&'a str>,
    /// The caller's team.
    pub team: Option<&'a str>,
    /// The caller's organization.
    pub organization: Option<&'a str>,
    /// What the policies said, where they were asked.
    pub decision: Option<&'a Decision>,
    /// The configuration generation that decided.
    pub generation: u64,
    /// The model asked for.
    pub model: Option<&'a str>,
    /// The provider of the last attempt.
    pub provider: Option<&'a str>,
    /// The model's name there.
    pub provider_model: Option<&'a str>,
    /// The status of the provider's last answer.
    pub provider_status: Option<u16>,
    /// What was asked in MCP, and what became of it.
    pub mcp: Option<(&'static str, &'static str)>,
    /// The MCP server that was asked; none where all were.
    pub server: Option<&'a str>,
    /// The tool that was called there.
    pub tool: Option<&'a str>,
    /// Whether the answer was an event stream.
    pub stream: bool,
    /// Calls made to providers.
    pub attempts: usize,
    /// Bytes of the request's body as sent on.
    pub bytes_in: u64,
    /// Bytes of the answer's body as forwarded.
    pub bytes_out: u64,
    /// From the header's last byte to the end.
    pub duration: Duration,
    /// To the first content.
    pub time_to_first_token: Option<Duration>,
    /// What the gateway added.
    pub overhead: Option<Duration>,
    /// Tokens by kind.
    pub usage: Option<Usage>,
    /// Whether they are an estimate, for want of the provider's word.
    pub estimated: bool,
    /// What it cost in all, in nano-USD, where the model has a price.
    pub cost: Option<u64>,
}

/// The way to the log. Cheap to share.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    writer: OnceLock<Thread>,
    /// The writer waits for a line; whoever brings one wakes it. While lines keep coming it looks
    /// by itself now and then instead: waking a thread for each line costs more than the line.
    parked: AtomicBool,
    dropped: AtomicU64,
    /// Lines that have been written, or dropped.
    written: AtomicU64,
}

/// Lines that wait for the writer, one behind the other. The lock is held for as long as one is copied.
#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    lines: u64,
    /// All that ever were handed over.
    handed_over: u64,
}

impl AccessLog {
    /// Starts a writer to `out`. It ends when the last handle is dropped.
    pub fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            writer: OnceLock::new(),
            parked: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
        });
        let lines = Arc::downgrade(&shared);
        let writer = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&lines, out))?;
        shared.writer.set(writer.thread().clone()).ok();
        Ok(Self(shared))
    }

    /// Hands a line to the writer; never waits.
    pub fn write(&self, line: &Line<'_>) {
        RENDERED.with_borrow_mut(|text| {
            text.clear();
            line.render(SystemTime::now(), text);
            if !self.0.waiting().take(text) {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
                self.0.written.fetch_add(1, Ordering::SeqCst);
            }
        });
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
        let (until, deadline) = (self.0.waiting().handed_over, Instant::now() + within);
        while self.0.written.load(Ordering::SeqCst) < until && Instant::now() < deadline {
            self.0.wake();
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Waiting {
    /// Puts a line behind the others. Returns whether there was room.
    fn take(&mut self, line: &[u8]) -> bool {
        self.handed_over += 1;
        let fits = self.text.len() + line.len() <= MOST_WAITING;
        if fits {
            self.text.extend_from_slice(line);
            self.lines += 1;
        }
        fits
    }

    /// Hands out what waits in the place of `text`, which is empty. Returns how many lines they are.
    fn hand_out(&mut self, text: &mut Vec<u8>) -> u64 {
        std::mem::swap(&mut self.text, text);
        std::mem::take(&mut self.lines)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
    let (mut text, mut torn) = (Vec::new(), false);
    // Held only while there is work, so that the last handle's drop ends this thread.
    while let Some(shared) = shared.upgrade() {
        let lines = shared.waiting().hand_out(&mut text);
        if lines > 0 {
            // A log that can't be written must not end the process; the next lines may succeed.
            if torn && out.write_all(b"\n").is_ok() {
                torn = false;
            }
            let written = write_most(&mut out, &text);
            out.flush().ok();
            let (there, lost) = text.split_at(written);
            torn = there.last().map_or(torn, |byte| *byte != b'\n');
            let lost = lost.iter().filter(|byte| **byte == b'\n').count();
            shared.dropped.fetch_add(lost as u64, Ordering::Relaxed);
            text.clear();
            text.shrink_to(ROOM);
            shared.written.fetch_add(lines, Ordering::SeqCst);
            drop(shared);
            std::thread::park_timeout(LOOK_EVERY);
            continue;
        }
        shared.parked.store(true, Ordering::SeqCst);
        // A line that came before the flag was seen has woken nobody.
        if shared.waiting().lines == 0 {
            drop(shared);
            std::thread::park_timeout(IDLE);
        }
    }
}

/// Writes `text`, up to where it can't be written. Returns how far that is.
fn write_most(out: &mut impl Write, text: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written.min(text.len())
}

impl Line<'_> {
    /// The line as JSON with its line end. Written by hand: it is on every request's way, and
    /// serialising its thirty members generically took as long as screening the request.
    fn render(&self, now: SystemTime, out: &mut Vec<u8>) {
        let mut out = Members::begin(now, out);
        out.text(name!("request_id"), self.request_id);
        if let Some(trace) = &self.trace {
            out.display(name!("trace_id"), trace);
        }
        out.text(name!("method"), self.method);
        out.word(name!("route"), self.route);
        out.number(name!("status"), self.status.into());
        out.word(name!("end"), self.end);
        out.maybe_text(name!("code"), self.code);
        out.maybe_text(name!("detail"), self.detail);
        if let Some(client) = self.client {
            out.address(name!("client"), client);
        }
        out.maybe_text(name!("caller"), self.caller);
        if let Some(key) = &self.key {
            out.display(name!("key"), key);
        }
        out.maybe_text(name!("user"), self.user);
        out.maybe_text(name!("team"), self.team);
        out.maybe_text(name!("organization"), self.organization);
        if let Some(decision) = self.decision {
            out.decision(decision);
        }
        out.number(name!("generation"), self.generation);
        out.maybe_text(name!("model"), self.model);
        out.maybe_text(name!("provider"), self.provider);
        out.maybe_text(name!("provider_model"), self.provider_model);
        if let Some(status) = self.provider_status {
            out.number(name!("provider_status"), status.into());
        }
        if let Some((method, outcome)) = self.mcp {
            out.word(name!("mcp_method"), method);
            out.word(name!("mcp_outcome"), outcome);
        }
        out.maybe_text(name!("server"), self.server);
        out.maybe_text(name!("tool"), self.tool);
        out.raw(name!("stream"), if self.stream { b"true" } else { b"false" });
        out.number(name!("attempts"), self.attempts as u64);
        out.number(name!("bytes_in"), self.bytes_in);
        out.number(name!("bytes_out"), self.bytes_out);
        out.seconds(name!("duration"), Some(self.duration));
        out.seconds(name!("time_to_first_token"), self.time_to_first_token);
        out.seconds(name!("overhead"), self.overhead);
        if let Some(usage) = &self.usage {
            out.usage(usage);
            if self.estimated {
                out.raw(name!("usage_estimated"), b"true");
            }
        }
        if let Some(cost) = self.cost {
            out.number(name!("cost_nano_usd"), cost);
        }
        out.finish();
    }
}

/// A JSON object under construction.
struct Members<'a>(&'a mut Vec<u8>);

impl<'a> Members<'a> {
    fn begin(now: SystemTime, out: &'a mut Vec<u8>) -> Self {
        out.reserve(LINE);
        out.extend_from_slice(br#"{"time":""#);
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        SECOND.with_borrow_mut(|(second, text)| {
            if *second != since.as_secs() || text.is_empty() {
                *second = since.as_secs();
                let time = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
                let time = jiff::Timestamp::from_second(time).unwrap_or(jiff::Timestamp::MAX);
                *text = time.to_string();
                // Without the final Z, which comes after the milliseconds.
                text.pop();
            }
            out.extend_from_slice(text.as_bytes());
        });
        let millis = since.subsec_millis();
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
        out.extend_from_slice(b"Z\"");
        Self(out)
    }

    fn name(&mut self, name: Name) {
        self.0.extend_from_slice(name.0.as_bytes());
    }

    fn raw(&mut self, name: Name, json: &[u8]) {
        self.name(name);
        self.0.extend_from_slice(json);
    }

    fn text(&mut self, name: Name, value: &str) {
        self.name(name);
        self.string(value);
    }

    /// A word of ours, in which there is nothing to escape.
    fn word(&mut self, name: Name, word: &'static str) {
        self.name(name);
        self.quoted(word.as_bytes());
    }

    fn quoted(&mut self, plain: &[u8]) {
        self.0.push(b'"');
        self.0.extend_from_slice(plain);
        self.0.push(b'"');
    }

    /// Nearly all are of IPv4, whose four numbers are soon written.
    fn address(&mut self, name: Name, address: IpAddr) {
        let IpAddr::V4(v4) = address else { return self.display(name, &address) };
        self.name(name);
        let mut mark = b'"';
        for octet in v4.octets() {
            self.0.push(mark);
            self.0.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            mark = b'.';
        }
        self.0.push(b'"');
    }

    fn string(&mut self, value: &str) {
        let plain = |byte: u8| (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
        // Without an early end, so that it is done by vectors.
        if value.bytes().fold(true, |all, byte| all & plain(byte)) {
            self.quoted(value.as_bytes());
        } else if serde_json::to_writer(&mut *self.0, value).is_err() {
            // A string always serialises to memory; the line stays JSON in any case.
            self.0.extend_from_slice(b"null");
        }
    }

    fn maybe_text(&mut self, name: Name, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn number(&mut self, name: Name, value: u64) {
        self.name(name);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// For values whose text needs no escapes.
    fn display(&mut self, name: Name, value: &impl std::fmt::Display) {
        self.name(name);
        write!(self.0, "\"{value}\"").ok();
    }

    /// Microseconds are enough, and shorter.
    fn seconds(&mut self, name: Name, value: Option<Duration>) {
        let Some(value) = value else { return };
        self.number(name, value.as_secs());
        // With a digit before them that keeps their zeros, in whose place the point stands then.
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(1_000_000 + value.subsec_micros()).as_bytes();
        self.0.push(b'.');
        self.0.extend_from_slice(&digits[1..]);
    }

    /// Which policies decided, of which version; and where only a trial let the request pass, that.
    fn decision(&mut self, decision: &Decision) {
        self.name(name!("policies"));
        self.0.push(b'[');
        for (n, id) in decision.policy_ids().enumerate() {
            if n > 0 {
                self.0.push(b',');
            }
            self.string(id);
        }
        self.0.push(b']');
        self.text(name!("policy_version"), &decision.version);
        self.raw(name!("permitted"), if decision.allowed { b"true" } else { b"false" });
    }

    fn usage(&mut self, usage: &Usage) {
        self.name(name!("usage"));
        let start = self.0.len();
        for (kind, tokens) in usage.kinds() {
            // The kinds that most answers don't have would be most of the line.
            if tokens > 0 || matches!(kind, "input" | "output") {
                self.0.extend_from_slice(b",\"");
                self.0.extend_from_slice(kind.as_bytes());
                self.0.extend_from_slice(b"\":");
                self.0.extend_from_slice(itoa::Buffer::new().format(tokens).as_bytes());
            }
        }
        // The first member's comma becomes the opening brace.
        self.0[start] = b'{';
        self.0.push(b'}');
    }

    fn finish(self) {
        self.0.extend_from_slice(b"}\n");
    }
}

thread_local! {
    /// Where a thread writes its lines, one after the other, before they wait with those of all.
    static RENDERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The last second that was written, and its text: most lines share it with the one before.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// The last decimal digit of `n`.
fn digit(n: u32) -> u8 {
    b"0123456789"[n as usize % 10]
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

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

    proptest! {
        /// Whatever is in it, a line is one line of JSON that says what was put in.
        #[test]
        fn every_line_is_json(
            text in any::<String>(),
            number in any::<u64>(),
            micros in 0u64..u64::MAX / 2,
            millis in 0u64..4_000_000_000_000,
        ) {
            let line = Line {
                request_id: &text,
                detail: Some(&text),
                client: Some(std::net::IpAddr::from([1, 2, 3, 4])),
                bytes_in: number,
                duration: Duration::from_micros(micros),
                usage: Some(Usage { output: number, cache_read: 7, ..Usage::default() }),
                ..Line::default()
            };
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let mut rendered = Vec::new();
            line.render(now, &mut rendered);
            let rendered = String::from_utf8(rendered).unwrap();
            prop_assert_eq!(rendered.matches('\n').count(), 1);
            let json: serde_json::Value = serde_json::from_str(rendered.trim_end()).unwrap();
            prop_assert_eq!(json["request_id"].as_str(), Some(text.as_str()));
            prop_assert_eq!(json["detail"].as_str(), Some(text.as_str()));
            prop_assert_eq!(json["bytes_in"].as_u64(), Some(number));
            prop_assert_eq!(json["usage"]["output"].as_u64(), Some(number));
            prop_assert_eq!(json["usage"]["cache_read"].as_u64(), Some(7));
            prop_assert_eq!(json["client"].as_str(), Some("1.2.3.4"));
            let time: jiff::Timestamp = json["time"].as_str().unwrap().parse().unwrap();
            prop_assert_eq!(time.as_millisecond(), millis as i64);
            let seconds = json["duration"].as_f64().unwrap();
            let expected = Duration::from_micros(micros).as_secs_f64();
            prop_assert!((seconds - expected).abs() <= expected * 1e-9 + 1e-9);
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_counted() {
        let mut waiting = Waiting::default();
        let line = [b'x'; 1000];
        let fitting = (0..).take_while(|_| waiting.take(&line)).count();
        assert_eq!(fitting, MOST_WAITING / line.len());
        let mut text = Vec::new();
        assert_eq!(waiting.hand_out(&mut text), fitting as u64);
        assert_eq!(text.len(), fitting * line.len());
        assert!(waiting.take(&line), "there is room again");
        assert_eq!(waiting.handed_over, fitting as u64 + 2);
    }

    /// A disk with room for so many bytes, until it is told of more.
    #[derive(Clone)]
    struct Disk(Arc<AtomicU64>, Memory);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let room = self.0.load(Ordering::SeqCst);
            let fits = bytes.len().min(usize::try_from(room).unwrap());
            if fits == 0 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0.fetch_sub(fits as u64, Ordering::SeqCst);
            self.1.write(&bytes[..fits])
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_cut_by_a_full_disk_spoils_no_other_and_what_is_lost_is_counted() {
        let disk = Disk(Arc::new(AtomicU64::new(1_000)), Memory::default());
        let log = AccessLog::start(disk.clone()).unwrap();
        let write = |id: &str, lines: u64| {
            for _ in 0..lines {
                log.write(&Line { request_id: id, ..Line::default() });
            }
            log.flush(Duration::from_secs(10));
        };
        write("before", 20);
        let lost = log.dropped();
        assert!((1..20).contains(&lost), "{lost}");
        disk.0.store(1_000_000, Ordering::SeqCst);
        write("after", 20);
        assert_eq!(log.dropped(), lost);
        let text = String::from_utf8(disk.1.0.lock().unwrap().clone()).unwrap();
        let whole = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert_eq!(text.lines().filter(whole).count() as u64, 40 - lost);
    }

    /// Stuck, until it is told to go on.
    struct Stuck(std::sync::mpsc::Receiver<()>, Memory);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.recv().ok();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_is_stuck_stops_nobody() {
        let (goes_on, waits) = std::sync::mpsc::channel();
        let out = Memory::default();
        let log = AccessLog::start(Stuck(waits, out.clone())).unwrap();
        let detail = "x".repeat(10_000);
        let mut all = 0_u64;
        while log.dropped() < 3 {
            log.write(&Line { detail: Some(&detail), ..Line::default() });
            all += 1;
        }
        drop(goes_on);
        log.flush(Duration::from_secs(10));
        let written = out.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(written as u64 + log.dropped(), all);
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
