//! Performs actions: leases them, keeps the leases alive, hands them to handlers, and says how they ended.

mod attempt;
mod failure;
mod heart;
mod held;
mod job;
mod journal;
mod persist;
mod trouble;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deed_api::lease::{LeaseActions, LeaseBody};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::builder::Client;
use crate::error::Error;
use crate::random;

pub use failure::Failure;
pub use job::Job;
pub use trouble::Trouble;

use heart::Heart;
use persist::persist;

/// How many leases one call may be about.
const LEASES_MAX: u16 = 500;
/// How long the server holds a poll that has nothing to answer.
const POLL: Duration = Duration::from_secs(25);
/// The shortest lease that survives a heartbeat which takes a second to be answered, and the longest.
const LEASE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3600));
/// How long the last calls of a worker that stops may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Performs the input of a job, and answers its output.
type Handler = Arc<dyn Fn(Job) -> Work + Send + Sync>;
type Work = BoxFuture<'static, Result<Box<RawValue>, Failure>>;
type Listener = Arc<dyn Fn(&Trouble<'_>) + Send + Sync>;

/// A worker that was not started yet: which types it performs, and how.
///
/// ```no_run
/// # async fn example(client: deed_client::Client) -> Result<(), deed_client::Error> {
/// use deed_client::{Failure, Job};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct Report { pages: u32 }
///
/// #[derive(Serialize)]
/// struct Rendered { url: String }
///
/// async fn render(job: Job, report: Report) -> Result<Rendered, Failure> {
///     // What the attempt before has reached, if there was one.
///     let begun: u32 = job.checkpoint()?.unwrap_or(0);
///     for page in begun..report.pages {
///         // … render it …
///         job.emit_with_checkpoint(&serde_json::json!({"page": page}), &(page + 1)).await?;
///     }
///     Ok(Rendered { url: format!("https://example.com/{}.pdf", job.id()) })
/// }
///
/// let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
/// client.worker("host-1").on("report.render", render).concurrency(8).run(stop).await
/// # }
/// ```
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    client: Client,
    name: String,
    handlers: BTreeMap<String, Handler>,
    concurrency: u16,
    lease: Duration,
    grace: Duration,
    on_trouble: Option<Listener>,
}

/// What all parts of a running worker share.
struct Shared {
    client: Client,
    heart: Heart,
    on_trouble: Option<Listener>,
    /// Becomes true when what is still held is to be given back.
    is_giving_back: watch::Receiver<bool>,
}

impl Shared {
    fn tell(&self, trouble: &Trouble<'_>) {
        if let Some(hear) = &self.on_trouble {
            hear(trouble);
        }
    }
}

impl Client {
    /// Begins a worker; `name` is what it is called, for people who look. Its key needs the scope `actions:work`, for
    /// the types that it performs.
    pub fn worker(&self, name: impl Into<String>) -> Worker {
        Worker {
            client: self.clone(),
            name: name.into(),
            handlers: BTreeMap::new(),
            concurrency: 1,
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(20),
            on_trouble: None,
        }
    }
}

impl Worker {
    /// Performs the actions of one type by `handler`, which gets the job and its input, and answers the output.
    ///
    /// An action is performed at least once: after a crash or a lost lease it is performed again. What a handler does
    /// to the outside should be safe to repeat; the action's id is a good key for that. An input that can't be read as
    /// `I` fails the action for good, as `invalid_input`. A handler that panics fails the attempt, as
    /// `handler_panicked`; another may follow.
    ///
    /// The future is dropped where it awaits when its lease is lost: another worker may be performing the action. After
    /// somebody has asked to cancel it, it has 5 s to return ([`Job::cancelled`]). It runs on a task of its own; what
    /// computes for more than some milliseconds belongs on a blocking thread.
    pub fn on<I, O, W>(
        mut self,
        action_type: impl Into<String>,
        handler: impl Fn(Job, I) -> W + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
        W: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let work = move |job: Job| -> Work {
            let input = match serde_json::from_str(job.action().input.get()) {
                Ok(input) => input,
                Err(error) => {
                    let what = format!("The input can't be read: {error}.");
                    return async { Err(Failure::permanent("invalid_input", what)) }.boxed();
                }
            };
            let work = handler(job, input);
            async move { to_raw_value(&work.await?).map_err(Failure::no_json) }.boxed()
        };
        self.handlers.insert(action_type.into(), Arc::new(work));
        self
    }

    /// How many actions it performs at a time; 1 by default, 500 at the most.
    pub fn concurrency(mut self, actions: u16) -> Self {
        self.concurrency = actions.clamp(1, LEASES_MAX);
        self
    }

    /// How long it may be silent before another worker takes over, in whole seconds, from 2 s to an hour; 30 s by
    /// default. It is heard of three times as often, so a lease of a few seconds needs a quick connection.
    pub fn lease(mut self, length: Duration) -> Self {
        self.lease = Duration::from_secs(length.clamp(LEASE.0, LEASE.1).as_secs());
        self
    }

    /// How long actions under way may go on when the worker is to stop, before they are given back; 20 s by default.
    pub fn grace(mut self, limit: Duration) -> Self {
        self.grace = limit;
        self
    }

    /// Hears of what goes wrong and is none of a handler's business: a server that is away, a lease that is lost.
    pub fn on_trouble(mut self, hear: impl Fn(&Trouble<'_>) + Send + Sync + 'static) -> Self {
        self.on_trouble = Some(Arc::new(hear));
        self
    }

    /// Performs actions until `stop` is ready. Then it takes no more, lets those under way finish for the grace that it
    /// has, and gives back the others, which uses up none of their attempts.
    ///
    /// A server that is away, or has too much to do, is asked again, as long as it takes.
    ///
    /// # Errors
    /// [`Error`], when the server refuses to grant leases for a reason that doesn't pass, such as a key that is not
    /// valid or lacks the scope. What is under way ends before, as above.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let (give_back, is_giving_back) = watch::channel(false);
        let shared = Arc::new(Shared {
            client: self.client.clone(),
            heart: Heart::new(self.lease),
            on_trouble: self.on_trouble.clone(),
            is_giving_back,
        });
        let mut attempts = JoinSet::new();
        let result = tokio::select! {
            error = self.lease_and_perform(&shared, &mut attempts) => Err(error),
            never = heart::beat(&shared) => match never {},
            () = stop => Ok(()),
        };
        let all_ended = async {
            if timeout(self.grace, ended(&mut attempts)).await.is_err() {
                give_back.send_replace(true);
                // What can't even be given back ends with its lease.
                drop(timeout(LAST_WORDS, ended(&mut attempts)).await);
            }
        };
        tokio::select! {
            () = all_ended => {}
            never = heart::beat(&shared) => match never {},
        }
        result
    }

    /// Leases as many actions as there are free places, for ever; answers why that can't be.
    async fn lease_and_perform(&self, shared: &Arc<Shared>, attempts: &mut JoinSet<()>) -> Error {
        let places = Arc::new(Semaphore::new(self.concurrency.into()));
        loop {
            // It is never closed.
            let Ok(mut free) = Arc::clone(&places).acquire_owned().await else {
                return Error::Invalid("no place is left".to_owned());
            };
            if let Ok(more) = Arc::clone(&places).try_acquire_many_owned(
                u32::try_from(places.available_permits()).unwrap_or_default(),
            ) {
                free.merge(more);
            }
            while attempts.try_join_next().is_some() {}
            let granted = match self.poll(shared, free.num_permits()).await {
                Ok(granted) => granted,
                Err(error) => return error,
            };
            for lease in granted.leases {
                let place = free.split(1);
                attempts.spawn(self.begin(shared, lease, place));
            }
            if granted.draining {
                // Another replica may take the next poll, or a restarted one.
                sleep(random::up_to(Duration::from_secs(1))).await;
            }
        }
    }

    /// One poll, repeated until it is answered: what was granted to a try whose answer was lost comes again.
    async fn poll(
        &self,
        shared: &Shared,
        max: usize,
    ) -> Result<deed_api::lease::LeasesBody, Error> {
        let wanted = LeaseActions {
            types: self.handlers.keys().cloned().collect(),
            max: Some(u16::try_from(max).unwrap_or(LEASES_MAX)),
            wait_seconds: Some(u32::try_from(POLL.as_secs()).unwrap_or_default()),
            lease_seconds: Some(u32::try_from(self.lease.as_secs()).unwrap_or_default()),
            worker: self.name.clone(),
            request_id: Some(random::idempotency_key()?),
        };
        persist(shared, || shared.client.lease_actions(&wanted)).await
    }

    /// The attempt that a lease is for. Its place is free when it is over.
    fn begin(
        &self,
        shared: &Arc<Shared>,
        lease: LeaseBody,
        place: Option<OwnedSemaphorePermit>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let handler = self.handlers.get(&lease.action.r#type).cloned();
        let held = shared.heart.hold(&lease);
        let shared = Arc::clone(shared);
        async move {
            attempt::run(&shared, lease, &held, handler).await;
            shared.heart.let_go(&held);
            drop(place);
        }
    }
}

async fn ended(attempts: &mut JoinSet<()>) {
    while attempts.join_next().await.is_some() {}
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("types", &self.handlers.keys())
            .finish_non_exhaustive()
    }
}
