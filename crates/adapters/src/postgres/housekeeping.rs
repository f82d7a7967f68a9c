//! What has to be done in the database now and then: partitions made ahead, old idempotency keys, tickets and partitions
//! removed. One server at a time does it, for a term; when it falls silent another takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deed_domain::error::StoreError;
use deed_domain::ports::{Clock, Ids};
use tokio::time::{Instant, sleep};

use super::pool::Database;
pub use idempotency_keys::prune_idempotency_keys;
pub use partitions::{Gap, make_partitions, missing_partitions};
pub use retention::drop_expired;
pub use stream_tickets::prune_stream_tickets;
pub use term::Term;

mod calendar;
mod idempotency_keys;
mod partitions;
mod retention;
mod stream_tickets;
mod term;

/// How often what is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long nobody else may take over once a housekeeper has fallen silent.
    pub term: Duration,
    /// How often it renews its term.
    pub renewal: Duration,
    /// How often it asks for one that it does not hold.
    pub question: Duration,
    /// How often it looks at everything.
    pub round: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            term: Duration::from_secs(30),
            renewal: Duration::from_secs(10),
            question: Duration::from_secs(2),
            round: Duration::from_secs(60),
        }
    }
}

/// Looks after the database while no other does.
pub struct Housekeeper {
    database: Database,
    clock: Arc<dyn Clock>,
    term: Term,
    retention: Duration,
    pace: Pace,
    /// Whether the term was held when this was last looked at.
    is_held: AtomicBool,
}

impl Housekeeper {
    /// One for `database`, which keeps for `retention` what is over. Actions are made by replicas' clocks, and so
    /// are the partitions for them, by `clock`; what is old is told by the database's.
    #[must_use]
    pub fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        ids: &dyn Ids,
        retention: Duration,
        pace: Pace,
    ) -> Self {
        Self {
            term: Term::new(database.clone(), ids, pace.term),
            database,
            clock,
            retention,
            pace,
            is_held: AtomicBool::new(false),
        }
    }

    /// Takes a term whenever there is one to take, and does the work while it holds it, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            // By the time before the question: by then at the latest the term had begun.
            let asked_at = Instant::now();
            match self.term.take().await {
                Ok(true) => {
                    self.is_held.store(true, Ordering::Relaxed);
                    log::info!("this server does the housekeeping");
                    tokio::select! {
                        () = self.renew(asked_at) => {}
                        () = self.work() => {}
                    }
                    self.is_held.store(false, Ordering::Relaxed);
                    log::warn!("this server has lost the term of its housekeeping");
                }
                Ok(false) => {}
                Err(error) => log::debug!(error:err = error; "no term could be asked for"),
            }
            sleep(self.pace.question).await;
        }
    }

    /// Gives its term back, if it holds one, so that another takes over as soon as it asks. For when [`Self::run`] is
    /// polled no more.
    ///
    /// # Errors
    /// When PostgreSQL is away. Then the term ends by itself.
    pub async fn hand_over(&self) -> Result<(), StoreError> {
        if self.is_held.swap(false, Ordering::Relaxed) {
            self.term.give_back().await?;
            log::debug!("this server has handed its housekeeping over");
        }
        Ok(())
    }

    /// Returns when the term is lost, or over for want of a renewal.
    async fn renew(&self, since: Instant) {
        let mut ends = since + self.pace.term;
        loop {
            sleep(self.pace.renewal).await;
            let asked_at = Instant::now();
            match self.term.take().await {
                Ok(true) => ends = asked_at + self.pace.term,
                Ok(false) => return,
                Err(error) => log::debug!(error:err = error; "the term could not be renewed"),
            }
            if Instant::now() >= ends {
                return;
            }
        }
    }

    async fn work(&self) {
        loop {
            note(
                "made",
                make_partitions(&self.database, self.clock.now(), self.retention).await,
            );
            note("pruned", prune_idempotency_keys(&self.database).await);
            note("pruned", prune_stream_tickets(&self.database).await);
            note(
                "dropped",
                drop_expired(&self.database, &self.term, self.retention).await,
            );
            sleep(self.pace.round).await;
        }
    }
}

/// Says what could not be done. The next round tries it again, and finds a database that was away.
fn note<T>(what: &str, outcome: Result<T, StoreError>) {
    match outcome {
        Ok(_) => {}
        Err(error @ StoreError::Unavailable(_)) => {
            log::warn!(error:err = error; "nothing could be {what} just now");
        }
        Err(error) => log::error!(error:err = error; "not all could be {what}"),
    }
}
