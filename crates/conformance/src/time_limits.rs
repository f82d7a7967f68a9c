//! How long actions may take altogether: a part of the suite of [`Leases`](deed_domain::ports::Leases).

use std::time::Duration;

use chrono::TimeDelta;
use deed_domain::action::state::RetryReason;
use deed_domain::action::{
    ActionError, ActionType, LeaseRef, NewAction, NewEvent, Outcome, RetryPolicy, Status,
};
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::{GivenUp, Requeue, Requeued, RescueVerdict};

use crate::fixtures::{LONG, handler, owned_by, type_name};
use crate::{Hearing, Ports, Store};

/// Time that is up as soon as it begins.
const NONE: Duration = Duration::from_millis(1);
/// Time enough to claim, and not too long to wait for.
const SHORT: Duration = Duration::from_secs(2);

fn limited(limit: Duration) -> ActionType {
    ActionType {
        time_limit: Some(limit),
        ..handler("echo")
    }
}

/// A user, and `echo` with that limit.
async fn ready(ports: &Ports, limit: Duration) -> UserId {
    let user = ports.ready().await;
    ports.register(&[limited(limit)]).await;
    user
}

fn requeue(lease: LeaseRef, pause: Duration) -> Requeue {
    Requeue {
        lease,
        pause,
        reason: RetryReason::Failed,
        error: None,
    }
}

async fn assert_failed(ports: &Ports, id: ActionId, error: ActionError) {
    let overview = ports.action(id).await.overview;
    assert_eq!(
        (overview.status, overview.error.as_ref()),
        (Status::Failed, Some(&error))
    );
    let log = ports.log(id).await;
    assert_eq!(log.last(), Some(&NewEvent::done(&Outcome::Failed(error))));
}

#[track_caller]
fn assert_near(found: Duration, expected: Duration) {
    assert!(
        found <= expected && found + Duration::from_secs(5) > expected,
        "{found:?} is not about {expected:?}"
    );
}

/// The limit that stood when the action was accepted counts, from then on, or from when it was to begin; an attempt
/// ends with it.
pub async fn a_time_limit_counts_from_when_an_action_could_begin(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ready(&ports, LONG).await;
    let now = ports.clock.now();
    let at_once = ports.submitted(user).await;
    let later = ports
        .submit(NewAction {
            run_at: Some(now + TimeDelta::milliseconds(500)),
            ..ports.new_action(user, "echo")
        })
        .await;
    let once = ports
        .submit(NewAction {
            run_at: Some(now - TimeDelta::days(1)),
            ..ports.new_action(user, "echo")
        })
        .await;
    ports.register(&[handler("echo")]).await;
    let without = ports.submitted(user).await;
    ports
        .until("due", async || {
            (ports.leases.promote(10).await.unwrap().count > 0).then_some(())
        })
        .await;
    let mut grants = ports.claim(10, LONG * 10).await;
    grants.sort_by_key(|grant| grant.lease.id.action_id);
    let mut expected = [at_once, later, once, without];
    expected.sort_unstable();
    assert_eq!(
        grants.len(),
        expected.len(),
        "one that was to begin long ago counts from now"
    );
    for (grant, id) in grants.iter().zip(expected) {
        assert_eq!(grant.lease.id.action_id, id);
        let until_deadline = (grant.lease.deadline_at - now).to_std().unwrap();
        if id == without {
            assert_eq!(grant.time_left, None);
            assert!(until_deadline > LONG * 2, "{until_deadline:?}");
        } else {
            assert_near(grant.time_left.unwrap(), LONG);
            assert!(
                until_deadline < LONG + Duration::from_secs(5),
                "{until_deadline:?}"
            );
        }
    }
}

/// The limit goes along from attempt to attempt, however the action comes to the next one.
pub async fn a_time_limit_is_of_all_attempts_together(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ready(&ports, LONG).await;
    let first = ports.running(user).await;
    let before = first.lease.deadline_at;
    ports.leases.release(&[first.lease.id]).await.unwrap();
    let second = ports.claim(1, LONG).await.remove(0);
    assert_eq!(second.lease.deadline_at, before, "after a release");
    assert!(second.time_left <= first.time_left);
    let again = requeue(second.lease.id, Duration::ZERO);
    ports.leases.requeue(&[again]).await.unwrap();
    let third = ports.claim(1, Duration::from_micros(1)).await.remove(0);
    assert_eq!(third.lease.deadline_at, before, "after a failure");
    assert_eq!(ports.leases.rescue(10).await.unwrap().len(), 1);
    let fourth = ports.claim(1, LONG).await.remove(0);
    assert_eq!(fourth.lease.deadline_at, before, "after a rescue");
}

/// What waits when its time is up has failed, and is granted to nobody before that is recorded.
pub async fn a_waiting_action_is_given_up(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ready(&ports, NONE).await;
    let mut ids = [ports.submitted(user).await, ports.submitted(user).await];
    ids.sort_unstable();
    ports.register(&[handler("echo")]).await;
    let other = ports.submitted(user).await;
    let first = ports
        .until("up", async || ports.leases.give_up(1).await.unwrap().pop())
        .await;
    // The time of both is up by now.
    let granted = ports.claim(10, LONG).await;
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].lease.id.action_id, other);
    let second = ports
        .until("up", async || ports.leases.give_up(10).await.unwrap().pop())
        .await;
    assert_eq!(ports.leases.give_up(10).await.unwrap(), []);
    let mut found = [first, second].map(|one: GivenUp| {
        assert_eq!(one.action_type, type_name("echo"));
        one.action_id
    });
    found.sort_unstable();
    assert_eq!(found, ids);
    for id in ids {
        assert_failed(&ports, id, ActionError::time_limit()).await;
        assert_eq!(ports.action(id).await.overview.attempt, 0);
        assert_eq!(ports.log(id).await.len(), 2);
    }
    assert_eq!(ports.status(other).await, Status::Running);
}

/// What backs off or is scheduled is given up like everything that waits.
pub async fn a_backing_off_action_is_given_up(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ready(&ports, SHORT).await;
    let lease = ports.running(user).await.lease.id;
    let pause = SHORT / 2;
    let requeued = ports.leases.requeue(&[requeue(lease, pause)]).await;
    assert_eq!(requeued.unwrap(), [Requeued::Requeued]);
    assert_eq!(ports.status(lease.action_id).await, Status::Scheduled);
    ports
        .until("up", async || ports.leases.give_up(10).await.unwrap().pop())
        .await;
    assert_failed(&ports, lease.action_id, ActionError::time_limit()).await;
    assert_eq!(ports.action(lease.action_id).await.overview.attempt, 1);
}

/// What is performed when its time is up has failed, whatever attempts are left; what was to be cancelled is cancelled.
pub async fn a_running_action_is_given_up(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ready(&ports, SHORT).await;
    let lease = ports.running(user).await.lease.id;
    let stopped = ports.running(user).await.lease.id;
    let reach = owned_by(user);
    ports
        .submissions
        .cancel(stopped.action_id, &reach)
        .await
        .unwrap();
    let mut rescued = Vec::new();
    while rescued.len() < 2 {
        let some = ports
            .until("up", async || {
                let found = ports.leases.rescue(10).await.unwrap();
                (!found.is_empty()).then_some(found)
            })
            .await;
        rescued.extend(some);
    }
    for one in rescued {
        let expected = match one.action_id == stopped.action_id {
            true => RescueVerdict::Cancelled,
            false => RescueVerdict::Failed,
        };
        assert_eq!(one.verdict, expected);
    }
    assert_failed(&ports, lease.action_id, ActionError::time_limit()).await;
    assert_eq!(ports.status(stopped.action_id).await, Status::Cancelled);
}

/// An attempt that could only begin after the limit does not follow: the holder has to finish.
pub async fn a_pause_beyond_the_limit_ends_the_action(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ready(&ports, LONG).await;
    let beyond = ports.running(user).await.lease.id;
    let within = ports.running(user).await.lease.id;
    let both = [requeue(beyond, LONG * 2), requeue(within, LONG / 2)];
    let must_finish = Requeued::MustFinish {
        cancel_requested: false,
    };
    assert_eq!(
        ports.leases.requeue(&both).await.unwrap(),
        [must_finish, Requeued::Requeued]
    );
    assert_eq!(ports.status(beyond.action_id).await, Status::Running);
    assert_eq!(ports.log(beyond.action_id).await.len(), 2);
    assert_eq!(ports.status(within.action_id).await, Status::Scheduled);
}

/// The same holds for an attempt that took too long: its back-off is drawn, and either ends within the limit or is not
/// begun.
pub async fn a_back_off_beyond_the_limit_ends_the_action(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let day = RetryPolicy::MAX_LIMIT;
    ports
        .register(&[ActionType {
            attempt_timeout: NONE,
            retry: RetryPolicy::new(day, 1.0, day),
            ..limited(LONG)
        }])
        .await;
    let before = ports.clock.now();
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(ports.running(user).await.lease.id.action_id);
    }
    let mut failed = 0;
    for _ in 0..running.len() {
        let one = ports
            .until("overrun", async || {
                ports.leases.rescue(1).await.unwrap().pop()
            })
            .await;
        if one.verdict == RescueVerdict::Failed {
            failed += 1;
            assert_failed(&ports, one.action_id, ActionError::attempt_timeout()).await;
        } else {
            let run_at = ports.action(one.action_id).await.overview.run_at.unwrap();
            let limit = TimeDelta::from_std(LONG + Duration::from_secs(10)).unwrap();
            assert!(run_at - before < limit, "{run_at}");
        }
    }
    // The limit is 1/1,440 of the longest pause.
    assert!(failed > 0);
}
