//! Suite of [`ActionTypes`](deed_domain::ports::ActionTypes).

use std::time::Duration;

use deed_domain::action::{ActionType, RetryPolicy};
use futures_util::future::join_all;

use crate::fixtures::{handler, json, type_name};
use crate::{Hearing, Store};

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
