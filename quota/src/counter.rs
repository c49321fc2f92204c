//! What an exchange does: the reference that every store agrees with.
//!
//! The invariant: what is used and counts, plus what is leased, grows only by grants, and a grant is
//! never more than what the limit leaves. A unit that is spent is counted without a gap, first as leased,
//! then in the bucket of the time at which it was spent. So no interval of a window's length can see
//! more units spent than the limit allows, whatever the order of exchanges, however late they come,
//! and however many instances there are. Only a charge of more than was leased can pass the limit: the
//! error of an estimate.
//!
//! Under `OnLostLease::Release` there is one more way: units that an instance goes on using after its
//! lease was lost, for requests that were under way.

pub(crate) mod lease;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluicegate_filters::admit::Span;

pub use self::lease::Lease;
use crate::store::{
    Answer, Exchange, LeaseState, MAX_AMOUNT, MAX_TTL_MS, QuotaStoreError, Reply, State,
};

/// Of what is free, a lease takes what it needs and at most this part of the rest: what is leased to
/// one instance is out of the others' reach.
const SHARE: u64 = 4;

/// How long a need that was not met makes other instances give back, in milliseconds.
pub const HUNGER_MS: i64 = 2_000;

/// A counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Units used, by the beginning of the bucket.
    pub buckets: BTreeMap<i64, u64>,
    /// By instance.
    pub leases: BTreeMap<String, Lease>,
}

impl Counter {
    /// Does an exchange at `now`.
    pub fn exchange(&mut self, it: &Exchange, now: i64) -> Reply {
        if let Span::Period { start, end } = it.span
            && !(start..end).contains(&now)
        {
            return Reply::OtherPeriod { now };
        }
        self.lose(Some(&it.instance), it.span, now);
        let previous_seq = self.take_report(it, now);
        let fresh = it.seq > previous_seq;
        self.buckets.retain(|&bucket, amount| *amount > 0 && it.span.counts(bucket, now));

        let (used, leased) = (self.used(), self.leased());
        let limit = it.limit.min(MAX_AMOUNT);
        let free = limit.saturating_sub(used).saturating_sub(leased);
        let hungry = self.others_hunger(&it.instance, now);
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
        if !fresh {
            answer.granted = if it.seq == previous_seq { lease.granted } else { 0 };
        } else if let Some(rest) = free.checked_sub(it.need) {
            let extra = if hungry { 0 } else { it.want.saturating_sub(it.need).min(rest / SHARE) };
            answer.granted = it.need + extra;
            lease.granted = answer.granted;
            lease.leased += answer.granted;
            answer.leased += answer.granted;
        } else if it.need <= limit.saturating_sub(used).saturating_sub(lease.leased) {
            // It is the others' leases that are in its way.
            lease.hungry_until = now.saturating_add(HUNGER_MS);
        }
        if answer.granted < it.need && it.need <= limit {
            let missing = (used + leased + it.need).saturating_sub(limit);
            answer.fits_at = self.fits_at(missing, it.span, now);
        }
        Reply::Done(answer)
    }

    /// What it holds at `now`.
    pub fn look(&self, span: Span, now: i64) -> State {
        let mut present = self.clone();
        present.lose(None, span, now);
        present.buckets.retain(|&bucket, _| span.counts(bucket, now));
        let leases = present.leases.iter().map(|(instance, lease)| LeaseState {
            instance: instance.clone(),
            leased: lease.leased,
            held: lease.held,
            in_doubt: lease.in_doubt(span, now),
            doubt_bucket: lease.doubt_bucket,
            expires_at: lease.expires_at,
            seq: lease.seq,
            mark: lease.mark,
        });
        State {
            now,
            used: present.used(),
            in_doubt: present.in_doubt(span, now),
            leases: leases.collect(),
        }
    }

    /// A counter from the two JSON documents that databases keep it in.
    ///
    /// # Errors
    /// `Broken`, with the counter's name and the place.
    pub(crate) fn from_json(
        name: &str,
        buckets: &str,
        leases: &str,
    ) -> Result<Self, QuotaStoreError> {
        let broken =
            |error: serde_json::Error| QuotaStoreError::Broken(format!("counter {name}: {error}"));
        let buckets = serde_json::from_str(buckets).map_err(broken)?;
        Ok(Self { buckets, leases: serde_json::from_str(leases).map_err(broken)? })
    }

    /// When nothing in it counts any more, if nobody exchanges with it until then. `None`: never.
    pub fn ends_at(&self, span: Span) -> Option<i64> {
        let used = self.buckets.keys().map(|&bucket| lease::counts_until(span, bucket));
        let leased = self.leases.values().map(|lease| lease.ends_at(span));
        used.chain(leased).try_fold(i64::MIN, |latest, end| Some(latest.max(end?)))
    }

    /// Ends the leases whose time is over, but `except`'s: who is there says itself what it has.
    fn lose(&mut self, except: Option<&str>, span: Span, now: i64) {
        self.leases.retain(|_, lease| lease.ends_at(span).is_none_or(|end| end > now));
        let mut doubts = Vec::new();
        for (instance, lease) in &mut self.leases {
            if lease.expires_at <= now && Some(instance.as_str()) != except {
                doubts.extend(lease.lose(span));
            }
        }
        for (bucket, amount) in doubts {
            self.charge(bucket, amount.cast_signed());
        }
    }

    /// Notes what an instance says: of its use only once, of its lease each time. Gives the number of
    /// its exchange before.
    fn take_report(&mut self, it: &Exchange, now: i64) -> u64 {
        let lease = self.leases.entry((*it.instance).to_owned()).or_default();
        let previous_seq = lease.seq;
        if it.seq < previous_seq {
            return previous_seq;
        }
        let fresh = it.seq > previous_seq;
        let (doubt, doubt_bucket) = (lease.doubt, lease.doubt_bucket);
        let left = it.left.min(MAX_AMOUNT);
        let ttl_ms = it.ttl_ms.min(MAX_TTL_MS);
        *lease = Lease {
            held: it.held.min(left),
            expires_at: now.saturating_add_unsigned(ttl_ms),
            left_for_good: ttl_ms == 0,
            charged: lease.charged || !it.charges.is_empty(),
            on_lost: it.on_lost_lease,
            seq: it.seq,
            granted: if fresh { 0 } else { lease.granted },
            hungry_until: if fresh { 0 } else { lease.hungry_until },
            doubt: 0,
            doubt_bucket: 0,
            mark: it.mark,
            leased: left,
        };
        lease.leased = (left + lease.granted).min(MAX_AMOUNT);
        self.charge(doubt_bucket, -doubt.cast_signed());
        if fresh {
            for charge in &it.charges {
                self.charge(charge.bucket, charge.amount);
            }
        }
        previous_seq
    }

    fn charge(&mut self, bucket: i64, amount: i64) {
        if amount != 0 {
            let used = self.buckets.entry(bucket).or_default();
            *used = used.saturating_add_signed(amount).min(MAX_AMOUNT);
        }
    }

    fn used(&self) -> u64 {
        sum(self.buckets.values().copied())
    }

    fn leased(&self) -> u64 {
        sum(self.leases.values().map(|lease| lease.leased))
    }

    fn in_doubt(&self, span: Span, now: i64) -> u64 {
        sum(self.leases.values().map(|lease| lease.in_doubt(span, now)))
    }

    fn others_hunger(&self, instance: &str, now: i64) -> bool {
        self.leases.iter().any(|(other, lease)| other != instance && lease.hungry_until > now)
    }

    /// When `missing` units will have been forgotten.
    fn fits_at(&self, mut missing: u64, span: Span, now: i64) -> Option<i64> {
        if missing == 0 {
            return Some(now);
        }
        for (&bucket, &amount) in &self.buckets {
            missing = missing.saturating_sub(amount);
            if missing == 0 {
                return span.forgets(bucket);
            }
        }
        // The rest is leased. It is used at the latest now, or given back.
        span.forgets(span.bucket(now))
    }
}

/// No more than [`MAX_AMOUNT`]: nothing is free then, whatever the limit.
fn sum(amounts: impl Iterator<Item = u64>) -> u64 {
    amounts.fold(0, |sum, amount| (sum + amount).min(MAX_AMOUNT))
}
