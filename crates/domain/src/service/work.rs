use std::sync::Arc;

use crate::action::state::{Recorded, RetryReason};
use crate::action::{
    ActionError, Attempts, Cancel, Command, Grant, LeaseRef, NewEvent, Outcome, Payload,
    RetryPolicy, Sequence, State,
};
use crate::error::StoreError;
use crate::ports::{
    Append, Appended, Failure, Finish, Finished, Ids, Leases, Released, Requeue, Requeued,
};
use crate::scope::TypeReach;

/// Settles attempts: decides by the state machine what follows, and records it.
#[derive(Clone)]
pub struct Work {
    leases: Arc<dyn Leases>,
    ids: Arc<dyn Ids>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With an output.
    Completed(Payload),
    /// With a failure.
    Failed(Failure),
    /// It took longer than its type allows.
    TimedOut,
    /// The action took longer altogether than its type allows.
    OutOfTime,
    /// It stopped because the action was cancelled.
    Cancelled,
    /// It was given up unharmed: the server stops.
    Abandoned,
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Which lease it ran under.
    pub lease: LeaseRef,
    /// Which attempt it was, of how many.
    pub attempts: Attempts,
    /// Whether somebody had asked to cancel it, as far as is known.
    pub cancel: Cancel,
    /// The type's retry policy.
    pub retry: RetryPolicy,
    /// Where the log goes on.
    pub next_seq: Sequence,
    /// What was emitted and is not stored yet.
    pub unsent: Vec<NewEvent>,
    /// What was left for the next attempt and is not stored yet.
    pub checkpoint: Option<Payload>,
    /// How it ended.
    pub ended: Ended,
}

impl Attempt {
    /// The attempt that `grant` allowed, before anything was stored of it.
    #[must_use]
    pub fn of(grant: &Grant, retry: RetryPolicy, ended: Ended) -> Self {
        Self {
            lease: grant.lease.id,
            attempts: Attempts {
                used: grant.attempt,
                max: grant.max_attempts,
            },
            cancel: Cancel::NotAsked,
            retry,
            next_seq: grant.lease.next_seq,
            unsent: Vec::new(),
            checkpoint: None,
            ended,
        }
    }
}

/// What became of the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is over, so.
    Over(crate::action::Status),
    /// Another attempt will follow.
    Again,
    /// The lease was lost: somebody else performs it, or has.
    Lost,
}

impl Work {
    /// The use case over these ports.
    #[must_use]
    pub fn new(leases: Arc<dyn Leases>, ids: Arc<dyn Ids>) -> Self {
        Self { leases, ids }
    }

    /// Records how an attempt ended. May be repeated after a fault: nothing is written twice.
    ///
    /// # Errors
    /// [`StoreError`]; then the attempt is not settled, and this is to be called again.
    pub async fn settle(&self, attempt: &Attempt) -> Result<Settled, StoreError> {
        let state = State::Running(attempt.attempts, attempt.cancel);
        let Ok(transition) = state.apply(command(&attempt.ended)) else {
            return Ok(Settled::Lost);
        };
        match transition.recorded {
            Recorded::Retry(RetryReason::Released) => self.release(attempt).await,
            Recorded::Retry(reason) => self.requeue(attempt, reason).await,
            Recorded::Done | Recorded::Nothing | Recorded::Started | Recorded::Reported => {
                self.finish(attempt, outcome(transition.next, &attempt.ended))
                    .await
            }
        }
    }

    async fn finish(&self, attempt: &Attempt, outcome: Outcome) -> Result<Settled, StoreError> {
        let status = outcome.status();
        let finish = Finish {
            lease: attempt.lease,
            from_seq: Some(attempt.next_seq),
            events: attempt.unsent.clone(),
            outcome,
        };
        let verdicts = self.leases.finish(&[finish]).await?;
        match verdicts.first() {
            Some(Finished::Finished(_) | Finished::Repeated) => Ok(Settled::Over(status)),
            Some(Finished::Lost) | None => Ok(Settled::Lost),
        }
    }

    async fn requeue(&self, attempt: &Attempt, reason: RetryReason) -> Result<Settled, StoreError> {
        let Some(next_seq) = self.flush(attempt).await? else {
            return Ok(Settled::Lost);
        };
        let (error, asked) = match &attempt.ended {
            Ended::Failed(failure) => (Some(failure.error.clone()), failure.retry_after),
            Ended::TimedOut => (Some(ActionError::attempt_timeout()), None),
            Ended::Completed(_) | Ended::OutOfTime | Ended::Cancelled | Ended::Abandoned => {
                (None, None)
            }
        };
        let random = self.random();
        let requeue = Requeue {
            lease: attempt.lease,
            pause: asked
                .unwrap_or_else(|| attempt.retry.pause(attempt.attempts.used, random))
                .min(RetryPolicy::MAX_LIMIT),
            reason,
            error,
        };
        let verdicts = self.leases.requeue(&[requeue]).await?;
        match verdicts.first() {
            Some(Requeued::Requeued) => Ok(Settled::Again),
            Some(Requeued::MustFinish { cancel_requested }) => {
                // There is no time for another attempt, or somebody asked to cancel it after the last that was heard.
                let outcome = if *cancel_requested {
                    Outcome::Cancelled
                } else {
                    outcome(State::Failed, &attempt.ended)
                };
                let flushed = Attempt {
                    next_seq,
                    unsent: Vec::new(),
                    checkpoint: None,
                    ..attempt.clone()
                };
                self.finish(&flushed, outcome).await
            }
            Some(Requeued::Lost) | None => Ok(Settled::Lost),
        }
    }

    async fn release(&self, attempt: &Attempt) -> Result<Settled, StoreError> {
        if self.flush(attempt).await?.is_none() {
            return Ok(Settled::Lost);
        }
        let verdicts = self.leases.release(&[attempt.lease]).await?;
        match verdicts.first() {
            Some(Released::Released) => Ok(Settled::Again),
            Some(Released::Lost) | None => Ok(Settled::Lost),
        }
    }

    /// Stores what was emitted; answers where the log goes on, `None` when the lease is lost.
    async fn flush(&self, attempt: &Attempt) -> Result<Option<Sequence>, StoreError> {
        if attempt.unsent.is_empty() && attempt.checkpoint.is_none() {
            return Ok(Some(attempt.next_seq));
        }
        let append = Append {
            lease: attempt.lease,
            from_seq: attempt.next_seq,
            events: attempt.unsent.clone(),
            checkpoint: attempt.checkpoint.clone(),
        };
        let verdicts = self.leases.append(&[append], &TypeReach::All).await?;
        match verdicts.first() {
            Some(Appended::Written { next_seq, .. }) => Ok(Some(*next_seq)),
            Some(Appended::OutOfOrder { .. } | Appended::Lost) | None => Ok(None),
        }
    }

    fn random(&self) -> u32 {
        let [a, b, c, d, ..] = self.ids.random_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

fn command(ended: &Ended) -> Command {
    match ended {
        Ended::Completed(_) => Command::Complete,
        Ended::Failed(failure) if failure.is_retryable => Command::FailRetryable,
        Ended::Failed(_) => Command::FailForGood,
        Ended::TimedOut => Command::OverrunDeadline,
        Ended::OutOfTime => Command::GiveUp,
        Ended::Cancelled => Command::StopCancelled,
        Ended::Abandoned => Command::Release,
    }
}

/// The outcome that belongs to the state which the state machine gave.
fn outcome(next: State, ended: &Ended) -> Outcome {
    match (next, ended) {
        (State::Succeeded, Ended::Completed(output)) => Outcome::Succeeded(output.clone()),
        (State::Failed, Ended::Failed(failure)) => Outcome::Failed(failure.error.clone()),
        (State::Failed, Ended::OutOfTime) => Outcome::Failed(ActionError::time_limit()),
        (State::Failed, _) => Outcome::Failed(ActionError::attempt_timeout()),
        _ => Outcome::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Status;
    use crate::id::{ActionId, LeaseId};
    use crate::ports::{MockIds, MockLeases};
    use std::time::Duration;
    use uuid::Uuid;

    fn attempt(used: u16, cancel: Cancel, ended: Ended) -> Attempt {
        Attempt {
            lease: LeaseRef {
                action_id: ActionId::from_uuid(Uuid::from_u128(1)),
                lease_id: LeaseId::from_uuid(Uuid::from_u128(2)),
            },
            attempts: Attempts { used, max: 3 },
            cancel,
            retry: RetryPolicy::default(),
            next_seq: Sequence::new(3).unwrap(),
            unsent: vec![NewEvent::message(Payload::empty_object())],
            checkpoint: None,
            ended,
        }
    }

    fn work(leases: MockLeases) -> Work {
        let mut ids = MockIds::new();
        ids.expect_random_bytes().returning(|| [255; 64]);
        Work::new(Arc::new(leases), Arc::new(ids))
    }

    fn finishing(outcome: Outcome, answer: Finished) -> MockLeases {
        let mut leases = MockLeases::new();
        leases
            .expect_finish()
            .withf(move |finishes| finishes.len() == 1 && finishes[0].outcome == outcome)
            .returning(move |_| Ok(vec![answer]));
        leases
    }

    fn flushing(mut leases: MockLeases) -> MockLeases {
        leases.expect_append().returning(|appends, _| {
            Ok(appends
                .iter()
                .map(|append| Appended::Written {
                    next_seq: append.from_seq.plus(append.events.len()),
                    cancel_requested: false,
                })
                .collect())
        });
        leases
    }

    fn boom(is_retryable: bool) -> Ended {
        Ended::Failed(Failure {
            is_retryable,
            ..Failure::permanent("boom", "It broke.")
        })
    }

    const DONE: Finished = Finished::Finished(Sequence::FIRST);

    #[tokio::test]
    async fn an_output_ends_the_action_even_when_a_cancel_came_too_late() {
        let output = Payload::parse("[1]").unwrap();
        for cancel in [Cancel::NotAsked, Cancel::Asked] {
            let leases = finishing(Outcome::Succeeded(output.clone()), DONE);
            let settled = work(leases)
                .settle(&attempt(1, cancel, Ended::Completed(output.clone())))
                .await;
            assert_eq!(settled, Ok(Settled::Over(Status::Succeeded)));
        }
    }

    #[tokio::test]
    async fn the_last_events_go_with_the_end() {
        let mut leases = MockLeases::new();
        leases
            .expect_finish()
            .withf(|finishes| {
                finishes[0].events.len() == 1 && finishes[0].from_seq == Sequence::new(3)
            })
            .returning(|_| Ok(vec![DONE]));
        let settled = work(leases)
            .settle(&attempt(1, Cancel::NotAsked, boom(false)))
            .await;
        assert_eq!(settled, Ok(Settled::Over(Status::Failed)));
    }

    #[tokio::test]
    async fn a_failure_that_may_pass_is_tried_again_after_the_pause() {
        let mut leases = flushing(MockLeases::new());
        leases
            .expect_requeue()
            .withf(|requeues| {
                requeues[0].pause == Duration::from_secs(2)
                    && requeues[0].reason == RetryReason::Failed
            })
            .returning(|_| Ok(vec![Requeued::Requeued]));
        let settled = work(leases)
            .settle(&attempt(2, Cancel::NotAsked, boom(true)))
            .await;
        assert_eq!(settled, Ok(Settled::Again));
    }

    #[tokio::test]
    async fn a_failure_can_name_its_pause() {
        let mut leases = flushing(MockLeases::new());
        leases
            .expect_requeue()
            .withf(|requeues| requeues[0].pause == Duration::ZERO)
            .returning(|_| Ok(vec![Requeued::Requeued]));
        let ended = Ended::Failed(Failure::retryable("a", "b").after(Duration::ZERO));
        let settled = work(leases)
            .settle(&attempt(2, Cancel::NotAsked, ended))
            .await;
        assert_eq!(settled, Ok(Settled::Again));
    }

    #[tokio::test]
    async fn no_pause_is_longer_than_a_day() {
        let mut leases = flushing(MockLeases::new());
        leases
            .expect_requeue()
            .withf(|requeues| requeues[0].pause == RetryPolicy::MAX_LIMIT)
            .returning(|_| Ok(vec![Requeued::Requeued]));
        let ended = Ended::Failed(Failure::retryable("a", "b").after(Duration::MAX));
        let settled = work(leases)
            .settle(&attempt(2, Cancel::NotAsked, ended))
            .await;
        assert_eq!(settled, Ok(Settled::Again));
    }

    #[tokio::test]
    async fn the_last_attempt_fails_with_its_own_error() {
        let leases = finishing(Outcome::Failed(ActionError::new("boom", "It broke.")), DONE);
        let settled = work(leases)
            .settle(&attempt(3, Cancel::NotAsked, boom(true)))
            .await;
        assert_eq!(settled, Ok(Settled::Over(Status::Failed)));
        let leases = finishing(Outcome::Failed(ActionError::attempt_timeout()), DONE);
        let settled = work(leases)
            .settle(&attempt(3, Cancel::NotAsked, Ended::TimedOut))
            .await;
        assert_eq!(settled, Ok(Settled::Over(Status::Failed)));
    }

    #[tokio::test]
    async fn an_action_without_time_is_not_tried_again() {
        let leases = finishing(Outcome::Failed(ActionError::time_limit()), DONE);
        let settled = work(leases)
            .settle(&attempt(1, Cancel::NotAsked, Ended::OutOfTime))
            .await;
        assert_eq!(settled, Ok(Settled::Over(Status::Failed)));
    }

    #[tokio::test]
    async fn a_failure_that_leaves_no_time_for_another_attempt_is_the_last() {
        for (ended, error) in [
            (boom(true), ActionError::new("boom", "It broke.")),
            (Ended::TimedOut, ActionError::attempt_timeout()),
        ] {
            let mut leases = flushing(finishing(Outcome::Failed(error), DONE));
            leases.expect_requeue().returning(|_| {
                Ok(vec![Requeued::MustFinish {
                    cancel_requested: false,
                }])
            });
            let settled = work(leases)
                .settle(&attempt(1, Cancel::NotAsked, ended))
                .await;
            assert_eq!(settled, Ok(Settled::Over(Status::Failed)));
        }
    }

    #[tokio::test]
    async fn a_checkpoint_is_stored_before_the_action_goes_back() {
        for ended in [boom(true), Ended::Abandoned] {
            let mut leases = MockLeases::new();
            leases
                .expect_append()
                .times(1)
                .withf(|appends, _| {
                    appends[0].events.is_empty()
                        && appends[0].checkpoint == Some(Payload::empty_object())
                })
                .returning(|_, _| {
                    Ok(vec![Appended::Written {
                        next_seq: Sequence::FIRST,
                        cancel_requested: false,
                    }])
                });
            leases
                .expect_requeue()
                .returning(|_| Ok(vec![Requeued::Requeued]));
            leases
                .expect_release()
                .returning(|_| Ok(vec![Released::Released]));
            let left = Attempt {
                unsent: Vec::new(),
                checkpoint: Some(Payload::empty_object()),
                ..attempt(1, Cancel::NotAsked, ended)
            };
            assert_eq!(work(leases).settle(&left).await, Ok(Settled::Again));
        }
    }

    #[tokio::test]
    async fn a_cancelled_action_is_not_tried_again() {
        for ended in [
            boom(true),
            Ended::TimedOut,
            Ended::OutOfTime,
            Ended::Cancelled,
            Ended::Abandoned,
        ] {
            let leases = finishing(Outcome::Cancelled, DONE);
            let settled = work(leases).settle(&attempt(1, Cancel::Asked, ended)).await;
            assert_eq!(settled, Ok(Settled::Over(Status::Cancelled)));
        }
    }

    #[tokio::test]
    async fn a_cancel_that_nobody_had_heard_of_is_honoured() {
        let mut leases = flushing(finishing(Outcome::Cancelled, DONE));
        leases.expect_requeue().returning(|_| {
            Ok(vec![Requeued::MustFinish {
                cancel_requested: true,
            }])
        });
        let settled = work(leases)
            .settle(&attempt(1, Cancel::NotAsked, boom(true)))
            .await;
        assert_eq!(settled, Ok(Settled::Over(Status::Cancelled)));
    }

    #[tokio::test]
    async fn an_abandoned_attempt_is_given_back() {
        let mut leases = flushing(MockLeases::new());
        leases
            .expect_release()
            .returning(|_| Ok(vec![Released::Released]));
        let settled = work(leases)
            .settle(&attempt(1, Cancel::NotAsked, Ended::Abandoned))
            .await;
        assert_eq!(settled, Ok(Settled::Again));
    }

    #[tokio::test]
    async fn a_lost_lease_writes_nothing_more() {
        let mut leases = MockLeases::new();
        leases
            .expect_append()
            .returning(|_, _| Ok(vec![Appended::Lost]));
        leases.expect_requeue().never();
        let settled = work(leases)
            .settle(&attempt(1, Cancel::NotAsked, boom(true)))
            .await;
        assert_eq!(settled, Ok(Settled::Lost));
    }

    #[tokio::test]
    async fn a_repeated_end_is_the_same_end() {
        let leases = finishing(Outcome::Cancelled, Finished::Repeated);
        let settled = work(leases)
            .settle(&attempt(1, Cancel::Asked, Ended::Cancelled))
            .await;
        assert_eq!(settled, Ok(Settled::Over(Status::Cancelled)));
    }
}
