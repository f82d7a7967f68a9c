//! Leases: the performer's side of the actions.
//!
//! Every write names its lease in its WHERE and locks the rows in the order of their ids. What doesn't come back
//! from a statement was not written.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::action::state::RetryReason;
use deed_domain::action::{
    ActionError, ActionTypeName, Attempts, Cancel, Grant, Lease, LeaseRef, LeaseRequest, NewEvent,
    Outcome, Payload, RetryPolicy, Sequence, Status,
};
use deed_domain::error::StoreError;
use deed_domain::id::{ActionId, LeaseId, UserId};
use deed_domain::ports::{
    Append, Appended, Beat, ClaimRequest, Filled, Finish, Finished, GivenUp, HeartbeatVerdict,
    Held, Leases, Promoted, Released, Requeue, Requeued, RescueVerdict, Rescued, Slot,
};
use deed_domain::scope::TypeReach;
use diesel::QueryableByName;
use diesel::data_types::PgInterval;
use diesel::sql_types::{
    Array, Bool, Double, Int2, Int4, Int8, Interval, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::action_row::{int4, like_patterns, sequence, trace_parent, type_name};
use super::admission::{admit_all, admit_each};
use super::error::BadRow;
use super::lanes::{Answer, Lane, Place, Ticket};
use super::pool::{Access, Database};
use super::renewal::{finished_by, renew};
use super::statement::Statement;
use super::wakeups::WakeupHub;
use crate::heartbeats::Heartbeats;
use crate::metrics::ActionMetrics;

mod grant;

/// Leases in PostgreSQL.
pub struct PgLeases {
    database: Database,
    hub: WakeupHub,
    heartbeats: Heartbeats,
}

impl PgLeases {
    /// Leases of `database`.
    #[must_use]
    pub fn new(database: Database, hub: WakeupHub) -> Self {
        let heartbeats = Heartbeats::new({
            let database = database.clone();
            move |beats| {
                let database = database.clone();
                async move { renew(&database, &beats).await }.boxed()
            }
        });
        Self {
            database,
            hub,
            heartbeats,
        }
    }

    fn metrics(&self) -> &ActionMetrics {
        &self.database.metrics().actions
    }

    fn log_grew(&self, action: Uuid, last: i32) -> Result<(), BadRow> {
        self.hub
            .log_grew(ActionId::from_uuid(action), sequence(last, "seq", action)?);
        Ok(())
    }
}

#[derive(QueryableByName)]
struct MessagesRow {
    #[diesel(sql_type = Int8)]
    messages: i64,
}

#[derive(QueryableByName)]
struct GrantRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    lease_id: Uuid,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Int2)]
    attempt: i16,
    #[diesel(sql_type = Int2)]
    max_attempts: i16,
    #[diesel(sql_type = Int4)]
    next_seq: i32,
    #[diesel(sql_type = Timestamptz)]
    expires_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    deadline_at: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    input: String,
    #[diesel(sql_type = Nullable<Text>)]
    traceparent: Option<String>,
    #[diesel(sql_type = Int8)]
    waited_us: i64,
    #[diesel(sql_type = Int2)]
    priority: i16,
    #[diesel(sql_type = Int8)]
    rank: i64,
    #[diesel(sql_type = Int8)]
    place: i64,
    #[diesel(sql_type = Bool)]
    cancel_requested: bool,
    #[diesel(sql_type = Nullable<Text>)]
    checkpoint: Option<String>,
    #[diesel(sql_type = Nullable<Int8>)]
    time_left_ms: Option<i64>,
}

impl TryFrom<GrantRow> for Grant {
    type Error = BadRow;

    fn try_from(row: GrantRow) -> Result<Self, BadRow> {
        let GrantRow {
            action_id,
            user_id,
            lease_id,
            action_type,
            attempt,
            max_attempts,
            next_seq,
            expires_at,
            deadline_at,
            input,
            traceparent,
            waited_us: _,
            priority: _,
            rank: _,
            place: _,
            cancel_requested,
            checkpoint,
            time_left_ms,
        } = row;
        let count = |column, value: i16| {
            u16::try_from(value)
                .map_err(|problem| BadRow::new("action_leases", column, action_id, problem))
        };
        Ok(Self {
            lease: Lease {
                id: LeaseRef {
                    action_id: ActionId::from_uuid(action_id),
                    lease_id: LeaseId::from_uuid(lease_id),
                },
                expires_at,
                deadline_at,
                next_seq: sequence(next_seq, "next_seq", action_id)?,
                cancel_requested,
            },
            action_type: type_name(&action_type, action_id)?,
            user_id: UserId::from_uuid(user_id),
            input: Payload::from_stored(input),
            attempt: count("attempt", attempt)?,
            max_attempts: count("max_attempts", max_attempts)?,
            checkpoint: checkpoint.map(Payload::from_stored),
            time_left: time_left_ms.map(milliseconds),
            traceparent: trace_parent(traceparent, action_id)?,
        })
    }
}

#[derive(QueryableByName)]
struct HeldRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    lease_id: Uuid,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Int2)]
    attempt: i16,
    #[diesel(sql_type = Int2)]
    max_attempts: i16,
    #[diesel(sql_type = Bool)]
    cancel_requested: bool,
    #[diesel(sql_type = Int4)]
    next_seq: i32,
    #[diesel(sql_type = Int8)]
    retry_initial_ms: i64,
    #[diesel(sql_type = Double)]
    retry_factor: f64,
    #[diesel(sql_type = Int8)]
    retry_max_ms: i64,
}

impl TryFrom<HeldRow> for Held {
    type Error = BadRow;

    fn try_from(row: HeldRow) -> Result<Self, BadRow> {
        let HeldRow {
            action_id,
            lease_id: _,
            action_type,
            attempt,
            max_attempts,
            cancel_requested,
            next_seq,
            retry_initial_ms,
            retry_factor,
            retry_max_ms,
        } = row;
        let count = |column, value: i16| {
            u16::try_from(value)
                .map_err(|problem| BadRow::new("action_leases", column, action_id, problem))
        };
        Ok(Self {
            action_type: type_name(&action_type, action_id)?,
            attempts: Attempts {
                used: count("attempt", attempt)?,
                max: count("max_attempts", max_attempts)?,
            },
            cancel: match cancel_requested {
                true => Cancel::Asked,
                false => Cancel::NotAsked,
            },
            next_seq: sequence(next_seq, "next_seq", action_id)?,
            retry: RetryPolicy::new(
                milliseconds(retry_initial_ms),
                retry_factor,
                milliseconds(retry_max_ms),
            ),
        })
    }
}

#[derive(QueryableByName)]
struct AppendRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = Int4)]
    next_seq: i32,
    #[diesel(sql_type = Bool)]
    cancel_requested: bool,
    #[diesel(sql_type = Text)]
    verdict: String,
}

#[derive(QueryableByName)]
struct FinishRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = Int4)]
    last_seq: i32,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Int8)]
    took_us: i64,
    #[diesel(sql_type = Bool)]
    is_limited: bool,
}

#[derive(QueryableByName)]
struct ReleaseRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = Int4)]
    last_seq: i32,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Bool)]
    is_cancelled: bool,
    #[diesel(sql_type = Bool)]
    is_limited: bool,
}

#[derive(QueryableByName)]
struct RequeueRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = Nullable<Int4>)]
    last_seq: Option<i32>,
    #[diesel(sql_type = Bool)]
    cancel_requested: bool,
    #[diesel(sql_type = Nullable<Text>, column_name = "type")]
    action_type: Option<String>,
    #[diesel(sql_type = Nullable<Int8>)]
    took_us: Option<i64>,
    #[diesel(sql_type = Bool)]
    is_limited: bool,
}

#[derive(QueryableByName)]
struct RescueRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Text)]
    verdict: String,
    #[diesel(sql_type = Bool)]
    is_expired: bool,
    #[diesel(sql_type = Int4)]
    last_seq: i32,
    #[diesel(sql_type = Bool)]
    is_limited: bool,
}

#[derive(QueryableByName)]
struct GivenUpRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Int4)]
    last_seq: i32,
}

#[derive(QueryableByName)]
struct DueActionRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Int2)]
    priority: i16,
}

#[derive(QueryableByName)]
struct PromotedRow {
    #[diesel(sql_type = SqlUuid)]
    action_id: Uuid,
    #[diesel(sql_type = Int8)]
    rank: i64,
    #[diesel(sql_type = Nullable<Int8>)]
    seen: Option<i64>,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Bool)]
    is_limited: bool,
}

#[derive(QueryableByName)]
struct DueRow {
    #[diesel(sql_type = Int8)]
    due_in_ms: i64,
}

#[async_trait]
impl Leases for PgLeases {
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Grant>, StoreError> {
        let ClaimRequest {
            types,
            max,
            worker,
            lease,
        } = request;
        let slot = Slot {
            worker: worker.clone(),
            lease: *lease,
            request: None,
        };
        let slots = vec![(1, &slot); *max];
        let granted = self.grant(types, &slots).await?;
        Ok(granted.into_iter().map(|(_, grant)| grant).collect())
    }

    async fn fill(
        &self,
        types: &[ActionTypeName],
        slots: &[Slot],
    ) -> Result<Vec<Filled>, StoreError> {
        self.fill_slots(types, slots).await
    }

    async fn ready(&self, types: &[ActionTypeName]) -> Result<Vec<ActionTypeName>, StoreError> {
        self.types_ready(types).await
    }

    async fn granted(
        &self,
        requests: &[LeaseRequest],
    ) -> Result<Vec<(LeaseRequest, Grant)>, StoreError> {
        self.granted_to(requests).await
    }

    async fn held(&self, leases: &[LeaseRef]) -> Result<Vec<Option<Held>>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let statement = Statement::new(include_str!("sql/held.sql")).bind_leases(leases.iter());
        let rows: Vec<HeldRow> = self.database.rows(Access::Read, &statement).await?;
        let mut held = HashMap::new();
        for row in rows {
            let key = (row.action_id, row.lease_id);
            held.insert(key, Held::try_from(row)?);
        }
        Ok(leases
            .iter()
            .map(|lease| {
                held.get(&(lease.action_id.as_uuid(), lease.lease_id.as_uuid()))
                    .cloned()
            })
            .collect())
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<HeartbeatVerdict>, StoreError> {
        self.heartbeats.renew(beats).await
    }

    async fn append(
        &self,
        appends: &[Append],
        reach: &TypeReach,
    ) -> Result<Vec<Appended>, StoreError> {
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        let statement = Statement::new(include_str!("sql/append.sql"))
            .bind_leases(appends.iter().map(|append| &append.lease))
            .bind::<Array<Int4>, Vec<i32>>(
                appends.iter().map(|append| int4(append.from_seq)).collect(),
            )
            .bind::<Array<Int4>, Vec<i32>>(
                appends
                    .iter()
                    .map(|append| count(append.events.len()))
                    .collect(),
            )
            .bind::<Array<Nullable<Text>>, Vec<Option<&str>>>(
                appends
                    .iter()
                    .map(|append| append.checkpoint.as_ref().map(Payload::as_str))
                    .collect(),
            )
            .bind_events(
                appends
                    .iter()
                    .flat_map(|append| numbered(append.lease, append.events.iter())),
            )
            .bind::<Nullable<Array<Text>>, _>(like_patterns(reach));
        let rows: Vec<AppendRow> = self.database.rows(Access::Write, &statement).await?;
        let sent: HashMap<Uuid, &Append> = appends
            .iter()
            .map(|append| (append.lease.action_id.as_uuid(), append))
            .collect();
        let (mut held, mut written) = (HashMap::new(), 0);
        for AppendRow {
            action_id,
            next_seq,
            cancel_requested,
            verdict,
        } in rows
        {
            if verdict == "written"
                && let Some(append) = sent.get(&action_id)
            {
                written += append.events.len();
            }
            let appended = if verdict == "gap" {
                Appended::OutOfOrder {
                    next_seq: sequence(next_seq, "next_seq", action_id)?,
                }
            } else {
                self.log_grew(action_id, next_seq.saturating_sub(1))?;
                Appended::Written {
                    next_seq: sequence(next_seq, "next_seq", action_id)?,
                    cancel_requested,
                }
            };
            held.insert(action_id, appended);
        }
        let verdicts: Vec<Appended> = appends
            .iter()
            .map(|append| {
                held.get(&append.lease.action_id.as_uuid())
                    .copied()
                    .unwrap_or(Appended::Lost)
            })
            .collect();
        let lost = verdicts.iter().filter(|one| **one == Appended::Lost);
        self.metrics().lost(lost.count());
        self.metrics().appended(written);
        Ok(verdicts)
    }

    async fn messages(&self, action: ActionId, before: Sequence) -> Result<u32, StoreError> {
        let statement = Statement::new(include_str!("sql/messages.sql"))
            .bind::<SqlUuid, _>(action.as_uuid())
            .bind::<Int4, _>(int4(before));
        let row: Option<MessagesRow> = self.database.row(Access::Read, &statement).await?;
        let messages = row.map_or(0, |row| row.messages);
        Ok(u32::try_from(messages).unwrap_or(u32::MAX))
    }

    async fn finish(&self, finishes: &[Finish]) -> Result<Vec<Finished>, StoreError> {
        if finishes.is_empty() {
            return Ok(Vec::new());
        }
        let done: Vec<NewEvent> = finishes
            .iter()
            .map(|finish| NewEvent::done(&finish.outcome))
            .collect();
        let statement = Statement::new(include_str!("sql/finish.sql"))
            .bind_leases(finishes.iter().map(|finish| &finish.lease))
            .bind::<Array<Nullable<Int4>>, Vec<Option<i32>>>(
                finishes
                    .iter()
                    .map(|finish| finish.from_seq.map(int4))
                    .collect(),
            )
            .bind::<Array<Int4>, Vec<i32>>(
                finishes
                    .iter()
                    .map(|finish| count(finish.events.len()).saturating_add(1))
                    .collect(),
            )
            .bind::<Array<Text>, Vec<&str>>(
                finishes
                    .iter()
                    .map(|finish| finish.outcome.status().as_str())
                    .collect(),
            )
            .bind::<Array<Nullable<Text>>, Vec<Option<&str>>>(
                finishes
                    .iter()
                    .map(|finish| output(&finish.outcome))
                    .collect(),
            )
            .bind::<Array<Nullable<Text>>, Vec<Option<String>>>(
                finishes
                    .iter()
                    .map(|finish| error(&finish.outcome))
                    .collect(),
            )
            .bind_events(finishes.iter().zip(&done).flat_map(|(finish, done)| {
                numbered(finish.lease, finish.events.iter().chain([done]))
            }));
        let rows: Vec<FinishRow> = self.database.rows(Access::Write, &statement).await?;
        let sent: HashMap<Uuid, &Finish> = finishes
            .iter()
            .map(|finish| (finish.lease.action_id.as_uuid(), finish))
            .collect();
        let (mut ended, mut freed) = (HashMap::new(), Vec::new());
        for FinishRow {
            action_id,
            last_seq,
            action_type,
            took_us,
            is_limited,
        } in rows
        {
            if let Some(finish) = sent.get(&action_id) {
                let metrics = self.metrics();
                metrics.attempted(&action_type, microseconds(took_us));
                metrics.finished(&action_type, finish.outcome.status());
                metrics.appended(finish.events.len().saturating_add(1));
            }
            self.log_grew(action_id, last_seq)?;
            freed.push((action_type, is_limited));
            ended.insert(
                action_id,
                Finished::Finished(sequence(last_seq, "last_seq", action_id)?),
            );
        }
        self.admit_of(&freed).await;
        let missing: Vec<Beat> = finishes
            .iter()
            .map(|finish| finish.lease)
            .filter(|lease| !ended.contains_key(&lease.action_id.as_uuid()))
            .map(|lease| Beat {
                lease,
                reach: TypeReach::All,
            })
            .collect();
        for lease in finished_by(&self.database, &missing).await? {
            ended.insert(lease.action_id.as_uuid(), Finished::Repeated);
        }
        let verdicts: Vec<Finished> = finishes
            .iter()
            .map(|finish| {
                ended
                    .get(&finish.lease.action_id.as_uuid())
                    .copied()
                    .unwrap_or(Finished::Lost)
            })
            .collect();
        let lost = verdicts.iter().filter(|one| **one == Finished::Lost);
        self.metrics().lost(lost.count());
        Ok(verdicts)
    }

    async fn requeue(&self, requeues: &[Requeue]) -> Result<Vec<Requeued>, StoreError> {
        if requeues.is_empty() {
            return Ok(Vec::new());
        }
        let statement = Statement::new(include_str!("sql/requeue.sql"))
            .bind_leases(requeues.iter().map(|requeue| &requeue.lease))
            .bind::<Array<Interval>, Vec<PgInterval>>(
                requeues
                    .iter()
                    .map(|requeue| interval(requeue.pause))
                    .collect(),
            )
            .bind::<Array<Text>, Vec<String>>(
                requeues
                    .iter()
                    .map(|requeue| retry_data(requeue.reason, requeue.error.as_ref()))
                    .collect(),
            );
        let rows: Vec<RequeueRow> = self.database.rows(Access::Write, &statement).await?;
        let (mut held, mut freed) = (HashMap::new(), Vec::new());
        for RequeueRow {
            action_id,
            last_seq,
            cancel_requested,
            action_type,
            took_us,
            is_limited,
        } in rows
        {
            if let (Some(name), Some(took)) = (action_type, took_us) {
                self.metrics().attempted(&name, microseconds(took));
                self.metrics().appended(1);
                freed.push((name, is_limited));
            }
            let requeued = match last_seq {
                Some(last) => {
                    self.log_grew(action_id, last)?;
                    Requeued::Requeued
                }
                None => Requeued::MustFinish { cancel_requested },
            };
            held.insert(action_id, requeued);
        }
        self.hub.queue_grew();
        self.admit_of(&freed).await;
        let verdicts: Vec<Requeued> = requeues
            .iter()
            .map(|requeue| {
                held.get(&requeue.lease.action_id.as_uuid())
                    .copied()
                    .unwrap_or(Requeued::Lost)
            })
            .collect();
        for (requeue, verdict) in requeues.iter().zip(&verdicts) {
            match verdict {
                Requeued::Requeued => self.metrics().retried(requeue.reason),
                Requeued::MustFinish { .. } => {}
                Requeued::Lost => self.metrics().lost(1),
            }
        }
        Ok(verdicts)
    }

    async fn release(&self, leases: &[LeaseRef]) -> Result<Vec<Released>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let statement = Statement::new(include_str!("sql/release.sql"))
            .bind_leases(leases.iter())
            .bind::<Text, _>(retry_data(RetryReason::Released, None))
            .bind::<Text, _>(done_data(&Outcome::Cancelled));
        let rows: Vec<ReleaseRow> = self.database.rows(Access::Write, &statement).await?;
        let (mut released, mut freed) = (HashSet::new(), Vec::new());
        for ReleaseRow {
            action_id,
            last_seq,
            action_type,
            is_cancelled,
            is_limited,
        } in rows
        {
            let metrics = self.metrics();
            metrics.appended(1);
            match is_cancelled {
                true => metrics.finished(&action_type, Status::Cancelled),
                false => metrics.retried(RetryReason::Released),
            }
            self.log_grew(action_id, last_seq)?;
            released.insert(action_id);
            freed.push((action_type, is_limited));
        }
        self.hub.queue_grew();
        self.admit_of(&freed).await;
        Ok(leases
            .iter()
            .map(
                |lease| match released.contains(&lease.action_id.as_uuid()) {
                    true => Released::Released,
                    false => Released::Lost,
                },
            )
            .collect())
    }

    async fn rescue(&self, limit: usize) -> Result<Vec<Rescued>, StoreError> {
        let expired = ActionError::new("lease_expired", "Its performer fell silent.");
        let overrun = ActionError::attempt_timeout();
        let given_up = ActionError::time_limit();
        let statement = Statement::new(include_str!("sql/rescue.sql"))
            .bind::<Int4, _>(count(limit))
            .bind::<Text, _>(retry_data(RetryReason::LeaseExpired, None))
            .bind::<Text, _>(retry_data(RetryReason::AttemptTimeout, None))
            .bind::<Text, _>(expired.to_json())
            .bind::<Text, _>(done_data(&Outcome::Failed(expired)))
            .bind::<Text, _>(overrun.to_json())
            .bind::<Text, _>(done_data(&Outcome::Failed(overrun)))
            .bind::<Text, _>(given_up.to_json())
            .bind::<Text, _>(done_data(&Outcome::Failed(given_up)))
            .bind::<Text, _>(done_data(&Outcome::Cancelled));
        let rows: Vec<RescueRow> = self.database.rows(Access::Write, &statement).await?;
        let mut rescued = Vec::with_capacity(rows.len());
        let mut freed = Vec::new();
        for RescueRow {
            action_id,
            action_type,
            verdict,
            is_expired,
            is_limited,
            last_seq,
        } in rows
        {
            self.log_grew(action_id, last_seq)?;
            let verdict = match verdict.as_str() {
                "again" => RescueVerdict::Requeued,
                "cancelled" => RescueVerdict::Cancelled,
                _ => RescueVerdict::Failed,
            };
            let reason = match is_expired {
                true => RetryReason::LeaseExpired,
                false => RetryReason::AttemptTimeout,
            };
            let metrics = self.metrics();
            metrics.taken_over(reason);
            metrics.appended(1);
            match verdict {
                RescueVerdict::Requeued => metrics.retried(reason),
                RescueVerdict::Cancelled => metrics.finished(&action_type, Status::Cancelled),
                RescueVerdict::Failed => metrics.finished(&action_type, Status::Failed),
            }
            rescued.push(Rescued {
                action_id: ActionId::from_uuid(action_id),
                action_type: type_name(&action_type, action_id)?,
                verdict,
            });
            freed.push((action_type, is_limited));
        }
        if rescued
            .iter()
            .any(|one| one.verdict == RescueVerdict::Requeued)
        {
            self.hub.queue_grew();
        }
        self.admit_of(&freed).await;
        Ok(rescued)
    }

    async fn give_up(&self, limit: usize) -> Result<Vec<GivenUp>, StoreError> {
        let error = ActionError::time_limit();
        let statement = Statement::new(include_str!("sql/give_up.sql"))
            .bind::<Int4, _>(count(limit))
            .bind::<Text, _>(error.to_json())
            .bind::<Text, _>(done_data(&Outcome::Failed(error)));
        let rows: Vec<GivenUpRow> = self.database.rows(Access::Write, &statement).await?;
        let mut given_up = Vec::with_capacity(rows.len());
        for GivenUpRow {
            action_id,
            action_type,
            last_seq,
        } in rows
        {
            self.log_grew(action_id, last_seq)?;
            self.metrics().appended(1);
            self.metrics().finished(&action_type, Status::Failed);
            given_up.push(GivenUp {
                action_id: ActionId::from_uuid(action_id),
                action_type: type_name(&action_type, action_id)?,
            });
        }
        Ok(given_up)
    }

    async fn admit(&self) -> Result<usize, StoreError> {
        Ok(admit_all(&self.database, &self.hub).await?)
    }

    async fn promote(&self, limit: usize) -> Result<Promoted, StoreError> {
        let promoted = self.promote_due(limit).await?;
        let statement = Statement::new(include_str!("sql/next_due.sql"));
        let next = self
            .database
            .row::<DueRow>(Access::Read, &statement)
            .await?;
        Ok(Promoted {
            count: promoted,
            next_due_in: next
                .map(|row| Duration::from_millis(u64::try_from(row.due_in_ms).unwrap_or(0))),
        })
    }
}

impl PgLeases {
    /// Lets in what there is room for now, where actions of these types have left or come, and they have a limit.
    async fn admit_of(&self, moved: &[(String, bool)]) {
        let limited = moved.iter().filter(|(_, is_limited)| *is_limited);
        admit_each(
            &self.database,
            &self.hub,
            limited.map(|(name, _)| name.as_str()),
        )
        .await;
    }

    /// Queues what is due, each in its user's turn; answers how many.
    async fn promote_due(&self, limit: usize) -> Result<usize, StoreError> {
        let statement = Statement::new(include_str!("sql/due.sql")).bind::<Int4, _>(count(limit));
        let due: Vec<DueActionRow> = self.database.rows(Access::Read, &statement).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let now = Instant::now();
        let turns = &self.database.lanes().turns;
        let mut tickets = Vec::with_capacity(due.len());
        for row in &due {
            let lane = Lane::from_row(&row.action_type, row.priority, row.action_id)?;
            tickets.push(turns.take(lane, UserId::from_uuid(row.user_id), now));
        }
        let places: Vec<Place> = tickets.iter().map(Ticket::place).collect();
        let statement = Statement::new(include_str!("sql/promote.sql"))
            .bind::<Array<SqlUuid>, Vec<Uuid>>(due.iter().map(|row| row.action_id).collect())
            .bind_places(&places);
        let rows: Vec<PromotedRow> = self.database.rows(Access::Write, &statement).await?;
        let promoted: HashMap<Uuid, &PromotedRow> =
            rows.iter().map(|row| (row.action_id, row)).collect();
        for (row, ticket) in due.iter().zip(tickets) {
            if let Some(PromotedRow { rank, seen, .. }) = promoted.get(&row.action_id) {
                ticket.settle(Answer {
                    rank: *rank,
                    seen: *seen,
                });
            }
        }
        if !rows.is_empty() {
            self.hub.queue_grew();
        }
        let moved: Vec<(String, bool)> = rows
            .into_iter()
            .map(|row| (row.action_type, row.is_limited))
            .collect();
        self.admit_of(&moved).await;
        Ok(moved.len())
    }
}

impl<'a> Statement<'a> {
    /// Gives the next two parameters: actions and leases.
    fn bind_leases<'l>(self, leases: impl Iterator<Item = &'l LeaseRef>) -> Self {
        let (actions, grants): (Vec<Uuid>, Vec<Uuid>) = leases
            .map(|lease| (lease.action_id.as_uuid(), lease.lease_id.as_uuid()))
            .unzip();
        self.bind::<Array<SqlUuid>, _>(actions)
            .bind::<Array<SqlUuid>, _>(grants)
    }

    /// Gives the next four parameters: actions, offsets, names and data of events.
    fn bind_events<'e: 'a>(self, events: impl Iterator<Item = (Uuid, i32, &'e NewEvent)>) -> Self {
        let (mut actions, mut offsets, mut names, mut data) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (action, offset, event) in events {
            actions.push(action);
            offsets.push(offset);
            names.push(event.name.as_str());
            data.push(event.data.as_str());
        }
        self.bind::<Array<SqlUuid>, _>(actions)
            .bind::<Array<Int4>, _>(offsets)
            .bind::<Array<Text>, Vec<&'e str>>(names)
            .bind::<Array<Text>, Vec<&'e str>>(data)
    }
}

fn numbered<'e>(
    lease: LeaseRef,
    events: impl Iterator<Item = &'e NewEvent>,
) -> impl Iterator<Item = (Uuid, i32, &'e NewEvent)> {
    (0..)
        .zip(events)
        .map(move |(offset, event)| (lease.action_id.as_uuid(), offset, event))
}

fn output(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Succeeded(output) => Some(output.as_str()),
        Outcome::Failed(_) | Outcome::Cancelled => None,
    }
}

fn error(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(error) => Some(error.to_json()),
        Outcome::Succeeded(_) | Outcome::Cancelled => None,
    }
}

fn retry_data(reason: RetryReason, error: Option<&ActionError>) -> String {
    NewEvent::retry(reason, error).data.as_str().to_owned()
}

fn done_data(outcome: &Outcome) -> String {
    NewEvent::done(outcome).data.as_str().to_owned()
}

/// A time that the database has measured; its clock may have been set back meanwhile.
fn microseconds(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or(0))
}

/// A length that is kept in milliseconds; none is negative.
fn milliseconds(count: i64) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

fn interval(duration: Duration) -> PgInterval {
    PgInterval::from_microseconds(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_is_still_an_interval() {
        assert_eq!(
            interval(Duration::from_millis(1_500)).microseconds,
            1_500_000
        );
        assert_eq!(interval(Duration::MAX).microseconds, i64::MAX);
    }
}
