//! Ending actions and attempts, many at a time.

use std::collections::HashSet;

use super::Perform;
use crate::action::{Attempts, Cancel, LeaseRef, Payload, RetryPolicy, Sequence};
use crate::caller::Caller;
use crate::error::Error;
use crate::ports::Failure;
use crate::scope::Permission;
use crate::service::{Attempt, Ended, Settled};

/// What a worker says of an attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion {
    /// The action ends with an output.
    Completed(Payload),
    /// The attempt ends with a failure.
    Failed(Failure),
}

/// What came of saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concluded {
    /// It is written, now or before.
    Written,
    /// The lease is lost. Nothing was written.
    Lost,
}

impl Perform {
    /// Ends attempts, as [`Self::complete`] and [`Self::fail`] do with one; one verdict each, in the order given. A
    /// lease that is lost is no harm to its neighbours.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:work`. With [`Error::Store`] some may be written: the same again
    /// is written once.
    pub async fn conclude(
        &self,
        caller: &Caller,
        conclusions: Vec<(LeaseRef, Conclusion)>,
    ) -> Result<Vec<Concluded>, Error> {
        caller.require(Permission::ActionsWork)?;
        let mut verdicts = vec![Concluded::Lost; conclusions.len()];
        let mut left: Vec<_> = conclusions.into_iter().enumerate().collect();
        while !left.is_empty() {
            // The store takes an action once in a call. Nobody holds two leases on one, but anybody may say so.
            let mut actions = HashSet::new();
            let (now, later): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|(_, (lease, _))| actions.insert(lease.action_id));
            let (places, now): (Vec<usize>, Vec<_>) = now.into_iter().unzip();
            let concluded = self.conclude_once(caller, now).await?;
            for (place, concluded) in places.into_iter().zip(concluded) {
                if let Some(verdict) = verdicts.get_mut(place) {
                    *verdict = concluded;
                }
            }
            left = later;
        }
        Ok(verdicts)
    }

    async fn conclude_once(
        &self,
        caller: &Caller,
        conclusions: Vec<(LeaseRef, Conclusion)>,
    ) -> Result<Vec<Concluded>, Error> {
        let reach = caller.reach(Permission::ActionsWork).types;
        let leases: Vec<LeaseRef> = conclusions.iter().map(|(lease, _)| *lease).collect();
        let held = self.leases.held(&leases).await?;
        // What is beyond the key's scope is not ended.
        let attempts: Vec<Option<Attempt>> = conclusions
            .into_iter()
            .zip(held)
            .map(|((lease, conclusion), held)| {
                let ended = match conclusion {
                    Conclusion::Completed(output) => Ended::Completed(output),
                    Conclusion::Failed(failure) => Ended::Failed(failure),
                };
                let Some(held) = held else {
                    return Some(over(lease, ended));
                };
                reach.includes(&held.action_type).then(|| Attempt {
                    lease,
                    attempts: held.attempts,
                    cancel: held.cancel,
                    retry: held.retry,
                    next_seq: held.next_seq,
                    unsent: Vec::new(),
                    checkpoint: None,
                    ended,
                })
            })
            .collect();
        let within: Vec<Attempt> = attempts.iter().flatten().cloned().collect();
        let mut settled = self.work.settle_all(&within).await?.into_iter();
        Ok(attempts
            .iter()
            .map(
                |attempt| match attempt.as_ref().and_then(|_| settled.next()) {
                    Some(Settled::Over(_) | Settled::Again) => Concluded::Written,
                    Some(Settled::Lost) | None => Concluded::Lost,
                },
            )
            .collect())
    }
}

/// An attempt that is over, maybe by this very lease: then saying so again is no harm.
fn over(lease: LeaseRef, ended: Ended) -> Attempt {
    Attempt {
        lease,
        attempts: Attempts { used: 1, max: 1 },
        cancel: Cancel::NotAsked,
        retry: RetryPolicy::default(),
        next_seq: Sequence::START,
        unsent: Vec::new(),
        checkpoint: None,
        ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{ActionError, ActionTypeName, Outcome};
    use crate::id::{ActionId, LeaseId};
    use crate::ports::{Finished, Held, MockDispatch, MockIds, MockLeases, Requeued};
    use crate::service::Work;
    use crate::service::testing::{key_of, user};
    use std::sync::Arc;
    use std::time::Duration;
    use uuid::Uuid;

    fn lease(action: u128, lease: u128) -> LeaseRef {
        LeaseRef {
            action_id: ActionId::from_uuid(Uuid::from_u128(action)),
            lease_id: LeaseId::from_uuid(Uuid::from_u128(lease)),
        }
    }

    fn held(name: &str) -> Held {
        Held {
            action_type: ActionTypeName::parse(name).unwrap(),
            attempts: Attempts { used: 1, max: 3 },
            cancel: Cancel::NotAsked,
            next_seq: Sequence::new(3).unwrap(),
            retry: RetryPolicy::default(),
        }
    }

    fn output() -> Conclusion {
        Conclusion::Completed(Payload::empty_object())
    }

    fn failure(is_retryable: bool) -> Conclusion {
        Conclusion::Failed(Failure {
            error: ActionError::new("a", "b"),
            is_retryable,
            retry_after: Some(Duration::ZERO),
        })
    }

    async fn conclude(
        leases: MockLeases,
        conclusions: Vec<(LeaseRef, Conclusion)>,
    ) -> Vec<Concluded> {
        let leases = Arc::new(leases);
        let mut ids = MockIds::new();
        ids.expect_random_bytes().returning(|| [0; 64]);
        let work = Work::new(leases.clone(), Arc::new(ids));
        let worker = key_of(user(1), &["actions:work:report.*"]);
        Perform::new(Arc::new(MockDispatch::new()), leases, work)
            .conclude(&worker, conclusions)
            .await
            .unwrap()
    }

    const DONE: Finished = Finished::Finished(Sequence::FIRST);

    #[tokio::test]
    async fn many_are_written_by_one_look_one_end_and_one_requeue() {
        let mut leases = MockLeases::new();
        leases.expect_held().times(1).returning(|asked| {
            assert_eq!(asked.len(), 6);
            let held = |name| Some(held(name));
            Ok(vec![
                held("report.a"),
                held("report.a"),
                held("other"),
                held("report.b"),
                None,
                None,
            ])
        });
        leases.expect_finish().times(1).returning(|finishes| {
            let outcomes: Vec<_> = finishes.iter().map(|one| one.outcome.status()).collect();
            assert_eq!(outcomes.len(), 4, "{outcomes:?}");
            assert!(finishes.iter().all(|one| one.from_seq.is_none()));
            Ok(vec![DONE, DONE, Finished::Repeated, Finished::Lost])
        });
        leases.expect_requeue().times(1).returning(|requeues| {
            assert_eq!(requeues.len(), 1);
            Ok(vec![Requeued::Requeued])
        });
        let concluded = conclude(
            leases,
            vec![
                (lease(1, 11), output()),
                (lease(2, 12), failure(true)),
                (lease(3, 13), output()),
                (lease(4, 14), failure(false)),
                (lease(5, 15), output()),
                (lease(6, 16), failure(true)),
            ],
        )
        .await;
        use Concluded::{Lost, Written};
        assert_eq!(concluded, [Written, Written, Lost, Written, Written, Lost]);
    }

    #[tokio::test]
    async fn two_leases_of_one_action_are_asked_one_after_the_other() {
        let mut leases = MockLeases::new();
        leases
            .expect_held()
            .times(2)
            .returning(|asked| Ok(vec![None; asked.len()]));
        leases.expect_finish().times(2).returning(|finishes| {
            assert_eq!(finishes.len(), 1);
            let is_old = finishes[0].lease == lease(1, 11);
            Ok(vec![if is_old { Finished::Lost } else { DONE }])
        });
        let concluded = conclude(
            leases,
            vec![(lease(1, 11), output()), (lease(1, 12), output())],
        )
        .await;
        assert_eq!(concluded, [Concluded::Lost, Concluded::Written]);
    }

    #[tokio::test]
    async fn a_failure_that_is_told_too_late_to_be_followed_ends_the_action() {
        let mut leases = MockLeases::new();
        leases
            .expect_held()
            .returning(|_| Ok(vec![Some(held("report.a"))]));
        leases.expect_requeue().returning(|_| {
            Ok(vec![Requeued::MustFinish {
                cancel_requested: true,
            }])
        });
        leases
            .expect_finish()
            .times(1)
            .withf(|finishes| finishes[0].outcome == Outcome::Cancelled)
            .returning(|_| Ok(vec![DONE]));
        let concluded = conclude(leases, vec![(lease(1, 11), failure(true))]).await;
        assert_eq!(concluded, [Concluded::Written]);
    }
}
