//! Teams and their members.

use std::collections::{HashMap, HashSet};

use super::super::records::{Member, Team};
use super::row::Reader;
use super::text::{check_limits, check_map, check_names, check_texts, name_id};
use super::{
    Order, Page, Paged, RecordKind, Row, Statement, StoreError, TeamFilter, Transaction, feed,
    keys, organizations, page, replace,
};

/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str = "t.id, t.alias, t.organization_id, t.models, t.blocked, t.tags, \
    t.metadata, t.limits, t.created_at, t.updated_at, t.version";
pub(super) const WIDTH: usize = 11;

/// Members put into one statement. Each is four values, and a statement holds 32,766.
const MEMBERS_AT_ONCE: usize = 1000;

/// A team without its members.
pub(super) fn read(reader: &mut Reader) -> Result<Team, StoreError> {
    Ok(Team {
        id: reader.text("id")?,
        alias: reader.opt_text("alias")?,
        organization: reader.opt_text("organization_id")?,
        members: Vec::new(),
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

fn read_row(row: Row) -> Result<Team, StoreError> {
    read(&mut Reader::new("team", row))
}

pub(super) async fn create(tx: &mut dyn Transaction, team: &Team) -> Result<(), StoreError> {
    check(team)?;
    if version(tx, &team.id).await?.is_some() {
        return Err(StoreError::Conflict { field: "id" });
    }
    organizations::check_exists(tx, team.organization.as_deref()).await?;
    let insert = Statement::new(
        "INSERT INTO teams (alias, organization_id, models, blocked, tags, metadata, limits, \
         created_at, updated_at, version, id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    );
    tx.execute(bind(insert, team, 1)?).await?;
    add_members(tx, team).await?;
    feed::note(tx, RecordKind::Team, &team.id).await
}

pub(super) async fn get(tx: &mut dyn Transaction, id: &str) -> Result<Option<Team>, StoreError> {
    check_names([("id", Some(id))])?;
    let statement =
        Statement::new("SELECT ").push(COLUMNS).push(" FROM teams t WHERE t.id = ").value(id);
    let Some(row) = tx.row(statement).await? else { return Ok(None) };
    let mut teams = [read_row(row)?];
    load_members(tx, &mut teams).await?;
    let [team] = teams;
    Ok(Some(team))
}

pub(super) async fn list(
    tx: &mut dyn Transaction,
    filter: &TeamFilter,
    asked: &Page,
) -> Result<Paged<Team>, StoreError> {
    check_names([
        ("organization", filter.organization.as_deref()),
        ("alias", filter.alias.as_deref()),
        ("member", filter.member.as_deref()),
    ])?;
    let columns = Statement::new("SELECT ").push(COLUMNS);
    let from = |statement| matching(statement, filter);
    let order = Order {
        by: " ORDER BY t.created_at DESC, t.id DESC",
        beyond: " AND (t.created_at, t.id) < ",
        id: name_id,
    };
    let mut paged = page(tx, columns, from, order, asked, read_row).await?;
    load_members(tx, &mut paged.items).await?;
    Ok(paged)
}

fn matching(statement: Statement, filter: &TeamFilter) -> Statement {
    let TeamFilter { organization, alias, member, within } = filter;
    let mut statement = statement.push(" FROM teams t WHERE true");
    if let Some(organization) = organization {
        statement = statement.push(" AND t.organization_id = ").value(organization);
    }
    if let Some(alias) = alias {
        statement = statement.push(" AND t.alias = ").value(alias);
    }
    if let Some(member) = member {
        statement = statement
            .push(" AND t.id IN (SELECT m.team_id FROM team_members m WHERE m.user_id = ")
            .value(member)
            .push(")");
    }
    if let Some(teams) = within {
        statement = statement.push(" AND t.id IN ").list(teams);
    }
    statement
}

pub(super) async fn update(tx: &mut dyn Transaction, team: &Team) -> Result<i64, StoreError> {
    check(team)?;
    let next = replace(version(tx, &team.id).await?, team.version)?;
    organizations::check_exists(tx, team.organization.as_deref()).await?;
    let update = Statement::new(
        "UPDATE teams SET alias = $1, organization_id = $2, models = $3, blocked = $4, tags = $5, \
         metadata = $6, limits = $7, created_at = $8, updated_at = $9, version = $10 \
         WHERE id = $11",
    );
    tx.execute(bind(update, team, next)?).await?;
    tx.execute(Statement::new("DELETE FROM team_members WHERE team_id = $1").bind(&team.id))
        .await?;
    add_members(tx, team).await?;
    feed::note(tx, RecordKind::Team, &team.id).await?;
    Ok(next)
}

/// The values in the order of `$1` to `$11` in [`create`] and [`update`].
fn bind(statement: Statement, team: &Team, version: i64) -> Result<Statement, StoreError> {
    Ok(statement
        .bind(&team.alias)
        .bind(&team.organization)
        .json(&team.models)?
        .bind(team.blocked)
        .json(&team.tags)?
        .json(&team.metadata)?
        .json(&team.limits)?
        .bind(team.created_at)
        .bind(team.updated_at)
        .bind(version)
        .bind(&team.id))
}

pub(super) async fn delete(tx: &mut dyn Transaction, id: &str) -> Result<(), StoreError> {
    check_names([("id", Some(id))])?;
    if version(tx, id).await?.is_none() {
        return Err(StoreError::NotFound);
    }
    keys::delete_of_team(tx, id).await?;
    tx.execute(Statement::new("DELETE FROM teams WHERE id = $1").bind(id)).await?;
    feed::note(tx, RecordKind::Team, id).await
}

/// Takes a user out of all teams. Each becomes a new version: who read it before must not bring the
/// member back.
pub(super) async fn remove_member(tx: &mut dyn Transaction, user: &str) -> Result<(), StoreError> {
    let changes = Statement::new(feed::NOTE_EACH)
        .push("'team', team_id FROM team_members WHERE user_id = $1");
    tx.execute(changes.bind(user)).await?;
    let versions = Statement::new(
        "UPDATE teams SET version = version + 1 \
         WHERE id IN (SELECT m.team_id FROM team_members m WHERE m.user_id = $1)",
    );
    tx.execute(versions.bind(user)).await?;
    tx.execute(Statement::new("DELETE FROM team_members WHERE user_id = $1").bind(user))
        .await
        .map(drop)
}

async fn add_members(tx: &mut dyn Transaction, team: &Team) -> Result<(), StoreError> {
    let mut position = 0;
    for members in team.members.chunks(MEMBERS_AT_ONCE) {
        let mut insert =
            Statement::new("INSERT INTO team_members (team_id, position, user_id, role) VALUES ");
        for (index, member) in members.iter().enumerate() {
            insert = insert
                .push(if index == 0 { "(" } else { ", (" })
                .value(&team.id)
                .push(", ")
                .value(position)
                .push(", ")
                .value(&member.user)
                .push(", ")
                .value(member.role.name())
                .push(")");
            position += 1;
        }
        tx.execute(insert).await?;
    }
    Ok(())
}

async fn load_members(tx: &mut dyn Transaction, teams: &mut [Team]) -> Result<(), StoreError> {
    if teams.is_empty() {
        return Ok(());
    }
    let statement =
        Statement::new("SELECT team_id, user_id, role FROM team_members WHERE team_id IN ")
            .list(teams.iter().map(|team| &team.id))
            .push(" ORDER BY team_id, position");
    let mut members: HashMap<String, Vec<Member>> = HashMap::new();
    for row in tx.rows(statement).await? {
        let mut reader = Reader::new("team's member", row);
        let team = reader.text("team_id")?;
        let member = Member { user: reader.text("user_id")?, role: reader.word("role")? };
        members.entry(team).or_default().push(member);
    }
    for team in teams {
        team.members = members.remove(&team.id).unwrap_or_default();
    }
    Ok(())
}

async fn version(tx: &mut dyn Transaction, id: &str) -> Result<Option<i64>, StoreError> {
    let statement = Statement::new("SELECT version FROM teams WHERE id = $1").bind(id);
    let row = tx.row(statement).await?;
    row.map(|row| Reader::new("team", row).int("version")).transpose()
}

fn check(team: &Team) -> Result<(), StoreError> {
    check_names([
        ("id", Some(team.id.as_str())),
        ("alias", team.alias.as_deref()),
        ("organization", team.organization.as_deref()),
    ])?;
    check_names(team.members.iter().map(|member| ("members", Some(member.user.as_str()))))?;
    let mut users = HashSet::new();
    if !team.members.iter().all(|member| users.insert(&member.user)) {
        return Err(StoreError::Invalid { field: "members", reason: "names a user twice" });
    }
    check_texts("models", &team.models)?;
    check_texts("tags", &team.tags)?;
    check_map("metadata", &team.metadata)?;
    check_limits(&team.limits)
}
