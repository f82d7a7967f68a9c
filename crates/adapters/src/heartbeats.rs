//! Heartbeats of a second, sent together.
//!
//! Each renewed lease is a row version, and a thousand workers would otherwise be a thousand small statements: what
//! arrives within a second of the last statement waits for the next one. Who comes to an idle replica doesn't wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deed_domain::action::LeaseRef;
use deed_domain::error::StoreError;
use deed_domain::ports::{Beat, HeartbeatVerdict};
use deed_domain::scope::TypeReach;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex as TurnMutex, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// The least time between the beginnings of two statements: less than the shortest lease, which would run out between
/// them otherwise.
const INTERVAL: Duration = Duration::from_millis(900);
/// How many leases wait together at the most; 300 bytes each.
const MOST: usize = 20_000;
/// How long one who asks waits, all in all. The statement goes on without it: a lease that holds longer than its holder was
/// told harms nobody.
const PATIENCE: Duration = Duration::from_millis(2_400);

type Verdicts = Result<Arc<HashMap<LeaseRef, HeartbeatVerdict>>, StoreError>;
type SendTogether = dyn Fn(Vec<Beat>) -> BoxFuture<'static, Result<Vec<HeartbeatVerdict>, StoreError>>
    + Send
    + Sync;

/// Why a heartbeat has no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("{MOST} leases wait to be renewed already")]
    Full,
    #[error("leases were not renewed within {} ms", PATIENCE.as_millis())]
    Late,
    #[error("whoever renewed leases has died")]
    Dead,
}

impl From<NoAnswer> for StoreError {
    fn from(error: NoAnswer) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

/// Gathers heartbeats, and sends them.
#[derive(Clone)]
pub(crate) struct Heartbeats {
    shared: Arc<Shared>,
}

struct Shared {
    send: Box<SendTogether>,
    gathering: Mutex<Option<Round>>,
    /// When the last statement began. Held while one is under way: there is never a second one beside it.
    turn: TurnMutex<Option<Instant>>,
}

/// What goes together, and who waits for it.
struct Round {
    beats: BTreeMap<LeaseRef, TypeReach>,
    answer: watch::Sender<Option<Verdicts>>,
}

impl Heartbeats {
    /// Heartbeats that `send` sends, one at a time and at most one call in 900 ms. It answers one verdict each, in order.
    pub(crate) fn new<F>(send: F) -> Self
    where
        F: Fn(Vec<Beat>) -> BoxFuture<'static, Result<Vec<HeartbeatVerdict>, StoreError>>
            + Send
            + Sync
            + 'static,
    {
        Self {
            shared: Arc::new(Shared {
                send: Box::new(send),
                gathering: Mutex::default(),
                turn: TurnMutex::default(),
            }),
        }
    }

    /// Renews together with whoever else asks: one verdict each, in order, once the statement has answered. A lease that
    /// several name is renewed once; who names it with another reach than the first asks by itself.
    pub(crate) async fn renew(&self, beats: &[Beat]) -> Result<Vec<HeartbeatVerdict>, StoreError> {
        if beats.is_empty() {
            return Ok(Vec::new());
        }
        let answer = async {
            let Some(mut answer) = self.shared.join(beats)? else {
                return (self.shared.send)(beats.to_vec()).await;
            };
            let verdicts = match answer.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(verdicts)) => verdicts.clone()?,
                Ok(None) | Err(_) => return Err(NoAnswer::Dead.into()),
            };
            let of = |beat: &Beat| verdicts.get(&beat.lease).copied();
            Ok(beats
                .iter()
                .map(|beat| of(beat).unwrap_or(HeartbeatVerdict::Lost))
                .collect())
        };
        timeout(PATIENCE, answer)
            .await
            .unwrap_or_else(|_| Err(NoAnswer::Late.into()))
    }
}

impl Shared {
    fn gathering(&self) -> MutexGuard<'_, Option<Round>> {
        self.gathering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `beats` into the next statement, and answers where its verdicts will be told; `None` if they can't go together.
    fn join(
        self: &Arc<Self>,
        beats: &[Beat],
    ) -> Result<Option<watch::Receiver<Option<Verdicts>>>, StoreError> {
        let mut gathering = self.gathering();
        let is_first = gathering.is_none();
        let round = gathering.get_or_insert_with(|| Round {
            beats: BTreeMap::new(),
            answer: watch::Sender::new(None),
        });
        let differs = |beat: &Beat| {
            round
                .beats
                .get(&beat.lease)
                .is_some_and(|reach| *reach != beat.reach)
        };
        if beats.iter().any(differs) {
            return Ok(None);
        }
        if round.beats.len().saturating_add(beats.len()) > MOST {
            return Err(NoAnswer::Full.into());
        }
        for beat in beats {
            round.beats.insert(beat.lease, beat.reach.clone());
        }
        let answer = round.answer.subscribe();
        drop(gathering);
        if is_first {
            // Whoever asked first may go away: the others' answers don't depend on it.
            tokio::spawn(Arc::clone(self).send_next());
        }
        Ok(Some(answer))
    }

    async fn send_next(self: Arc<Self>) {
        let mut last = self.turn.lock().await;
        if let Some(last) = *last {
            sleep_until(last + INTERVAL).await;
        }
        let Some(round) = self.gathering().take() else {
            return;
        };
        *last = Some(Instant::now());
        let beats: Vec<Beat> = round
            .beats
            .into_iter()
            .map(|(lease, reach)| Beat { lease, reach })
            .collect();
        let leases: Vec<LeaseRef> = beats.iter().map(|beat| beat.lease).collect();
        let verdicts = (self.send)(beats)
            .await
            .map(|verdicts| Arc::new(leases.into_iter().zip(verdicts).collect()));
        round.answer.send_replace(Some(verdicts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::action::ActionType;
    use deed_domain::id::{ActionId, LeaseId};
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;
    use uuid::Uuid;

    /// When a statement was sent since the beginning, and for which actions.
    type Sent = (Duration, Vec<u128>);

    /// What was sent, and what is answered.
    #[derive(Clone)]
    struct Wire {
        began: Instant,
        sent: Arc<Mutex<Vec<Sent>>>,
        /// Each statement takes one, or waits for it.
        open: Arc<Semaphore>,
        answer: Arc<Mutex<Option<StoreError>>>,
    }

    impl Wire {
        fn new() -> (Self, Heartbeats) {
            let wire = Self {
                began: Instant::now(),
                sent: Arc::default(),
                open: Arc::new(Semaphore::new(1_000)),
                answer: Arc::default(),
            };
            let other = wire.clone();
            let heartbeats = Heartbeats::new(move |beats| other.clone().send(beats).boxed());
            (wire, heartbeats)
        }

        async fn send(self, beats: Vec<Beat>) -> Result<Vec<HeartbeatVerdict>, StoreError> {
            let names = beats
                .iter()
                .map(|beat| beat.lease.lease_id.as_uuid().as_u128());
            let entry = (self.began.elapsed(), names.collect());
            self.sent.lock().unwrap().push(entry);
            self.open.acquire().await.unwrap().forget();
            if let Some(error) = self.answer.lock().unwrap().clone() {
                return Err(error);
            }
            Ok(beats.iter().map(verdict).collect())
        }

        fn sent(&self) -> Vec<(u128, Vec<u128>)> {
            let sent = self.sent.lock().unwrap().clone();
            sent.into_iter()
                .map(|(when, names)| (when.as_millis(), names))
                .collect()
        }
    }

    fn beat(n: u128) -> Beat {
        Beat {
            lease: LeaseRef {
                action_id: ActionId::from_uuid(Uuid::from_u128(n)),
                lease_id: LeaseId::from_uuid(Uuid::from_u128(n)),
            },
            reach: TypeReach::All,
        }
    }

    /// Each lease has a verdict of its own; those beyond a hundred are lost.
    fn verdict(beat: &Beat) -> HeartbeatVerdict {
        let n = beat.lease.lease_id.as_uuid().as_u128();
        match i64::try_from(n) {
            Ok(n) if n < 100 => HeartbeatVerdict::Held {
                expires_at: chrono::DateTime::from_timestamp(n, 0).unwrap(),
                cancel_requested: n % 2 == 0,
            },
            _ => HeartbeatVerdict::Lost,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_replicas_first_goes_at_once_and_the_rest_of_a_second_together() {
        let (wire, heartbeats) = Wire::new();
        let first = [beat(1)];
        assert_eq!(heartbeats.renew(&first).await, Ok(vec![verdict(&first[0])]));
        assert_eq!(wire.began.elapsed(), Duration::ZERO);
        let asked = [
            vec![beat(3), beat(100), beat(2)],
            vec![beat(1)],
            vec![beat(2)],
            vec![],
        ];
        let answers = join_all(asked.iter().map(|beats| heartbeats.renew(beats))).await;
        for (beats, answer) in asked.iter().zip(answers) {
            assert_eq!(answer, Ok(beats.iter().map(verdict).collect()));
        }
        let expected = [(0, vec![1]), (900, vec![1, 2, 3, 100])];
        assert_eq!(wire.sent(), expected);
        tokio::time::sleep(Duration::from_secs(60)).await;
        heartbeats.renew(&[beat(4)]).await.unwrap();
        assert_eq!(wire.sent()[2], (60_900, vec![4]));
    }

    #[tokio::test(start_paused = true)]
    async fn who_beats_three_times_in_the_shortest_lease_keeps_it() {
        let (wire, heartbeats) = Wire::new();
        for _ in 0..10 {
            heartbeats.renew(&[beat(1)]).await.unwrap();
            tokio::time::sleep(ActionType::LEASE_MIN / 3).await;
        }
        let renewed: Vec<u128> = wire.sent().into_iter().map(|(when, _)| when).collect();
        for pair in renewed.windows(2) {
            let pause = pair[1] - pair[0];
            assert!(pause < ActionType::LEASE_MIN.as_millis(), "{renewed:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_one_statement_at_a_time_and_who_waits_too_long_is_told() {
        let (wire, heartbeats) = Wire::new();
        heartbeats.renew(&[beat(1)]).await.unwrap();
        wire.open.forget_permits(1_000);
        let (second, third) = futures_util::future::join(heartbeats.renew(&[beat(2)]), async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            heartbeats.renew(&[beat(3)]).await
        })
        .await;
        assert!(matches!(second, Err(StoreError::Unavailable(_))));
        assert!(matches!(third, Err(StoreError::Unavailable(_))));
        assert_eq!(
            wire.began.elapsed(),
            Duration::from_millis(1_500) + PATIENCE
        );
        assert_eq!(wire.sent(), [(0, vec![1]), (900, vec![2])]);
        // What was kept waiting goes as soon as the one under way has an answer.
        wire.open.add_permits(10);
        heartbeats.renew(&[beat(4)]).await.unwrap();
        assert_eq!(wire.sent()[2].1, [3, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_fails_fails_for_all_who_wait_for_it() {
        let (wire, heartbeats) = Wire::new();
        let away = StoreError::Unavailable(Arc::new(std::io::Error::other("away")));
        *wire.answer.lock().unwrap() = Some(away.clone());
        let asked = [beat(1), beat(2)];
        let answers = join_all(
            asked
                .iter()
                .map(|one| heartbeats.renew(std::slice::from_ref(one))),
        );
        assert_eq!(answers.await, [Err(away.clone()), Err(away)]);
        *wire.answer.lock().unwrap() = None;
        heartbeats.renew(&asked).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_takes_nobody_along() {
        let (wire, heartbeats) = Wire::new();
        heartbeats.renew(&[beat(1)]).await.unwrap();
        assert!(heartbeats.renew(&[beat(2)]).now_or_never().is_none());
        heartbeats.renew(&[beat(3)]).await.unwrap();
        assert_eq!(wire.sent()[1], (900, vec![2, 3]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_lease_under_two_reaches_is_asked_twice() {
        let (wire, heartbeats) = Wire::new();
        heartbeats.renew(&[beat(1)]).await.unwrap();
        let narrow = Beat {
            reach: TypeReach::Some(Vec::new()),
            ..beat(2)
        };
        let (all, narrow) = ([beat(2), beat(3)], [narrow]);
        let both = futures_util::future::join(heartbeats.renew(&all), heartbeats.renew(&narrow));
        let (all, narrow) = both.await;
        assert_eq!((all.unwrap().len(), narrow.unwrap().len()), (2, 1));
        assert_eq!(wire.sent()[1..], [(0, vec![2]), (900, vec![2, 3])]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let (wire, heartbeats) = Wire::new();
        heartbeats.renew(&[beat(1)]).await.unwrap();
        let many: Vec<Beat> = (0..MOST)
            .map(|n| beat(u128::try_from(n).unwrap()))
            .collect();
        let one_more = [beat(u128::MAX)];
        let both = futures_util::future::join(heartbeats.renew(&many), heartbeats.renew(&one_more));
        let (waited, refused) = both.await;
        assert_eq!(waited.unwrap().len(), MOST);
        assert!(matches!(refused, Err(StoreError::Unavailable(_))));
        assert_eq!(wire.sent().len(), 2);
    }
}
