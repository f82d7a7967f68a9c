//! The schema's migrations, which the binary carries.

use std::collections::HashSet;
use std::sync::Arc;

use deed_domain::error::StoreError;
use diesel::QueryableByName;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::result::ConnectionError;
use diesel::sql_types::{Bool, Text};
use diesel_async::{
    AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::pool::{Access, Database};
use super::statement::Statement;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// Held while migrating, so that replicas which start together migrate once. One key a schema: several
/// installations may share a database.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('deed migrations in ' || current_schema(), 0)) AS is_there";
const LOCK: &str =
    "SELECT pg_advisory_lock(hashtextextended('deed migrations in ' || current_schema(), 0))";

/// For one that waits until another has migrated.
const WAITING: &str = "SET lock_timeout = '10min'; SET statement_timeout = '11min'";

/// Migrations may rewrite tables: the limits for requests are not for them. But who waits for a table's lock keeps
/// everybody else waiting behind it.
const PATIENT: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '10s'";

/// Why migrating failed. What was done before stays: every migration is a transaction of its own.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// PostgreSQL can't be reached.
    #[error("no connection to PostgreSQL")]
    Connect(#[source] ConnectionError),
    /// PostgreSQL refused to lock or to prepare the session.
    #[error("the migrations could not be locked")]
    Lock(#[source] diesel::result::Error),
    /// A migration failed.
    #[error("a migration failed")]
    Run(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The blocking task was ended.
    #[error("migrating was interrupted")]
    Interrupted,
}

/// One migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Number and name, such as `0001_identity`.
    pub name: String,
    /// Whether it has run.
    pub is_applied: bool,
}

/// The name of the newest migration of this binary.
///
/// # Errors
/// None that a test doesn't rule out.
pub fn newest() -> Result<String, MigrateError> {
    let newest = known()?.last().map(|migration| migration.name().to_string());
    newest.ok_or_else(|| MigrateError::Run("there is no migration".into()))
}

/// Runs what the database lacks and answers the names, oldest first. Safe when several replicas call it at once.
///
/// # Errors
/// When PostgreSQL is away or refuses a migration.
pub async fn up(database: &Database) -> Result<Vec<String>, MigrateError> {
    with_harness(database, |harness| {
        let mut done = Vec::new();
        for migration in pending_on(harness)? {
            harness
                .run_migration(&migration)
                .map_err(MigrateError::Run)?;
            done.push(migration.name().to_string());
        }
        Ok(done)
    })
    .await
}

/// Takes back the newest migration that has run and answers its name.
///
/// # Errors
/// When PostgreSQL is away or refuses.
pub async fn down(database: &Database) -> Result<Option<String>, MigrateError> {
    with_harness(database, |harness| {
        let Some(newest) = harness
            .applied_migrations()
            .map_err(MigrateError::Run)?
            .into_iter()
            .max()
        else {
            return Ok(None);
        };
        for migration in known()? {
            if migration.name().version() == newest {
                harness
                    .revert_migration(&migration)
                    .map_err(MigrateError::Run)?;
                return Ok(Some(migration.name().to_string()));
            }
        }
        Err(MigrateError::Run(
            format!("migration {newest} is not one of this binary").into(),
        ))
    })
    .await
}

/// Every migration of this binary, oldest first. Takes no lock and changes nothing.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn status(database: &Database) -> Result<Vec<MigrationStatus>, StoreError> {
    let applied = applied(database).await?;
    let known = known().map_err(|error| StoreError::Bug(Arc::new(error)))?;
    Ok(known
        .iter()
        .map(|migration| MigrationStatus {
            name: migration.name().to_string(),
            is_applied: applied.contains(&migration.name().version().to_string()),
        })
        .collect())
}

/// The names of the migrations that the database lacks, found without a lock and without changing anything.
/// Migrations that this binary doesn't know are no hindrance: a newer one has run them.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn lacking(database: &Database) -> Result<Vec<String>, StoreError> {
    let status = status(database).await?;
    Ok(status
        .into_iter()
        .filter(|migration| !migration.is_applied)
        .map(|migration| migration.name)
        .collect())
}

/// The versions that the database has.
async fn applied(database: &Database) -> Result<HashSet<String>, StoreError> {
    // Diesel's own table isn't there before the first migration.
    let has_table =
        Statement::new("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS is_there");
    let table: Option<YesRow> = database.row(Access::Read, &has_table).await?;
    if !table.is_some_and(|row| row.is_there) {
        return Ok(HashSet::new());
    }
    let versions =
        Statement::new("SELECT version::text AS version FROM __diesel_schema_migrations");
    let rows: Vec<VersionRow> = database.rows(Access::Read, &versions).await?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

#[derive(QueryableByName)]
struct YesRow {
    #[diesel(sql_type = Bool)]
    is_there: bool,
}

#[derive(QueryableByName)]
struct VersionRow {
    #[diesel(sql_type = Text)]
    version: String,
}

type Harness = AsyncMigrationHarness<AsyncPgConnection>;

/// The harness blocks its thread, so it gets one that may be blocked.
async fn with_harness<T, F>(database: &Database, work: F) -> Result<T, MigrateError>
where
    T: Send + 'static,
    F: FnOnce(&mut Harness) -> Result<T, MigrateError> + Send + 'static,
{
    let mut connection = database
        .connect_apart()
        .await
        .map_err(MigrateError::Connect)?;
    lock(&mut connection).await.map_err(MigrateError::Lock)?;
    // The lock ends with the connection, which ends with the harness.
    tokio::task::spawn_blocking(move || work(&mut Harness::new(connection)))
        .await
        .map_err(|_| MigrateError::Interrupted)?
}

/// Waits for whoever migrates just now, and says so.
async fn lock(connection: &mut AsyncPgConnection) -> Result<(), diesel::result::Error> {
    connection.batch_execute(WAITING).await?;
    let locked: YesRow = diesel::sql_query(TRY_LOCK).get_result(connection).await?;
    if !locked.is_there {
        log::info!("another process is migrating this database; waiting for it");
        connection.batch_execute(LOCK).await?;
    }
    connection.batch_execute(PATIENT).await
}

fn known() -> Result<Vec<Box<dyn Migration<Pg>>>, MigrateError> {
    let mut migrations = MIGRATIONS.migrations().map_err(MigrateError::Run)?;
    migrations.sort_by(|a, b| a.name().version().cmp(&b.name().version()));
    Ok(migrations)
}

fn pending_on(harness: &mut Harness) -> Result<Vec<Box<dyn Migration<Pg>>>, MigrateError> {
    let applied = harness.applied_migrations().map_err(MigrateError::Run)?;
    Ok(known()?
        .into_iter()
        .filter(|migration| !applied.contains(&migration.name().version()))
        .collect())
}
