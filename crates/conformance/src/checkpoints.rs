//! What an attempt leaves for the next one: a part of the suite of [`Leases`](deed_domain::ports::Leases).

use std::time::Duration;

use deed_domain::action::state::RetryReason;
use deed_domain::action::{Grant, Lease, LeaseRef, NewEvent, Payload};
use deed_domain::ports::{Append, Appended, Requeue};

use crate::fixtures::{LONG, json, message, seq};
use crate::{Hearing, Ports, Store};

fn report(lease: LeaseRef, from: u32, events: Vec<NewEvent>, state: &str) -> Append {
    Append {
        lease,
        from_seq: seq(from),
        events,
        checkpoint: Some(json(state)),
    }
}

fn written(next: u32) -> Appended {
    Appended::Written {
        next_seq: seq(next),
        cancel_requested: false,
    }
}

/// Gives the action back and takes it again.
async fn again(ports: &Ports, lease: LeaseRef) -> Grant {
    ports.leases.release(&[lease]).await.unwrap();
    ports.claim(1, LONG).await.remove(0)
}

/// However the action comes to its next attempt, that one gets what was left for it, and nobody else sees it.
pub async fn a_checkpoint_goes_to_the_next_attempt(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let first = ports.running(user).await;
    assert_eq!(first.checkpoint, None);
    let lease = first.lease.id;
    let state = r#"{"page": 1.0}"#;
    let events = vec![message("a")];
    assert_eq!(
        ports.write(report(lease, 3, events, state)).await,
        written(4)
    );
    assert_eq!(ports.log(lease.action_id).await.len(), 3);
    let released = again(&ports, lease).await;
    assert_eq!(released.checkpoint, Some(json(state)), "after a release");
    // An attempt that leaves none hands on what it got.
    let requeue = Requeue {
        lease: released.lease.id,
        pause: Duration::ZERO,
        reason: RetryReason::Failed,
        error: None,
    };
    ports.leases.requeue(&[requeue]).await.unwrap();
    let requeued = ports.claim(1, Duration::from_micros(1)).await.remove(0);
    assert_eq!(requeued.checkpoint, Some(json(state)), "after a failure");
    assert_eq!(ports.leases.rescue(10).await.unwrap().len(), 1);
    let rescued = ports.claim(1, LONG).await.remove(0);
    assert_eq!(rescued.checkpoint, Some(json(state)), "after a rescue");
}

/// The latest counts, and one can be left without events.
pub async fn a_checkpoint_takes_the_place_of_the_one_before(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    for (state, next) in [("1", 3), ("2", 3), ("null", 3)] {
        let alone = report(lease, 3, vec![], state);
        assert_eq!(ports.write(alone).await, written(next));
    }
    assert_eq!(ports.log(lease.action_id).await.len(), 2);
    // What says nothing of it leaves it as it is.
    ports.append(lease, 3, vec![message("a")]).await;
    let next = again(&ports, lease).await;
    assert_eq!(next.checkpoint, Some(json("null")));
}

/// The same positions again write no checkpoint either, and neither does a report at the wrong place.
pub async fn a_checkpoint_is_kept_with_its_events_or_not_at_all(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    let events = || vec![message("a"), message("b")];
    assert_eq!(
        ports.write(report(lease, 3, events(), "1")).await,
        written(5)
    );
    assert_eq!(
        ports.write(report(lease, 3, events(), "2")).await,
        written(5)
    );
    assert_eq!(
        ports.write(report(lease, 3, vec![], "3")).await,
        written(5),
        "late"
    );
    let refused = Appended::OutOfOrder { next_seq: seq(5) };
    for (from, events) in [(6, vec![]), (6, events()), (4, events())] {
        assert_eq!(ports.write(report(lease, from, events, "4")).await, refused);
    }
    assert_eq!(again(&ports, lease).await.checkpoint, Some(json("1")));
}

/// Who holds the action no longer leaves nothing for its next attempt.
pub async fn a_lost_lease_leaves_no_checkpoint(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lost = ports.running(user).await.lease.id;
    let held = again(&ports, lost).await.lease;
    let from = held.next_seq.get();
    assert_eq!(
        ports.write(report(held.id, from, vec![], "1")).await,
        written(from)
    );
    for events in [vec![], vec![message("late")]] {
        let late = report(lost, from, events, "2");
        assert_eq!(ports.write(late).await, Appended::Lost);
    }
    assert_eq!(again(&ports, held.id).await.checkpoint, Some(json("1")));
}

/// A checkpoint of the greatest size comes back as it was left.
pub async fn a_large_checkpoint_comes_back(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let lease = ports.running(user).await.lease.id;
    let text = format!("\"{}\"", "x".repeat(Lease::CHECKPOINT_MAX_BYTES - 2));
    assert_eq!(
        ports.write(report(lease, 3, vec![], &text)).await,
        written(3)
    );
    // A heartbeat carries it along.
    ports.beat(&[lease]).await;
    let next = again(&ports, lease).await;
    assert_eq!(
        next.checkpoint.as_ref().map(Payload::as_str),
        Some(text.as_str())
    );
}
