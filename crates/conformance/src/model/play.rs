//! Plays commands on the ports and on the reference, and compares what they answer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deed_domain::action::{ActionType, Concurrency, LeaseRef, LeaseRequest, RetryPolicy};
use deed_domain::caller::Reach;
use deed_domain::error::StoreError;
use deed_domain::id::{ActionId, UserId};
use deed_domain::idempotency::IdempotencyScope;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use proptest::{prop_assert, prop_assert_eq};

use super::Workbench;
use super::command::Command;
use super::reference::{HOUR, Minutes, Reference};
use crate::fixtures::handler;
use crate::{Hearing, Ports};

/// How far a time may be from the one foretold: much longer than a case takes, and less than the minute by which any
/// two times that matter are apart.
const TOLERANCE: TimeDelta = TimeDelta::seconds(45);
/// How many replicas send heartbeats by turns: one of them may let them wait for a second, to send them together.
const HEARTS: usize = 16;
/// More than anything is planned ahead.
const FOR_EVER: u8 = 200;

/// Where cases are played, one after another.
pub(super) struct Stage<S> {
    store: S,
    ports: Ports,
    hearts: Vec<Ports>,
    beats: Cell<usize>,
    pub(super) types: Vec<ActionType>,
    pub(super) users: Vec<UserId>,
    /// What has happened so far: what the ports were asked, and what they answered.
    pub(super) seen: RefCell<BTreeMap<String, usize>>,
}

impl<S: Workbench> Stage<S> {
    pub(super) async fn new() -> Self {
        let store = S::fresh().await;
        let ports = store.replica(Hearing::Good).await;
        let types = action_types();
        ports.register(&types).await;
        let mut hearts = Vec::new();
        for _ in 0..HEARTS {
            hearts.push(store.replica(Hearing::Deaf).await);
        }
        let mut users = Vec::new();
        for address in ["ada@example.com", "bea@example.com", "cleo@example.com"] {
            users.push(ports.user(address).await.id);
        }
        Self {
            store,
            ports,
            hearts,
            beats: Cell::new(0),
            types,
            users,
            seen: RefCell::default(),
        }
    }

    /// The replica whose turn it is to send heartbeats.
    pub(super) fn heart(&self) -> &Ports {
        let beats = self.beats.get();
        self.beats.set(beats + 1);
        &self.hearts[beats % self.hearts.len()]
    }

    /// Plays the commands, compares, and ends whatever they have left unfinished.
    pub(super) async fn play(&self, commands: &[Command]) -> TestCaseResult {
        let mut case = Case::new(self);
        for command in commands {
            case.step(command).await?;
        }
        case.look_closely(&case.ids).await?;
        let unfinished = case.model.those(|life| !life.is_over());
        for id in &unfinished {
            case.cancel(*id, Reach::EVERYTHING).await?;
        }
        case.step(&Command::Pass(FOR_EVER)).await?;
        case.step(&Command::Rescue(1_000)).await?;
        prop_assert_eq!(case.model.those(|life| !life.is_over()), vec![]);
        case.look_closely(&unfinished).await
    }
}

/// No pause is drawn by chance: none is between attempts, but what the performer asks for. All times are whole hours.
fn action_types() -> Vec<ActionType> {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let usual = |name| ActionType {
        attempt_timeout: hours(6),
        lease: hours(1),
        retry: RetryPolicy::new(Duration::ZERO, 1.0, Duration::ZERO),
        ..handler(name)
    };
    vec![
        usual("usual"),
        ActionType {
            attempt_timeout: hours(1),
            ..usual("hasty")
        },
        ActionType {
            time_limit: Some(hours(4)),
            ..usual("limited")
        },
        ActionType {
            concurrency: Concurrency {
                total: Some(3),
                per_user: Some(2),
                per_replica: None,
            },
            ..usual("narrow")
        },
    ]
}

/// A case that is being played.
pub(super) struct Case<'a, S> {
    pub(super) stage: &'a Stage<S>,
    pub(super) model: Reference,
    /// Where its idempotency keys are unique.
    pub(super) scope: IdempotencyScope,
    /// What was accepted, in order.
    pub(super) ids: Vec<ActionId>,
    /// What was not accepted.
    pub(super) refused: Vec<ActionId>,
    /// All that were granted, in order.
    pub(super) leases: Vec<LeaseRef>,
    pub(super) requests: Vec<(LeaseRequest, Vec<LeaseRef>)>,
    /// How many commands were played: what they write tells them apart by it.
    pub(super) steps: usize,
}

impl<'a, S: Workbench> Case<'a, S> {
    fn new(stage: &'a Stage<S>) -> Self {
        let id = stage.ports.ids.time_ordered();
        Self {
            stage,
            model: Reference::new(&stage.types),
            scope: IdempotencyScope::of(None, &format!("/{id}")),
            ids: Vec::new(),
            refused: Vec::new(),
            leases: Vec::new(),
            requests: Vec::new(),
            steps: 0,
        }
    }

    pub(super) fn ports(&self) -> &'a Ports {
        &self.stage.ports
    }

    pub(super) fn store(&self) -> &'a S {
        &self.stage.store
    }

    /// Notes what `asked` was answered with: the name of the verdict, and nothing of what it carries.
    pub(super) fn saw(&self, asked: &str, verdict: &impl Debug) {
        let verdict = format!("{verdict:?}");
        let mut words = verdict.split(|c: char| !c.is_alphanumeric() && c != '_');
        let name = words.find(|word| !word.is_empty()).unwrap_or_default();
        let mut seen = self.stage.seen.borrow_mut();
        *seen.entry(format!("{asked}: {name}")).or_default() += 1;
    }

    async fn step(&mut self, command: &Command) -> TestCaseResult {
        self.steps += 1;
        match command {
            Command::Submit(ask, key) => self.submit(ask, *key).await,
            Command::SubmitBatch(asks, key) => self.submit_batch(asks, *key).await,
            Command::Claim { types, max, lease } => self.claim(types, *max, *lease).await,
            Command::Fill { types, slots } => self.fill(types, slots).await,
            Command::Granted(request) => self.granted(*request).await,
            Command::Heartbeat(leases, types) => self.heartbeat(leases, *types).await,
            Command::Append(reports, types) => self.append(reports, *types).await,
            Command::Finish(ends) => self.finish(ends).await,
            Command::Requeue(agains) => self.requeue(agains).await,
            Command::Release(leases) => self.release(leases).await,
            Command::Cancel(target, by) => {
                let id = self.target(*target);
                self.cancel(id, self.reach(id, *by)).await
            }
            Command::Rescue(limit) => self.rescue(*limit).await,
            Command::GiveUp(limit) => self.give_up(*limit).await,
            Command::Promote(limit) => self.promote(*limit).await,
            Command::Admit => {
                let admitted = answer(self.ports().leases.admit().await)?;
                prop_assert_eq!(admitted, 0, "what there is room for comes in by itself");
                Ok(())
            }
            Command::Pass(hours) => {
                let time = Minutes::from(*hours) * HOUR + 1;
                self.store().pass(duration(time)).await;
                self.model.pass(time);
                Ok(())
            }
            Command::Read {
                action,
                by,
                after,
                limit,
            } => self.read(*action, *by, *after, *limit).await,
            Command::CountMessages { action, before } => self.count(*action, *before).await,
        }?;
        self.look().await
    }

    /// `found` is so long from now.
    pub(super) fn check_time(
        &self,
        found: DateTime<Utc>,
        expected: Minutes,
        what: &str,
    ) -> TestCaseResult {
        check_near(found - self.ports().clock.now(), expected, what)
    }
}

pub(super) fn hours(hours: u8) -> Duration {
    duration(Minutes::from(hours) * HOUR)
}

fn duration(minutes: Minutes) -> Duration {
    Duration::from_secs(u64::try_from(minutes).unwrap() * 60)
}

pub(super) fn check_near(found: TimeDelta, expected: Minutes, what: &str) -> TestCaseResult {
    let off = found - TimeDelta::minutes(expected);
    prop_assert!(
        off.abs() < TOLERANCE,
        "{}: in {}, and not in {} min",
        what,
        found,
        expected
    );
    Ok(())
}

/// No port fails here: nothing is in its way.
pub(super) fn answer<T>(answer: Result<T, StoreError>) -> Result<T, TestCaseError> {
    answer.map_err(|error| TestCaseError::fail(format!("a port failed: {error:?}")))
}
