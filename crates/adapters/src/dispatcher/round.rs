//! One look, for many.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use deed_domain::action::{ActionTypeName, Grant, LeaseRequest};
use deed_domain::error::StoreError;
use deed_domain::ports::{Filled, Granted, Slot};
use deed_domain::service::Perform;
use tokio::time::Instant;

use super::list::{Wanted, all_types};
use super::{Shared, lock};

/// For whom to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// For all who wait.
    All,
    /// For those who have just come: there was nothing for the others.
    New,
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    /// Nobody waits, or nothing does.
    Nothing,
    /// All that there was.
    Something,
    /// More than one look could take.
    MayBeMore,
}

/// A look under way. Those for whom it is not done when it is dropped are told nothing more: they see that.
pub(super) struct Round<'a> {
    shared: &'a Arc<Shared>,
    wanted: Vec<Wanted>,
    found: Found,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let mut list = lock(&self.shared.list);
        let gone: Vec<_> = self
            .wanted
            .iter()
            .map(|one| list.remove(one.poll))
            .collect();
        drop(list);
        drop(gone);
    }
}

/// Looks once.
pub(super) async fn look(shared: &Arc<Shared>, scope: Scope) -> Found {
    let mut round = Round::begin(shared, scope);
    if round.wanted.is_empty() {
        return Found::Nothing;
    }
    match round.all().await {
        Ok(()) => round.wait_on(),
        Err(error) => {
            log::debug!(error:err = error; "nothing could be claimed for workers");
            round.fail(&error);
        }
    }
    round.found
}

impl<'a> Round<'a> {
    pub(super) fn begin(shared: &'a Arc<Shared>, scope: Scope) -> Self {
        Self {
            shared,
            wanted: lock(&shared.list).look(scope == Scope::New, Instant::now()),
            found: Found::Nothing,
        }
    }

    async fn all(&mut self) -> Result<(), StoreError> {
        self.repeat().await?;
        let groups = self.groups();
        let ready = match groups.len() {
            0 => return Ok(()),
            // Who asks for one set of types claims at once.
            1 => None,
            _ => {
                let types = all_types(&self.wanted);
                let ready = self.shared.leases.ready(&types).await?;
                Some(ready.into_iter().collect::<HashSet<_>>())
            }
        };
        for (mut types, polls) in groups {
            if let Some(ready) = &ready {
                types.retain(|name| ready.contains(name));
            }
            if !types.is_empty() {
                self.claim(&types, &polls).await?;
            }
        }
        Ok(())
    }

    /// Gives those who ask again what they were granted before.
    async fn repeat(&mut self) -> Result<(), StoreError> {
        let polls: HashMap<LeaseRequest, u64> = self
            .wanted
            .iter()
            .filter(|one| one.may_repeat)
            .filter_map(|one| Some((one.wish.request?, one.poll)))
            .collect();
        if polls.is_empty() {
            return Ok(());
        }
        let requests: Vec<LeaseRequest> = polls.keys().copied().collect();
        let mut granted: BTreeMap<u64, Vec<Grant>> = BTreeMap::new();
        for (request, grant) in self.shared.leases.granted(&requests).await? {
            if let Some(poll) = polls.get(&request) {
                granted.entry(*poll).or_default().push(grant);
            }
        }
        for (poll, grants) in granted {
            self.settle(poll, &grants, true);
        }
        Ok(())
    }

    /// Those who want the same types, in the order in which the first of them came.
    fn groups(&self) -> Vec<(Vec<ActionTypeName>, Vec<u64>)> {
        let mut places: HashMap<&[ActionTypeName], usize> = HashMap::new();
        let mut groups: Vec<(Vec<ActionTypeName>, Vec<u64>)> = Vec::new();
        for one in &self.wanted {
            let place = *places.entry(&one.wish.types).or_insert_with(|| {
                groups.push((one.wish.types.clone(), Vec::new()));
                groups.len() - 1
            });
            if let Some((_, polls)) = groups.get_mut(place) {
                polls.push(one.poll);
            }
        }
        groups
    }

    async fn claim(&mut self, types: &[ActionTypeName], polls: &[u64]) -> Result<(), StoreError> {
        let (owners, slots) = self.slots(polls);
        let filled = self.shared.leases.fill(types, &slots).await;
        self.shared.metrics.claimed(&filled);
        let filled = filled?;
        let is_full = filled.len() >= slots.len();
        let mut granted: BTreeMap<u64, (Vec<Grant>, bool)> = BTreeMap::new();
        for Filled {
            slot,
            grant,
            is_repeat,
        } in filled
        {
            if let Some(poll) = owners.get(slot) {
                let (grants, are_repeats) = granted.entry(*poll).or_default();
                grants.push(grant);
                *are_repeats |= is_repeat;
            }
        }
        if !granted.is_empty() {
            self.found = self.found.max(Found::Something);
        }
        if is_full && granted.len() < polls.len() {
            self.found = Found::MayBeMore;
        }
        for (poll, (grants, are_repeats)) in granted {
            self.settle(poll, &grants, are_repeats);
        }
        Ok(())
    }

    /// One place each in the order in which they came, then a second one each, and so on.
    fn slots(&self, polls: &[u64]) -> (Vec<u64>, Vec<Slot>) {
        let wanted: HashSet<u64> = polls.iter().copied().collect();
        let mut left: Vec<&Wanted> = self
            .wanted
            .iter()
            .filter(|one| wanted.contains(&one.poll))
            .collect();
        let (mut owners, mut slots) = (Vec::new(), Vec::new());
        let most = usize::from(Perform::LEASES_MAX);
        for turn in 0..most {
            left.retain(|one| one.wish.max > turn);
            for one in &left {
                if slots.len() == most {
                    return (owners, slots);
                }
                owners.push(one.poll);
                slots.push(Slot {
                    worker: one.wish.worker.clone(),
                    lease: one.wish.lease,
                    request: one.wish.request,
                });
            }
            if left.is_empty() {
                break;
            }
        }
        (owners, slots)
    }

    /// Tells those who made a wish what was granted for it.
    fn settle(&mut self, poll: u64, grants: &[Grant], are_repeats: bool) {
        self.wanted.retain(|one| one.poll != poll);
        let listeners = lock(&self.shared.list).remove(poll);
        if are_repeats {
            // Not to be given back: the first answer may have arrived, and somebody performs them.
            for listener in listeners {
                let _ = listener.send(Ok(Granted::new(grants.to_vec(), None)));
            }
        } else {
            self.shared.hand_over(grants, listeners);
        }
    }

    /// There was nothing for those who are left.
    fn wait_on(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        let mut list = lock(&self.shared.list);
        for one in self.wanted.drain(..) {
            due.extend(list.wait_on(one.poll, now));
        }
        drop(list);
        for tell in due {
            let _ = tell.send(Ok(Granted::nothing()));
        }
    }

    /// Those who are new are told; the others were told nothing else yet, and wait on.
    fn fail(&mut self, error: &StoreError) {
        let (new, waiting): (Vec<Wanted>, Vec<Wanted>) =
            self.wanted.drain(..).partition(|one| one.is_new);
        let mut list = lock(&self.shared.list);
        let told: Vec<_> = new.iter().flat_map(|one| list.remove(one.poll)).collect();
        drop(list);
        for tell in told {
            let _ = tell.send(Err(error.clone()));
        }
        self.wanted = waiting;
        self.wait_on();
    }
}
