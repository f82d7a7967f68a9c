//! Actions.

use std::future::IntoFuture;
use std::time::Duration;

use deed_api::action::{
    ActionBatchBody, ActionBody, ActionQuery, ActionSummaryBody, CreateAction, CreateActionBatch,
};
use deed_api::event::{EventBody, EventQuery, StreamTicketBody};
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::HeaderName;
use uuid::Uuid;

use crate::builder::Client;
use crate::error::Error;
use crate::follow::Follow;
use crate::keyed::Keyed;
use crate::list::List;
use crate::operation;
use crate::request::{Request, is_replay, location};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The longest that a server waits unless it is told otherwise.
const USUAL_WAIT_MAX: Duration = Duration::from_secs(60);

impl Client {
    /// Performs an action and waits for its end as long as the server likes to, 10 s by default; await what it answers.
    /// Sent again after a lost connection, it performs once.
    pub fn create_action(&self, action: &CreateAction) -> Perform {
        Perform {
            client: self.clone(),
            request: self.request(operation::CREATE_ACTION, &[]).json(action),
            key: None,
            wait: Wait::Usual,
        }
    }

    /// Asks for up to 500 actions, all of them or none, and waits for no end; await the actions in the order asked. Sent
    /// again after a lost connection, each is performed once.
    ///
    /// ```no_run
    /// # async fn example(client: deed_client::Client) -> Result<(), deed_client::Error> {
    /// use deed_client::api::action::{CreateAction, CreateActionBatch};
    ///
    /// let words = ["one", "two", "three"].map(|text| serde_json::json!({"text": text}));
    /// let actions = words.iter().map(|input| CreateAction::new("echo", input));
    /// let batch = CreateActionBatch { actions: actions.collect::<Result<_, _>>()? };
    /// for action in client.create_action_batch(&batch).idempotency_key("words-1").await?.items {
    ///     println!("{}", action.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_action_batch(&self, batch: &CreateActionBatch) -> Keyed<ActionBatchBody> {
        let request = self.request(operation::CREATE_ACTION_BATCH, &[]);
        Keyed::new(self, request.json(batch))
    }

    /// Performs an action and follows it; await the stream of its events. Sent again after a lost connection, it
    /// performs once.
    pub fn perform_and_follow(&self, action: &CreateAction) -> PerformAndFollow {
        PerformAndFollow {
            client: self.clone(),
            request: self
                .request(operation::CREATE_STREAM, &[])
                .accept("text/event-stream")
                .json(action),
            key: None,
        }
    }

    /// Follows an action from the beginning of its log. Nothing is sent before the first event is asked for.
    #[must_use]
    pub fn follow(&self, id: Uuid) -> Follow {
        Follow::new(self, id)
    }

    /// Actions, newest first, without input and output.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query can't be sent.
    pub fn list_actions(&self, query: &ActionQuery) -> Result<List<ActionSummaryBody>, Error> {
        let mut query = query.clone();
        let cursor = query.cursor.take();
        List::new(self, operation::LIST_ACTIONS, Vec::new(), &query, cursor)
    }

    /// An action as it is now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_action(&self, id: Uuid) -> Result<ActionBody, Error> {
        let request = self.request(operation::GET_ACTION, &[&id.to_string()]);
        self.send(&request).await?.json()
    }

    /// An action as soon as it is over, or as it is after `limit`, in whole seconds; the server has a bound of its own, 60 s
    /// by default.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn await_action(&self, id: Uuid, limit: Duration) -> Result<ActionBody, Error> {
        let request = self
            .request(operation::GET_ACTION, &[&id.to_string()])
            .header(PREFER, &format!("wait={}", limit.as_secs()))?
            .patient(limit);
        self.send(&request).await?.json()
    }

    /// Cancels an action. One that waited is cancelled when this answers; a running one has been told to stop; one that
    /// was over stays as it was: its status says which.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_action(&self, id: Uuid) -> Result<ActionBody, Error> {
        let request = self.request(operation::CANCEL_ACTION, &[&id.to_string()]);
        self.send(&request).await?.json()
    }

    /// Performs a failed or cancelled action anew, as another action whose `retry_of` names this one; await that other
    /// action. Sent again after a lost connection, it performs once. Refused as `action_not_retryable` when the action
    /// has neither failed nor been cancelled.
    pub fn retry_action(&self, id: Uuid) -> Keyed<ActionBody> {
        let request = self.request(operation::RETRY_ACTION, &[&id.to_string()]);
        Keyed::new(self, Ok(request))
    }

    /// The log of an action as far as it goes, in pages. [`Self::follow`] also sees what is still to come.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query can't be sent.
    pub fn get_action_events(
        &self,
        id: Uuid,
        query: &EventQuery,
    ) -> Result<List<EventBody>, Error> {
        let mut query = query.clone();
        let cursor = query.cursor.take();
        let values = vec![id.to_string()];
        List::new(self, operation::GET_ACTION_EVENTS, values, &query, cursor)
    }

    /// A ticket for the stream of an action: for a browser's `EventSource`, which can't send a key. It opens
    /// `/actions/{id}/events?ticket=…` once, within a minute.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_stream_ticket(&self, id: Uuid) -> Result<StreamTicketBody, Error> {
        let request = self.request(operation::CREATE_STREAM_TICKET, &[&id.to_string()]);
        self.send(&request).await?.json()
    }
}

/// What was accepted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Accepted {
    /// The action, as it was when the server answered.
    pub action: ActionBody,
    /// Whether it was over by then, whatever its outcome.
    pub is_over: bool,
    /// Whether an earlier request with the same key had performed it.
    pub is_replay: bool,
}

/// How long the server is to wait for the end.
#[derive(Debug, Clone, Copy)]
enum Wait {
    Usual,
    Not,
    For(Duration),
}

/// An action that was not sent yet; await it.
#[must_use = "nothing is sent until it is awaited"]
pub struct Perform {
    client: Client,
    request: Result<Request, Error>,
    key: Option<String>,
    wait: Wait,
}

impl Perform {
    /// The `Idempotency-Key`, 1 to 255 visible ASCII characters; without it a random one is sent.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Waits so long for the end, in whole seconds; the server has a bound of its own, 60 s by default.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Wait::For(limit);
        self
    }

    /// Does not wait: answers as soon as the action is durable.
    pub fn respond_async(mut self) -> Self {
        self.wait = Wait::Not;
        self
    }
}

impl IntoFuture for Perform {
    type Output = Result<Accepted, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let request = self.request?.keyed(self.key.as_deref())?;
            let request = match self.wait {
                Wait::Usual => request.patient(USUAL_WAIT_MAX),
                Wait::Not => request.header(PREFER, "respond-async")?,
                Wait::For(limit) => request
                    .header(PREFER, &format!("wait={}", limit.as_secs()))?
                    .patient(limit),
            };
            let answer = self.client.send(&request).await?;
            Ok(Accepted {
                action: answer.json()?,
                is_over: answer.status == StatusCode::CREATED,
                is_replay: answer.is_replay(),
            })
        })
    }
}

/// An action that was not sent yet, and is to be followed; await it.
#[must_use = "nothing is sent until it is awaited"]
pub struct PerformAndFollow {
    client: Client,
    request: Result<Request, Error>,
    key: Option<String>,
}

impl PerformAndFollow {
    /// The `Idempotency-Key`, 1 to 255 visible ASCII characters; without it a random one is sent. With the key of an
    /// action that was performed before, its events come from the first.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

impl IntoFuture for PerformAndFollow {
    type Output = Result<Follow, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let request = self.request?.keyed(self.key.as_deref())?;
            let response = self.client.start(&request).await?;
            let headers = response.headers();
            let id = location(headers).and_then(followed).ok_or_else(|| {
                let what = "no Location, or not one of a stream";
                Error::protocol(operation::CREATE_STREAM.id, what)
            })?;
            let is_replay = is_replay(headers);
            Follow::begun(&self.client, id, is_replay, response)
        })
    }
}

/// The action whose events are at `location`.
fn followed(location: &str) -> Option<Uuid> {
    let path = location.strip_suffix("/events")?;
    let (path, id) = path.rsplit_once('/')?;
    let id = id.parse().ok()?;
    path.ends_with("/actions").then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_s_location_names_its_action() {
        let id = "0198c0de-0000-7000-8000-0000000000c1";
        for (location, ok) in [
            (format!("/actions/{id}/events"), true),
            (
                format!("https://deed.example.com/api/actions/{id}/events"),
                true,
            ),
            (format!("/actions/{id}"), false),
            (format!("/users/{id}/events"), false),
            ("/actions/x/events".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(followed(&location).is_some(), ok, "{location}");
        }
    }
}
