//! Letting in what limits hold: the actions of a type of which only so many may be performed at a time.
//!
//! Waiting actions of such a type are held, and `admit_actions` in the database makes as many of them claimable as the
//! limits allow. So no claim has to count, and types without limits have nothing to do with it. It is asked for after
//! each write that may have made room, or brought something that room is there for; once a second the sweeper asks for
//! whatever nobody has asked for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Int4, Text};

use super::error::DbError;
use super::pool::{Access, Database};
use super::statement::Statement;
use super::wakeups::WakeupHub;

/// How many are let in by one statement.
const BATCH: i32 = 1_000;
/// Of how many types it is remembered whether they are being looked at.
const MOST: usize = 10_000;

/// Who looks at which type just now.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<HashMap<String, Arc<Gate>>>);

/// Lets one of this replica's tasks look at a type at a time. Those who wait for it meanwhile are served by the next one
/// together.
#[derive(Debug, Default)]
struct Gate {
    /// How many looks have begun.
    begun: AtomicU64,
    turn: tokio::sync::Mutex<()>,
}

impl Gates {
    fn of(&self, action_type: &str) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= MOST {
            gates.clear();
        }
        Arc::clone(gates.entry(action_type.to_owned()).or_default())
    }
}

#[derive(QueryableByName)]
struct AdmittedRow {
    #[diesel(sql_type = Int4)]
    admitted: i32,
    #[diesel(sql_type = Bool)]
    is_more: bool,
}

#[derive(QueryableByName)]
struct TypeRow {
    #[diesel(sql_type = Text, column_name = "type")]
    name: String,
}

/// Makes what waits of that type as claimable as its limits allow; answers how many became claimable by this call. What
/// was committed before the call is taken into account, by this look or another one that began after.
pub(super) async fn admit(
    database: &Database,
    hub: &WakeupHub,
    action_type: &str,
) -> Result<usize, DbError> {
    let gate = database.gates().of(action_type);
    let seen = gate.begun.load(Ordering::SeqCst);
    let _turn = gate.turn.lock().await;
    if gate.begun.load(Ordering::SeqCst) > seen {
        return Ok(0);
    }
    let statement = Statement::new("SELECT admitted, is_more FROM admit_actions($1, $2)")
        .bind::<Text, &str>(action_type)
        .bind::<Int4, _>(BATCH);
    let mut admitted = 0;
    loop {
        gate.begun.fetch_add(1, Ordering::SeqCst);
        let row: Option<AdmittedRow> = database.row(Access::Write, &statement).await?;
        let Some(row) = row else {
            return Ok(admitted);
        };
        if row.admitted > 0 {
            admitted = admitted.saturating_add(usize::try_from(row.admitted).unwrap_or(0));
            hub.queue_grew();
        }
        if !row.is_more {
            return Ok(admitted);
        }
    }
}

/// The same for each of the types, if there are any. Should it fail, the sweeper makes up for it.
pub(super) async fn admit_each<'a>(
    database: &Database,
    hub: &WakeupHub,
    types: impl IntoIterator<Item = &'a str>,
) {
    let mut types: Vec<&str> = types.into_iter().collect();
    types.sort_unstable();
    types.dedup();
    for action_type in types {
        if let Err(error) = admit(database, hub, action_type).await {
            log::debug!(action_type, error:err = error; "nothing of {action_type} was let in");
        }
    }
}

/// The same for all types that have anything to be let in or held; answers how many became claimable. A type that somebody
/// has locked holds up no other.
pub(super) async fn admit_all(database: &Database, hub: &WakeupHub) -> Result<usize, DbError> {
    let statement = Statement::new(include_str!("sql/limited.sql"));
    let types: Vec<TypeRow> = database.rows(Access::Read, &statement).await?;
    let (mut admitted, mut locked) = (0, None);
    for one in types {
        match admit(database, hub, &one.name).await {
            Ok(count) => admitted += count,
            Err(error @ DbError::Locked(_)) => locked = Some(error),
            Err(error) => return Err(error),
        }
    }
    locked.map_or(Ok(admitted), Err)
}
