//! Suite of [`Erasure`](deed_domain::ports::Erasure): what deleted users leave behind.

use chrono::TimeDelta;
use deed_domain::action::{LeaseRef, NewAction, Outcome, Sequence};
use deed_domain::caller::Reach;
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::{
    Appended, Belongings, Erased, Finish, Finished, HeartbeatVerdict, Submitted,
};
use futures_util::future::join_all;

use crate::api_keys::issue;
use crate::fixtures::{LONG, by_somebody, idempotency, json, message, seq};
use crate::{Hearing, Ports, Store};

/// Keys and actions are counted, for each user apart.
pub async fn belongings_are_counted(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.ready().await;
    let bea = ports.user("bea@example.com").await.id;
    for _ in 0..3 {
        ports.submitted(ada).await;
    }
    issue(&ports, ada, &["actions:read"]).await;
    let check = async |user, api_keys, actions| {
        let expected = Belongings { api_keys, actions };
        assert_eq!(ports.erasure.belongings(user).await.unwrap(), expected);
    };
    check(ada, 1, 3).await;
    check(bea, 0, 0).await;
    delete(&ports, ada).await;
    check(ada, 0, 3).await;
}

/// Erasing does nothing to somebody who isn't deleted.
pub async fn who_is_not_deleted_loses_nothing(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.ready().await;
    let action = ports.submitted(ada).await;
    let nothing = Erased {
        actions: 0,
        is_over: true,
    };
    assert_eq!(ports.erasure.erase(ada).await.unwrap(), nothing);
    assert_eq!(ports.erasure.pending(None, 10).await.unwrap(), []);
    assert_eq!(ports.log(action).await.len(), 1);
}

/// Actions in every state go, with their logs and idempotency keys; those of others stay.
pub async fn what_a_deleted_user_left_behind_is_removed(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.ready().await;
    let bea = ports.user("bea@example.com").await.id;
    let running = ports.running(ada).await.lease.id.action_id;
    let finished = finished(&ports, ada).await;
    let of_bea = self::finished(&ports, bea).await;
    let queued = ports.submitted(ada).await;
    let scheduled = ports
        .submit(NewAction {
            run_at: Some(ports.clock.now() + TimeDelta::days(1)),
            ..ports.new_action(ada, "echo")
        })
        .await;
    let keyed = ports.new_action(ada, "echo");
    let with_key = async |action| {
        let key = Some(idempotency("k", 1));
        ports.submissions.submit(action, key).await.unwrap()
    };
    assert_eq!(with_key(keyed.clone()).await, Submitted::New);
    let log_of_bea = ports.log(of_bea).await;

    delete(&ports, ada).await;
    assert_eq!(ports.erasure.pending(None, 10).await.unwrap(), [ada]);
    assert_eq!(erase(&ports, ada).await, 5);
    for gone in [finished, running, queued, scheduled, keyed.id] {
        assert!(is_gone(&ports, gone).await);
    }
    assert_eq!(ports.claim(10, LONG).await, []);
    assert_eq!(ports.log(of_bea).await, log_of_bea);
    // The key stands for nothing any more.
    assert_eq!(
        with_key(ports.new_action(bea, "echo")).await,
        Submitted::New
    );
}

/// Whoever performs an action of a deleted user finds the lease lost, and writes nothing more.
pub async fn a_running_action_of_a_deleted_user_is_lost(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.ready().await;
    let lease = ports.running(ada).await.lease.id;
    assert_eq!(
        ports.append(lease, 3, vec![message("a")]).await,
        Appended::Written {
            next_seq: seq(4),
            cancel_requested: false,
        }
    );
    delete(&ports, ada).await;
    erase(&ports, ada).await;
    assert_eq!(
        ports.append(lease, 4, vec![message("b")]).await,
        Appended::Lost
    );
    let beats = ports.beat(&[lease]).await;
    assert_eq!(beats, [HeartbeatVerdict::Lost]);
    assert_eq!(finish(&ports, lease).await, Finished::Lost);
    assert!(is_gone(&ports, lease.action_id).await);
}

/// At every moment an action is there whole or not at all.
pub async fn nobody_reads_a_part_of_an_action(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.ready().await;
    let mut actions = Vec::new();
    for _ in 0..5 {
        actions.push(finished(&ports, ada).await);
    }
    actions.push(ports.submitted(ada).await);
    delete(&ports, ada).await;
    loop {
        for action in &actions {
            let found = ports.action_reader.find(*action, &Reach::EVERYTHING);
            if found.await.unwrap().is_some() {
                // It fails where the log is not dense, or its end does not fit the state.
                ports.log(*action).await;
            } else {
                assert!(is_gone(&ports, *action).await);
            }
        }
        if ports.erasure.erase(ada).await.unwrap().is_over {
            return;
        }
    }
}

/// What a request brings that was under way when its user was deleted goes as well.
pub async fn late_arrivals_are_removed_too(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.ready().await;
    delete(&ports, ada).await;
    assert_eq!(erase(&ports, ada).await, 0);
    let late = ports.submitted(ada).await;
    assert_eq!(ports.erasure.pending(None, 10).await.unwrap(), [ada]);
    assert_eq!(erase(&ports, ada).await, 1);
    assert!(is_gone(&ports, late).await);
}

/// Several may erase at once: each action is removed once, and everybody comes to the end.
pub async fn erasers_do_not_meet(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.ready().await;
    let mut actions = Vec::new();
    for _ in 0..300 {
        actions.push(ports.submitted(ada).await);
    }
    delete(&ports, ada).await;
    let gone = join_all((0..4).map(|_| erase(&ports, ada))).await;
    assert_eq!(gone.iter().sum::<u64>(), 300, "{gone:?}");
    for action in actions {
        assert!(is_gone(&ports, action).await);
    }
}

async fn delete(ports: &Ports, user: UserId) {
    assert!(ports.users.delete(user, &by_somebody()).await.unwrap());
}

/// Erases to the end, and answers how many actions that removed.
async fn erase(ports: &Ports, user: UserId) -> u64 {
    let erasing = async {
        let mut gone = 0;
        loop {
            let step = ports.erasure.erase(user).await.unwrap();
            gone += step.actions;
            if step.is_over {
                return gone;
            }
        }
    };
    ports.soon("nothing left", erasing).await
}

async fn is_gone(ports: &Ports, action: ActionId) -> bool {
    let reach = Reach::EVERYTHING;
    let found = ports.action_reader.find(action, &reach).await.unwrap();
    let log = ports
        .event_log
        .read(action, &reach, Sequence::START, 10)
        .await
        .unwrap();
    found.is_none() && log.is_none()
}

/// An action that has said something and succeeded.
async fn finished(ports: &Ports, user: UserId) -> ActionId {
    let lease = ports.running(user).await.lease.id;
    ports.append(lease, 3, vec![message("a")]).await;
    assert_eq!(finish(ports, lease).await, Finished::Finished(seq(4)));
    lease.action_id
}

async fn finish(ports: &Ports, lease: LeaseRef) -> Finished {
    let finish = Finish {
        lease,
        from_seq: None,
        events: vec![],
        outcome: Outcome::Succeeded(json("{}")),
    };
    ports.leases.finish(&[finish]).await.unwrap()[0]
}
