//! The pool of connections, and the time that the database has for a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deed_domain::error::StoreError;
use deed_domain::store_time::StoreTime;
use diesel::QueryableByName;
use diesel::pg::Pg;
use diesel::result::ConnectionError;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Array, Text};
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::NoTls;

use super::admission::Gates;
use super::error::DbError;
use super::lanes::Lanes;
use super::statement::Statement;
use crate::metrics::{DatabaseMetrics, Metrics, PoolSample, gauge_value};

/// How long a request waits for a free connection.
const WAIT: Duration = Duration::from_secs(2);
/// How long opening a connection may take.
const CREATE: Duration = Duration::from_secs(5);
/// How long checking a used connection may take.
const RECYCLE: Duration = Duration::from_secs(2);
/// How long all database work of a request may take that only reads, the waits for connections included.
const READ_DEADLINE: Duration = Duration::from_millis(2_200);
/// The same for one that writes: its COMMIT is on the way, so giving up earlier would leave its outcome unknown.
const WRITE_DEADLINE: Duration = Duration::from_millis(6_600);
/// How often a statement that lost against a neighbour (deadlock, serialization) is run again.
const RETRIES: u32 = 3;

/// Session settings, as start-up options. `jit` costs more than it gives for statements of a
/// millisecond; the generic plans are the ones that the statements were written for, and one that was
/// made while a table was small must not read all of it once it has grown. Nobody waits for a lock for
/// longer than for a connection.
const SESSION: &str = "-c jit=off -c plan_cache_mode=force_generic_plan -c enable_seqscan=off \
     -c statement_timeout=5000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=10000";

/// Error messages are told apart by their English text where diesel hides the SQLSTATE. Only a
/// superuser may choose the language, so a refusal is no error.
const ENGLISH: &str = "DO $$ BEGIN PERFORM set_config('lc_messages', 'C', false); \
     EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";

/// A database URL that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the database URL is not valid")]
pub struct BadDatabaseUrl(#[source] tokio_postgres::Error);

/// Whether a statement changes something: decides how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// PostgreSQL behind a pool of connections. Cheap to clone; opens its connections on first use.
#[derive(Clone)]
pub struct Database {
    pool: Pool<AsyncPgConnection>,
    config: Arc<tokio_postgres::Config>,
    metrics: Arc<Metrics>,
    lanes: Arc<Lanes>,
    gates: Arc<Gates>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("pool", &self.pool.status())
            .finish_non_exhaustive()
    }
}

impl Database {
    /// A pool of at most `size` connections to `url`, in tokio-postgres' form (TCP or a unix socket).
    ///
    /// Doesn't connect. Must be made on the runtime that will run the database's work.
    ///
    /// # Errors
    /// When `url` can't be understood.
    pub fn new(url: &str, size: usize) -> Result<Self, BadDatabaseUrl> {
        let config = Arc::new(session_config(url)?);
        let mut manager = ManagerConfig::default();
        manager.recycling_method = RecyclingMethod::Fast;
        let shared = Arc::clone(&config);
        manager.custom_setup = Box::new(move |_| connect(Arc::clone(&shared)).boxed());
        // The manager only hands the text to `custom_setup`, which has the parsed form.
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), manager);
        let pool = Pool::builder(manager)
            .max_size(size.max(1))
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CREATE))
            .recycle_timeout(Some(RECYCLE))
            .runtime(Runtime::Tokio1)
            .build()
            .unwrap_or_else(|_| unreachable!("time-outs are given together with a runtime"));
        Ok(Self {
            pool,
            config,
            metrics: Arc::default(),
            lanes: Arc::default(),
            gates: Arc::default(),
        })
    }

    /// How many statements were sent since the start.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.metrics.database.statements()
    }

    /// What everything that is built over this database measures.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What everything that is built over this database remembers of the queue's lanes.
    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Who looks after types with limits just now.
    pub(crate) fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Notes what the pool is like just now.
    pub(crate) fn measure_pool(&self) {
        let status = self.pool.status();
        self.metrics.database.pool(PoolSample {
            max: gauge_value(status.max_size),
            open: gauge_value(status.size),
            idle: gauge_value(status.available),
            waiting: gauge_value(status.waiting),
        });
    }

    /// Closes the pool: connections end as they come back, and further work is refused.
    pub fn close(&self) {
        self.pool.close();
    }

    /// The configuration of its connections, for one that stands outside the pool.
    pub(crate) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// When it doesn't, within the time of a request.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.batch("SELECT 1").await?;
        Ok(())
    }

    /// The session settings that a connection of the pool should have got from here, and has not: something between
    /// keeps them to itself, as a pooler that ignores the start-up parameter `options`.
    ///
    /// # Errors
    /// When PostgreSQL doesn't answer within the time of a request.
    pub async fn settings_not_taken(&self) -> Result<Vec<String>, StoreError> {
        let names: Vec<&str> = SESSION
            .split(' ')
            .filter_map(|word| Some(word.split_once('=')?.0))
            .collect();
        // What the URL says instead is a client's word too.
        let elsewhere = Statement::new(
            "SELECT name FROM pg_settings WHERE name = ANY($1) AND source <> 'client' ORDER BY name",
        )
        .bind::<Array<Text>, _>(names);
        let rows: Vec<NameRow> = self.rows(Access::Read, &elsewhere).await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }

    /// A connection outside the pool, with the same session settings.
    pub(crate) async fn connect_apart(&self) -> Result<AsyncPgConnection, ConnectionError> {
        match tokio::time::timeout(CREATE, connect(Arc::clone(&self.config))).await {
            Ok(connection) => connection,
            Err(_) => Err(ConnectionError::BadConnection(
                "no answer in time".to_owned(),
            )),
        }
    }

    /// Runs `statement` and answers its rows.
    pub(crate) async fn rows<R>(
        &self,
        access: Access,
        statement: &Statement<'_>,
    ) -> Result<Vec<R>, DbError>
    where
        R: QueryableByName<Pg> + Send + 'static,
    {
        let mut retries = 0;
        let allowance = Allowance::begin(access);
        loop {
            let mut checkout = self.checkout(&allowance).await?;
            let outcome = checkout
                .within(&allowance, |connection| statement.load::<R>(connection))
                .await;
            match outcome {
                Err(error) if error.is_retryable() && retries < RETRIES => {
                    drop(checkout);
                    retries += 1;
                    self.metrics.database.retried();
                    log::debug!(retry = retries; "a statement met a neighbour and is run again");
                    tokio::time::sleep(pause(retries)).await;
                }
                other => return other,
            }
        }
    }

    /// Runs `statement` and answers its only row, if it has one.
    pub(crate) async fn row<R>(
        &self,
        access: Access,
        statement: &Statement<'_>,
    ) -> Result<Option<R>, DbError>
    where
        R: QueryableByName<Pg> + Send + 'static,
    {
        Ok(self.rows(access, statement).await?.into_iter().next())
    }

    /// Runs `statement` and answers how many rows it changed.
    pub(crate) async fn run(
        &self,
        access: Access,
        statement: &Statement<'_>,
    ) -> Result<usize, DbError> {
        let allowance = Allowance::begin(access);
        let mut checkout = self.checkout(&allowance).await?;
        checkout
            .within(&allowance, |connection| statement.execute(connection))
            .await
    }

    /// Runs a query that diesel's builder made.
    pub(crate) async fn select<T, F>(&self, query: F) -> Result<T, DbError>
    where
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T, DieselError>>,
    {
        let allowance = Allowance::begin(Access::Read);
        let mut checkout = self.checkout(&allowance).await?;
        checkout.within(&allowance, query).await
    }

    /// Runs SQL without parameters that leaves no transaction open, whether it succeeds or fails.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), DbError> {
        let allowance = Allowance::begin(Access::Write);
        let mut checkout = self.checkout(&allowance).await?;
        checkout
            .within(&allowance, |connection| connection.batch_execute(sql))
            .await
    }

    async fn checkout(&self, allowance: &Allowance) -> Result<Checkout<'_>, DbError> {
        let began = Instant::now();
        let metrics = &self.metrics.database;
        if allowance.connected_by <= began {
            // A statement that would be given up as soon as it is sent only costs a connection.
            metrics.timed_out();
            return Err(DbError::Unavailable("no time was left".to_owned()));
        }
        let taken = timeout_at(allowance.connected_by, self.pool.get()).await;
        metrics.waited(began.elapsed());
        match taken {
            Ok(Ok(object)) => Ok(Checkout {
                object: Some(object),
                idle: true,
                metrics,
            }),
            Ok(Err(error)) => {
                if matches!(error, PoolError::Timeout(_)) {
                    metrics.timed_out();
                }
                Err(DbError::Unavailable(error.to_string()))
            }
            Err(_) => {
                metrics.timed_out();
                Err(DbError::Unavailable("no connection in time".to_owned()))
            }
        }
    }
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    name: String,
}

impl Access {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// How long a statement may take, of what its request has left. When it is over, its share is counted.
struct Allowance {
    access: Access,
    began: Instant,
    /// Until when it may wait for a connection.
    connected_by: Instant,
    /// Until when it may wait for the answer.
    answered_by: Instant,
    /// The time of the request that it belongs to.
    request: Option<StoreTime>,
}

impl Allowance {
    fn begin(access: Access) -> Self {
        let began = Instant::now();
        let request = StoreTime::current();
        let spent = request.as_ref().map(StoreTime::spent).unwrap_or_default();
        let has_written = request.as_ref().is_some_and(StoreTime::has_written);
        let until = |limit: Duration| began + limit.saturating_sub(spent);
        Self {
            access,
            began,
            // After a write the answer to it is worth waiting for.
            connected_by: match has_written {
                true => until(WRITE_DEADLINE).min(began + READ_DEADLINE),
                false => until(READ_DEADLINE),
            },
            answered_by: match access {
                Access::Read if !has_written => until(READ_DEADLINE),
                Access::Read | Access::Write => until(WRITE_DEADLINE),
            },
            request,
        }
    }

    /// The statement goes out.
    fn send(&self) {
        if let (Some(request), Access::Write) = (&self.request, self.access) {
            request.writes();
        }
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        if let Some(request) = &self.request {
            request.add(self.began.elapsed());
        }
    }
}

/// A connection in use. It goes back to the pool only if nothing is under way on it: work that was
/// given up or dropped leaves an answer outstanding, and the next user would wait for it.
struct Checkout<'p> {
    object: Option<Object<AsyncPgConnection>>,
    idle: bool,
    metrics: &'p DatabaseMetrics,
}

impl Checkout<'_> {
    async fn within<'c, T, F, Fut>(
        &'c mut self,
        allowance: &Allowance,
        work: F,
    ) -> Result<T, DbError>
    where
        F: FnOnce(&'c mut AsyncPgConnection) -> Fut,
        Fut: Future<Output = Result<T, DieselError>> + 'c,
    {
        let Some(connection) = self.object.as_deref_mut() else {
            return Err(DbError::Unavailable("the connection is gone".to_owned()));
        };
        let access = allowance.access;
        self.metrics.sent(access.as_str());
        allowance.send();
        self.idle = false;
        let began = Instant::now();
        let answer = timeout_at(allowance.answered_by, work(connection)).await;
        self.metrics.answered(access.as_str(), began.elapsed());
        let failure = match answer {
            Ok(Ok(value)) => {
                self.idle = true;
                return Ok(value);
            }
            Ok(Err(error)) => {
                let error = DbError::from(error);
                // Closed, about to be closed, or no longer the primary's: connect anew.
                self.idle = !matches!(error, DbError::NoAnswer(_) | DbError::Unavailable(_));
                error
            }
            Err(_) => DbError::NoAnswer("no answer in time".to_owned()),
        };
        let is_unanswered = matches!(failure, DbError::NoAnswer(_));
        let failure = failure.of(access);
        // To its caller, a read without an answer is one more thing that is not to be had.
        self.metrics.failed(match access {
            Access::Read if is_unanswered => "no_answer",
            Access::Read | Access::Write => failure.kind(),
        });
        Err(failure)
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        if !self.idle
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

/// 5–20 ms, 10–40 ms, …: spread, so that the same neighbours don't meet again.
fn pause(attempt: u32) -> Duration {
    let spread = getrandom::u32().map_or(7, |random| u64::from(random % 16));
    Duration::from_millis((5 + spread) << attempt.min(4).saturating_sub(1))
}

async fn connect(
    config: Arc<tokio_postgres::Config>,
) -> Result<AsyncPgConnection, ConnectionError> {
    let (client, connection) = config
        .connect(NoTls)
        .await
        .map_err(|error| ConnectionError::BadConnection(reason(&error)))?;
    let mut connection =
        AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
    connection
        .batch_execute(ENGLISH)
        .await
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// What went wrong, with its cause: tokio-postgres' own text is only "db error".
fn reason(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn session_config(url: &str) -> Result<tokio_postgres::Config, BadDatabaseUrl> {
    let mut config: tokio_postgres::Config = url.parse().map_err(BadDatabaseUrl)?;
    // PostgreSQL takes the last of two values: what the URL says wins.
    let options = match config.get_options() {
        Some(own) => format!("{SESSION} {own}"),
        None => SESSION.to_owned(),
    };
    config.options(options);
    if config.get_application_name().is_none() {
        config.application_name("deed");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CREATE);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(Duration::from_secs(15));
    }
    config
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(15))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3);
    Ok(config)
}

#[cfg(test)]
mod tests;
