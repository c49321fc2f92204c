//! PostgreSQL: one database for several instances.
//!
//! It may be reached through PgBouncer in transaction mode. Lists may be read from a replica;
//! whatever a decision depends on is read from the primary.

mod address;
mod breaker;
mod listen;
mod server;
mod transaction;

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use sluicegate_quota::postgres::PostgresQuotas;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::server::Server;
use self::transaction::Purpose;
use super::StoreError;
use super::sql::{
    Cell, Database, Migration, Source, Statement, Transaction, end, migrate, version, wanted,
};

const MIGRATIONS: [Migration; 4] = [
    Migration { version: 1, script: include_str!("migrations/postgres/0001_records.sql") },
    Migration { version: 2, script: include_str!("migrations/postgres/0002_quota.sql") },
    Migration { version: 3, script: include_str!("migrations/postgres/0003_ledger.sql") },
    Migration { version: 4, script: include_str!("migrations/postgres/0004_ledger_store.sql") },
];

/// Connections to a replica for lists, at most.
const REPLICA_CONNECTIONS: u32 = 4;

/// Connections for the counters of limits, which exchange in batches.
const QUOTA_CONNECTIONS: u32 = 4;

/// How long an exchange waits for one.
const QUOTA_PATIENCE: Duration = Duration::from_secs(2);

/// Where the database is.
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=/ca.pem`.
    pub url: SecretString,
    /// To the primary, besides one that listens.
    pub max_connections: u32,
    /// A replica to read lists from.
    pub replica_url: Option<SecretString>,
    /// Refuses a way to the server that may be unencrypted.
    pub production: bool,
}

/// A store in a PostgreSQL database. Cheap to share behind an `Arc`.
pub struct PostgresStore {
    address: PgConnectOptions,
    primary: Server,
    replica: Option<Server>,
    wakeups: watch::Sender<()>,
    /// Ends with the store.
    _listener: AbortOnDropHandle<()>,
}

impl PostgresStore {
    /// Connects once, to see that it works. The tables are for [`migrate`](Self::migrate) to see to.
    /// The connections belong to the runtime that this is called on.
    ///
    /// # Errors
    /// `Unavailable` if the server can't be reached; `Broken` if the URL can't be used, the server turns
    /// the user away, or the database is not in UTF-8.
    pub async fn connect(options: &PostgresOptions) -> Result<Self, StoreError> {
        let address = address::parse(&options.url, options.production)?;
        let replica = match &options.replica_url {
            Some(url) => {
                let address = address::parse(url, options.production)?;
                Some(Server::new(address, options.max_connections.min(REPLICA_CONNECTIONS)))
            }
            None => None,
        };
        let primary = Server::new(address.clone(), options.max_connections);
        check_encoding(&primary).await?;
        let wakeups = watch::Sender::new(());
        let listener = tokio::spawn(listen::run(address.clone(), wakeups.clone()));
        Ok(Self { address, primary, replica, wakeups, _listener: AbortOnDropHandle::new(listener) })
    }

    /// The counters of limits in the same database, by connections of their own: keys are looked up
    /// however long an exchange of counters waits.
    pub fn counters(&self) -> PostgresQuotas {
        let pool = PgPoolOptions::new()
            .max_connections(QUOTA_CONNECTIONS)
            .acquire_timeout(QUOTA_PATIENCE)
            .connect_lazy_with(self.address.clone());
        PostgresQuotas::new(pool)
    }

    /// Brings the tables to the version that this program needs, in a schema of their own. Several
    /// instances may do so at once. If there is nothing to do, the right to read is enough.
    ///
    /// # Errors
    /// `Broken` if the tables are of a newer version, or of an older one and the user may not change them.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let found = self.found().await?;
        let wanted = wanted(&MIGRATIONS);
        if found.version == wanted {
            return Ok(());
        }
        if !found.may_create {
            return Err(StoreError::Broken(format!(
                "its tables are of version {}, this program needs version {wanted}, and the \
                 database user may not change them: migrate as the user that owns them \
                 (sql/roles.sql makes one)",
                found.version
            )));
        }
        let mut transaction: Box<dyn Transaction> =
            Box::new(self.primary.begin(Purpose::Migrate).await?);
        let migrated = async {
            // Even where it is there already, this takes the right to make others.
            if !found.schema {
                transaction.script("CREATE SCHEMA IF NOT EXISTS sluicegate").await?;
            }
            migrate(&mut *transaction, &MIGRATIONS).await
        }
        .await;
        end(transaction, migrated).await
    }

    async fn found(&self) -> Result<Found, StoreError> {
        let mut transaction: Box<dyn Transaction> =
            Box::new(self.primary.begin(Purpose::Read).await?);
        let found = async {
            let tx = &mut *transaction;
            let statement = Statement::new(
                "SELECT to_regnamespace('sluicegate') IS NOT NULL, \
                 to_regclass('sluicegate.schema_version') IS NOT NULL, \
                 CASE WHEN to_regnamespace('sluicegate') IS NULL \
                 THEN has_database_privilege(current_database(), 'CREATE') \
                 ELSE has_schema_privilege('sluicegate', 'CREATE') END",
            );
            let row = tx.rows(statement).await?.into_iter().next().unwrap_or_default();
            let [Cell::Flag(schema), Cell::Flag(table), Cell::Flag(may_create)] = row[..] else {
                return Err(StoreError::Broken("its catalogue can't be read".to_owned()));
            };
            let version = if table { version(tx, &MIGRATIONS).await? } else { 0 };
            Ok(Found { schema, version, may_create })
        }
        .await;
        end(transaction, found).await
    }
}

/// What a migration begins with.
struct Found {
    /// Whether there is a schema for the tables.
    schema: bool,
    /// Of the tables; 0 if there are none.
    version: i64,
    /// Whether this user may make what is missing.
    may_create: bool,
}

/// Texts of any other encoding could not be stored as they are.
async fn check_encoding(server: &Server) -> Result<(), StoreError> {
    let mut transaction: Box<dyn Transaction> = Box::new(server.begin(Purpose::Read).await?);
    let encoding = Statement::new("SELECT current_setting('server_encoding')");
    let rows = transaction.rows(encoding).await;
    let rows = end(transaction, rows).await?;
    match rows.first().map(Vec::as_slice) {
        Some([Cell::Text(encoding)]) if encoding == "UTF8" => Ok(()),
        _ => Err(StoreError::Broken(
            "the database's encoding is not UTF8: create it with `ENCODING 'UTF8'`".to_owned(),
        )),
    }
}

#[async_trait]
impl Database for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn read(&self, from: Source) -> Result<Box<dyn Transaction>, StoreError> {
        if let (Source::Replica, Some(replica)) = (from, &self.replica) {
            match replica.begin(Purpose::Read).await {
                Ok(transaction) => return Ok(Box::new(transaction)),
                // What a replica has, the primary has as well.
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Box::new(self.primary.begin(Purpose::Read).await?))
    }

    async fn write(&self) -> Result<Box<dyn Transaction>, StoreError> {
        Ok(Box::new(self.primary.begin(Purpose::Write).await?))
    }

    async fn append(&self) -> Result<Box<dyn Transaction>, StoreError> {
        Ok(Box::new(self.primary.begin(Purpose::Append).await?))
    }

    fn wakeups(&self) -> &watch::Sender<()> {
        &self.wakeups
    }
}

ledger_store!(
    PostgresStore,
    "EXISTS (SELECT 1 FROM jsonb_array_elements_text(l.tags) AS t (tag) WHERE t.tag = "
);
