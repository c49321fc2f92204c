//! The feed of changes.

use super::super::{CHANGES_AT_ONCE, Change, Changes};
use super::row::Reader;
use super::{RecordKind, Row, Statement, StoreError, Transaction};

/// The number of the last change. A counter gives the numbers and not a sequence of the database: a
/// sequence leaves a hole where a transaction is undone, and then nobody could tell a hole from a
/// change that is yet to be committed.
macro_rules! last_number {
    () => {
        "COALESCE((SELECT max(number) FROM changes), (SELECT forgotten_number FROM feed))"
    };
}

/// The beginning of a statement that notes a change of each row of a table. What follows is the kind,
/// the id and `FROM`.
pub(super) const NOTE_EACH: &str = concat!(
    "INSERT INTO changes (number, kind, id) SELECT ",
    last_number!(),
    " + row_number() OVER (), "
);

/// Notes a write of one record.
pub(super) async fn note(
    tx: &mut dyn Transaction,
    kind: RecordKind,
    id: &str,
) -> Result<(), StoreError> {
    let change = Statement::new(concat!(
        "INSERT INTO changes (number, kind, id) VALUES (",
        last_number!(),
        " + 1, $1, $2)"
    ));
    tx.execute(change.bind(kind.name()).bind(id)).await.map(drop)
}

pub(super) async fn after(
    tx: &mut dyn Transaction,
    after: Option<i64>,
) -> Result<Changes, StoreError> {
    let ends = Statement::new(concat!("SELECT ", last_number!(), ", forgotten_number FROM feed"));
    let Some(row) = tx.row(ends).await? else {
        return Err(StoreError::Broken("the table `feed` has lost its row".to_owned()));
    };
    let mut reader = Reader::new("feed", row);
    let (last, forgotten) = (reader.int("number")?, reader.int("forgotten_number")?);
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
    let mut seen =
        Changes { changes: Vec::new(), last: after.max(forgotten), gap: after < forgotten };
    for row in tx.rows(changes).await? {
        let (number, change) = change(row)?;
        seen.last = number;
        seen.changes.push(change);
    }
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
