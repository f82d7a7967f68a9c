//! Submitting and cancelling actions.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::action::{NewAction, NewEvent, Outcome, Payload, Sequence, Status};
use deed_domain::caller::Reach;
use deed_domain::error::StoreError;
use deed_domain::id::{ActionId, ApiKeyId, UserId};
use deed_domain::idempotency::Idempotency;
use deed_domain::ports::{BatchSubmitted, CancelVerdict, Submissions, Submitted};
use diesel::QueryableByName;
use diesel::sql_types::{
    Array, Binary, Bool, Int2, Int4, Int8, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::action_row::{like_patterns, sequence};
use super::admission::admit_each;
use super::error::DbError;
use super::idempotency::{Before, look_up};
use super::lanes::{Answer, Lane, Place, Ticket};
use super::pool::{Access, Database};
use super::statement::Statement;
use super::wakeups::WakeupHub;

/// How often a request is tried whose idempotency key was taken and then free again.
const SUBMIT_TRIES: u32 = 5;
/// How often a cancel looks for an action that moves between queue and lease.
const CANCEL_TRIES: u32 = 20;

/// The submitter's side of the actions in PostgreSQL.
pub struct PgSubmissions {
    database: Database,
    hub: WakeupHub,
}

impl PgSubmissions {
    /// Submissions to `database`.
    #[must_use]
    pub fn new(database: Database, hub: WakeupHub) -> Self {
        Self { database, hub }
    }

    /// Counts what was accepted, and wakes whom it concerns.
    fn tell_of(&self, actions: &[NewAction]) {
        let metrics = &self.database.metrics().actions;
        for action in actions {
            metrics.submitted(action.action_type.as_str());
            self.hub.log_grew(action.id, Sequence::FIRST);
        }
        self.hub.queue_grew();
    }
}

#[derive(QueryableByName)]
struct SubmittedRow {
    #[diesel(sql_type = Bool)]
    is_new: bool,
    #[diesel(sql_type = Bool)]
    is_known: bool,
    /// Of a new one that waits already.
    #[diesel(sql_type = Nullable<Int8>)]
    rank: Option<i64>,
    /// Where the head of its lane was seen.
    #[diesel(sql_type = Nullable<Int8>)]
    seen: Option<i64>,
    #[diesel(sql_type = Bool)]
    is_limited: bool,
    /// Of a request with which too many would wait.
    #[diesel(sql_type = Bool)]
    is_crowded: bool,
}

#[derive(QueryableByName)]
struct CancelRow {
    /// The action's type, if it exists and is in reach.
    #[diesel(sql_type = Nullable<Text>, column_name = "type")]
    action_type: Option<String>,
    #[diesel(sql_type = Bool)]
    is_limited: bool,
    #[diesel(sql_type = Nullable<Int4>)]
    last_seq: Option<i32>,
    #[diesel(sql_type = Bool)]
    is_asked: bool,
    #[diesel(sql_type = Bool)]
    is_over: bool,
}

#[async_trait]
impl Submissions for PgSubmissions {
    async fn submit(
        &self,
        action: NewAction,
        idempotency: Option<Idempotency>,
    ) -> Result<Submitted, StoreError> {
        let submitted = self.submit_batch(&[action], idempotency).await?;
        Ok(match submitted {
            BatchSubmitted::New => Submitted::New,
            BatchSubmitted::Replayed(ids) => match ids.first() {
                Some(id) => Submitted::Replayed(*id),
                None => Submitted::KeyReused,
            },
            BatchSubmitted::KeyReused => Submitted::KeyReused,
            BatchSubmitted::InFlight => Submitted::InFlight,
            BatchSubmitted::UnknownTypes(_) => Submitted::UnknownType,
            BatchSubmitted::TooManyQueued => Submitted::TooManyQueued,
        })
    }

    async fn submit_batch(
        &self,
        actions: &[NewAction],
        idempotency: Option<Idempotency>,
    ) -> Result<BatchSubmitted, StoreError> {
        let now = Instant::now();
        let turns = &self.database.lanes().turns;
        let tickets: Vec<Ticket<'_>> = actions
            .iter()
            .map(|action| turns.take(Lane::from(action), action.user_id, now))
            .collect();
        let places: Vec<Place> = tickets.iter().map(Ticket::place).collect();
        let statement = submit_statement(&[(actions, idempotency.as_ref())], &places);
        for _ in 0..SUBMIT_TRIES {
            let rows = match self
                .database
                .rows::<SubmittedRow>(Access::Write, &statement)
                .await
            {
                Err(DbError::Locked(_)) if idempotency.is_some() => {
                    return Ok(BatchSubmitted::InFlight);
                }
                other => other?,
            };
            if rows.iter().all(|row| row.is_new) {
                self.tell_of(actions);
                for (ticket, row) in tickets.into_iter().zip(&rows) {
                    if let Some(rank) = row.rank {
                        ticket.settle(Answer {
                            rank,
                            seen: row.seen,
                        });
                    }
                }
                let limited = actions.iter().zip(&rows).filter(|(_, row)| row.is_limited);
                let limited = limited.map(|(action, _)| action.action_type.as_str());
                admit_each(&self.database, &self.hub, limited).await;
                return Ok(BatchSubmitted::New);
            }
            let unknown: Vec<usize> = (0..)
                .zip(&rows)
                .filter(|(_, row)| !row.is_known)
                .map(|(place, _)| place)
                .collect();
            let is_crowded = rows.iter().any(|row| row.is_crowded);
            let may_pass = unknown.is_empty() && !is_crowded;
            let refused = if unknown.is_empty() && is_crowded {
                BatchSubmitted::TooManyQueued
            } else {
                BatchSubmitted::UnknownTypes(unknown)
            };
            let Some(idempotency) = &idempotency else {
                return Ok(refused);
            };
            match look_up(&self.database, idempotency).await? {
                Before::Made { id, batch } => {
                    let ids = batch.unwrap_or_else(|| vec![id]);
                    let ids = ids.into_iter().map(ActionId::from_uuid);
                    return Ok(BatchSubmitted::Replayed(ids.collect()));
                }
                Before::OtherRequest => return Ok(BatchSubmitted::KeyReused),
                Before::Nothing if may_pass => {}
                Before::Nothing => return Ok(refused),
            }
        }
        Ok(BatchSubmitted::InFlight)
    }

    async fn cancel(&self, id: ActionId, reach: &Reach) -> Result<CancelVerdict, StoreError> {
        let Reach { owner, types } = reach;
        let statement = Statement::new(include_str!("sql/cancel.sql"))
            .bind::<SqlUuid, _>(id.as_uuid())
            .bind::<Nullable<SqlUuid>, _>(owner.map(UserId::as_uuid))
            .bind::<Nullable<Array<Text>>, _>(like_patterns(types))
            .bind::<Text, String>(NewEvent::done(&Outcome::Cancelled).data.as_str().to_owned());
        for _ in 0..CANCEL_TRIES {
            let Some(row) = self
                .database
                .row::<CancelRow>(Access::Write, &statement)
                .await?
            else {
                break;
            };
            let CancelRow {
                action_type,
                is_limited,
                last_seq,
                is_asked,
                is_over,
            } = row;
            let Some(action_type) = action_type else {
                return Ok(CancelVerdict::NotFound);
            };
            if let Some(last) = last_seq {
                let metrics = &self.database.metrics().actions;
                metrics.finished(&action_type, Status::Cancelled);
                metrics.appended(1);
                self.hub.log_grew(id, sequence(last, "seq", id.as_uuid())?);
                let limited = is_limited.then_some(action_type.as_str());
                admit_each(&self.database, &self.hub, limited).await;
                return Ok(CancelVerdict::Cancelled);
            }
            if is_asked {
                self.hub.cancel_asked(id);
                return Ok(CancelVerdict::Asked);
            }
            if is_over {
                return Ok(CancelVerdict::Over);
            }
        }
        Err(DbError::Contention("the action kept moving".to_owned()).into())
    }
}

/// A request: its actions, and what makes it repeatable.
type Asked<'a> = (&'a [NewAction], Option<&'a Idempotency>);

/// An action, with the first one of its request, and what makes that request repeatable if it is the first itself.
#[derive(Clone, Copy)]
struct Row<'a> {
    action: &'a NewAction,
    first: ActionId,
    idempotency: Option<&'a Idempotency>,
}

/// The statement for these requests, with the places of all their actions in one row.
fn submit_statement<'a>(requests: &[Asked<'a>], places: &[Place]) -> Statement<'a> {
    let rows: Vec<Row<'a>> = requests
        .iter()
        .flat_map(|(actions, idempotency)| {
            let first = actions.first().map(|action| action.id);
            actions.iter().map(move |action| Row {
                action,
                first: first.unwrap_or(action.id),
                idempotency: idempotency.filter(|_| Some(action.id) == first),
            })
        })
        .collect();
    fn column<'a, T>(rows: &[Row<'a>], value: impl Fn(&'a NewAction) -> T) -> Vec<T> {
        rows.iter().map(|row| value(row.action)).collect()
    }
    fn key<'a, T>(rows: &[Row<'a>], value: impl Fn(&'a Idempotency) -> T) -> Vec<Option<T>> {
        rows.iter().map(|row| row.idempotency.map(&value)).collect()
    }
    Statement::new(include_str!("sql/submit.sql"))
        .bind::<Array<SqlUuid>, Vec<Uuid>>(column(&rows, |action| action.id.as_uuid()))
        .bind::<Array<SqlUuid>, Vec<Uuid>>(column(&rows, |action| action.user_id.as_uuid()))
        .bind::<Array<Nullable<SqlUuid>>, Vec<Option<Uuid>>>(column(&rows, |action| {
            action.api_key_id.map(ApiKeyId::as_uuid)
        }))
        .bind::<Array<Nullable<SqlUuid>>, Vec<Option<Uuid>>>(column(&rows, |action| {
            action.retry_of.map(ActionId::as_uuid)
        }))
        .bind::<Array<Text>, Vec<&str>>(column(&rows, |action| action.action_type.as_str()))
        .bind::<Array<Int2>, Vec<i16>>(column(&rows, |action| i16::from(action.priority.get())))
        .bind::<Array<Int2>, Vec<i16>>(column(&rows, |action| {
            i16::try_from(action.max_attempts).unwrap_or(i16::MAX)
        }))
        .bind::<Array<Nullable<Timestamptz>>, Vec<Option<DateTime<Utc>>>>(column(&rows, |action| {
            action.run_at
        }))
        .bind::<Array<Text>, Vec<&str>>(column(&rows, |action| Payload::as_str(&action.input)))
        .bind::<Array<Nullable<Binary>>, Vec<Option<Vec<u8>>>>(key(&rows, |asked| {
            asked.scope.as_bytes().to_vec()
        }))
        .bind::<Array<Nullable<Text>>, Vec<Option<&str>>>(key(&rows, |asked| asked.key.as_str()))
        .bind::<Array<Nullable<Binary>>, Vec<Option<Vec<u8>>>>(key(&rows, |asked| {
            asked.request_hash.to_vec()
        }))
        .bind::<Array<Nullable<Text>>, Vec<Option<String>>>(column(&rows, |action| {
            action.traceparent.map(|parent| parent.to_string())
        }))
        .bind::<Array<SqlUuid>, Vec<Uuid>>(rows.iter().map(|row| row.first.as_uuid()).collect())
        .bind_places(places)
        .bind::<Array<Nullable<Int4>>, Vec<Option<i32>>>(column(&rows, |action| {
            let most = action.max_queued.filter(|_| action.api_key_id.is_some());
            most.map(|most| i32::try_from(most.get()).unwrap_or(i32::MAX))
        }))
}
