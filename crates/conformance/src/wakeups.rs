//! Suite of [`Wakeups`](deed_domain::ports::Wakeups).

use std::time::Duration;

use chrono::TimeDelta;
use deed_domain::action::Sequence;
use deed_domain::id::ActionId;
use deed_domain::ports::CancelVerdict;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::api_keys::issue;
use crate::fixtures::{LONG, by_somebody, message, owned_by, seq};
use crate::{Hearing, Ports, Store};

/// What this replica commits wakes its own watchers before the call returns.
pub async fn own_commits_wake_at_once(store: &impl Store) {
    let ports = store.replica(Hearing::Deaf).await;
    let user = ports.ready().await;
    let new = ports.new_action(user, "echo");
    let (mut log, mut queue) = (ports.wakeups.watch_log(new.id), ports.wakeups.watch_queue());
    let id = ports.submit(new).await;
    assert_eq!(log.next().now_or_never(), Some(Some(seq(1))));
    assert_eq!(queue.next().now_or_never(), Some(Some(())));
    let lease = ports.claim(1, LONG).await.remove(0).lease.id;
    ports
        .append(lease, 3, vec![message("a"), message("b")])
        .await;
    // Hints that nobody took are merged into one.
    assert_eq!(log.next().now_or_never(), Some(Some(seq(4))));
    assert_eq!(log.next().now_or_never(), None);
    let mut cancels = ports.wakeups.watch_cancels();
    assert_eq!(
        ports.submissions.cancel(id, &owned_by(user)).await.unwrap(),
        CancelVerdict::Asked
    );
    assert_eq!(cancels.next().now_or_never(), Some(Some(id)));
}

/// Whatever lengthens a log wakes its watchers.
pub async fn every_step_of_a_life_wakes(store: &impl Store) {
    let ports = store.replica(Hearing::Deaf).await;
    let user = ports.ready().await;
    let id = ports.submitted(user).await;
    let mut log = ports.wakeups.watch_log(id);
    let lease = ports.claim(1, LONG).await.remove(0).lease.id;
    assert_eq!(log.next().now_or_never(), Some(Some(seq(2))), "claim");
    ports.leases.release(&[lease]).await.unwrap();
    assert_eq!(log.next().now_or_never(), Some(Some(seq(3))), "release");
    ports.claim(1, Duration::from_micros(1)).await;
    assert_eq!(log.next().now_or_never(), Some(Some(seq(4))), "claim");
    ports.leases.rescue(1).await.unwrap();
    assert_eq!(log.next().now_or_never(), Some(Some(seq(5))), "rescue");
    ports.submissions.cancel(id, &owned_by(user)).await.unwrap();
    assert_eq!(log.next().now_or_never(), Some(Some(seq(6))), "cancel");
}

/// What one replica commits wakes the watchers of another.
pub async fn another_replica_hears_of_commits(store: &impl Store) {
    check_another(store, Hearing::Good, TimeDelta::milliseconds(800)).await;
}

/// With every hint lost, watchers are woken within 1.2 s all the same.
pub async fn a_deaf_replica_finds_out_by_itself(store: &impl Store) {
    // Two queries of the test itself lie within.
    check_another(store, Hearing::Deaf, TimeDelta::milliseconds(1_300)).await;
}

async fn check_another(store: &impl Store, hearing: Hearing, bound: TimeDelta) {
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(hearing).await;
    let user = ports.ready().await;
    let id = ports.submitted(user).await;
    let mut log = other.wakeups.watch_log(id);
    let mut queue = other.wakeups.watch_queue();
    let mut cancels = other.wakeups.watch_cancels();
    settle(&other, &mut log, seq(1)).await;

    let started = ports.clock.now();
    let lease = ports.claim(1, LONG).await.remove(0).lease.id;
    settle(&other, &mut log, seq(2)).await;
    assert_within(&ports, started, bound);

    let started = ports.clock.now();
    ports.append(lease, 3, vec![message("a")]).await;
    settle(&other, &mut log, seq(3)).await;
    assert_within(&ports, started, bound);

    while queue.next().now_or_never().is_some() {}
    let started = ports.clock.now();
    ports.submitted(user).await;
    other.soon("the queue", queue.next()).await;
    assert_within(&ports, started, bound);

    let started = ports.clock.now();
    ports.submissions.cancel(id, &owned_by(user)).await.unwrap();
    assert_eq!(other.soon("the cancel", cancels.next()).await, Some(id));
    assert_within(&ports, started, bound);
}

/// Watchers hear of keys and users that lose their validity: own ones at once, others' within their bound.
pub async fn identities_that_end_are_told_of(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(Hearing::Good).await;
    let deaf = store.replica(Hearing::Deaf).await;
    let user = ports.user("ada@example.com").await.id;
    let (key, _) = issue(&ports, user, &["actions:read"]).await;
    // Their first look may be news to them.
    for replica in [&ports, &other, &deaf] {
        let mut queue = replica.wakeups.watch_queue();
        replica.soon("a look", queue.next()).await;
        replica.soon("another look", queue.next()).await;
    }
    let mut own = ports.wakeups.watch_identities();
    let mut others = other.wakeups.watch_identities();
    let mut deafs = deaf.wakeups.watch_identities();
    let started = ports.clock.now();
    ports
        .api_keys
        .revoke(key.id, None, &by_somebody())
        .await
        .unwrap();
    assert_eq!(own.next().now_or_never(), Some(Some(())));
    other.soon("the other", others.next()).await;
    assert_within(&ports, started, TimeDelta::seconds(1));
    deaf.soon("the deaf", deafs.next()).await;
    assert_within(&ports, started, TimeDelta::seconds(5));
}

/// A watcher that comes later hears of what happens later; one that goes is not in the way of others.
pub async fn watchers_come_and_go(store: &impl Store) {
    let ports = store.replica(Hearing::Deaf).await;
    let user = ports.ready().await;
    let id = ports.submitted(user).await;
    let first = ports.wakeups.watch_log(id);
    let mut second = ports.wakeups.watch_log(id);
    drop(first);
    assert_eq!(second.next().now_or_never(), None);
    let lease = ports.claim(1, LONG).await.remove(0).lease.id;
    assert_eq!(second.next().now_or_never(), Some(Some(seq(2))));
    drop(second);
    let mut third = ports.wakeups.watch_log(id);
    ports.append(lease, 3, vec![message("a")]).await;
    assert_eq!(third.next().now_or_never(), Some(Some(seq(3))));
    let mut unknown = ports
        .wakeups
        .watch_log(ActionId::from_uuid(ports.ids.time_ordered()));
    assert_eq!(unknown.next().now_or_never(), None);
}

/// Waits until the watch tells of `last`.
async fn settle(ports: &Ports, log: &mut BoxStream<'static, Sequence>, last: Sequence) {
    let reached = async { while log.next().await.unwrap() < last {} };
    ports.soon("the log grows", reached).await;
}

#[track_caller]
fn assert_within(ports: &Ports, started: chrono::DateTime<chrono::Utc>, bound: TimeDelta) {
    let taken = ports.clock.now() - started;
    assert!(taken <= bound, "took {taken}");
}
