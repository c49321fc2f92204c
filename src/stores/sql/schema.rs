//! The tables' versions.

use super::row::Reader;
use super::{Statement, StoreError, Transaction};

/// A step to the next version of the tables.
pub(in crate::stores) struct Migration {
    /// From 1 on, without holes.
    pub version: i64,
    pub script: &'static str,
}

/// The version of the tables that are there; 0 if there are none.
///
/// # Errors
/// `Broken` if the version is newer than the last of `migrations`: an older program must not write
/// into tables that it does not know.
pub(in crate::stores) async fn version(
    tx: &mut dyn Transaction,
    migrations: &[Migration],
) -> Result<i64, StoreError> {
    let statement = Statement::new("SELECT max(version) FROM schema_version");
    let stored = match tx.row(statement).await? {
        Some(row) => Reader::new("schema version", row).opt_int("version")?.unwrap_or(0),
        None => 0,
    };
    let known = wanted(migrations);
    if stored > known {
        return Err(StoreError::Broken(format!(
            "its tables are of version {stored}, and this program knows version {known}: run the \
             newer program, or restore the backup that was made before it ran"
        )));
    }
    Ok(stored)
}

/// The version that the program needs.
pub(in crate::stores) fn wanted(migrations: &[Migration]) -> i64 {
    migrations.last().map_or(0, |migration| migration.version)
}

/// Brings the tables to the newest version, in a transaction that holds the writers' lock.
pub(in crate::stores) async fn migrate(
    tx: &mut dyn Transaction,
    migrations: &[Migration],
) -> Result<(), StoreError> {
    tx.script("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY)")
        .await?;
    let stored = version(tx, migrations).await?;
    for migration in migrations.iter().filter(|migration| migration.version > stored) {
        tx.script(migration.script).await?;
        let insert = Statement::new("INSERT INTO schema_version (version) VALUES ($1)");
        tx.execute(insert.bind(migration.version)).await?;
    }
    Ok(())
}
