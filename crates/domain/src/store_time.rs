//! How much of a request's time went to the store.
//!
//! Each look at the store has a bound of its own. A request that looks several times would add them up; so what is done
//! for one request shares a [`StoreTime`], and an adapter counts what is left. It goes along with the task, as no port
//! should have to name it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

thread_local! {
    static CURRENT: RefCell<Option<StoreTime>> = const { RefCell::new(None) };
}

/// What one request has spent so far. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct StoreTime(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    microseconds: AtomicU64,
    has_written: AtomicBool,
}

impl StoreTime {
    /// One that has begun with `spent`.
    #[must_use]
    pub fn after(spent: Duration) -> Self {
        let time = Self::default();
        time.add(spent);
        time
    }

    /// That of the work that is going on; `None` for work of no request, and [`apart`].
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Runs `work` on this time.
    pub fn within<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        Scope {
            time: Some(self),
            work: Box::pin(work),
        }
    }

    /// How much was spent.
    #[must_use]
    pub fn spent(&self) -> Duration {
        Duration::from_micros(self.0.microseconds.load(Ordering::Relaxed))
    }

    /// Counts what was spent on a look.
    pub fn add(&self, spent: Duration) {
        let microseconds = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
        self.0
            .microseconds
            .fetch_add(microseconds, Ordering::Relaxed);
    }

    /// Whether anything was written, or may have been.
    #[must_use]
    pub fn has_written(&self) -> bool {
        self.0.has_written.load(Ordering::Relaxed)
    }

    /// Something is about to be written.
    pub fn writes(&self) {
        self.0.has_written.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` on nobody's time: for what waits long and looks often, each look with a bound of its own.
pub fn apart<F: Future>(work: F) -> impl Future<Output = F::Output> {
    Scope {
        time: None,
        work: Box::pin(work),
    }
}

struct Scope<F> {
    time: Option<StoreTime>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _restore = Restore(CURRENT.replace(self.time.clone()));
        self.work.as_mut().poll(context)
    }
}

/// Puts back what was current before, also when the work panics.
struct Restore(Option<StoreTime>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::panic::AssertUnwindSafe;

    fn spend(milliseconds: u64) {
        if let Some(time) = StoreTime::current() {
            time.add(Duration::from_millis(milliseconds));
        }
    }

    #[test]
    fn what_is_done_for_a_request_is_counted_and_what_stands_apart_is_not() {
        let time = StoreTime::after(Duration::from_millis(1));
        let work = async {
            spend(10);
            apart(async { spend(100) }).await;
            spend(1_000);
        };
        assert_eq!(time.clone().within(work).now_or_never(), Some(()));
        assert_eq!(time.spent(), Duration::from_millis(1_011));
        spend(10_000);
        assert_eq!(time.spent(), Duration::from_millis(1_011));
    }

    #[test]
    fn two_requests_on_one_thread_are_told_apart() {
        let (one, other) = (StoreTime::default(), StoreTime::default());
        let step = |milliseconds| async move {
            spend(milliseconds);
            // Lets the other one go on.
            let mut has_yielded = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                match std::mem::replace(&mut has_yielded, true) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            spend(milliseconds);
        };
        let both =
            futures_util::future::join(one.clone().within(step(1)), other.clone().within(step(10)));
        futures_util::pin_mut!(both);
        while both.as_mut().now_or_never().is_none() {}
        assert_eq!(one.spent(), Duration::from_millis(2));
        assert_eq!(other.spent(), Duration::from_millis(20));
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let work = StoreTime::default().within(async { panic!("on purpose") });
        let caught = AssertUnwindSafe(work).catch_unwind().now_or_never();
        assert!(caught.is_some_and(|outcome| outcome.is_err()));
        assert!(StoreTime::current().is_none());
    }

    #[test]
    fn it_is_known_whether_anything_was_written() {
        let time = StoreTime::default();
        assert!(!time.has_written());
        time.clone().writes();
        assert!(time.has_written());
    }
}
