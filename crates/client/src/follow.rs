//! Follows an action over as many connections as it takes.

use std::fmt;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use reqwest::header::HeaderName;
use reqwest::{Response, StatusCode};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::builder::Client;
use crate::error::Error;
use crate::event::Event;
use crate::operation::{CREATE_STREAM, GET_ACTION_EVENTS, Operation};
use crate::random;
use crate::request::media_type;
use crate::retry::doubled;
use crate::sse::{Block, Item, Parser};

/// How many bytes one event may have: an output has 1 MiB at the most, and its name and braces some more.
const EVENT_MAX: usize = 4 * 1024 * 1024;
/// How long to wait before reconnecting while the server has not said, and the least in any case.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(50));
/// The longest pause that is added when reconnecting fails again and again, and the longest that a server may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long it goes on without a stream, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_secs(120);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The events of one action: those stored, then those to come, in order, without gap or duplicate, up to `done`.
///
/// The first connection is made as any request is ([`crate::Retry`]). When a later one breaks, or the server ends it, it
/// is replaced by another one that goes on after the last event, for as long as [`Self::give_up_after`] says.
pub struct Follow {
    client: Client,
    id: Uuid,
    is_replay: bool,
    /// The position of the last event that came.
    last: u32,
    connection: Option<Connection>,
    /// Whether there was a connection, so that the next one is a resumption.
    was_connected: bool,
    is_over: bool,
    /// How long the server wants to be left alone between two connections.
    retry: Duration,
    patience: Duration,
    /// How often in a row there was no progress.
    failures: u32,
    /// Since when there is no stream to be had; none while there is one, however long its reader takes.
    stuck_since: Option<Instant>,
    on_reconnect: Option<Hear>,
}

/// Hears of a stream that was lost.
type Hear = Box<dyn FnMut(&Lost<'_>) + Send>;

struct Connection {
    operation: &'static Operation,
    response: Response,
    parser: Parser,
}

/// A stream that was lost, before it is resumed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Lost<'a> {
    /// What broke it; `None` when the server ended it, as it does now and then.
    pub cause: Option<&'a Error>,
    /// The position of the last event that came.
    pub last: u32,
    /// How long to wait before the next try.
    pub pause: Duration,
}

impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Some(cause) => write!(f, "{cause}")?,
            None => f.write_str("the server ended the stream before its time")?,
        }
        write!(f, "; going on after event {}", self.last)
    }
}

impl Follow {
    pub(crate) fn new(client: &Client, id: Uuid) -> Self {
        Self {
            client: client.clone(),
            id,
            is_replay: false,
            last: 0,
            connection: None,
            was_connected: false,
            is_over: false,
            retry: RETRY.0,
            patience: PATIENCE,
            failures: 0,
            stuck_since: None,
            on_reconnect: None,
        }
    }

    /// The stream that `response` begins.
    pub(crate) fn begun(
        client: &Client,
        id: Uuid,
        is_replay: bool,
        response: Response,
    ) -> Result<Self, Error> {
        let mut follow = Self::new(client, id);
        follow.is_replay = is_replay;
        follow.connected(CREATE_STREAM, response)?;
        Ok(follow)
    }

    /// Begins after the event at this position; 0 is the beginning of the log. After the first event it is too late.
    #[must_use]
    pub fn after(mut self, seq: u32) -> Self {
        self.last = seq;
        self
    }

    /// How long to go on when there is no stream to be had: neither an event nor another sign of life. 2 minutes by
    /// default. An action that says nothing for hours is no reason to give up.
    #[must_use]
    pub fn give_up_after(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Hears of each stream that was lost, before it is resumed.
    #[must_use]
    pub fn on_reconnect(mut self, hear: impl FnMut(&Lost<'_>) + Send + 'static) -> Self {
        self.on_reconnect = Some(Box::new(hear));
        self
    }

    /// Which action.
    #[must_use]
    pub fn action_id(&self) -> Uuid {
        self.id
    }

    /// Whether an earlier request with the same `Idempotency-Key` had performed it.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// The position of the last event that came; where to go on another time.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.last
    }

    /// The next event; `None` after `done`, and at once when the log was over and read already. After an error there is
    /// nothing more. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// [`Error::Refused`] when the server won't go on, [`Error::Sequence`] and [`Error::Protocol`] when what comes is no
    /// log, [`Error::GaveUp`] when there was no stream for too long.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        while !self.is_over {
            let error = match self.advance().await {
                Ok(Some(event)) => {
                    self.is_over = event.name == Event::DONE;
                    return Some(Ok(event));
                }
                Ok(None) => continue,
                Err(error) => error,
            };
            self.is_over = true;
            self.connection = None;
            return Some(Err(error));
        }
        None
    }

    /// The events as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, Error>> + Send + 'static {
        stream::unfold(self, |mut follow| async move {
            let event = follow.next().await?;
            Some((event, follow))
        })
    }

    /// One step: an event, or `None` when there is to be another step. What it fails with is final.
    async fn advance(&mut self) -> Result<Option<Event>, Error> {
        let Some(connection) = &mut self.connection else {
            self.connect().await?;
            return Ok(None);
        };
        let operation = connection.operation;
        match connection
            .item(self.client.shared.stream_idle_timeout)
            .await
        {
            Ok(Some(Item::Event(block))) => self.event(operation, block),
            Ok(Some(Item::Comment)) => {
                self.progress();
                Ok(None)
            }
            Ok(Some(Item::Retry(wait))) => {
                self.retry = wait.min(PAUSE_MAX);
                Ok(None)
            }
            Ok(None) => self.lost(None).await,
            Err(error) if error.is_unreachable() => self.lost(Some(error)).await,
            Err(error) => Err(error),
        }
    }

    fn event(
        &mut self,
        operation: &'static Operation,
        block: Block,
    ) -> Result<Option<Event>, Error> {
        let Block { id, name, data } = block;
        // Only what is stored has an id.
        let Some(id) = id else {
            return Ok(None);
        };
        let seq = id.parse().map_err(|_| {
            Error::protocol(operation.id, "an event's id is not a position in a log")
        })?;
        let expected = self.last.saturating_add(1);
        if seq != expected {
            return Err(Error::Sequence {
                expected,
                found: seq,
            });
        }
        let data = RawValue::from_string(data).map_err(|_| {
            Error::protocol(
                operation.id,
                format!("the data of event {seq} are not JSON"),
            )
        })?;
        self.last = seq;
        self.progress();
        Ok(Some(Event { seq, name, data }))
    }

    fn progress(&mut self) {
        self.failures = 0;
        self.stuck_since = None;
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let request = self
            .client
            .request(GET_ACTION_EVENTS, &[&self.id.to_string()])
            .accept("text/event-stream");
        let request = match self.last {
            0 => request,
            last => request.header(LAST_EVENT_ID, &last.to_string())?,
        };
        let response = if self.was_connected {
            self.client.start_once(&request).await
        } else {
            self.client.start(&request).await
        };
        match response {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                self.is_over = true;
                Ok(())
            }
            Ok(response) => self.connected(GET_ACTION_EVENTS, response),
            Err(error) if self.was_connected && may_pass(&error) => {
                self.lost(Some(error)).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }

    fn connected(
        &mut self,
        operation: &'static Operation,
        response: Response,
    ) -> Result<(), Error> {
        let found = media_type(response.headers());
        if response.status() != StatusCode::OK || found != "text/event-stream" {
            let what = format!("{} with {found:?}, not a stream", response.status());
            return Err(Error::protocol(operation.id, what));
        }
        self.was_connected = true;
        self.connection = Some(Connection {
            operation,
            response,
            parser: Parser::new(EVENT_MAX),
        });
        Ok(())
    }

    /// Waits before the next connection, or gives up.
    async fn lost(&mut self, cause: Option<Error>) -> Result<Option<Event>, Error> {
        self.connection = None;
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.patience {
            return Err(Error::GaveUp {
                patience: self.patience,
                last: self.last,
                source: cause.map(Box::new),
            });
        }
        let asked = cause
            .as_ref()
            .and_then(|cause| cause.refusal()?.retry_after)
            .unwrap_or_default();
        let least = self.retry.max(asked).max(RETRY.1);
        let more = random::up_to((doubled(least, self.failures) / 2).min(PAUSE_MAX));
        let pause = least.saturating_add(more);
        self.failures = self.failures.saturating_add(1);
        if let Some(hear) = &mut self.on_reconnect {
            hear(&Lost {
                cause: cause.as_ref(),
                last: self.last,
                pause,
            });
        }
        let left = self.patience.saturating_sub(since.elapsed());
        sleep(pause.min(left)).await;
        Ok(None)
    }
}

/// Nothing of what it says, for that may be anything.
impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("id", &self.id)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// Whether a refusal to resume is one that passes: a server that starts, drains, or has too much to do.
fn may_pass(error: &Error) -> bool {
    error.is_unreachable()
        || error
            .refusal()
            .is_some_and(|refusal| matches!(refusal.status, 429 | 502..=504))
}

impl Connection {
    /// The next item; `None` at the end that the server sets.
    async fn item(&mut self, idle: Duration) -> Result<Option<Item>, Error> {
        let id = self.operation.id;
        loop {
            if let Some(item) = self.parser.next() {
                return Ok(Some(item));
            }
            let chunk = timeout(idle, self.response.chunk())
                .await
                .map_err(|_| Error::Timeout {
                    operation: id,
                    limit: idle,
                })?
                .map_err(|error| Error::connection(id, error))?;
            let Some(chunk) = chunk else {
                return Ok(None);
            };
            self.parser
                .push(&chunk)
                .map_err(|error| Error::protocol(id, error.to_string()))?;
        }
    }
}
