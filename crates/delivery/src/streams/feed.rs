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
use deed_domain::id::ActionId;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::app::{Api, HttpSettings};
use crate::metrics::StreamStart;
use crate::request_id;
use crate::sse;
use crate::streams::places::Place;

/// A chunk on its way, with its share of the bytes that may wait.
type Chunk = (Bytes, OwnedSemaphorePermit);

/// Starts the task and answers the body that it feeds. Dropping the body ends the task, however far it is, and leaves
/// `place`.
pub(super) fn start(
    api: &Api,
    action: ActionId,
    start: StreamStart,
    events: BoxStream<'static, Event>,
    place: Place,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let settings = api.settings();
    let (sender, receiver) = mpsc::channel(settings.stream_buffer_events.max(1));
    let outlet = Outlet::new(sender, settings);
    let limits = Limits {
        age: age(settings.stream_max_age, api.random_byte()),
        heartbeat: settings.stream_heartbeat,
    };
    let drained = api.drained();
    let open = api.metrics().stream(start);
    let events = open.counted(events);
    let work = async move {
        let began = Instant::now();
        let (end, sent) = feed(events, outlet, limits, drained).await;
        open.ended(end);
        drop(place);
        tell(action, began.elapsed(), end, sent);
    };
    drop(request_id::spawn(api.runtime(), work));
    stream::unfold(receiver, |mut receiver: mpsc::Receiver<Chunk>| async move {
        let (bytes, _room) = receiver.recv().await?;
        Some((Ok(bytes), receiver))
    })
}

/// One line a stream, when it ends.
fn tell(action: ActionId, lasted: Duration, end: End, sent: usize) {
    let milliseconds = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
    let reason = end.as_str();
    log::info!(
        target: "deed::stream",
        action_id:% = action, stream_ms = milliseconds, events = sent, reason;
        "stream of {action} ended after {milliseconds} ms: {reason}"
    );
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
pub(crate) enum End {
    /// After `done`.
    Done,
    /// The caller is no longer valid.
    Invalid,
    /// At its maximum age: the client is to reconnect.
    Old,
    /// The server drains: the client is to reconnect.
    Draining,
    /// The reader has gone.
    Gone,
    /// The reader took nothing for too long, and was cut.
    Stalled,
}

impl End {
    /// Every reason.
    pub(crate) const ALL: [Self; 6] = [
        Self::Done,
        Self::Invalid,
        Self::Old,
        Self::Draining,
        Self::Gone,
        Self::Stalled,
    ];

    /// Its name in the log and in the metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Invalid => "caller_invalid",
            Self::Old => "max_age",
            Self::Draining => "draining",
            Self::Gone => "client_gone",
            Self::Stalled => "stalled",
        }
    }
}

/// Sends events until the stream is to end; answers why it ended, and how many went out.
async fn feed(
    mut events: BoxStream<'static, Event>,
    outlet: Outlet,
    limits: Limits,
    drained: impl Future<Output = ()> + Send,
) -> (End, usize) {
    let (mut sent, mut is_done) = (0, false);
    tokio::pin!(drained);
    let old = sleep(limits.age);
    tokio::pin!(old);
    let mut heartbeat = interval_at(Instant::now() + limits.heartbeat, limits.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if let Err(end) = outlet.send(sse::RETRY).await {
        return (end, sent);
    }
    let end = loop {
        let (chunk, is_event) = tokio::select! {
            biased;
            () = outlet.closed() => return (End::Gone, sent),
            () = &mut drained => break End::Draining,
            () = &mut old => break End::Old,
            event = events.next() => match event {
                Some(event) => {
                    heartbeat.reset();
                    is_done = event.name.is_last();
                    let chunk = sse::encode(event.seq.get(), event.name.as_str(), event.data.as_str());
                    (chunk, true)
                }
                None if is_done => return (End::Done, sent),
                None => return (End::Invalid, sent),
            },
            _ = heartbeat.tick() => (sse::HEARTBEAT, false),
        };
        if let Err(end) = outlet.send(chunk).await {
            return (end, sent);
        }
        sent += usize::from(is_event);
    };
    match outlet.send(sse::RETRY).await {
        Ok(()) => (end, sent),
        Err(cut) => (cut, sent),
    }
}

/// The bounded way to the reader.
struct Outlet {
    chunks: mpsc::Sender<Chunk>,
    room: Arc<Semaphore>,
    bytes: u32,
    stall: Duration,
}

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
    /// Fails when the reader has gone, or took nothing for too long.
    async fn send(&self, bytes: Bytes) -> Result<(), End> {
        let size = u32::try_from(bytes.len())
            .unwrap_or(u32::MAX)
            .clamp(1, self.bytes);
        let sent = timeout(self.stall, async {
            let room = Arc::clone(&self.room)
                .acquire_many_owned(size)
                .await
                .map_err(|_| End::Gone)?;
            self.chunks.send((bytes, room)).await.map_err(|_| End::Gone)
        });
        tokio::select! {
            biased;
            sent = sent => match sent {
                Ok(sent) => sent,
                Err(_) => Err(End::Stalled),
            },
            () = self.closed() => Err(End::Gone),
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
        assert_eq!(end, (End::Done, 2));
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
        assert_eq!(end, (End::Old, 0));
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
        assert_eq!(end, (End::Draining, 1));
        assert!(text.ends_with("data: {}\n\nretry: 2000\n\n"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_end_before_done_mean_that_the_caller_is_no_longer_valid() {
        let (outlet, receiver) = outlet(&settings());
        let events = stream::iter([event(1, "created", "{}")]).boxed();
        let limits = Limits {
            age: FAR,
            heartbeat: FAR,
        };
        let (end, _) = tokio::join!(
            feed(events, outlet, limits, std::future::pending()),
            read_all(receiver)
        );
        assert_eq!(end, (End::Invalid, 1));
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
            (End::Gone, 0)
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
            (End::Stalled, 3)
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
            (End::Stalled, 2)
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
        assert_eq!(end, (End::Done, 2));
        assert!(text.len() > 5000);
    }

    #[test]
    fn ages_are_spread() {
        assert_eq!(age(Duration::from_secs(600), 0), Duration::from_secs(480));
        assert_eq!(age(Duration::from_secs(600), 255), Duration::from_secs(600));
    }
}
