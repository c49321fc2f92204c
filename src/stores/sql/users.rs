//! Users.

use super::super::records::User;
use super::row::Reader;
use super::text::{check_limits, check_map, check_names, check_texts, name_id};
use super::{
    Order, Page, Paged, RecordKind, Row, Statement, StoreError, Transaction, UserFilter, feed,
    keys, organizations, page, replace, teams,
};

/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str = "u.id, u.email, u.alias, u.role, u.organization_id, u.models, \
    u.blocked, u.tags, u.metadata, u.limits, u.created_at, u.updated_at, u.version";
pub(super) const WIDTH: usize = 13;

pub(super) fn read(reader: &mut Reader) -> Result<User, StoreError> {
    Ok(User {
        id: reader.text("id")?,
        email: reader.opt_text("email")?,
        alias: reader.opt_text("alias")?,
        role: reader.word("role")?,
        organization: reader.opt_text("organization_id")?,
        models: reader.json("models")?,
        blocked: reader.flag("blocked")?,
        tags: reader.json("tags")?,
        metadata: reader.json("metadata")?,
        limits: reader.json("limits")?,
        created_at: reader.int("created_at")?,
        updated_at: reader.int("updated_at")?,
        version: reader.int("version")?,
    })
}

fn read_row(row: Row) -> Result<User, StoreError> {
    read(&mut Reader::new("user", row))
}

pub(super) async fn create(tx: &mut dyn Transaction, user: &User) -> Result<(), StoreError> {
    check(user)?;
    if version(tx, &user.id).await?.is_some() {
        return Err(StoreError::Conflict { field: "id" });
    }
    organizations::check_exists(tx, user.organization.as_deref()).await?;
    let insert = Statement::new(
        "INSERT INTO users (email, alias, role, organization_id, models, blocked, tags, metadata, \
         limits, created_at, updated_at, version, id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    );
    tx.execute(bind(insert, user, 1)?).await?;
    feed::note(tx, RecordKind::User, &user.id).await
}

pub(super) async fn get(tx: &mut dyn Transaction, id: &str) -> Result<Option<User>, StoreError> {
    check_names([("id", Some(id))])?;
    let statement =
        Statement::new("SELECT ").push(COLUMNS).push(" FROM users u WHERE u.id = ").value(id);
    tx.row(statement).await?.map(read_row).transpose()
}

pub(super) async fn list(
    tx: &mut dyn Transaction,
    filter: &UserFilter,
    asked: &Page,
) -> Result<Paged<User>, StoreError> {
    check_names([("email", filter.email.as_deref()), ("team", filter.team.as_deref())])?;
    let columns = Statement::new("SELECT ").push(COLUMNS);
    let order = Order {
        by: " ORDER BY u.created_at DESC, u.id DESC",
        beyond: " AND (u.created_at, u.id) < ",
        id: name_id,
    };
    page(tx, columns, |statement| matching(statement, filter), order, asked, read_row).await
}

fn matching(statement: Statement, filter: &UserFilter) -> Statement {
    let UserFilter { email, role, team } = filter;
    let mut statement = statement.push(" FROM users u WHERE true");
    if let Some(email) = email {
        statement = statement.push(" AND u.email = ").value(email);
    }
    if let Some(role) = role {
        statement = statement.push(" AND u.role = ").value(role.name());
    }
    if let Some(team) = team {
        statement = statement
            .push(" AND u.id IN (SELECT m.user_id FROM team_members m WHERE m.team_id = ")
            .value(team)
            .push(")");
    }
    statement
}

pub(super) async fn update(tx: &mut dyn Transaction, user: &User) -> Result<i64, StoreError> {
    check(user)?;
    let next = replace(version(tx, &user.id).await?, user.version)?;
    organizations::check_exists(tx, user.organization.as_deref()).await?;
    let update = Statement::new(
        "UPDATE users SET email = $1, alias = $2, role = $3, organization_id = $4, models = $5, \
         blocked = $6, tags = $7, metadata = $8, limits = $9, created_at = $10, updated_at = $11, \
         version = $12 WHERE id = $13",
    );
    tx.execute(bind(update, user, next)?).await?;
    feed::note(tx, RecordKind::User, &user.id).await?;
    Ok(next)
}

/// The values in the order of `$1` to `$13` in [`create`] and [`update`].
fn bind(statement: Statement, user: &User, version: i64) -> Result<Statement, StoreError> {
    Ok(statement
        .bind(&user.email)
        .bind(&user.alias)
        .bind(user.role.name())
        .bind(&user.organization)
        .json(&user.models)?
        .bind(user.blocked)
        .json(&user.tags)?
        .json(&user.metadata)?
        .json(&user.limits)?
        .bind(user.created_at)
        .bind(user.updated_at)
        .bind(version)
        .bind(&user.id))
}

pub(super) async fn delete(tx: &mut dyn Transaction, id: &str) -> Result<(), StoreError> {
    check_names([("id", Some(id))])?;
    if version(tx, id).await?.is_none() {
        return Err(StoreError::NotFound);
    }
    keys::delete_of_user(tx, id).await?;
    teams::remove_member(tx, id).await?;
    tx.execute(Statement::new("DELETE FROM users WHERE id = $1").bind(id)).await?;
    feed::note(tx, RecordKind::User, id).await
}

async fn version(tx: &mut dyn Transaction, id: &str) -> Result<Option<i64>, StoreError> {
    let statement = Statement::new("SELECT version FROM users WHERE id = $1").bind(id);
    let row = tx.row(statement).await?;
    row.map(|row| Reader::new("user", row).int("version")).transpose()
}

fn check(user: &User) -> Result<(), StoreError> {
    check_names([
        ("id", Some(user.id.as_str())),
        ("email", user.email.as_deref()),
        ("alias", user.alias.as_deref()),
        ("organization", user.organization.as_deref()),
    ])?;
    check_texts("models", &user.models)?;
    check_texts("tags", &user.tags)?;
    check_map("metadata", &user.metadata)?;
    check_limits(&user.limits)
}
