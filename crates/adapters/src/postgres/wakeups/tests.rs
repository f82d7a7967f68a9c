//! What only the inside shows: reconnecting, and that nothing is kept of watchers that went.

use super::*;
use deed_testkit::TestDatabase;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use crate::ids::SystemIds;

const SOON: Duration = Duration::from_secs(10);

async fn hub(url: &str, background: &mut JoinSet<()>) -> WakeupHub {
    let database = Database::new(url, 2).unwrap();
    let hub = WakeupHub::new(database, &SystemIds);
    background.spawn(hub.clone().run());
    until(|| hub.is_listening()).await;
    hub
}

async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap();
}

fn action(n: u128) -> ActionId {
    ActionId::from_uuid(Uuid::from_u128(n))
}

#[tokio::test]
async fn a_listener_that_was_killed_comes_back() {
    let test = TestDatabase::fresh().await;
    let name = format!("listener-{}", SystemIds.time_ordered().simple());
    let url = format!("{}&application_name={name}", test.url());
    let mut background = JoinSet::new();
    let one = hub(&url, &mut background).await;
    let other = hub(&url, &mut background).await;
    let client = test.client().await;
    // Of this test alone: others listen on the same server.
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE query LIKE 'LISTEN%' AND application_name = $1";
    for round in 1..=2 {
        let mut heard = other.watch_log(action(round));
        one.log_grew(action(round), Sequence::FIRST);
        assert_eq!(
            timeout(SOON, heard.next()).await.unwrap(),
            Some(Sequence::FIRST),
            "round {round}"
        );
        if round == 1 {
            client.query(kill, &[&name]).await.unwrap();
            until(|| !other.is_listening()).await;
            until(|| other.is_listening() && one.is_listening()).await;
        }
    }
}

#[tokio::test]
async fn a_hint_for_another_schema_is_not_heard() {
    let (here, there) = (TestDatabase::fresh().await, TestDatabase::fresh().await);
    let mut background = JoinSet::new();
    let (ours, theirs) = (
        hub(&here.url(), &mut background).await,
        hub(&there.url(), &mut background).await,
    );
    let neighbour = hub(&here.url(), &mut background).await;
    let (mut heard, mut not_heard) = (neighbour.watch_log(action(1)), theirs.watch_log(action(1)));
    ours.log_grew(action(1), Sequence::FIRST);
    timeout(SOON, heard.next()).await.unwrap();
    assert!(futures_util::FutureExt::now_or_never(not_heard.next()).is_none());
}

#[tokio::test]
async fn a_message_of_another_replica_wakes_and_an_own_one_shows_that_messages_arrive() {
    let test = TestDatabase::fresh().await;
    let mut background = JoinSet::new();
    let hub = hub(&test.url(), &mut background).await;
    let mut heard = hub.watch_cancels();
    let payload = format!("somebody c{}", Uuid::from_u128(7).simple());
    outbox::send(&hub.shared, vec![payload]).await;
    assert_eq!(timeout(SOON, heard.next()).await.unwrap(), Some(action(7)));
}

#[tokio::test]
async fn nothing_is_kept_of_watchers_that_went() {
    let test = TestDatabase::empty().await;
    let hub = WakeupHub::new(Database::new(&test.url(), 2).unwrap(), &SystemIds);
    let watches: Vec<_> = (0..100).map(|n| hub.watch_log(action(n % 50))).collect();
    assert_eq!(hub.shared.watched_logs().len(), 50);
    drop(watches);
    assert_eq!(hub.shared.watched_logs().len(), 0);
    drop((hub.watch_cancels(), hub.watch_cancels()));
    hub.cancel_asked(action(1));
    assert_eq!(lock(&hub.shared.cancels).len(), 0);
}

#[tokio::test]
async fn identities_are_not_trusted_while_nobody_looks_after_them() {
    let test = TestDatabase::fresh().await;
    let hub = WakeupHub::new(Database::new(&test.url(), 2).unwrap(), &SystemIds);
    assert_eq!(hub.identity_epoch(), None);
    pulse::take(&hub.shared).await.unwrap();
    let epoch = hub.identity_epoch();
    assert!(epoch.is_some());
    hub.identities_changed();
    assert_ne!(hub.identity_epoch(), epoch);
    let long_ago = Instant::now().checked_sub(IDENTITIES_FRESH).unwrap();
    *lock(&hub.shared.pulsed_at) = Some(long_ago);
    assert_eq!(hub.identity_epoch(), None);
}
