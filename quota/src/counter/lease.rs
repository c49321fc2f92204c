//! What an instance has of a counter, and how long it is remembered.

use serde::{Deserialize, Serialize};
use sluicegate_filters::admit::{OnLostLease, Span};

/// How long a lease is remembered after its end, in milliseconds, as long as what the instance has
/// charged can count: so that an exchange that is repeated, or a journal that is read, after a long
/// absence charges nothing twice. Less for an instance that has said that it leaves, and for one that has
/// never charged anything.
pub const REMEMBERED_MS: i64 = 30 * 24 * 60 * 60 * 1000;
pub const REMEMBERED_AFTER_LEAVING_MS: i64 = 24 * 60 * 60 * 1000;
pub const REMEMBERED_UNCHARGED_MS: i64 = 10 * 60 * 1000;

/// What an instance has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Units it may spend or has spent without having said so.
    pub leased: u64,
    /// The part that requests under way hold, as it last said.
    pub held: u64,
    /// When the lease is lost.
    pub expires_at: i64,
    /// Whether it has said that it leaves.
    pub left_for_good: bool,
    /// Whether it has ever charged anything.
    pub charged: bool,
    /// What becomes of the lease when it is lost.
    #[serde(with = "on_lost_lease")]
    pub on_lost: OnLostLease,
    /// Of the last exchange.
    pub seq: u64,
    /// What the last exchange granted, if the lease has not been lost since.
    pub granted: u64,
    /// Until when its need makes others give back.
    pub hungry_until: i64,
    /// After the lease was lost: units that count as used, and in which bucket.
    pub doubt: u64,
    pub doubt_bucket: i64,
    /// As it last said.
    pub mark: u64,
}

impl Lease {
    /// Its end: what it leased counts as used, in the bucket that is returned, or is free.
    pub(super) fn lose(&mut self, span: Span) -> Option<(i64, u64)> {
        self.granted = 0;
        self.held = 0;
        let lost = std::mem::take(&mut self.leased);
        if lost == 0 || self.on_lost == OnLostLease::Release {
            return None;
        }
        self.doubt = lost;
        self.doubt_bucket = bucket_at(span, self.expires_at);
        Some((self.doubt_bucket, lost))
    }

    /// Units of a lost lease that count at `now`.
    pub(super) fn in_doubt(&self, span: Span, now: i64) -> u64 {
        if span.counts(self.doubt_bucket, now) { self.doubt } else { 0 }
    }

    /// When nothing of it counts any more, and it need not be remembered, if no more is heard of the
    /// instance. `None`: never.
    pub(super) fn ends_at(&self, span: Span) -> Option<i64> {
        let mut end = self.remembered_until(span).max(self.hungry_until);
        if self.leased > 0 && self.on_lost == OnLostLease::Charge {
            end = end.max(counts_until(span, bucket_at(span, self.expires_at))?);
        }
        if self.doubt > 0 {
            end = end.max(counts_until(span, self.doubt_bucket)?);
        }
        Some(end)
    }

    fn remembered_until(&self, span: Span) -> i64 {
        let after = match self {
            Self { charged: false, .. } => REMEMBERED_UNCHARGED_MS,
            Self { left_for_good: true, .. } => REMEMBERED_AFTER_LEAVING_MS,
            _ => REMEMBERED_MS,
        };
        let counts_until = counts_until(span, bucket_at(span, self.expires_at)).unwrap_or(i64::MAX);
        self.expires_at.saturating_add(after).min(counts_until).max(self.expires_at)
    }
}

/// When what is used in a bucket stops to count, though the bucket be one of a period to come. That
/// period may be longer than the present one, but not by more than once.
pub(super) fn counts_until(span: Span, bucket: i64) -> Option<i64> {
    match span {
        Span::Period { start, end } if bucket >= end => {
            Some(bucket.saturating_add(end.saturating_sub(start).saturating_mul(2)))
        }
        _ => span.forgets(bucket),
    }
}

/// The bucket of a time that may be in another period than the present one.
fn bucket_at(span: Span, at: i64) -> i64 {
    match span {
        Span::Period { start, end } if !(start..end).contains(&at) => at,
        _ => span.bucket(at),
    }
}

/// As a word, for stores that keep leases as text.
pub(crate) mod on_lost_lease {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use sluicegate_filters::admit::OnLostLease;

    pub fn word(it: OnLostLease) -> &'static str {
        match it {
            OnLostLease::Charge => "charge",
            OnLostLease::Release => "release",
        }
    }

    pub fn read(word: &str) -> Option<OnLostLease> {
        match word {
            "charge" => Some(OnLostLease::Charge),
            "release" => Some(OnLostLease::Release),
            _ => None,
        }
    }

    pub fn serialize<S: Serializer>(it: &OnLostLease, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(word(*it))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OnLostLease, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(from)?;
        read(&word).ok_or_else(|| D::Error::custom("neither `charge` nor `release`"))
    }
}
