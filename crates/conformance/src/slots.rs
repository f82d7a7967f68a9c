//! Leases for several performers together, and for requests that are made again: a part of the suite of
//! [`Leases`](deed_domain::ports::Leases).

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use deed_domain::action::{ActionTypeName, Grant, LeaseRef, LeaseRequest, NewAction, Outcome};
use deed_domain::ports::{Filled, Finish, Finished, Slot};
use futures_util::future::join_all;

use crate::fixtures::{LONG, type_name};
use crate::{Hearing, Ports, Store};

fn slot(lease: Duration, request: Option<u8>) -> Slot {
    Slot {
        worker: "w".to_owned(),
        lease: Some(lease),
        request: request.map(request_of),
    }
}

fn request_of(byte: u8) -> LeaseRequest {
    LeaseRequest::from_bytes([byte; 32])
}

fn echo() -> Vec<ActionTypeName> {
    vec![type_name("echo")]
}

async fn fill(ports: &Ports, slots: &[Slot]) -> Vec<Filled> {
    ports.leases.fill(&echo(), slots).await.unwrap()
}

/// The leases that the request holds, whoever looks.
async fn granted(ports: &Ports, request: u8) -> BTreeSet<LeaseRef> {
    let found = ports.leases.granted(&[request_of(request)]).await.unwrap();
    assert!(found.iter().all(|(of, _)| *of == request_of(request)));
    ids(found.iter().map(|(_, grant)| grant))
}

fn ids<'a>(grants: impl Iterator<Item = &'a Grant>) -> BTreeSet<LeaseRef> {
    grants.map(|grant| grant.lease.id).collect()
}

async fn submitted(ports: &Ports, count: usize) {
    let user = ports.ready().await;
    for _ in 0..count {
        ports.submitted(user).await;
    }
}

/// Each slot gets one lease of its own length, the first one first.
pub async fn slots_are_filled_one_lease_each(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    submitted(&ports, 3).await;
    let slots: Vec<Slot> = [60, 600, 1_200, 2_400]
        .map(|seconds| slot(Duration::from_secs(seconds), None))
        .into();
    let before = ports.clock.now();
    let mut filled = fill(&ports, &slots).await;
    filled.sort_by_key(|filled| filled.slot);
    assert_eq!(filled.len(), 3);
    for (place, filled) in filled.iter().enumerate() {
        assert_eq!((filled.slot, filled.is_repeat), (place, false));
        let lease = filled.grant.lease.expires_at - before;
        let expected = TimeDelta::from_std(slots[place].lease.unwrap()).unwrap();
        assert!((lease - expected).abs() < TimeDelta::seconds(20), "{lease}");
    }
    assert_eq!(ids(filled.iter().map(|filled| &filled.grant)).len(), 3);
    assert_eq!(fill(&ports, &slots).await, []);
    assert_eq!(fill(&ports, &[]).await, []);
}

/// What a request was granted is found by it as long as it is held, on every replica.
pub async fn a_request_finds_its_leases_again(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(Hearing::Good).await;
    submitted(&ports, 4).await;
    assert_eq!(granted(&ports, 1).await, BTreeSet::new());
    let slots = [
        slot(LONG, Some(1)),
        slot(LONG, Some(2)),
        slot(LONG, None),
        slot(LONG, Some(1)),
    ];
    let filled = fill(&ports, &slots).await;
    let of = |wanted: &[usize]| {
        ids(filled
            .iter()
            .filter(|filled| wanted.contains(&filled.slot))
            .map(|filled| &filled.grant))
    };
    assert_eq!(granted(&other, 1).await, of(&[0, 3]));
    assert_eq!(granted(&other, 2).await, of(&[1]));
    let found = other.leases.granted(&[request_of(2)]).await.unwrap();
    let first = filled.iter().find(|filled| filled.slot == 1).unwrap();
    assert_eq!(found[0].1, first.grant, "it is told whole");

    let finish = Finish {
        lease: first.grant.lease.id,
        from_seq: None,
        events: Vec::new(),
        outcome: Outcome::Cancelled,
    };
    let finished = ports.leases.finish(&[finish]).await.unwrap();
    assert!(matches!(finished[0], Finished::Finished(_)));
    assert_eq!(granted(&other, 2).await, BTreeSet::new());
    let [one, two] = of(&[0, 3]).into_iter().collect::<Vec<_>>()[..] else {
        panic!("two were granted")
    };
    ports.leases.release(&[one]).await.unwrap();
    assert_eq!(granted(&other, 1).await, BTreeSet::from([two]));
}

/// A lease that has run out is nobody's, and blocks nobody who claims beside it.
pub async fn an_expired_lease_is_not_found_again(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    submitted(&ports, 3).await;
    let instant = Duration::from_micros(1);
    let filled = fill(&ports, &[slot(instant, Some(1))]).await;
    assert_eq!(filled.len(), 1);
    assert_eq!(granted(&ports, 1).await, BTreeSet::new());
    let slots = [slot(LONG, Some(1)), slot(LONG, Some(2)), slot(LONG, None)];
    let beside: Vec<usize> = fill(&ports, &slots)
        .await
        .iter()
        .map(|filled| filled.slot)
        .collect();
    assert_eq!(beside.len(), 2);
    assert!(!beside.contains(&0));
    ports.leases.rescue(10).await.unwrap();
    let again = fill(&ports, &[slot(LONG, Some(1))]).await;
    assert_eq!((again.len(), again[0].is_repeat), (1, false));
}

/// However many grant leases to one request at a time, it gets those of one of them. Others get theirs beside it.
pub async fn a_request_is_granted_once(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let others = [
        store.replica(Hearing::Good).await,
        store.replica(Hearing::Good).await,
    ];
    submitted(&ports, 100).await;
    let slots = |round| {
        [
            slot(LONG, Some(round)),
            slot(LONG, Some(round)),
            slot(LONG, None),
        ]
    };
    let mut repeats = 0;
    for round in 0..8 {
        let slots = slots(round);
        let fills = [&ports, &others[0], &others[1]]
            .into_iter()
            .map(|ports| fill(ports, &slots));
        let held: Vec<Vec<Filled>> = join_all(fills).await;
        let found = granted(&ports, round).await;
        assert_eq!(found.len(), 2);
        for filled in &held {
            let (own, beside): (Vec<_>, Vec<_>) = filled.iter().partition(|filled| filled.slot < 2);
            assert_eq!(ids(own.iter().map(|filled| &filled.grant)), found);
            assert_eq!(beside.len(), 1, "{filled:?}");
            repeats += usize::from(own[0].is_repeat);
        }
    }
    assert_eq!(repeats, 16);
}

/// The types are told of which something waits that could be claimed.
pub async fn types_that_wait_are_told(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.ready().await;
    let types = ["echo", "report.render", "unknown"].map(type_name);
    let ready = async || ports.leases.ready(&types).await.unwrap();
    assert_eq!(ready().await, []);
    let later = NewAction {
        run_at: Some(ports.clock.now() + TimeDelta::hours(1)),
        ..ports.new_action(user, "report.render")
    };
    ports.submit(later).await;
    ports.submitted(user).await;
    assert_eq!(ready().await, [type_name("echo")]);
    ports.submit(ports.new_action(user, "report.render")).await;
    assert_eq!(ready().await, types[..2]);
    assert_eq!(ports.leases.ready(&types[1..]).await.unwrap(), types[1..2]);
    ports.claim(10, LONG).await;
    assert_eq!(ready().await, types[1..2]);
    assert_eq!(ports.leases.ready(&[]).await.unwrap(), []);
}
