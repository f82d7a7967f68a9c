//! What can be drawn. Whatever a command is about is named by a number, counted round: so it means something wherever
//! the command stands, also after those before it are gone.

use deed_domain::action::state::RetryReason;
use proptest::prelude::*;

/// Many commands, in their order.
pub(super) fn commands() -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(command(), 1..64)
}

/// A call of a port, or time that passes.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Submit(Ask, Option<Key>),
    /// Several for one user, with one key.
    SubmitBatch(Vec<Ask>, Option<Key>),
    Claim {
        types: Vec<u8>,
        max: usize,
        /// In hours; else as the type says.
        lease: Option<u8>,
    },
    Fill {
        types: Vec<u8>,
        slots: Vec<Place>,
    },
    /// What holds of what was granted to one of the requests made so far.
    Granted(u8),
    Heartbeat(Vec<Pick>, Types),
    Append(Vec<Report>, Types),
    Finish(Vec<End>),
    Requeue(Vec<Again>),
    Release(Vec<Pick>),
    Cancel(Target, By),
    Rescue(usize),
    GiveUp(usize),
    Admit,
    Promote(usize),
    /// So many hours, and a minute.
    Pass(u8),
    Read {
        action: Target,
        by: By,
        after: u8,
        limit: usize,
    },
    CountMessages {
        action: Target,
        before: u8,
    },
}

/// An action that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) action_type: u8,
    pub(super) user: u8,
    pub(super) priority: u8,
    pub(super) max_attempts: u16,
    /// When it is to begin, in hours from now.
    pub(super) run_in: Option<i8>,
}

/// An idempotency key, and which of several requests is made with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: u8,
    pub(super) request: u8,
}

/// A place for a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// In hours; else as the type says.
    pub(super) lease: Option<u8>,
    /// Which of the requests that are made together, if one is.
    pub(super) request: Option<u8>,
}

/// A lease.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pick {
    /// One of those that hold now.
    Held(u8),
    /// One of all that ever were granted.
    Granted(u8),
    /// One that nobody granted, on one of the actions that run, if any does.
    Invented(u8),
}

/// An action.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Known(u8),
    Unknown,
}

/// Whose actions of which types are in reach.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Owner,
    SomebodyElse,
    Everybody,
    OwnerWithin(Types),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Types {
    All,
    Only(u8),
}

/// A position in a log, seen from where it goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    Next,
    Behind(u8),
    Ahead(u8),
}

#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) lease: Pick,
    pub(super) from: From,
    pub(super) events: u8,
    pub(super) has_checkpoint: bool,
}

#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) lease: Pick,
    pub(super) from: Option<From>,
    pub(super) events: u8,
    pub(super) outcome: How,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone)]
pub(super) struct Again {
    pub(super) lease: Pick,
    /// In hours.
    pub(super) pause: u8,
    pub(super) reason: RetryReason,
    pub(super) has_error: bool,
}

fn command() -> impl Strategy<Value = Command> {
    let few = 1..4usize;
    let one_or_two = 1..3usize;
    prop_oneof![
        7 => (ask(), key()).prop_map(|(ask, key)| Command::Submit(ask, key)),
        4 => submit_batch(),
        9 => claim(),
        4 => (claimed(), prop::collection::vec(place(), 0..5))
            .prop_map(|(types, slots)| Command::Fill { types, slots }),
        2 => any::<u8>().prop_map(Command::Granted),
        3 => (prop::collection::vec(pick(), few.clone()), types())
            .prop_map(|(leases, types)| Command::Heartbeat(leases, types)),
        8 => (prop::collection::vec(report(), few.clone()), types())
            .prop_map(|(reports, types)| Command::Append(reports, types)),
        3 => prop::collection::vec(end(), one_or_two.clone()).prop_map(Command::Finish),
        4 => prop::collection::vec(again(), one_or_two.clone()).prop_map(Command::Requeue),
        2 => prop::collection::vec(pick(), one_or_two).prop_map(Command::Release),
        3 => (target(), by()).prop_map(|(target, by)| Command::Cancel(target, by)),
        3 => limit().prop_map(Command::Rescue),
        2 => limit().prop_map(Command::GiveUp),
        3 => limit().prop_map(Command::Promote),
        1 => Just(Command::Admit),
        5 => prop::sample::select(vec![1u8, 0, 2, 3, 5]).prop_map(Command::Pass),
        2 => (target(), by(), 0..8u8, 0..6usize)
            .prop_map(|(action, by, after, limit)| Command::Read { action, by, after, limit }),
        1 => (target(), 0..8u8).prop_map(|(action, before)| Command::CountMessages { action, before }),
    ]
}

fn submit_batch() -> impl Strategy<Value = Command> {
    (prop::collection::vec(ask(), 1..4), key())
        .prop_map(|(asks, key)| Command::SubmitBatch(asks, key))
}

fn claim() -> impl Strategy<Value = Command> {
    let max = prop_oneof![9 => 1..6usize, 1 => Just(0)];
    (claimed(), max, prop::option::of(2..5u8)).prop_map(|(types, max, lease)| Command::Claim {
        types,
        max,
        lease,
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let types = prop_oneof![14 => 0..4u8, 1 => Just(4u8)];
    let run_in = prop_oneof![
        4 => Just(None),
        1 => prop::sample::select(vec![Some(-1), Some(1), Some(2), Some(7)]),
    ];
    let priority = prop::sample::select(vec![5u8, 0, 9]);
    (types, 0..3u8, priority, 1..4u16, run_in).prop_map(
        |(action_type, user, priority, max_attempts, run_in)| Ask {
            action_type,
            user,
            priority,
            max_attempts,
            run_in,
        },
    )
}

fn key() -> impl Strategy<Value = Option<Key>> {
    prop::option::weighted(
        0.4,
        (0..3u8, 0..2u8).prop_map(|(name, request)| Key { name, request }),
    )
}

/// What a worker performs: everything, or anything.
fn claimed() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(vec![0, 1, 2, 3]),
        1 => prop::collection::vec(0..5u8, 0..4),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    (prop::option::of(2..5u8), prop::option::of(0..2u8))
        .prop_map(|(lease, request)| Place { lease, request })
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        8 => any::<u8>().prop_map(Pick::Held),
        3 => any::<u8>().prop_map(Pick::Granted),
        2 => any::<u8>().prop_map(Pick::Invented),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        12 => any::<u8>().prop_map(Target::Known),
        1 => Just(Target::Unknown),
    ]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![
        6 => Just(By::Owner),
        2 => Just(By::Everybody),
        1 => Just(By::SomebodyElse),
        1 => (0..5u8).prop_map(|only| By::OwnerWithin(Types::Only(only))),
    ]
}

fn types() -> impl Strategy<Value = Types> {
    prop_oneof![
        10 => Just(Types::All),
        1 => (0..5u8).prop_map(Types::Only),
    ]
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        6 => Just(From::Next),
        3 => (1..4u8).prop_map(From::Behind),
        1 => (1..3u8).prop_map(From::Ahead),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let has_checkpoint = prop::bool::weighted(0.6);
    (pick(), from(), 0..4u8, has_checkpoint).prop_map(|(lease, from, events, has_checkpoint)| {
        Report {
            lease,
            from,
            events,
            has_checkpoint,
        }
    })
}

fn end() -> impl Strategy<Value = End> {
    let outcome = prop_oneof![
        3 => Just(How::Succeeded),
        2 => Just(How::Failed),
        1 => Just(How::Cancelled),
    ];
    (pick(), prop::option::of(from()), 0..3u8, outcome).prop_map(
        |(lease, from, events, outcome)| End {
            lease,
            from,
            events,
            outcome,
        },
    )
}

fn again() -> impl Strategy<Value = Again> {
    let pause = prop::sample::select(vec![0, 1, 3, 6]);
    let reason = prop::sample::select(vec![RetryReason::Failed, RetryReason::AttemptTimeout]);
    (pick(), pause, reason, any::<bool>()).prop_map(|(lease, pause, reason, has_error)| Again {
        lease,
        pause,
        reason,
        has_error,
    })
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(1_000usize), 1 => 0..3usize]
}
