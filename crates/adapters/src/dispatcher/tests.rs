use super::*;
use deed_domain::action::{ActionTypeName, Lease, LeaseRequest, Payload, Sequence};
use deed_domain::id::{ActionId, LeaseId, UserId};
use deed_domain::ports::{Filled, MockLeases, MockWakeups, Released, Slot};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, stream};
use std::collections::HashMap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// What the fake store has, and what it was asked.
#[derive(Default)]
struct Store {
    queue: Mutex<HashMap<ActionTypeName, usize>>,
    fills: Mutex<Vec<(Vec<ActionTypeName>, Vec<Slot>)>>,
    readies: Mutex<usize>,
    granted: Mutex<Vec<(LeaseRequest, Grant)>>,
    /// How often it was asked what requests were granted.
    asked: Mutex<usize>,
    released: Mutex<Vec<LeaseRef>>,
    is_away: Mutex<bool>,
    made: Mutex<u128>,
    /// Somebody who goes while the next claim is made.
    goes: Mutex<Option<Asking>>,
}

/// A question that nobody else polls.
type Asking = BoxFuture<'static, Result<Granted, DispatchError>>;

struct World {
    store: Arc<Store>,
    hints: watch::Sender<u64>,
    metrics: Metrics,
    dispatcher: Dispatcher,
}

fn name(text: &str) -> ActionTypeName {
    ActionTypeName::parse(text).unwrap()
}

fn wish(types: &[&str], max: usize, wait: u64) -> Wish {
    Wish {
        types: types.iter().map(|text| name(text)).collect(),
        max,
        worker: "w".to_owned(),
        lease: None,
        wait: Duration::from_secs(wait),
        request: None,
    }
}

fn request(byte: u8) -> LeaseRequest {
    LeaseRequest::from_bytes([byte; 32])
}

fn away() -> StoreError {
    StoreError::Unavailable(Arc::new(std::io::Error::other("away")))
}

impl Store {
    fn grant(&self, action_type: &ActionTypeName) -> Grant {
        let mut made = lock(&self.made);
        *made += 1;
        Grant {
            lease: Lease {
                id: LeaseRef {
                    action_id: ActionId::from_uuid(Uuid::from_u128(*made)),
                    lease_id: LeaseId::from_uuid(Uuid::from_u128(*made)),
                },
                expires_at: "2026-01-31T10:00:00Z".parse().unwrap(),
                deadline_at: "2026-01-31T10:00:00Z".parse().unwrap(),
                next_seq: Sequence::new(3).unwrap(),
                cancel_requested: false,
            },
            action_type: action_type.clone(),
            user_id: UserId::from_uuid(Uuid::nil()),
            input: Payload::empty_object(),
            attempt: 1,
            max_attempts: 3,
            checkpoint: None,
            time_left: None,
            traceparent: None,
        }
    }

    fn fill(&self, types: &[ActionTypeName], slots: &[Slot]) -> Result<Vec<Filled>, StoreError> {
        lock(&self.fills).push((types.to_vec(), slots.to_vec()));
        if *lock(&self.is_away) {
            return Err(away());
        }
        drop(lock(&self.goes).take());
        let mut queue = lock(&self.queue);
        let mut filled = Vec::new();
        for slot in 0..slots.len() {
            let waiting = types
                .iter()
                .find(|one| queue.get(one).is_some_and(|count| *count > 0));
            let Some(one) = waiting else { break };
            *queue.get_mut(one).unwrap() -= 1;
            filled.push(Filled {
                slot,
                grant: self.grant(one),
                is_repeat: false,
            });
        }
        Ok(filled)
    }

    fn fills(&self) -> usize {
        lock(&self.fills).len()
    }

    fn workers(&self, fill: usize) -> Vec<String> {
        let fills = lock(&self.fills);
        let (_, slots) = &fills[fill];
        slots.iter().map(|slot| slot.worker.clone()).collect()
    }
}

fn leases(store: &Arc<Store>) -> MockLeases {
    let mut leases = MockLeases::new();
    let fills = Arc::clone(store);
    leases
        .expect_fill()
        .returning(move |types, slots| fills.fill(types, slots));
    let readies = Arc::clone(store);
    leases.expect_ready().returning(move |types| {
        *lock(&readies.readies) += 1;
        let queue = lock(&readies.queue);
        let mut ready = types.to_vec();
        ready.retain(|one| queue.get(one).is_some_and(|count| *count > 0));
        Ok(ready)
    });
    let granted = Arc::clone(store);
    leases.expect_granted().returning(move |requests| {
        *lock(&granted.asked) += 1;
        let mut found = lock(&granted.granted).clone();
        found.retain(|(request, _)| requests.contains(request));
        Ok(found)
    });
    let released = Arc::clone(store);
    leases.expect_release().returning(move |leases| {
        lock(&released.released).extend(leases);
        Ok(vec![Released::Released; leases.len()])
    });
    leases
}

impl World {
    fn new() -> Self {
        let store: Arc<Store> = Arc::default();
        let leases = Arc::new(leases(&store));
        let hints = watch::Sender::new(0);
        let mut wakeups = MockWakeups::new();
        let heard = hints.clone();
        wakeups.expect_watch_queue().returning(move || {
            stream::unfold(heard.subscribe(), |mut heard| async move {
                heard.changed().await.ok()?;
                Some(((), heard))
            })
            .boxed()
        });
        let metrics = Metrics::default();
        let dispatcher = Dispatcher::new(leases, Arc::new(wakeups), &metrics);
        Self {
            store,
            hints,
            metrics,
            dispatcher,
        }
    }

    fn running() -> (Self, JoinHandle<()>) {
        let world = Self::new();
        let running = tokio::spawn(world.dispatcher.clone().run());
        (world, running)
    }

    /// Actions arrive.
    fn queue(&self, action_type: &str, count: usize) {
        *lock(&self.store.queue)
            .entry(name(action_type))
            .or_default() += count;
    }

    fn hint(&self) {
        self.hints.send_modify(|count| *count += 1);
    }

    fn ask(&self, wish: Wish) -> JoinHandle<Result<Vec<Grant>, DispatchError>> {
        let dispatcher = self.dispatcher.clone();
        tokio::spawn(async move { dispatcher.lease(wish).await.map(Granted::take) })
    }

    /// The same, in the hands of the test: it has asked, and waits.
    fn asking(&self, wish: Wish) -> Asking {
        let dispatcher = self.dispatcher.clone();
        let mut asking = async move { dispatcher.lease(wish).await }.boxed();
        assert!((&mut asking).now_or_never().is_none());
        asking
    }

    fn waiting(&self) -> i64 {
        self.metrics.dispatch.waiting()
    }

    /// Everything that can happen without time passing has happened.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    /// Somebody who waits; there is nothing for them yet.
    async fn idle(&self, wish: Wish) -> JoinHandle<Result<Vec<Grant>, DispatchError>> {
        let asked = self.ask(wish);
        self.settle().await;
        sleep(2 * GAP).await;
        assert!(!asked.is_finished());
        asked
    }
}

async fn count(asked: JoinHandle<Result<Vec<Grant>, DispatchError>>) -> usize {
    asked.await.unwrap().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_granted_at_once_to_who_asks() {
    let (world, _running) = World::running();
    world.queue("a", 3);
    let began = Instant::now();
    let granted = count(world.ask(wish(&["a"], 2, 30))).await;
    assert_eq!((granted, world.store.fills()), (2, 1));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_is_told_at_once_that_there_is_nothing() {
    let (world, _running) = World::running();
    let began = Instant::now();
    assert_eq!(count(world.ask(wish(&["a"], 2, 0))).await, 0);
    assert_eq!(world.store.fills(), 1);
    assert_eq!(count(world.ask(wish(&[], 2, 9))).await, 0);
    assert_eq!(count(world.ask(wish(&["a"], 0, 9))).await, 0);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_its_time_is_up() {
    let (world, _running) = World::running();
    let began = Instant::now();
    assert_eq!(count(world.ask(wish(&["a"], 1, 25))).await, 0);
    assert!(began.elapsed() < Duration::from_millis(25_100));
    assert!(began.elapsed() >= Duration::from_secs(25));
    assert_eq!(world.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_granted_what_comes_within_milliseconds() {
    let (world, _running) = World::running();
    let asked = world.idle(wish(&["a"], 1, 30)).await;
    world.queue("a", 1);
    let began = Instant::now();
    world.hint();
    assert_eq!(count(asked).await, 1);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_no_hint_told_is_found_in_a_second() {
    let (world, _running) = World::running();
    let asked = world.idle(wish(&["a"], 1, 30)).await;
    world.queue("a", 1);
    let began = Instant::now();
    assert_eq!(count(asked).await, 1);
    assert!(began.elapsed() <= FLOOR);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_idle_workers_cost_one_claim_a_second() {
    let (world, _running) = World::running();
    let mut asked = Vec::new();
    for _ in 0..1_000 {
        asked.push(world.ask(wish(&["a"], 4, 60)));
    }
    for _ in 0..10 {
        sleep(Duration::from_secs(1)).await;
        // As the pulse of the wake-ups does.
        world.hint();
    }
    assert_eq!(world.waiting(), 1_000);
    let fills = world.store.fills();
    assert!((10..=12).contains(&fills), "{fills}");
    assert_eq!(*lock(&world.store.readies), 0);
}

#[tokio::test(start_paused = true)]
async fn without_anybody_nothing_is_asked() {
    let (world, _running) = World::running();
    for _ in 0..10 {
        sleep(Duration::from_secs(1)).await;
        world.hint();
    }
    assert_eq!(world.store.fills(), 0);
}

#[tokio::test(start_paused = true)]
async fn hints_that_are_not_for_them_are_heeded_200_times_a_second() {
    let (world, _running) = World::running();
    let _asked = world.idle(wish(&["a"], 1, 30)).await;
    let before = world.store.fills();
    for _ in 0..1_000 {
        world.hint();
        sleep(Duration::from_millis(1)).await;
    }
    let fills = world.store.fills() - before;
    assert!((100..=210).contains(&fills), "{fills}");
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_two_while_another_gets_none() {
    for (actions, expected) in [
        (2, [1, 1, 0]),
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (7, [2, 1, 4]),
        (9, [2, 1, 5]),
    ] {
        let (world, _running) = World::running();
        let mut asked = Vec::new();
        for max in [2, 1, 5] {
            asked.push(world.idle(wish(&["a"], max, 5)).await);
        }
        let before = world.store.fills();
        world.queue("a", actions);
        world.hint();
        world.settle().await;
        assert_eq!(world.store.fills(), before + 1, "one claim for all");
        let mut granted = Vec::new();
        for asked in asked {
            granted.push(count(asked).await);
        }
        assert_eq!(granted, expected, "{actions}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_lease_is_granted_in_its_workers_name_and_for_its_time() {
    let (world, _running) = World::running();
    let mut asked = Vec::new();
    for (worker, lease) in [("one", None), ("two", Some(Duration::from_secs(9)))] {
        let wish = Wish {
            worker: worker.to_owned(),
            lease,
            ..wish(&["a"], 2, 30)
        };
        asked.push(world.idle(wish).await);
    }
    world.hint();
    world.settle().await;
    let last = world.store.fills() - 1;
    assert_eq!(world.store.workers(last), ["one", "two", "one", "two"]);
    let lengths: Vec<_> = lock(&world.store.fills)[last]
        .1
        .iter()
        .map(|slot| slot.lease.map(|lease| lease.as_secs()))
        .collect();
    assert_eq!(lengths, [None, Some(9), None, Some(9)]);
}

#[tokio::test(start_paused = true)]
async fn who_comes_does_not_make_the_others_look_again() {
    let (world, _running) = World::running();
    let _first = world.idle(wish(&["a"], 1, 30)).await;
    let _second = world.idle(wish(&["a"], 1, 30)).await;
    assert_eq!(world.store.workers(1).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_again_and_again_does_not_keep_the_others_from_what_comes() {
    let (world, _running) = World::running();
    let first = world.idle(wish(&["a"], 1, 60)).await;
    let second = world.idle(wish(&["a"], 1, 60)).await;
    let dispatcher = world.dispatcher.clone();
    let _restless = tokio::spawn(async move {
        loop {
            dispatcher.lease(wish(&["b"], 1, 0)).await.unwrap();
            sleep(GAP / 5).await;
        }
    });
    sleep(10 * GAP).await;
    world.queue("a", 1);
    world.hint();
    let soon = timeout(4 * GAP, first).await.unwrap();
    assert_eq!(soon.unwrap().unwrap().len(), 1);
    // And without a hint.
    world.queue("a", 1);
    let soon = timeout(FLOOR + GAP, second).await.unwrap();
    assert_eq!(soon.unwrap().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn for_who_is_gone_nothing_is_claimed() {
    let (world, _running) = World::running();
    let gone = world.idle(wish(&["a"], 1, 30)).await;
    assert_eq!(world.waiting(), 1);
    gone.abort();
    world.settle().await;
    assert_eq!(world.waiting(), 0);
    let before = world.store.fills();
    world.queue("a", 1);
    world.hint();
    world.settle().await;
    assert_eq!(world.store.fills(), before);
    assert_eq!(count(world.ask(wish(&["a"], 1, 0))).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_to_who_is_gone_goes_back() {
    let (world, _running) = World::running();
    let other = world.idle(wish(&["a"], 1, 30)).await;
    let gone = world.asking(wish(&["a"], 1, 30));
    world.queue("a", 2);
    *lock(&world.store.goes) = Some(gone);
    world.hint();
    assert_eq!(count(other).await, 1);
    world.settle().await;
    assert_eq!(lock(&world.store.released).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_goes_back() {
    let (world, _running) = World::running();
    world.queue("a", 2);
    let granted = world.dispatcher.lease(wish(&["a"], 2, 0)).await.unwrap();
    drop(granted);
    world.settle().await;
    assert_eq!(lock(&world.store.released).len(), 2);
    world.queue("a", 1);
    let granted = world.dispatcher.lease(wish(&["a"], 2, 0)).await.unwrap();
    assert_eq!(granted.take().len(), 1);
    world.settle().await;
    assert_eq!(lock(&world.store.released).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_made_again_is_granted_the_same() {
    let (world, _running) = World::running();
    let held = world.store.grant(&name("a"));
    lock(&world.store.granted).push((request(1), held.clone()));
    world.queue("a", 5);
    let again = Wish {
        request: Some(request(1)),
        ..wish(&["a"], 3, 30)
    };
    let granted = world.ask(again).await.unwrap().unwrap();
    assert_eq!(granted, [held]);
    assert_eq!(world.store.fills(), 0);
    let other = Wish {
        request: Some(request(2)),
        ..wish(&["a"], 3, 30)
    };
    assert_eq!(count(world.ask(other)).await, 3);
    let (_, slots) = &lock(&world.store.fills)[0];
    assert!(slots.iter().all(|slot| slot.request == Some(request(2))));
}

#[tokio::test(start_paused = true)]
async fn what_another_server_grants_to_a_request_that_waits_here_is_granted_here_too() {
    let (world, _running) = World::running();
    let waits = Wish {
        request: Some(request(1)),
        ..wish(&["a"], 3, 30)
    };
    let waiting = world.idle(waits).await;
    let other = Wish {
        request: Some(request(2)),
        ..wish(&["a"], 3, 30)
    };
    let other = world.idle(other).await;
    let held = world.store.grant(&name("a"));
    lock(&world.store.granted).push((request(1), held.clone()));
    let granted = timeout(Duration::from_secs(2), waiting).await.unwrap();
    assert_eq!(granted.unwrap().unwrap(), [held]);
    assert!(!other.is_finished());
    // However often it is looked for them, that is asked once a second.
    let before = *lock(&world.store.asked);
    for _ in 0..100 {
        sleep(2 * GAP).await;
        world.hint();
    }
    assert!(*lock(&world.store.asked) <= before + 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_before_does_not_go_back_with_the_second_who_asked() {
    let (world, _running) = World::running();
    let held = world.store.grant(&name("a"));
    lock(&world.store.granted).push((request(1), held));
    let again = Wish {
        request: Some(request(1)),
        ..wish(&["a"], 3, 30)
    };
    drop(world.dispatcher.lease(again).await.unwrap());
    world.settle().await;
    assert_eq!(*lock(&world.store.released), []);
}

#[tokio::test(start_paused = true)]
async fn a_request_made_twice_at_a_time_is_granted_once() {
    let (world, _running) = World::running();
    let twice = || Wish {
        request: Some(request(1)),
        ..wish(&["a"], 1, 30)
    };
    let first = world.idle(twice()).await;
    let second = world.idle(twice()).await;
    world.queue("a", 2);
    world.hint();
    let (first, second) = (
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    );
    assert_eq!((first.len(), &first), (1, &second));
    assert_eq!(lock(&world.store.queue)[&name("a")], 1);
    world.settle().await;
    assert_eq!(*lock(&world.store.released), []);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_ask_alike_one_may_go() {
    let (world, _running) = World::running();
    let twice = || Wish {
        request: Some(request(1)),
        ..wish(&["a"], 1, 30)
    };
    let gone = world.idle(twice()).await;
    let stays = world.idle(twice()).await;
    gone.abort();
    world.settle().await;
    world.queue("a", 1);
    world.hint();
    assert_eq!(count(stays).await, 1);
    world.settle().await;
    assert_eq!(*lock(&world.store.released), []);
}

#[tokio::test(start_paused = true)]
async fn types_of_which_nothing_waits_are_not_claimed() {
    let (world, _running) = World::running();
    let a = world.idle(wish(&["a"], 1, 30)).await;
    let b = world.idle(wish(&["b", "c"], 1, 30)).await;
    let d = world.idle(wish(&["d"], 1, 30)).await;
    let (fills, readies) = (world.store.fills(), *lock(&world.store.readies));
    world.queue("c", 1);
    world.hint();
    assert_eq!(count(b).await, 1);
    assert_eq!(*lock(&world.store.readies), readies + 1);
    assert_eq!(world.store.fills(), fills + 1);
    assert_eq!(lock(&world.store.fills)[fills].0, [name("c")]);
    assert!(!a.is_finished() && !d.is_finished());
}

#[tokio::test(start_paused = true)]
async fn the_same_types_in_another_order_are_claimed_together() {
    let (world, _running) = World::running();
    let a = world.idle(wish(&["a", "b"], 1, 30)).await;
    let b = world.idle(wish(&["b", "a", "b"], 1, 30)).await;
    let before = world.store.fills();
    world.queue("b", 2);
    world.hint();
    assert_eq!(count(a).await + count(b).await, 2);
    assert_eq!(world.store.fills(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn more_than_one_claim_can_take_are_claimed_by_several() {
    let (world, _running) = World::running();
    let mut asked = Vec::new();
    for _ in 0..1_100 {
        asked.push(world.ask(wish(&["a"], 1, 30)));
    }
    world.settle().await;
    let before = world.store.fills();
    world.queue("a", 1_100);
    sleep(2 * GAP).await;
    world.hint();
    for asked in asked {
        assert_eq!(count(asked).await, 1);
    }
    assert_eq!(world.store.fills(), before + 3);
    let most = lock(&world.store.fills)
        .iter()
        .map(|fill| fill.1.len())
        .max();
    assert_eq!(most, Some(500));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_who_comes_is_refused_and_who_waits_waits_on() {
    let (world, _running) = World::running();
    let waits = world.idle(wish(&["a"], 1, 5)).await;
    let lasts = world.idle(wish(&["a"], 1, 30)).await;
    *lock(&world.store.is_away) = true;
    let refused = world.ask(wish(&["a"], 1, 30)).await.unwrap();
    assert_eq!(refused, Err(DispatchError::Store(away())));
    world.hint();
    assert_eq!(count(waits).await, 0);
    *lock(&world.store.is_away) = false;
    world.queue("a", 1);
    assert_eq!(count(lasts).await, 1);
}

#[tokio::test(start_paused = true)]
async fn as_many_wait_as_may() {
    let world = World::new();
    let waiting: Vec<_> = (0..Dispatcher::WAITING_MAX)
        .map(|_| world.asking(wish(&["a"], 1, 60)))
        .collect();
    let beyond = world.dispatcher.lease(wish(&["a"], 1, 60)).await;
    assert_eq!(beyond.unwrap_err(), DispatchError::TooMany);
    assert_eq!(world.waiting(), 10_000);
    drop(waiting);
    assert_eq!(world.waiting(), 0);
    drop(world.asking(wish(&["a"], 1, 60)));
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_nobody_looks_is_refused_soon() {
    let world = World::new();
    let began = Instant::now();
    let refused = world.dispatcher.lease(wish(&["a"], 1, 60)).await;
    assert!(matches!(
        refused,
        Err(DispatchError::Store(StoreError::Unavailable(_)))
    ));
    assert!(began.elapsed() <= Duration::from_millis(2_500));
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_dies_is_followed_by_another() {
    let (world, running) = World::running();
    let waits = world.idle(wish(&["a"], 1, 30)).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // Who was looked for is told; who comes afterwards waits for the next one.
    drop(round::Round::begin(&world.dispatcher.shared, Scope::All));
    let refused = waits.await.unwrap();
    assert!(matches!(
        refused,
        Err(DispatchError::Store(StoreError::Unavailable(_)))
    ));
    let comes = world.ask(wish(&["a"], 1, 30));
    world.settle().await;
    let _running = tokio::spawn(world.dispatcher.clone().run());
    world.queue("a", 1);
    let soon = Duration::from_secs(2);
    assert_eq!(timeout(soon, count(comes)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_claim_is_waited_for_beyond_the_time() {
    let world = World::new();
    let mut asking = world.asking(wish(&["a"], 1, 1));
    let wanted = lock(&world.dispatcher.shared.list).look(false, Instant::now());
    let long = Duration::from_secs(7);
    assert!(timeout(long, &mut asking).await.is_err());
    let mut tells = lock(&world.dispatcher.shared.list).remove(wanted[0].poll);
    tells.remove(0).send(Ok(Granted::nothing())).unwrap();
    assert_eq!(asking.await.unwrap().take(), []);
}
