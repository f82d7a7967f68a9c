//! Asks for actions, and notes each one that is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::history::Record;
use super::random::Random;
use super::service::{Answer, ask};
use super::subscriber;
use super::work::Asked;
use super::world::{Phase, World};

/// How often a request is sent that may be sent again: for longer than all servers are ever away.
const TRIES: u32 = 120;
/// How long an answer may take, the wait aside that was asked for. Soon enough there is another server to be asked.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a stream is followed at the most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks until the world comes to rest.
pub async fn run(world: Arc<World>, name: String, mut random: Random) {
    let mut turn = 0;
    while world.phase() == Phase::Chaos {
        turn += 1;
        let asked = Asked::any(&mut random, format!("{name}-{turn}"));
        if let Some(action) = submit(&world, &asked, &name, &mut random).await {
            if random.chance(12) {
                sleep(random.millis(0..1_000)).await;
                cancel(&world, &action, &mut random).await;
            }
            // The answer may have been lost on its way, whatever came: some ask again who need not.
            if asked.key.is_some() && random.chance(15) {
                submit(&world, &asked, &name, &mut random).await;
            }
        }
        sleep(random.millis(20..200)).await;
    }
}

/// Sends a request until it is answered, if it has a key, else once. Answers the id that it was acknowledged with.
async fn submit(
    world: &Arc<World>,
    asked: &Asked,
    name: &str,
    random: &mut Random,
) -> Option<String> {
    for _ in 0..TRIES {
        let replica = world.service.any(random);
        let mut request = world.service.post(replica, asked.path, &asked.body);
        if let Some(key) = &asked.key {
            request = request.header("Idempotency-Key", key);
        }
        request = match asked.wait.as_secs() {
            0 => request.header("Prefer", "respond-async"),
            seconds => request.header("Prefer", format!("wait={seconds}")),
        };
        let answer = if asked.path == "/stream" {
            match timeout(ANSWER, request.send()).await {
                Ok(Ok(response)) if response.status() == 200 => {
                    return streamed(world, asked, name, replica, response, random).await;
                }
                Ok(Ok(response)) => whole(response).await,
                Ok(Err(_)) | Err(_) => Answer::Unknown,
            }
        } else {
            ask(request, ANSWER + asked.wait).await
        };
        match (answer.code(), &answer) {
            ((200..=202, _), Answer::Told { body, .. }) => {
                let status = body["status"].as_str().map(str::to_owned);
                let action = body["id"].as_str().unwrap_or_default().to_owned();
                acknowledge(world, asked, &action, status);
                return Some(action);
            }
            ((0 | 408 | 503, _) | (409, "idempotency_in_flight"), _) if asked.key.is_some() => {
                sleep(random.millis(50..400)).await;
            }
            // Once more could be a second action.
            ((0 | 408 | 503, _), _) => return None,
            _ => {
                world.unexpected(&format!("POST {} by {}", asked.path, asked.tag), &answer);
                return None;
            }
        }
    }
    // The oracle must not take silence for consent.
    world.recorder.record(Record::Died {
        victim: asked.tag.clone(),
        how: format!("no answer to POST {} in {TRIES} tries", asked.path),
    });
    None
}

fn acknowledge(world: &World, asked: &Asked, action: &str, status: Option<String>) {
    world.recorder.record(Record::Acknowledged {
        action: action.to_owned(),
        tag: asked.tag.clone(),
        key: asked.key.clone(),
        run_at: asked.run_at,
        status,
    });
    world.publish(action);
}

/// Created and followed in one call: the head acknowledges it, and names it.
async fn streamed(
    world: &Arc<World>,
    asked: &Asked,
    name: &str,
    replica: usize,
    response: Response,
    random: &mut Random,
) -> Option<String> {
    let location = response.headers().get("location");
    let location = location
        .and_then(|path| path.to_str().ok())
        .unwrap_or_default();
    let action = location
        .trim_start_matches("/actions/")
        .trim_end_matches("/events")
        .to_owned();
    acknowledge(world, asked, &action, None);
    // One that hears nothing of the end must not wait for it for ever: it has something else to do.
    let patience = match random.chance(60) {
        true => random.millis(0..2_000),
        false => PATIENCE,
    };
    subscriber::read(world, name, &action, replica, 0, response, Some(patience)).await;
    Some(action)
}

async fn whole(response: Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    match timeout(ANSWER, response.bytes()).await {
        Ok(Ok(bytes)) => Answer::Told {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        },
        Ok(Err(_)) | Err(_) => Answer::Unknown,
    }
}

/// Asks to cancel, until there is an answer.
async fn cancel(world: &World, action: &str, random: &mut Random) {
    for _ in 0..TRIES {
        let path = format!("/actions/{action}/cancel");
        let request =
            world
                .service
                .request(world.service.any(random), reqwest::Method::POST, &path);
        let answer = ask(request, ANSWER).await;
        match (answer.code().0, &answer) {
            (200 | 202, Answer::Told { body, .. }) => {
                let status = body["status"].as_str().unwrap_or_default().to_owned();
                world.recorder.record(Record::CancelAnswered {
                    action: action.to_owned(),
                    status,
                });
                return;
            }
            (0 | 408 | 503, _) => sleep(random.millis(50..400)).await,
            _ => return world.unexpected(&format!("POST {path}"), &answer),
        }
    }
}
