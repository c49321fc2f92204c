//! What survives the process: files in memory, written on the request path.
//!
//! | module | what it is |
//! |---|---|
//! | [`record`] | what stands in it |
//! | [`segment`] | one of its files |
//! | [`making`] | its directory, until it is one |
//!
//! A record is copied into a mapped file under a lock that is held for that copy: no system call, and
//! nothing is lost when the process is killed, since the pages are the kernel's. A power cut may lose what
//! was not yet written to the disk, a second's worth: see [`Journal::files`].
//!
//! Room for an attempt's end is set aside when it begins, so that a full disk or a full journal refuses
//! requests, and drops nothing.

pub mod making;
pub mod record;
pub mod segment;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use uuid::Uuid;

use self::record::Record;
use self::segment::{OVERHEAD, Segment, USABLE};

/// The name of the file whose lock says that the journal's process lives.
pub const LOCK: &str = "lock";

/// What is left unused at most where a segment ends: the longest record.
const LONGEST: usize = 64 * 1024;

/// Empty segments that are kept rather than deleted.
const SPARES: usize = 4;

/// How much is read at once.
const READ: usize = 256 * 1024;

/// There is no room for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger's journal is full")]
pub struct Full;

/// A journal of this process.
pub struct Journal {
    state: Mutex<State>,
    directory: PathBuf,
    /// What each segment begins with: the record of the store that it is of.
    beginning: Vec<u8>,
    most_segments: usize,
    /// Held for as long as the process lives.
    _lock: Flock<File>,
}

struct State {
    /// The oldest first. The last is written to.
    segments: VecDeque<Kept>,
    /// In the order of their numbers, in which a reader goes through them later: the first is the next to be used.
    spares: VecDeque<Segment>,
    /// The number of the next segment.
    next: u64,
    /// Bytes that are set aside.
    promised: usize,
    /// Attempts under way, by slot.
    open: Vec<Option<Open>>,
    free_slots: Vec<u32>,
}

struct Kept {
    segment: Segment,
    /// Up to where it has been read.
    read: usize,
    /// Attempts under way that began in it.
    open: usize,
    /// Of the charges that were read in it: the last exchange that tells the store of one, by counter.
    charges: HashMap<Arc<str>, u64>,
}

#[derive(Clone, Copy)]
struct Open {
    segment: u64,
    at: usize,
    promised: usize,
}

/// An attempt under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

/// What was read, and where reading goes on once it has been dealt with.
pub struct Read {
    /// For the reader to take.
    pub records: Vec<Record>,
    /// The last exchange that tells the store of one of their charges, by counter.
    charges: HashMap<Arc<str>, u64>,
    segment: u64,
    up_to: usize,
}

impl Journal {
    /// Makes `directory`, which must not be there yet, and the first segment in it. What is written there is
    /// for `store` and no other.
    ///
    /// # Errors
    /// Where the disk says no.
    pub fn create(directory: &Path, most_bytes: u64, store: Uuid) -> io::Result<Self> {
        let lock = making::make_locked(directory)?;
        let mut beginning = Vec::new();
        record::store(&mut beginning, store);
        let segment_bytes = (USABLE + OVERHEAD) as u64;
        let most_segments = usize::try_from(most_bytes / segment_bytes).unwrap_or(usize::MAX);
        let first = Segment::create(directory, 1, &beginning)?;
        Ok(Self {
            state: Mutex::new(State {
                segments: VecDeque::from([Kept::new(first)]),
                spares: VecDeque::new(),
                next: 2,
                promised: 0,
                open: Vec::new(),
                free_slots: Vec::new(),
            }),
            directory: directory.to_owned(),
            beginning,
            most_segments: most_segments.max(2),
            _lock: lock,
        })
    }

    /// Writes that an attempt begins, and sets room for its end aside.
    ///
    /// # Errors
    /// Where there is none.
    pub fn begin(&self, record: &[u8]) -> Result<Slot, Full> {
        let promise = record.len() * 2 + 1_024;
        if record.len() > LONGEST / 4 {
            return Err(Full);
        }
        let state = &mut *self.state.lock();
        while state.room() < state.promised + record.len() + promise {
            let spare = self.another(state).map_err(|error| {
                tracing::error!(%error, "the ledger's journal can't grow");
                Full
            })?;
            state.spares.push_back(spare);
        }
        let (segment, at) = state.write(record)?;
        state.promised += promise;
        state.current().open += 1;
        let open = Some(Open { segment, at, promised: promise });
        let slot = match state.free_slots.pop() {
            Some(slot) => {
                state.open[slot as usize] = open;
                slot
            }
            None => {
                state.open.push(open);
                u32::try_from(state.open.len() - 1).map_err(|_| Full)?
            }
        };
        Ok(Slot(slot))
    }

    /// Writes how an attempt ended. `false`: there was no room, which [`begin`](Self::begin) rules out for
    /// records of the size that it expects.
    pub fn end(&self, slot: Slot, record: &[u8]) -> bool {
        let state = &mut *self.state.lock();
        let written = state.write(record).is_ok();
        state.close(slot);
        written
    }

    /// The record with which an attempt under way began.
    pub fn begun(&self, slot: Slot) -> Option<Record> {
        let state = self.state.lock();
        let open = (*state.open.get(slot.0 as usize)?)?;
        let kept = state.segments.iter().find(|kept| kept.segment.number() == open.segment)?;
        Record::decode(kept.segment.record(open.at)?)
    }

    /// The next records that nobody has dealt with yet. `None`: there are none.
    pub fn read(&self) -> Option<Read> {
        let (bytes, number, from) = {
            let state = self.state.lock();
            let unread = |kept: &&Kept| kept.read < kept.segment.written();
            let kept = state.segments.iter().find(unread)?;
            (kept.segment.bytes(kept.read, READ).to_vec(), kept.segment.number(), kept.read)
        };
        let mut records = Vec::new();
        let mut up_to = from;
        segment::walk(&bytes, number, |record, length| {
            // What is not of an attempt is the segment's beginning: in a process's own journal, all is of its
            // own version.
            records.extend(Record::decode(record));
            up_to += length;
        });
        if up_to == from {
            // Less than a record fits what was read: never, as long as records are shorter than that.
            tracing::error!(segment = number, at = from, "the ledger's journal can't be read on");
            return None;
        }
        let mut charges = HashMap::new();
        for charged in records.iter().flat_map(Record::charged) {
            keep_last(&mut charges, &charged.counter, charged.seq);
        }
        Some(Read { records, charges, segment: number, up_to })
    }

    /// What was read has been dealt with.
    pub fn dealt_with(&self, read: &Read) {
        let state = &mut *self.state.lock();
        let Some(kept) =
            state.segments.iter_mut().find(|kept| kept.segment.number() == read.segment)
        else {
            return;
        };
        kept.read = kept.read.max(read.up_to);
        for (counter, seq) in &read.charges {
            keep_last(&mut kept.charges, counter, *seq);
        }
    }

    /// Frees segments that nothing needs any more: all that is in them has been dealt with, and the store
    /// of the counters was `told` of every charge. Attempts under way are carried over.
    pub fn free(&self, told: impl Fn(&str, u64) -> bool) {
        let state = &mut *self.state.lock();
        while state.segments.len() > 1 {
            let Some(oldest) = state.segments.front_mut() else { return };
            if oldest.read < oldest.segment.written() {
                return;
            }
            oldest.charges.retain(|counter, seq| !told(counter, *seq));
            if !oldest.charges.is_empty() || !state.carry_over() {
                return;
            }
            let Some(oldest) = state.segments.pop_front() else { return };
            if state.spares.len() < SPARES {
                let number = state.next;
                state.next += 1;
                match oldest.segment.again(&self.directory, number, &self.beginning) {
                    Ok(spare) => state.spares.push_back(spare),
                    Err(error) => tracing::warn!(%error, "a segment could not be used again"),
                }
            } else {
                oldest.segment.delete();
            }
        }
    }

    /// The files that were written to, to be brought to the disk: what is in them when they are synced
    /// survives a power cut.
    pub fn files(&self) -> Vec<Arc<File>> {
        self.state.lock().segments.iter().map(|kept| kept.segment.file().clone()).collect()
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        let state = self.state.lock();
        ((state.segments.len() + state.spares.len()) * (USABLE + OVERHEAD)) as u64
    }

    /// Attempts under way.
    pub fn under_way(&self) -> usize {
        let state = self.state.lock();
        state.open.len() - state.free_slots.len()
    }

    /// Whether all has been read and dealt with.
    pub fn is_read(&self) -> bool {
        let state = self.state.lock();
        state.segments.iter().all(|kept| kept.read >= kept.segment.written())
    }

    /// Whether nothing in it is needed, when the store of the counters was `told` of these.
    pub fn is_needless(&self, told: impl Fn(&str, u64) -> bool) -> bool {
        let state = self.state.lock();
        let needless = |kept: &Kept| {
            kept.read >= kept.segment.written()
                && kept.open == 0
                && kept.charges.iter().all(|(counter, seq)| told(counter, *seq))
        };
        state.segments.iter().all(needless)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn another(&self, state: &mut State) -> io::Result<Segment> {
        if state.segments.len() + state.spares.len() >= self.most_segments {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "as large as it may be"));
        }
        let segment = Segment::create(&self.directory, state.next, &self.beginning)?;
        state.next += 1;
        Ok(segment)
    }
}

impl State {
    fn current(&mut self) -> &mut Kept {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// Bytes that can be written for certain, whatever the records' lengths.
    fn room(&self) -> usize {
        let last = self.segments.back().map_or(0, |kept| kept.segment.room());
        let spares = self.spares.iter().map(|spare| spare.room().saturating_sub(LONGEST));
        last.saturating_sub(LONGEST) + spares.sum::<usize>()
    }

    fn write(&mut self, record: &[u8]) -> Result<(u64, usize), Full> {
        if self.current().segment.room() < record.len() + segment::FRAME {
            let spare = self.spares.pop_front().ok_or(Full)?;
            self.segments.push_back(Kept::new(spare));
        }
        let segment = &mut self.current().segment;
        let at = segment.write(record).ok_or(Full)?;
        Ok((segment.number(), at))
    }

    fn close(&mut self, slot: Slot) {
        let Some(open) = self.open.get_mut(slot.0 as usize).and_then(Option::take) else { return };
        self.free_slots.push(slot.0);
        self.promised = self.promised.saturating_sub(open.promised);
        let mut segments = self.segments.iter_mut();
        if let Some(kept) = segments.find(|kept| kept.segment.number() == open.segment) {
            kept.open = kept.open.saturating_sub(1);
        }
    }

    /// Writes the beginnings of the attempts that began in the oldest segment once more. `false`: there is
    /// no room for them.
    fn carry_over(&mut self) -> bool {
        let Some(oldest) = self.segments.front().map(|kept| kept.segment.number()) else {
            return true;
        };
        if self.segments.front().is_none_or(|kept| kept.open == 0) {
            return true;
        }
        for slot in 0..self.open.len() {
            let Some(open) = self.open[slot].filter(|open| open.segment == oldest) else {
                continue;
            };
            let record = self.segments.front().and_then(|kept| kept.segment.record(open.at));
            let Some(record) = record.map(<[u8]>::to_vec) else { return false };
            if self.room() < self.promised + record.len() {
                return false;
            }
            let Ok((segment, at)) = self.write(&record) else { return false };
            self.open[slot] = Some(Open { segment, at, ..open });
            self.current().open += 1;
            if let Some(kept) = self.segments.front_mut() {
                kept.open = kept.open.saturating_sub(1);
            }
        }
        true
    }
}

impl Kept {
    fn new(segment: Segment) -> Self {
        // How it begins is nothing to read.
        Self { read: segment.written(), segment, open: 0, charges: HashMap::new() }
    }
}

/// All records of the journal of a process that is gone, in their order. A record that was being written
/// when it ended is none.
///
/// # Errors
/// Where the files can't be read, or hold whole records that this program does not know: whoever does
/// should read them.
pub fn read_all(directory: &Path) -> io::Result<Vec<Record>> {
    let mut segments = segment::find(directory)?;
    segments.sort_by_key(|(number, _)| *number);
    let mut records = Vec::new();
    let mut foreign = 0_u64;
    for (number, bytes) in segments {
        segment::walk(&bytes, number, |bytes, _| match Record::decode(bytes) {
            Some(record) => records.push(record),
            None if record::decode_store(bytes).is_some() => {}
            None => foreign += 1,
        });
    }
    if foreign > 0 {
        let why = format!("{foreign} records are of another version of this program");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(records)
}

/// Which store the journal of a process that is gone is of. `None`: it was written before journals said
/// so, or nothing is in it.
///
/// # Errors
/// Where the files can't be read, or are of several stores.
pub fn store(directory: &Path) -> io::Result<Option<Uuid>> {
    let mut stores = HashSet::new();
    for (number, bytes) in segment::find_beginnings(directory)? {
        stores.extend(segment::first(&bytes, number).and_then(record::decode_store));
    }
    if stores.len() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its files are of several stores"));
    }
    Ok(stores.into_iter().next())
}

fn keep_last(charges: &mut HashMap<Arc<str>, u64>, counter: &Arc<str>, seq: u64) {
    match charges.get_mut(counter) {
        Some(last) => *last = (*last).max(seq),
        None => _ = charges.insert(Arc::clone(counter), seq),
    }
}

/// Takes the journal in `directory`, if its process is gone.
///
/// # Errors
/// Where the directory can't be read.
pub fn take_over(directory: &Path) -> io::Result<Option<Flock<File>>> {
    let file = match File::options().append(true).open(directory.join(LOCK)) {
        Ok(file) => file,
        // It is being made, or deleted, or none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

#[cfg(test)]
mod tests;
