//! From which rank a claim reads a lane.
//!
//! Index entries of claimed actions stay at the head of a lane until no snapshot needs them, which a transaction held
//! open can put off for minutes. A claim that begins behind them does not read them. What appears below its floor (a
//! commit that came late, an action that somebody put to the head) is found by the claim that reads everything, once a
//! second. Types with limits have no floors: what is let in may have waited for hours, and each would take that second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Lane;

/// How long a lane may go without being read from its beginning: a little less than the second between two claims
/// that nothing wakes.
const WHOLE: Duration = Duration::from_millis(900);
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

#[derive(Debug, Clone, Copy)]
struct Known {
    reached: Reached,
    /// When it was last read from its beginning.
    whole_at: Instant,
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
pub(crate) struct Floors(Mutex<HashMap<Lane, Known>>);

impl Floors {
    /// Where a claim that is sent at `now` begins to read each of the lanes.
    pub(crate) fn of(&self, lanes: &[Lane], now: Instant) -> Vec<Floor> {
        let known = self.known();
        lanes
            .iter()
            .map(|lane| match known.get(lane) {
                Some(known) if now.duration_since(known.whole_at) < WHOLE => match known.reached {
                    Reached::Rank(rank) => Floor {
                        reached: rank,
                        idle_us: 0,
                    },
                    Reached::End(at) => Floor {
                        reached: i64::MAX,
                        idle_us: microseconds(now.duration_since(at)),
                    },
                },
                _ => Floor::NONE,
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
        let mut known = self.known();
        if known.len().saturating_add(lanes.len()) > MOST {
            known.clear();
        }
        for (place, (lane, floor)) in lanes.iter().zip(floors).enumerate() {
            let reached = match (stopped, claimed.get(lane)) {
                (Some(stopped), _) if place > stopped => return,
                (Some(stopped), Some((_, rank))) if place == stopped => Reached::Rank(*rank),
                _ => Reached::End(at),
            };
            let whole_at = match known.get(lane) {
                Some(before) if *floor != Floor::NONE => before.whole_at,
                _ => at,
            };
            known.insert(lane.clone(), Known { reached, whole_at });
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Lane, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn once_a_second_everything_is_read() {
        let (floors, start) = (Floors::default(), Instant::now());
        for n in 0..9 {
            claim(&floors, start + 100 * MS * n, 1, &[]);
        }
        // That every claim came to the end of the lanes does not put it off.
        check(&floors, start + 900 * MS, [Floor::NONE; 3]);
        claim(&floors, start + 900 * MS, 1, &[]);
        check(&floors, start + 950 * MS, [at_end(50_000); 3]);
    }

    #[test]
    fn an_old_rank_that_was_found_brings_the_floor_down_again() {
        let (floors, start) = (Floors::default(), Instant::now());
        claim(&floors, start, 1, &[(0, 1, 9_000)]);
        check(
            &floors,
            start + MS,
            [at_rank(9_000), Floor::NONE, Floor::NONE],
        );
        claim(&floors, start + 900 * MS, 1, &[(0, 1, 10)]);
        check(
            &floors,
            start + 901 * MS,
            [at_rank(10), Floor::NONE, Floor::NONE],
        );
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
        assert!(floors.known().len() <= MOST);
    }
}
