//! What an exchange does: the reference that every store agrees with.
//!
//! The invariant: what is used and counts, plus what is leased, grows only by grants, and a grant is
//! never more than what the limit leaves. A unit that is spent is counted without a gap, first as leased,
//! then in the bucket of the time at which it was spent. So no interval of a window's length can see
//! more units spent than the limit allows, whatever the order of exchanges, however late they come,
//! and however many instances there are. Only a charge of more than was leased can pass the limit: the
//! error of an estimate.

use std::collections::BTreeMap;

use sluicegate_filters::admit::{OnLostLease, Span};

use crate::store::{Answer, Exchange, LeaseState, MAX_AMOUNT, Reply, State};

/// Of what is free, a lease takes what it needs and at most this part of the rest: what is leased to
/// one instance is out of the others' reach.
const SHARE: u64 = 4;

/// How long a need that was not met makes other instances give back, in milliseconds.
pub const HUNGER_MS: i64 = 2_000;

/// How many of its times to live an empty lease is remembered for after its end: a day, at 30 s. An
/// exchange that is repeated later than that would be done twice.
pub const REMEMBERED_TTLS: i64 = 2_880;

/// A counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Units used, by the beginning of the bucket.
    pub buckets: BTreeMap<i64, u64>,
    /// By instance.
    pub leases: BTreeMap<String, Lease>,
}

/// What an instance has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Units it may spend or has spent without having said so.
    pub leased: u64,
    /// The part that requests under way hold, as it last said.
    pub held: u64,
    /// When the lease is lost.
    pub expires_at: i64,
    /// How long it lasts after each exchange.
    pub ttl_ms: i64,
    /// What becomes of it then.
    pub on_lost: OnLostLease,
    /// Of the last exchange.
    pub seq: u64,
    /// What the last exchange granted.
    pub granted: u64,
    /// Until when its need makes others give back.
    pub hungry_until: i64,
    /// After the lease was lost: units that count as used, and in which bucket.
    pub doubt: u64,
    pub doubt_bucket: i64,
    /// As it last said.
    pub mark: u64,
}

impl Counter {
    /// Does an exchange at `now`.
    pub fn exchange(&mut self, it: &Exchange, now: i64) -> Reply {
        if let Span::Period { start, end } = it.span
            && !(start..end).contains(&now)
        {
            return Reply::OtherPeriod { now };
        }
        self.lose(&it.instance, it.span, now);
        let lease = self.leases.entry((*it.instance).to_owned()).or_default();
        let previous_seq = lease.seq;
        let repeated = it.seq <= previous_seq;
        if !repeated {
            let doubt = std::mem::take(&mut lease.doubt);
            let doubt_bucket = lease.doubt_bucket;
            *lease = Lease {
                leased: it.left.min(MAX_AMOUNT),
                held: it.held.min(it.left),
                expires_at: now.saturating_add_unsigned(it.ttl_ms),
                ttl_ms: i64::try_from(it.ttl_ms).unwrap_or(i64::MAX),
                on_lost: it.on_lost_lease,
                seq: it.seq,
                granted: 0,
                hungry_until: 0,
                doubt: 0,
                doubt_bucket: 0,
                mark: it.mark,
            };
            self.charge(doubt_bucket, -doubt.cast_signed());
            for charge in &it.charges {
                self.charge(charge.bucket, charge.amount);
            }
        }
        self.buckets.retain(|&bucket, amount| *amount > 0 && it.span.counts(bucket, now));

        let (used, leased) = (self.used(), self.leased());
        let hungry = self.others_hunger(&it.instance, now);
        let free = it.limit.min(MAX_AMOUNT).saturating_sub(used).saturating_sub(leased);
        let mut answer = Answer {
            now,
            used,
            leased,
            in_doubt: self.in_doubt(it.span, now),
            hungry,
            previous_seq,
            ..Answer::default()
        };
        let Some(lease) = self.leases.get_mut(&*it.instance) else { return Reply::Done(answer) };
        if repeated {
            answer.granted = if it.seq == previous_seq { lease.granted } else { 0 };
        } else if let Some(rest) = free.checked_sub(it.need) {
            let extra = if hungry { 0 } else { it.want.saturating_sub(it.need).min(rest / SHARE) };
            answer.granted = it.need + extra;
            lease.granted = answer.granted;
            lease.leased += answer.granted;
            answer.leased += answer.granted;
        } else {
            lease.hungry_until = now.saturating_add(HUNGER_MS);
        }
        if answer.granted < it.need {
            answer.fits_at = self.fits_at(it.need - free.min(it.need), it, now);
        }
        Reply::Done(answer)
    }

    /// What it holds at `now`.
    pub fn look(&self, span: Span, now: i64) -> State {
        let counts = |(bucket, _): &(&i64, &u64)| span.counts(**bucket, now);
        let leases = self.leases.iter().map(|(instance, lease)| LeaseState {
            instance: instance.clone(),
            leased: lease.leased,
            held: lease.held,
            in_doubt: if span.counts(lease.doubt_bucket, now) { lease.doubt } else { 0 },
            doubt_bucket: lease.doubt_bucket,
            expires_at: lease.expires_at,
            seq: lease.seq,
            mark: lease.mark,
        });
        State {
            now,
            used: self.buckets.iter().filter(counts).map(|(_, amount)| amount).sum(),
            in_doubt: self.in_doubt(span, now),
            leases: leases.collect(),
        }
    }

    /// Whether it holds nothing that counts: no lease, and nothing used.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.leases.is_empty()
    }

    /// Ends the leases, but `except`'s, whose time is over.
    fn lose(&mut self, except: &str, span: Span, now: i64) {
        let mut doubts = 0;
        let bucket = span.bucket(now);
        self.leases.retain(|instance, lease| {
            if instance == except || lease.expires_at > now {
                return true;
            }
            let lost = std::mem::take(&mut lease.leased);
            lease.held = 0;
            if lost > 0 && lease.on_lost == OnLostLease::Charge {
                lease.doubt = lost;
                lease.doubt_bucket = bucket;
                doubts += lost;
            }
            let in_doubt = lease.doubt > 0 && span.counts(lease.doubt_bucket, now);
            let remembered =
                lease.expires_at.saturating_add(lease.ttl_ms.saturating_mul(REMEMBERED_TTLS)) > now;
            in_doubt || remembered
        });
        self.charge(bucket, doubts.cast_signed());
    }

    fn charge(&mut self, bucket: i64, amount: i64) {
        if amount != 0 {
            let used = self.buckets.entry(bucket).or_default();
            *used = used.saturating_add_signed(amount).min(MAX_AMOUNT);
        }
    }

    fn used(&self) -> u64 {
        self.buckets.values().fold(0, |sum, amount| sum.saturating_add(*amount))
    }

    fn leased(&self) -> u64 {
        self.leases.values().fold(0, |sum, lease| sum.saturating_add(lease.leased))
    }

    fn in_doubt(&self, span: Span, now: i64) -> u64 {
        let counted = self.leases.values().filter(|it| span.counts(it.doubt_bucket, now));
        counted.fold(0, |sum, lease| sum.saturating_add(lease.doubt))
    }

    fn others_hunger(&self, instance: &str, now: i64) -> bool {
        self.leases.iter().any(|(other, lease)| other != instance && lease.hungry_until > now)
    }

    /// When `missing` units will have been forgotten.
    fn fits_at(&self, mut missing: u64, it: &Exchange, now: i64) -> Option<i64> {
        if it.need > it.limit {
            return None;
        }
        for (&bucket, &amount) in &self.buckets {
            missing = missing.saturating_sub(amount);
            if missing == 0 {
                return it.span.forgets(bucket);
            }
        }
        // The rest is leased. It is used at the latest now, or given back.
        it.span.forgets(it.span.bucket(now))
    }
}
