//! The feed of changes.

use super::super::{CHANGES_AT_ONCE, Change, Changes};
use super::row::Reader;
use super::{RecordKind, Row, Statement, StoreError, Transaction};

/// Notes a write of one record.
pub(super) async fn note(
    tx: &mut dyn Transaction,
    kind: RecordKind,
    id: &str,
) -> Result<(), StoreError> {
    let changes = Statement::new(
        "INSERT INTO changes (number, kind, id) SELECT last_number + 1, $1, $2 FROM feed",
    );
    note_all(tx, changes.bind(kind.name()).bind(id)).await
}

/// Runs a statement that inserts changes with the numbers that follow the last.
///
/// A counter gives the numbers and not a sequence: sequences leave holes where a transaction is
/// undone, and then nobody could tell a hole from a change that is yet to be committed.
pub(super) async fn note_all(
    tx: &mut dyn Transaction,
    changes: Statement,
) -> Result<(), StoreError> {
    let count = tx.execute(changes).await?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    tx.execute(Statement::new("UPDATE feed SET last_number = last_number + $1").bind(count))
        .await?;
    Ok(())
}

pub(super) async fn after(
    tx: &mut dyn Transaction,
    after: Option<i64>,
) -> Result<Changes, StoreError> {
    let ends = Statement::new("SELECT last_number, forgotten_number FROM feed");
    let Some(row) = tx.row(ends).await? else {
        return Err(StoreError::Broken("the table `feed` has lost its row".to_owned()));
    };
    let mut reader = Reader::new("feed", row);
    let (last, forgotten) = (reader.int("last_number")?, reader.int("forgotten_number")?);
    let Some(after) = after else {
        return Ok(Changes { last, ..Changes::default() });
    };
    if after > last {
        // An older copy of the database took its place: nothing that was read before is certain.
        return Ok(Changes { changes: Vec::new(), last, gap: true });
    }
    let changes = Statement::new("SELECT number, kind, id FROM changes WHERE number > ")
        .value(after)
        .push(" ORDER BY number LIMIT ")
        .value(CHANGES_AT_ONCE as i64);
    let mut changes = tx.rows(changes).await?.into_iter().map(change);
    let mut seen =
        Changes { changes: Vec::new(), last: after.max(forgotten), gap: after < forgotten };
    changes.try_for_each(|change| {
        let (number, change) = change?;
        seen.last = number;
        seen.changes.push(change);
        Ok(())
    })?;
    Ok(seen)
}

fn change(row: Row) -> Result<(i64, Change), StoreError> {
    let mut reader = Reader::new("change", row);
    let (number, kind) = (reader.int("number")?, reader.text("kind")?);
    let Some(kind) = RecordKind::from_name(&kind) else {
        return Err(StoreError::Broken(format!("change {number} is of an unknown kind")));
    };
    Ok((number, Change { kind, id: reader.text("id")? }))
}

/// Forgets up to the newest change that is old enough. One before it may seem younger, if the
/// database's clock was set back; a gap is harmless, a feed that never ends is not.
pub(super) async fn forget(tx: &mut dyn Transaction, before: i64) -> Result<u64, StoreError> {
    let newest = Statement::new("SELECT max(number) FROM changes WHERE at < $1").bind(before);
    let Some(row) = tx.row(newest).await? else { return Ok(0) };
    let Some(newest) = Reader::new("change", row).opt_int("number")? else { return Ok(0) };
    tx.execute(Statement::new("UPDATE feed SET forgotten_number = $1").bind(newest)).await?;
    tx.execute(Statement::new("DELETE FROM changes WHERE number <= $1").bind(newest)).await
}

pub(super) async fn ping(tx: &mut dyn Transaction) -> Result<(), StoreError> {
    tx.rows(Statement::new("SELECT 1 FROM feed")).await.map(drop)
}
