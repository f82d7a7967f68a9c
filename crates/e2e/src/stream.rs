//! A reader of event streams, as the HTML standard describes it.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::wait::{SOON, within};

/// How long the next event may take: the lease of a dead server lasts 10 s, and some seconds later it is taken over.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a stream brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Event),
    /// How long to wait before reconnecting, in milliseconds.
    Retry(u64),
    /// A comment.
    Comment(String),
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id; in Deed the position in the log.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its data, as text.
    pub data: String,
    /// When it was read.
    pub at: Instant,
    /// When it was read, by the clock on the wall.
    pub at_time: DateTime<Utc>,
}

/// When it was read is no part of what an event says.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.name, &self.data) == (&other.id, &other.name, &other.data)
    }
}

impl Eq for Event {}

impl Event {
    /// The position in the log.
    #[track_caller]
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.id.parse().unwrap()
    }

    /// The data as JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// An open stream.
pub struct Stream {
    /// The answer's headers.
    pub headers: HeaderMap,
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    parser: Parser,
}

impl Stream {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self {
            headers: response.headers().clone(),
            bytes: response
                .bytes_stream()
                .map(|chunk| chunk.map(|bytes| bytes.to_vec()))
                .boxed(),
            parser: Parser::default(),
        }
    }

    /// The next item; `None` at the stream's end, an error when the connection breaks. Waits for [`SOON`].
    pub async fn try_item(&mut self) -> reqwest::Result<Option<Item>> {
        within(SOON, "the next item of a stream", self.read()).await
    }

    /// The next item; `None` at the stream's end, be it a clean one or not.
    pub async fn item(&mut self) -> Option<Item> {
        self.try_item().await.ok().flatten()
    }

    /// The next event, past comments and the like. Waits for [`PATIENCE`], however often the stream shows that it lives.
    pub async fn event(&mut self) -> Option<Event> {
        let event = async {
            loop {
                if let Item::Event(event) = self.item().await? {
                    return Some(event);
                }
            }
        };
        within(PATIENCE, "the next event", event).await
    }

    /// The next event with that name; fails the test when the stream ends before.
    pub async fn event_named(&mut self, name: &str) -> Event {
        loop {
            match self.event().await {
                Some(event) if event.name == name => return event,
                Some(_) => {}
                None => panic!("the stream ended before `{name}`"),
            }
        }
    }

    /// All events up to the end of the stream.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }

    async fn read(&mut self) -> reqwest::Result<Option<Item>> {
        loop {
            if let Some(item) = self.parser.next() {
                return Ok(Some(item));
            }
            match self.bytes.next().await {
                Some(chunk) => self.parser.push(&chunk?),
                None => return Ok(None),
            }
        }
    }
}

/// Cuts what has arrived into items. An event that is cut off by the stream's end is none.
#[derive(Default)]
pub(crate) struct Parser {
    unread: Vec<u8>,
    id: String,
    name: String,
    data: Vec<String>,
}

impl Parser {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    pub(crate) fn next(&mut self) -> Option<Item> {
        loop {
            let line = self.line()?;
            if line.is_empty() {
                if self.data.is_empty() {
                    self.name.clear();
                    continue;
                }
                let name = std::mem::take(&mut self.name);
                return Some(Item::Event(Event {
                    id: self.id.clone(),
                    name: if name.is_empty() {
                        "message".to_owned()
                    } else {
                        name
                    },
                    data: std::mem::take(&mut self.data).join("\n"),
                    at: Instant::now(),
                    at_time: wall_clock(),
                }));
            }
            if let Some(comment) = line.strip_prefix(':') {
                return Some(Item::Comment(comment.trim_start().to_owned()));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut self.id),
                "event" => value.clone_into(&mut self.name),
                "data" => self.data.push(value.to_owned()),
                "retry" => return Some(Item::Retry(value.parse().unwrap())),
                other => panic!("a field that nobody expects: {other}"),
            }
        }
    }

    /// The server writes line feeds only.
    fn line(&mut self) -> Option<String> {
        let end = self.unread.iter().position(|byte| *byte == b'\n')?;
        let rest = self.unread.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.unread, rest);
        line.pop();
        Some(String::from_utf8(line).unwrap())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a black box has no clock that a test could set"
)]
fn wall_clock() -> DateTime<Utc> {
    Utc::now()
}

/// Fails unless the events are the whole log: 1, 2, 3 …, from `created` to one `done`.
#[track_caller]
pub fn check_whole_log(events: &[Event]) {
    let positions: Vec<u64> = events.iter().map(Event::seq).collect();
    let expected: Vec<u64> = (1..=u64::try_from(events.len()).unwrap()).collect();
    assert_eq!(positions, expected);
    assert_eq!(events[0].name, "created");
    let done = events.iter().position(|event| event.name == "done");
    assert_eq!(done, Some(events.len() - 1), "{events:?}");
}

/// The words that `echo` has streamed back.
#[must_use]
pub fn words(events: &[Event]) -> Vec<String> {
    let messages = events.iter().filter(|event| event.name == "message");
    messages
        .map(|event| event.json()["text"].as_str().unwrap().to_owned())
        .collect()
}

/// The shortest time between two events that follow each other.
#[must_use]
pub fn shortest_gap(events: &[Event]) -> Duration {
    let gaps = events
        .windows(2)
        .map(|pair| pair[1].at.duration_since(pair[0].at));
    gaps.min().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        let text = "retry: 2000\n\nid: 1\nevent: created\ndata: {\"é\":1}\n\n: alive\n\ndata: a\ndata: b\n\nid: 9\ndata: cut off";
        let event = |id: &str, name: &str, data: &str| {
            Item::Event(Event {
                id: id.to_owned(),
                name: name.to_owned(),
                data: data.to_owned(),
                at: Instant::now(),
                at_time: wall_clock(),
            })
        };
        let expected = [
            Item::Retry(2000),
            event("1", "created", "{\"é\":1}"),
            Item::Comment("alive".to_owned()),
            event("1", "message", "a\nb"),
        ];
        for size in [1, 2, 7, 1000] {
            let mut parser = Parser::default();
            let mut items = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                parser.push(chunk);
                items.extend(std::iter::from_fn(|| parser.next()));
            }
            assert_eq!(items, expected);
        }
    }
}
