//! The thread that writes.
//!
//! It takes what waits, seals it, writes it at once and, where somebody waits for that, has it put on
//! disk once for all of them. It is the only one that touches the files, so nothing here is locked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::files;
use super::line::Chain;
use super::queue::{Act, Batch, Shared};
use super::records::{Anchor, Own};
use super::retention::Pass;
use super::segment::{AppendError, Segment, Wrap};
use super::{AuditError, AuditOptions};

/// After this long a segment is closed whatever its size, so that no line outlives the retention by
/// much. Milliseconds.
const MAX_AGE: i64 = 24 * 3600 * 1000;
/// After this long a file that has not become a segment never will. Milliseconds.
const UNFINISHED_FOR: i64 = 60_000;
/// How often old segments are looked for.
const RETIRE_EVERY: Duration = Duration::from_secs(3600);
/// How long lines that nobody waits for may be written and not on disk.
const SYNC_WITHIN: Duration = Duration::from_secs(1);
/// How often losses are recorded while they go on.
const DROPPED_EVERY: Duration = Duration::from_secs(1);
/// How often a new segment is tried when the disk fails.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often the failure is logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// How long the writer waits for new lines while traffic goes on, while something is left to do, and else.
const WAITS: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(250), Duration::from_secs(10)];
/// Retired segments of one record.
const RETIRED_AT_ONCE: usize = 64;

/// The system's clock, in milliseconds since the epoch; another one in tests.
pub(super) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the writer runs on.
pub(super) struct Setup {
    pub options: AuditOptions,
    pub clock: Clock,
    pub wrap: Wrap,
}

pub(super) struct Writer {
    setup: Setup,
    shared: Arc<Shared>,
    segment: Option<Segment>,
    /// Where our segment before stood. What we know of it is worth more than what its file says.
    previous: Option<Anchor>,
    /// Lines under construction.
    lines: Vec<u8>,
    /// Lost events that have been recorded.
    told: u64,
    tell_at: Instant,
    sync_at: Option<Instant>,
    retire_at: Instant,
    pass: Pass,
    failure: Option<Failure>,
    complain_at: Instant,
}

/// Why there is no segment, and when to try again.
struct Failure {
    error: AuditError,
    retry_at: Instant,
}

impl Writer {
    /// A writer with its first segment.
    ///
    /// # Errors
    /// There can be no segment.
    pub fn open(setup: Setup, shared: Arc<Shared>) -> Result<Self, AuditError> {
        let now = Instant::now();
        let mut writer = Self {
            setup,
            shared,
            segment: None,
            previous: None,
            lines: Vec::new(),
            told: 0,
            tell_at: now,
            sync_at: None,
            retire_at: now,
            pass: Pass::default(),
            failure: None,
            complain_at: now,
        };
        let Setup { options, clock, .. } = &writer.setup;
        files::clear_unfinished(&options.directory, clock() - UNFINISHED_FOR);
        writer.segment()?;
        Ok(writer)
    }

    /// Writes until the log is closed.
    pub fn run(mut self) {
        loop {
            // Before the queues are seen empty, so that nothing comes between.
            let closing = self.shared.is_closing();
            let batch = self.shared.take();
            let (idle, full) = (batch.is_empty(), batch.is_full());
            if !idle {
                self.write(batch);
            }
            self.keep_up();
            if idle && closing {
                break;
            }
            match (idle, full) {
                (_, true) => {}
                (false, false) => std::thread::park_timeout(WAITS[0]),
                (true, _) => self.shared.park(WAITS[if self.is_behind() { 1 } else { 2 }]),
            }
        }
        self.finish();
    }

    fn write(&mut self, batch: Batch) {
        let outcome = self.append_batch(&batch);
        match &outcome {
            Ok(()) => self.shared.written.fetch_add(batch.len(), Ordering::Relaxed),
            Err(_) => self.shared.dropped.fetch_add(batch.events.len() as u64, Ordering::Relaxed),
        };
        match &outcome {
            Ok(()) => self.recovered(),
            Err(error) => self.complain(error),
        }
        for Act { done, .. } in batch.acts {
            done.send(outcome.clone()).ok();
        }
    }

    fn append_batch(&mut self, batch: &Batch) -> Result<(), AuditError> {
        let acts = batch.acts.iter().map(|act| &act.event);
        self.append(acts.chain(&batch.events).map(|event| (event.at_ms, event)))?;
        if !batch.acts.is_empty() && self.setup.options.fsync {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes records of events or of the log's own: all or none.
    fn append<'a, T: serde::Serialize + 'a>(
        &mut self,
        records: impl Iterator<Item = (i64, &'a T)>,
    ) -> Result<(), AuditError> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        let appended = self.append_with(records, &mut lines);
        self.lines = lines;
        appended
    }

    fn append_with<'a, T: serde::Serialize + 'a>(
        &mut self,
        records: impl Iterator<Item = (i64, &'a T)>,
        lines: &mut Vec<u8>,
    ) -> Result<(), AuditError> {
        let segment = self.segment()?;
        let mut chain = segment.chain;
        for (at_ms, record) in records {
            chain.seal(lines, at_ms, record).map_err(|error| unwritable(&error))?;
        }
        if let Err(AppendError { source, spoilt }) = segment.append(lines, chain) {
            if spoilt {
                let known = segment.chain;
                self.give_up(known, false);
            }
            return Err(unwritable(&source));
        }
        if self.setup.options.fsync {
            self.sync_at.get_or_insert_with(|| Instant::now() + SYNC_WITHIN);
        }
        Ok(())
    }

    fn append_own(&mut self, own: &Own) -> Result<(), AuditError> {
        let now = (self.setup.clock)();
        self.append(std::iter::once((now, own)))
    }

    fn sync(&mut self) -> Result<(), AuditError> {
        self.sync_at = None;
        let Some(segment) = &mut self.segment else { return Ok(()) };
        if let Err(error) = segment.sync() {
            let known = segment.synced;
            self.give_up(known, false);
            return Err(unwritable(&error));
        }
        Ok(())
    }

    /// What is due besides lines.
    fn keep_up(&mut self) {
        let now = Instant::now();
        let lost = self.shared.dropped.load(Ordering::Relaxed) - self.told;
        if lost > 0 && now >= self.tell_at {
            self.tell_at = now + DROPPED_EVERY;
            self.tell(lost);
        }
        if self.sync_at.is_some_and(|at| now >= at) {
            let synced = self.sync();
            self.or_complain(synced);
        }
        let rotated = self.rotate();
        self.or_complain(rotated);
        if now >= self.retire_at {
            self.retire_at = now + RETIRE_EVERY;
            self.plan_retirement();
        }
        if !self.pass.is_over() {
            let retired = self.retire_one();
            self.or_complain(retired);
        }
    }

    /// Whether there is something to do soon, even if no line comes.
    fn is_behind(&self) -> bool {
        self.sync_at.is_some()
            || !self.pass.is_over()
            || self.shared.dropped.load(Ordering::Relaxed) > self.told
    }

    fn tell(&mut self, lost: u64) {
        let told = self.append_own(&Own::Dropped { events: lost });
        if told.is_ok() {
            self.told += lost;
            self.recovered();
        }
        self.or_complain(told);
    }

    fn rotate(&mut self) -> Result<(), AuditError> {
        let now = (self.setup.clock)();
        let due = self.segment.as_ref().is_some_and(|segment| {
            segment.length >= self.setup.options.segment_size
                || now.saturating_sub(segment.opened_ms) >= MAX_AGE
        });
        if !due {
            return Ok(());
        }
        self.close_segment("rotated")?;
        self.retire_at = Instant::now();
        self.segment().map(|_| ())
    }

    /// Ends the present segment, if there is one. If it can't be ended it stays in use.
    fn close_segment(&mut self, reason: &'static str) -> Result<(), AuditError> {
        if self.segment.is_none() {
            return Ok(());
        }
        self.append_own(&Own::Closed { reason: reason.into() })?;
        self.sync()?;
        if let Some(segment) = &self.segment {
            let Chain { seq: records, last: head } = segment.chain;
            // The server's log is often kept elsewhere: a place where nobody can change it with this one.
            tracing::info!(segment = %segment.name, records, %head, reason, "audit segment closed");
            self.give_up(segment.chain, true);
        }
        Ok(())
    }

    /// Leaves the present segment, of which is known that it stands at `chain`.
    fn give_up(&mut self, chain: Chain, ended: bool) {
        if let Some(segment) = self.segment.take() {
            self.previous = Some(segment.anchor(chain, ended));
        }
        self.sync_at = None;
    }

    /// The segment to write to; a new one if there is none, or ours is not as we left it.
    fn segment(&mut self) -> Result<&mut Segment, AuditError> {
        let disturbed = self
            .segment
            .as_ref()
            .and_then(|segment| Some((segment.name, segment.chain, segment.disturbance()?)));
        if let Some((segment, chain, what)) = disturbed {
            tracing::error!(%segment, "the audit segment {what}; a new one takes its place");
            self.give_up(chain, true);
        }
        let segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.new_segment()?,
        };
        Ok(self.segment.insert(segment))
    }

    fn new_segment(&mut self) -> Result<Segment, AuditError> {
        if let Some(failure) = &self.failure
            && Instant::now() < failure.retry_at
        {
            return Err(failure.error.clone());
        }
        self.failure = None;
        match self.try_new_segment() {
            Ok(segment) => {
                self.previous = None;
                Ok(segment)
            }
            Err(error) => {
                let retry_at = Instant::now() + RETRY_AFTER;
                self.failure = Some(Failure { error: error.clone(), retry_at });
                Err(error)
            }
        }
    }

    fn try_new_segment(&self) -> Result<Segment, AuditError> {
        let Setup { options, clock, wrap } = &self.setup;
        let directory = &options.directory;
        files::prepare(directory)
            .map_err(|reason| AuditError::Directory { path: directory.clone(), reason })?;
        let anchors = files::survey(directory)
            .map(|segments| files::unended(&segments, self.previous))
            .map_err(|error| unwritable(&error))?;
        Segment::create(directory, clock(), &options.instance, &anchors, wrap)
            .map_err(|error| unwritable(&error))
    }

    fn plan_retirement(&mut self) {
        let AuditOptions { directory, retention, .. } = &self.setup.options;
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        match Pass::plan(directory, (self.setup.clock)().saturating_sub(retention)) {
            Ok(pass) => self.pass = pass,
            Err(error) => self.complain(&unwritable(&error)),
        }
    }

    fn retire_one(&mut self) -> Result<(), AuditError> {
        let directory = self.setup.options.directory.clone();
        let Some(leaving) = self.pass.next(&directory) else { return Ok(()) };
        for part in leaving.record.chunks(RETIRED_AT_ONCE) {
            self.append_own(&Own::Retired { segments: part.to_vec() })?;
        }
        // The word must outlive the segment.
        self.sync()?;
        leaving.delete(&directory).map_err(|error| unwritable(&error))
    }

    fn finish(&mut self) {
        let lost = self.shared.dropped.load(Ordering::Relaxed) - self.told;
        if lost > 0 {
            self.tell(lost);
        }
        let closed = self.close_segment("shutdown");
        self.or_complain(closed);
        self.shared.finish();
    }

    fn or_complain(&mut self, outcome: Result<(), AuditError>) {
        if let Err(error) = outcome {
            self.complain(&error);
        }
    }

    fn complain(&mut self, error: &AuditError) {
        let now = Instant::now();
        let first = !self.shared.failing.swap(true, Ordering::Relaxed);
        if first || now >= self.complain_at {
            self.complain_at = now + COMPLAIN_EVERY;
            let dropped = self.shared.dropped.load(Ordering::Relaxed);
            let directory = self.setup.options.directory.display();
            tracing::error!(%error, %directory, dropped, "audit events are lost and acts refused");
        }
    }

    fn recovered(&mut self) {
        if self.shared.failing.swap(false, Ordering::Relaxed) {
            tracing::warn!("the audit log is written again");
        }
    }
}

fn unwritable(error: &dyn std::fmt::Display) -> AuditError {
    AuditError::Unwritable(error.to_string())
}
