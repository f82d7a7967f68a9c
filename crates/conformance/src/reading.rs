//! Suites of [`ActionReader`](deed_domain::ports::ActionReader) and [`EventLog`](deed_domain::ports::EventLog).

use chrono::TimeDelta;
use deed_domain::action::{ActionFilter, NewAction, NewEvent, Outcome, Payload, Sequence, Status};
use deed_domain::caller::Reach;
use deed_domain::id::ActionId;
use deed_domain::ports::Finish;
use deed_domain::scope::{TypePattern, TypeReach};

use crate::fixtures::{json, message, owned_by, page, seq, type_name};
use crate::{Hearing, Ports, Store};

/// Of many ids those are found that are within reach, as they are now.
pub async fn many_are_found_as_far_as_they_are_in_reach(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let other = ports.user("bea@example.com").await.id;
    let (waiting, cancelled) = (ports.submitted(user).await, ports.submitted(user).await);
    let report = ports.submit(ports.new_action(user, "report.render")).await;
    let anothers = ports.submitted(other).await;
    let reader = &ports.action_reader;
    ports
        .submissions
        .cancel(cancelled, &owned_by(user))
        .await
        .unwrap();
    let unknown = ActionId::from_uuid(ports.ids.time_ordered());
    let asked = [unknown, report, anothers, cancelled, waiting];
    let narrowed = Reach {
        owner: None,
        types: TypeReach::Some(vec![TypePattern::Exactly(type_name("echo"))]),
    };
    for (reach, expected) in [
        (owned_by(user), vec![waiting, cancelled, report]),
        (narrowed, vec![waiting, cancelled, anothers]),
    ] {
        let mut found = reader.overviews(&asked, &reach).await.unwrap();
        found.sort_by_key(|overview| overview.id);
        let ids: Vec<ActionId> = found.iter().map(|overview| overview.id).collect();
        assert_eq!(ids, expected);
        for overview in found {
            assert_eq!(overview, ports.action(overview.id).await.overview);
        }
    }
    assert_eq!(reader.overviews(&[], &owned_by(user)).await.unwrap(), []);
}

/// Another user's action, or one of a type out of reach, looks like one that doesn't exist.
pub async fn what_is_out_of_reach_is_not_found(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let other = ports.user("bea@example.com").await.id;
    let id = ports.submitted(user).await;
    let narrowed = |patterns: Vec<TypePattern>| Reach {
        owner: Some(user),
        types: TypeReach::Some(patterns),
    };
    let echo = TypePattern::Exactly(type_name("echo"));
    let report = TypePattern::Below("report.".to_owned());
    for (reach, is_found) in [
        (owned_by(user), true),
        (Reach::EVERYTHING, true),
        (narrowed(vec![report.clone(), echo]), true),
        (narrowed(vec![report]), false),
        (
            narrowed(vec![TypePattern::Exactly(type_name("ech_"))]),
            false,
        ),
        (narrowed(vec![]), false),
        (owned_by(other), false),
    ] {
        assert_eq!(
            ports
                .action_reader
                .find(id, &reach)
                .await
                .unwrap()
                .is_some(),
            is_found,
            "{reach:?}"
        );
        let log = ports
            .event_log
            .read(id, &reach, Sequence::START, 10)
            .await
            .unwrap();
        assert_eq!(log.is_some(), is_found, "{reach:?}");
        let listed = ports
            .action_reader
            .list(&ActionFilter::default(), &reach, page(10, None))
            .await
            .unwrap();
        assert_eq!(listed.items.len(), usize::from(is_found), "{reach:?}");
    }
    let unknown = ActionId::from_uuid(ports.ids.time_ordered());
    assert_eq!(
        ports
            .action_reader
            .find(unknown, &Reach::EVERYTHING)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        ports
            .event_log
            .read(unknown, &Reach::EVERYTHING, Sequence::START, 10)
            .await
            .unwrap(),
        None
    );
}

/// Lists go from the newest to the oldest, page by page, and show what a look at each shows.
pub async fn lists_are_newest_first_and_paged(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let other = ports.user("bea@example.com").await.id;
    let mut expected = Vec::new();
    for _ in 0..5 {
        let id = ports.submitted(user).await;
        ports.submitted(other).await;
        expected.insert(0, ports.action(id).await.overview);
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let one = ports
            .action_reader
            .list(&ActionFilter::default(), &owned_by(user), page(2, after))
            .await
            .unwrap();
        assert!(one.items.len() <= 2);
        seen.extend(one.items);
        after = one.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
    let everybodys = ports
        .action_reader
        .list(&ActionFilter::default(), &Reach::EVERYTHING, page(50, None))
        .await;
    assert_eq!(everybodys.unwrap().items.len(), 10);
}

/// Each status has its list, of one owner and of everybody.
pub async fn lists_can_be_of_one_status(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let mut expected = Vec::new();
    for (status, outcome) in [
        (Status::Succeeded, Some(Outcome::Succeeded(json("1")))),
        (
            Status::Failed,
            Some(Outcome::Failed(deed_domain::action::ActionError::new(
                "boom",
                "It broke.",
            ))),
        ),
        (Status::Cancelled, Some(Outcome::Cancelled)),
        (Status::Running, None),
    ] {
        let grant = ports.running(user).await;
        if let Some(outcome) = outcome {
            let finish = Finish {
                lease: grant.lease.id,
                from_seq: None,
                events: Vec::new(),
                outcome,
            };
            ports.leases.finish(&[finish]).await.unwrap();
        }
        expected.push((status, grant.lease.id.action_id));
    }
    expected.push((Status::Queued, ports.submitted(user).await));
    let run_at = Some(ports.clock.now() + TimeDelta::hours(1));
    expected.push((
        Status::Scheduled,
        ports
            .submit(NewAction {
                run_at,
                ..ports.new_action(user, "echo")
            })
            .await,
    ));
    for (status, id) in expected {
        for reach in [owned_by(user), Reach::EVERYTHING] {
            let filter = ActionFilter {
                status: Some(status),
                ..ActionFilter::default()
            };
            let listed = ports
                .action_reader
                .list(&filter, &reach, page(10, None))
                .await
                .unwrap();
            assert_eq!(listed.items, [ports.action(id).await.overview], "{status}");
            assert_eq!(listed.items[0].status, status);
        }
    }
}

/// Type and time can be filtered by, and all filters hold together.
pub async fn lists_can_be_of_one_type_and_time(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let echo = ports.submitted(user).await;
    let report = ports.submit(ports.new_action(user, "report.render")).await;
    let found = async |filter: ActionFilter| {
        let listed = ports
            .action_reader
            .list(&filter, &owned_by(user), page(10, None))
            .await
            .unwrap();
        listed
            .items
            .into_iter()
            .map(|action| action.id)
            .collect::<Vec<_>>()
    };
    let all = ActionFilter::default();
    assert_eq!(
        found(ActionFilter {
            action_type: Some(type_name("echo")),
            ..all.clone()
        })
        .await,
        [echo]
    );
    assert_eq!(
        found(ActionFilter {
            action_type: Some(type_name("ech_")),
            ..all.clone()
        })
        .await,
        []
    );
    let hour = TimeDelta::hours(1);
    let now = ports.clock.now();
    assert_eq!(
        found(ActionFilter {
            created_after: Some(now - hour),
            ..all.clone()
        })
        .await,
        [report, echo]
    );
    assert_eq!(
        found(ActionFilter {
            created_before: Some(now - hour),
            ..all.clone()
        })
        .await,
        []
    );
    assert_eq!(
        found(ActionFilter {
            created_after: Some(now + hour),
            ..all.clone()
        })
        .await,
        []
    );
    let both = ActionFilter {
        status: Some(Status::Queued),
        action_type: Some(type_name("report.render")),
        created_before: Some(now + hour),
        ..all
    };
    assert_eq!(found(both).await, [report]);
}

/// A log is read from after any position, in pages, and says where it ends.
pub async fn a_log_is_read_from_any_position(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let grant = ports.running(user).await;
    let id = grant.lease.id.action_id;
    ports
        .append(
            grant.lease.id,
            3,
            vec![message("a"), message("b"), message("c")],
        )
        .await;
    for (after, limit, expected) in [
        (0, 2, vec![1, 2]),
        (2, 2, vec![3, 4]),
        (4, 100, vec![5]),
        (5, 100, vec![]),
        (9, 100, vec![]),
    ] {
        let page = ports
            .event_log
            .read(id, &owned_by(user), seq(after), limit)
            .await
            .unwrap()
            .unwrap();
        let positions: Vec<u32> = page.events.iter().map(|event| event.seq.get()).collect();
        assert_eq!(
            (positions, page.last, page.is_over),
            (expected, seq(5), false),
            "after {after}"
        );
    }
    let finish = Finish {
        lease: grant.lease.id,
        from_seq: None,
        events: vec![],
        outcome: Outcome::Cancelled,
    };
    ports.leases.finish(&[finish]).await.unwrap();
    let end = ports
        .event_log
        .read(id, &owned_by(user), seq(6), 100)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((end.events.len(), end.last, end.is_over), (0, seq(6), true));
}

/// A page of large entries ends early, but never before its first.
pub async fn large_entries_come_in_small_pages(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let grant = ports.running(user).await;
    let chunk = NewEvent::message(json(&format!("\"{}\"", "x".repeat(Payload::MAX_BYTES - 2))));
    ports
        .append(
            grant.lease.id,
            3,
            vec![chunk.clone(), chunk.clone(), message("small")],
        )
        .await;
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let after = seq(u32::try_from(seen.len()).unwrap());
        let page = ports
            .event_log
            .read(grant.lease.id.action_id, &owned_by(user), after, 100)
            .await
            .unwrap()
            .unwrap();
        assert!(!page.events.is_empty() && page.events.len() < 5);
        seen.extend(page.events.into_iter().map(|event| event.data));
    }
    assert_eq!(
        seen[2..],
        [chunk.data.clone(), chunk.data, message("small").data]
    );
}

/// Payloads come back as the text that came in.
pub async fn payloads_come_back_as_they_came_in(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let text = "{ \"z\":1.0, \"a\" : -0, \"n\":123456789012345678901234567890.10, \"u\":\"\\u0000\\/\\ud83d\\ude00\" }";
    let id = ports
        .submit(NewAction {
            input: json(text),
            ..ports.new_action(user, "echo")
        })
        .await;
    let grant = ports.claim(1, crate::fixtures::LONG).await.remove(0);
    assert_eq!(grant.input.as_str(), text);
    let finish = Finish {
        lease: grant.lease.id,
        from_seq: None,
        events: vec![NewEvent::message(json(text))],
        outcome: Outcome::Succeeded(json(text)),
    };
    ports.leases.finish(&[finish]).await.unwrap();
    let action = ports.action(id).await;
    assert_eq!(action.input.as_str(), text);
    assert_eq!(action.output.unwrap().as_str(), text);
    let log = ports.log(id).await;
    assert_eq!(log[2].data.as_str(), text);
    assert_eq!(
        log[3].data.as_str(),
        format!("{{\"status\":\"succeeded\",\"output\":{text}}}")
    );
}

/// Entries are told apart by time as they were written.
pub async fn entries_carry_their_time(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let grant = ports.running(user).await;
    let times = times(&ports, grant.lease.id.action_id).await;
    assert_eq!(times.len(), 2);
    assert!(times.is_sorted());
}

async fn times(ports: &Ports, id: ActionId) -> Vec<chrono::DateTime<chrono::Utc>> {
    let page = ports
        .event_log
        .read(id, &Reach::EVERYTHING, Sequence::START, 100)
        .await
        .unwrap()
        .unwrap();
    page.events.into_iter().map(|event| event.at).collect()
}
