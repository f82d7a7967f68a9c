//! Suite of [`Submissions`](deed_domain::ports::Submissions).

use chrono::{SubsecRound as _, TimeDelta};
use deed_domain::action::{
    Action, ActionOverview, ActionType, NewAction, NewEvent, Outcome, PerformedBy, Priority, Status,
};
use deed_domain::caller::Reach;
use deed_domain::id::ActionId;
use deed_domain::ports::{BatchSubmitted, CancelVerdict, Submitted};
use deed_domain::scope::{TypePattern, TypeReach};
use futures_util::future::join_all;

use crate::fixtures::{LONG, idempotency, json, owned_by, traced, type_name};
use crate::{Hearing, Store};

/// An accepted action is queued, with everything that it was asked with, and its log begins.
pub async fn an_accepted_action_is_queued_as_it_was_asked_for(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let new = NewAction {
        priority: Priority::new(2).unwrap(),
        max_attempts: 7,
        retry_of: Some(ActionId::from_uuid(ports.ids.time_ordered())),
        traceparent: Some(traced()),
        input: json("{\"b\" : 1.0,\"a\":\"\\u0000\\ud83d\\ude00é\",\"n\":1e400}"),
        ..ports.new_action(user, "report.render")
    };
    ports.submit(new.clone()).await;
    let action = ports.action(new.id).await;
    let expected = Action {
        overview: ActionOverview {
            id: new.id,
            user_id: user,
            api_key_id: new.api_key_id,
            action_type: new.action_type,
            status: Status::Queued,
            error: None,
            attempt: 0,
            max_attempts: 7,
            priority: new.priority,
            retry_of: new.retry_of,
            run_at: None,
            created_at: action.overview.created_at,
            started_at: None,
            finished_at: None,
        },
        input: new.input,
        output: None,
        traceparent: new.traceparent,
    };
    assert_eq!(action, expected);
    assert_eq!(ports.log(new.id).await, [NewEvent::created(new.id)]);
}

/// The root key's actions carry no key.
pub async fn an_action_of_the_root_key_has_no_key(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let id = ports
        .submit(NewAction {
            api_key_id: None,
            ..ports.new_action(user, "echo")
        })
        .await;
    assert_eq!(ports.action(id).await.overview.api_key_id, None);
}

/// An action whose time is to come is scheduled; one whose time has been is queued.
pub async fn an_action_of_the_future_is_scheduled(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    for (hours, status) in [(1, Status::Scheduled), (-1, Status::Queued)] {
        let run_at = Some((ports.clock.now() + TimeDelta::hours(hours)).trunc_subsecs(6));
        let id = ports
            .submit(NewAction {
                run_at,
                ..ports.new_action(user, "echo")
            })
            .await;
        let overview = ports.action(id).await.overview;
        assert_eq!((overview.status, overview.run_at), (status, run_at));
    }
    assert_eq!(ports.claim(10, LONG).await.len(), 1);
}

/// A type that nobody registered is refused, with a key or without, and nothing is kept.
pub async fn an_unknown_type_is_refused(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    for key in [None, Some(idempotency("k", 1))] {
        let new = ports.new_action(user, "unknown");
        let id = new.id;
        assert_eq!(
            ports.submissions.submit(new, key).await.unwrap(),
            Submitted::UnknownType
        );
        assert_eq!(
            ports
                .action_reader
                .find(id, &Reach::EVERYTHING)
                .await
                .unwrap(),
            None
        );
    }
    // The key is still free.
    let submitted = ports
        .submissions
        .submit(ports.new_action(user, "echo"), Some(idempotency("k", 2)))
        .await;
    assert_eq!(submitted.unwrap(), Submitted::New);
}

/// The same request again is the first action; another request with its key is refused.
pub async fn a_key_stands_for_one_request(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let new = ports.new_action(user, "echo");
    let first = new.id;
    let submit = async |request| {
        let new = ports.new_action(user, "echo");
        ports
            .submissions
            .submit(new, Some(idempotency("k", request)))
            .await
            .unwrap()
    };
    assert_eq!(
        ports
            .submissions
            .submit(new, Some(idempotency("k", 1)))
            .await
            .unwrap(),
        Submitted::New
    );
    assert_eq!(submit(1).await, Submitted::Replayed(first));
    assert_eq!(submit(2).await, Submitted::KeyReused);
    let grants = ports.claim(10, LONG).await;
    assert_eq!(
        grants
            .iter()
            .map(|grant| grant.lease.id.action_id)
            .collect::<Vec<_>>(),
        [first]
    );
}

/// Of many that race with one key, one is accepted and all the others are told of it.
pub async fn requests_that_race_with_one_key_make_one_action(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let tries = (0..16).map(|n| {
        let replica = if n % 2 == 0 { &ports } else { &other };
        let new = replica.new_action(user, "echo");
        let id = new.id;
        async move {
            (
                id,
                replica
                    .submissions
                    .submit(new, Some(idempotency("k", 1)))
                    .await
                    .unwrap(),
            )
        }
    });
    let submitted = join_all(tries).await;
    let new: Vec<ActionId> = submitted
        .iter()
        .filter(|(_, one)| *one == Submitted::New)
        .map(|(id, _)| *id)
        .collect();
    let [first] = new.as_slice() else {
        panic!("{submitted:?}")
    };
    let replays = submitted
        .iter()
        .filter(|(_, one)| *one == Submitted::Replayed(*first))
        .count();
    assert_eq!(replays, 15, "{submitted:?}");
    assert_eq!(ports.claim(10, LONG).await.len(), 1);
}

/// A batch is accepted whole: its actions are queued or scheduled, each as it was asked for, and performed in order.
pub async fn a_batch_is_accepted_whole(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let run_at = Some((ports.clock.now() + TimeDelta::hours(1)).trunc_subsecs(6));
    let batch: Vec<NewAction> = (0..20)
        .map(|n| NewAction {
            run_at: run_at.filter(|_| n == 7),
            input: json(&format!("{{\"n\":{n}}}")),
            ..ports.new_action(user, "echo")
        })
        .collect();
    let submitted = ports.submissions.submit_batch(&batch, None).await;
    assert_eq!(submitted, Ok(BatchSubmitted::New));
    let waiting: Vec<ActionId> = batch
        .iter()
        .filter(|new| new.run_at.is_none())
        .map(|new| new.id)
        .collect();
    for new in &batch {
        let action = ports.action(new.id).await;
        assert_eq!(
            (&action.input, action.overview.run_at),
            (&new.input, new.run_at)
        );
        assert_eq!(ports.log(new.id).await, [NewEvent::created(new.id)]);
    }
    let grants = ports.claim(100, LONG).await;
    let mut granted: Vec<ActionId> = grants
        .iter()
        .map(|grant| grant.lease.id.action_id)
        .collect();
    granted.sort();
    let mut expected = waiting;
    expected.sort();
    assert_eq!(granted, expected);
}

/// One action of a type that nobody registered: nothing of the batch is kept, and its key is free.
pub async fn a_batch_with_an_unknown_type_leaves_nothing(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    for key in [None, Some(idempotency("k", 1))] {
        let batch = ["echo", "unknown", "report.render", "neither"]
            .map(|name| ports.new_action(user, name));
        let submitted = ports.submissions.submit_batch(&batch, key).await;
        assert_eq!(submitted, Ok(BatchSubmitted::UnknownTypes(vec![1, 3])));
        let ids = batch.map(|new| new.id);
        let found = ports.action_reader.overviews(&ids, &Reach::EVERYTHING);
        assert_eq!(found.await.unwrap(), []);
    }
    assert_eq!(ports.claim(10, LONG).await, []);
    let batch = [ports.new_action(user, "echo")];
    let submitted = ports
        .submissions
        .submit_batch(&batch, Some(idempotency("k", 2)));
    assert_eq!(submitted.await, Ok(BatchSubmitted::New));
}

/// The same batch again is the first one, in its order; another batch with its key is refused. Also where it has one
/// action only.
pub async fn a_key_stands_for_one_batch(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    for (key, size) in [("many", 5), ("one", 1)] {
        let submit = async |request| {
            // The later id first: the order asked is not that of the ids.
            let mut batch: Vec<NewAction> =
                (0..size).map(|_| ports.new_action(user, "echo")).collect();
            batch.reverse();
            let ids: Vec<ActionId> = batch.iter().map(|new| new.id).collect();
            let key = Some(idempotency(key, request));
            (
                ids,
                ports.submissions.submit_batch(&batch, key).await.unwrap(),
            )
        };
        let (first, submitted) = submit(1).await;
        assert_eq!(submitted, BatchSubmitted::New);
        for _ in 0..2 {
            assert_eq!(submit(1).await.1, BatchSubmitted::Replayed(first.clone()));
        }
        assert_eq!(submit(2).await.1, BatchSubmitted::KeyReused);
        assert_eq!(ports.claim(10, LONG).await.len(), size);
    }
}

/// Of many batches that race with one key, one is accepted and all the others are told of it.
pub async fn batches_that_race_with_one_key_make_one(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let tries = (0..12).map(|n| {
        let replica = if n % 2 == 0 { &ports } else { &other };
        let batch: Vec<NewAction> = (0..10).map(|_| replica.new_action(user, "echo")).collect();
        async move {
            let key = Some(idempotency("k", 1));
            let submitted = replica.submissions.submit_batch(&batch, key).await.unwrap();
            let ids: Vec<ActionId> = batch.iter().map(|new| new.id).collect();
            (ids, submitted)
        }
    });
    let submitted = join_all(tries).await;
    let new: Vec<&Vec<ActionId>> = submitted
        .iter()
        .filter(|(_, one)| *one == BatchSubmitted::New)
        .map(|(ids, _)| ids)
        .collect();
    let [first] = new.as_slice() else {
        panic!("{submitted:?}")
    };
    let replay = BatchSubmitted::Replayed((*first).clone());
    let replays = submitted.iter().filter(|(_, one)| *one == replay).count();
    assert_eq!(replays, 11, "{submitted:?}");
    assert_eq!(ports.claim(200, LONG).await.len(), 10);
}

/// However removing a type and batches of it meet: a batch is there whole or not at all.
pub async fn batches_race_with_removing_their_type(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let soon_gone = ActionType::new(type_name("soon.gone"), PerformedBy::Workers);
    for _ in 0..20 {
        ports.action_types.define(&soon_gone).await.unwrap();
        let batches = [(); 3]
            .map(|()| ["echo", "soon.gone", "echo"].map(|name| ports.new_action(user, name)));
        let submits = batches
            .iter()
            .map(|batch| ports.submissions.submit_batch(batch, None));
        let remove = ports.action_types.remove(&soon_gone.name);
        let (submits, _) = futures_util::join!(join_all(submits), remove);
        for (batch, submitted) in batches.iter().zip(submits) {
            let ids = batch.each_ref().map(|new| new.id);
            let found = ports.action_reader.overviews(&ids, &Reach::EVERYTHING);
            let expected = match submitted.unwrap() {
                BatchSubmitted::New => 3,
                BatchSubmitted::UnknownTypes(places) => {
                    assert_eq!(places, [1]);
                    0
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(found.await.unwrap().len(), expected);
        }
        // What waits keeps the type from being removed.
        for new in batches.iter().flatten() {
            ports
                .submissions
                .cancel(new.id, &Reach::EVERYTHING)
                .await
                .unwrap();
        }
    }
}

/// A waiting action is over at once when it is cancelled, and nobody performs it.
pub async fn a_waiting_action_is_cancelled_at_once(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let run_at = Some(ports.clock.now() + TimeDelta::hours(1));
    let scheduled = ports
        .submit(NewAction {
            run_at,
            ..ports.new_action(user, "echo")
        })
        .await;
    for id in [ports.submitted(user).await, scheduled] {
        assert_eq!(
            ports.submissions.cancel(id, &owned_by(user)).await.unwrap(),
            CancelVerdict::Cancelled
        );
        let overview = ports.action(id).await.overview;
        assert_eq!(
            (overview.status, overview.attempt, overview.started_at),
            (Status::Cancelled, 0, None)
        );
        assert!(overview.finished_at.is_some());
        assert_eq!(
            ports.log(id).await,
            [NewEvent::created(id), NewEvent::done(&Outcome::Cancelled)]
        );
        assert_eq!(
            ports.submissions.cancel(id, &owned_by(user)).await.unwrap(),
            CancelVerdict::Over
        );
    }
    assert_eq!(ports.claim(10, LONG).await, []);
}

/// The performer of a running action is told, as often as it is asked for.
pub async fn a_running_action_is_asked_to_stop(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let grant = ports.running(user).await;
    let id = grant.lease.id.action_id;
    for _ in 0..2 {
        assert_eq!(
            ports.submissions.cancel(id, &owned_by(user)).await.unwrap(),
            CancelVerdict::Asked
        );
    }
    assert_eq!(ports.status(id).await, Status::Running);
}

/// What is out of reach looks like what doesn't exist, and stays as it is.
pub async fn what_is_out_of_reach_is_not_cancelled(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let other = ports.user("bea@example.com").await.id;
    let id = ports.submitted(user).await;
    let narrowed = Reach {
        owner: Some(user),
        types: TypeReach::Some(vec![TypePattern::Below("report.".to_owned())]),
    };
    for reach in [owned_by(other), narrowed] {
        assert_eq!(
            ports.submissions.cancel(id, &reach).await.unwrap(),
            CancelVerdict::NotFound
        );
    }
    let unknown = ActionId::from_uuid(ports.ids.time_ordered());
    assert_eq!(
        ports
            .submissions
            .cancel(unknown, &Reach::EVERYTHING)
            .await
            .unwrap(),
        CancelVerdict::NotFound
    );
    assert_eq!(ports.status(id).await, Status::Queued);
    let exactly = Reach {
        owner: None,
        types: TypeReach::Some(vec![TypePattern::Exactly(type_name("echo"))]),
    };
    assert_eq!(
        ports.submissions.cancel(id, &exactly).await.unwrap(),
        CancelVerdict::Cancelled
    );
}

/// Cancelling while others claim, finish and release always has an answer, and each action ends once.
pub async fn cancelling_races_with_performing(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(ports.submitted(user).await);
    }
    let cancel = async {
        let mut verdicts = Vec::new();
        for id in &ids {
            verdicts.push(
                ports
                    .submissions
                    .cancel(*id, &owned_by(user))
                    .await
                    .unwrap(),
            );
        }
        verdicts
    };
    let perform = async {
        for _ in 0..20 {
            for grant in ports.claim(3, LONG).await {
                ports.leases.release(&[grant.lease.id]).await.unwrap();
            }
        }
    };
    let (verdicts, ()) = futures_util::future::join(cancel, perform).await;
    assert!(
        verdicts
            .iter()
            .all(|verdict| *verdict != CancelVerdict::NotFound)
    );
    // What was asked to stop and then released is cancelled, too.
    assert_eq!(ports.claim(100, LONG).await, []);
    for id in ids {
        assert_eq!(ports.status(id).await, Status::Cancelled);
        assert_eq!(
            ports
                .log(id)
                .await
                .iter()
                .filter(|event| event.name.is_last())
                .count(),
            1
        );
    }
}
