//! Suite of [`ActionTypes`](deed_domain::ports::ActionTypes).

use std::time::Duration;

use deed_domain::action::{ActionType, Grant, Outcome, PerformedBy, RetryPolicy};
use deed_domain::ports::{Finish, Submitted, TypeDefined, TypeRemoved};
use futures_util::future::join_all;

use crate::fixtures::{LONG, handler, json, type_name};
use crate::{Hearing, Ports, Store};

/// What is found is what was registered; the last registration counts.
pub async fn a_registered_type_is_found_as_it_was_registered(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    assert_eq!(
        ports
            .action_types
            .find(&type_name("report.render"))
            .await
            .unwrap(),
        None
    );
    let first = ActionType {
        input_schema: Some(json("{\"type\": \"object\",  \"b\":1}")),
        max_attempts: 100,
        attempt_timeout: Duration::from_secs(86_400),
        time_limit: Some(ActionType::TIME_LIMIT_LIMIT),
        lease: Duration::from_secs(3_600),
        retry: RetryPolicy::new(Duration::from_millis(250), 1.5, Duration::from_secs(60)),
        ..handler("report.render")
    };
    for registered in [first, handler("report.render")] {
        ports.register(std::slice::from_ref(&registered)).await;
        ports.register(std::slice::from_ref(&registered)).await;
        assert_eq!(
            ports.action_types.find(&registered.name).await.unwrap(),
            Some(registered)
        );
    }
}

/// Lists are by name; registering nothing changes nothing.
pub async fn types_are_listed_by_name(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    ports.register(&[]).await;
    assert_eq!(ports.action_types.list().await.unwrap(), []);
    let types = ["b", "a_b", "a", "a.b", "a-b"].map(handler);
    ports.register(&types).await;
    let mut expected = types.to_vec();
    expected.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(ports.action_types.list().await.unwrap(), expected);
}

/// Of many names those are found that are registered, each once.
pub async fn types_are_found_by_their_names(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    ports.register(&["a", "b", "c"].map(handler)).await;
    ports.action_types.define(&workers("gone")).await.unwrap();
    ports.action_types.remove(&type_name("gone")).await.unwrap();
    let names = ["c", "unknown", "a", "gone", "a"].map(type_name);
    let mut found = ports.action_types.find_all(&names).await.unwrap();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(found, ["a", "c"].map(handler));
}

/// Replicas that start together, with the same types in any order, all succeed.
pub async fn replicas_register_side_by_side(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let types: Vec<ActionType> = (0..20).map(|n| handler(&format!("type-{n}"))).collect();
    let reversed: Vec<ActionType> = types.iter().rev().cloned().collect();
    let both = (0..10).map(|n| {
        ports
            .action_types
            .register_handlers(if n % 2 == 0 { &types } else { &reversed })
    });
    for registered in join_all(both).await {
        registered.unwrap();
    }
    assert_eq!(ports.action_types.list().await.unwrap().len(), 20);
}

fn workers(name: &str) -> ActionType {
    ActionType::new(type_name(name), PerformedBy::Workers)
}

/// A type of workers is found as it was defined last.
pub async fn a_type_of_workers_is_defined_and_replaced(store: &impl Store) {
    let types = store.replica(Hearing::Good).await.action_types;
    let first = ActionType {
        input_schema: Some(json("{\"type\": \"object\"}")),
        max_attempts: 100,
        attempt_timeout: ActionType::ATTEMPT_TIMEOUT_LIMIT,
        time_limit: Some(ActionType::TIME_LIMIT_LIMIT),
        lease: ActionType::LEASE_MIN,
        retry: RetryPolicy::new(Duration::from_millis(250), 1.5, Duration::from_secs(60)),
        ..workers("report.render")
    };
    assert_eq!(types.define(&first).await, Ok(TypeDefined::Created));
    assert_eq!(types.find(&first.name).await, Ok(Some(first.clone())));
    let second = workers("report.render");
    assert_eq!(types.define(&second).await, Ok(TypeDefined::Replaced));
    assert_eq!(types.list().await, Ok(vec![second]));
}

/// What a handler performs is not defined from outside; a handler that comes takes its type over.
pub async fn a_handlers_type_is_left_alone(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (types, echo) = (&ports.action_types, handler("echo"));
    ports.register(std::slice::from_ref(&echo)).await;
    assert_eq!(
        types.define(&workers("echo")).await,
        Ok(TypeDefined::HasHandler)
    );
    assert_eq!(types.remove(&echo.name).await, Ok(TypeRemoved::HasHandler));
    assert_eq!(types.find(&echo.name).await, Ok(Some(echo)));
    let both = handler("both");
    types.define(&workers("both")).await.unwrap();
    assert_eq!(types.remove(&both.name).await, Ok(TypeRemoved::Removed));
    ports.register(std::slice::from_ref(&both)).await;
    assert_eq!(types.find(&both.name).await, Ok(Some(both)));
}

/// A removed type takes nothing; what was performed stays readable, and the name can be used again.
pub async fn a_removed_type_takes_no_action(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (types, echo) = (&ports.action_types, workers("echo"));
    assert_eq!(types.remove(&echo.name).await, Ok(TypeRemoved::Unknown));
    types.define(&echo).await.unwrap();
    let user = ports.user("ada@example.com").await.id;
    let action = ports.submitted(user).await;
    let waits = types.remove(&echo.name).await;
    assert_eq!(waits, Ok(TypeRemoved::HasActions));
    let grants = ports.claim(1, LONG).await;
    let runs = types.remove(&echo.name).await;
    assert_eq!(runs, Ok(TypeRemoved::HasActions));
    complete(&ports, &grants).await;
    assert_eq!(types.remove(&echo.name).await, Ok(TypeRemoved::Removed));
    assert_eq!(types.remove(&echo.name).await, Ok(TypeRemoved::Unknown));
    assert_eq!(types.find(&echo.name).await, Ok(None));
    assert_eq!(types.list().await, Ok(Vec::new()));
    let submitted = ports
        .submissions
        .submit(ports.new_action(user, "echo"), None);
    assert_eq!(submitted.await, Ok(Submitted::UnknownType));
    assert_eq!(ports.action(action).await.overview.action_type, echo.name);
    assert_eq!(types.define(&echo).await, Ok(TypeDefined::Created));
    ports.submitted(user).await;
}

/// However removing and submitting meet: no action is left behind of a type that is gone.
pub async fn removing_races_with_submitting(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await.id;
    let echo = workers("echo");
    for _ in 0..20 {
        ports.action_types.define(&echo).await.unwrap();
        let submits = (0..4).map(|_| {
            ports
                .submissions
                .submit(ports.new_action(user, "echo"), None)
        });
        let remove = ports.action_types.remove(&echo.name);
        let (submits, removed) = futures_util::join!(join_all(submits), remove);
        let taken = submits
            .iter()
            .filter(|one| **one == Ok(Submitted::New))
            .count();
        let is_there = ports.action_types.find(&echo.name).await.unwrap().is_some();
        let grants = ports.claim(10, LONG).await;
        assert_eq!(grants.len(), taken);
        assert!(is_there || taken == 0, "{submits:?} {removed:?}");
        complete(&ports, &grants).await;
    }
}

async fn complete(ports: &Ports, grants: &[Grant]) {
    let finishes: Vec<Finish> = grants
        .iter()
        .map(|grant| Finish {
            lease: grant.lease.id,
            from_seq: None,
            events: Vec::new(),
            outcome: Outcome::Succeeded(json("1")),
        })
        .collect();
    ports.leases.finish(&finishes).await.unwrap();
}
