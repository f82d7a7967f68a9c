//! Follows actions, leaves and comes back anywhere, and writes down what it sees.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::history::{Closed, Record};
use super::random::Random;
use super::service::{Answer, ask};
use super::world::{Phase, World};
use crate::stream::{Item, Parser};

/// How long the head of an answer may take.
const HEAD: Duration = Duration::from_secs(2);

/// Follows one action after the other until the world is over.
pub async fn run(world: Arc<World>, name: String, mut random: Random) {
    while world.phase() < Phase::Over {
        match world.pick(&mut random) {
            Some(action) if world.phase() == Phase::Chaos || random.chance(50) => {
                follow(&world, &name, &action, &mut random).await;
            }
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Follows an action to its end, however often the connection breaks.
async fn follow(world: &Arc<World>, name: &str, action: &str, random: &mut Random) {
    let mut cursor = match random.within(0..10) {
        0..6 => 0,
        6..8 => 1,
        _ => match last_position(world, action, random).await {
            Some(last) => random.within(0..last + 1),
            None => 0,
        },
    };
    while world.phase() < Phase::Over {
        let replica = world.service.any(random);
        let path = format!("/actions/{action}/events");
        let mut request = world.service.request(replica, Method::GET, &path);
        request = request.header("Accept", "text/event-stream");
        if random.chance(50) {
            request = request.header("Last-Event-ID", cursor.to_string());
        } else {
            request = request.query(&[("last_event_id", cursor)]);
        }
        let Ok(Ok(response)) = timeout(HEAD, request.send()).await else {
            sleep(random.millis(20..300)).await;
            continue;
        };
        match response.status().as_u16() {
            200 => {
                // Most of them stay; the others leave after any time.
                let patience = random.chance(40).then(|| random.millis(0..2_500));
                let (at, is_done) =
                    read(world, name, action, replica, cursor, response, patience).await;
                cursor = at;
                if is_done {
                    return;
                }
                sleep(random.millis(0..300)).await;
            }
            204 => {
                let stream = open(world, name, action, replica, cursor);
                let how = Closed::AtEnd;
                world.recorder.record(Record::StreamClosed { stream, how });
                return;
            }
            408 | 503 => sleep(random.millis(20..300)).await,
            status => {
                let body = response.text().await.unwrap_or_default();
                world.recorder.record(Record::Unexpected {
                    request: format!("GET {path} after {cursor} by {name}"),
                    status,
                    body,
                });
                return;
            }
        }
    }
}

/// Where the log ends just now.
async fn last_position(world: &World, action: &str, random: &mut Random) -> Option<u64> {
    let path = format!("/actions/{action}/events?limit=200");
    let request = world
        .service
        .request(world.service.any(random), Method::GET, &path);
    let answer = ask(request.header("Accept", "application/json"), HEAD).await;
    match (answer.code().0, &answer) {
        (200, Answer::Told { body, .. }) => body["items"].as_array()?.last()?["seq"].as_u64(),
        (0 | 408 | 503, _) => None,
        _ => {
            world.unexpected(&format!("GET {path}"), &answer);
            None
        }
    }
}

fn open(world: &World, name: &str, action: &str, replica: usize, after: u64) -> u64 {
    let stream = world.new_stream();
    world.recorder.record(Record::Opened {
        stream,
        subscriber: name.to_owned(),
        action: action.to_owned(),
        after,
        replica,
    });
    stream
}

/// Reads a stream to its end, or for as long as the patience lasts; answers the last position, and whether it was the end
/// of the log.
pub async fn read(
    world: &Arc<World>,
    name: &str,
    action: &str,
    replica: usize,
    after: u64,
    response: Response,
    patience: Option<Duration>,
) -> (u64, bool) {
    let stream = open(world, name, action, replica, after);
    let leaves_at = patience.map(|patience| Instant::now() + patience);
    let leaves = async {
        match leaves_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let over = world.reached(Phase::Over);
    tokio::pin!(leaves, over);
    let mut bytes = response.bytes_stream();
    let mut parser = Parser::default();
    let (mut at, mut is_done) = (after, false);
    let how = loop {
        let chunk = tokio::select! {
            chunk = bytes.next() => chunk,
            () = &mut leaves => break Closed::Left,
            () = &mut over => break Closed::Left,
        };
        match chunk {
            Some(Ok(chunk)) => parser.push(&chunk),
            Some(Err(_)) => break Closed::Broken,
            None => break Closed::Ended,
        }
        while let Some(item) = parser.next() {
            if let Item::Event(event) = item {
                // An id that is no position is one that is never expected.
                at = event.id.parse().unwrap_or(0);
                is_done = event.name == "done";
                world.recorder.record(Record::Seen {
                    stream,
                    seq: at,
                    event: event.name,
                    data: serde_json::from_str(&event.data).unwrap_or(Value::String(event.data)),
                });
            }
        }
    };
    world.recorder.record(Record::StreamClosed { stream, how });
    (at, is_done)
}
