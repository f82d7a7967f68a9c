//! The in-process runner: a worker with no network between.
//!
//! It leases actions like any other worker, by the same ports and rules: its lease is short and renewed while it
//! works, its writes are fenced, and what it leaves behind when it is killed is taken over by whoever comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deed_domain::action::{ActionType, ActionTypeName, Grant};
use deed_domain::id::ActionId;
use deed_domain::ports::{
    ActionHandler, ClaimRequest, Leases, NoTracer, SpanKind, Tracer, Wakeups,
};
use deed_domain::service::Work;
use futures_util::{FutureExt as _, StreamExt as _, future};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::metrics::{Metrics, RunnerMetrics};
use performing::{Performing, Stop};
use slots::{Slot, Slots, Wanted};
pub use sweeper::sweep;

mod attempt;
mod flusher;
mod heart;
mod performing;
mod slots;
mod sweeper;

/// How long a lease holds without a heartbeat.
const LEASE: Duration = Duration::from_secs(10);
/// How often the queue is looked into when nothing wakes the runner.
const FLOOR: Duration = Duration::from_secs(1);
/// How long a claim under way may still take once a drain has begun.
const LAST_CLAIM: Duration = Duration::from_secs(2);
/// How long the release of what was not finished may take at the end of a drain.
const RELEASE: Duration = Duration::from_secs(5);

/// What a runner is told by its settings.
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// How many actions it performs at a time.
    pub slots: usize,
    /// What it is called in the leases that it holds.
    pub worker: String,
}

/// Performs actions by handlers in this process.
pub struct Runner {
    shared: Arc<Shared>,
    wakeups: Arc<dyn Wakeups>,
    settings: RunnerSettings,
    tracer: Arc<dyn Tracer>,
}

/// What the runner's tasks share.
struct Shared {
    leases: Arc<dyn Leases>,
    work: Work,
    handlers: HashMap<ActionTypeName, (ActionType, Arc<dyn ActionHandler>)>,
    performing: Mutex<HashMap<ActionId, Arc<Performing>>>,
    /// Something waits to be flushed.
    dirty: Arc<Notify>,
    metrics: RunnerMetrics,
    worker: String,
}

impl Shared {
    fn performing(&self) -> MutexGuard<'_, HashMap<ActionId, Arc<Performing>>> {
        self.performing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runner {
    /// A runner of `handlers`, counted among `metrics`; of two handlers for one type the last counts.
    #[must_use]
    pub fn new(
        leases: Arc<dyn Leases>,
        work: Work,
        wakeups: Arc<dyn Wakeups>,
        handlers: impl IntoIterator<Item = Arc<dyn ActionHandler>>,
        settings: RunnerSettings,
        metrics: &Metrics,
    ) -> Self {
        metrics.runner.slots(settings.slots);
        let handlers = handlers
            .into_iter()
            .map(|handler| {
                let action_type = handler.action_type();
                (action_type.name.clone(), (action_type, handler))
            })
            .collect();
        let shared = Shared {
            leases,
            work,
            handlers,
            performing: Mutex::default(),
            dirty: Arc::default(),
            metrics: metrics.runner.clone(),
            worker: settings.worker.clone(),
        };
        Self {
            shared: Arc::new(shared),
            wakeups,
            settings,
            tracer: Arc::new(NoTracer),
        }
    }

    /// The same, which records each attempt as a span.
    #[must_use]
    pub fn traced(self, tracer: Arc<dyn Tracer>) -> Self {
        Self { tracer, ..self }
    }

    /// The types that it performs, to be registered before it runs.
    #[must_use]
    pub fn action_types(&self) -> Vec<ActionType> {
        self.shared
            .handlers
            .values()
            .map(|(action_type, _)| action_type.clone())
            .collect()
    }

    /// Performs actions until `drain` is ready; then takes no more, lets those under way finish for `grace`, gives
    /// the rest back to the queue, and returns. Without one of its helpers it could neither renew leases nor write
    /// anything down: should one die, so does the runner, and its leases expire.
    pub async fn run(self, drain: impl Future<Output = ()> + Send, grace: Duration) {
        let mut helpers = JoinSet::new();
        helpers.spawn(flusher::run(Arc::clone(&self.shared)));
        helpers.spawn(heart::renew(Arc::clone(&self.shared)));
        helpers.spawn(heart::hear_cancels(
            Arc::clone(&self.shared),
            self.wakeups.watch_cancels(),
        ));
        let mut attempts = JoinSet::new();
        let drain = drain.map(|()| Instant::now()).shared();
        let work = async {
            let began = self.take(&mut attempts, drain).await;
            self.finish(attempts, began + grace).await;
        };
        tokio::select! {
            () = work => {}
            Some(ended) = helpers.join_next() => {
                if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
        helpers.shutdown().await;
    }

    /// Claims for all free slots together, and apart for types of which a replica performs only so many, whenever
    /// something may be there, until `drain` is ready; answers when that was. A claim under way is waited for a little
    /// longer: what it was granted would otherwise be nobody's until its leases expire.
    async fn take(
        &self,
        attempts: &mut JoinSet<()>,
        drain: future::Shared<impl Future<Output = Instant> + Send>,
    ) -> Instant {
        let mut wakeups = self.wakeups.watch_queue();
        let mut pause = Duration::ZERO;
        let slots = Slots::default();
        let mut turn = 0_usize;
        'claims: loop {
            while attempts.try_join_next().is_some() {}
            let free = self.settings.slots.saturating_sub(attempts.len());
            if let Some(began) = drain.peek() {
                return *began;
            }
            let types = self.shared.handlers.values().map(|(one, _)| one);
            turn = turn.wrapping_add(1);
            let (wanted, mut is_full) = slots.wanted(types, free, turn);
            let mut left = free;
            for Wanted { types, max } in wanted {
                if let Some(began) = drain.peek() {
                    return *began;
                }
                let max = max.min(left);
                if max == 0 {
                    is_full = true;
                    break;
                }
                let request = self.request(types, max);
                let claimed = tokio::select! {
                    claimed = self.shared.leases.claim(&request) => claimed,
                    began = async {
                        let began = drain.clone().await;
                        tokio::time::sleep_until(began + LAST_CLAIM).await;
                        began
                    } => return began,
                };
                match claimed {
                    Ok(grants) => {
                        pause = Duration::ZERO;
                        left = left.saturating_sub(grants.len());
                        is_full |= grants.len() >= max;
                        for grant in grants {
                            let slot = slots.take(grant.action_type.clone());
                            self.start(grant, slot, attempts);
                        }
                    }
                    Err(error) => {
                        pause = (pause * 2).clamp(Duration::from_millis(100), FLOOR);
                        log::debug!(error:err = error; "nothing could be claimed");
                        tokio::select! {
                            began = drain.clone() => return began,
                            () = tokio::time::sleep(pause) => continue 'claims,
                        }
                    }
                }
            }
            let may_be_more = free == 0 || is_full;
            tokio::select! {
                biased;
                began = drain.clone() => return began,
                // A slot that gets free is of use only if there was more than the slots could take.
                Some(_) = attempts.join_next(), if may_be_more && !attempts.is_empty() => {}
                Some(()) = wakeups.next(), if self.settings.slots > attempts.len() => {}
                () = tokio::time::sleep(FLOOR) => {}
            }
        }
    }

    fn request(&self, types: Vec<ActionTypeName>, max: usize) -> ClaimRequest {
        ClaimRequest {
            types,
            max,
            worker: self.settings.worker.clone(),
            lease: Some(LEASE),
        }
    }

    fn start(&self, grant: Grant, slot: Slot, attempts: &mut JoinSet<()>) {
        // Not one that was asked for: leave it to expire rather than to guess.
        let Some((action_type, handler)) = self.shared.handlers.get(&grant.action_type) else {
            return;
        };
        let performing = Arc::new(Performing::new(&grant, Arc::clone(&self.shared.dirty)));
        let before = self
            .shared
            .performing()
            .insert(grant.lease.id.action_id, Arc::clone(&performing));
        if let Some(before) = before {
            // An attempt of this very runner whose lease was lost before it could hear of it.
            before.stop(Stop::Lost);
        }
        let span = self.tracer.begin(SpanKind::Attempt, grant.traceparent);
        let attempt = attempt::run(
            Arc::clone(&self.shared),
            grant,
            span,
            action_type.clone(),
            Arc::clone(handler),
            performing,
        );
        let busy = self.shared.metrics.busy();
        attempts.spawn(async move {
            let (_busy, _slot) = (busy, slot);
            attempt.await;
        });
    }

    async fn finish(&self, mut attempts: JoinSet<()>, deadline: Instant) {
        let all_done = async { while attempts.join_next().await.is_some() {} };
        if timeout_at(deadline, all_done).await.is_ok() {
            return;
        }
        for performing in self.shared.performing().values() {
            performing.stop(Stop::Draining);
        }
        let all_released = async { while attempts.join_next().await.is_some() {} };
        if timeout_at(Instant::now() + RELEASE, all_released)
            .await
            .is_err()
        {
            log::warn!(count = attempts.len(); "actions were not given back; their leases will expire");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SystemIds;
    use deed_domain::ports::{MockLeases, MockWakeups};
    use futures_util::stream;

    #[tokio::test(start_paused = true)]
    async fn a_runner_that_loses_a_helper_ends() {
        let mut wakeups = MockWakeups::new();
        wakeups
            .expect_watch_queue()
            .returning(|| stream::pending().boxed());
        // Who hears of cancelled actions dies at the second word.
        wakeups.expect_watch_cancels().returning(|| {
            let mut words = 0;
            stream::repeat_with(move || {
                words += 1;
                assert!(words < 2, "on purpose");
                ActionId::from_uuid(uuid::Uuid::nil())
            })
            .boxed()
        });
        let leases: Arc<MockLeases> = Arc::default();
        let settings = RunnerSettings {
            slots: 1,
            worker: "test".to_owned(),
        };
        let work = Work::new(leases.clone(), Arc::new(SystemIds));
        let runner = Runner::new(
            leases,
            work,
            Arc::new(wakeups),
            [],
            settings,
            &Metrics::default(),
        );
        let running = tokio::spawn(runner.run(future::pending(), Duration::from_secs(1)));
        let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
        assert!(ended.unwrap().unwrap_err().is_panic());
    }
}
