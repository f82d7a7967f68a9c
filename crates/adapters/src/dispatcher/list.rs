//! The list of those who wait. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use deed_domain::action::{ActionTypeName, LeaseRequest};
use deed_domain::error::StoreError;
use deed_domain::ports::{Granted, Wish};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Dispatcher;

/// How often it is looked for those who wait whether their request was granted elsewhere: a worker that lost its
/// connection waits here while another server grants leases to the one that it lost.
const REPEATS: Duration = Duration::from_secs(1);

/// Where a waiting worker is told what came of it.
pub(super) type Tell = oneshot::Sender<Result<Granted, StoreError>>;

/// Those who wait, in the order in which they came.
#[derive(Default)]
pub(super) struct List {
    polls: BTreeMap<u64, Poll>,
    by_request: HashMap<LeaseRequest, u64>,
    listeners: usize,
    next: u64,
    /// When it was last looked for all who wait whether their request was granted elsewhere.
    asked_at: Option<Instant>,
}

/// One wish, and those who made it: more than one where a request was sent again before its first answer.
struct Poll {
    wish: Arc<Wish>,
    stage: Stage,
    listeners: Vec<Listener>,
}

struct Listener {
    id: u64,
    until: Instant,
    tell: Tell,
}

/// How far it is with a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was not looked for it yet.
    New,
    /// It is being looked for it.
    Looking,
    /// There was nothing.
    Waiting,
}

/// Names somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListenerId {
    poll: u64,
    listener: u64,
}

/// A wish that is being looked for.
pub(super) struct Wanted {
    pub(super) poll: u64,
    pub(super) wish: Arc<Wish>,
    pub(super) is_new: bool,
    /// Its request may have been granted elsewhere: before it came, or while it waited.
    pub(super) may_repeat: bool,
}

impl List {
    /// Takes somebody in who waits until then; nobody where as many wait as may.
    pub(super) fn enter(
        &mut self,
        mut wish: Wish,
        until: Instant,
        tell: Tell,
    ) -> Option<ListenerId> {
        if self.listeners >= Dispatcher::WAITING_MAX {
            return None;
        }
        self.listeners += 1;
        self.next += 1;
        let listener = Listener {
            id: self.next,
            until,
            tell,
        };
        let known = wish
            .request
            .and_then(|request| self.by_request.get(&request));
        let poll = known.copied().unwrap_or(self.next);
        let id = ListenerId {
            poll,
            listener: listener.id,
        };
        if let Some(same) = self.polls.get_mut(&poll) {
            same.listeners.push(listener);
            if same.stage == Stage::Waiting {
                same.stage = Stage::New;
            }
            return Some(id);
        }
        if let Some(request) = wish.request {
            self.by_request.insert(request, poll);
        }
        wish.types.sort();
        wish.types.dedup();
        let entry = Poll {
            wish: Arc::new(wish),
            stage: Stage::New,
            listeners: vec![listener],
        };
        self.polls.insert(poll, entry);
        Some(id)
    }

    /// Takes somebody out if `may_go` in the stage that their wish is in, which is answered.
    pub(super) fn leave_if(
        &mut self,
        id: ListenerId,
        may_go: impl FnOnce(Stage) -> bool,
    ) -> Option<Stage> {
        let poll = self.polls.get_mut(&id.poll)?;
        let place = poll
            .listeners
            .iter()
            .position(|one| one.id == id.listener)?;
        let stage = poll.stage;
        if !may_go(stage) {
            return None;
        }
        poll.listeners.remove(place);
        self.listeners -= 1;
        if poll.listeners.is_empty() {
            self.remove(id.poll);
        }
        Some(stage)
    }

    /// Begins to look for those who are new, or for all.
    pub(super) fn look(&mut self, only_new: bool, now: Instant) -> Vec<Wanted> {
        let ask_all = !only_new && self.asked_at.is_none_or(|at| now >= at + REPEATS);
        if ask_all {
            self.asked_at = Some(now);
        }
        let mut wanted = Vec::new();
        for (id, poll) in &mut self.polls {
            let is_new = poll.stage == Stage::New;
            if poll.stage == Stage::Looking || (only_new && !is_new) {
                continue;
            }
            poll.stage = Stage::Looking;
            wanted.push(Wanted {
                poll: *id,
                wish: Arc::clone(&poll.wish),
                is_new,
                may_repeat: is_new || ask_all,
            });
        }
        wanted
    }

    /// Ends a wish; answers who made it.
    pub(super) fn remove(&mut self, poll: u64) -> Vec<Tell> {
        let Some(removed) = self.polls.remove(&poll) else {
            return Vec::new();
        };
        if let Some(request) = removed.wish.request {
            self.by_request.remove(&request);
        }
        self.listeners -= removed.listeners.len();
        removed.listeners.into_iter().map(|one| one.tell).collect()
    }

    /// Ends a look that found nothing; answers those whose time is up.
    pub(super) fn wait_on(&mut self, id: u64, now: Instant) -> Vec<Tell> {
        let Some(poll) = self.polls.get_mut(&id) else {
            return Vec::new();
        };
        poll.stage = Stage::Waiting;
        let due: Vec<Tell> = poll
            .listeners
            .extract_if(.., |one| one.until <= now)
            .map(|one| one.tell)
            .collect();
        self.listeners -= due.len();
        if poll.listeners.is_empty() {
            self.remove(id);
        }
        due
    }
}

/// The types that all of these want, each once.
pub(super) fn all_types(wanted: &[Wanted]) -> Vec<ActionTypeName> {
    let mut types: Vec<ActionTypeName> = wanted
        .iter()
        .flat_map(|one| one.wish.types.iter().cloned())
        .collect();
    types.sort();
    types.dedup();
    types
}
