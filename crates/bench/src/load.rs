//! A steady load: actions that are submitted at a rate, and workers that perform them in batches.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deed_client::Client;
use deed_client::api::action::CreateAction;
use deed_client::api::action_type::PutActionType;
use deed_client::api::lease::LeaseBody;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::latency::{Latencies, per_second};
use crate::performer::Performer;
use crate::stage::Stage;

/// How many requests are under way at once at the most; more wait, and their waiting counts.
const SENDERS: usize = 32;
/// How often actions are sent.
const TICK: Duration = Duration::from_millis(5);
/// How many workers there are.
const WORKERS: usize = 2;
/// How many actions a worker takes at a time.
const BATCH: u16 = 64;

/// The load.
pub(crate) struct Load {
    client: Client,
    rate: u32,
    is_over: AtomicBool,
    submitted: AtomicU64,
    performed: AtomicU64,
    part: Mutex<Part>,
}

/// What was measured since the last look.
struct Part {
    began: Instant,
    granted: Latencies,
    submitted: Latencies,
    performed: u64,
}

/// What a while of the load came to.
pub(crate) struct Totals {
    /// From the beginning of its submission to the moment at which a worker has it.
    pub(crate) granted: Latencies,
    /// From the moment at which it was to be sent to the answer.
    pub(crate) submitted: Latencies,
    /// How many were performed a second.
    pub(crate) performed_per_second: f64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} performed/s, time to grant p50 {:.1} ms, p99 {:.1} ms ({} granted)",
            self.performed_per_second,
            self.granted.percentile(50.0),
            self.granted.percentile(99.0),
            self.granted.count()
        )
    }
}

impl Load {
    /// The type of all actions.
    pub(crate) const TYPE: &str = "bench.noop";

    /// A load of `rate` actions a second, not started yet.
    pub(crate) async fn new(stage: &Stage, rate: u32) -> anyhow::Result<Self> {
        let client = stage.client()?;
        client
            .put_action_type(Self::TYPE, &PutActionType::default())
            .await?;
        Ok(Self {
            client,
            rate,
            is_over: AtomicBool::new(false),
            submitted: AtomicU64::new(0),
            performed: AtomicU64::new(0),
            part: Mutex::new(Part::begin()?),
        })
    }

    /// Submits and performs until [`Self::stop`], and what was submitted by then to its end. Answers how many were
    /// submitted and how many performed.
    ///
    /// # Errors
    /// The first call that fails ends it all: a figure with failures in it is none.
    pub(crate) async fn run(&self) -> anyhow::Result<(u64, u64)> {
        // Open loop: when an action is sent does not depend on how long the ones before took.
        let (queue, waiting) = mpsc::unbounded_channel();
        let waiting = tokio::sync::Mutex::new(waiting);
        let action = CreateAction::new(
            Self::TYPE,
            &serde_json::json!({"text": "the quick brown fox jumps over the lazy dog"}),
        )?;
        let senders = async {
            let sending = (0..SENDERS).map(|_| self.send(&waiting, &action));
            futures_util::future::try_join_all(sending).await
        };
        let workers = async {
            let working = (0..WORKERS).map(|number| self.work(number));
            futures_util::future::try_join_all(working).await
        };
        let (_, _, ()) = tokio::try_join!(senders, workers, async {
            self.pace(queue).await;
            Ok(())
        })?;
        Ok((
            self.submitted.load(Ordering::Relaxed),
            self.performed.load(Ordering::Relaxed),
        ))
    }

    /// Submits no more.
    pub(crate) fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// What was measured since the last look.
    pub(crate) fn take(&self) -> anyhow::Result<Totals> {
        let next = Part::begin()?;
        let Part {
            began,
            granted,
            submitted,
            performed,
        } = std::mem::replace(&mut *self.part(), next);
        Ok(Totals {
            granted,
            submitted,
            performed_per_second: per_second(performed, began.elapsed()),
        })
    }

    fn part(&self) -> MutexGuard<'_, Part> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says when the next one is to be sent, until the load is stopped.
    async fn pace(&self, queue: mpsc::UnboundedSender<Instant>) {
        let began = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut said = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let now = ticks.tick().await;
            let due = u128::from(self.rate) * (now - began).as_micros() / 1_000_000;
            while said < due {
                said += 1;
                if queue.send(now).is_err() {
                    return;
                }
            }
        }
    }

    async fn send(
        &self,
        waiting: &tokio::sync::Mutex<mpsc::UnboundedReceiver<Instant>>,
        action: &CreateAction,
    ) -> anyhow::Result<()> {
        loop {
            let next = waiting.lock().await.recv().await;
            let Some(due) = next else {
                return Ok(());
            };
            self.client.create_action(action).respond_async().await?;
            self.submitted.fetch_add(1, Ordering::Relaxed);
            self.part().submitted.record(due.elapsed());
        }
    }
}

impl Load {
    async fn work(&self, number: usize) -> anyhow::Result<()> {
        let performer = Performer {
            client: &self.client,
            action_type: Self::TYPE,
            batch: BATCH,
            is_over: &self.is_over,
        };
        let granted = |leases: &[LeaseBody]| {
            let mut part = self.part();
            for lease in leases {
                part.granted.record(age(lease.action.id));
            }
        };
        let performed = |count| {
            self.performed.fetch_add(count, Ordering::Relaxed);
            self.part().performed += count;
        };
        performer.run(number, granted, performed).await
    }
}

impl Part {
    fn begin() -> anyhow::Result<Self> {
        Ok(Self {
            began: Instant::now(),
            granted: Latencies::new()?,
            submitted: Latencies::new()?,
            performed: 0,
        })
    }
}

/// How long ago the action was made, by the time in its id: of the server's clock, which is this machine's.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the time in an id, which is of the same clock"
)]
fn age(action: Uuid) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let made = action.get_timestamp().map_or(now, |made| {
        let (seconds, nanoseconds) = made.to_unix();
        Duration::new(seconds, nanoseconds)
    });
    now.saturating_sub(made)
}
