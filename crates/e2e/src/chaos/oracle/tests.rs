//! Hand-made histories: one without fault, and one for each way of breaking a promise.

use serde_json::json;

use super::*;
use crate::chaos::history::{Closed, Told, Way};
use crate::chaos::work;

const ID: &str = "a1";
const BY: &str = "w0.1.0.1";
const BOUNDS: Bounds = Bounds {
    delivery: Duration::from_secs(4),
    drain: Duration::from_secs(30),
};

/// Seconds since a beginning.
fn at(seconds: i64) -> Moment {
    Moment(seconds * 1_000_000)
}

/// An action that was performed in two attempts, by a worker that was killed and one that was not; its n-th event is
/// written at second n.
struct World {
    stored: Stored,
    history: Vec<Entry>,
}

impl World {
    fn new() -> Self {
        let chunk = |by: &str, attempt: u64, n: u64| json!({"by": by, "attempt": attempt, "n": n});
        let log = [
            ("created", json!({"action_id": ID})),
            ("started", json!({"attempt": 1})),
            ("message", chunk("w1.1.0.1", 1, 0)),
            ("retry", json!({"reason": "lease_expired"})),
            ("started", json!({"attempt": 2})),
            ("message", chunk(BY, 2, 0)),
            ("progress", json!({"percent": 5, "note": BY})),
            ("message", chunk(BY, 2, 1)),
            ("done", json!({"status": "succeeded", "output": {"by": BY}})),
        ];
        let log = (1..).zip(log).map(|(seq, (event, data))| StoredEvent {
            seq,
            event: event.to_owned(),
            data,
            at: at(i64::try_from(seq).unwrap()),
        });
        let action = StoredAction {
            action_type: work::TYPE.to_owned(),
            input: json!({"tag": "t"}),
            places: 1,
            result: Some(StoredResult {
                status: "succeeded".to_owned(),
                output: json!({"by": BY}),
                error: Value::Null,
                last_seq: 9,
            }),
            log: log.collect(),
        };
        let mut world = Self {
            stored: Stored {
                actions: BTreeMap::from([(ID.to_owned(), action)]),
                keys: BTreeMap::from([("k".to_owned(), ID.to_owned())]),
            },
            history: Vec::new(),
        };
        world.tell(1, acknowledged(ID));
        world.tell(5, granted(2));
        world.tell(
            6,
            reported(6, json!({"by": BY, "attempt": 2, "n": 0}), Told::Written),
        );
        world.tell(9, finished(Way::Complete, Told::Written));
        world.follow(1, 0, 1..=9);
        world
    }

    fn tell(&mut self, second: i64, record: Record) {
        self.history.push(Entry {
            at: at(second),
            record,
        });
    }

    fn action(&mut self) -> &mut StoredAction {
        self.stored.actions.get_mut(ID).unwrap()
    }

    /// Somebody opens a stream at once and sees these positions as they are written.
    fn follow(&mut self, stream: u64, after: u64, seen: impl IntoIterator<Item = u64>) {
        self.tell(0, opened(stream, after));
        let mut last = at(0);
        for seq in seen {
            let log = &self.stored.actions[ID].log;
            let event = log.iter().find(|event| event.seq == seq).unwrap().clone();
            last = event.at;
            self.history.push(Entry {
                at: event.at,
                record: Record::Seen {
                    stream,
                    seq,
                    event: event.event,
                    data: event.data,
                },
            });
        }
        self.history.push(Entry {
            at: last,
            record: closed(stream, Closed::Ended),
        });
    }

    fn found(&self) -> Vec<Kind> {
        let found = judge(&self.history, &self.stored, &BOUNDS);
        let mut kinds: Vec<Kind> = found.iter().map(|violation| violation.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// Breaks one thing and checks what is found.
    #[track_caller]
    fn check(break_it: impl FnOnce(&mut Self), expected: &[Kind]) {
        let mut world = Self::new();
        break_it(&mut world);
        assert_eq!(world.found(), expected);
    }
}

fn acknowledged(action: &str) -> Record {
    Record::Acknowledged {
        action: action.to_owned(),
        tag: "t".to_owned(),
        key: Some("k".to_owned()),
        run_at: None,
        status: Some("queued".to_owned()),
    }
}

fn granted(attempt: u64) -> Record {
    Record::Granted {
        by: BY.to_owned(),
        action: ID.to_owned(),
        attempt,
    }
}

fn reported(from_seq: u64, value: Value, told: Told) -> Record {
    Record::Reported {
        by: BY.to_owned(),
        action: ID.to_owned(),
        from_seq,
        values: vec![value],
        tries: 1,
        told,
    }
}

fn finished(way: Way, told: Told) -> Record {
    Record::Finished {
        by: BY.to_owned(),
        action: ID.to_owned(),
        attempt: 2,
        way,
        tries: 1,
        told,
    }
}

fn renewed(told: Told) -> Record {
    Record::Renewed {
        by: BY.to_owned(),
        action: ID.to_owned(),
        told,
    }
}

fn opened(stream: u64, after: u64) -> Record {
    Record::Opened {
        stream,
        subscriber: "s".to_owned(),
        action: ID.to_owned(),
        after,
        replica: 0,
    }
}

fn closed(stream: u64, how: Closed) -> Record {
    Record::StreamClosed { stream, how }
}

fn struck(victim: &str, blow: Blow) -> Record {
    let victim = victim.to_owned();
    Record::Struck { victim, blow }
}

fn recovered(victim: &str, blow: Blow) -> Record {
    let victim = victim.to_owned();
    Record::Recovered { victim, blow }
}

#[test]
fn what_keeps_every_promise_is_not_complained_of() {
    World::check(|_| {}, &[]);
}

#[test]
fn an_acknowledged_action_that_is_not_there() {
    World::check(
        |world| world.tell(2, acknowledged("a2")),
        &[Kind::Lost, Kind::StoredTwice],
    );
    World::check(
        |world| {
            world
                .history
                .retain(|entry| matches!(entry.record, Record::Acknowledged { .. }));
            world.stored.actions.clear();
        },
        &[Kind::Lost],
    );
}

#[test]
fn an_action_that_is_not_over_or_at_two_places() {
    World::check(|world| world.action().places = 2, &[Kind::NotOver]);
    World::check(
        |world| {
            world.action().log.pop();
            world.action().result = None;
            world.history.truncate(1);
        },
        &[Kind::NotOver, Kind::BrokenLog],
    );
}

#[test]
fn a_request_that_is_stored_twice() {
    World::check(
        |world| {
            let mut twin = world.action().clone();
            twin.log[0].data = json!({"action_id": "a2"});
            world.stored.actions.insert("a2".to_owned(), twin);
        },
        &[Kind::StoredTwice],
    );
    World::check(
        |world| drop(world.stored.keys.insert("k".to_owned(), "a2".to_owned())),
        &[Kind::StoredTwice],
    );
}

/// Checks logs that are broken, with nobody who has seen them.
#[track_caller]
fn check_log(break_it: impl FnOnce(&mut Vec<StoredEvent>), expected: &[Kind]) {
    World::check(
        |world| {
            world.history.truncate(1);
            break_it(&mut world.action().log);
        },
        expected,
    );
}

#[test]
fn a_log_with_a_gap_a_duplicate_or_another_order() {
    check_log(|log| drop(log.remove(6)), &[Kind::BrokenLog]);
    check_log(|log| log.insert(6, log[6].clone()), &[Kind::BrokenLog]);
    check_log(|log| log.swap(5, 6), &[Kind::BrokenLog]);
    check_log(
        |log| log[0].event = "started".to_owned(),
        &[Kind::BrokenLog],
    );
}

#[test]
fn a_log_whose_attempts_do_not_count_up() {
    check_log(
        |log| {
            log[4].data = json!({"attempt": 3});
            for place in [5, 7] {
                log[place].data["attempt"] = json!(3);
            }
        },
        &[Kind::BrokenLog],
    );
    // What was given back has used no attempt.
    check_log(
        |log| {
            log[3].data = json!({"reason": "released"});
            log[4].data = json!({"attempt": 1});
            for place in [5, 7] {
                log[place].data["attempt"] = json!(1);
            }
        },
        &[],
    );
}

#[test]
fn a_log_that_goes_on_after_its_end() {
    check_log(
        |log| {
            let mut late = log[7].clone();
            late.seq = 10;
            log.push(late);
        },
        &[Kind::BrokenLog, Kind::WrongResult],
    );
}

#[test]
fn a_message_between_two_attempts() {
    check_log(
        |log| log[4].event = "message".to_owned(),
        &[Kind::BrokenLog, Kind::WrongResult],
    );
}

#[test]
fn a_result_that_the_log_or_the_performance_contradicts() {
    World::check(
        |world| world.action().result.as_mut().unwrap().status = "failed".to_owned(),
        &[Kind::WrongResult, Kind::WriteLost],
    );
    World::check(
        |world| {
            let output = json!({"by": "w1.1.0.1"});
            world.history.truncate(1);
            world.action().result.as_mut().unwrap().output = output.clone();
            world.action().log[8].data["output"] = output;
        },
        &[Kind::WrongResult],
    );
}

#[test]
fn a_chunk_of_another_holder_or_of_another_attempt() {
    check_log(
        |log| log[7].data["by"] = json!("w1.1.0.1"),
        &[Kind::ForeignWrite],
    );
    check_log(
        |log| log[7].data["attempt"] = json!(1),
        &[Kind::ForeignWrite],
    );
    check_log(
        |log| log[6].data["note"] = json!("w1.1.0.1"),
        &[Kind::ForeignWrite],
    );
    check_log(|log| log[7].data["n"] = json!(0), &[Kind::ForeignWrite]);
}

/// Checks the words of an echo, which was asked to say `a b` and has succeeded.
#[track_caller]
fn check_echo(words: &[&str], expected: &[Kind]) {
    World::check(
        |world| {
            world.history.clear();
            let input = json!({"tag": "t", "text": "a b"});
            let action = world.action();
            action.action_type = "echo".to_owned();
            action.log.truncate(2);
            let said = words.iter().map(|word| ("message", json!({"text": word})));
            let done = json!({"status": "succeeded", "output": input});
            for (event, data) in said.chain([("done", done)]) {
                let seq = u64::try_from(action.log.len()).unwrap() + 1;
                action.log.push(StoredEvent {
                    seq,
                    event: event.to_owned(),
                    data,
                    at: at(1),
                });
            }
            action.result = Some(StoredResult {
                status: "succeeded".to_owned(),
                output: input.clone(),
                error: Value::Null,
                last_seq: u64::try_from(action.log.len()).unwrap(),
            });
            action.input = input;
        },
        expected,
    );
}

#[test]
fn an_echo_that_says_a_word_twice_or_not_at_all() {
    check_echo(&["a", "b"], &[]);
    check_echo(&["a"], &[Kind::WrongResult]);
    check_echo(&["a", "a"], &[Kind::ForeignWrite]);
    check_echo(&["a", "b", "b"], &[Kind::WrongResult, Kind::ForeignWrite]);
}

#[test]
fn a_write_that_a_worker_was_told_of_and_that_is_not_there() {
    let value = json!({"by": BY, "attempt": 2, "n": 7});
    World::check(
        |world| world.tell(7, reported(7, value, Told::Written)),
        &[Kind::WriteLost],
    );
    World::check(
        |world| world.tell(7, finished(Way::Fail, Told::Written)),
        &[Kind::WriteLost],
    );
    World::check(|world| world.tell(7, granted(3)), &[Kind::WriteLost]);
}

#[test]
fn a_write_that_was_refused_and_is_there() {
    let value = json!({"by": BY, "attempt": 2, "n": 1});
    World::check(
        |world| world.tell(9, reported(8, value.clone(), Told::Lost)),
        &[Kind::LateWrite],
    );
    World::check(
        |world| world.tell(9, finished(Way::Complete, Told::Lost)),
        &[Kind::LateWrite],
    );
    // An earlier try without an answer may have written it.
    let mut again = reported(8, value, Told::Lost);
    if let Record::Reported { tries, .. } = &mut again {
        *tries = 2;
    }
    World::check(|world| world.tell(9, again), &[]);
}

#[test]
fn a_lost_lease_that_is_obeyed() {
    World::check(
        |world| {
            world.tell(9, renewed(Told::Lost));
            world.tell(9, renewed(Told::Written));
        },
        &[Kind::LateWrite],
    );
}

#[test]
fn a_holder_that_is_told_of_a_conflict() {
    let value = json!({"by": BY, "attempt": 2, "n": 7});
    World::check(
        |world| world.tell(7, reported(7, value, Told::Conflict)),
        &[Kind::FalseConflict],
    );
}

#[test]
fn a_client_that_was_told_of_another_end() {
    let cancelled = Record::CancelAnswered {
        action: ID.to_owned(),
        status: "cancelled".to_owned(),
    };
    World::check(|world| world.tell(3, cancelled), &[Kind::ToldOtherwise]);
    let running = Record::CancelAnswered {
        action: ID.to_owned(),
        status: "running".to_owned(),
    };
    World::check(|world| world.tell(3, running), &[]);
}

#[test]
fn an_action_that_started_before_its_time() {
    let scheduled = |second| {
        let mut record = acknowledged(ID);
        if let Record::Acknowledged { run_at, .. } = &mut record {
            *run_at = Some(at(second));
        }
        record
    };
    World::check(|world| world.tell(1, scheduled(2)), &[]);
    World::check(|world| world.tell(1, scheduled(3)), &[Kind::TooEarly]);
}

#[test]
fn a_subscriber_that_sees_a_gap_a_duplicate_or_another_order() {
    for seen in [
        vec![1, 2, 4],
        vec![1, 2, 2],
        vec![2, 1],
        vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 9],
    ] {
        World::check(|world| world.follow(2, 0, seen), &[Kind::SeenOtherwise]);
    }
    World::check(|world| world.follow(2, 6, [7, 8, 9]), &[]);
    World::check(|world| world.follow(2, 6, [8, 9]), &[Kind::SeenOtherwise]);
}

#[test]
fn a_subscriber_that_sees_what_is_not_stored() {
    World::check(
        |world| {
            world.follow(2, 0, [1, 2, 3]);
            let place = world.history.len() - 2;
            if let Record::Seen { data, .. } = &mut world.history[place].record {
                *data = json!({"by": "somebody else"});
            }
        },
        &[Kind::SeenOtherwise],
    );
    World::check(
        |world| {
            world.tell(9, opened(2, 8));
            world.tell(9, closed(2, Closed::AtEnd));
        },
        &[Kind::SeenOtherwise],
    );
}

#[test]
fn a_subscriber_that_is_not_told_of_the_end() {
    let hears_nothing_until = |second| {
        move |world: &mut World| {
            world.tell(0, opened(2, 8));
            world.tell(second, closed(2, Closed::Left));
        }
    };
    World::check(hears_nothing_until(13), &[]);
    World::check(hears_nothing_until(14), &[Kind::NotTold]);
    // A frozen server can't tell.
    let while_frozen = |name: &'static str| {
        move |world: &mut World| {
            world.tell(9, struck(name, Blow::Stop));
            world.tell(15, recovered(name, Blow::Stop));
            hears_nothing_until(19)(world);
        }
    };
    World::check(while_frozen("replica 0"), &[]);
    World::check(while_frozen("replica 1"), &[Kind::NotTold]);
}

#[test]
fn a_server_that_does_not_stop_when_it_is_asked() {
    let stops = |second, code| {
        move |world: &mut World| {
            world.tell(10, struck("replica 1", Blow::Term));
            let victim = "replica 1".to_owned();
            world.tell(second, Record::Drained { victim, code });
        }
    };
    World::check(stops(40, Some(0)), &[]);
    World::check(stops(41, Some(0)), &[Kind::NotDrained]);
    World::check(stops(12, Some(1)), &[Kind::NotDrained]);
    World::check(stops(12, None), &[Kind::NotDrained]);
}

#[test]
fn an_answer_that_nobody_may_get_and_a_process_that_dies_by_itself() {
    let unexpected = Record::Unexpected {
        request: "POST /actions".to_owned(),
        status: 500,
        body: String::new(),
    };
    World::check(|world| world.tell(1, unexpected), &[Kind::UnexpectedAnswer]);
    let died = Record::Died {
        victim: "replica 0".to_owned(),
        how: "it panicked".to_owned(),
    };
    World::check(|world| world.tell(1, died), &[Kind::Died]);
}
