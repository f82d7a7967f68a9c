use std::collections::HashSet;
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
        let settled = self.settle_all(std::slice::from_ref(attempt)).await?;
        Ok(settled.first().copied().unwrap_or(Settled::Lost))
    }

    /// The same for several, no two of one action: answers each, in the order given.
    ///
    /// # Errors
    /// [`StoreError`]; then some may not be settled, and this is to be called again.
    pub async fn settle_all(&self, attempts: &[Attempt]) -> Result<Vec<Settled>, StoreError> {
        let mut rest = Rest::of(attempts);
        self.flush(&mut rest).await?;
        self.requeue(&mut rest).await?;
        self.release(&mut rest).await?;
        self.finish(&mut rest).await?;
        Ok(rest.settled)
    }

    async fn finish(&self, rest: &mut Rest<'_>) -> Result<(), StoreError> {
        let finishes: Vec<Finish> = rest
            .to_finish
            .iter()
            .map(|(one, outcome)| Finish {
                lease: one.attempt.lease,
                // Without events of its own it ends wherever the log does.
                from_seq: (!one.unsent.is_empty()).then_some(one.next_seq),
                events: one.unsent.to_vec(),
                outcome: outcome.clone(),
            })
            .collect();
        if finishes.is_empty() {
            return Ok(());
        }
        let verdicts = self.leases.finish(&finishes).await?;
        for ((one, outcome), verdict) in std::mem::take(&mut rest.to_finish).iter().zip(verdicts) {
            let settled = match verdict {
                Finished::Finished(_) | Finished::Repeated => Settled::Over(outcome.status()),
                Finished::Lost => Settled::Lost,
            };
            rest.settle(one.place, settled);
        }
        Ok(())
    }

    async fn requeue(&self, rest: &mut Rest<'_>) -> Result<(), StoreError> {
        let requeues: Vec<Requeue> = rest
            .to_requeue
            .iter()
            .map(|(one, reason)| {
                let (error, asked) = match &one.attempt.ended {
                    Ended::Failed(failure) => (Some(failure.error.clone()), failure.retry_after),
                    Ended::TimedOut => (Some(ActionError::attempt_timeout()), None),
                    Ended::Completed(_)
                    | Ended::OutOfTime
                    | Ended::Cancelled
                    | Ended::Abandoned => (None, None),
                };
                let (retry, used) = (one.attempt.retry, one.attempt.attempts.used);
                Requeue {
                    lease: one.attempt.lease,
                    pause: asked
                        .unwrap_or_else(|| retry.pause(used, self.random()))
                        .min(RetryPolicy::MAX_LIMIT),
                    reason: *reason,
                    error,
                }
            })
            .collect();
        if requeues.is_empty() {
            return Ok(());
        }
        let verdicts = self.leases.requeue(&requeues).await?;
        for ((one, _), verdict) in std::mem::take(&mut rest.to_requeue)
            .into_iter()
            .zip(verdicts)
        {
            match verdict {
                Requeued::Requeued => rest.settle(one.place, Settled::Again),
                Requeued::MustFinish { cancel_requested } => {
                    // There is no time for another attempt, or somebody asked to cancel it after the last that was
                    // heard.
                    let outcome = if cancel_requested {
                        Outcome::Cancelled
                    } else {
                        outcome(State::Failed, &one.attempt.ended)
                    };
                    rest.to_finish.push((one, outcome));
                }
                Requeued::Lost => {}
            }
        }
        Ok(())
    }

    async fn release(&self, rest: &mut Rest<'_>) -> Result<(), StoreError> {
        let leases: Vec<LeaseRef> = rest
            .to_release
            .iter()
            .map(|one| one.attempt.lease)
            .collect();
        if leases.is_empty() {
            return Ok(());
        }
        let verdicts = self.leases.release(&leases).await?;
        for (one, verdict) in std::mem::take(&mut rest.to_release).iter().zip(verdicts) {
            if verdict == Released::Released {
                rest.settle(one.place, Settled::Again);
            }
        }
        Ok(())
    }

    /// Stores what was emitted by those that go back to the queue. The others take it along with their end; whose
    /// lease is lost is settled.
    async fn flush(&self, rest: &mut Rest<'_>) -> Result<(), StoreError> {
        let unflushed = rest.to_requeue.iter().map(|(one, _)| one);
        let appends: Vec<Append> = unflushed
            .chain(&rest.to_release)
            .filter(|one| one.has_something())
            .map(|one| Append {
                lease: one.attempt.lease,
                from_seq: one.next_seq,
                events: one.unsent.to_vec(),
                checkpoint: one.attempt.checkpoint.clone(),
            })
            .collect();
        if appends.is_empty() {
            return Ok(());
        }
        let verdicts = self.leases.append(&appends, &TypeReach::All).await?;
        let written: HashSet<LeaseRef> = appends
            .iter()
            .zip(verdicts)
            .filter(|(_, verdict)| matches!(verdict, Appended::Written { .. }))
            .map(|(append, _)| append.lease)
            .collect();
        let keep = |one: &mut Pending<'_>| {
            let is_stored = !one.has_something() || written.contains(&one.attempt.lease);
            one.unsent = &[];
            is_stored
        };
        rest.to_requeue.retain_mut(|(one, _)| keep(one));
        rest.to_release.retain_mut(keep);
        Ok(())
    }

    fn random(&self) -> u32 {
        let [a, b, c, d, ..] = self.ids.random_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

/// Attempts that are being settled, by what is left to do. What stands in none of the lists and is not settled
/// otherwise is lost.
struct Rest<'a> {
    settled: Vec<Settled>,
    to_requeue: Vec<(Pending<'a>, RetryReason)>,
    to_release: Vec<Pending<'a>>,
    to_finish: Vec<(Pending<'a>, Outcome)>,
}

/// One of them.
struct Pending<'a> {
    /// Which, of all.
    place: usize,
    attempt: &'a Attempt,
    next_seq: Sequence,
    /// What of it is not stored yet.
    unsent: &'a [NewEvent],
}

impl Pending<'_> {
    /// Whether there is something to store before it goes back.
    fn has_something(&self) -> bool {
        !self.unsent.is_empty() || self.attempt.checkpoint.is_some()
    }
}

impl<'a> Rest<'a> {
    fn of(attempts: &'a [Attempt]) -> Self {
        let mut rest = Self {
            settled: vec![Settled::Lost; attempts.len()],
            to_requeue: Vec::new(),
            to_release: Vec::new(),
            to_finish: Vec::new(),
        };
        for (place, attempt) in attempts.iter().enumerate() {
            let state = State::Running(attempt.attempts, attempt.cancel);
            let Ok(transition) = state.apply(command(&attempt.ended)) else {
                continue;
            };
            let one = Pending {
                place,
                attempt,
                next_seq: attempt.next_seq,
                unsent: &attempt.unsent,
            };
            match transition.recorded {
                Recorded::Retry(RetryReason::Released) => rest.to_release.push(one),
                Recorded::Retry(reason) => rest.to_requeue.push((one, reason)),
                Recorded::Done | Recorded::Nothing | Recorded::Started | Recorded::Reported => {
                    let outcome = outcome(transition.next, &attempt.ended);
                    rest.to_finish.push((one, outcome));
                }
            }
        }
        rest
    }

    fn settle(&mut self, place: usize, settled: Settled) {
        if let Some(one) = self.settled.get_mut(place) {
            *one = settled;
        }
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
