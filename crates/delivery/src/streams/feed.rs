//! Feeds one response with the events of one action.
//!
//! A task of the main runtime reads the events and encodes them; the response takes the chunks through a channel that
//! is bounded by count and by bytes. A reader that takes nothing for too long is cut: it resumes from the log. The
//! performer never waits for a reader, because the events come from the log.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deed_domain::action::Event;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::app::{Api, HttpSettings};
use crate::request_id;
use crate::sse;

/// A chunk on its way, with its share of the bytes that may wait.
type Chunk = (Bytes, OwnedSemaphorePermit);

/// Starts the task and answers the body that it feeds. Dropping the body ends the task.
pub(super) fn start(
    api: &Api,
    events: BoxStream<'static, Event>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let settings = api.settings();
    let (sender, receiver) = mpsc::channel(settings.stream_buffer_events.max(1));
    let outlet = Outlet::new(sender, settings);
    let limits = Limits {
        age: age(settings.stream_max_age, api.random_byte()),
        heartbeat: settings.stream_heartbeat,
    };
    let work = feed(events, outlet, limits, api.drained());
    match request_id::current() {
        Some(id) => drop(api.runtime().spawn(request_id::scope(id, work))),
        None => drop(api.runtime().spawn(work)),
    }
    stream::unfold(receiver, |mut receiver: mpsc::Receiver<Chunk>| async move {
        let (bytes, _room) = receiver.recv().await?;
        Some((Ok(bytes), receiver))
    })
}

/// 80 to 100 % of the maximum, so that the streams of one moment don't all reconnect in another.
fn age(max: Duration, random: u8) -> Duration {
    max.mul_f64(0.8 + 0.2 * f64::from(random) / f64::from(u8::MAX))
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    age: Duration,
    heartbeat: Duration,
}

/// Why a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// After `done`, or because the caller is no longer valid.
    Over,
    /// At its maximum age, or because the server drains: the client is to reconnect.
    Early,
    /// The reader has gone, or took nothing for too long.
    Cut,
}

async fn feed(
    mut events: BoxStream<'static, Event>,
    outlet: Outlet,
    limits: Limits,
    drained: impl Future<Output = ()> + Send,
) -> End {
    tokio::pin!(drained);
    let old = sleep(limits.age);
    tokio::pin!(old);
    let mut heartbeat = interval_at(Instant::now() + limits.heartbeat, limits.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if outlet.send(sse::RETRY).await.is_err() {
        return End::Cut;
    }
    loop {
        let chunk = tokio::select! {
            biased;
            () = outlet.closed() => return End::Cut,
            () = &mut drained => break,
            () = &mut old => break,
            event = events.next() => match event {
                Some(event) => {
                    heartbeat.reset();
                    sse::encode(event.seq.get(), event.name.as_str(), event.data.as_str())
                }
                None => return End::Over,
            },
            _ = heartbeat.tick() => sse::HEARTBEAT,
        };
        if outlet.send(chunk).await.is_err() {
            return End::Cut;
        }
    }
    match outlet.send(sse::RETRY).await {
        Ok(()) => End::Early,
        Err(Stalled) => End::Cut,
    }
}

/// The bounded way to the reader.
struct Outlet {
    chunks: mpsc::Sender<Chunk>,
    room: Arc<Semaphore>,
    bytes: u32,
    stall: Duration,
}

/// The reader has gone, or took nothing for too long.
#[derive(Debug)]
struct Stalled;

impl Outlet {
    fn new(chunks: mpsc::Sender<Chunk>, settings: &HttpSettings) -> Self {
        let bytes = u32::try_from(settings.stream_buffer_bytes)
            .unwrap_or(u32::MAX)
            .max(1);
        let permits = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            chunks,
            room: Arc::new(Semaphore::new(permits)),
            bytes,
            stall: settings.stream_stall,
        }
    }

    async fn closed(&self) {
        self.chunks.closed().await;
    }

    /// Waits for room, at most the time after which a reader is cut. A chunk larger than all room waits for all.
    async fn send(&self, bytes: Bytes) -> Result<(), Stalled> {
        let size = u32::try_from(bytes.len())
            .unwrap_or(u32::MAX)
            .clamp(1, self.bytes);
        let sent = timeout(self.stall, async {
            let room = Arc::clone(&self.room)
                .acquire_many_owned(size)
                .await
                .map_err(|_| Stalled)?;
            self.chunks.send((bytes, room)).await.map_err(|_| Stalled)
        });
        tokio::select! {
            biased;
            sent = sent => match sent {
                Ok(sent) => sent,
                Err(_) => {
                    log::info!("a stream's reader took nothing for {} s and is cut", self.stall.as_secs());
                    Err(Stalled)
                }
            },
            () = self.closed() => Err(Stalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::action::{EventName, Payload, Sequence};

    const FAR: Duration = Duration::from_secs(86_400);

    fn event(seq: u32, name: &str, data: &str) -> Event {
        Event {
            seq: Sequence::new(seq).unwrap(),
            name: EventName::from_name(name),
            at: chrono::DateTime::UNIX_EPOCH,
            data: Payload::parse(data).unwrap(),
        }
    }

    fn settings() -> HttpSettings {
        HttpSettings {
            stream_stall: Duration::from_secs(30),
            ..HttpSettings::default()
        }
    }

    fn outlet(settings: &HttpSettings) -> (Outlet, mpsc::Receiver<Chunk>) {
        let (sender, receiver) = mpsc::channel(settings.stream_buffer_events);
        (Outlet::new(sender, settings), receiver)
    }

    async fn read_all(mut receiver: mpsc::Receiver<Chunk>) -> String {
        let mut text = String::new();
        while let Some((bytes, _room)) = receiver.recv().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_begins_with_retry_and_ends_after_the_last_event() {
        let (outlet, receiver) = outlet(&settings());
        let events = stream::iter([event(1, "created", "{}"), event(2, "done", "{}")]).boxed();
        let limits = Limits {
            age: FAR,
            heartbeat: FAR,
        };
        let (end, text) = tokio::join!(
            feed(events, outlet, limits, std::future::pending()),
            read_all(receiver)
        );
        assert_eq!(end, End::Over);
        assert_eq!(
            text,
            "retry: 2000\n\nid: 1\nevent: created\ndata: {}\n\nid: 2\nevent: done\ndata: {}\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_shows_that_it_lives_until_it_is_old() {
        let (outlet, receiver) = outlet(&settings());
        let limits = Limits {
            age: Duration::from_secs(40),
            heartbeat: Duration::from_secs(15),
        };
        let events = stream::pending().boxed();
        let (end, text) = tokio::join!(
            feed(events, outlet, limits, std::future::pending()),
            read_all(receiver)
        );
        assert_eq!(end, End::Early);
        assert_eq!(
            text,
            "retry: 2000\n\n: heartbeat\n\n: heartbeat\n\nretry: 2000\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_a_stream_with_retry() {
        let (outlet, receiver) = outlet(&settings());
        let limits = Limits {
            age: FAR,
            heartbeat: FAR,
        };
        let events = stream::iter([event(1, "created", "{}")])
            .chain(stream::pending())
            .boxed();
        let drained = sleep(Duration::from_secs(3));
        let (end, text) = tokio::join!(feed(events, outlet, limits, drained), read_all(receiver));
        assert_eq!(end, End::Early);
        assert!(text.ends_with("data: {}\n\nretry: 2000\n\n"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_ends_the_task() {
        let (outlet, receiver) = outlet(&settings());
        drop(receiver);
        let limits = Limits {
            age: FAR,
            heartbeat: FAR,
        };
        assert_eq!(
            feed(
                stream::pending().boxed(),
                outlet,
                limits,
                std::future::pending()
            )
            .await,
            End::Cut
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_by_count() {
        let settings = HttpSettings {
            stream_buffer_events: 4,
            ..settings()
        };
        let (outlet, receiver) = outlet(&settings);
        let events = stream::iter((1..).map(|seq| event(seq, "message", "{}"))).boxed();
        let limits = Limits {
            age: FAR,
            heartbeat: FAR,
        };
        let began = Instant::now();
        assert_eq!(
            feed(events, outlet, limits, std::future::pending()).await,
            End::Cut
        );
        assert_eq!(began.elapsed(), settings.stream_stall);
        assert_eq!(receiver.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_by_bytes() {
        let settings = HttpSettings {
            stream_buffer_bytes: 1000,
            ..settings()
        };
        let (outlet, mut receiver) = outlet(&settings);
        let data = format!("\"{}\"", "x".repeat(400));
        let events = stream::iter((1..).map(move |seq| event(seq, "message", &data))).boxed();
        let limits = Limits {
            age: FAR,
            heartbeat: FAR,
        };
        assert_eq!(
            feed(events, outlet, limits, std::future::pending()).await,
            End::Cut
        );
        let mut waiting = 0;
        while let Ok((bytes, _room)) = receiver.try_recv() {
            waiting += bytes.len();
        }
        assert!(waiting <= 1000, "{waiting} bytes waited");
    }

    #[tokio::test(start_paused = true)]
    async fn one_event_larger_than_the_room_still_passes() {
        let settings = HttpSettings {
            stream_buffer_bytes: 100,
            ..settings()
        };
        let (outlet, receiver) = outlet(&settings);
        let data = format!("\"{}\"", "x".repeat(5000));
        let events = stream::iter([event(1, "message", &data), event(2, "done", "{}")]).boxed();
        let limits = Limits {
            age: FAR,
            heartbeat: FAR,
        };
        let (end, text) = tokio::join!(
            feed(events, outlet, limits, std::future::pending()),
            read_all(receiver)
        );
        assert_eq!(end, End::Over);
        assert!(text.len() > 5000);
    }

    #[test]
    fn ages_are_spread() {
        assert_eq!(age(Duration::from_secs(600), 0), Duration::from_secs(480));
        assert_eq!(age(Duration::from_secs(600), 255), Duration::from_secs(600));
    }
}
