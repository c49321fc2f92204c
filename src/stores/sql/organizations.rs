//! Organizations.

use super::super::records::Organization;
use super::row::Reader;
use super::text::{check_limits, check_map, check_names, check_texts, name_id};
use super::{
    Order, Page, Paged, RecordKind, Row, Statement, StoreError, Transaction, feed, page, replace,
};

/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str = "o.id, o.alias, o.models, o.blocked, o.tags, o.metadata, \
    o.limits, o.created_at, o.updated_at, o.version";
pub(super) const WIDTH: usize = 10;

pub(super) fn read(reader: &mut Reader) -> Result<Organization, StoreError> {
    Ok(Organization {
        id: reader.text("id")?,
        alias: reader.opt_text("alias")?,
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

fn read_row(row: Row) -> Result<Organization, StoreError> {
    read(&mut Reader::new("organization", row))
}

pub(super) async fn create(
    tx: &mut dyn Transaction,
    organization: &Organization,
) -> Result<(), StoreError> {
    check(organization)?;
    if version(tx, &organization.id).await?.is_some() {
        return Err(StoreError::Conflict { field: "id" });
    }
    let insert = Statement::new(
        "INSERT INTO organizations (alias, models, blocked, tags, metadata, limits, created_at, \
         updated_at, version, id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    );
    tx.execute(bind(insert, organization, 1)?).await?;
    feed::note(tx, RecordKind::Organization, &organization.id).await
}

pub(super) async fn get(
    tx: &mut dyn Transaction,
    id: &str,
) -> Result<Option<Organization>, StoreError> {
    check_names([("id", Some(id))])?;
    let statement = Statement::new("SELECT ")
        .push(COLUMNS)
        .push(" FROM organizations o WHERE o.id = ")
        .value(id);
    tx.row(statement).await?.map(read_row).transpose()
}

pub(super) async fn list(
    tx: &mut dyn Transaction,
    asked: &Page,
) -> Result<Paged<Organization>, StoreError> {
    let columns = Statement::new("SELECT ").push(COLUMNS);
    let from = |statement: Statement| statement.push(" FROM organizations o WHERE true");
    let order = Order {
        by: " ORDER BY o.created_at DESC, o.id DESC",
        beyond: " AND (o.created_at, o.id) < ",
        id: name_id,
    };
    page(tx, columns, from, order, asked, read_row).await
}

pub(super) async fn update(
    tx: &mut dyn Transaction,
    organization: &Organization,
) -> Result<i64, StoreError> {
    check(organization)?;
    let next = replace(version(tx, &organization.id).await?, organization.version)?;
    let update = Statement::new(
        "UPDATE organizations SET alias = $1, models = $2, blocked = $3, tags = $4, \
         metadata = $5, limits = $6, created_at = $7, updated_at = $8, version = $9 \
         WHERE id = $10",
    );
    tx.execute(bind(update, organization, next)?).await?;
    feed::note(tx, RecordKind::Organization, &organization.id).await?;
    Ok(next)
}

/// The values in the order of `$1` to `$10` in [`create`] and [`update`].
fn bind(
    statement: Statement,
    organization: &Organization,
    version: i64,
) -> Result<Statement, StoreError> {
    Ok(statement
        .bind(&organization.alias)
        .json(&organization.models)?
        .bind(organization.blocked)
        .json(&organization.tags)?
        .json(&organization.metadata)?
        .json(&organization.limits)?
        .bind(organization.created_at)
        .bind(organization.updated_at)
        .bind(version)
        .bind(&organization.id))
}

pub(super) async fn delete(tx: &mut dyn Transaction, id: &str) -> Result<(), StoreError> {
    check_names([("id", Some(id))])?;
    if version(tx, id).await?.is_none() {
        return Err(StoreError::NotFound);
    }
    let statement = Statement::new(
        "SELECT EXISTS (SELECT 1 FROM teams WHERE organization_id = $1), \
         EXISTS (SELECT 1 FROM users WHERE organization_id = $1), \
         EXISTS (SELECT 1 FROM keys WHERE organization_id = $1)",
    );
    let row = tx.row(statement.bind(id)).await?.unwrap_or_default();
    let mut found = Reader::new("organization", row);
    for records in ["teams", "users", "keys"] {
        if found.flag(records)? {
            return Err(StoreError::InUse(records));
        }
    }
    tx.execute(Statement::new("DELETE FROM organizations WHERE id = $1").bind(id)).await?;
    feed::note(tx, RecordKind::Organization, id).await
}

async fn version(tx: &mut dyn Transaction, id: &str) -> Result<Option<i64>, StoreError> {
    let statement = Statement::new("SELECT version FROM organizations WHERE id = $1").bind(id);
    let row = tx.row(statement).await?;
    row.map(|row| Reader::new("organization", row).int("version")).transpose()
}

/// Checks that an organization that is referred to exists.
pub(super) async fn check_exists(
    tx: &mut dyn Transaction,
    id: Option<&str>,
) -> Result<(), StoreError> {
    let Some(id) = id else { return Ok(()) };
    match version(tx, id).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::Dangling { field: "organization" }),
    }
}

fn check(organization: &Organization) -> Result<(), StoreError> {
    check_names([
        ("id", Some(organization.id.as_str())),
        ("alias", organization.alias.as_deref()),
    ])?;
    check_texts("models", &organization.models)?;
    check_texts("tags", &organization.tags)?;
    check_map("metadata", &organization.metadata)?;
    check_limits(&organization.limits)
}
