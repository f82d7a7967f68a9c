//! Renewing leases by heartbeats: one statement, and another one only where something is lost.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use deed_domain::action::LeaseRef;
use deed_domain::error::StoreError;
use deed_domain::id::{ActionId, LeaseId};
use deed_domain::ports::{Beat, HeartbeatVerdict};
use deed_domain::scope::TypeReach;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::action_row::like_patterns;
use super::pool::{Access, Database};
use super::statement::Statement;

#[derive(QueryableByName)]
struct RenewedRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    lease_id: Uuid,
    #[diesel(sql_type = Timestamptz)]
    expires_at: DateTime<Utc>,
    #[diesel(sql_type = Bool)]
    cancel_requested: bool,
}

#[derive(QueryableByName)]
struct LeaseRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    lease_id: Uuid,
}

fn lease(action_id: Uuid, lease_id: Uuid) -> LeaseRef {
    LeaseRef {
        action_id: ActionId::from_uuid(action_id),
        lease_id: LeaseId::from_uuid(lease_id),
    }
}

/// Renews leases, each by its own length; one verdict each, in order. No lease may be named twice.
pub(super) async fn renew(
    database: &Database,
    beats: &[Beat],
) -> Result<Vec<HeartbeatVerdict>, StoreError> {
    let statement = Statement::new(include_str!("sql/heartbeat.sql")).bind_beats(beats.iter());
    let rows: Vec<RenewedRow> = database.rows(Access::Write, &statement).await?;
    let held: HashMap<LeaseRef, HeartbeatVerdict> = rows
        .into_iter()
        .map(|row| {
            let verdict = HeartbeatVerdict::Held {
                expires_at: row.expires_at,
                cancel_requested: row.cancel_requested,
            };
            (lease(row.action_id, row.lease_id), verdict)
        })
        .collect();
    let missing: Vec<Beat> = beats
        .iter()
        .filter(|beat| !held.contains_key(&beat.lease))
        .cloned()
        .collect();
    let finished = finished_by(database, &missing).await?;
    Ok(beats
        .iter()
        .map(|beat| match held.get(&beat.lease) {
            Some(verdict) => *verdict,
            None if finished.contains(&beat.lease) => HeartbeatVerdict::Finished,
            None => HeartbeatVerdict::Lost,
        })
        .collect())
}

/// Which of the leases ended their actions.
pub(super) async fn finished_by(
    database: &Database,
    beats: &[Beat],
) -> Result<HashSet<LeaseRef>, StoreError> {
    if beats.is_empty() {
        return Ok(HashSet::new());
    }
    let statement = Statement::new(include_str!("sql/finished_by.sql")).bind_beats(beats.iter());
    let rows: Vec<LeaseRow> = database.rows(Access::Read, &statement).await?;
    Ok(rows
        .into_iter()
        .map(|row| lease(row.action_id, row.lease_id))
        .collect())
}

impl Statement<'_> {
    /// Gives the next three parameters: actions, leases, and the types that each may be of.
    fn bind_beats<'b>(self, beats: impl Iterator<Item = &'b Beat>) -> Self {
        let (mut actions, mut leases, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for Beat { lease, reach } in beats {
            actions.push(lease.action_id.as_uuid());
            leases.push(lease.lease_id.as_uuid());
            types.push(joined(reach));
        }
        self.bind::<Array<SqlUuid>, _>(actions)
            .bind::<Array<SqlUuid>, _>(leases)
            .bind::<Array<Nullable<Text>>, Vec<Option<String>>>(types)
    }
}

/// Patterns for LIKE with commas between, of which a type's name has none; `None` is every type.
fn joined(reach: &TypeReach) -> Option<String> {
    Some(like_patterns(reach)?.join(","))
}
