use std::time::Duration;

use chrono::TimeDelta;
use deed_domain::error::StoreError;
use diesel::sql_types::{Int4, Interval};
use tokio::time::sleep;

use crate::postgres::pool::{Access, Database};
use crate::postgres::statement::Statement;

/// How long a key is remembered at the least.
const KEPT: TimeDelta = TimeDelta::hours(24);
/// How many are removed at a time.
const BATCH: u16 = 2_000;
/// The pause between two batches: requests go first.
const BREATH: Duration = Duration::from_millis(10);

/// Forgets the idempotency keys that are older than 24 hours, in small steps, and answers how many they were.
///
/// # Errors
/// When PostgreSQL is away; what was forgotten stays so.
pub async fn prune_idempotency_keys(database: &Database) -> Result<usize, StoreError> {
    let mut pruned = 0;
    loop {
        let statement = Statement::new(include_str!("../sql/keys_prune.sql"))
            .bind::<Interval, _>(KEPT)
            .bind::<Int4, _>(i32::from(BATCH));
        let step = database.run(Access::Write, &statement).await?;
        pruned += step;
        if step < usize::from(BATCH) {
            log::debug!(count = pruned; "forgot {pruned} idempotency keys");
            return Ok(pruned);
        }
        sleep(BREATH).await;
    }
}
