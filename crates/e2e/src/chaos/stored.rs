//! Reads what the database holds.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::history::Moment;
use super::oracle::{Stored, StoredAction, StoredEvent, StoredResult};

/// Waits until no action waits and none is performed, for at most `limit`; answers whether it came to that. The oracle
/// names what is left.
///
/// # Errors
/// When the database can't be asked.
pub async fn at_rest(database: &Client, limit: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if unfinished(database).await? == 0 {
            return Ok(true);
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(false)
}

/// How many actions are not over.
///
/// # Errors
/// When the database can't be asked.
pub async fn unfinished(database: &Client) -> anyhow::Result<i64> {
    let left = "SELECT (SELECT count(*) FROM action_queue) + (SELECT count(*) FROM action_leases)";
    Ok(database.query_one(left, &[]).await?.get(0))
}

/// Everything that is of interest.
///
/// # Errors
/// When the database can't be read, or holds what is not JSON.
pub async fn read(database: &Client) -> anyhow::Result<Stored> {
    let mut logs: BTreeMap<String, Vec<StoredEvent>> = BTreeMap::new();
    let events =
        "SELECT action_id::text, seq, event, data, (extract(epoch FROM at) * 1000000)::int8
        FROM action_events ORDER BY action_id, seq";
    for row in database.query(events, &[]).await? {
        let event = StoredEvent {
            seq: position(row.get(1))?,
            event: row.get(2),
            data: json(row.get(3))?,
            at: Moment(row.get(4)),
        };
        logs.entry(row.get(0)).or_default().push(event);
    }
    let mut actions = BTreeMap::new();
    let statement = "SELECT a.id::text, t.name, a.input, r.status, r.output, r.error, r.last_seq,
          (SELECT count(*) FROM action_queue q WHERE q.action_id = a.id)
          + (SELECT count(*) FROM action_leases l WHERE l.action_id = a.id)
          + (SELECT count(*) FROM action_results s WHERE s.action_id = a.id)
        FROM actions a JOIN action_types t ON t.id = a.type_id LEFT JOIN action_results r ON r.action_id = a.id";
    for row in database.query(statement, &[]).await? {
        let id: String = row.get(0);
        let result = match row.get::<_, Option<String>>(3) {
            Some(status) => Some(StoredResult {
                status,
                output: json(row.get(4))?,
                error: json(row.get(5))?,
                last_seq: position(row.get(6))?,
            }),
            None => None,
        };
        let action = StoredAction {
            action_type: row.get(1),
            input: json(row.get(2))?,
            places: u64::try_from(row.get::<_, i64>(7))?,
            result,
            log: logs.remove(&id).unwrap_or_default(),
        };
        actions.insert(id, action);
    }
    let keys = "SELECT key, resource_id::text FROM idempotency_keys";
    let keys = database.query(keys, &[]).await?;
    Ok(Stored {
        actions,
        keys: keys.iter().map(|row| (row.get(0), row.get(1))).collect(),
    })
}

fn position(seq: i32) -> anyhow::Result<u64> {
    u64::try_from(seq).context("a position below 0")
}

fn json(text: Option<String>) -> anyhow::Result<Value> {
    let text = text.as_deref().unwrap_or("null");
    serde_json::from_str(text).with_context(|| format!("not JSON: {text}"))
}
