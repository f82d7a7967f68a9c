//! Looks at what can't be counted as it happens: the pool, the listener, the cache, and the queue in the database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deed_domain::ports::Clock;
use diesel::QueryableByName;
use diesel::sql_types::{Int8, Text};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::authenticator::PgAuthenticator;
use super::error::DbError;
use super::housekeeping::missing_partitions;
use super::pool::{Access, Database};
use super::statement::Statement;
use super::wakeups::WakeupHub;
use crate::metrics::TypeSample;

/// How old a look at the database may be.
const FRESH: Duration = Duration::from_secs(5);
/// A count that took long is kept for so many times what it took: counting never costs more than 5 % of one connection.
const KEPT_FOR: u32 = 20;
/// How long PostgreSQL may take to show that it is there.
const UP: Duration = Duration::from_secs(1);
/// How long it may take to count the queue.
const COUNT: Duration = Duration::from_millis(1_500);

/// Brings the metrics up to date that are looked at rather than counted.
pub struct Sampler {
    database: Database,
    hub: WakeupHub,
    authenticator: Arc<PgAuthenticator>,
    clock: Arc<dyn Clock>,
    /// When the database is to be looked at again. Who looks holds it, so that nobody looks twice.
    due: Mutex<Option<Instant>>,
}

impl Sampler {
    /// A sampler for the metrics of `database`.
    #[must_use]
    pub fn new(
        database: Database,
        hub: WakeupHub,
        authenticator: Arc<PgAuthenticator>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            database,
            hub,
            authenticator,
            clock,
            due: Mutex::default(),
        }
    }

    /// Looks at everything: at what is in this process each time, at the database at most every five seconds,
    /// whoever asks. Returns within 3 s, also when PostgreSQL is away; then what was known of it is dropped.
    pub async fn refresh(&self) {
        self.database.measure_pool();
        self.hub.measure();
        self.authenticator.measure();
        let mut due = self.due.lock().await;
        if due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        let counting = self.look().await;
        *due = Some(Instant::now() + FRESH.max(counting.saturating_mul(KEPT_FOR)));
    }

    /// Looks at the database; answers how long it took to count.
    async fn look(&self) -> Duration {
        let metrics = &self.database.metrics().queue;
        let missing = missing_partitions(&self.database, self.clock.now());
        let Ok(Ok(missing)) = timeout(UP, missing).await else {
            metrics.up(false);
            return Duration::ZERO;
        };
        metrics.up(true);
        metrics.partitions(Some(missing.len()));
        let began = Instant::now();
        match timeout(COUNT, self.queue()).await {
            Ok(Ok(found)) => metrics.types(found),
            Ok(Err(error)) => {
                log::debug!(error:err = error; "the queue could not be counted");
                metrics.forget();
            }
            Err(_) => {
                log::debug!("the queue could not be counted in time");
                metrics.forget();
            }
        }
        began.elapsed()
    }

    async fn queue(&self) -> Result<BTreeMap<String, TypeSample>, DbError> {
        let statement = Statement::new(include_str!("sql/queue_sample.sql"));
        let rows: Vec<SampleRow> = self.database.rows(Access::Read, &statement).await?;
        Ok(rows.into_iter().map(SampleRow::into_sample).collect())
    }
}

#[derive(QueryableByName)]
struct SampleRow {
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Int8)]
    ready: i64,
    #[diesel(sql_type = Int8)]
    scheduled: i64,
    #[diesel(sql_type = Int8)]
    oldest_us: i64,
    #[diesel(sql_type = Int8)]
    held: i64,
    #[diesel(sql_type = Int8)]
    expired: i64,
}

impl SampleRow {
    fn into_sample(self) -> (String, TypeSample) {
        let Self {
            action_type,
            ready,
            scheduled,
            oldest_us,
            held,
            expired,
        } = self;
        let oldest = Duration::from_micros(u64::try_from(oldest_us).unwrap_or(0));
        let sample = TypeSample {
            ready,
            scheduled,
            oldest_seconds: oldest.as_secs_f64(),
            held,
            expired,
        };
        (action_type, sample)
    }
}
