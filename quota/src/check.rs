//! What every store refuses before it does anything.

use sluicegate_filters::admit::Span;

use crate::store::{Exchange, Look, MAX_AMOUNT, MAX_BATCH, MAX_CHARGES, QuotaStoreError};

const LONGEST_COUNTER: usize = 600;
const LONGEST_INSTANCE: usize = 64;

/// Times and lengths, in milliseconds: what is exact in a double, and 140,000 years.
const MAX_TIME: i64 = 1 << 52;

/// # Errors
/// `Broken`, where an exchange is not as the port says.
pub(crate) fn batch(batch: &[Exchange]) -> Result<(), QuotaStoreError> {
    length(batch.len())?;
    batch.iter().try_for_each(exchange)
}

/// # Errors
/// `Broken`, where a counter can't be one.
pub(crate) fn looks(asked: &[Look]) -> Result<(), QuotaStoreError> {
    length(asked.len())?;
    asked.iter().try_for_each(|look| {
        counter(&look.counter)?;
        span(&look.counter, look.span)
    })
}

fn length(length: usize) -> Result<(), QuotaStoreError> {
    require(length <= MAX_BATCH, || format!("{length} in one call, and {MAX_BATCH} may be"))
}

fn exchange(it: &Exchange) -> Result<(), QuotaStoreError> {
    let name = &it.counter;
    counter(name)?;
    span(name, it.span)?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let instance = &it.instance;
    require(
        (1..=LONGEST_INSTANCE).contains(&instance.len()) && instance.bytes().all(known),
        || format!("{name}: the instance is not 1 to {LONGEST_INSTANCE} of A-Z a-z 0-9 -"),
    )?;
    let amounts = [
        ("limit", it.limit),
        ("left", it.left),
        ("held", it.held),
        ("need", it.need),
        ("want", it.want),
        ("seq", it.seq),
    ];
    for (what, amount) in amounts {
        require(amount <= MAX_AMOUNT, || format!("{name}: `{what}` is above 2^52: {amount}"))?;
    }
    require(it.seq > 0, || format!("{name}: `seq` is 0"))?;
    let charges = it.charges.len();
    require(charges <= MAX_CHARGES, || format!("{name}: {charges} charges"))?;
    it.charges.iter().try_for_each(|charge| {
        require(charge.amount.unsigned_abs() <= MAX_AMOUNT && is_time(charge.bucket), || {
            format!("{name}: a charge of {} in {}", charge.amount, charge.bucket)
        })
    })
}

fn counter(name: &str) -> Result<(), QuotaStoreError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@%:|/~".contains(&byte);
    require((1..=LONGEST_COUNTER).contains(&name.len()) && name.bytes().all(known), || {
        "the name of a counter is none that a quota has".to_owned()
    })
}

fn span(name: &str, span: Span) -> Result<(), QuotaStoreError> {
    let sane = match span {
        Span::Always => true,
        Span::Rolling { ms, bucket_ms } => {
            (1..=MAX_TIME).contains(&ms) && (1..=MAX_TIME).contains(&bucket_ms)
        }
        Span::Period { start, end } => start < end && is_time(start) && is_time(end),
    };
    require(sane, || format!("{name}: a window of {span:?}"))
}

fn is_time(ms: i64) -> bool {
    (-MAX_TIME..=MAX_TIME).contains(&ms)
}

fn require(sane: bool, what: impl FnOnce() -> String) -> Result<(), QuotaStoreError> {
    if sane {
        Ok(())
    } else {
        Err(QuotaStoreError::Broken(format!("refused before it: {}", what())))
    }
}
