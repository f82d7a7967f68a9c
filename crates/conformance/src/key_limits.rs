//! Suite of how many actions of a key may wait, which [`Submissions`](deed_domain::ports::Submissions) keeps.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::TimeDelta;
use deed_domain::action::NewAction;
use deed_domain::action::state::RetryReason;
use deed_domain::caller::Reach;
use deed_domain::id::{ApiKeyId, UserId};
use deed_domain::ports::{BatchSubmitted, Requeue, Requeued, Submitted};
use futures_util::future::join_all;

use crate::fixtures::{LONG, idempotency};
use crate::{Hearing, Ports, Store};

/// Somebody's key, of whose actions so many may wait.
#[derive(Clone, Copy)]
struct Key {
    user: UserId,
    id: ApiKeyId,
    most: u32,
}

impl Key {
    async fn of_somebody(ports: &Ports, most: u32) -> Self {
        Self {
            user: ports.ready().await,
            id: ApiKeyId::from_uuid(ports.ids.time_ordered()),
            most,
        }
    }

    fn action(&self, ports: &Ports) -> NewAction {
        NewAction {
            api_key_id: Some(self.id),
            max_queued: NonZeroU32::new(self.most),
            ..ports.new_action(self.user, "echo")
        }
    }

    async fn submit(&self, ports: &Ports) -> Submitted {
        let submitted = ports.submissions.submit(self.action(ports), None).await;
        submitted.unwrap()
    }
}

/// As many wait as may, queued or scheduled, and no more; what has begun waits no longer. Nothing is kept of what was
/// refused.
pub async fn no_more_of_a_key_wait_than_may(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let key = Key::of_somebody(&ports, 3).await;
    let later = NewAction {
        run_at: Some(ports.clock.now() + TimeDelta::hours(1)),
        ..key.action(&ports)
    };
    ports.submit(later).await;
    assert_eq!(key.submit(&ports).await, Submitted::New);
    assert_eq!(key.submit(&ports).await, Submitted::New);
    let refused = key.action(&ports);
    let id = refused.id;
    let submitted = ports.submissions.submit(refused, None).await;
    assert_eq!(submitted, Ok(Submitted::TooManyQueued));
    let found = ports.action_reader.find(id, &Reach::EVERYTHING).await;
    assert_eq!(found, Ok(None));

    assert_eq!(ports.claim(1, LONG).await.len(), 1);
    assert_eq!(key.submit(&ports).await, Submitted::New);
    assert_eq!(key.submit(&ports).await, Submitted::TooManyQueued);
}

/// Each key is counted for itself; what was accepted without a limit is not counted, and the root key has none.
pub async fn keys_are_counted_apart(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let key = Key::of_somebody(&ports, 1).await;
    let without = NewAction {
        max_queued: None,
        ..key.action(&ports)
    };
    ports.submit(without).await;
    assert_eq!(key.submit(&ports).await, Submitted::New);
    assert_eq!(key.submit(&ports).await, Submitted::TooManyQueued);
    let other = Key {
        id: ApiKeyId::from_uuid(ports.ids.time_ordered()),
        ..key
    };
    assert_eq!(other.submit(&ports).await, Submitted::New);
    for _ in 0..3 {
        let of_root = NewAction {
            api_key_id: None,
            ..key.action(&ports)
        };
        ports.submit(of_root).await;
    }
}

/// Who asks again for what was accepted gets it, however many wait; a request that was refused leaves its idempotency
/// key free.
pub async fn a_full_queue_still_answers_what_it_has_accepted(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let key = Key::of_somebody(&ports, 1).await;
    let submit = async |name: &str, request| {
        let asked = Some(idempotency(name, request));
        let action = key.action(&ports);
        (
            action.id,
            ports.submissions.submit(action, asked).await.unwrap(),
        )
    };
    let (first, submitted) = submit("first", 1).await;
    assert_eq!(submitted, Submitted::New);
    assert_eq!(submit("first", 1).await.1, Submitted::Replayed(first));
    assert_eq!(submit("first", 2).await.1, Submitted::KeyReused);
    assert_eq!(submit("second", 1).await.1, Submitted::TooManyQueued);
    ports.claim(1, LONG).await;
    assert_eq!(submit("second", 2).await.1, Submitted::New);
}

/// A batch is accepted whole or not at all, and counts whole.
pub async fn a_batch_counts_whole(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let key = Key::of_somebody(&ports, 5).await;
    let submit = async |size: usize, name: &str| {
        let batch: Vec<NewAction> = (0..size).map(|_| key.action(&ports)).collect();
        let asked = Some(idempotency(name, 1));
        ports.submissions.submit_batch(&batch, asked).await.unwrap()
    };
    assert_eq!(submit(6, "six").await, BatchSubmitted::TooManyQueued);
    assert_eq!(submit(3, "three").await, BatchSubmitted::New);
    assert_eq!(submit(3, "more").await, BatchSubmitted::TooManyQueued);
    assert!(matches!(
        submit(3, "three").await,
        BatchSubmitted::Replayed(_)
    ));
    assert_eq!(submit(2, "two").await, BatchSubmitted::New);
    assert_eq!(key.submit(&ports).await, Submitted::TooManyQueued);
    assert_eq!(ports.claim(100, LONG).await.len(), 5);
}

/// What goes back to the queue waits again: given back, backing off, or taken from a silent performer.
pub async fn what_goes_back_to_the_queue_waits_again(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let key = Key::of_somebody(&ports, 1).await;
    assert_eq!(key.submit(&ports).await, Submitted::New);
    let lease = ports.claim(1, LONG).await.remove(0).lease.id;
    ports.leases.release(&[lease]).await.unwrap();
    assert_eq!(key.submit(&ports).await, Submitted::TooManyQueued);

    let short = ports.claim(1, Duration::from_millis(1)).await;
    assert_eq!(short.len(), 1);
    ports
        .until("the lease has run out", async || {
            let rescued = ports.leases.rescue(10).await.unwrap();
            (!rescued.is_empty()).then_some(())
        })
        .await;
    assert_eq!(key.submit(&ports).await, Submitted::TooManyQueued);

    let lease = ports.claim(1, LONG).await.remove(0).lease.id;
    let requeue = Requeue {
        lease,
        pause: LONG,
        reason: RetryReason::Failed,
        error: None,
    };
    let requeued = ports.leases.requeue(&[requeue]).await;
    assert_eq!(requeued, Ok(vec![Requeued::Requeued]));
    assert_eq!(key.submit(&ports).await, Submitted::TooManyQueued);
}

/// Requests that race, at two replicas, pass the limit by no more than were on their way; and those that come after
/// them find it passed.
pub async fn requests_that_race_pass_the_limit_by_no_more_than_are_on_their_way(
    store: &impl Store,
) {
    const RACERS: usize = 4;
    const EACH: usize = 10;
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(Hearing::Good).await;
    let key = Key::of_somebody(&ports, 8).await;
    let racers = (0..RACERS).map(|n| {
        let replica = if n % 2 == 0 { &ports } else { &other };
        async move {
            let mut accepted = 0;
            for _ in 0..EACH {
                accepted += usize::from(key.submit(replica).await == Submitted::New);
            }
            accepted
        }
    });
    let accepted: usize = join_all(racers).await.into_iter().sum();
    assert!((8..8 + RACERS).contains(&accepted), "{accepted}");
    assert_eq!(ports.claim(100, LONG).await.len(), accepted);
    for _ in 0..8 {
        assert_eq!(key.submit(&ports).await, Submitted::New);
    }
    assert_eq!(key.submit(&other).await, Submitted::TooManyQueued);
}
