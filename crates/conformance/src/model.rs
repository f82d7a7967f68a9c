//! Random lives of actions: commands that are drawn by chance, on the ports of a store and on a reference that is
//! nothing but their contract. Every answer of the ports, and all that can be seen of the store afterwards, has to be
//! what the reference foretells.
//!
//! Times are hours, and time passes by hours and a minute, so that how long a case really takes does not matter.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use deed_domain::id::ActionId;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

use crate::Store;
use command::commands;
use play::Stage;

mod command;
mod names;
mod performing;
mod play;
mod reading;
mod reference;
mod seen;
mod submitting;
mod sweeping;

/// What of a store holds an action. Exactly one does, at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The queue: it waits.
    Queue,
    /// A lease: it is performed.
    Lease {
        /// How long it is until the lease ends, unless it is renewed.
        expires_in: TimeDelta,
        /// How long it is until the attempt ends.
        deadline_in: TimeDelta,
    },
    /// A result: it is over.
    Result,
}

/// A store whose time passes when the test says so, and that shows what holds its actions.
#[async_trait]
pub trait Workbench: Store {
    /// `time` passes, without waiting: everything that the store has planned is so much nearer, or longer ago. The
    /// order in which actions wait stays.
    async fn pass(&self, time: Duration);

    /// What holds the actions: each as often as something holds it.
    async fn holders(&self, actions: &[ActionId]) -> Vec<(ActionId, Holder)>;
}

/// From how many cases on each of [`SEEN`] has to be among them.
const ENOUGH: u32 = 256;
/// What the ports are asked and answer in the course of many lives: commands that never get so far would prove little.
const SEEN: [&str; 39] = [
    "append: Lost",
    "append: OutOfOrder",
    "append: Repeated",
    "append: Written",
    "cancel: Asked",
    "cancel: Cancelled",
    "cancel: NotFound",
    "cancel: Over",
    "claim with checkpoint: None",
    "claim with checkpoint: Some",
    "finish: Finished",
    "finish: Lost",
    "finish: Repeated",
    "give up: Queued",
    "granted: Grant",
    "heartbeat: Finished",
    "heartbeat: Held",
    "heartbeat: Lost",
    "promote: one",
    "read: None",
    "read: Some",
    "release: Lost",
    "release: Released",
    "requeue: Lost",
    "requeue: MustFinish",
    "requeue: Requeued",
    "rescue, over: Cancelled",
    "rescue, over: lease_expired",
    "rescue, over: time_limit",
    "rescue, then: Queued",
    "rescue, then: Scheduled",
    "submit batch: KeyReused",
    "submit batch: New",
    "submit batch: Replayed",
    "submit batch: UnknownTypes",
    "submit: KeyReused",
    "submit: New",
    "submit: Replayed",
    "submit: UnknownType",
];

/// Plays 256 random lives (or as many as the variable `PROPTEST_CASES` says) and compares. `block_on` runs a future to
/// its end, on a runtime that runs what the store leaves in the background, too.
///
/// # Panics
/// With the shortest sequence of commands that it finds to go wrong, and what went wrong.
pub fn check<S: Workbench>(
    block_on: impl Fn(LocalBoxFuture<'_, TestCaseResult>) -> TestCaseResult,
) {
    // A case leaves nothing unfinished behind, so the next one can have its store. One that failed keeps it.
    let stage = RefCell::new(None);
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    });
    let cases = runner.config().cases;
    let found = runner.run(&commands(), |commands| {
        let case = async {
            let free = stage.take();
            let mine = match free {
                Some(free) => free,
                None => Stage::<S>::new().await,
            };
            mine.play(&commands).await?;
            stage.replace(Some(mine));
            Ok(())
        };
        block_on(case.boxed_local())
    });
    let mut seen = BTreeMap::new();
    // A store may need the runtime to go down.
    let end = async {
        seen = stage
            .take()
            .map(|stage| stage.seen.take())
            .unwrap_or_default();
        Ok(())
    };
    block_on(end.boxed_local()).unwrap();
    if let Err(error) = found {
        panic!("{error}\n{runner}");
    }
    if cases >= ENOUGH {
        let unseen: Vec<&&str> = SEEN
            .iter()
            .filter(|one| !seen.contains_key(**one))
            .collect();
        assert!(unseen.is_empty(), "never drawn: {unseen:?}, but {seen:#?}");
    }
}
