//! Keys.

use uuid::Uuid;

use super::super::records::{Key, PreviousHash};
use super::row::Reader;
use super::text::{check_limits, check_map, check_names, check_text, check_texts};
use super::{
    Bind, KeyFilter, Order, Page, Paged, RecordKind, Row, Statement, StoreError, Transaction, feed,
    page, replace,
};

/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str = "k.id, k.hash, k.previous_hash, k.previous_until, k.hint, \
    k.alias, k.user_id, k.team_id, k.organization_id, k.models, k.routes, k.expires_at, k.blocked, \
    k.tags, k.metadata, k.limits, k.created_at, k.updated_at, k.created_by, k.version";

pub(super) fn read(reader: &mut Reader) -> Result<Key, StoreError> {
    Ok(Key {
        id: reader.id("id")?,
        hash: reader.hash("hash")?,
        previous: match (reader.opt_hash("previous_hash")?, reader.opt_int("previous_until")?) {
            (Some(hash), Some(until)) => Some(PreviousHash { hash, until }),
            _ => None,
        },
        hint: reader.text("hint")?,
        alias: reader.opt_text("alias")?,
        user: reader.opt_text("user_id")?,
        team: reader.opt_text("team_id")?,
        organization: reader.opt_text("organization_id")?,
        models: reader.json("models")?,
        routes: reader.json("routes")?,
        expires_at: reader.opt_int("expires_at")?,
        blocked: reader.flag("blocked")?,
        tags: reader.json("tags")?,
        metadata: reader.json("metadata")?,
        limits: reader.json("limits")?,
        created_at: reader.int("created_at")?,
        updated_at: reader.int("updated_at")?,
        created_by: reader.text("created_by")?,
        version: reader.int("version")?,
    })
}

fn read_row(row: Row) -> Result<Key, StoreError> {
    read(&mut Reader::new("key", row))
}

pub(super) async fn create(tx: &mut dyn Transaction, key: &Key) -> Result<(), StoreError> {
    check(key)?;
    let (stored, others) = surroundings(tx, key).await?;
    if stored.is_some() {
        return Err(StoreError::Conflict { field: "id" });
    }
    others?;
    let insert = Statement::new(
        "INSERT INTO keys (hash, previous_hash, previous_until, hint, alias, user_id, team_id, \
         organization_id, models, routes, expires_at, blocked, tags, metadata, limits, created_at, \
         updated_at, created_by, version, id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
         $19, $20)",
    );
    tx.execute(bind(insert, key, 1)?).await?;
    feed::note(tx, RecordKind::Key, &key.id.to_string()).await
}

pub(super) async fn get(tx: &mut dyn Transaction, id: Uuid) -> Result<Option<Key>, StoreError> {
    let statement =
        Statement::new("SELECT ").push(COLUMNS).push(" FROM keys k WHERE k.id = ").value(id);
    tx.row(statement).await?.map(read_row).transpose()
}

pub(super) async fn list(
    tx: &mut dyn Transaction,
    filter: &KeyFilter,
    asked: &Page,
) -> Result<Paged<Key>, StoreError> {
    check_names([
        ("user", filter.user.as_deref()),
        ("team", filter.team.as_deref()),
        ("organization", filter.organization.as_deref()),
        ("alias", filter.alias.as_deref()),
    ])?;
    let columns = Statement::new("SELECT ").push(COLUMNS);
    let order = Order {
        by: " ORDER BY k.created_at DESC, k.id DESC",
        beyond: " AND (k.created_at, k.id) < ",
        id: key_id,
    };
    page(tx, columns, |statement| matching(statement, filter), order, asked, read_row).await
}

fn key_id(id: &str) -> Result<Bind, StoreError> {
    let reason = "is not the place of a key";
    let id = id.parse::<Uuid>().map_err(|_| StoreError::Invalid { field: "after", reason })?;
    Ok(id.into())
}

fn matching(statement: Statement, filter: &KeyFilter) -> Statement {
    let KeyFilter { user, team, organization, alias, hash, blocked, within_teams } = filter;
    let mut statement = statement.push(" FROM keys k WHERE true");
    if let Some(user) = user {
        statement = statement.push(" AND k.user_id = ").value(user);
    }
    if let Some(team) = team {
        statement = statement.push(" AND k.team_id = ").value(team);
    }
    if let Some(organization) = organization {
        statement = statement
            .push(" AND (k.organization_id = ")
            .value(organization)
            .push(" OR (k.organization_id IS NULL AND k.team_id IN (SELECT t.id FROM teams t WHERE t.organization_id = ")
            .value(organization)
            .push(")))");
    }
    if let Some(alias) = alias {
        statement = statement.push(" AND k.alias = ").value(alias);
    }
    if let Some(hash) = hash {
        statement = statement
            .push(" AND (k.hash = ")
            .value(hash)
            .push(" OR k.previous_hash = ")
            .value(hash)
            .push(")");
    }
    if let Some(blocked) = blocked {
        statement = statement.push(" AND k.blocked = ").value(*blocked);
    }
    if let Some(teams) = within_teams {
        statement = statement.push(" AND k.team_id IN ").list(teams);
    }
    statement
}

pub(super) async fn update(tx: &mut dyn Transaction, key: &Key) -> Result<i64, StoreError> {
    check(key)?;
    let (stored, others) = surroundings(tx, key).await?;
    let next = replace(stored, key.version)?;
    others?;
    let update = Statement::new(
        "UPDATE keys SET hash = $1, previous_hash = $2, previous_until = $3, hint = $4, \
         alias = $5, user_id = $6, team_id = $7, organization_id = $8, models = $9, routes = $10, \
         expires_at = $11, blocked = $12, tags = $13, metadata = $14, limits = $15, \
         created_at = $16, updated_at = $17, created_by = $18, version = $19 WHERE id = $20",
    );
    tx.execute(bind(update, key, next)?).await?;
    feed::note(tx, RecordKind::Key, &key.id.to_string()).await?;
    Ok(next)
}

/// The values in the order of `$1` to `$20` in [`create`] and [`update`].
fn bind(statement: Statement, key: &Key, version: i64) -> Result<Statement, StoreError> {
    Ok(statement
        .bind(&key.hash)
        .bind(key.previous.map(|previous| previous.hash))
        .bind(key.previous.map(|previous| previous.until))
        .bind(&key.hint)
        .bind(&key.alias)
        .bind(&key.user)
        .bind(&key.team)
        .bind(&key.organization)
        .json(&key.models)?
        .json(&key.routes)?
        .bind(key.expires_at)
        .bind(key.blocked)
        .json(&key.tags)?
        .json(&key.metadata)?
        .json(&key.limits)?
        .bind(key.created_at)
        .bind(key.updated_at)
        .bind(&key.created_by)
        .bind(version)
        .bind(key.id))
}

pub(super) async fn delete(tx: &mut dyn Transaction, id: Uuid) -> Result<(), StoreError> {
    if tx.execute(Statement::new("DELETE FROM keys WHERE id = $1").bind(id)).await? == 0 {
        return Err(StoreError::NotFound);
    }
    feed::note(tx, RecordKind::Key, &id.to_string()).await
}

/// Deletes a team's keys.
pub(super) async fn delete_of_team(tx: &mut dyn Transaction, team: &str) -> Result<(), StoreError> {
    let changes = Statement::new(feed::NOTE_EACH)
        .push("'key', CAST(id AS TEXT) FROM keys WHERE team_id = $1");
    tx.execute(changes.bind(team)).await?;
    tx.execute(Statement::new("DELETE FROM keys WHERE team_id = $1").bind(team)).await.map(drop)
}

/// Deletes a user's keys.
pub(super) async fn delete_of_user(tx: &mut dyn Transaction, user: &str) -> Result<(), StoreError> {
    let changes = Statement::new(feed::NOTE_EACH)
        .push("'key', CAST(id AS TEXT) FROM keys WHERE user_id = $1");
    tx.execute(changes.bind(user)).await?;
    tx.execute(Statement::new("DELETE FROM keys WHERE user_id = $1").bind(user)).await.map(drop)
}

fn check(key: &Key) -> Result<(), StoreError> {
    check_names([
        ("alias", key.alias.as_deref()),
        ("user", key.user.as_deref()),
        ("team", key.team.as_deref()),
        ("organization", key.organization.as_deref()),
    ])?;
    check_text("hint", &key.hint)?;
    check_text("created_by", &key.created_by)?;
    check_texts("models", &key.models)?;
    check_texts("routes", &key.routes)?;
    check_texts("tags", &key.tags)?;
    check_map("metadata", &key.metadata)?;
    check_limits(&key.limits)
}

/// The version of this key that is stored, and whether this key's values go with the other records. A
/// hash must lead to one key, so a present one may not be another key's previous one either.
async fn surroundings(
    tx: &mut dyn Transaction,
    key: &Key,
) -> Result<(Option<i64>, Result<(), StoreError>), StoreError> {
    let statement = Statement::new(
        "SELECT (SELECT version FROM keys WHERE id = $1), \
         EXISTS (SELECT 1 FROM keys WHERE id <> $1 AND alias = $2), \
         EXISTS (SELECT 1 FROM keys WHERE id <> $1 AND hash IN ($3, $4)), \
         EXISTS (SELECT 1 FROM keys WHERE id <> $1 AND previous_hash IN ($3, $4)), \
         $5 IS NULL OR EXISTS (SELECT 1 FROM users WHERE id = $5), \
         $6 IS NULL OR EXISTS (SELECT 1 FROM teams WHERE id = $6), \
         $7 IS NULL OR EXISTS (SELECT 1 FROM organizations WHERE id = $7)",
    )
    .bind(key.id)
    .bind(&key.alias)
    .bind(&key.hash)
    .bind(key.previous.map(|previous| previous.hash))
    .bind(&key.user)
    .bind(&key.team)
    .bind(&key.organization);
    let mut found = Reader::new("key", tx.row(statement).await?.unwrap_or_default());
    let version = found.opt_int("version")?;
    for field in ["alias", "key", "key"] {
        if found.flag(field)? {
            return Ok((version, Err(StoreError::Conflict { field })));
        }
    }
    for field in ["user", "team", "organization"] {
        if !found.flag(field)? {
            return Ok((version, Err(StoreError::Dangling { field })));
        }
    }
    Ok((version, Ok(())))
}
