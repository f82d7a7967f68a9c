//! What the contract of the ports says, and nothing of how an adapter keeps it. What may follow what is the domain's own
//! state machine; the log, the leases, the keys and the times are kept here.

use std::collections::{BTreeMap, HashMap, HashSet};

use deed_domain::action::state::{Recorded, RetryReason};
use deed_domain::action::{
    ActionError, ActionType, ActionTypeName, Attempts, Cancel, Command, LeaseRef, NewAction,
    NewEvent, Outcome, Payload, Refused, State, Transition,
};
use deed_domain::caller::Reach;
use deed_domain::id::{ActionId, LeaseId, UserId};
use deed_domain::ports::{
    BatchSubmitted, CancelVerdict, Finished, Released, Requeued, RescueVerdict,
};
use deed_domain::scope::TypeReach;

/// A time, in minutes since the case began.
pub(super) type Minutes = i64;
/// Minutes of an hour.
pub(super) const HOUR: Minutes = 60;

/// The right to perform, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tenure {
    pub(super) id: LeaseId,
    pub(super) length: Minutes,
    pub(super) expires_at: Minutes,
    pub(super) deadline_at: Minutes,
}

/// How it ended, and who ended it, if a performer did.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) by: Option<LeaseId>,
    pub(super) was_running: bool,
}

/// An action, from the beginning of its log.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) new: NewAction,
    pub(super) state: State,
    /// How many attempts were begun, over or not.
    pub(super) attempt: u16,
    pub(super) log: Vec<NewEvent>,
    /// While it is scheduled: until when.
    pub(super) run_at: Minutes,
    pub(super) give_up_at: Option<Minutes>,
    /// While it is queued: who of one user is before whom. What comes back from a performer may be let in anywhere.
    pub(super) line: Option<u64>,
    pub(super) lease: Option<Tenure>,
    pub(super) checkpoint: Option<Payload>,
    pub(super) ending: Option<Ending>,
}

/// A position of a new event, counted from 1.
type Position = u32;

/// What came of an append, without what the holder is told beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appending {
    Written,
    Repeated,
    OutOfOrder,
    Lost,
}

impl Life {
    /// The position at which its log goes on.
    pub(super) fn next_seq(&self) -> Position {
        u32::try_from(self.log.len()).unwrap() + 1
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.status().is_over()
    }

    pub(super) fn is_held_by(&self, lease: LeaseId) -> bool {
        self.lease.as_ref().is_some_and(|held| held.id == lease)
    }

    pub(super) fn cancel_requested(&self) -> bool {
        matches!(self.state, State::Running(_, Cancel::Asked))
    }

    pub(super) fn is_out_of_time(&self, now: Minutes) -> bool {
        self.give_up_at.is_some_and(|limit| limit <= now)
    }

    /// Whether somebody may take it away from its performer.
    pub(super) fn is_late(&self, now: Minutes) -> bool {
        self.lease
            .as_ref()
            .is_some_and(|lease| lease.expires_at < now || lease.deadline_at < now)
    }

    pub(super) fn is_due(&self, now: Minutes) -> bool {
        matches!(self.state, State::Scheduled(_)) && self.run_at <= now
    }

    pub(super) fn is_within(&self, reach: &Reach) -> bool {
        reach.owner.is_none_or(|owner| owner == self.new.user_id)
            && reach.types.includes(&self.new.action_type)
    }

    /// `command` happens, and the log says so.
    fn happen(
        &mut self,
        command: Command,
        output: Option<Payload>,
        error: Option<ActionError>,
    ) -> Result<Transition, Refused> {
        let transition = self.state.apply(command)?;
        let was_running = self.lease.is_some();
        let holder = self.lease.as_ref().map(|lease| lease.id);
        self.state = transition.next;
        if let State::Scheduled(attempts) | State::Queued(attempts) | State::Running(attempts, _) =
            self.state
        {
            self.attempt = attempts.used;
        }
        match transition.recorded {
            Recorded::Nothing | Recorded::Reported => {}
            Recorded::Started => self.log.push(NewEvent::started(self.attempt)),
            Recorded::Retry(reason) => {
                self.log.push(NewEvent::retry(reason, error.as_ref()));
                self.lease = None;
            }
            Recorded::Done => {
                let outcome = match self.state {
                    State::Succeeded => Outcome::Succeeded(output.expect("an output")),
                    State::Failed => Outcome::Failed(error.expect("an error")),
                    _ => Outcome::Cancelled,
                };
                self.log.push(NewEvent::done(&outcome));
                let is_performers = matches!(
                    command,
                    Command::Complete
                        | Command::FailForGood
                        | Command::StopCancelled
                        | Command::Release
                );
                self.ending = Some(Ending {
                    outcome,
                    by: holder.filter(|_| is_performers),
                    was_running,
                });
                self.lease = None;
            }
        }
        Ok(transition)
    }
}

/// Everything that was ever submitted, and the time.
#[derive(Debug)]
pub(super) struct Reference {
    now: Minutes,
    line: u64,
    types: HashMap<ActionTypeName, ActionType>,
    pub(super) lives: BTreeMap<ActionId, Life>,
    keys: HashMap<u8, (u8, Vec<ActionId>)>,
}

impl Reference {
    pub(super) fn new(types: &[ActionType]) -> Self {
        Self {
            now: 0,
            line: 0,
            types: types
                .iter()
                .map(|one| (one.name.clone(), one.clone()))
                .collect(),
            lives: BTreeMap::new(),
            keys: HashMap::new(),
        }
    }

    pub(super) fn now(&self) -> Minutes {
        self.now
    }

    pub(super) fn pass(&mut self, time: Minutes) {
        self.now += time;
    }

    fn next_in_line(&mut self) -> u64 {
        self.line += 1;
        self.line
    }

    /// The action that this lease holds.
    fn held(&mut self, lease: LeaseRef) -> Option<&mut Life> {
        let life = self.lives.get_mut(&lease.action_id)?;
        life.is_held_by(lease.lease_id).then_some(life)
    }

    /// The actions, each with the time at which it is to begin; `key` is the name and which request it is.
    pub(super) fn submit(
        &mut self,
        asked: &[(NewAction, Option<Minutes>)],
        key: Option<(u8, u8)>,
    ) -> BatchSubmitted {
        if let Some((name, request)) = key
            && let Some((first, ids)) = self.keys.get(&name)
        {
            return match *first == request {
                true => BatchSubmitted::Replayed(ids.clone()),
                false => BatchSubmitted::KeyReused,
            };
        }
        let unknown: Vec<usize> = (0..asked.len())
            .filter(|place| !self.types.contains_key(&asked[*place].0.action_type))
            .collect();
        if !unknown.is_empty() {
            return BatchSubmitted::UnknownTypes(unknown);
        }
        let line = self.next_in_line();
        for (new, run_at) in asked {
            let from = run_at.unwrap_or(self.now).max(self.now);
            let limit = self.types[&new.action_type].time_limit;
            let attempts = Attempts::none_of(new.max_attempts);
            let life = Life {
                new: new.clone(),
                state: match from > self.now {
                    true => State::Scheduled(attempts),
                    false => State::Queued(attempts),
                },
                attempt: 0,
                log: vec![NewEvent::created(new.id)],
                run_at: from,
                give_up_at: limit.map(|limit| from + minutes(limit)),
                line: Some(line),
                lease: None,
                checkpoint: None,
                ending: None,
            };
            self.lives.insert(new.id, life);
        }
        if let Some((name, request)) = key {
            let ids = asked.iter().map(|(new, _)| new.id).collect();
            self.keys.insert(name, (request, ids));
        }
        BatchSubmitted::New
    }

    pub(super) fn cancel(&mut self, id: ActionId, reach: &Reach) -> CancelVerdict {
        let Some(life) = self.lives.get_mut(&id).filter(|life| life.is_within(reach)) else {
            return CancelVerdict::NotFound;
        };
        match life.happen(Command::Cancel, None, None) {
            Err(_) => CancelVerdict::Over,
            Ok(Transition {
                next: State::Running(..),
                ..
            }) => CancelVerdict::Asked,
            Ok(_) => CancelVerdict::Cancelled,
        }
    }

    /// Whether a claim of at most `max` actions of `types` may be answered with `taken`: with as many as wait, and
    /// nobody before whoever is ahead in line.
    pub(super) fn check_claim(
        &self,
        types: &[ActionTypeName],
        max: usize,
        taken: &[ActionId],
    ) -> Result<(), String> {
        let waiting: HashMap<ActionId, &Life> = self
            .lives
            .iter()
            .filter(|(_, life)| {
                matches!(life.state, State::Queued(_))
                    && types.contains(&life.new.action_type)
                    && !life.is_out_of_time(self.now)
            })
            .map(|(id, life)| (*id, life))
            .collect();
        let distinct: HashSet<&ActionId> = taken.iter().collect();
        let room: usize = types.iter().map(|name| self.room(name, None)).sum();
        let expected = room.min(max);
        if taken.len() != expected || distinct.len() != expected {
            return Err(format!("{expected} are to be granted, and not {taken:?}"));
        }
        if let Some(id) = taken.iter().find(|id| !waiting.contains_key(*id)) {
            return Err(format!("{id} does not wait for this claim"));
        }
        for name in types {
            let of_type = |id: &&ActionId| waiting[*id].new.action_type == *name;
            let taken: Vec<&ActionId> = taken.iter().filter(of_type).collect();
            if taken.len() > self.room(name, None) {
                return Err(format!("too many of {name}: {taken:?}"));
            }
            for id in &taken {
                let user = waiting[*id].new.user_id;
                let of_user = |id: &&&ActionId| waiting[**id].new.user_id == user;
                if taken.iter().filter(of_user).count() > self.room(name, Some(user)) {
                    return Err(format!("too many of one user of {name}: {taken:?}"));
                }
            }
        }
        // Which actions a limit of concurrency lets in is decided before the claim, when there is room.
        let is_free = |life: &Life| {
            let limits = self.types[&life.new.action_type].concurrency;
            limits.total.is_none() && limits.per_user.is_none()
        };
        let left = waiting.iter().filter(|(id, _)| !distinct.contains(*id));
        for (left, behind) in left.filter(|(_, life)| is_free(life)) {
            for id in taken {
                let before = waiting[id];
                let is_beside = before.new.priority == behind.new.priority
                    && before.new.action_type == behind.new.action_type
                    && before.new.user_id == behind.new.user_id;
                let is_behind = match (before.line, behind.line) {
                    (Some(before), Some(behind)) => before <= behind,
                    (None, _) | (_, None) => true,
                };
                if behind.new.priority < before.new.priority || is_beside && !is_behind {
                    return Err(format!("{left} was ahead of {id}"));
                }
            }
        }
        Ok(())
    }

    /// How many of the actions of that type, or of those of one user, can be granted now: as many as wait, as far as the
    /// type's limits of concurrency allow beside what runs.
    fn room(&self, name: &ActionTypeName, user: Option<UserId>) -> usize {
        let Some(limits) = self.types.get(name).map(|known| known.concurrency) else {
            return 0;
        };
        let (mut waiting, mut running) = (HashMap::<UserId, usize>::new(), HashMap::new());
        for life in self.lives.values() {
            if life.new.action_type != *name {
                continue;
            }
            let counts = match life.state {
                State::Queued(_) if !life.is_out_of_time(self.now) => &mut waiting,
                State::Running(..) => &mut running,
                _ => continue,
            };
            *counts.entry(life.new.user_id).or_default() += 1;
        }
        let left = |limit: Option<u16>, running: usize| {
            limit.map_or(usize::MAX, |limit| {
                usize::from(limit).saturating_sub(running)
            })
        };
        let users = waiting
            .iter()
            .filter(|(id, _)| user.is_none_or(|user| user == **id))
            .map(|(id, count)| {
                let runs = running.get(id).copied().unwrap_or(0);
                left(limits.per_user, runs).min(*count)
            });
        users
            .sum::<usize>()
            .min(left(limits.total, running.values().sum()))
    }

    /// A performer takes an action that waits, for `length` or as long as its type says.
    pub(super) fn grant(&mut self, lease: LeaseRef, length: Option<Minutes>) {
        let life = self.lives.get_mut(&lease.action_id).expect("it waits");
        let action_type = &self.types[&life.new.action_type];
        let length = length.unwrap_or_else(|| minutes(action_type.lease));
        let deadline_at = self.now + minutes(action_type.attempt_timeout);
        life.happen(Command::Claim, None, None).expect("it waits");
        life.lease = Some(Tenure {
            id: lease.lease_id,
            length,
            expires_at: self.now + length,
            deadline_at: life
                .give_up_at
                .map_or(deadline_at, |limit| deadline_at.min(limit)),
        });
    }

    /// Renews a lease on an action of `types`; `None` where it is lost.
    pub(super) fn renew(&mut self, lease: LeaseRef, types: &TypeReach) -> Option<&mut Life> {
        let now = self.now;
        let life = self
            .held(lease)
            .filter(|life| types.includes(&life.new.action_type))?;
        let tenure = life.lease.as_mut()?;
        tenure.expires_at = now + tenure.length;
        Some(life)
    }

    /// Whether the holder has ended an action of `types` by this lease.
    pub(super) fn has_ended(&self, lease: LeaseRef, types: &TypeReach) -> bool {
        self.lives.get(&lease.action_id).is_some_and(|life| {
            let by = life.ending.as_ref().and_then(|ending| ending.by);
            by == Some(lease.lease_id) && types.includes(&life.new.action_type)
        })
    }

    pub(super) fn append(
        &mut self,
        lease: LeaseRef,
        from: Position,
        events: &[NewEvent],
        checkpoint: Option<&Payload>,
        types: &TypeReach,
    ) -> Appending {
        let Some(life) = self.renew(lease, types) else {
            return Appending::Lost;
        };
        let next = life.next_seq();
        let end = u64::from(from) + u64::try_from(events.len()).unwrap();
        if from == next {
            life.log.extend_from_slice(events);
            if let Some(checkpoint) = checkpoint {
                life.checkpoint = Some(checkpoint.clone());
            }
            Appending::Written
        } else if end <= u64::from(next) {
            Appending::Repeated
        } else {
            Appending::OutOfOrder
        }
    }

    pub(super) fn finish(
        &mut self,
        lease: LeaseRef,
        from: Option<Position>,
        events: &[NewEvent],
        outcome: &Outcome,
    ) -> Finished {
        let Some(life) = self.lives.get_mut(&lease.action_id) else {
            return Finished::Lost;
        };
        if let Some(ending) = &life.ending {
            return match ending.by == Some(lease.lease_id) {
                true => Finished::Repeated,
                false => Finished::Lost,
            };
        }
        let is_next = from.is_none_or(|from| from == life.next_seq());
        if !life.is_held_by(lease.lease_id) || !is_next {
            return Finished::Lost;
        }
        life.log.extend_from_slice(events);
        let (command, output, error) = match outcome.clone() {
            Outcome::Succeeded(output) => (Command::Complete, Some(output), None),
            Outcome::Failed(error) => (Command::FailForGood, None, Some(error)),
            Outcome::Cancelled => (Command::StopCancelled, None, None),
        };
        life.happen(command, output, error).expect("it runs");
        Finished::Finished(crate::fixtures::seq(life.next_seq() - 1))
    }

    pub(super) fn requeue(
        &mut self,
        lease: LeaseRef,
        pause: Minutes,
        reason: RetryReason,
        error: Option<ActionError>,
    ) -> Requeued {
        let now = self.now;
        let Some(life) = self.held(lease) else {
            return Requeued::Lost;
        };
        let run_at = now + pause;
        let command = match reason {
            RetryReason::Failed => Command::FailRetryable,
            RetryReason::AttemptTimeout => Command::OverrunDeadline,
            RetryReason::LeaseExpired | RetryReason::Released => panic!("no performer says so"),
        };
        let follows = life.state.apply(command).expect("it runs");
        if matches!(follows.recorded, Recorded::Done) || life.is_out_of_time(run_at) {
            return Requeued::MustFinish {
                cancel_requested: life.cancel_requested(),
            };
        }
        life.happen(command, None, error).expect("it runs");
        life.run_at = run_at;
        life.line = None;
        if pause == 0 {
            life.happen(Command::Promote, None, None)
                .expect("it is scheduled");
        }
        Requeued::Requeued
    }

    pub(super) fn release(&mut self, lease: LeaseRef) -> Released {
        let Some(life) = self.held(lease) else {
            return Released::Lost;
        };
        life.happen(Command::Release, None, None).expect("it runs");
        life.line = None;
        Released::Released
    }

    /// Takes a late action from its performer; `silence` is the error of one that was not heard of.
    pub(super) fn rescue(&mut self, id: ActionId, silence: ActionError) -> RescueVerdict {
        let now = self.now;
        let life = self.lives.get_mut(&id).expect("it is late");
        let tenure = life.lease.as_ref().expect("it is late");
        let (command, error) = if life.is_out_of_time(now) {
            (Command::GiveUp, ActionError::time_limit())
        } else if tenure.expires_at < now {
            (Command::ExpireLease, silence)
        } else {
            (Command::OverrunDeadline, ActionError::attempt_timeout())
        };
        // The reason says it all: only the end carries an error.
        let is_last =
            matches!(life.state.apply(command), Ok(next) if next.recorded == Recorded::Done);
        life.happen(command, None, Some(error).filter(|_| is_last))
            .expect("it runs");
        life.run_at = now;
        life.line = None;
        match life.state {
            State::Cancelled => RescueVerdict::Cancelled,
            State::Failed => RescueVerdict::Failed,
            _ => RescueVerdict::Requeued,
        }
    }

    pub(super) fn give_up(&mut self, id: ActionId) {
        let life = self.lives.get_mut(&id).expect("its time is up");
        life.happen(Command::GiveUp, None, Some(ActionError::time_limit()))
            .expect("it waits");
    }

    pub(super) fn promote(&mut self, ids: &[ActionId]) {
        let line = self.next_in_line();
        for id in ids {
            let life = self.lives.get_mut(id).expect("it is due");
            life.happen(Command::Promote, None, None)
                .expect("it is scheduled");
            life.line = Some(line);
        }
    }

    /// The actions of which `holds` says so, in the order of their ids.
    pub(super) fn those(&self, holds: impl Fn(&Life) -> bool) -> Vec<ActionId> {
        self.lives
            .iter()
            .filter(|(_, life)| holds(life))
            .map(|(id, _)| *id)
            .collect()
    }

    /// How long until something that is scheduled is due.
    pub(super) fn next_due_in(&self) -> Option<Minutes> {
        self.lives
            .values()
            .filter(|life| matches!(life.state, State::Scheduled(_)))
            .map(|life| (life.run_at - self.now).max(0))
            .min()
    }
}

/// Times are whole minutes.
fn minutes(time: std::time::Duration) -> Minutes {
    i64::try_from(time.as_secs() / 60).unwrap()
}

#[cfg(test)]
mod tests;
