//! What stands in a journal.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluicegate_quota::Charged;
use uuid::Uuid;

use crate::row::Row;

/// Which attempt of which request.
pub type Id = (Uuid, u16);

/// A record, as it is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An attempt begins. The row is what it would be if no more were heard of it.
    Begun { row: Row<'static>, charged: Vec<Charged>, under_way: Vec<Charged> },
    /// It has ended, with this row.
    Ended { row: Row<'static>, charged: Vec<Charged> },
    /// It has ended without a row: no provider has seen it.
    Cancelled { id: Id, charged: Vec<Charged> },
}

/// A charge, as it is written.
#[derive(Serialize, Deserialize)]
struct Note<'a> {
    #[serde(borrow)]
    counter: &'a str,
    bucket: i64,
    amount: i64,
    seq: u64,
}

const BEGUN: u8 = 1;
const ENDED: u8 = 2;
const CANCELLED: u8 = 3;
/// Of the whole journal, and of no attempt.
const STORE: u8 = 4;

/// Writes which store the journal is of: what each segment begins with.
///
/// A record and no word in the file's head: a program that does not know it leaves the journal to one that
/// does, as with every record that it does not know.
pub fn store(out: &mut Vec<u8>, id: Uuid) {
    out.clear();
    out.push(STORE);
    append(out, &id);
}

/// The store of [`store`]. `None`: these bytes are another record, or none.
pub fn decode_store(bytes: &[u8]) -> Option<Uuid> {
    let rest = bytes.strip_prefix(&[STORE])?;
    postcard::from_bytes(rest).ok()
}

/// Writes that an attempt begins.
pub fn begun(out: &mut Vec<u8>, row: &Row<'_>, charged: &[Charged], under_way: &[Charged]) {
    out.clear();
    out.push(BEGUN);
    append(out, row);
    notes(out, charged);
    notes(out, under_way);
}

/// Writes that it has ended.
pub fn ended(out: &mut Vec<u8>, row: &Row<'_>, charged: &[Charged]) {
    out.clear();
    out.push(ENDED);
    append(out, row);
    notes(out, charged);
}

/// Writes that it has ended without a row.
pub fn cancelled(out: &mut Vec<u8>, id: Id, charged: &[Charged]) {
    out.clear();
    out.push(CANCELLED);
    append(out, &id);
    notes(out, charged);
}

fn append(out: &mut Vec<u8>, value: &impl Serialize) {
    // Into memory, a value without maps of unknown length is always written.
    if let Ok(bytes) = postcard::to_extend(value, std::mem::take(out)) {
        *out = bytes;
    }
}

fn notes(out: &mut Vec<u8>, charged: &[Charged]) {
    append(out, &(charged.len() as u64));
    for it in charged {
        let note = Note { counter: &it.counter, bucket: it.bucket, amount: it.amount, seq: it.seq };
        append(out, &note);
    }
}

impl Record {
    /// The record that these bytes are. `None`: they are none, or that of [`store`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            BEGUN => {
                let (row, rest) = postcard::take_from_bytes(rest).ok()?;
                let (charged, rest) = take_notes(rest)?;
                let (under_way, _) = take_notes(rest)?;
                Some(Self::Begun { row, charged, under_way })
            }
            ENDED => {
                let (row, rest) = postcard::take_from_bytes(rest).ok()?;
                let (charged, _) = take_notes(rest)?;
                Some(Self::Ended { row, charged })
            }
            CANCELLED => {
                let (id, rest) = postcard::take_from_bytes(rest).ok()?;
                let (charged, _) = take_notes(rest)?;
                Some(Self::Cancelled { id, charged })
            }
            _ => None,
        }
    }

    /// Which attempt it is of.
    pub fn id(&self) -> Id {
        match self {
            Self::Begun { row, .. } | Self::Ended { row, .. } => (row.request_id, row.attempt),
            Self::Cancelled { id, .. } => *id,
        }
    }

    /// What was charged.
    pub fn charged(&self) -> &[Charged] {
        match self {
            Self::Begun { charged, .. }
            | Self::Ended { charged, .. }
            | Self::Cancelled { charged, .. } => charged,
        }
    }
}

fn take_notes(bytes: &[u8]) -> Option<(Vec<Charged>, &[u8])> {
    let (count, mut rest): (u64, _) = postcard::take_from_bytes(bytes).ok()?;
    let mut charged = Vec::new();
    for _ in 0..count {
        let (note, after): (Note<'_>, _) = postcard::take_from_bytes(rest).ok()?;
        let Note { counter, bucket, amount, seq } = note;
        charged.push(Charged { counter: Arc::from(counter), bucket, amount, seq });
        rest = after;
    }
    Some((charged, rest))
}
