//! The schema's migrations, which the binary carries.

mod embedded;
mod script;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use deed_domain::error::StoreError;
use diesel::QueryableByName;
use diesel::result::ConnectionError;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};

use self::embedded::{MIGRATIONS, Migration};
pub use self::script::Direction;
use super::error::DbError;
use super::pool::{Access, Database};
use super::statement::Statement;

/// Held while migrating, so that replicas which start together migrate once. One key a schema: several
/// installations may share a database.
const LOCK_KEY: &str = "hashtextextended('deed migrations in ' || current_schema(), 0)";

/// Where the database notes what it has; the table that diesel's own tools use.
const BOOKKEEPING: &str = "CREATE TABLE IF NOT EXISTS __diesel_schema_migrations (
  version varchar(50) PRIMARY KEY NOT NULL,
  run_on  timestamp   NOT NULL DEFAULT CURRENT_TIMESTAMP
)";

/// How long a migration waits for a table at a time: who waits for its lock keeps everybody else waiting behind it,
/// and these give up after 2.2 s.
const TABLE_LOCK_TIMEOUT: &str = "1s";
/// How long it leaves the others alone then, before it tries again.
const TABLE_LOCK_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait for another process that migrates, and for whoever holds a table, where nothing else is said: a long
/// transaction, such as a backup, may end in that time.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Migrations may rewrite tables: the limits for requests are not for them. One whose process is gone has to end
/// before it is through with a long statement; a platform where PostgreSQL can't notice has no such setting.
const PATIENT: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
     DO $$ BEGIN PERFORM set_config('client_connection_check_interval', '1s', false);
     EXCEPTION WHEN OTHERS THEN NULL; END $$";

/// Why migrating failed. What was done before stays: every migration is a transaction of its own.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// PostgreSQL can't be reached.
    #[error("no connection to PostgreSQL")]
    Connect(#[source] ConnectionError),
    /// PostgreSQL refused to prepare the session, or to tell what it has.
    #[error("the migrations could not be looked at")]
    Prepare(#[source] DieselError),
    /// Another process migrates this database, and has not ended in the time given.
    #[error("another process has been migrating this database for {} s", .0.as_secs())]
    Busy(Duration),
    /// Somebody else has held a table that a migration needs for all the time given; the migration was taken back.
    #[error("migration {name} has waited {} s for a table that somebody else holds", .waited.as_secs())]
    Blocked {
        /// Which one.
        name: String,
        /// For how long.
        waited: Duration,
    },
    /// A migration failed, and was taken back.
    #[error("migration {name} failed")]
    Run {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: DieselError,
    },
    /// The database's newest migration is not one of this binary, which has no way back from it.
    #[error("migration {0} is not one of this binary")]
    Unknown(String),
    /// The newest migrations are not those that were to be taken back; these are.
    #[error("the newest migrations are {}", list(.0))]
    Overtaken(Vec<String>),
    /// The database could not be looked at.
    #[error(transparent)]
    Look(#[from] StoreError),
}

/// One migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Number and name, such as `0001_identity`.
    pub name: String,
    /// Whether it has run.
    pub is_applied: bool,
}

/// What is being done, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Another process is migrating; it is waited for.
    Waiting,
    /// So many are to be done.
    Begun(usize),
    /// This one is under way.
    Running(&'a str),
    /// This one is done.
    Done(&'a str),
}

/// Hears of progress.
pub type Watch<'w> = &'w mut (dyn FnMut(Progress<'_>) + Send);

/// The name of the newest migration of this binary.
#[must_use]
pub fn newest() -> &'static str {
    MIGRATIONS.last().map_or("none", |migration| migration.name)
}

/// The names of all migrations of this binary, oldest first.
#[must_use]
pub fn names() -> Vec<&'static str> {
    MIGRATIONS.iter().map(|migration| migration.name).collect()
}

/// The names of the migrations that come after the one of that name or number, oldest first; `None` if there is none
/// such.
#[must_use]
pub fn names_after(name: &str) -> Option<Vec<&'static str>> {
    let from = Migration::of_name(name)?;
    Some(
        names()
            .into_iter()
            .filter(|name| *name > from.name)
            .collect(),
    )
}

/// SQL that does by hand what [`up`] or [`down`] would do with the migrations of these names, in this order, and notes
/// it as they do. Names that are none are left out.
#[must_use]
pub fn script<N: AsRef<str>>(direction: Direction, names: &[N]) -> String {
    let migrations: Vec<&Migration> = names
        .iter()
        .filter_map(|name| Migration::of_name(name.as_ref()))
        .collect();
    script::script(direction, &migrations)
}

/// Runs what the database lacks and answers the names, oldest first. Safe when several replicas call it at once.
///
/// # Errors
/// When PostgreSQL is away or refuses a migration.
pub async fn up(database: &Database) -> Result<Vec<String>, MigrateError> {
    up_within(database, PATIENCE, &mut |_| ()).await
}

/// The same, waiting no longer than `patience` for another process that migrates, and for whoever holds a table, and
/// telling of its progress.
///
/// # Errors
/// When PostgreSQL is away or refuses a migration, or the others take longer.
pub async fn up_within(
    database: &Database,
    patience: Duration,
    watch: Watch<'_>,
) -> Result<Vec<String>, MigrateError> {
    let mut session = session(database, patience, watch).await?;
    let has = versions(&mut session).await?;
    let pending: Vec<&Migration> = MIGRATIONS
        .iter()
        .filter(|migration| !has.contains(migration.version()))
        .collect();
    watch(Progress::Begun(pending.len()));
    let mut done = Vec::new();
    for migration in pending {
        let note = format!(
            "INSERT INTO __diesel_schema_migrations (version) VALUES ('{}')",
            migration.version()
        );
        step(
            &mut session,
            migration,
            migration.up,
            &note,
            patience,
            watch,
        )
        .await?;
        done.push(migration.name.to_owned());
    }
    Ok(done)
}

/// Takes back the migrations of these names, newest first, which are the newest that the database has, as
/// [`would_go_down`] tells them. Where somebody else has been faster nothing is done: the next ones would go, which
/// nobody has asked for.
///
/// # Errors
/// When PostgreSQL is away or refuses, others migrate or hold a table for longer than `patience`, or the newest
/// migrations are others by now.
pub async fn down(
    database: &Database,
    names: &[String],
    patience: Duration,
    watch: Watch<'_>,
) -> Result<Vec<String>, MigrateError> {
    let mut session = session(database, patience, watch).await?;
    let has = versions(&mut session).await?;
    let last = last_applied(&has, names.len())?;
    if !last.iter().map(|migration| migration.name).eq(names) {
        let newest = last.into_iter().map(|migration| migration.name.to_owned());
        return Err(MigrateError::Overtaken(newest.collect()));
    }
    watch(Progress::Begun(last.len()));
    let mut done = Vec::new();
    for migration in last {
        let note = format!(
            "DELETE FROM __diesel_schema_migrations WHERE version = '{}'",
            migration.version()
        );
        step(
            &mut session,
            migration,
            migration.down,
            &note,
            patience,
            watch,
        )
        .await?;
        done.push(migration.name.to_owned());
    }
    Ok(done)
}

/// What [`down`] would take back. Takes no lock and changes nothing.
///
/// # Errors
/// When PostgreSQL is away, or one of them is not one of this binary.
pub async fn would_go_down(database: &Database, count: usize) -> Result<Vec<String>, MigrateError> {
    let has = applied(database).await?;
    let last = last_applied(&has, count)?;
    Ok(last
        .into_iter()
        .map(|migration| migration.name.to_owned())
        .collect())
}

/// Every migration of this binary, oldest first. Takes no lock and changes nothing.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn status(database: &Database) -> Result<Vec<MigrationStatus>, StoreError> {
    let applied = applied(database).await?;
    Ok(MIGRATIONS
        .iter()
        .map(|migration| MigrationStatus {
            name: migration.name.to_owned(),
            is_applied: applied.contains(migration.version()),
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

/// The numbers of the migrations that the database has and this binary doesn't know: a newer one has run them.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn unknown(database: &Database) -> Result<Vec<String>, StoreError> {
    let mut unknown: Vec<String> = applied(database)
        .await?
        .into_iter()
        .filter(|version| Migration::of_version(version).is_none())
        .collect();
    unknown.sort();
    Ok(unknown)
}

/// The versions that the database has.
async fn applied(database: &Database) -> Result<HashSet<String>, StoreError> {
    // The table isn't there before the first migration.
    let has_table =
        Statement::new("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS is_there");
    let table: Option<YesRow> = database.row(Access::Read, &has_table).await?;
    if !table.is_some_and(|row| row.is_there) {
        return Ok(HashSet::new());
    }
    let versions = Statement::new(VERSIONS);
    let rows: Vec<VersionRow> = database.rows(Access::Read, &versions).await?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

const VERSIONS: &str = "SELECT version::text AS version FROM __diesel_schema_migrations";

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

/// The newest `count` of those that the database has.
fn last_applied(
    has: &HashSet<String>,
    count: usize,
) -> Result<Vec<&'static Migration>, MigrateError> {
    let mut versions: Vec<&String> = has.iter().collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions
        .into_iter()
        .take(count)
        .map(|version| {
            Migration::of_version(version).ok_or_else(|| MigrateError::Unknown(version.clone()))
        })
        .collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// A connection that alone may migrate; the lock ends with it.
async fn session(
    database: &Database,
    patience: Duration,
    watch: Watch<'_>,
) -> Result<AsyncPgConnection, MigrateError> {
    let mut session = database
        .connect_apart()
        .await
        .map_err(MigrateError::Connect)?;
    let prepare = MigrateError::Prepare;
    session.batch_execute(PATIENT).await.map_err(prepare)?;
    let try_lock = format!("SELECT pg_try_advisory_lock({LOCK_KEY}) AS is_there");
    let locked: YesRow = diesel::sql_query(try_lock)
        .get_result(&mut session)
        .await
        .map_err(prepare)?;
    if !locked.is_there {
        log::info!("another process is migrating this database; waiting for it");
        watch(Progress::Waiting);
        wait_for_lock(&mut session, patience).await?;
    }
    let ready = format!("SET lock_timeout = '{TABLE_LOCK_TIMEOUT}'; {BOOKKEEPING}");
    session.batch_execute(&ready).await.map_err(prepare)?;
    Ok(session)
}

async fn wait_for_lock(
    session: &mut AsyncPgConnection,
    patience: Duration,
) -> Result<(), MigrateError> {
    // 0 would mean: without end.
    let limit = patience.as_millis().clamp(1, 86_400_000);
    let lock = format!("SET lock_timeout = {limit}; SELECT pg_advisory_lock({LOCK_KEY})");
    session.batch_execute(&lock).await.map_err(|error| {
        if is_lock_timeout(&error) {
            MigrateError::Busy(patience)
        } else {
            MigrateError::Prepare(error)
        }
    })
}

async fn versions(session: &mut AsyncPgConnection) -> Result<HashSet<String>, MigrateError> {
    let rows: Vec<VersionRow> = diesel::sql_query(VERSIONS)
        .load(session)
        .await
        .map_err(MigrateError::Prepare)?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

/// Does one migration, or its way back, and notes it, in one transaction. After an error the session is thrown away,
/// which takes everything back.
async fn step(
    session: &mut AsyncPgConnection,
    migration: &Migration,
    sql: &str,
    note: &str,
    patience: Duration,
    watch: Watch<'_>,
) -> Result<(), MigrateError> {
    let name = migration.name;
    watch(Progress::Running(name));
    let began = Instant::now();
    loop {
        let Err(source) = transaction(session, &[sql, note]).await else {
            watch(Progress::Done(name));
            return Ok(());
        };
        let name = name.to_owned();
        if !is_lock_timeout(&source) {
            return Err(MigrateError::Run { name, source });
        }
        session
            .batch_execute("ROLLBACK")
            .await
            .map_err(MigrateError::Prepare)?;
        let waited = began.elapsed();
        if waited + TABLE_LOCK_PAUSE > patience {
            return Err(MigrateError::Blocked { name, waited });
        }
        log::info!(migration = name.as_str(); "migration {name} met a table that somebody else holds; trying again");
        tokio::time::sleep(TABLE_LOCK_PAUSE).await;
    }
}

async fn transaction(session: &mut AsyncPgConnection, parts: &[&str]) -> Result<(), DieselError> {
    session.batch_execute("BEGIN").await?;
    for part in parts {
        session.batch_execute(part).await?;
    }
    session.batch_execute("COMMIT").await
}

fn is_lock_timeout(error: &DieselError) -> bool {
    let DieselError::DatabaseError(kind, information) = error else {
        return false;
    };
    let same = DieselError::DatabaseError(*kind, Box::new(information.message().to_owned()));
    matches!(DbError::from(same), DbError::Locked(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_after_one_are_the_newer_ones() {
        assert_eq!(names_after("0001_identity"), Some(names()[1..].to_vec()));
        assert_eq!(names_after(newest()), Some(Vec::new()));
        assert_eq!(names_after("9999"), None);
    }

    #[test]
    fn what_a_newer_binary_has_run_has_no_way_back_here() {
        let has: HashSet<String> = ["0001", "0002", "9999"].map(str::to_owned).into();
        assert!(
            matches!(last_applied(&has, 1), Err(MigrateError::Unknown(version)) if version == "9999")
        );
        let has: HashSet<String> = ["0001", "0002"].map(str::to_owned).into();
        let last: Vec<_> = last_applied(&has, 5)
            .unwrap()
            .iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(last, ["0002_actions", "0001_identity"]);
    }

    #[test]
    fn a_script_has_every_migration_in_its_own_transaction() {
        let up = script(Direction::Up, &names());
        assert_eq!(up.matches("\nBEGIN;\n").count(), names().len());
        assert_eq!(up.matches("\nCOMMIT;\n").count(), names().len());
        let down = script(Direction::Down, &["0002_actions", "0001_identity"]);
        assert!(
            down.find("-- 0002_actions\n") < down.find("-- 0001_identity\n"),
            "{down}"
        );
        assert_eq!(
            down.matches("DELETE FROM __diesel_schema_migrations")
                .count(),
            2
        );
    }
}
