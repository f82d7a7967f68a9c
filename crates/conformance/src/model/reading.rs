//! Plays what readers do.

use deed_domain::action::{EventName, NewEvent};
use proptest::prop_assert_eq;
use proptest::test_runner::TestCaseResult;

use super::Workbench;
use super::command::{By, Target};
use super::play::{Case, answer};
use crate::fixtures::seq;

impl<S: Workbench> Case<'_, S> {
    pub(super) async fn read(
        &mut self,
        target: Target,
        by: By,
        after: u8,
        limit: usize,
    ) -> TestCaseResult {
        let id = self.target(target);
        let reach = self.reach(id, by);
        let after = u32::from(after);
        let log = &self.ports().event_log;
        let found = answer(log.read(id, &reach, seq(after), limit).await)?;
        let expected = self
            .model
            .lives
            .get(&id)
            .filter(|life| life.is_within(&reach))
            .map(|life| {
                let events = (1..).zip(life.log.iter().cloned());
                let events: Vec<(u32, NewEvent)> = events
                    .filter(|(position, _)| *position > after)
                    .take(limit)
                    .collect();
                (events, life.next_seq() - 1, life.is_over())
            });
        let found = found.map(|page| {
            let events: Vec<(u32, NewEvent)> = page
                .events
                .into_iter()
                .map(|event| {
                    let (name, data) = (event.name, event.data);
                    (event.seq.get(), NewEvent { name, data })
                })
                .collect();
            (events, page.last.get(), page.is_over)
        });
        self.saw("read", &found);
        prop_assert_eq!(found, expected, "the log of {}", id);
        Ok(())
    }

    pub(super) async fn count(&mut self, target: Target, before: u8) -> TestCaseResult {
        let id = self.target(target);
        let before = u32::from(before);
        let found = answer(self.ports().leases.messages(id, seq(before)).await)?;
        let expected = self.model.lives.get(&id).map_or(0, |life| {
            let count = (1..before)
                .zip(&life.log)
                .filter(|(_, event)| event.name == EventName::Message)
                .count();
            u32::try_from(count).unwrap()
        });
        prop_assert_eq!(found, expected);
        Ok(())
    }
}
