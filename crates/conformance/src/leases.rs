//! Suite of [`Leases`](deed_domain::ports::Leases).

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use deed_domain::action::event::Progress;
use deed_domain::action::state::RetryReason;
use deed_domain::action::{
    ActionError, ActionType, Attempts, Cancel, Grant, LeaseRef, NewAction, NewEvent, Outcome,
    Priority, RetryPolicy, Status,
};
use deed_domain::id::{ActionId, LeaseId, UserId};
use deed_domain::ports::{
    Append, Appended, Beat, CancelVerdict, ClaimRequest, Finish, Finished, HeartbeatVerdict, Held,
    Released, Requeue, Requeued, RescueVerdict, Rescued,
};
use deed_domain::scope::{TypePattern, TypeReach};
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::fixtures::{LONG, handler, json, message, owned_by, seq, traced, type_name};
use crate::{Hearing, Ports, Store};

/// A lease that is over as soon as it is granted.
const INSTANT: Duration = Duration::from_micros(1);

/// A grant holds everything that its performer needs, and the action runs.
pub async fn a_claim_grants_what_was_asked_for(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let new = NewAction {
        traceparent: Some(traced()),
        ..ports.new_action(user, "echo")
    };
    let id = ports.submit(new.clone()).await;
    let before = ports.clock.now();
    let grants = ports.claim(10, LONG).await;
    let [grant] = grants.as_slice() else {
        panic!("{grants:?}")
    };
    let Grant {
        lease,
        action_type,
        user_id,
        input,
        attempt,
        max_attempts,
        checkpoint,
        time_left,
        traceparent,
    } = grant;
    assert_eq!(
        (lease.id.action_id, *user_id, input, traceparent),
        (id, user, &new.input, &new.traceparent)
    );
    assert_eq!(
        (action_type, *attempt, *max_attempts),
        (&type_name("echo"), 1, 3)
    );
    assert_eq!((lease.next_seq, lease.cancel_requested), (seq(3), false));
    assert_eq!((checkpoint, time_left), (&None, &None));
    assert_near(lease.expires_at - before, LONG);
    assert_near(lease.deadline_at - before, handler("echo").attempt_timeout);
    let overview = ports.action(id).await.overview;
    assert_eq!((overview.status, overview.attempt), (Status::Running, 1));
    assert!(overview.started_at.is_some());
    assert_eq!(
        ports.log(id).await,
        [NewEvent::created(id), NewEvent::started(1)]
    );
}

/// Without a length of its own a lease holds as long as its type says.
pub async fn a_lease_is_as_long_as_its_type_says(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    ports
        .register(&[ActionType {
            lease: Duration::from_secs(3_600),
            ..handler("echo")
        }])
        .await;
    ports.submitted(user).await;
    let request = ClaimRequest {
        types: vec![type_name("echo")],
        max: 1,
        worker: "w".to_owned(),
        lease: None,
    };
    let before = ports.clock.now();
    let grant = ports.leases.claim(&request).await.unwrap().remove(0);
    assert_near(grant.lease.expires_at - before, Duration::from_secs(3_600));
}

/// Urgent ones go first, then the older ones.
pub async fn claims_go_by_priority_then_age(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let mut ids = Vec::new();
    for priority in [9, 5, 0, 5] {
        let priority = Priority::new(priority).unwrap();
        ids.push(
            ports
                .submit(NewAction {
                    priority,
                    ..ports.new_action(user, "echo")
                })
                .await,
        );
    }
    let mut claimed = Vec::new();
    for _ in 0..4 {
        claimed.extend(
            ports
                .claim(1, LONG)
                .await
                .into_iter()
                .map(|grant| grant.lease.id.action_id),
        );
    }
    assert_eq!(claimed, [ids[2], ids[1], ids[3], ids[0]]);
}

/// Only the types that were asked for are granted, and no more than asked for.
pub async fn claims_are_of_the_types_asked_for(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let report = ports.submit(ports.new_action(user, "report.render")).await;
    for _ in 0..3 {
        ports.submitted(user).await;
    }
    let claim = async |types: &[&str], max| {
        let types = types.iter().map(|name| type_name(name)).collect();
        let request = ClaimRequest {
            types,
            max,
            worker: "w".to_owned(),
            lease: Some(LONG),
        };
        let grants = ports.leases.claim(&request).await.unwrap();
        grants
            .into_iter()
            .map(|grant| grant.lease.id.action_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(claim(&[], 10).await, []);
    assert_eq!(claim(&["unknown"], 10).await, []);
    assert_eq!(claim(&["report.render"], 10).await, [report]);
    assert_eq!(claim(&["echo"], 0).await, []);
    assert_eq!(claim(&["echo", "report.render"], 2).await.len(), 2);
    assert_eq!(claim(&["echo", "report.render"], 2).await.len(), 1);
}

/// Of many that claim side by side, no two get the same action, and together they get all.
pub async fn no_action_is_granted_twice(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let mut submitted = HashSet::new();
    for _ in 0..40 {
        submitted.insert(ports.submitted(user).await);
    }
    let mut granted = Vec::new();
    while granted.len() < 40 {
        let claims = (0..8).map(|n| {
            if n % 2 == 0 {
                ports.claim(3, LONG)
            } else {
                other.claim(3, LONG)
            }
            .boxed()
        });
        let round: Vec<Grant> = join_all(claims).await.into_iter().flatten().collect();
        assert!(!round.is_empty());
        granted.extend(round.into_iter().map(|grant| grant.lease.id.action_id));
    }
    assert_eq!(granted.len(), 40);
    assert_eq!(granted.into_iter().collect::<HashSet<_>>(), submitted);
}

/// What is appended is stored in order; the same positions again are no news.
pub async fn an_append_is_written_once(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let grant = ports.running(user).await;
    let lease = grant.lease.id;
    let written = |next| Appended::Written {
        next_seq: seq(next),
        cancel_requested: false,
    };
    assert_eq!(
        ports
            .append(lease, 3, vec![message("a"), message("b")])
            .await,
        written(5)
    );
    assert_eq!(
        ports
            .append(lease, 3, vec![message("a"), message("b")])
            .await,
        written(5)
    );
    assert_eq!(ports.append(lease, 3, vec![message("a")]).await, written(5));
    assert_eq!(ports.append(lease, 5, vec![message("c")]).await, written(6));
    let expected = [
        NewEvent::created(lease.action_id),
        NewEvent::started(1),
        message("a"),
        message("b"),
        message("c"),
    ];
    assert_eq!(ports.log(lease.action_id).await, expected);
}

/// What earlier attempts have said is counted, and nothing else of their logs.
pub async fn messages_of_earlier_attempts_are_counted(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let first = ports.running(user).await.lease;
    let action = first.id.action_id;
    let count = async |before| ports.leases.messages(action, seq(before)).await.unwrap();
    assert_eq!(count(first.next_seq.get()).await, 0);
    let progress = NewEvent::progress(&Progress {
        percent: Some(50),
        note: None,
    });
    let events = vec![message("a"), progress, message("b")];
    ports.append(first.id, 3, events).await;
    ports.leases.release(&[first.id]).await.unwrap();
    let second = ports.claim(1, LONG).await.remove(0).lease;
    ports
        .append(second.id, second.next_seq.get(), vec![message("c")])
        .await;
    assert_eq!(count(second.next_seq.get()).await, 2);
    assert_eq!(count(4).await, 1);
    assert_eq!(count(second.next_seq.get() + 1).await, 3);
}

/// A position that is not where the log goes on is refused, and nothing is written.
pub async fn an_append_out_of_order_is_refused(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    ports.append(lease, 3, vec![message("a")]).await;
    let refused = Appended::OutOfOrder { next_seq: seq(4) };
    assert_eq!(ports.append(lease, 5, vec![message("b")]).await, refused);
    // Half of it is stored, half is new: what was meant can't be known.
    assert_eq!(
        ports
            .append(lease, 3, vec![message("a"), message("b")])
            .await,
        refused
    );
    assert_eq!(
        ports
            .append(
                lease,
                deed_domain::action::Sequence::MAX,
                vec![message("b")]
            )
            .await,
        refused
    );
    assert_eq!(ports.log(lease.action_id).await.len(), 3);
}

/// Several leases are served in one call, each with its own verdict, in the order asked.
pub async fn one_bad_item_does_not_fail_its_neighbours(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let (first, second, lost) = (
        ports.running(user).await.lease.id,
        ports.running(user).await.lease.id,
        stranger(&ports, None),
    );
    let append = |lease, from| Append {
        lease,
        from_seq: seq(from),
        events: vec![message("a")],
        checkpoint: None,
    };
    let appended = ports
        .leases
        .append(
            &[append(second, 3), append(lost, 3), append(first, 9)],
            &TypeReach::All,
        )
        .await
        .unwrap();
    let written = Appended::Written {
        next_seq: seq(4),
        cancel_requested: false,
    };
    assert_eq!(
        appended,
        [
            written,
            Appended::Lost,
            Appended::OutOfOrder { next_seq: seq(3) }
        ]
    );
    let beats = ports.beat(&[lost, second, first]).await;
    assert!(matches!(
        beats[..],
        [
            HeartbeatVerdict::Lost,
            HeartbeatVerdict::Held { .. },
            HeartbeatVerdict::Held { .. }
        ]
    ));
    let finish = |lease| finish(lease, vec![], Outcome::Cancelled);
    let finished = ports
        .leases
        .finish(&[finish(lost), finish(second), finish(first)])
        .await
        .unwrap();
    assert_eq!(
        finished,
        [
            Finished::Lost,
            Finished::Finished(seq(4)),
            Finished::Finished(seq(3))
        ]
    );
    assert_eq!(ports.leases.finish(&[]).await.unwrap(), []);
    assert_eq!(ports.leases.append(&[], &TypeReach::All).await.unwrap(), []);
}

/// The end comes with the last events, all at once.
pub async fn an_action_is_finished_with_its_last_events(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let error = ActionError::new("no_page", "Page \"7\"\nis missing.");
    for outcome in [
        Outcome::Succeeded(json("{\"pages\": 7}")),
        Outcome::Failed(error),
        Outcome::Cancelled,
    ] {
        let lease = ports.running(user).await.lease.id;
        let id = lease.action_id;
        let asked = Finish {
            from_seq: Some(seq(3)),
            ..finish(lease, vec![message("a"), message("b")], outcome.clone())
        };
        assert_eq!(
            ports.leases.finish(&[asked]).await.unwrap(),
            [Finished::Finished(seq(5))]
        );
        let action = ports.action(id).await;
        assert_eq!(action.overview.status, outcome.status());
        assert_eq!(action.overview.attempt, 1);
        assert!(action.overview.started_at.unwrap() <= action.overview.finished_at.unwrap());
        let (output, error) = match &outcome {
            Outcome::Succeeded(output) => (Some(output.clone()), None),
            Outcome::Failed(error) => (None, Some(error.clone())),
            Outcome::Cancelled => (None, None),
        };
        assert_eq!((action.output, action.overview.error), (output, error));
        let log = ports.log(id).await;
        assert_eq!(
            log[2..],
            [message("a"), message("b"), NewEvent::done(&outcome)]
        );
    }
}

/// The holder's second end is no news; it writes nothing, whatever it says.
pub async fn an_end_is_recorded_once(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    let first = finish(lease, vec![], Outcome::Succeeded(json("1")));
    assert_eq!(
        ports
            .leases
            .finish(std::slice::from_ref(&first))
            .await
            .unwrap(),
        [Finished::Finished(seq(3))]
    );
    let log = ports.log(lease.action_id).await;
    let other = finish(lease, vec![message("late")], Outcome::Cancelled);
    for again in [first, other] {
        assert_eq!(
            ports.leases.finish(&[again]).await.unwrap(),
            [Finished::Repeated]
        );
    }
    assert_eq!(ports.log(lease.action_id).await, log);
    assert_eq!(ports.status(lease.action_id).await, Status::Succeeded);
}

/// An end whose position is wrong is refused.
pub async fn an_end_out_of_order_is_refused(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    let wrong = Finish {
        from_seq: Some(seq(4)),
        ..finish(lease, vec![], Outcome::Cancelled)
    };
    assert_eq!(
        ports.leases.finish(&[wrong]).await.unwrap(),
        [Finished::Lost]
    );
    assert_eq!(ports.status(lease.action_id).await, Status::Running);
}

/// A failed attempt is followed by another, after its pause.
pub async fn a_requeued_action_waits_for_its_pause(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    let id = lease.action_id;
    let error = ActionError::new("boom", "It broke.");
    let asked = Requeue {
        pause: LONG,
        error: Some(error.clone()),
        ..requeue(lease)
    };
    let before = ports.clock.now();
    assert_eq!(
        ports.leases.requeue(&[asked]).await.unwrap(),
        [Requeued::Requeued]
    );
    let overview = ports.action(id).await.overview;
    assert_eq!((overview.status, overview.attempt), (Status::Scheduled, 1));
    assert_near(overview.run_at.unwrap() - before, LONG);
    assert_eq!(
        ports.log(id).await[2..],
        [NewEvent::retry(RetryReason::Failed, Some(&error))]
    );
    assert_eq!(ports.claim(1, LONG).await, []);
}

/// Without a pause it is queued at once, and its log goes on.
pub async fn a_requeued_action_without_a_pause_is_queued(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    assert_eq!(
        ports.leases.requeue(&[requeue(lease)]).await.unwrap(),
        [Requeued::Requeued]
    );
    let again = ports.claim(1, LONG).await.remove(0);
    assert_eq!((again.attempt, again.lease.next_seq), (2, seq(5)));
    assert_ne!(again.lease.id.lease_id, lease.lease_id);
    assert_eq!(ports.log(lease.action_id).await[3], NewEvent::started(2));
    // What the first holder says now comes too late.
    assert_eq!(
        ports.leases.requeue(&[requeue(lease)]).await.unwrap(),
        [Requeued::Lost]
    );
}

/// When no attempt is left, or a cancel was asked for, the holder has to finish.
pub async fn the_last_attempt_is_not_requeued(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    ports
        .submit(NewAction {
            max_attempts: 1,
            ..ports.new_action(user, "echo")
        })
        .await;
    let last = ports.claim(1, LONG).await.remove(0).lease.id;
    let asked_to_stop = ports.running(user).await.lease.id;
    cancel(&ports, user, asked_to_stop).await;
    let requeued = ports
        .leases
        .requeue(&[requeue(last), requeue(asked_to_stop)])
        .await
        .unwrap();
    let must_finish = |cancel_requested| Requeued::MustFinish { cancel_requested };
    assert_eq!(requeued, [must_finish(false), must_finish(true)]);
    for lease in [last, asked_to_stop] {
        assert_eq!(ports.status(lease.action_id).await, Status::Running);
        assert_eq!(ports.log(lease.action_id).await.len(), 2);
    }
}

/// A released action is queued again, its attempt unused.
pub async fn a_released_action_has_lost_no_attempt(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    let released = ports
        .leases
        .release(&[lease, stranger(&ports, None)])
        .await
        .unwrap();
    assert_eq!(released, [Released::Released, Released::Lost]);
    let overview = ports.action(lease.action_id).await.overview;
    assert_eq!((overview.status, overview.attempt), (Status::Queued, 0));
    assert_eq!(
        ports.log(lease.action_id).await[2..],
        [NewEvent::retry(RetryReason::Released, None)]
    );
    assert_eq!(ports.claim(1, LONG).await[0].attempt, 1);
}

/// What somebody asked to cancel is over when it is released.
pub async fn a_released_action_is_cancelled_if_that_was_asked_for(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    cancel(&ports, user, lease).await;
    assert_eq!(
        ports.leases.release(&[lease]).await.unwrap(),
        [Released::Released]
    );
    assert_eq!(ports.status(lease.action_id).await, Status::Cancelled);
    assert_eq!(
        ports.log(lease.action_id).await[2..],
        [NewEvent::done(&Outcome::Cancelled)]
    );
}

/// Heartbeats and appends renew a lease and tell of a cancel.
pub async fn a_heartbeat_renews_and_tells_of_a_cancel(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    // Whoever asks, and whatever the type says: by the length that was granted.
    ports.submitted(user).await;
    let long = LONG * 10;
    let other = ports.claim(1, long).await.remove(0).lease.id;
    let before = ports.clock.now();
    let beats = ports.beat(&[other, lease]).await;
    for (beat, length) in beats.iter().zip([long, LONG]) {
        let HeartbeatVerdict::Held {
            expires_at,
            cancel_requested: false,
        } = beat
        else {
            panic!("{beat:?}")
        };
        assert_near(*expires_at - before, length);
    }
    cancel(&ports, user, lease).await;
    let beats = ports.beat(&[lease]).await;
    assert!(matches!(
        beats[..],
        [HeartbeatVerdict::Held {
            cancel_requested: true,
            ..
        }]
    ));
    let appended = ports.append(lease, 3, vec![message("a")]).await;
    assert_eq!(
        appended,
        Appended::Written {
            next_seq: seq(4),
            cancel_requested: true
        }
    );
}

/// A silent performer's action is queued again, without a pause.
pub async fn an_expired_lease_is_taken_away(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let held = ports.running(user).await.lease.id;
    let id = ports.submitted(user).await;
    ports.claim(1, INSTANT).await;
    assert_eq!(
        ports.leases.rescue(10).await.unwrap(),
        [rescued(id, RescueVerdict::Requeued)]
    );
    assert_eq!(ports.leases.rescue(10).await.unwrap(), []);
    let overview = ports.action(id).await.overview;
    assert_eq!((overview.status, overview.attempt), (Status::Queued, 1));
    assert_eq!(
        ports.log(id).await[2..],
        [NewEvent::retry(RetryReason::LeaseExpired, None)]
    );
    assert_eq!(ports.status(held.action_id).await, Status::Running);
    assert_eq!(ports.claim(1, LONG).await[0].attempt, 2);
}

/// When the last attempt's performer falls silent, the action has failed.
pub async fn an_expired_last_attempt_has_failed(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let id = ports
        .submit(NewAction {
            max_attempts: 1,
            ..ports.new_action(user, "echo")
        })
        .await;
    ports.claim(1, INSTANT).await;
    assert_eq!(
        ports.leases.rescue(10).await.unwrap(),
        [rescued(id, RescueVerdict::Failed)]
    );
    let overview = ports.action(id).await.overview;
    let error = overview.error.expect("it says why");
    assert_eq!(
        (overview.status, error.code.as_str()),
        (Status::Failed, "lease_expired")
    );
    assert_eq!(
        ports.log(id).await[2..],
        [NewEvent::done(&Outcome::Failed(error))]
    );
}

/// When the performer of a cancelled action falls silent, the action is cancelled.
pub async fn an_expired_cancelled_action_is_cancelled(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    ports.submitted(user).await;
    let lease = ports.claim(1, INSTANT).await.remove(0).lease.id;
    cancel(&ports, user, lease).await;
    assert_eq!(
        ports.leases.rescue(10).await.unwrap(),
        [rescued(lease.action_id, RescueVerdict::Cancelled)]
    );
    assert_eq!(ports.status(lease.action_id).await, Status::Cancelled);
    assert_eq!(
        ports.log(lease.action_id).await[2..],
        [NewEvent::done(&Outcome::Cancelled)]
    );
}

/// An attempt that takes too long ends, heartbeats or not, and backs off.
pub async fn an_overrun_attempt_is_taken_away(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let short = ActionType {
        attempt_timeout: Duration::from_millis(1),
        retry: RetryPolicy::new(LONG * 60, 1.0, LONG * 60),
        ..handler("echo")
    };
    ports.register(&[short]).await;
    let lease = ports.running(user).await.lease.id;
    let found = ports
        .until("overrun", async || {
            ports.leases.rescue(10).await.unwrap().pop()
        })
        .await;
    assert_eq!(found, rescued(lease.action_id, RescueVerdict::Requeued));
    assert_eq!(ports.status(lease.action_id).await, Status::Scheduled);
    assert_eq!(
        ports.log(lease.action_id).await[2..],
        [NewEvent::retry(RetryReason::AttemptTimeout, None)]
    );
    ports
        .submit(NewAction {
            max_attempts: 1,
            ..ports.new_action(user, "echo")
        })
        .await;
    let last = ports.claim(1, LONG).await.remove(0).lease.id;
    ports
        .until("overrun", async || {
            ports.leases.rescue(10).await.unwrap().pop()
        })
        .await;
    let error = ports.action(last.action_id).await.overview.error;
    assert_eq!(error, Some(ActionError::attempt_timeout()));
}

/// No more are rescued at a time than asked for, and no action by two.
pub async fn rescuers_do_not_meet(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    for _ in 0..20 {
        ports.submitted(user).await;
    }
    assert_eq!(ports.claim(20, INSTANT).await.len(), 20);
    assert_eq!(ports.leases.rescue(2).await.unwrap().len(), 2);
    let mut all = Vec::new();
    while all.len() < 18 {
        let both = futures_util::future::join(ports.leases.rescue(5), other.leases.rescue(5)).await;
        all.extend(
            both.0
                .unwrap()
                .into_iter()
                .chain(both.1.unwrap())
                .map(|one| one.action_id),
        );
    }
    assert_eq!(all.len(), 18);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 18);
}

/// A holder whose lease was taken away can write nothing more, whoever holds the action now.
pub async fn a_lost_lease_writes_nothing(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let id = ports.submitted(user).await;
    let lost = ports.claim(1, INSTANT).await.remove(0).lease.id;
    ports.leases.rescue(10).await.unwrap();
    let nothing_written = async |when: &str| {
        let before = (ports.action(id).await, ports.log(id).await);
        for from in 3..6 {
            assert_eq!(
                ports.append(lost, from, vec![message("late")]).await,
                Appended::Lost,
                "{when}"
            );
            let end = Finish {
                from_seq: Some(seq(from)),
                ..finish(lost, vec![message("late")], Outcome::Cancelled)
            };
            assert_eq!(
                ports.leases.finish(&[end]).await.unwrap(),
                [Finished::Lost],
                "{when}"
            );
        }
        let end = finish(lost, vec![], Outcome::Succeeded(json("1")));
        assert_eq!(
            ports.leases.finish(&[end]).await.unwrap(),
            [Finished::Lost],
            "{when}"
        );
        assert_eq!(
            ports.leases.requeue(&[requeue(lost)]).await.unwrap(),
            [Requeued::Lost],
            "{when}"
        );
        assert_eq!(
            ports.leases.release(&[lost]).await.unwrap(),
            [Released::Lost],
            "{when}"
        );
        assert_eq!(
            ports.beat(&[lost]).await,
            [HeartbeatVerdict::Lost],
            "{when}"
        );
        assert_eq!(
            (ports.action(id).await, ports.log(id).await),
            before,
            "{when}"
        );
    };
    nothing_written("while it is queued").await;
    let held = ports.claim(1, LONG).await.remove(0).lease.id;
    nothing_written("while another holds it").await;
    let end = finish(held, vec![], Outcome::Succeeded(json("2")));
    assert_eq!(
        ports.leases.finish(&[end]).await.unwrap(),
        [Finished::Finished(seq(5))]
    );
    nothing_written("after another finished it").await;
}

/// A scheduled action is queued when its time has come.
pub async fn a_scheduled_action_is_queued_in_time(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    assert_eq!(ports.leases.promote(10).await.unwrap().next_due_in, None);
    let at = |milliseconds| Some(ports.clock.now() + TimeDelta::milliseconds(milliseconds));
    let soon = ports
        .submit(NewAction {
            run_at: at(300),
            ..ports.new_action(user, "echo")
        })
        .await;
    let late = ports
        .submit(NewAction {
            run_at: at(3_600_000),
            ..ports.new_action(user, "echo")
        })
        .await;
    let promoted = ports.leases.promote(10).await.unwrap();
    assert_eq!(promoted.count, 0);
    assert!(promoted.next_due_in.unwrap() <= Duration::from_millis(300));
    let promoted = ports
        .until("due", async || {
            let promoted = ports.leases.promote(10).await.unwrap();
            (promoted.count > 0).then_some(promoted)
        })
        .await;
    assert_eq!(promoted.count, 1);
    assert!(promoted.next_due_in.unwrap() > Duration::from_secs(3_500));
    assert_eq!(
        (ports.status(soon).await, ports.status(late).await),
        (Status::Queued, Status::Scheduled)
    );
    assert_eq!(ports.claim(10, LONG).await.len(), 1);
}

fn finish(lease: LeaseRef, events: Vec<NewEvent>, outcome: Outcome) -> Finish {
    Finish {
        lease,
        from_seq: None,
        events,
        outcome,
    }
}

fn requeue(lease: LeaseRef) -> Requeue {
    Requeue {
        lease,
        pause: Duration::ZERO,
        reason: RetryReason::Failed,
        error: None,
    }
}

fn rescued(action_id: ActionId, verdict: RescueVerdict) -> Rescued {
    Rescued {
        action_id,
        action_type: type_name("echo"),
        verdict,
    }
}

/// A lease that nobody granted.
fn stranger(ports: &Ports, action: Option<ActionId>) -> LeaseRef {
    let action_id = action.unwrap_or_else(|| ActionId::from_uuid(ports.ids.time_ordered()));
    LeaseRef {
        action_id,
        lease_id: LeaseId::from_uuid(ports.ids.time_ordered()),
    }
}

async fn cancel(ports: &Ports, user: UserId, lease: LeaseRef) {
    let verdict = ports
        .submissions
        .cancel(lease.action_id, &owned_by(user))
        .await
        .unwrap();
    assert_eq!(verdict, CancelVerdict::Asked);
}

#[track_caller]
fn assert_near(found: TimeDelta, expected: Duration) {
    let off = found - TimeDelta::from_std(expected).unwrap();
    assert!(
        off.abs() < TimeDelta::seconds(5),
        "{found} is not about {expected:?}"
    );
}

/// A lease that stands is told as it is, and one that does not is lost.
pub async fn a_lease_tells_how_it_stands(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let grant = ports.running(user).await;
    let lease = grant.lease.id;
    let lost = LeaseRef {
        lease_id: LeaseId::from_uuid(ports.ids.time_ordered()),
        ..lease
    };
    let held = ports.leases.held(&[lost, lease]).await.unwrap();
    let expected = Held {
        action_type: type_name("echo"),
        attempts: Attempts { used: 1, max: 3 },
        cancel: Cancel::NotAsked,
        next_seq: grant.lease.next_seq,
        retry: RetryPolicy::default(),
    };
    assert_eq!(held, [None, Some(expected.clone())]);
    ports.append(lease, 3, vec![message("a")]).await;
    ports
        .submissions
        .cancel(lease.action_id, &owned_by(user))
        .await
        .unwrap();
    let held = ports.leases.held(&[lease]).await.unwrap();
    let expected = Held {
        cancel: Cancel::Asked,
        next_seq: grant.lease.next_seq.next(),
        ..expected
    };
    assert_eq!(held, [Some(expected)]);
    ports.leases.release(&[lease]).await.unwrap();
    assert_eq!(ports.leases.held(&[lease]).await.unwrap(), [None]);
    assert_eq!(ports.leases.held(&[]).await.unwrap(), []);
}

/// A lease on an action of a type beyond reach looks lost, and nothing is written by it; of two grants of one action the
/// present one stands.
pub async fn a_lease_beyond_reach_looks_lost(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let old = ports.running(user).await.lease.id;
    ports.leases.release(&[old]).await.unwrap();
    let lease = ports.claim(1, LONG).await.remove(0).lease.id;
    let exactly = |name| TypePattern::Exactly(type_name(name));
    let within = TypeReach::Some(vec![exactly("other"), exactly("echo")]);
    let below = TypeReach::Some(vec![TypePattern::Below("report.".to_owned())]);
    for (reach, is_held) in [
        (TypeReach::All, true),
        (within, true),
        (below, false),
        (TypeReach::Some(vec![exactly("ech_")]), false),
        (TypeReach::Some(vec![]), false),
    ] {
        let beats = [old, lease].map(|lease| Beat {
            lease,
            reach: reach.clone(),
        });
        let verdicts = ports.leases.heartbeat(&beats).await.unwrap();
        assert_eq!(verdicts[0], HeartbeatVerdict::Lost);
        assert_eq!(verdicts[1] != HeartbeatVerdict::Lost, is_held, "{reach:?}");
        let before = ports.log(lease.action_id).await;
        let append = Append {
            lease,
            from_seq: seq(u32::try_from(before.len()).unwrap() + 1),
            events: vec![message("a")],
            checkpoint: None,
        };
        let appended = ports.leases.append(&[append], &reach).await.unwrap();
        assert_eq!(appended[0] != Appended::Lost, is_held, "{reach:?}");
        let grown = ports.log(lease.action_id).await.len() - before.len();
        assert_eq!(grown, usize::from(is_held), "{reach:?}");
    }
}

/// A heartbeat after the end tells the holder that ended the action from one that has lost it.
pub async fn a_heartbeat_tells_the_end_from_a_loss(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lost = ports.running(user).await.lease.id;
    ports.leases.release(&[lost]).await.unwrap();
    let ended = ports.claim(1, LONG).await.remove(0).lease.id;
    let cancelled = ports.running(user).await.lease.id;
    cancel(&ports, user, cancelled).await;
    ports.leases.release(&[cancelled]).await.unwrap();
    let end = finish(ended, vec![], Outcome::Succeeded(json("1")));
    ports.leases.finish(&[end]).await.unwrap();
    assert_eq!(
        ports.beat(&[lost, ended, cancelled]).await,
        [
            HeartbeatVerdict::Lost,
            HeartbeatVerdict::Finished,
            HeartbeatVerdict::Finished
        ]
    );
    // Beyond its caller's types it is neither.
    let within = TypeReach::Some(vec![TypePattern::Exactly(type_name("echo"))]);
    let below = TypeReach::Some(vec![TypePattern::Below("report.".to_owned())]);
    for (reach, verdict) in [
        (within, HeartbeatVerdict::Finished),
        (below, HeartbeatVerdict::Lost),
    ] {
        let beat = Beat {
            lease: ended,
            reach,
        };
        assert_eq!(ports.leases.heartbeat(&[beat]).await.unwrap(), [verdict]);
    }
}
