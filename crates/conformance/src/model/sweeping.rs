//! Plays what is done as time passes, by whoever comes first.

use std::collections::HashSet;

use chrono::TimeDelta;
use deed_domain::action::{ActionError, Outcome, Status};
use deed_domain::caller::Reach;
use deed_domain::id::ActionId;
use deed_domain::ports::{GivenUp, Rescued};
use proptest::test_runner::{TestCaseError, TestCaseResult};
use proptest::{prop_assert, prop_assert_eq};

use super::Workbench;
use super::play::{Case, answer, check_near};

impl<S: Workbench> Case<'_, S> {
    pub(super) async fn rescue(&mut self, limit: usize) -> TestCaseResult {
        let found = answer(self.ports().leases.rescue(limit).await)?;
        let now = self.model.now();
        let late = self.model.those(|life| life.is_late(now));
        let ids: Vec<ActionId> = found.iter().map(|one| one.action_id).collect();
        self.check_taken(&ids, &late, limit)?;
        // In which words it is said that a performer fell silent is the store's to choose.
        let overviews = self
            .ports()
            .action_reader
            .overviews(&ids, &Reach::EVERYTHING);
        let mut said = None;
        for overview in answer(overviews.await)? {
            said = overview
                .error
                .filter(|error| error.code == "lease_expired")
                .or(said);
        }
        let silence = said.unwrap_or_else(|| ActionError::new("lease_expired", ""));
        let mut expected = Vec::new();
        for id in ids {
            let verdict = self.model.rescue(id, silence.clone());
            let life = &self.model.lives[&id];
            match &life.ending {
                Some(ending) => match &ending.outcome {
                    Outcome::Failed(error) => self.saw("rescue, over", &error.code),
                    outcome => self.saw("rescue, over", outcome),
                },
                None => self.saw("rescue, then", &life.state),
            }
            expected.push(Rescued {
                action_id: id,
                action_type: self.model.lives[&id].new.action_type.clone(),
                verdict,
            });
        }
        prop_assert_eq!(found, expected);
        Ok(())
    }

    pub(super) async fn give_up(&mut self, limit: usize) -> TestCaseResult {
        let found = answer(self.ports().leases.give_up(limit).await)?;
        let now = self.model.now();
        let late = self
            .model
            .those(|life| life.lease.is_none() && !life.is_over() && life.is_out_of_time(now));
        let ids: Vec<ActionId> = found.iter().map(|one| one.action_id).collect();
        self.check_taken(&ids, &late, limit)?;
        let mut expected = Vec::new();
        for id in ids {
            self.saw("give up", &self.model.lives[&id].state);
            self.model.give_up(id);
            expected.push(GivenUp {
                action_id: id,
                action_type: self.model.lives[&id].new.action_type.clone(),
            });
        }
        prop_assert_eq!(found, expected);
        Ok(())
    }

    pub(super) async fn promote(&mut self, limit: usize) -> TestCaseResult {
        let found = answer(self.ports().leases.promote(limit).await)?;
        let now = self.model.now();
        let due = self.model.those(|life| life.is_due(now));
        prop_assert_eq!(found.count, due.len().min(limit));
        // Which of them, where not all were asked for, is the store's to choose.
        let overviews = self
            .ports()
            .action_reader
            .overviews(&due, &Reach::EVERYTHING);
        let queued: Vec<ActionId> = answer(overviews.await)?
            .into_iter()
            .filter(|overview| overview.status == Status::Queued)
            .map(|overview| overview.id)
            .collect();
        prop_assert_eq!(queued.len(), found.count);
        for _ in &queued {
            self.saw("promote", &"one");
        }
        self.model.promote(&queued);
        match (found.next_due_in, self.model.next_due_in()) {
            (None, None) => Ok(()),
            (Some(found), Some(expected)) => {
                let found = TimeDelta::from_std(found).unwrap();
                check_near(found, expected, "when the next is due")
            }
            (found, expected) => {
                let text = format!("the next is due in {expected:?}, and not in {found:?}");
                Err(TestCaseError::fail(text))
            }
        }
    }

    /// What was taken is as many as asked for, of those that there are.
    pub(super) fn check_taken(
        &self,
        taken: &[ActionId],
        all: &[ActionId],
        limit: usize,
    ) -> TestCaseResult {
        let distinct: HashSet<&ActionId> = taken.iter().collect();
        let are_some = distinct.iter().all(|id| all.contains(id));
        let expected = all.len().min(limit);
        prop_assert!(
            are_some && taken.len() == expected && distinct.len() == expected,
            "{} of {:?} are to be taken, and not {:?}",
            expected,
            all,
            taken
        );
        Ok(())
    }
}
