//! Tasks that never end by themselves. One that does, by a panic or a return that nobody meant, is started anew.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deed_domain::ports::Ids;
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// About how long the first pause before a restart is. Each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// A task that has lived for so long begins with the first pause again.
const LASTING: Duration = Duration::from_secs(60);

/// Tasks, each with somebody who starts it anew when it dies.
pub(crate) struct Tasks {
    ids: Arc<dyn Ids>,
    set: JoinSet<()>,
    states: Vec<TaskState>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    /// None yet. Pauses are spread by the random bytes of `ids`.
    pub(crate) fn new(ids: Arc<dyn Ids>) -> Self {
        Self {
            ids,
            set: JoinSet::new(),
            states: Vec::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Keeps what `start` makes running, until [`Tasks::stop`].
    pub(crate) fn keep<F, W>(&mut self, name: &'static str, start: F)
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let supervised = self.supervised(name, self.stop.subscribe(), start);
        self.set.spawn(supervised);
    }

    /// Keeps what `start` makes running until `is_over` holds true; then the one that runs ends by itself, and is
    /// not followed by another.
    pub(crate) fn keep_until<F, W>(
        &mut self,
        name: &'static str,
        is_over: watch::Receiver<bool>,
        start: F,
    ) -> JoinHandle<()>
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.supervised(name, is_over, start))
    }

    /// How each of the tasks is, now and later.
    pub(crate) fn states(&self) -> Vec<TaskState> {
        self.states.clone()
    }

    /// Ends all that [`Tasks::keep`] keeps, where they stand.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        self.set.shutdown().await;
    }

    fn supervised<F, W>(
        &mut self,
        name: &'static str,
        is_over: watch::Receiver<bool>,
        start: F,
    ) -> impl Future<Output = ()> + Send + use<F, W>
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let state = TaskState::new(name);
        self.states.push(state.clone());
        supervise(state, Arc::clone(&self.ids), is_over, start)
    }
}

/// How one task is.
#[derive(Debug, Clone)]
pub(crate) struct TaskState(Arc<State>);

#[derive(Debug)]
struct State {
    name: &'static str,
    is_up: AtomicBool,
    restarts: AtomicU64,
}

impl TaskState {
    /// Of a task that is about to start.
    pub(crate) fn new(name: &'static str) -> Self {
        Self(Arc::new(State {
            name,
            is_up: AtomicBool::new(true),
            restarts: AtomicU64::new(0),
        }))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.0.name
    }

    /// Whether it runs: false between a death and the restart.
    pub(crate) fn is_up(&self) -> bool {
        self.0.is_up.load(Ordering::Relaxed)
    }

    /// How often it was started anew.
    pub(crate) fn restarts(&self) -> u64 {
        self.0.restarts.load(Ordering::Relaxed)
    }
}

/// The names of those that are down.
pub(crate) fn down(states: &[TaskState]) -> Vec<&'static str> {
    let down = states.iter().filter(|state| !state.is_up());
    down.map(TaskState::name).collect()
}

async fn supervise<F, W>(
    state: TaskState,
    ids: Arc<dyn Ids>,
    mut is_over: watch::Receiver<bool>,
    start: F,
) where
    F: Fn() -> W + Send + Sync,
    W: Future<Output = ()> + Send,
{
    let name = state.name();
    let mut step = FIRST;
    loop {
        let began = Instant::now();
        // What a task leaves behind lies under mutexes that are read in spite of their poison.
        let end = AssertUnwindSafe(async { start().await })
            .catch_unwind()
            .await;
        state.0.is_up.store(false, Ordering::Relaxed);
        if *is_over.borrow() {
            if end.is_err() {
                log::error!(task = name; "the task {name} panicked at its end");
            }
            return;
        }
        if began.elapsed() >= LASTING {
            step = FIRST;
        }
        let pause = spread(step, ids.as_ref());
        step = (step * 2).min(LONGEST);
        let how = if end.is_err() { "panicked" } else { "ended" };
        log::error!(
            task = name, restarts = state.restarts();
            "the task {name} {how}; it is started anew in {} ms", pause.as_millis()
        );
        let over = is_over.wait_for(|is_over| *is_over);
        if tokio::time::timeout(pause, over).await.is_ok() {
            return;
        }
        state.0.restarts.fetch_add(1, Ordering::Relaxed);
        state.0.is_up.store(true, Ordering::Relaxed);
    }
}

/// From a half of `step` to the whole: replicas that fell together don't come back together.
fn spread(step: Duration, ids: &dyn Ids) -> Duration {
    let random = ids.random_bytes().first().copied().unwrap_or(u8::MAX);
    step / 2 + step / 2 * u32::from(random) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_adapters::ids::SystemIds;
    use tokio::sync::mpsc;
    use uuid::Uuid;

    fn tasks() -> Tasks {
        Tasks::new(Arc::new(SystemIds))
    }

    /// Waits until the task is as it should be; the paused clock runs meanwhile.
    async fn until(state: &TaskState, is_so: impl Fn(&TaskState) -> bool) {
        let so = async {
            while !is_so(state) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let deadline = Duration::from_secs(3600);
        assert!(
            tokio::time::timeout(deadline, so).await.is_ok(),
            "{state:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_down_for_a_while_and_then_up_again() {
        let mut tasks = tasks();
        let (starts, mut heard) = mpsc::unbounded_channel();
        tasks.keep("lasting", std::future::pending);
        let lives = AtomicU64::new(0);
        tasks.keep("panicking", move || {
            let life = lives.fetch_add(1, Ordering::Relaxed);
            starts.send(life).unwrap();
            async move {
                assert!(life > 0, "on purpose");
                std::future::pending().await
            }
        });
        let states = tasks.states();
        let [_, panicking] = states.as_slice() else {
            unreachable!("two were started")
        };
        until(panicking, |state| !state.is_up()).await;
        assert_eq!(down(&states), ["panicking"]);
        until(panicking, TaskState::is_up).await;
        assert_eq!(down(&states), Vec::<&str>::new());
        assert_eq!(
            states.iter().map(TaskState::restarts).collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(heard.recv().await, Some(0));
        assert_eq!(heard.recv().await, Some(1));
        tasks.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_before_the_first_await_is_one_too() {
        let mut tasks = tasks();
        tasks.keep("panicking", || -> std::future::Ready<()> {
            unreachable!("on purpose")
        });
        let states = tasks.states();
        until(&states[0], |state| state.restarts() == 3).await;
        tasks.stop().await;
    }

    /// How long after one another a task that lives for `lives` is started.
    async fn starts(lives: Duration, count: usize) -> Vec<Duration> {
        let mut tasks = tasks();
        let (starts, mut heard) = mpsc::unbounded_channel();
        tasks.keep("ending", move || {
            starts.send(Instant::now()).unwrap();
            tokio::time::sleep(lives)
        });
        let mut before = heard.recv().await.unwrap();
        let mut pauses = Vec::new();
        for _ in 0..count {
            let now = heard.recv().await.unwrap();
            pauses.push(now - before - lives);
            before = now;
        }
        tasks.stop().await;
        pauses
    }

    /// Tokio's timers count whole milliseconds.
    const TICK: Duration = Duration::from_millis(2);

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_a_bound() {
        let pauses = starts(Duration::from_millis(10), 14).await;
        let mut step = FIRST;
        for pause in pauses {
            assert!(
                pause + TICK >= step / 2 && pause <= step + TICK,
                "{pause:?} of {step:?}"
            );
            step = (step * 2).min(LONGEST);
        }
        assert_eq!(step, LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_lived_for_long_comes_back_soon() {
        for pause in starts(LASTING, 5).await {
            assert!(pause <= FIRST + TICK, "{pause:?}");
        }
    }

    #[test]
    fn pauses_are_spread() {
        struct Always(u8);
        impl Ids for Always {
            fn time_ordered(&self) -> Uuid {
                Uuid::nil()
            }

            fn random_bytes(&self) -> [u8; 64] {
                [self.0; 64]
            }
        }
        let step = Duration::from_secs(10);
        assert_eq!(spread(step, &Always(0)), step / 2);
        assert_eq!(spread(step, &Always(u8::MAX)), step);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_was_asked_for_is_no_death() {
        let mut tasks = tasks();
        let (drain, is_over) = watch::channel(false);
        let drained = is_over.clone();
        let runner = tasks.keep_until("runner", is_over, move || {
            let mut drained = drained.clone();
            async move {
                let _ = drained.wait_for(|drained| *drained).await;
            }
        });
        drain.send_replace(true);
        runner.await.unwrap();
        assert_eq!(tasks.states()[0].restarts(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_down_when_the_end_comes_stays_down() {
        let mut tasks = tasks();
        let (drain, is_over) = watch::channel(false);
        let runner = tasks.keep_until("runner", is_over, || async { unreachable!("on purpose") });
        let states = tasks.states();
        until(&states[0], |state| !state.is_up()).await;
        let restarts = states[0].restarts();
        drain.send_replace(true);
        runner.await.unwrap();
        assert_eq!((states[0].is_up(), states[0].restarts()), (false, restarts));
    }
}
