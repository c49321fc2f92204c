//! What is sent to the scripts, and what they answer.

use std::sync::LazyLock;

use redis::{Cmd, Script, Value, from_redis_value};
use sluicegate_filters::admit::Span;

use crate::counter::Counter;
use crate::counter::lease::{Lease, on_lost_lease};
use crate::store::{Answer, Exchange, MAX_TTL_MS, QuotaStoreError, Reply};

const EXCHANGE: &str = include_str!("exchange.lua");
const LOOK: &str = include_str!("look.lua");

static EXCHANGE_HASH: LazyLock<String> = LazyLock::new(|| hash(EXCHANGE));
static LOOK_HASH: LazyLock<String> = LazyLock::new(|| hash(LOOK));

fn hash(source: &str) -> String {
    Script::new(source).get_hash().to_owned()
}

/// One run of a script on one counter.
#[derive(Clone)]
pub struct Call {
    source: &'static str,
    hash: &'static str,
    /// The counter's name in Redis.
    pub key: String,
    arguments: Vec<String>,
}

impl Call {
    /// An exchange.
    pub fn exchange(prefix: &str, it: &Exchange) -> Self {
        let (kind, a, b) = match it.span {
            Span::Always => ("always", 0, 0),
            Span::Rolling { ms, bucket_ms } => ("rolling", ms, bucket_ms),
            Span::Period { start, end } => ("period", start, end),
        };
        let mut arguments = vec![
            (*it.instance).to_owned(),
            it.seq.to_string(),
            kind.to_owned(),
            a.to_string(),
            b.to_string(),
        ];
        let ttl_ms = it.ttl_ms.min(MAX_TTL_MS);
        let amounts = [it.limit, it.left, it.held, it.need, it.want, ttl_ms];
        arguments.extend(amounts.iter().map(u64::to_string));
        arguments.push(on_lost_lease::word(it.on_lost_lease).to_owned());
        arguments.push(it.mark.to_string());
        let charges = it.charges.iter().flat_map(|charge| [charge.bucket, charge.amount]);
        arguments.extend(charges.map(|number| number.to_string()));
        Self { source: EXCHANGE, hash: &EXCHANGE_HASH, key: key(prefix, &it.counter), arguments }
    }

    /// A look.
    pub fn look(prefix: &str, counter: &str) -> Self {
        let (key, arguments) = (key(prefix, counter), Vec::new());
        Self { source: LOOK, hash: &LOOK_HASH, key, arguments }
    }

    /// The command, where the server has seen the script before.
    pub fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.hash)
    }

    /// The command with the whole script, which the server keeps.
    pub fn whole(&self) -> Cmd {
        self.command("EVAL", self.source)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(&self.key).arg(&self.arguments);
        command
    }
}

/// The name of a counter in Redis. What is in braces decides on which node of a cluster it is.
fn key(prefix: &str, counter: &str) -> String {
    format!("{prefix}{{{counter}}}")
}

/// What an exchange's script has answered.
///
/// # Errors
/// `Broken`, where that is no answer.
pub fn reply(value: &Value) -> Result<Reply, QuotaStoreError> {
    let Value::Array(items) = value else { return Err(not_an_answer()) };
    let numbers: Option<Vec<Option<i64>>> = items
        .iter()
        .map(|item| match item {
            Value::Int(number) => Some(Some(*number)),
            Value::Nil => Some(None),
            _ => None,
        })
        .collect();
    let amount = |number: i64| u64::try_from(number).map_err(|_| not_an_answer());
    match numbers.as_deref() {
        Some([Some(now)]) => Ok(Reply::OtherPeriod { now: *now }),
        Some(
            &[
                Some(now),
                Some(granted),
                Some(used),
                Some(leased),
                Some(in_doubt),
                Some(hungry),
                fits_at,
                Some(previous_seq),
            ],
        ) => Ok(Reply::Done(Answer {
            now,
            granted: amount(granted)?,
            used: amount(used)?,
            leased: amount(leased)?,
            in_doubt: amount(in_doubt)?,
            hungry: hungry != 0,
            fits_at,
            previous_seq: amount(previous_seq)?,
        })),
        _ => Err(not_an_answer()),
    }
}

/// What a look's script has answered: the time, and the counter.
///
/// # Errors
/// `Broken`, where that is no counter.
pub fn state(name: &str, value: Value) -> Result<(i64, Counter), QuotaStoreError> {
    let (now, fields): (i64, Vec<String>) = from_redis_value(value).map_err(|_| not_an_answer())?;
    let mut counter = Counter::default();
    for pair in fields.chunks(2) {
        let [field, value] = pair else { return Err(not_an_answer()) };
        let read = match field.split_at_checked(1) {
            Some(("b", bucket)) => {
                bucket.parse().ok().zip(value.parse().ok()).map(|(at, amount)| {
                    counter.buckets.insert(at, amount);
                })
            }
            Some(("l", instance)) => lease(value).map(|lease| {
                counter.leases.insert(instance.to_owned(), lease);
            }),
            _ => None,
        };
        read.ok_or_else(|| {
            QuotaStoreError::Broken(format!(
                "counter {name}: what Redis has of it can't be understood"
            ))
        })?;
    }
    Ok((now, counter))
}

/// As the script writes it.
fn lease(text: &str) -> Option<Lease> {
    let words: Vec<_> = text.split_ascii_whitespace().collect();
    let [
        leased,
        held,
        expires_at,
        left_for_good,
        charged,
        on_lost,
        seq,
        granted,
        hungry_until,
        doubt,
        doubt_bucket,
        mark,
    ] = words[..]
    else {
        return None;
    };
    Some(Lease {
        leased: leased.parse().ok()?,
        held: held.parse().ok()?,
        expires_at: expires_at.parse().ok()?,
        left_for_good: left_for_good == "1",
        charged: charged == "1",
        on_lost: on_lost_lease::read(on_lost)?,
        seq: seq.parse().ok()?,
        granted: granted.parse().ok()?,
        hungry_until: hungry_until.parse().ok()?,
        doubt: doubt.parse().ok()?,
        doubt_bucket: doubt_bucket.parse().ok()?,
        mark: mark.parse().ok()?,
    })
}

fn not_an_answer() -> QuotaStoreError {
    QuotaStoreError::Broken("Redis: the answer of a script can't be understood".to_owned())
}
