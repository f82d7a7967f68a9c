//! The dispatcher: grants leases to the workers outside the server, who may wait for them.
//!
//! Workers that wait stand in one list of this process. Whenever something may be there, they claim together: one
//! statement for all that want the same types, however many they are. So a thousand idle workers cost what one costs,
//! one look a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deed_domain::action::{Grant, LeaseRef};
use deed_domain::error::StoreError;
use deed_domain::ports::{Dispatch, DispatchError, Granted, Leases, Receipt, Wakeups, Wish};
use futures_util::StreamExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::metrics::{DispatchMetrics, Metrics};
use list::{List, ListenerId, Stage};
use round::{Found, Scope};

mod list;
mod round;

/// How often those who wait look when nothing wakes them. A little longer than the pulse of the wake-ups, which comes
/// once a second while that is well: the two are one look then.
const FLOOR: Duration = Duration::from_millis(1_200);
/// How long after a look that found nothing the next hint is heeded: what others submit for handlers of their own is
/// a hint too.
const GAP: Duration = Duration::from_millis(5);
/// How long somebody new waits at the most until it is looked for them.
const FIRST_LOOK: Duration = Duration::from_millis(2_200);
/// How often somebody whose time is up asks whether the look for them has ended.
const STILL: Duration = Duration::from_millis(50);

/// Grants leases to workers by [`Leases`]. Cheap to clone. Nothing is granted unless [`Self::run`] is polled.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    leases: Arc<dyn Leases>,
    wakeups: Arc<dyn Wakeups>,
    list: Mutex<List>,
    /// What was granted to somebody who is gone.
    returned: Mutex<Vec<LeaseRef>>,
    /// Somebody new waits, or something has come back.
    news: Notify,
    metrics: DispatchMetrics,
}

impl Dispatcher {
    /// How many workers may wait in one process.
    pub const WAITING_MAX: usize = 10_000;

    /// A dispatcher over `leases`, counted among `metrics`.
    #[must_use]
    pub fn new(leases: Arc<dyn Leases>, wakeups: Arc<dyn Wakeups>, metrics: &Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                leases,
                wakeups,
                list: Mutex::default(),
                returned: Mutex::default(),
                news: Notify::new(),
                metrics: metrics.dispatch.clone(),
            }),
        }
    }

    /// Looks for those who wait, for as long as it is polled. Those for whom it was looking when it died are refused,
    /// the others wait on for the next one that runs.
    pub async fn run(self) {
        let shared = &self.shared;
        let mut hints = shared.wakeups.watch_queue();
        let mut heed_from = Instant::now();
        let mut next_look = heed_from + FLOOR;
        let mut scope = Scope::All;
        loop {
            shared.give_back().await;
            let found = round::look(shared, scope).await;
            if found == Found::MayBeMore {
                scope = Scope::All;
                continue;
            }
            // A look for those who are new puts nothing off: they may come all the time.
            if scope == Scope::All {
                let now = Instant::now();
                next_look = now + FLOOR;
                if found == Found::Nothing {
                    heed_from = now + GAP;
                }
            }
            let hint = async {
                sleep_until(heed_from).await;
                hints.next().await
            };
            scope = tokio::select! {
                biased;
                _ = hint => Scope::All,
                () = sleep_until(next_look) => Scope::All,
                () = shared.news.notified() => Scope::New,
            };
        }
    }
}

#[async_trait]
impl Dispatch for Dispatcher {
    async fn lease(&self, wish: Wish) -> Result<Granted, DispatchError> {
        if wish.types.is_empty() || wish.max == 0 {
            return Ok(Granted::nothing());
        }
        let arrived = Instant::now();
        let (until, first) = (arrived + wish.wait, arrived + FIRST_LOOK);
        let (tell, mut answer) = oneshot::channel();
        let id = lock(&self.shared.list)
            .enter(wish, until, tell)
            .ok_or(DispatchError::TooMany)?;
        let place = Place {
            shared: Arc::clone(&self.shared),
            id,
        };
        self.shared.metrics.came();
        self.shared.news.notify_one();
        loop {
            let now = Instant::now();
            let due = [until, first].into_iter().filter(|at| *at > now).min();
            tokio::select! {
                biased;
                told = &mut answer => {
                    return told.unwrap_or_else(|_| Err(nobody_looks())).map_err(Into::into);
                }
                () = sleep_until(due.unwrap_or(now + STILL)) => {}
            }
            let now = Instant::now();
            let stage = lock(&place.shared.list).leave_if(id, |stage| match stage {
                Stage::New => now >= first,
                Stage::Looking => false,
                Stage::Waiting => now >= until,
            });
            match stage {
                Some(Stage::New) => return Err(nobody_looks().into()),
                Some(_) => return Ok(Granted::nothing()),
                None => {}
            }
        }
    }
}

fn nobody_looks() -> StoreError {
    StoreError::Unavailable(Arc::new(NobodyLooks))
}

/// The dispatcher is held up, or was just lost.
#[derive(Debug, thiserror::Error)]
#[error("nobody looked for leases in time")]
struct NobodyLooks;

/// A place in the list; gone with whoever has it.
struct Place {
    shared: Arc<Shared>,
    id: ListenerId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.metrics.went();
        lock(&self.shared.list).leave_if(self.id, |_| true);
    }
}

impl Shared {
    /// What went lost on its way to a worker goes back to the queue, where it wakes those who wait for it.
    async fn give_back(&self) {
        let returned = std::mem::take(&mut *lock(&self.returned));
        if returned.is_empty() {
            return;
        }
        if let Err(error) = self.leases.release(&returned).await {
            log::warn!(
                error:err = error, count = returned.len();
                "leases of workers that are gone were not given back; they will expire"
            );
        }
    }

    /// Hands `grants` to those who asked for them together: whoever takes them first has them for all.
    fn hand_over(
        self: &Arc<Self>,
        grants: &[Grant],
        listeners: Vec<oneshot::Sender<Result<Granted, StoreError>>>,
    ) {
        let parcel = Arc::new(Parcel {
            shared: Arc::clone(self),
            leases: grants.iter().map(|grant| grant.lease.id).collect(),
            is_taken: AtomicBool::new(false),
        });
        for listener in listeners {
            let receipt = Box::new(Slip(Arc::clone(&parcel)));
            // What nobody takes is dropped, and so comes back.
            let _ = listener.send(Ok(Granted::new(grants.to_vec(), Some(receipt))));
        }
    }
}

/// Leases on their way.
struct Parcel {
    shared: Arc<Shared>,
    leases: Vec<LeaseRef>,
    is_taken: AtomicBool,
}

/// One worker's receipt for a parcel.
struct Slip(Arc<Parcel>);

impl Receipt for Slip {
    fn sign(self: Box<Self>) {
        self.0.is_taken.store(true, Ordering::Relaxed);
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if !*self.is_taken.get_mut() {
            lock(&self.shared.returned).append(&mut self.leases);
            self.shared.news.notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
