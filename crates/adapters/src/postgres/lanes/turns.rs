//! Whose turn it is: ranks that share a lane fairly among its users, whatever it is served at.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996), with actions of equal cost.
//! The time of a lane is the rank at its head: where the service is. A user's next action gets the rank
//! `max(the lane's time, the user's last rank + STEP)`. So who has nothing waiting comes in where the service is, not
//! behind what others have piled up, and of several who have much waiting each gets the same share. A lane in which
//! nothing waits has the database's time, and nobody in it has a past: idle users earn nothing, and a burst that is
//! over is held against nobody.
//!
//! The statement that queues an action makes its rank, by the database's clock and, unless it was seen just now, by the
//! head of the lane. What is remembered here is each user's last rank, and how many of the user's actions are on the
//! way. Other replicas remember others: a user who spreads a flood over n replicas gets up to n shares.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deed_domain::id::UserId;
use tokio::time::Instant;

use super::Lane;

/// How far apart a user's actions are, in microseconds. Who submits up to a thousand a second stays beside the clock.
const STEP: i64 = 1_000;
/// For how long the head of a lane is taken to be where it was seen. It only moves forwards meanwhile, so who comes in
/// there is not late.
const FRESH: Duration = Duration::from_millis(500);
/// How many users' last ranks are remembered, over all lanes.
const MOST: usize = 50_000;

/// What the statement that queues an action makes its rank of, all in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where the lane's head is. Without it the statement looks.
    pub(crate) head: Option<i64>,
    /// From which rank it looks, or from now if that is earlier: what is claimed already lies before it.
    pub(crate) look_from: i64,
    /// The least rank that the user may have, unless nothing waits in the lane.
    pub(crate) after: Option<i64>,
    /// How much to add for the user's actions that are on the way.
    pub(crate) ahead: i64,
}

/// What came of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The rank that the action has got.
    pub(crate) rank: i64,
    /// The lane's head, where the statement has looked; `None` when nothing waited.
    pub(crate) seen: Option<i64>,
}

#[derive(Debug, Default)]
struct User {
    last: Option<i64>,
    on_the_way: u32,
}

#[derive(Debug, Default)]
struct LaneTurns {
    /// Where its head was seen last, and when that look began.
    head: Option<(i64, Instant)>,
    users: HashMap<UserId, User>,
}

#[derive(Debug, Default)]
struct Memory {
    lanes: HashMap<Lane, LaneTurns>,
    /// How many users are in all lanes together.
    users: usize,
}

/// The last ranks of the users of each lane, as far as this replica gave them.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Memory>);

/// An action on its way into a lane. Dropped without an answer, it was never there.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    turns: &'a Turns,
    lane: Lane,
    user: UserId,
    place: Place,
    at: Instant,
    is_settled: bool,
}

impl Turns {
    /// A place for one more action of `user`, in a statement that is sent at `now`.
    pub(crate) fn take(&self, lane: Lane, user: UserId, now: Instant) -> Ticket<'_> {
        let mut memory = self.memory();
        if memory.users >= MOST {
            memory.forget(now);
        }
        let Memory { lanes, users } = &mut *memory;
        let turns = lanes.entry(lane.clone()).or_default();
        let is_known = turns.users.contains_key(&user);
        *users += usize::from(!is_known);
        let turn = turns.users.entry(user).or_default();
        let place = Place {
            head: turns
                .head
                .filter(|(_, seen_at)| now.duration_since(*seen_at) < FRESH)
                .map(|(rank, _)| rank),
            look_from: turns.head.map_or(0, |(rank, _)| rank),
            after: turn.last.map(|last| last.saturating_add(STEP)),
            ahead: STEP.saturating_mul(i64::from(turn.on_the_way)),
        };
        turn.on_the_way = turn.on_the_way.saturating_add(1);
        drop(memory);
        Ticket {
            turns: self,
            lane,
            user,
            place,
            at: now,
            is_settled: false,
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Makes room: who has nothing on the way and stands where a newcomer would stand needs no memory. If that is not
    /// enough, everybody who has nothing on the way is a newcomer again.
    fn forget(&mut self, now: Instant) {
        for is_last_resort in [false, true] {
            self.lanes.retain(|_, lane| {
                let head = lane.head.map(|(rank, _)| rank);
                lane.users.retain(|_, user| {
                    user.on_the_way > 0
                        || (!is_last_resort && user.last.map(|last| last + STEP) > head)
                });
                let is_fresh = |seen_at| now.duration_since(seen_at) < FRESH;
                !lane.users.is_empty() || lane.head.is_some_and(|(_, seen_at)| is_fresh(seen_at))
            });
            self.users = self.lanes.values().map(|lane| lane.users.len()).sum();
            if self.users < MOST - MOST / 10 {
                return;
            }
        }
    }
}

impl Ticket<'_> {
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The action is in the lane.
    pub(crate) fn settle(mut self, answer: Answer) {
        self.is_settled = true;
        let Answer { rank, seen } = answer;
        let mut memory = self.turns.memory();
        let Memory { lanes, users } = &mut *memory;
        let Some(lane) = lanes.get_mut(&self.lane) else {
            return;
        };
        if self.place.head.is_none() {
            if seen.is_none() {
                // Nothing waited, so nobody is ahead of his share.
                let before = lane.users.len();
                lane.users.retain(|user, turn| {
                    turn.last = None;
                    turn.on_the_way > 0 || *user == self.user
                });
                *users = users.saturating_sub(before - lane.users.len());
            }
            // What is put into an empty lane is its head, unless something else was put there meanwhile.
            let put = match lane.head {
                Some((head, seen_at)) if self.at.saturating_duration_since(seen_at) < FRESH => {
                    rank.min(head)
                }
                _ => rank,
            };
            if lane.head.is_none_or(|(_, seen_at)| seen_at <= self.at) {
                lane.head = Some((seen.unwrap_or(put), self.at));
            }
        }
        if let Some(turn) = lane.users.get_mut(&self.user) {
            turn.last = turn.last.max(Some(rank));
            turn.on_the_way = turn.on_the_way.saturating_sub(1);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let mut memory = self.turns.memory();
        let turn = memory
            .lanes
            .get_mut(&self.lane)
            .and_then(|lane| lane.users.get_mut(&self.user));
        if let Some(turn) = turn {
            turn.on_the_way = turn.on_the_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use deed_domain::action::{ActionTypeName, Priority};
    use uuid::Uuid;

    /// One lane as the database keeps it, served in the order of its ranks, and its clock.
    struct Model {
        turns: Turns,
        now: Instant,
        clock: i64,
        /// Rank, then the order in which they came, then the user.
        waiting: BTreeSet<(i64, usize, u128)>,
        count: usize,
    }

    /// The most that a rank may be ahead of the clock, as the statements have it.
    const CAP: i64 = 600_000_000;

    impl Model {
        fn new() -> Self {
            Self {
                turns: Turns::default(),
                now: Instant::now(),
                clock: 1_000_000_000,
                waiting: BTreeSet::new(),
                count: 0,
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.clock += i64::try_from(time.as_micros()).unwrap();
        }

        /// What the statement makes of the place.
        fn rank(&self, place: Place) -> Answer {
            let from = place.look_from.min(self.clock);
            let seen = self.waiting.range((from, 0, 0)..).next().map(|one| one.0);
            let rank = match place.head.or(seen) {
                Some(head) => place.after.map_or(head, |after| after.max(head)),
                None => self.clock,
            };
            Answer {
                rank: (rank + place.ahead).min(self.clock + CAP),
                seen: place.head.map_or(seen, |_| None),
            }
        }

        fn submit(&mut self, user: u128) -> i64 {
            let ticket = self.turns.take(lane(), user_id(user), self.now);
            let answer = self.rank(ticket.place());
            ticket.settle(answer);
            self.count += 1;
            self.waiting.insert((answer.rank, self.count, user));
            answer.rank
        }

        fn claim(&mut self) -> Option<u128> {
            self.waiting.pop_first().map(|one| one.2)
        }

        /// How many claims it takes until one of `user` comes.
        fn claims_until(&mut self, user: u128) -> usize {
            (1..)
                .find(|_| self.claim().expect("it waits") == user)
                .unwrap()
        }
    }

    fn lane() -> Lane {
        Lane {
            action_type: ActionTypeName::parse("echo").unwrap(),
            priority: Priority::default(),
        }
    }

    fn user_id(user: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(user))
    }

    const MS: Duration = Duration::from_millis(1);

    /// A flood by one user at a rate a second, a newcomer so much later with the lane served at another rate meanwhile.
    #[track_caller]
    fn check_newcomer(flooded_per_ms: usize, pause_ms: u32, served_per_s: u32) {
        let mut model = Model::new();
        for n in 0..10_000 {
            model.submit(1);
            if n % flooded_per_ms == 0 {
                model.pass(MS);
            }
        }
        for ms in 0..pause_ms {
            model.pass(MS);
            let due = |at: u32| u64::from(at) * u64::from(served_per_s) / 1_000;
            for _ in due(ms)..due(ms + 1) {
                model.claim();
            }
        }
        assert!(model.waiting.len() > 100, "the flood is not over");
        model.submit(2);
        let claims = model.claims_until(2);
        assert!(
            claims <= 2,
            "{flooded_per_ms}/ms, {pause_ms} ms, {served_per_s}/s: {claims} claims"
        );
    }

    #[test]
    fn a_newcomer_is_next_whatever_the_flood_and_the_service_are_like() {
        for flooded_per_ms in [1, 20, 10_000] {
            for (pause_ms, served_per_s) in [
                (0, 0),
                (600, 0),
                (3_600_000, 0),
                (100_000, 10),
                (100_000, 90),
                (400, 20_000),
                (5_000, 1_900),
            ] {
                check_newcomer(flooded_per_ms, pause_ms, served_per_s);
            }
        }
    }

    #[test]
    fn who_floods_together_is_served_by_turns() {
        let mut model = Model::new();
        for _ in 0..1_000 {
            model.submit(1);
        }
        model.pass(10_000 * MS);
        for _ in 0..1_000 {
            model.submit(2);
        }
        let first: Vec<u128> = (0..400).filter_map(|_| model.claim()).collect();
        for pair in first.chunks(2) {
            assert_ne!(pair[0], pair[1], "{first:?}");
        }
    }

    #[test]
    fn three_users_have_a_third_each_whatever_each_has_waiting() {
        let mut model = Model::new();
        for (user, count) in [(1, 5_000), (2, 500), (3, 50)] {
            for _ in 0..count {
                model.submit(user);
            }
        }
        let first: Vec<u128> = (0..150).filter_map(|_| model.claim()).collect();
        for user in 1..=3 {
            assert_eq!(first.iter().filter(|one| **one == user).count(), 50);
        }
    }

    #[test]
    fn a_flood_that_is_over_is_held_against_nobody() {
        let mut model = Model::new();
        for _ in 0..10_000 {
            model.submit(1);
        }
        while model.claim().is_some() {}
        model.pass(600 * MS);
        for _ in 0..10_000 {
            model.submit(2);
        }
        model.submit(1);
        assert!(model.claims_until(1) <= 2);
    }

    #[test]
    fn who_was_idle_has_earned_nothing() {
        let mut model = Model::new();
        for _ in 0..2_000 {
            model.submit(1);
        }
        // User 2 stays away while 1,000 of the other's are performed, then brings as many.
        for _ in 0..1_000 {
            model.claim();
        }
        model.pass(60_000 * MS);
        for _ in 0..1_000 {
            model.submit(2);
        }
        let first: Vec<u128> = (0..200).filter_map(|_| model.claim()).collect();
        let share = first.iter().filter(|one| **one == 1).count();
        assert!((98..=102).contains(&share), "{share}");
    }

    #[test]
    fn a_lane_that_is_kept_empty_stays_beside_the_clock() {
        let mut model = Model::new();
        for _ in 0..10_000 {
            let rank = model.submit(1);
            assert!((rank - model.clock).abs() < 600_000, "{rank}");
            model.claim();
            model.pass(MS);
        }
    }

    #[test]
    fn no_rank_lies_beyond_the_cap() {
        let mut model = Model::new();
        for _ in 0..700_000 {
            model.submit(1);
        }
        let last = model.waiting.last().unwrap().0;
        assert_eq!(last, model.clock + CAP);
        model.submit(2);
        assert!(model.claims_until(2) <= 2);
    }

    #[test]
    fn what_is_on_the_way_together_gets_ranks_of_its_own() {
        let (turns, now) = (Turns::default(), Instant::now());
        let tickets: Vec<Ticket<'_>> = (0..3)
            .map(|_| turns.take(lane(), user_id(1), now))
            .collect();
        let ahead: Vec<i64> = tickets.iter().map(|one| one.place().ahead).collect();
        assert_eq!(ahead, [0, STEP, 2 * STEP]);
        // Another user's is counted apart.
        assert_eq!(turns.take(lane(), user_id(2), now).place().ahead, 0);
        for (ticket, rank) in tickets.into_iter().zip([100, 1_100, 2_100]) {
            ticket.settle(Answer {
                rank,
                seen: Some(50),
            });
        }
        let next = turns.take(lane(), user_id(1), now).place();
        assert_eq!(next.after, Some(3_100));
        assert_eq!(next.ahead, 0);
    }

    #[test]
    fn the_first_of_many_that_come_together_into_an_empty_lane_is_its_head() {
        let (turns, now) = (Turns::default(), Instant::now());
        let take = |at| turns.take(lane(), user_id(1), at);
        let tickets = [take(now), take(now), take(now + MS)];
        for (ticket, rank) in tickets.into_iter().zip([100, 1_100, 2_100]) {
            ticket.settle(Answer { rank, seen: None });
        }
        let newcomer = turns.take(lane(), user_id(2), now + 2 * MS).place();
        assert_eq!(newcomer.head, Some(100));
    }

    #[test]
    fn what_never_arrived_takes_no_turn() {
        let (turns, now) = (Turns::default(), Instant::now());
        drop(turns.take(lane(), user_id(1), now));
        let place = turns.take(lane(), user_id(1), now).place();
        assert_eq!((place.after, place.ahead), (None, 0));
    }

    #[test]
    fn the_head_is_looked_for_twice_a_second_from_where_it_was() {
        let (turns, now) = (Turns::default(), Instant::now());
        let ticket = turns.take(lane(), user_id(1), now);
        assert_eq!((ticket.place().head, ticket.place().look_from), (None, 0));
        ticket.settle(Answer {
            rank: 900,
            seen: Some(700),
        });
        let soon = turns.take(lane(), user_id(2), now + 499 * MS).place();
        assert_eq!(soon.head, Some(700));
        let later = turns.take(lane(), user_id(2), now + 500 * MS).place();
        assert_eq!((later.head, later.look_from), (None, 700));
    }

    #[test]
    fn memory_is_bounded_and_keeps_who_is_ahead() {
        let (turns, now) = (Turns::default(), Instant::now());
        let settle = |user: u128, rank| {
            let ticket = turns.take(lane(), user_id(user), now);
            ticket.settle(Answer {
                rank,
                seen: Some(1_000_000),
            });
        };
        settle(0, 9_000_000);
        for user in 1..200_000 {
            // Each where a newcomer would stand.
            settle(user, 1_000_000 - STEP);
            assert!(turns.memory().users <= MOST);
        }
        let place = turns.take(lane(), user_id(0), now).place();
        assert_eq!(place.after, Some(9_000_000 + STEP));
    }

    #[test]
    fn when_all_are_ahead_everybody_is_a_newcomer_again() {
        let (turns, now) = (Turns::default(), Instant::now());
        for user in 0..120_000 {
            turns.take(lane(), user_id(user), now).settle(Answer {
                rank: 9_000_000,
                seen: Some(0),
            });
        }
        let memory = turns.memory();
        assert!(memory.users <= MOST);
        let counted: usize = memory.lanes.values().map(|lane| lane.users.len()).sum();
        assert_eq!(memory.users, counted);
    }
}
