//! From which rank a claim reads a lane.
//!
//! Index entries of claimed actions stay at the head of a lane until no snapshot needs them, which a transaction held
//! open can put off for minutes. A claim that begins behind them does not read them. What appears below its floor (a
//! commit that came later than the floor's margin) is found by a look of its own, which no claim waits for: it reads
//! every such entry. Types with limits have no floors: what is let in may have waited for hours.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Lane;

/// The pause between two looks below the floors: a little less than the second between two claims that nothing wakes.
const PAUSE: Duration = Duration::from_millis(900);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much longer than a look the pause after it is, so that looking takes a twentieth of one connection's time.
const SHARE: u32 = 20;
/// Of how many lanes it is remembered how far they were read.
const MOST: usize = 20_000;

/// How far a lane was read.
#[derive(Debug, Clone, Copy)]
enum Reached {
    /// To this rank; more may wait behind it.
    Rank(i64),
    /// To its end, by a claim that was sent at this moment.
    End(Instant),
}

/// Where a claim begins to read a lane. The database makes the rank of it, by its own clock: the least of now, `reached`,
/// and what was now `idle_us` ago, and a margin below that for commits that come late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) reached: i64,
    pub(crate) idle_us: i64,
}

impl Floor {
    /// The beginning of the lane.
    pub(crate) const NONE: Self = Self {
        reached: 0,
        idle_us: 0,
    };
}

/// How far this replica's claims have read each lane.
#[derive(Debug, Default)]
pub(crate) struct Floors(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    lanes: HashMap<Lane, Reached>,
    /// When the next look below the floors is due; none is at first, when every lane is read from its beginning.
    look_at: Option<Instant>,
    is_looking: bool,
}

impl Floors {
    /// Where a claim that is sent at `now` begins to read each of the lanes.
    pub(crate) fn of(&self, lanes: &[Lane], now: Instant) -> Vec<Floor> {
        let memory = self.memory();
        lanes
            .iter()
            .map(|lane| {
                let reached = memory.lanes.get(lane);
                reached.map_or(Floor::NONE, |reached| reached.floor(now))
            })
            .collect()
    }

    /// Notes what came of a claim for `asked` actions that was sent at `at` and read `lanes` in this order from these
    /// floors: how many it got of each lane, and the highest rank among them.
    pub(crate) fn learn(
        &self,
        lanes: &[Lane],
        floors: &[Floor],
        asked: usize,
        claimed: &HashMap<Lane, (usize, i64)>,
        at: Instant,
    ) {
        let count: usize = claimed.values().map(|(count, _)| count).sum();
        // With as many as were asked for, nobody looked behind the last one.
        let stopped = (count >= asked)
            .then(|| lanes.iter().rposition(|lane| claimed.contains_key(lane)))
            .flatten();
        let mut memory = self.memory();
        memory.look_at.get_or_insert(at + PAUSE);
        if memory.lanes.len().saturating_add(lanes.len()) > MOST {
            memory.lanes.clear();
        }
        for (place, (lane, floor)) in lanes.iter().zip(floors).enumerate() {
            if *floor != Floor::NONE && !memory.lanes.contains_key(lane) {
                // Something was found below that floor meanwhile, where this claim did not read.
                continue;
            }
            let reached = match (stopped, claimed.get(lane)) {
                (Some(stopped), _) if place > stopped => return,
                (Some(stopped), Some((_, rank))) if place == stopped => Reached::Rank(*rank),
                _ => Reached::End(at),
            };
            memory.lanes.insert(lane.clone(), reached);
        }
    }

    /// Whether it is time to look below the floors, and nobody does.
    pub(crate) fn is_look_due(&self, now: Instant) -> bool {
        let memory = self.memory();
        !memory.is_looking && memory.look_at.is_some_and(|at| at <= now)
    }

    /// The lanes to look at below their floors, if that is due and nobody does it.
    pub(crate) fn look(&self, now: Instant) -> Option<Look<'_>> {
        if !self.is_look_due(now) {
            return None;
        }
        let mut memory = self.memory();
        // Another one may have come first.
        if std::mem::replace(&mut memory.is_looking, true) {
            return None;
        }
        let (lanes, floors) = memory
            .lanes
            .iter()
            .map(|(lane, reached)| (lane.clone(), reached.floor(now)))
            .unzip();
        drop(memory);
        Some(Look {
            known: self,
            lanes,
            floors,
            began: now,
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reached {
    fn floor(self, now: Instant) -> Floor {
        match self {
            Self::Rank(rank) => Floor {
                reached: rank,
                idle_us: 0,
            },
            Self::End(at) => Floor {
                reached: i64::MAX,
                idle_us: microseconds(now.duration_since(at)),
            },
        }
    }
}

/// A look below the floors; it is over when this is dropped.
pub(crate) struct Look<'a> {
    known: &'a Floors,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) floors: Vec<Floor>,
    began: Instant,
}

impl Look<'_> {
    /// Something waits below the floors of these lanes: the next claim reads them from their beginning.
    pub(crate) fn found(&self, lanes: impl IntoIterator<Item = Lane>) {
        let mut memory = self.known.memory();
        for lane in lanes {
            memory.lanes.remove(&lane);
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let mut memory = self.known.memory();
        memory.is_looking = false;
        memory.look_at = Some(Instant::now() + (took * SHARE).clamp(PAUSE, LONGEST_PAUSE));
    }
}

fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::action::{ActionTypeName, Priority};

    const MS: Duration = Duration::from_millis(1);

    fn lane(name: &str, priority: u8) -> Lane {
        Lane {
            action_type: ActionTypeName::parse(name).unwrap(),
            priority: Priority::new(priority).unwrap(),
        }
    }

    fn lanes() -> Vec<Lane> {
        vec![lane("a", 0), lane("a", 5), lane("a", 9)]
    }

    /// What one claim for `asked` at `at` got: lane, count, highest rank.
    fn claim(floors: &Floors, at: Instant, asked: usize, got: &[(usize, usize, i64)]) {
        let lanes = lanes();
        let begun = floors.of(&lanes, at);
        let claimed = got
            .iter()
            .map(|(place, count, rank)| (lanes[*place].clone(), (*count, *rank)))
            .collect();
        floors.learn(&lanes, &begun, asked, &claimed, at);
    }

    #[track_caller]
    fn check(floors: &Floors, at: Instant, expected: [Floor; 3]) {
        assert_eq!(floors.of(&lanes(), at), expected);
    }

    fn at_rank(reached: i64) -> Floor {
        Floor {
            reached,
            idle_us: 0,
        }
    }

    fn at_end(idle_us: i64) -> Floor {
        Floor {
            reached: i64::MAX,
            idle_us,
        }
    }

    #[test]
    fn the_first_claim_reads_everything() {
        check(&Floors::default(), Instant::now(), [Floor::NONE; 3]);
    }

    #[test]
    fn a_lane_with_more_in_it_is_read_on_from_where_the_claim_stopped() {
        let (floors, start) = (Floors::default(), Instant::now());
        claim(&floors, start, 4, &[(0, 1, 700), (1, 3, 500)]);
        let later = start + 100 * MS;
        // What was before it was read to its end; what comes after it not at all.
        check(&floors, later, [at_end(100_000), at_rank(500), Floor::NONE]);
    }

    #[test]
    fn what_was_read_to_its_end_is_read_on_from_that_time() {
        let (floors, start) = (Floors::default(), Instant::now());
        claim(&floors, start, 4, &[(1, 3, 500)]);
        check(&floors, start + 250 * MS, [at_end(250_000); 3]);
        claim(&floors, start + 250 * MS, 4, &[]);
        check(&floors, start + 300 * MS, [at_end(50_000); 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn once_a_second_it_is_looked_below_the_floors_by_one() {
        let (floors, start) = (Floors::default(), Instant::now());
        assert!(floors.look(start + LONGEST_PAUSE).is_none());
        claim(&floors, start, 1, &[]);
        assert!(floors.look(start + 899 * MS).is_none());
        let look = floors.look(start + 900 * MS).unwrap();
        assert_eq!(look.lanes.len(), 3);
        assert_eq!(look.floors, [at_end(900_000); 3]);
        assert!(floors.look(start + LONGEST_PAUSE).is_none());
        drop(look);
        let now = Instant::now();
        assert!(floors.look(now + PAUSE - MS).is_none());
        assert!(floors.look(now + PAUSE).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longer_a_look_takes_the_longer_nobody_looks_again() {
        let (floors, start) = (Floors::default(), Instant::now());
        claim(&floors, start, 1, &[]);
        for (took, pause) in [(1, 900), (100, 2_000), (300, 6_000), (9_000, 30_000)] {
            tokio::time::advance(LONGEST_PAUSE).await;
            let look = floors.look(Instant::now()).unwrap();
            tokio::time::advance(took * MS).await;
            drop(look);
            let now = Instant::now();
            assert!(floors.look(now + (pause - 1) * MS).is_none(), "{took}");
            assert!(floors.look(now + pause * MS).is_some(), "{took}");
        }
    }

    #[test]
    fn what_was_found_below_its_floor_is_read_from_the_beginning() {
        let (floors, start) = (Floors::default(), Instant::now());
        claim(&floors, start, 1, &[]);
        let look = floors.look(start + 900 * MS).unwrap();
        look.found([lane("a", 5)]);
        drop(look);
        let end = at_end(950_000);
        check(&floors, start + 950 * MS, [end, Floor::NONE, end]);
    }

    #[test]
    fn a_claim_that_was_under_way_does_not_hide_what_was_found() {
        let (floors, start) = (Floors::default(), Instant::now());
        claim(&floors, start, 1, &[]);
        let at = start + 900 * MS;
        let (lanes, begun) = (lanes(), floors.of(&lanes(), at));
        let look = floors.look(at).unwrap();
        look.found([lane("a", 5)]);
        drop(look);
        floors.learn(&lanes, &begun, 1, &HashMap::new(), at);
        let end = at_end(50_000);
        check(&floors, at + 50 * MS, [end, Floor::NONE, end]);
        // The next one read it from its beginning.
        claim(&floors, at + 50 * MS, 1, &[]);
        check(&floors, at + 100 * MS, [end; 3]);
    }

    #[test]
    fn a_lane_that_no_claim_came_to_keeps_what_was_known() {
        let (floors, start) = (Floors::default(), Instant::now());
        claim(&floors, start, 2, &[(2, 2, 80)]);
        claim(&floors, start + 10 * MS, 1, &[(0, 1, 40)]);
        check(
            &floors,
            start + 20 * MS,
            [at_rank(40), at_end(20_000), at_rank(80)],
        );
    }

    #[test]
    fn memory_is_bounded() {
        let (floors, start) = (Floors::default(), Instant::now());
        for n in 0..3_000 {
            let lanes: Vec<Lane> = (0..10).map(|one| lane(&format!("t{n}"), one)).collect();
            let begun = floors.of(&lanes, start);
            floors.learn(&lanes, &begun, 1, &HashMap::new(), start);
        }
        assert!(floors.memory().lanes.len() <= MOST);
    }
}
