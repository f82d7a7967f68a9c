use std::time::Duration;

use deed_domain::error::StoreError;
use diesel::sql_types::Int4;
use tokio::time::sleep;

use crate::postgres::pool::{Access, Database};
use crate::postgres::statement::Statement;

/// How many are removed at a time.
const BATCH: u16 = 2_000;
/// The pause between two batches: requests go first.
const BREATH: Duration = Duration::from_millis(10);

/// Forgets the tickets whose time is over, in small steps, and answers how many they were. Those that were used are gone
/// already.
///
/// # Errors
/// When PostgreSQL is away; what was forgotten stays so.
pub async fn prune_stream_tickets(database: &Database) -> Result<usize, StoreError> {
    let mut pruned = 0;
    loop {
        let statement = Statement::new(include_str!("../sql/tickets_prune.sql"))
            .bind::<Int4, _>(i32::from(BATCH));
        let step = database.run(Access::Write, &statement).await?;
        pruned += step;
        if step < usize::from(BATCH) {
            return Ok(pruned);
        }
        sleep(BREATH).await;
    }
}
