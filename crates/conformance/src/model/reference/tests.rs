use super::*;
use crate::fixtures::{handler, json, message, type_name};
use deed_domain::action::{Concurrency, Priority, RetryPolicy, Status};
use deed_domain::id::UserId;
use deed_domain::scope::TypePattern;
use std::time::Duration;
use uuid::Uuid;

const USUAL: &str = "usual";
const LIMITED: &str = "limited";
const NARROW: &str = "narrow";

/// Actions of three types: attempts take up to two hours, leases last one. Those of the second have four altogether. Of
/// the third three are performed at a time, and two of each user.
fn reference() -> Reference {
    let usual = ActionType {
        lease: Duration::from_secs(3_600),
        attempt_timeout: Duration::from_secs(7_200),
        retry: RetryPolicy::default(),
        ..handler(USUAL)
    };
    let limited = ActionType {
        name: type_name(LIMITED),
        time_limit: Some(Duration::from_secs(4 * 3_600)),
        ..usual.clone()
    };
    let narrow = ActionType {
        name: type_name(NARROW),
        concurrency: Concurrency {
            total: Some(3),
            per_user: Some(2),
            per_replica: None,
        },
        ..usual.clone()
    };
    Reference::new(&[usual, limited, narrow])
}

fn id(n: u128) -> ActionId {
    ActionId::from_uuid(Uuid::from_u128(n))
}

fn new(n: u128, action_type: &str) -> NewAction {
    NewAction {
        id: id(n),
        user_id: UserId::from_uuid(Uuid::from_u128(1)),
        api_key_id: None,
        action_type: type_name(action_type),
        priority: Priority::default(),
        max_attempts: 2,
        run_at: None,
        retry_of: None,
        input: json("1"),
        traceparent: None,
        max_queued: None,
    }
}

impl Reference {
    fn submitted(&mut self, new: NewAction) -> ActionId {
        let id = new.id;
        assert_eq!(self.submit(&[(new, None)], None), BatchSubmitted::New);
        id
    }

    /// Action `n`, leased for the `grant`th time.
    fn granted(&mut self, n: u128, grant: u128) -> LeaseRef {
        let lease = LeaseRef {
            action_id: id(n),
            lease_id: LeaseId::from_uuid(Uuid::from_u128(grant)),
        };
        self.grant(lease, None);
        lease
    }

    fn running(&mut self, action_type: &str) -> LeaseRef {
        self.submitted(new(1, action_type));
        self.granted(1, 1)
    }

    fn life(&self, n: u128) -> &Life {
        &self.lives[&id(n)]
    }

    fn status(&self) -> Status {
        self.life(1).state.status()
    }
}

fn silence() -> ActionError {
    ActionError::new("lease_expired", "")
}

#[test]
fn appends_are_told_apart_by_their_position() {
    for (from, count, expected) in [
        (5, 1, Appending::Written),
        (5, 0, Appending::Written),
        (4, 1, Appending::Repeated),
        (1, 2, Appending::Repeated),
        (3, 0, Appending::Repeated),
        (4, 2, Appending::OutOfOrder),
        (6, 1, Appending::OutOfOrder),
        (6, 0, Appending::OutOfOrder),
    ] {
        let mut reference = reference();
        let lease = reference.running(USUAL);
        let first = [message("a"), message("b")];
        reference.append(lease, 3, &first, None, &TypeReach::All);
        let more = vec![message("c"); count];
        let left = json("7");
        let found = reference.append(lease, from, &more, Some(&left), &TypeReach::All);
        assert_eq!(found, expected, "{count} from {from}");
        let is_written = expected == Appending::Written;
        let life = reference.life(1);
        let grown = if is_written { count } else { 0 };
        assert_eq!(life.log.len(), 4 + grown);
        assert_eq!(life.checkpoint.is_some(), is_written);
    }
}

#[test]
fn an_append_renews_what_is_within_reach() {
    let mut reference = reference();
    let lease = reference.running(USUAL);
    reference.pass(30);
    let narrow = TypeReach::Some(vec![TypePattern::Exactly(type_name(LIMITED))]);
    let found = reference.append(lease, 3, &[], None, &narrow);
    assert_eq!(found, Appending::Lost);
    reference.pass(31);
    assert!(reference.life(1).is_late(reference.now()));
    let found = reference.append(lease, 9, &[], None, &TypeReach::All);
    assert_eq!(found, Appending::OutOfOrder);
    assert!(!reference.life(1).is_late(reference.now()));
    // No renewal goes beyond the deadline.
    reference.pass(60);
    assert!(reference.life(1).is_late(reference.now()));
}

#[test]
fn a_requeue_needs_an_attempt_and_time() {
    let check = |action_type, pause, used: u16, expected, status| {
        let mut reference = reference();
        let mut lease = reference.running(action_type);
        for n in 1..used {
            reference.requeue(lease, 0, RetryReason::Failed, None);
            lease = reference.granted(1, 1 + u128::from(n));
        }
        let found = reference.requeue(lease, pause, RetryReason::Failed, None);
        assert_eq!((found, reference.status()), (expected, status));
    };
    let must_finish = Requeued::MustFinish {
        cancel_requested: false,
    };
    check(USUAL, 0, 1, Requeued::Requeued, Status::Queued);
    check(USUAL, HOUR, 1, Requeued::Requeued, Status::Scheduled);
    check(USUAL, 0, 2, must_finish, Status::Running);
    check(LIMITED, 3 * HOUR, 1, Requeued::Requeued, Status::Scheduled);
    check(LIMITED, 4 * HOUR, 1, must_finish, Status::Running);
}

#[test]
fn who_asked_to_cancel_gets_that_at_the_end_of_an_attempt() {
    let mut reference = reference();
    let lease = reference.running(USUAL);
    let verdict = reference.cancel(lease.action_id, &Reach::EVERYTHING);
    assert_eq!(verdict, CancelVerdict::Asked);
    let found = reference.requeue(lease, 0, RetryReason::Failed, None);
    let expected = Requeued::MustFinish {
        cancel_requested: true,
    };
    assert_eq!(found, expected);
    assert_eq!(reference.release(lease), Released::Released);
    assert_eq!(reference.status(), Status::Cancelled);
    // It was the holder who ended it.
    let again = reference.finish(lease, None, &[], &Outcome::Cancelled);
    assert_eq!(again, Finished::Repeated);
    assert!(reference.has_ended(lease, &TypeReach::All));
    assert!(!reference.has_ended(lease, &TypeReach::Some(vec![])));
}

#[test]
fn a_release_gives_the_attempt_back() {
    let mut reference = reference();
    let first = reference.running(USUAL);
    assert_eq!(reference.release(first), Released::Released);
    assert_eq!(
        (reference.status(), reference.life(1).attempt),
        (Status::Queued, 0)
    );
    assert_eq!(reference.release(first), Released::Lost);
    reference.granted(1, 2);
    let expected = [
        NewEvent::created(id(1)),
        NewEvent::started(1),
        NewEvent::retry(RetryReason::Released, None),
        NewEvent::started(1),
    ];
    assert_eq!(reference.life(1).log, expected);
    assert_eq!(
        reference.finish(first, None, &[], &Outcome::Cancelled),
        Finished::Lost
    );
}

#[test]
fn the_worst_reason_is_why_an_action_is_taken_away() {
    let check = |action_type, time, renew: bool, status, last: NewEvent| {
        let mut reference = reference();
        let lease = reference.running(action_type);
        reference.pass(time);
        if renew {
            reference.renew(lease, &TypeReach::All).unwrap();
        }
        assert!(reference.life(1).is_late(reference.now()));
        reference.rescue(lease.action_id, silence());
        assert_eq!(reference.status(), status);
        assert_eq!(reference.life(1).log.last(), Some(&last));
    };
    let retry = |reason| NewEvent::retry(reason, None);
    let (silent, slow) = (RetryReason::LeaseExpired, RetryReason::AttemptTimeout);
    check(USUAL, 61, false, Status::Queued, retry(silent));
    check(USUAL, 121, false, Status::Queued, retry(silent));
    check(USUAL, 121, true, Status::Scheduled, retry(slow));
    let out_of_time = NewEvent::done(&Outcome::Failed(ActionError::time_limit()));
    for renew in [false, true] {
        check(LIMITED, 241, renew, Status::Failed, out_of_time.clone());
    }
}

#[test]
fn the_last_attempt_that_is_taken_away_is_the_end() {
    let mut reference = reference();
    reference.submitted(NewAction {
        max_attempts: 1,
        ..new(1, USUAL)
    });
    reference.granted(1, 1);
    reference.pass(61);
    assert_eq!(reference.rescue(id(1), silence()), RescueVerdict::Failed);
    let expected = NewEvent::done(&Outcome::Failed(silence()));
    assert_eq!(reference.life(1).log.last(), Some(&expected));
}

#[test]
fn an_end_is_the_holders_and_in_its_place() {
    let mut reference = reference();
    let lease = reference.running(USUAL);
    let other = LeaseRef {
        lease_id: LeaseId::from_uuid(Uuid::from_u128(9)),
        ..lease
    };
    let mut finish =
        |lease, from| reference.finish(lease, from, &[message("a")], &Outcome::Cancelled);
    assert_eq!(finish(other, None), Finished::Lost);
    assert_eq!(finish(lease, Some(4)), Finished::Lost);
    assert_eq!(
        finish(lease, Some(3)),
        Finished::Finished(crate::fixtures::seq(4))
    );
    assert_eq!(finish(lease, Some(9)), Finished::Repeated);
    assert_eq!(finish(other, None), Finished::Lost);
    assert_eq!(reference.life(1).log.len(), 4);
}

#[test]
fn a_claim_takes_those_ahead() {
    let mut reference = reference();
    let priority = |n, priority| NewAction {
        priority: Priority::new(priority).unwrap(),
        ..new(n, USUAL)
    };
    let of_another = NewAction {
        user_id: UserId::from_uuid(Uuid::from_u128(2)),
        ..new(4, USUAL)
    };
    for new in [priority(1, 5), priority(2, 5), priority(3, 0), of_another] {
        reference.submitted(new);
    }
    reference.submitted(new(5, LIMITED));
    reference.submit(&[(new(6, USUAL), Some(HOUR))], None);
    let check = |max, taken: &[u128], may_be: bool| {
        let taken: Vec<ActionId> = taken.iter().map(|n| id(*n)).collect();
        let found = reference.check_claim(&[type_name(USUAL)], max, &taken);
        assert_eq!(found.is_ok(), may_be, "{taken:?}: {found:?}");
    };
    check(1, &[3], true);
    check(1, &[1], false);
    check(2, &[3, 1], true);
    check(2, &[3, 4], true);
    check(2, &[3, 2], false);
    check(2, &[3], false);
    check(2, &[3, 3], false);
    check(1, &[3, 1], false);
    check(9, &[4, 3, 2, 1], true);
    check(9, &[4, 3, 2, 1, 5], false);
    check(9, &[4, 3, 2, 6], false);
    check(0, &[], true);
}

#[test]
fn a_claim_stays_within_the_limits() {
    let of = |n, user| NewAction {
        user_id: UserId::from_uuid(Uuid::from_u128(user)),
        ..new(n, NARROW)
    };
    let mut reference = reference();
    for (n, user) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)] {
        reference.submitted(of(n, user));
    }
    let check = |reference: &Reference, max, taken: &[u128], may_be: bool| {
        let taken: Vec<ActionId> = taken.iter().map(|n| id(*n)).collect();
        let found = reference.check_claim(&[type_name(NARROW)], max, &taken);
        assert_eq!(found.is_ok(), may_be, "{taken:?}: {found:?}");
    };
    check(&reference, 9, &[1, 2, 4], true);
    check(&reference, 9, &[4, 5, 6], true);
    check(&reference, 9, &[1, 2, 3], false);
    check(&reference, 9, &[1, 2], false);
    check(&reference, 9, &[1, 2, 4, 5], false);
    check(&reference, 1, &[6], true);
    reference.granted(1, 1);
    check(&reference, 9, &[2, 4], true);
    check(&reference, 9, &[2, 3], false);
    let second = reference.granted(4, 2);
    check(&reference, 9, &[2], true);
    reference.granted(6, 3);
    check(&reference, 9, &[], true);
    check(&reference, 9, &[2], false);
    reference.release(second);
    check(&reference, 9, &[4], true);
}

#[test]
fn what_is_out_of_time_is_not_claimed() {
    let mut reference = reference();
    reference.submitted(new(1, LIMITED));
    let types = [type_name(LIMITED)];
    assert!(reference.check_claim(&types, 1, &[id(1)]).is_ok());
    reference.pass(241);
    assert!(reference.check_claim(&types, 1, &[]).is_ok());
    assert!(reference.check_claim(&types, 1, &[id(1)]).is_err());
    reference.give_up(id(1));
    assert_eq!(reference.status(), Status::Failed);
}

#[test]
fn a_limit_counts_from_when_an_action_could_begin() {
    let mut reference = reference();
    let asked = [
        (new(1, LIMITED), None),
        (new(2, LIMITED), Some(HOUR)),
        (new(3, LIMITED), Some(-HOUR)),
        (new(4, USUAL), None),
    ];
    reference.pass(7);
    reference.submit(&asked, None);
    let limits = [1, 2, 3, 4].map(|n| reference.life(n).give_up_at);
    assert_eq!(limits, [Some(247), Some(300), Some(247), None]);
    assert_eq!(reference.next_due_in(), Some(53));
}

#[test]
fn a_key_goes_before_everything_else() {
    let mut reference = reference();
    let unknown = [(new(1, USUAL), None), (new(2, "unknown"), None)];
    let known = [(new(3, USUAL), None), (new(4, USUAL), None)];
    let nothing = BatchSubmitted::UnknownTypes(vec![1]);
    assert_eq!(reference.submit(&unknown, Some((0, 0))), nothing);
    assert!(reference.lives.is_empty());
    assert_eq!(reference.submit(&known, Some((0, 0))), BatchSubmitted::New);
    let replay = BatchSubmitted::Replayed(vec![id(3), id(4)]);
    assert_eq!(reference.submit(&unknown, Some((0, 0))), replay);
    let reused = BatchSubmitted::KeyReused;
    assert_eq!(reference.submit(&known, Some((0, 1))), reused);
    assert_eq!(reference.submit(&unknown, Some((1, 0))), nothing);
}
