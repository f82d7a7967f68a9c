use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::action::{LeaseRef, NewEvent, Payload, Sequence};
use crate::caller::Caller;
use crate::error::Error;
use crate::ports::{
    Append, Appended, Beat, Dispatch, Failure, HeartbeatVerdict, Held, Leases, Released,
};
use crate::scope::Permission;
use crate::service::Work;
pub use conclude::{Concluded, Conclusion};
pub use lease::Allowed;

mod conclude;
mod lease;

/// Lets workers outside the server perform actions: they lease them, report, and end them.
///
/// Whoever names a lease holds it: its id is unguessable, and new with every grant. A lease that is over, or whose
/// action's type is beyond the key's scope, looks lost. Every write renews the lease by the length that it was granted
/// for.
#[derive(Clone)]
pub struct Perform {
    dispatch: Arc<dyn Dispatch>,
    leases: Arc<dyn Leases>,
    work: Work,
}

/// What a worker reports of an action that it performs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The position of the first event.
    pub from_seq: Sequence,
    /// Output and progress; empty only where there is a checkpoint.
    pub events: Vec<NewEvent>,
    /// What the next attempt is to get.
    pub checkpoint: Option<Payload>,
}

/// What a report came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// The position of the next event.
    pub next_seq: Sequence,
    /// Whether somebody has asked to cancel the action.
    pub cancel_requested: bool,
}

impl Perform {
    /// The most types that one request for leases may name.
    pub const TYPES_MAX: usize = 100;
    /// The most leases that one request may ask for, and one heartbeat or call of ends may name.
    pub const LEASES_MAX: u16 = 500;
    /// The most events that one report may hold.
    pub const EVENTS_MAX: usize = 1_000;
    /// The longest name of a worker, in characters.
    pub const WORKER_MAX: usize = 255;
    /// The longest time that a request for leases may wait, in seconds.
    pub const WAIT_MAX_SECONDS: u32 = 60;

    /// The use case over these ports.
    #[must_use]
    pub fn new(dispatch: Arc<dyn Dispatch>, leases: Arc<dyn Leases>, work: Work) -> Self {
        Self {
            dispatch,
            leases,
            work,
        }
    }

    /// Renews leases; one verdict each, in the order asked.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:work`.
    pub async fn heartbeat(
        &self,
        caller: &Caller,
        leases: &[LeaseRef],
    ) -> Result<Vec<HeartbeatVerdict>, Error> {
        caller.require(Permission::ActionsWork)?;
        let reach = caller.reach(Permission::ActionsWork).types;
        // The store takes a lease once in a call.
        let once: BTreeSet<LeaseRef> = leases.iter().copied().collect();
        let beats: Vec<Beat> = once
            .into_iter()
            .map(|lease| Beat {
                lease,
                reach: reach.clone(),
            })
            .collect();
        let renewed = self.leases.heartbeat(&beats).await?;
        let verdicts: BTreeMap<LeaseRef, HeartbeatVerdict> =
            beats.iter().map(|beat| beat.lease).zip(renewed).collect();
        Ok(leases
            .iter()
            .map(|lease| {
                verdicts
                    .get(lease)
                    .copied()
                    .unwrap_or(HeartbeatVerdict::Lost)
            })
            .collect())
    }

    /// Writes output, progress and a checkpoint. The same again is written once.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:work`, [`Error::LeaseLost`], [`Error::SequenceConflict`].
    pub async fn report(
        &self,
        caller: &Caller,
        lease: LeaseRef,
        report: Report,
    ) -> Result<Reported, Error> {
        caller.require(Permission::ActionsWork)?;
        let reach = caller.reach(Permission::ActionsWork).types;
        let Report {
            from_seq,
            events,
            checkpoint,
        } = report;
        let append = Append {
            lease,
            from_seq,
            events,
            checkpoint,
        };
        let verdicts = self.leases.append(&[append], &reach).await?;
        match verdicts.first() {
            Some(Appended::Written {
                next_seq,
                cancel_requested,
            }) => Ok(Reported {
                next_seq: *next_seq,
                cancel_requested: *cancel_requested,
            }),
            Some(Appended::OutOfOrder { next_seq }) => Err(Error::SequenceConflict {
                next_seq: *next_seq,
            }),
            Some(Appended::Lost) | None => Err(Error::LeaseLost),
        }
    }

    /// Ends the action with an output. The holder may say so again: it is written once.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:work`, [`Error::LeaseLost`].
    pub async fn complete(
        &self,
        caller: &Caller,
        lease: LeaseRef,
        output: Payload,
    ) -> Result<(), Error> {
        self.conclude_one(caller, lease, Conclusion::Completed(output))
            .await
    }

    /// Ends the attempt with a failure: another follows if that can help and one is left, else the action has failed.
    /// Where the end of the action was written, the holder may say so again.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:work`, [`Error::LeaseLost`].
    pub async fn fail(
        &self,
        caller: &Caller,
        lease: LeaseRef,
        failure: Failure,
    ) -> Result<(), Error> {
        self.conclude_one(caller, lease, Conclusion::Failed(failure))
            .await
    }

    async fn conclude_one(
        &self,
        caller: &Caller,
        lease: LeaseRef,
        conclusion: Conclusion,
    ) -> Result<(), Error> {
        match self
            .conclude(caller, vec![(lease, conclusion)])
            .await?
            .first()
        {
            Some(Concluded::Written) => Ok(()),
            Some(Concluded::Lost) | None => Err(Error::LeaseLost),
        }
    }

    /// Gives the action back unharmed: no attempt is used.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:work`, [`Error::LeaseLost`].
    pub async fn release(&self, caller: &Caller, lease: LeaseRef) -> Result<(), Error> {
        let held = self.refuse_beyond_scope(caller, lease).await?;
        held.ok_or(Error::LeaseLost)?;
        match self.leases.release(&[lease]).await?.first() {
            Some(Released::Released) => Ok(()),
            Some(Released::Lost) | None => Err(Error::LeaseLost),
        }
    }

    /// The lease as it stands, if it stands.
    async fn refuse_beyond_scope(
        &self,
        caller: &Caller,
        lease: LeaseRef,
    ) -> Result<Option<Held>, Error> {
        caller.require(Permission::ActionsWork)?;
        let reach = caller.reach(Permission::ActionsWork).types;
        let held = self.leases.held(&[lease]).await?.pop().flatten();
        match held {
            Some(held) if !reach.includes(&held.action_type) => Err(Error::LeaseLost),
            held => Ok(held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{ActionError, ActionTypeName, Attempts, Cancel, RetryPolicy};
    use crate::id::{ActionId, LeaseId};
    use crate::ports::{Finished, MockDispatch, MockIds, MockLeases, Requeued};
    use crate::scope::TypeReach;
    use crate::service::testing::{key_of, user};
    use std::time::Duration;
    use uuid::Uuid;

    fn lease(n: u128) -> LeaseRef {
        LeaseRef {
            action_id: ActionId::from_uuid(Uuid::from_u128(n)),
            lease_id: LeaseId::from_uuid(Uuid::from_u128(n + 100)),
        }
    }

    fn held() -> Held {
        Held {
            action_type: ActionTypeName::parse("report.render").unwrap(),
            attempts: Attempts { used: 1, max: 3 },
            cancel: Cancel::NotAsked,
            next_seq: Sequence::new(3).unwrap(),
            retry: RetryPolicy::default(),
        }
    }

    fn perform(mut leases: MockLeases, held: Option<Held>) -> Perform {
        leases
            .expect_held()
            .returning(move |asked| Ok(vec![held.clone(); asked.len()]));
        let leases: Arc<dyn Leases> = Arc::new(leases);
        let mut ids = MockIds::new();
        ids.expect_random_bytes().returning(|| [0; 64]);
        let work = Work::new(leases.clone(), Arc::new(ids));
        Perform::new(Arc::new(MockDispatch::new()), leases, work)
    }

    fn worker() -> Caller {
        key_of(user(1), &["actions:work"])
    }

    fn elsewhere() -> Caller {
        key_of(user(1), &["actions:work:other"])
    }

    fn report() -> Report {
        Report {
            from_seq: Sequence::new(3).unwrap(),
            events: Vec::new(),
            checkpoint: Some(Payload::empty_object()),
        }
    }

    #[tokio::test]
    async fn what_is_beyond_the_scope_looks_lost_everywhere() {
        // Of the store's writes only those that are told of the scope are expected.
        let mut leases = MockLeases::new();
        let other = |reach: &TypeReach| {
            *reach == elsewhere().reach(Permission::ActionsWork).types && *reach != TypeReach::All
        };
        leases
            .expect_heartbeat()
            .withf(move |beats| beats.iter().all(|beat| other(&beat.reach)))
            .times(1)
            .returning(|beats| Ok(vec![HeartbeatVerdict::Lost; beats.len()]));
        leases
            .expect_append()
            .withf(move |_, reach| other(reach))
            .times(1)
            .returning(|_, _| Ok(vec![Appended::Lost]));
        let perform = perform(leases, Some(held()));
        let caller = elsewhere();
        let error = ActionError::new("a", "b");
        let failure = Failure {
            error,
            is_retryable: true,
            retry_after: None,
        };
        assert_eq!(
            perform.heartbeat(&caller, &[lease(1)]).await,
            Ok(vec![HeartbeatVerdict::Lost])
        );
        let reported = perform.report(&caller, lease(1), report()).await;
        assert_eq!(reported, Err(Error::LeaseLost));
        let output = Payload::empty_object();
        let completed = perform.complete(&caller, lease(1), output).await;
        assert_eq!(completed, Err(Error::LeaseLost));
        let failed = perform.fail(&caller, lease(1), failure).await;
        assert_eq!(failed, Err(Error::LeaseLost));
        let released = perform.release(&caller, lease(1)).await;
        assert_eq!(released, Err(Error::LeaseLost));
    }

    #[tokio::test]
    async fn what_is_said_of_a_lease_goes_to_the_store_once() {
        let mut leases = MockLeases::new();
        leases
            .expect_heartbeat()
            .withf(|beats| beats.len() == 1 && beats[0].reach == TypeReach::All)
            .times(1)
            .returning(|_| Ok(vec![HeartbeatVerdict::Lost]));
        leases
            .expect_append()
            .withf(|appends, reach| {
                *reach == TypeReach::All && appends[0].checkpoint == report().checkpoint
            })
            .times(1)
            .returning(|_, _| {
                Ok(vec![Appended::Written {
                    next_seq: Sequence::new(4).unwrap(),
                    cancel_requested: true,
                }])
            });
        let perform = perform(leases, Some(held()));
        // Named twice, it is renewed once.
        let twice = [lease(1), lease(1)];
        assert_eq!(
            perform.heartbeat(&worker(), &twice).await,
            Ok(vec![HeartbeatVerdict::Lost; 2])
        );
        let reported = perform.report(&worker(), lease(1), report()).await;
        assert!(reported.unwrap().cancel_requested);
    }

    #[tokio::test]
    async fn a_report_at_the_wrong_position_tells_the_right_one() {
        let mut leases = MockLeases::new();
        let next_seq = Sequence::new(9).unwrap();
        leases
            .expect_append()
            .returning(move |_, _| Ok(vec![Appended::OutOfOrder { next_seq }]));
        let perform = perform(leases, Some(held()));
        let refused = perform.report(&worker(), lease(1), report()).await;
        assert_eq!(refused, Err(Error::SequenceConflict { next_seq }));
    }

    #[tokio::test]
    async fn completing_twice_is_no_error_and_completing_late_is() {
        for (verdict, expected) in [
            (Finished::Finished(Sequence::new(3).unwrap()), Ok(())),
            (Finished::Repeated, Ok(())),
            (Finished::Lost, Err(Error::LeaseLost)),
        ] {
            let mut leases = MockLeases::new();
            leases.expect_finish().returning(move |_| Ok(vec![verdict]));
            let output = Payload::empty_object();
            let completed = perform(leases, None)
                .complete(&worker(), lease(1), output)
                .await;
            assert_eq!(completed, expected);
        }
    }

    #[tokio::test]
    async fn a_failure_is_followed_by_another_attempt_if_that_can_help() {
        let failure = |is_retryable| Failure {
            error: ActionError::new("a", "b"),
            is_retryable,
            retry_after: Some(Duration::from_secs(7)),
        };
        let mut leases = MockLeases::new();
        leases
            .expect_requeue()
            .withf(|requeues| requeues[0].pause == Duration::from_secs(7))
            .times(1)
            .returning(|_| Ok(vec![Requeued::Requeued]));
        let again = perform(leases, Some(held()))
            .fail(&worker(), lease(1), failure(true))
            .await;
        assert_eq!(again, Ok(()));
        let mut leases = MockLeases::new();
        leases
            .expect_finish()
            .times(1)
            .returning(|_| Ok(vec![Finished::Finished(Sequence::new(3).unwrap())]));
        let over = perform(leases, Some(held()))
            .fail(&worker(), lease(1), failure(false))
            .await;
        assert_eq!(over, Ok(()));
    }

    #[tokio::test]
    async fn a_lease_that_stands_is_released() {
        let mut leases = MockLeases::new();
        leases
            .expect_release()
            .times(1)
            .returning(|_| Ok(vec![Released::Released]));
        let released = perform(leases, Some(held()))
            .release(&worker(), lease(1))
            .await;
        assert_eq!(released, Ok(()));
        let gone = perform(MockLeases::new(), None);
        let released = gone.release(&worker(), lease(1)).await;
        assert_eq!(released, Err(Error::LeaseLost));
    }
}
