//! The pulse: one query a second for all that this replica watches.

use std::sync::atomic::Ordering;

use deed_domain::id::ActionId;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Int8, Nullable, Text, Uuid as SqlUuid};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Shared, lock};
use crate::postgres::action_row::sequence;
use crate::postgres::error::{BadRow, DbError};
use crate::postgres::pool::Access;
use crate::postgres::statement::Statement;

#[derive(QueryableByName)]
struct PulseRow {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    action_id: Option<Uuid>,
    #[diesel(sql_type = Int8)]
    position: i64,
}

/// Asks once, and wakes whom the answer concerns. The queue's watchers are always woken: they look themselves.
pub(super) async fn take(shared: &Shared) -> Result<(), DbError> {
    let asked_at = Instant::now();
    let watched: Vec<Uuid> = shared
        .watched_logs()
        .into_iter()
        .map(ActionId::as_uuid)
        .collect();
    let statement =
        Statement::new(include_str!("../sql/pulse.sql")).bind::<Array<SqlUuid>, _>(watched);
    let rows: Vec<PulseRow> = shared.database.rows(Access::Read, &statement).await?;
    let mut cancels = Vec::new();
    for PulseRow {
        kind,
        action_id,
        position,
    } in rows
    {
        match (kind.as_str(), action_id.map(ActionId::from_uuid)) {
            ("log", Some(action)) => {
                let position = i32::try_from(position)
                    .map_err(|_| BadRow::new("action_events", "seq", action, "not a position"))?;
                shared.wake_log(action, sequence(position, "seq", action.as_uuid())?);
            }
            ("cancel", Some(action)) => cancels.push(action),
            _ => {
                if shared.generation.swap(position, Ordering::Relaxed) != position {
                    shared.wake_identities();
                }
            }
        }
    }
    if !cancels.is_empty() {
        shared.wake_cancels(cancels);
    }
    *lock(&shared.pulsed_at) = Some(asked_at);
    shared.wake_queue();
    Ok(())
}
