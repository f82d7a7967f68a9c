//! Notifications that don't arrive: the look at the database once a second finds what they told.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::proxy::{Keeps, Proxy};
use deed_e2e::server::Server;
use deed_e2e::stream::{Event, check_whole_log, words};
use serde_json::json;

use crate::{ACTIONS, DEED, nearly_alone, note};

/// How late an event may be.
const PROMISED: TimeDelta = TimeDelta::milliseconds(1_200);

/// With notifications the last event comes within some milliseconds: less than this would mean that nothing was disturbed.
const HEARD: TimeDelta = TimeDelta::milliseconds(200);

/// How long after each event was written it arrived.
async fn delays(client: &Client, path: &str, events: &[Event]) -> Vec<TimeDelta> {
    let request = client.get(&format!("{path}?limit=200"));
    let page = request.header("Accept", "application/json").send().await;
    let page = page.json(200);
    let items = page["items"].as_array().unwrap().iter();
    let written = items.map(|item| item["at"].as_str().unwrap().parse().unwrap());
    events
        .iter()
        .zip(written)
        .map(|(event, at): (&Event, DateTime<Utc>)| event.at_time - at)
        .collect()
}

/// Streams through `front` an echo that another server performs while `disturb` goes on, and checks that it is at most a
/// little late.
async fn check_late_delivery(
    fault: &str,
    database: &Database,
    front: &Server,
    disturb: impl AsyncFnOnce(&Database),
) -> TimeDelta {
    let _back = Server::start(DEED, database).await;
    let client = front.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b c d e f g h", "delay_ms": 350}});
    let mut stream = client.post("/stream", &body).stream().await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let mut events = vec![stream.event_named("created").await];
    tokio::select! {
        () = disturb(database) => panic!("it stopped disturbing"),
        rest = stream.rest() => events.extend(rest),
    }
    check_whole_log(&events);
    assert_eq!(words(&events).concat(), "abcdefgh");
    let delays = delays(&client, &path, &events).await;
    let worst = delays.iter().max().unwrap();
    assert!(*worst <= PROMISED, "{delays:?}");
    note(
        fault,
        format!("the last event after {} ms", worst.num_milliseconds()),
    );
    *worst
}

/// A server that performs nothing.
async fn front(database: &Database) -> Server {
    Server::setup(database).runner_slots(0).start(DEED).await
}

#[tokio::test]
async fn with_the_listener_cut_off_it_is_a_little_later() {
    let _machine = nearly_alone().await;
    let database = Database::fresh().await;
    let front = front(&database).await;
    let mut killed = 0;
    check_late_delivery("listener killed", &database, &front, async |database| {
        // Whenever a server listens again, it is cut off again.
        loop {
            killed += database.kill_listeners().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(killed > 5, "{killed}");
}

#[tokio::test]
async fn with_the_listener_silent_it_is_a_little_later() {
    let _machine = nearly_alone().await;
    let database = Database::fresh().await;
    let front = front(&database).await;
    let worst = check_late_delivery("listener silent", &database, &front, async |database| {
        let _frozen = database.freeze_listeners().await;
        std::future::pending().await
    })
    .await;
    assert!(worst > HEARD, "{worst}");
}

#[tokio::test]
async fn with_every_notification_lost_it_is_a_little_later() {
    let _machine = nearly_alone().await;
    let database = Database::fresh().await;
    let proxy = Proxy::before(database.url(), Keeps::Notifications).await;
    let front = Server::setup(&database)
        .environment("DATABASE_URL", &proxy.url(database.url()))
        .runner_slots(0)
        .start(DEED)
        .await;
    let worst = check_late_delivery("NOTIFY lost", &database, &front, async |_| {
        std::future::pending().await
    })
    .await;
    assert!(worst > HEARD, "{worst}");
}
