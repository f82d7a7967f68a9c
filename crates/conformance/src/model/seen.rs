//! Compares what can be seen of the store with the reference.

use std::collections::HashMap;

use deed_domain::action::{
    Action, ActionOverview, Attempts, Cancel, NewEvent, Outcome, RetryPolicy, Sequence, Status,
};
use deed_domain::caller::Reach;
use deed_domain::id::ActionId;
use deed_domain::ports::{EventPage, Held};
use proptest::test_runner::TestCaseResult;
use proptest::{prop_assert, prop_assert_eq};

use super::play::{Case, answer, check_near};
use super::reference::Life;
use super::{Holder, Workbench};
use crate::fixtures::seq;

impl<S: Workbench> Case<'_, S> {
    /// How all actions stand, and that nothing is there of those that were refused.
    pub(super) async fn look(&self) -> TestCaseResult {
        let accepted = self.model.lives.keys().copied();
        let asked: Vec<ActionId> = accepted.chain(self.refused.iter().copied()).collect();
        let overviews = self
            .ports()
            .action_reader
            .overviews(&asked, &Reach::EVERYTHING);
        let overviews = answer(overviews.await)?;
        prop_assert_eq!(overviews.len(), self.model.lives.len());
        for overview in overviews {
            let life = self.model.lives.get(&overview.id);
            prop_assert!(life.is_some(), "{} was refused", overview.id);
            if let Some(life) = life {
                self.check_overview(life, &overview)?;
            }
        }
        Ok(())
    }

    /// All that can be seen of these: each action whole, its log, its holder; and each lease that was ever granted.
    pub(super) async fn look_closely(&self, ids: &[ActionId]) -> TestCaseResult {
        self.look_at_holders(ids).await?;
        for id in ids {
            let life = &self.model.lives[id];
            let reader = &self.ports().action_reader;
            let action = answer(reader.find(*id, &Reach::EVERYTHING).await)?;
            prop_assert!(action.is_some(), "{} is gone", id);
            if let Some(action) = action {
                self.check_action(life, &action)?;
            }
            let log = &self.ports().event_log;
            let page = log.read(*id, &Reach::EVERYTHING, Sequence::START, 1_000);
            let page = answer(page.await)?;
            prop_assert!(page.is_some(), "the log of {} is gone", id);
            if let Some(page) = page {
                check_log(life, page)?;
            }
        }
        let found = answer(self.ports().leases.held(&self.leases).await)?;
        let expected: Vec<Option<Held>> = self
            .leases
            .iter()
            .map(|lease| {
                let life = &self.model.lives[&lease.action_id];
                life.is_held_by(lease.lease_id).then(|| held(life))
            })
            .collect();
        prop_assert_eq!(found, expected, "the leases");
        Ok(())
    }

    /// What holds these actions, and for how long.
    pub(super) async fn look_at_holders(&self, ids: &[ActionId]) -> TestCaseResult {
        let mut holders: HashMap<ActionId, Vec<Holder>> = HashMap::new();
        for (id, holder) in self.store().holders(ids).await {
            holders.entry(id).or_default().push(holder);
        }
        for id in ids {
            let found = holders.get(id).map_or(&[][..], Vec::as_slice);
            self.check_holder(&self.model.lives[id], found)?;
        }
        Ok(())
    }

    /// Exactly one thing holds it, and a lease as long as it should.
    fn check_holder(&self, life: &Life, found: &[Holder]) -> TestCaseResult {
        let now = self.model.now();
        let is_right = match (found, &life.lease) {
            ([Holder::Queue], None) => !life.is_over(),
            ([Holder::Result], None) => life.is_over(),
            (
                [
                    Holder::Lease {
                        expires_in,
                        deadline_in,
                    },
                ],
                Some(lease),
            ) => {
                check_near(*expires_in, lease.expires_at - now, "the end of a lease")?;
                check_near(*deadline_in, lease.deadline_at - now, "its deadline")?;
                true
            }
            _ => false,
        };
        prop_assert!(is_right, "{:?} hold {:?}", found, life);
        Ok(())
    }

    fn check_overview(&self, life: &Life, found: &ActionOverview) -> TestCaseResult {
        let status = life.state.status();
        let error = life
            .ending
            .as_ref()
            .and_then(|ending| match &ending.outcome {
                Outcome::Failed(error) => Some(error.clone()),
                Outcome::Succeeded(_) | Outcome::Cancelled => None,
            });
        let expected = ActionOverview {
            id: life.new.id,
            user_id: life.new.user_id,
            api_key_id: life.new.api_key_id,
            action_type: life.new.action_type.clone(),
            status,
            error,
            attempt: life.attempt,
            max_attempts: life.new.max_attempts,
            priority: life.new.priority,
            retry_of: life.new.retry_of,
            run_at: match status {
                Status::Scheduled => found.run_at,
                _ => life.new.run_at,
            },
            created_at: found.created_at,
            started_at: found.started_at,
            finished_at: found.finished_at,
        };
        prop_assert_eq!(found, &expected);
        if status == Status::Scheduled {
            prop_assert!(found.run_at.is_some());
            if let Some(run_at) = found.run_at {
                self.check_time(run_at, life.run_at - self.model.now(), "when it begins")?;
            }
        }
        let was_running = life
            .ending
            .as_ref()
            .is_some_and(|ending| ending.was_running);
        let has_started = life.lease.is_some() || was_running;
        prop_assert_eq!(found.started_at.is_some(), has_started, "{:?}", found);
        prop_assert_eq!(found.finished_at.is_some(), life.is_over(), "{:?}", found);
        Ok(())
    }

    fn check_action(&self, life: &Life, found: &Action) -> TestCaseResult {
        self.check_overview(life, &found.overview)?;
        let output = life
            .ending
            .as_ref()
            .and_then(|ending| match &ending.outcome {
                Outcome::Succeeded(output) => Some(output.clone()),
                Outcome::Failed(_) | Outcome::Cancelled => None,
            });
        let expected = Action {
            overview: found.overview.clone(),
            input: life.new.input.clone(),
            output,
            traceparent: life.new.traceparent,
        };
        prop_assert_eq!(found, &expected);
        Ok(())
    }
}

/// Dense from 1, ending where it says, with nothing after `done`.
fn check_log(life: &Life, page: EventPage) -> TestCaseResult {
    let positions: Vec<u32> = page.events.iter().map(|event| event.seq.get()).collect();
    let found: Vec<NewEvent> = page
        .events
        .into_iter()
        .map(|event| NewEvent {
            name: event.name,
            data: event.data,
        })
        .collect();
    prop_assert_eq!(&found, &life.log, "the log of {}", life.new.id);
    prop_assert_eq!(positions, (1..life.next_seq()).collect::<Vec<_>>());
    prop_assert_eq!(page.last.get(), life.next_seq() - 1);
    prop_assert_eq!(page.is_over, life.is_over());
    Ok(())
}

fn held(life: &Life) -> Held {
    Held {
        action_type: life.new.action_type.clone(),
        attempts: Attempts {
            used: life.attempt,
            max: life.new.max_attempts,
        },
        cancel: match life.cancel_requested() {
            true => Cancel::Asked,
            false => Cancel::NotAsked,
        },
        next_seq: seq(life.next_seq()),
        retry: RetryPolicy::new(std::time::Duration::ZERO, 1.0, std::time::Duration::ZERO),
    }
}
