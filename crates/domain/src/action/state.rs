//! What may follow what in the life of an action. The only place that knows.

use super::Status;

/// How many attempts were begun, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempts {
    /// Begun so far.
    pub used: u16,
    /// The most.
    pub max: u16,
}

impl Attempts {
    /// None begun yet.
    #[must_use]
    pub const fn none_of(max: u16) -> Self {
        Self { used: 0, max }
    }

    /// Whether another attempt may follow.
    #[must_use]
    pub const fn is_left(self) -> bool {
        self.used < self.max
    }

    fn one_more(self) -> Self {
        Self {
            used: self.used.saturating_add(1),
            ..self
        }
    }

    fn one_back(self) -> Self {
        Self {
            used: self.used.saturating_sub(1),
            ..self
        }
    }
}

/// Whether somebody has asked to cancel a running action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// Nobody has.
    NotAsked,
    /// Its performer is to stop.
    Asked,
}

/// Where an action is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits until a time.
    Scheduled(Attempts),
    /// Waits for a performer.
    Queued(Attempts),
    /// Is leased to a performer.
    Running(Attempts, Cancel),
    /// Over, with an output.
    Succeeded,
    /// Over, with an error.
    Failed,
    /// Over, as asked.
    Cancelled,
}

/// What can happen to an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Its time has come.
    Promote,
    /// A performer takes it.
    Claim,
    /// Its performer reports output or progress.
    Append,
    /// Its performer has done it.
    Complete,
    /// Its performer failed in a way that may pass.
    FailRetryable,
    /// Its performer failed for good.
    FailForGood,
    /// Its performer gives it back unharmed: no attempt is used.
    Release,
    /// Its performer was silent for too long.
    ExpireLease,
    /// The attempt took too long.
    OverrunDeadline,
    /// The action took too long altogether.
    GiveUp,
    /// Its performer has stopped because that was asked.
    StopCancelled,
    /// Somebody asks to cancel it.
    Cancel,
}

/// Why an attempt that ended is followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// The performer failed.
    Failed,
    /// The performer was silent for too long.
    LeaseExpired,
    /// The attempt took too long.
    AttemptTimeout,
    /// The performer gave it back.
    Released,
}

impl RetryReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::Failed,
        Self::LeaseExpired,
        Self::AttemptTimeout,
        Self::Released,
    ];

    /// Its name in the `retry` event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::LeaseExpired => "lease_expired",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Released => "released",
        }
    }
}

/// What the log records of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recorded {
    /// Nothing.
    Nothing,
    /// `started`.
    Started,
    /// What the performer reports.
    Reported,
    /// `retry`.
    Retry(RetryReason),
    /// `done`.
    Done,
}

/// What follows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transition {
    /// Where the action is then.
    pub next: State,
    /// What its log records.
    pub recorded: Recorded,
}

/// A command that does not fit where the action is. Nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Its performer no longer holds it, or never did.
    #[error("the lease is lost")]
    LeaseLost,
    /// It can't be taken now.
    #[error("the action can't be claimed")]
    NotClaimable,
    /// It has no time to wait for.
    #[error("the action is not scheduled")]
    NotScheduled,
    /// It is over.
    #[error("the action is over")]
    Over,
}

impl State {
    /// How the action stands, as others see it.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Scheduled(_) => Status::Scheduled,
            Self::Queued(_) => Status::Queued,
            Self::Running(..) => Status::Running,
            Self::Succeeded => Status::Succeeded,
            Self::Failed => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// What follows when `command` happens to an action that is here.
    ///
    /// # Errors
    /// [`Refused`] where the command doesn't fit; the action stays as it is.
    pub fn apply(self, command: Command) -> Result<Transition, Refused> {
        match (self, command) {
            (Self::Succeeded | Self::Failed | Self::Cancelled, Command::Cancel) => {
                Err(Refused::Over)
            }
            (Self::Scheduled(_) | Self::Queued(_), Command::Cancel) => Ok(done(Self::Cancelled)),
            (Self::Running(attempts, _), Command::Cancel) => Ok(Transition {
                next: Self::Running(attempts, Cancel::Asked),
                recorded: Recorded::Nothing,
            }),

            (Self::Succeeded | Self::Failed | Self::Cancelled, Command::GiveUp) => {
                Err(Refused::Over)
            }
            (Self::Scheduled(_) | Self::Queued(_), Command::GiveUp) => Ok(done(Self::Failed)),

            (Self::Scheduled(attempts), Command::Promote) => Ok(Transition {
                next: Self::Queued(attempts),
                recorded: Recorded::Nothing,
            }),
            (_, Command::Promote) => Err(Refused::NotScheduled),

            (Self::Queued(attempts), Command::Claim) => Ok(Transition {
                next: Self::Running(attempts.one_more(), Cancel::NotAsked),
                recorded: Recorded::Started,
            }),
            (_, Command::Claim) => Err(Refused::NotClaimable),

            (Self::Running(attempts, cancel), command) => Ok(running(attempts, cancel, command)),
            (_, _) => Err(Refused::LeaseLost),
        }
    }
}

fn done(next: State) -> Transition {
    Transition {
        next,
        recorded: Recorded::Done,
    }
}

fn running(attempts: Attempts, cancel: Cancel, command: Command) -> Transition {
    match command {
        Command::Append | Command::Promote | Command::Claim | Command::Cancel => Transition {
            next: State::Running(attempts, cancel),
            recorded: Recorded::Reported,
        },
        // What was done is done: a request to cancel that came too late does not undo it.
        Command::Complete => done(State::Succeeded),
        Command::FailForGood => done(State::Failed),
        Command::StopCancelled => done(State::Cancelled),
        Command::FailRetryable => State::after_attempt(attempts, cancel, RetryReason::Failed),
        Command::ExpireLease => State::after_attempt(attempts, cancel, RetryReason::LeaseExpired),
        Command::OverrunDeadline => {
            State::after_attempt(attempts, cancel, RetryReason::AttemptTimeout)
        }
        Command::GiveUp if cancel == Cancel::Asked => done(State::Cancelled),
        Command::GiveUp => done(State::Failed),
        Command::Release if cancel == Cancel::Asked => done(State::Cancelled),
        Command::Release => Transition {
            next: State::Queued(attempts.one_back()),
            recorded: Recorded::Retry(RetryReason::Released),
        },
    }
}

impl State {
    /// What follows an attempt that ended without a result.
    fn after_attempt(attempts: Attempts, cancel: Cancel, reason: RetryReason) -> Transition {
        if cancel == Cancel::Asked {
            return done(Self::Cancelled);
        }
        if !attempts.is_left() {
            return done(Self::Failed);
        }
        let next = match reason {
            // The performer's fault, not the action's: no back-off.
            RetryReason::LeaseExpired | RetryReason::Released => Self::Queued(attempts),
            RetryReason::Failed | RetryReason::AttemptTimeout => Self::Scheduled(attempts),
        };
        Transition {
            next,
            recorded: Recorded::Retry(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write as _;

    const COMMANDS: [Command; 12] = [
        Command::Promote,
        Command::Claim,
        Command::Append,
        Command::Complete,
        Command::FailRetryable,
        Command::FailForGood,
        Command::Release,
        Command::ExpireLease,
        Command::OverrunDeadline,
        Command::GiveUp,
        Command::StopCancelled,
        Command::Cancel,
    ];

    #[test]
    fn what_follows_what() {
        let first = Attempts { used: 1, max: 3 };
        let last = Attempts { used: 3, max: 3 };
        let states = [
            State::Scheduled(Attempts::none_of(3)),
            State::Queued(Attempts::none_of(3)),
            State::Running(first, Cancel::NotAsked),
            State::Running(first, Cancel::Asked),
            State::Running(last, Cancel::NotAsked),
            State::Succeeded,
            State::Failed,
            State::Cancelled,
        ];
        let mut table = String::new();
        for state in states {
            let _ = writeln!(table, "{}", show(state));
            for command in COMMANDS {
                let _ = match state.apply(command) {
                    Ok(Transition { next, recorded }) => {
                        writeln!(
                            table,
                            "  {command:?} -> {}, records {recorded:?}",
                            show(next)
                        )
                    }
                    Err(refused) => writeln!(table, "  {command:?} -> refused: {refused}"),
                };
            }
        }
        insta::assert_snapshot!(table);
    }

    fn show(state: State) -> String {
        match state {
            State::Scheduled(a) => format!("scheduled {}/{}", a.used, a.max),
            State::Queued(a) => format!("queued {}/{}", a.used, a.max),
            State::Running(a, Cancel::NotAsked) => format!("running {}/{}", a.used, a.max),
            State::Running(a, Cancel::Asked) => {
                format!("running {}/{} cancel asked", a.used, a.max)
            }
            over => over.status().to_string(),
        }
    }

    proptest! {
        #[test]
        fn every_life_ends_once_and_within_its_attempts(max in 1u16..5, choices in prop::collection::vec(0usize..12, 0..200)) {
            let mut state = State::Queued(Attempts::none_of(max));
            let mut done = 0;
            for choice in choices {
                let was_over = state.status().is_over();
                if let Ok(transition) = state.apply(COMMANDS[choice]) {
                    prop_assert!(!was_over, "something followed the end");
                    done += u32::from(transition.recorded == Recorded::Done);
                    state = transition.next;
                    prop_assert_eq!(state.status().is_over(), done == 1);
                }
                if let State::Scheduled(a) | State::Queued(a) | State::Running(a, _) = state {
                    prop_assert!(a.used <= a.max);
                }
            }
            prop_assert!(done <= 1);
        }
    }
}
