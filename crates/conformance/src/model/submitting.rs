//! Plays what submitters do.

use deed_domain::action::NewAction;
use deed_domain::caller::Reach;
use deed_domain::id::ActionId;
use deed_domain::ports::{BatchSubmitted, Submitted};
use proptest::prop_assert_eq;
use proptest::test_runner::TestCaseResult;

use super::Workbench;
use super::command::{Ask, Key};
use super::play::{Case, answer};
use super::reference::Minutes;

impl<S: Workbench> Case<'_, S> {
    pub(super) async fn submit(&mut self, ask: &Ask, key: Option<Key>) -> TestCaseResult {
        let asked = self.new_action(ask, ask.user, 0);
        let idempotency = key.map(|key| self.idempotency(key));
        let found = self
            .ports()
            .submissions
            .submit(asked.0.clone(), idempotency)
            .await;
        let expected = match self
            .model
            .submit(std::slice::from_ref(&asked), key.map(pair))
        {
            BatchSubmitted::New => Submitted::New,
            BatchSubmitted::Replayed(ids) => Submitted::Replayed(ids[0]),
            BatchSubmitted::KeyReused => Submitted::KeyReused,
            BatchSubmitted::InFlight => Submitted::InFlight,
            BatchSubmitted::UnknownTypes(_) => Submitted::UnknownType,
            BatchSubmitted::TooManyQueued => Submitted::TooManyQueued,
        };
        let found = answer(found)?;
        prop_assert_eq!(found, expected);
        self.saw("submit", &found);
        self.keep(&[asked.0.id], found == Submitted::New);
        Ok(())
    }

    pub(super) async fn submit_batch(&mut self, asks: &[Ask], key: Option<Key>) -> TestCaseResult {
        let asked: Vec<(NewAction, Option<Minutes>)> = asks
            .iter()
            .zip(0..)
            .map(|(ask, place)| self.new_action(ask, asks[0].user, place))
            .collect();
        let batch: Vec<NewAction> = asked.iter().map(|(new, _)| new.clone()).collect();
        let idempotency = key.map(|key| self.idempotency(key));
        let found = self
            .ports()
            .submissions
            .submit_batch(&batch, idempotency)
            .await;
        let found = answer(found)?;
        let expected = self.model.submit(&asked, key.map(pair));
        prop_assert_eq!(&found, &expected);
        self.saw("submit batch", &found);
        let ids: Vec<ActionId> = batch.iter().map(|new| new.id).collect();
        self.keep(&ids, found == BatchSubmitted::New);
        Ok(())
    }

    pub(super) fn keep(&mut self, ids: &[ActionId], are_new: bool) {
        match are_new {
            true => self.ids.extend(ids),
            false => self.refused.extend(ids),
        }
    }

    pub(super) async fn cancel(&mut self, id: ActionId, reach: Reach) -> TestCaseResult {
        let found = answer(self.ports().submissions.cancel(id, &reach).await)?;
        prop_assert_eq!(found, self.model.cancel(id, &reach), "{}", id);
        self.saw("cancel", &found);
        Ok(())
    }
}

fn pair(key: Key) -> (u8, u8) {
    (key.name, key.request)
}
