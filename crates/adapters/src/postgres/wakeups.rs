//! Wake-ups: who waits for something is told that it may be there.
//!
//! What this replica commits wakes its own watchers directly. Other replicas are told by NOTIFY, coalesced and in
//! a transaction of its own: inside the write's it would hold an instance-wide lock through its commit. Once a
//! second one query, the pulse, finds what no hint told.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use deed_domain::action::Sequence;
use deed_domain::id::ActionId;
use deed_domain::ports::{Ids, Wakeups};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::pool::Database;
use outbox::{Hints, Outbox};

mod listener;
mod outbox;
mod pulse;

/// How long hints are gathered before they are sent to the other replicas.
const GATHER: Duration = Duration::from_millis(5);
/// How often it is looked for what no hint told.
const PULSE: Duration = Duration::from_secs(1);
/// How old the last look at the identities may be for a cached one to be trusted.
const IDENTITIES_FRESH: Duration = Duration::from_secs(3);

/// The hub of a replica's wake-ups. Cheap to clone. Nothing arrives from outside until [`Self::run`] is polled.
#[derive(Clone)]
pub struct WakeupHub {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    /// Tells own messages from others'.
    replica: String,
    logs: Mutex<HashMap<ActionId, watch::Sender<Sequence>>>,
    queue: watch::Sender<u64>,
    identities: watch::Sender<u64>,
    cancels: Mutex<Vec<Weak<CancelWatch>>>,
    outbox: Outbox,
    /// The generation of identities that the last pulse saw.
    generation: AtomicI64,
    pulsed_at: Mutex<Option<Instant>>,
    is_listening: AtomicBool,
    /// When a message was heard last; at first, when the hub was made.
    heard_at: Mutex<Instant>,
    /// Wakes the pulse before its time: after a gap in listening.
    catch_up: Notify,
}

#[derive(Default)]
struct CancelWatch {
    waiting: Mutex<BTreeSet<ActionId>>,
    ready: Notify,
}

impl WakeupHub {
    /// A hub over `database`.
    #[must_use]
    pub fn new(database: Database, ids: &dyn Ids) -> Self {
        let name: String = ids
            .random_bytes()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            shared: Arc::new(Shared {
                database,
                replica: name,
                logs: Mutex::default(),
                queue: watch::Sender::new(0),
                identities: watch::Sender::new(0),
                cancels: Mutex::default(),
                outbox: Outbox::default(),
                generation: AtomicI64::new(0),
                pulsed_at: Mutex::default(),
                is_listening: AtomicBool::new(false),
                heard_at: Mutex::new(Instant::now()),
                catch_up: Notify::new(),
            }),
        }
    }

    /// Listens, tells the others, and takes the pulse, for as long as it is polled. Loses its connections and
    /// finds new ones by itself.
    pub async fn run(self) {
        let shared = &self.shared;
        tokio::join!(listener::run(shared), outbox::run(shared), beat(shared));
    }

    /// The same without listening, as when every NOTIFY is lost.
    pub async fn run_deaf(self) {
        let shared = &self.shared;
        tokio::join!(outbox::run(shared), beat(shared));
    }

    /// Whether other replicas' hints arrive. Without them everything still works, up to a second later.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.shared.is_listening.load(Ordering::Relaxed)
    }

    /// Notes for how long nothing was heard.
    pub(crate) fn measure(&self) {
        let silence = lock(&self.shared.heard_at).elapsed();
        let metrics = &self.shared.database.metrics().wakeups;
        metrics.listener(self.is_listening(), silence);
    }

    /// The log of `action` reaches to `last` now.
    pub(crate) fn log_grew(&self, action: ActionId, last: Sequence) {
        self.shared.wake_log(action, last);
        self.shared.outbox.put(|hints| hints.log(action, last));
    }

    /// Something may be claimed.
    pub(crate) fn queue_grew(&self) {
        self.shared.wake_queue();
        self.shared.outbox.put(|hints| hints.queue = true);
    }

    /// The performer of `action` is to stop.
    pub(crate) fn cancel_asked(&self, action: ActionId) {
        self.shared.wake_cancels([action]);
        self.shared.outbox.put(|hints| hints.cancel(action));
    }

    /// A key or a user lost its validity.
    pub(crate) fn identities_changed(&self) {
        self.shared.wake_identities();
        self.shared.outbox.put(|hints| hints.identities = true);
    }

    /// Changes whenever an identity may have lost its validity; `None` while nobody looks after that.
    pub(crate) fn identity_epoch(&self) -> Option<u64> {
        let pulsed_at = *lock(&self.shared.pulsed_at);
        pulsed_at
            .filter(|at| at.elapsed() < IDENTITIES_FRESH)
            .map(|_| *self.shared.identities.borrow())
    }
}

impl Shared {
    fn wake_log(&self, action: ActionId, last: Sequence) {
        if let Some(watched) = lock(&self.logs).get(&action) {
            watched.send_if_modified(|known| {
                let has_grown = *known < last;
                *known = last.max(*known);
                has_grown
            });
        }
    }

    fn wake_queue(&self) {
        self.queue
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn wake_identities(&self) {
        self.identities
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn wake_cancels(&self, actions: impl IntoIterator<Item = ActionId> + Clone) {
        lock(&self.cancels).retain(|watched| {
            let Some(watched) = watched.upgrade() else {
                return false;
            };
            lock(&watched.waiting).extend(actions.clone());
            watched.ready.notify_one();
            true
        });
    }

    fn wake_for(&self, hints: &Hints) {
        for (action, last) in &hints.logs {
            self.wake_log(*action, *last);
        }
        if hints.queue {
            self.wake_queue();
        }
        if hints.identities {
            self.wake_identities();
        }
        if !hints.cancels.is_empty() {
            self.wake_cancels(hints.cancels.iter().copied());
        }
    }

    fn watched_logs(&self) -> Vec<ActionId> {
        lock(&self.logs).keys().copied().collect()
    }
}

impl Wakeups for WakeupHub {
    fn watch_log(&self, action: ActionId) -> BoxStream<'static, Sequence> {
        let receiver = lock(&self.shared.logs)
            .entry(action)
            .or_insert_with(|| watch::Sender::new(Sequence::START))
            .subscribe();
        let watched = LogWatch {
            action,
            receiver: Some(receiver),
            shared: Arc::clone(&self.shared),
        };
        stream::unfold(watched, |mut watched| async {
            let last = next(watched.receiver.as_mut()?).await;
            Some((last, watched))
        })
        .boxed()
    }

    fn watch_queue(&self) -> BoxStream<'static, ()> {
        counted(self.shared.queue.subscribe(), Arc::clone(&self.shared))
    }

    fn watch_cancels(&self) -> BoxStream<'static, ActionId> {
        let watched = Arc::new(CancelWatch::default());
        lock(&self.shared.cancels).push(Arc::downgrade(&watched));
        stream::unfold(
            (watched, Arc::clone(&self.shared)),
            |(watched, shared)| async {
                loop {
                    let first = lock(&watched.waiting).pop_first();
                    if let Some(action) = first {
                        return Some((action, (watched, shared)));
                    }
                    watched.ready.notified().await;
                }
            },
        )
        .boxed()
    }

    fn watch_identities(&self) -> BoxStream<'static, ()> {
        counted(self.shared.identities.subscribe(), Arc::clone(&self.shared))
    }
}

/// A watch of a log; the last one to go takes the entry with it.
struct LogWatch {
    action: ActionId,
    /// There until it is dropped.
    receiver: Option<watch::Receiver<Sequence>>,
    shared: Arc<Shared>,
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        let mut logs = lock(&self.shared.logs);
        // Under the lock: of two that go at once, the second one has to see that the first is gone.
        drop(self.receiver.take());
        if logs
            .get(&self.action)
            .is_some_and(|watched| watched.receiver_count() == 0)
        {
            logs.remove(&self.action);
        }
    }
}

fn counted(receiver: watch::Receiver<u64>, shared: Arc<Shared>) -> BoxStream<'static, ()> {
    stream::unfold((receiver, shared), |(mut receiver, shared)| async {
        next(&mut receiver).await;
        Some(((), (receiver, shared)))
    })
    .boxed()
}

/// The next value. The hub that a watch holds on to keeps its senders, so it never ends.
async fn next<T: Copy>(receiver: &mut watch::Receiver<T>) -> T {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    *receiver.borrow_and_update()
}

/// Takes the pulse once a second, and at once after a gap in listening.
async fn beat(shared: &Shared) {
    let mut ticks = tokio::time::interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.catch_up.notified() => {}
        }
        if let Err(error) = pulse::take(shared).await {
            log::debug!(error:err = error; "the look at the database for missed news failed");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
