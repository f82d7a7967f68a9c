//! The one LISTEN connection of a replica.
//!
//! It stands outside the pool and speaks plain tokio-postgres. A silent connection tells nothing, so the replica
//! sends itself a message from the pool now and then, and connects anew when that doesn't arrive.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::poll_fn;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::{AsyncMessage, NoTls};

use super::outbox::{self, Hints};
use super::{Shared, lock};

/// How often it is made sure that messages arrive.
const PING: Duration = Duration::from_secs(15);
/// How long the own message may take.
const PONG: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The pause before connecting anew: doubled each time from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// One channel a schema: several installations may share a database.
const CHANNEL: &str = "SELECT 'deed_' || to_hex(hashtextextended(current_schema(), 0))";

pub(super) async fn run(shared: &Arc<Shared>) {
    let mut pause = PAUSE.0;
    loop {
        let was_listening = match listen(shared).await {
            Ok(()) => true,
            Err(error) => {
                log::debug!(error:err = error; "no connection to listen on");
                false
            }
        };
        if shared.is_listening.swap(false, Ordering::Relaxed) {
            shared.database.metrics().wakeups.interrupted();
            log::warn!("listening was interrupted; connecting anew");
        }
        pause = if was_listening {
            PAUSE.0
        } else {
            (pause * 2).min(PAUSE.1)
        };
        sleep(pause).await;
    }
}

/// Listens until the connection ends or falls silent.
async fn listen(shared: &Arc<Shared>) -> Result<(), tokio_postgres::Error> {
    let Ok(connected) = timeout(CONNECT, shared.database.config().connect(NoTls)).await else {
        return Ok(());
    };
    let (client, mut connection) = connected?;
    let setup = async {
        let mut channel = String::new();
        for message in client.simple_query(CHANNEL).await? {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                channel = row.get(0).unwrap_or_default().to_owned();
            }
        }
        client.batch_execute(&format!("LISTEN \"{channel}\"")).await
    };
    tokio::pin!(setup);
    let mut is_set_up = false;
    let mut ping_at = Instant::now() + PING;
    let mut pong_by: Option<Instant> = None;
    let setup_by = Instant::now() + CONNECT;
    loop {
        let wake_at = if is_set_up {
            pong_by.unwrap_or(ping_at)
        } else {
            setup_by
        };
        tokio::select! {
            done = &mut setup, if !is_set_up => {
                done?;
                is_set_up = true;
                shared.is_listening.store(true, Ordering::Relaxed);
                // What was said before this is not heard: look.
                shared.catch_up.notify_one();
            }
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    if hear(shared, notification.payload()) {
                        ping_at = Instant::now() + PING;
                        pong_by = None;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return if is_set_up { Ok(()) } else { Err(error) },
                None => return Ok(()),
            },
            () = sleep_until(wake_at) => {
                if !is_set_up || pong_by.is_some() {
                    return Ok(());
                }
                pong_by = Some(Instant::now() + PONG);
                let shared = Arc::clone(shared);
                tokio::spawn(async move { outbox::send(&shared, vec![format!("{} p", shared.replica)]).await });
            }
        }
    }
}

/// Wakes whom a message concerns; answers whether it was an own one, which shows that messages arrive.
fn hear(shared: &Shared, payload: &str) -> bool {
    *lock(&shared.heard_at) = Instant::now();
    let (from, words) = payload.split_once(' ').unwrap_or((payload, ""));
    if from == shared.replica {
        let taken = lock(&shared.outbox.echo).came_back(words);
        if let Some(taken) = taken {
            shared.database.metrics().wakeups.came_back(taken);
        }
        return true;
    }
    shared.wake_for(&Hints::parse(words));
    false
}
