//! The ledger's rows, and the totals that are kept with them.

use std::collections::{BTreeMap, HashSet};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use sluicegate_filters::Usage;
use sluicegate_ledger::{
    Again, Dimension, Group, LedgerError, Row as LedgerRow, RowsQuery, Total, UsageQuery,
};
use uuid::Uuid;

use super::row::Reader;
use super::{Bind, Database, Row, Source, Statement, StoreError, Transaction, end};

const DAY_MS: i64 = 86_400_000;

/// Rows, and totals, in one statement: 1,700 values, of the 32,766 that SQLite takes and PostgreSQL's 65,535.
const AT_ONCE: usize = 50;

/// Rows that are deleted at once.
const FORGET_AT_ONCE: i64 = 5_000;

const COLUMNS: &str = "request_id, attempt, begun_at, ended_at, instance, caller, key_id, user_id, \
    team_id, organization_id, end_user, tags, endpoint, model, provider, provider_model, stream, \
    status, outcome, input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, \
    audio_input, audio_output, estimated, cost, price_version, held_tokens, held_cost, latency_ms, \
    first_token_ms";

/// The port, over a database of either kind. What follows finds a tag in `l.tags` up to its value.
macro_rules! ledger_store {
    ($store:ty, $with_tag:literal) => {
        #[async_trait]
        impl sluicegate_ledger::LedgerStore for $store {
            async fn id(&self) -> Result<uuid::Uuid, sluicegate_ledger::LedgerError> {
                super::sql::ledger::id(self).await
            }

            async fn append(
                &self,
                rows: &[sluicegate_ledger::Row<'static>],
            ) -> Result<u64, sluicegate_ledger::LedgerError> {
                super::sql::ledger::append(self, rows).await
            }

            async fn append_again(
                &self,
                rows: &[sluicegate_ledger::Row<'static>],
            ) -> Result<sluicegate_ledger::Again, sluicegate_ledger::LedgerError> {
                super::sql::ledger::append_again(self, rows).await
            }

            async fn usage(
                &self,
                query: &sluicegate_ledger::UsageQuery,
            ) -> Result<Vec<sluicegate_ledger::Group>, sluicegate_ledger::LedgerError> {
                super::sql::ledger::usage(self, query).await
            }

            async fn rows(
                &self,
                query: &sluicegate_ledger::RowsQuery,
            ) -> Result<Vec<sluicegate_ledger::Row<'static>>, sluicegate_ledger::LedgerError> {
                super::sql::ledger::rows(self, query, $with_tag).await
            }

            async fn forget(&self, before: i64) -> Result<u64, sluicegate_ledger::LedgerError> {
                super::sql::ledger::forget(self, before).await
            }
        }
    };
}

/// Which store this is.
pub(in crate::stores) async fn id(database: &dyn Database) -> Result<Uuid, LedgerError> {
    let mut transaction = database.read(Source::Primary).await.map_err(told)?;
    let id = async {
        let row = transaction.row(Statement::new("SELECT id FROM ledger_store")).await?;
        Reader::new("ledger's store", row.ok_or_else(no_row)?).id("id")
    }
    .await;
    end(transaction, id).await.map_err(told)
}

fn no_row() -> StoreError {
    StoreError::Broken("the table `ledger_store` has lost its row".to_owned())
}

/// Adds rows that are not there yet, and their totals.
///
/// Only after a crash, or an answer that got lost, are there rows already. So it is tried as if there were
/// none, which spares the database a list of what it added.
pub(in crate::stores) async fn append(
    database: &dyn Database,
    rows: &[LedgerRow<'static>],
) -> Result<u64, LedgerError> {
    if rows.is_empty() {
        return Ok(0);
    }
    match add_all(database, rows).await.map_err(told)? {
        true => Ok(rows.len() as u64),
        false => add_missing(database, rows).await.map_err(told),
    }
}

/// Adds rows that may have been there, and are no longer.
pub(in crate::stores) async fn append_again(
    database: &dyn Database,
    rows: &[LedgerRow<'static>],
) -> Result<Again, LedgerError> {
    if rows.is_empty() {
        return Ok(Again::default());
    }
    let mut transaction = database.append().await.map_err(told)?;
    let again = async {
        let tx = &mut *transaction;
        let forgotten = lock_forgotten(tx).await?;
        let is_young = |row: &&LedgerRow<'_>| forgotten.is_none_or(|at| row.begun_at > at);
        let young: Vec<_> = rows.iter().filter(is_young).collect();
        let added = missing(tx, &young).await?;
        Ok(Again { added, too_old: (rows.len() - young.len()) as u64 })
    }
    .await;
    end(transaction, again).await.map_err(told)
}

/// The latest beginning of a deleted row. Until the transaction's end, no row is deleted.
async fn lock_forgotten(tx: &mut dyn Transaction) -> Result<Option<i64>, StoreError> {
    let lock = Statement::new(
        "UPDATE ledger_store SET forgotten_up_to = forgotten_up_to RETURNING forgotten_up_to",
    );
    let row = tx.row(lock).await?.ok_or_else(no_row)?;
    Reader::new("ledger's store", row).opt_int("forgotten_up_to")
}

/// Adds all the rows, or none: `false`, if some are there already.
async fn add_all(database: &dyn Database, rows: &[LedgerRow<'static>]) -> Result<bool, StoreError> {
    let mut transaction = database.append().await?;
    let all = async {
        let tx = &mut *transaction;
        for rows in rows.chunks(AT_ONCE) {
            if tx.execute(insert(rows.iter())?).await? < rows.len() as u64 {
                return Ok(false);
            }
        }
        add_totals(tx, rows.iter()).await.map(|()| true)
    }
    .await;
    match all {
        Ok(false) => {
            transaction.rollback().await;
            Ok(false)
        }
        all => end(transaction, all).await,
    }
}

/// Adds the rows that are not there yet.
async fn add_missing(
    database: &dyn Database,
    rows: &[LedgerRow<'static>],
) -> Result<u64, StoreError> {
    let mut transaction = database.append().await?;
    let rows: Vec<_> = rows.iter().collect();
    let added = missing(&mut *transaction, &rows).await;
    end(transaction, added).await
}

async fn missing(
    tx: &mut dyn Transaction,
    rows: &[&LedgerRow<'static>],
) -> Result<u64, StoreError> {
    let mut fresh = HashSet::with_capacity(rows.len());
    for rows in rows.chunks(AT_ONCE) {
        let insert = insert(rows.iter().copied())?.push(" RETURNING request_id, attempt");
        for row in tx.rows(insert).await? {
            let mut reader = Reader::new("ledger", row);
            let id = reader.id("request_id")?;
            fresh.insert((id, u16::try_from(reader.int("attempt")?).unwrap_or(u16::MAX)));
        }
    }
    // A row that was twice among them was added once.
    let added = fresh.len() as u64;
    let is_fresh = |row: &&LedgerRow<'_>| fresh.remove(&(row.request_id, row.attempt));
    add_totals(tx, rows.iter().copied().filter(is_fresh)).await?;
    Ok(added)
}

fn insert<'a>(rows: impl Iterator<Item = &'a LedgerRow<'static>>) -> Result<Statement, StoreError> {
    let mut statement = Statement::new("INSERT INTO ledger (").push(COLUMNS).push(") VALUES ");
    for (index, row) in rows.enumerate() {
        statement = statement.push(if index == 0 { "" } else { ", " }).list(values(row)?);
    }
    Ok(statement.push(" ON CONFLICT (request_id, attempt) DO NOTHING"))
}

fn values(row: &LedgerRow<'_>) -> Result<[Bind; 34], StoreError> {
    let text = |text: &str| Bind::Text(Some(text.to_owned()));
    let maybe = |text: &Option<std::borrow::Cow<'_, str>>| Bind::from(text.as_deref());
    let tags = serde_json::to_value(&row.tags)
        .map_err(|error| StoreError::Broken(format!("no JSON: {error}")))?;
    let usage = &row.usage;
    Ok([
        row.request_id.into(),
        i64::from(row.attempt).into(),
        row.begun_at.into(),
        row.ended_at.into(),
        text(&row.instance),
        text(&row.caller),
        row.key.into(),
        maybe(&row.user),
        maybe(&row.team),
        maybe(&row.organization),
        maybe(&row.end_user),
        Bind::Json(tags),
        text(&row.endpoint),
        text(&row.model),
        text(&row.provider),
        text(&row.provider_model),
        row.stream.into(),
        row.status.map(i64::from).into(),
        text(&row.outcome),
        number(usage.input),
        number(usage.cache_read),
        number(usage.cache_write_5m),
        number(usage.cache_write_1h),
        number(usage.output),
        number(usage.reasoning),
        number(usage.audio_input),
        number(usage.audio_output),
        row.estimated.into(),
        Bind::Int(row.cost.map(int)),
        maybe(&row.price_version),
        number(row.held_tokens),
        number(row.held_cost),
        number(row.latency_ms),
        Bind::Int(row.first_token_ms.map(int)),
    ])
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(number: u64) -> Bind {
    int(number).into()
}

/// What totals are kept by: the day, and the values of the other dimensions in their order.
type Place = (i64, [String; 7]);

async fn add_totals<'a>(
    tx: &mut dyn Transaction,
    rows: impl Iterator<Item = &'a LedgerRow<'static>>,
) -> Result<(), StoreError> {
    // In one order everywhere: two instances that add to the same totals don't wait for each other in a
    // circle.
    let mut totals: BTreeMap<Place, Total> = BTreeMap::new();
    for row in rows {
        let total = totals.entry(place(row)).or_default();
        total.attempts += 1;
        total.input_tokens += row.usage.total_input();
        total.cached_tokens += row.usage.cache_read;
        total.output_tokens += row.usage.output;
        total.nano_usd += row.cost.unwrap_or(0);
        total.estimated += u64::from(row.estimated);
    }
    let totals: Vec<_> = totals.iter().collect();
    for totals in totals.chunks(AT_ONCE) {
        add(tx, totals).await?;
    }
    Ok(())
}

async fn add(tx: &mut dyn Transaction, totals: &[(&Place, &Total)]) -> Result<(), StoreError> {
    let mut statement = Statement::new(
        "INSERT INTO ledger_daily (day, key_id, user_id, team_id, organization_id, end_user, model, \
         provider, attempts, input, cached, output, cost, estimated) VALUES ",
    );
    for (index, ((day, names), total)) in totals.iter().enumerate() {
        let binds = std::iter::once(Bind::from(*day)).chain(names.iter().map(Bind::from)).chain(
            [
                total.attempts,
                total.input_tokens,
                total.cached_tokens,
                total.output_tokens,
                total.nano_usd,
                total.estimated,
            ]
            .map(number),
        );
        statement = statement.push(if index == 0 { "" } else { ", " }).list(binds);
    }
    let statement = statement.push(
        " ON CONFLICT (day, key_id, user_id, team_id, organization_id, end_user, model, provider) \
         DO UPDATE SET attempts = ledger_daily.attempts + excluded.attempts, \
         input = ledger_daily.input + excluded.input, \
         cached = ledger_daily.cached + excluded.cached, \
         output = ledger_daily.output + excluded.output, \
         cost = ledger_daily.cost + excluded.cost, \
         estimated = ledger_daily.estimated + excluded.estimated",
    );
    tx.execute(statement).await.map(drop)
}

fn place(row: &LedgerRow<'_>) -> Place {
    let name = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().unwrap_or("").to_owned();
    let names = [
        row.key.map_or_else(String::new, |key| key.to_string()),
        name(&row.user),
        name(&row.team),
        name(&row.organization),
        name(&row.end_user),
        row.model.to_string(),
        row.provider.to_string(),
    ];
    (row.ended_at.div_euclid(DAY_MS), names)
}

/// Totals by the dimensions asked for.
pub(in crate::stores) async fn usage(
    database: &dyn Database,
    query: &UsageQuery,
) -> Result<Vec<Group>, LedgerError> {
    let mut transaction = database.read(Source::Replica).await.map_err(told)?;
    let groups = async {
        let rows = transaction.rows(totals(query)?).await?;
        rows.into_iter().map(|row| group(row, &query.by)).collect()
    }
    .await;
    end(transaction, groups).await.map_err(told)
}

fn totals(query: &UsageQuery) -> Result<Statement, StoreError> {
    let mut statement = Statement::new("SELECT ");
    for dimension in &query.by {
        statement = statement.push(column(*dimension)).push(", ");
    }
    statement = statement.push(
        "CAST(COALESCE(sum(attempts), 0) AS BIGINT), CAST(COALESCE(sum(input), 0) AS BIGINT), \
         CAST(COALESCE(sum(cached), 0) AS BIGINT), CAST(COALESCE(sum(output), 0) AS BIGINT), \
         CAST(COALESCE(sum(cost), 0) AS BIGINT), CAST(COALESCE(sum(estimated), 0) AS BIGINT) \
         FROM ledger_daily WHERE true",
    );
    if let Some((from, to)) = query.days {
        statement = statement.push(" AND day >= ").value(from).push(" AND day < ").value(to);
    }
    for (dimension, values) in &query.only {
        statement = statement.push(" AND ").push(column(*dimension)).push(" IN ");
        statement = statement.list(binds(*dimension, values)?);
    }
    if let Some(after) = query.after.as_ref().filter(|after| after.len() == query.by.len()) {
        statement = statement.push(" AND (");
        for (index, dimension) in query.by.iter().enumerate() {
            statement = statement.push(if index == 0 { "" } else { ", " }).push(column(*dimension));
        }
        statement = statement.push(") > ");
        let mut behind = Vec::new();
        for (dimension, value) in query.by.iter().zip(after) {
            behind.extend(binds(*dimension, std::slice::from_ref(value))?);
        }
        statement = statement.list(behind);
    }
    for (index, dimension) in query.by.iter().enumerate() {
        let before = if index == 0 { " GROUP BY " } else { ", " };
        statement = statement.push(before).push(column(*dimension));
    }
    for (index, dimension) in query.by.iter().enumerate() {
        let before = if index == 0 { " ORDER BY " } else { ", " };
        statement = statement.push(before).push(column(*dimension));
    }
    Ok(statement.push(" LIMIT ").value(int(query.limit as u64)))
}

fn column(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Day => "day",
        Dimension::Key => "key_id",
        Dimension::User => "user_id",
        Dimension::Team => "team_id",
        Dimension::Organization => "organization_id",
        Dimension::EndUser => "end_user",
        Dimension::Model => "model",
        Dimension::Provider => "provider",
    }
}

fn binds(dimension: Dimension, values: &[String]) -> Result<Vec<Bind>, StoreError> {
    let bind = |value: &String| match dimension {
        Dimension::Day => match day_number(value) {
            Some(day) => Ok(day.into()),
            None => Err(StoreError::Invalid { field: "day", reason: "is not a date" }),
        },
        _ => {
            super::text::check_names([(dimension.name(), Some(value.as_str()))])?;
            Ok(value.into())
        }
    };
    values.iter().map(bind).collect()
}

fn group(row: Row, by: &[Dimension]) -> Result<Group, StoreError> {
    let mut reader = Reader::new("usage", row);
    let mut values = Vec::with_capacity(by.len());
    for dimension in by {
        values.push(match dimension {
            Dimension::Day => day_text(reader.int("day")?),
            _ => reader.text(dimension.name())?,
        });
    }
    let total = Total {
        attempts: reader.count("attempts")?,
        input_tokens: reader.count("input")?,
        cached_tokens: reader.count("cached")?,
        output_tokens: reader.count("output")?,
        nano_usd: reader.count("cost")?,
        estimated: reader.count("estimated")?,
    };
    Ok(Group { values, total })
}

/// A day of UTC as days since the epoch.
fn day_number(text: &str) -> Option<i64> {
    let date: Date = text.parse().ok()?;
    let start = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(start.div_euclid(DAY_MS))
}

fn day_text(day: i64) -> String {
    let date = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC).date().checked_add(day.days());
    date.map_or_else(|_| day.to_string(), |date| date.to_string())
}

/// Rows, the newest first.
pub(in crate::stores) async fn rows(
    database: &dyn Database,
    query: &RowsQuery,
    with_tag: &'static str,
) -> Result<Vec<LedgerRow<'static>>, LedgerError> {
    let mut transaction = database.read(Source::Replica).await.map_err(told)?;
    let rows = async {
        let rows = transaction.rows(matching(query, with_tag)?).await?;
        rows.into_iter().map(read).collect()
    }
    .await;
    end(transaction, rows).await.map_err(told)
}

fn matching(query: &RowsQuery, with_tag: &'static str) -> Result<Statement, StoreError> {
    let mut statement = Statement::new("SELECT ").push(COLUMNS).push(" FROM ledger l WHERE true");
    if let Some((from, to)) = query.begun {
        statement = statement.push(" AND begun_at >= ").value(from);
        statement = statement.push(" AND begun_at < ").value(to);
    }
    if let Some(id) = query.request_id {
        statement = statement.push(" AND request_id = ").value(id);
    }
    for (dimension, values) in &query.only {
        let binds = match dimension {
            Dimension::Day => continue,
            // Its column holds ids here.
            Dimension::Key => {
                let id = |value: &String| Uuid::parse_str(value).ok().map(Bind::from);
                values.iter().filter_map(id).collect()
            }
            _ => binds(*dimension, values)?,
        };
        statement = statement.push(" AND ").push(column(*dimension)).push(" IN ").list(binds);
    }
    if let Some(tag) = &query.tag {
        super::text::check_names([("tag", Some(tag.as_str()))])?;
        statement = statement.push(" AND ").push(with_tag).value(tag).push(")");
    }
    if let Some((begun_at, id, attempt)) = query.after {
        let behind = [Bind::from(begun_at), id.into(), i64::from(attempt).into()];
        statement = statement.push(" AND (begun_at, request_id, attempt) < ").list(behind);
    }
    let statement = statement.push(" ORDER BY begun_at DESC, request_id DESC, attempt DESC LIMIT ");
    Ok(statement.value(int(query.limit as u64)))
}

fn read(row: Row) -> Result<LedgerRow<'static>, StoreError> {
    let mut reader = Reader::new("row of the ledger", row);
    let it = &mut reader;
    let text = |it: &mut Reader, column| it.text(column).map(Into::into);
    let maybe =
        |it: &mut Reader, column| it.opt_text(column).map(|text| text.map(std::borrow::Cow::Owned));
    let small = |number: i64| u16::try_from(number).unwrap_or(u16::MAX);
    let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    Ok(LedgerRow {
        request_id: it.id("request_id")?,
        attempt: small(it.int("attempt")?),
        begun_at: it.int("begun_at")?,
        ended_at: it.int("ended_at")?,
        instance: text(it, "instance")?,
        caller: text(it, "caller")?,
        key: it.opt_id("key_id")?,
        user: maybe(it, "user_id")?,
        team: maybe(it, "team_id")?,
        organization: maybe(it, "organization_id")?,
        end_user: maybe(it, "end_user")?,
        tags: it.json("tags")?,
        endpoint: text(it, "endpoint")?,
        model: text(it, "model")?,
        provider: text(it, "provider")?,
        provider_model: text(it, "provider_model")?,
        stream: it.flag("stream")?,
        status: it.opt_int("status")?.map(small),
        outcome: text(it, "outcome")?,
        usage: Usage {
            input: it.count("input")?,
            cache_read: it.count("cache_read")?,
            cache_write_5m: it.count("cache_write_5m")?,
            cache_write_1h: it.count("cache_write_1h")?,
            output: it.count("output")?,
            reasoning: it.count("reasoning")?,
            audio_input: it.count("audio_input")?,
            audio_output: it.count("audio_output")?,
        },
        estimated: it.flag("estimated")?,
        cost: count(it.opt_int("cost")?),
        price_version: maybe(it, "price_version")?,
        held_tokens: it.count("held_tokens")?,
        held_cost: it.count("held_cost")?,
        latency_ms: it.count("latency_ms")?,
        first_token_ms: count(it.opt_int("first_token_ms")?),
    })
}

/// Deletes some of the oldest rows, and notes up to which.
pub(in crate::stores) async fn forget(
    database: &dyn Database,
    before: i64,
) -> Result<u64, LedgerError> {
    let mut transaction = database.append().await.map_err(told)?;
    let forgotten = forget_some(&mut *transaction, before).await;
    end(transaction, forgotten).await.map_err(told)
}

async fn forget_some(tx: &mut dyn Transaction, before: i64) -> Result<u64, StoreError> {
    let oldest =
        Statement::new("SELECT max(begun_at) FROM (SELECT begun_at FROM ledger WHERE begun_at < ")
            .value(before)
            .push(" ORDER BY begun_at LIMIT ")
            .value(FORGET_AT_ONCE)
            .push(") AS oldest");
    let Some(row) = tx.row(oldest).await? else { return Ok(0) };
    let Some(up_to) = Reader::new("ledger", row).opt_int("begun_at")? else { return Ok(0) };
    let known = lock_forgotten(tx).await?;
    // Up to what is deleted, and not up to what may be: rows that nobody has sent yet are not lost by it,
    // nor does a clock that was far ahead once shut out what begins now.
    let noted = Statement::new("UPDATE ledger_store SET forgotten_up_to = ")
        .value(known.map_or(up_to, |known| known.max(up_to)));
    tx.execute(noted).await?;
    let delete = Statement::new("DELETE FROM ledger WHERE begun_at <= ").value(up_to);
    tx.execute(delete).await
}

fn told(error: StoreError) -> LedgerError {
    match error {
        StoreError::Unavailable(why) => LedgerError::Unavailable(why),
        error => LedgerError::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (day, text) in [(0, "1970-01-01"), (20_783, "2026-11-26"), (-1, "1969-12-31")] {
            assert_eq!(day_text(day), text);
            assert_eq!(day_number(text), Some(day));
        }
        assert_eq!(day_number("yesterday"), None);
    }
}
