//! Whom a credential belongs to, in one statement.

use super::super::records::{KeyHash, OwnedKey, Owner, Team, User};
use super::row::Reader;
use super::text::check_names;
use super::{Statement, StoreError, Transaction, keys, organizations, teams, users};

/// The key with one of these hashes. A present hash goes before a previous one.
pub(super) async fn of_key(
    tx: &mut dyn Transaction,
    hashes: &[KeyHash],
) -> Result<Option<OwnedKey>, StoreError> {
    let statement = columns(Statement::new("SELECT ").push(keys::COLUMNS).push(", "))
        .push(
            " FROM keys k \
             LEFT JOIN users u ON u.id = k.user_id \
             LEFT JOIN teams t ON t.id = k.team_id \
             LEFT JOIN team_members m ON m.team_id = k.team_id AND m.user_id = k.user_id \
             LEFT JOIN organizations o ON o.id = COALESCE(k.organization_id, t.organization_id) \
             WHERE k.hash IN ",
        )
        .list(hashes)
        .push(" OR k.previous_hash IN ")
        .list(hashes)
        .push(" ORDER BY CASE WHEN k.hash IN ")
        .list(hashes)
        .push(" THEN 0 ELSE 1 END LIMIT 1");
    let Some(row) = tx.row(statement).await? else { return Ok(None) };
    let mut reader = Reader::new("key", row);
    Ok(Some(OwnedKey { key: keys::read(&mut reader)?, owner: read(&mut reader)? }))
}

/// The owner of these names.
pub(super) async fn named(
    tx: &mut dyn Transaction,
    user: Option<&str>,
    team: Option<&str>,
    organization: Option<&str>,
) -> Result<Owner, StoreError> {
    check_names([("user", user), ("team", team), ("organization", organization)])?;
    let statement = columns(Statement::new("SELECT "))
        .push(
            " FROM (SELECT 1 AS one) asked \
             LEFT JOIN users u ON u.id = $1 \
             LEFT JOIN teams t ON t.id = $2 \
             LEFT JOIN team_members m ON m.team_id = t.id AND m.user_id = $1 \
             LEFT JOIN organizations o ON o.id = COALESCE($3, t.organization_id)",
        )
        .bind(user)
        .bind(team)
        .bind(organization);
    match tx.row(statement).await? {
        Some(row) => read(&mut Reader::new("owner", row)),
        None => Ok(Owner::default()),
    }
}

fn columns(statement: Statement) -> Statement {
    statement
        .push(users::COLUMNS)
        .push(", ")
        .push(teams::COLUMNS)
        .push(", m.role, ")
        .push(organizations::COLUMNS)
}

fn read(reader: &mut Reader) -> Result<Owner, StoreError> {
    let user: Option<User> = reader.joined(users::WIDTH, users::read)?;
    let team: Option<Team> = reader.joined(teams::WIDTH, teams::read)?;
    let member = reader.opt_word("role")?;
    let organization = reader.joined(organizations::WIDTH, organizations::read)?;
    Ok(Owner { user, team, member, organization })
}
