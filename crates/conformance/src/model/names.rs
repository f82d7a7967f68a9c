//! What the numbers of a command name in the case that is being played, and what it writes there.

use std::collections::HashSet;

use chrono::{SubsecRound as _, TimeDelta};
use deed_domain::action::event::Progress;
use deed_domain::action::{
    ActionError, ActionTypeName, LeaseRef, NewAction, NewEvent, Payload, Priority,
};
use deed_domain::caller::Reach;
use deed_domain::id::{ActionId, LeaseId};
use deed_domain::idempotency::{Idempotency, IdempotencyKey};
use deed_domain::scope::{TypePattern, TypeReach};
use uuid::Uuid;

use super::Workbench;
use super::command::{Ask, By, From, Key, Pick, Target, Types};
use super::play::Case;
use super::reference::{HOUR, Life, Minutes};
use crate::fixtures::{json, message, type_name};

impl<S: Workbench> Case<'_, S> {
    pub(super) fn new_action(
        &self,
        ask: &Ask,
        user: u8,
        place: usize,
    ) -> (NewAction, Option<Minutes>) {
        let run_in = ask.run_in.map(|hours| Minutes::from(hours) * HOUR);
        let new = NewAction {
            priority: Priority::new(ask.priority).unwrap(),
            max_attempts: ask.max_attempts,
            run_at: run_in
                .map(|time| (self.ports().clock.now() + TimeDelta::minutes(time)).trunc_subsecs(6)),
            input: json(&format!("\"{}.{place}\"", self.steps)),
            ..self.ports().new_action(
                self.stage.users[usize::from(user) % self.stage.users.len()],
                self.type_name(ask.action_type).as_str(),
            )
        };
        (new, run_in.map(|time| self.model.now() + time))
    }

    pub(super) fn idempotency(&self, key: Key) -> Idempotency {
        Idempotency {
            scope: self.scope,
            key: IdempotencyKey::parse(&format!("key-{}", key.name)).unwrap(),
            request_hash: [key.request; 32],
        }
    }

    pub(super) fn type_name(&self, number: u8) -> ActionTypeName {
        match self.stage.types.get(usize::from(number)) {
            Some(known) => known.name.clone(),
            None => type_name("unknown"),
        }
    }

    /// Each once.
    pub(super) fn type_names(&self, numbers: &[u8]) -> Vec<ActionTypeName> {
        let mut names: Vec<ActionTypeName> = numbers
            .iter()
            .map(|number| self.type_name(*number))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn types(&self, types: Types) -> TypeReach {
        match types {
            Types::All => TypeReach::All,
            Types::Only(number) => {
                TypeReach::Some(vec![TypePattern::Exactly(self.type_name(number))])
            }
        }
    }

    pub(super) fn target(&self, target: Target) -> ActionId {
        let known = match target {
            Target::Known(number) => around(&self.ids, number).copied(),
            Target::Unknown => None,
        };
        known.unwrap_or_else(|| ActionId::from_uuid(self.ports().ids.time_ordered()))
    }

    pub(super) fn reach(&self, id: ActionId, by: By) -> Reach {
        let owner = self.model.lives.get(&id).map(|life| life.new.user_id);
        let owner = owner.unwrap_or(self.stage.users[0]);
        let (owner, types) = match by {
            By::Owner => (Some(owner), Types::All),
            By::OwnerWithin(types) => (Some(owner), types),
            By::SomebodyElse => {
                let other = self.stage.users.iter().find(|user| **user != owner);
                (other.copied(), Types::All)
            }
            By::Everybody => (None, Types::All),
        };
        Reach {
            owner,
            types: self.types(types),
        }
    }

    pub(super) fn lease(&self, pick: Pick) -> LeaseRef {
        let invented = |action_id| LeaseRef {
            action_id,
            lease_id: LeaseId::from_uuid(Uuid::from_u128(u128::from_be_bytes(
                self.ports().ids.random_bytes()[..16].try_into().unwrap(),
            ))),
        };
        let held: Vec<&LeaseRef> = self
            .leases
            .iter()
            .filter(|lease| self.model.lives[&lease.action_id].is_held_by(lease.lease_id))
            .collect();
        let lease = match pick {
            Pick::Held(number) => around(&held, number).map(|lease| **lease),
            Pick::Granted(number) => around(&self.leases, number).copied(),
            Pick::Invented(number) => {
                let running = around(&held, number).map(|lease| lease.action_id);
                let action = running.or_else(|| around(&self.ids, number).copied());
                action.map(invented)
            }
        };
        lease.unwrap_or_else(|| invented(self.target(Target::Unknown)))
    }

    pub(super) fn picked(&self, picks: &[Pick]) -> Vec<LeaseRef> {
        picks.iter().map(|pick| self.lease(*pick)).collect()
    }

    /// The items with their leases; of several for one action the first.
    pub(super) fn apart<'i, T>(
        &self,
        items: &'i [T],
        pick: impl Fn(&T) -> Pick,
    ) -> Vec<(&'i T, LeaseRef)> {
        let mut actions = HashSet::new();
        items
            .iter()
            .map(|item| (item, self.lease(pick(item))))
            .filter(|(_, lease)| actions.insert(lease.action_id))
            .collect()
    }

    pub(super) fn position(&self, lease: LeaseRef, from: From) -> u32 {
        let life = self.model.lives.get(&lease.action_id);
        let next = life.map_or(3, Life::next_seq);
        match from {
            From::Next => next,
            From::Behind(count) => next.saturating_sub(u32::from(count)).max(1),
            From::Ahead(count) => next + u32::from(count),
        }
    }

    /// Output and progress by turns, told from all others of the case.
    pub(super) fn events(&self, place: usize, count: u8) -> Vec<NewEvent> {
        (0..count)
            .map(|n| match n % 2 {
                0 => message(&format!("{}.{place}.{n}", self.steps)),
                _ => NewEvent::progress(&Progress {
                    percent: Some(n),
                    note: Some(format!("{}.{place}", self.steps)),
                }),
            })
            .collect()
    }

    pub(super) fn text(&self, place: usize, what: &str) -> Payload {
        json(&format!("\"{what} {}.{place}\"", self.steps))
    }

    pub(super) fn error(&self, place: usize) -> ActionError {
        ActionError::new("broken", format!("{}.{place}", self.steps))
    }
}

/// The one of that number, counted round.
pub(super) fn around<T>(all: &[T], number: u8) -> Option<&T> {
    all.get(usize::from(number).checked_rem(all.len())?)
}
