//! Strikes at random, and helps up again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::history::{Blow, Record};
use super::members::Member;
use super::random::Random;
use super::world::World;

/// How the servers' connections are called.
pub const CONNECTIONS: &str = "deed_chaos";
/// How long a server that was asked to stop is waited for. The oracle complains much sooner.
const DRAIN: Duration = Duration::from_secs(60);
/// How long all are waited for that could be struck.
const NOBODY: Duration = Duration::from_secs(90);

/// Whom to strike, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Card {
    Replica(Blow),
    Worker(Blow),
    Database(Blow),
}

/// What befalls in ten strikes, in any order: so that few strikes hold something of everything, too.
const DECK: [Card; 10] = [
    Card::Replica(Blow::Kill),
    Card::Replica(Blow::Kill),
    Card::Replica(Blow::Term),
    Card::Replica(Blow::Stop),
    Card::Worker(Blow::Kill),
    Card::Worker(Blow::Stop),
    Card::Worker(Blow::Stop),
    Card::Database(Blow::Backend),
    Card::Database(Blow::Listeners),
    Card::Database(Blow::Listeners),
];

/// Who strikes whom.
pub struct Killer {
    /// The world, which is told of it.
    pub world: Arc<World>,
    /// The servers.
    pub replicas: Vec<Arc<Mutex<Member>>>,
    /// The external workers.
    pub workers: Vec<Arc<Mutex<Member>>>,
    /// The operator's connection to the database.
    pub database: Arc<Client>,
    /// Its choices.
    pub random: Random,
}

impl Killer {
    /// Strikes so many times, and waits until all that were struck are up again. `told` hears of each strike.
    ///
    /// # Errors
    /// When somebody can't be helped up, or ended by itself.
    pub async fn run(mut self, strikes: usize, mut told: impl FnMut(usize)) -> anyhow::Result<()> {
        let mut deck = Vec::new();
        let mut recovering = JoinSet::new();
        for strike in 1..=strikes {
            sleep(self.random.millis(500..2_500)).await;
            if deck.is_empty() {
                deck.extend(DECK);
                self.random.shuffle(&mut deck);
            }
            let mut card = deck.pop().context("the deck is empty")?;
            if strike == strikes {
                // At last, with all servers up, nobody hears anything for a while: whoever missed something by that stays
                // connected long enough to complain.
                while let Some(recovered) = recovering.join_next().await {
                    recovered??;
                }
                card = Card::Database(Blow::Listeners);
            }
            match card {
                Card::Replica(blow) => {
                    let member = someone(&self.replicas, &mut self.random).await?;
                    // The other one may be down already. Now and then it is for longer than the servers' own lease.
                    let time = match self.random.chance(65) {
                        true => self.random.millis(500..3_000),
                        false => self.random.millis(10_500..13_000),
                    };
                    recovering.spawn(strike_member(Arc::clone(&self.world), member, blow, time));
                }
                Card::Worker(blow) => {
                    let member = someone(&self.workers, &mut self.random).await?;
                    let time = self.random.millis(2_500..5_000);
                    recovering.spawn(strike_member(Arc::clone(&self.world), member, blow, time));
                }
                Card::Database(blow) => {
                    let time = self.random.millis(1_500..3_000);
                    let (world, database) = (Arc::clone(&self.world), Arc::clone(&self.database));
                    recovering.spawn(strike_database(world, database, blow, time));
                }
            }
            told(strike);
            while let Some(recovered) = recovering.try_join_next() {
                recovered??;
            }
        }
        while let Some(recovered) = recovering.join_next().await {
            recovered??;
        }
        Ok(())
    }
}

/// Any of them that isn't down already.
async fn someone(
    members: &[Arc<Mutex<Member>>],
    random: &mut Random,
) -> anyhow::Result<OwnedMutexGuard<Member>> {
    let deadline = Instant::now() + NOBODY;
    while Instant::now() < deadline {
        let first = random.place(members.len());
        for member in members.iter().cycle().skip(first).take(members.len()) {
            if let Ok(free) = Arc::clone(member).try_lock_owned() {
                return Ok(free);
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("nobody has come up again for {NOBODY:?}")
}

async fn strike_member(
    world: Arc<World>,
    mut member: OwnedMutexGuard<Member>,
    blow: Blow,
    time: Duration,
) -> anyhow::Result<()> {
    let victim = member.name.clone();
    world.recorder.record(Record::Struck {
        victim: victim.clone(),
        blow,
    });
    match blow {
        Blow::Stop => {
            member.signal(Signal::STOP)?;
            sleep(time).await;
            member.signal(Signal::CONT)?;
        }
        Blow::Term => {
            member.signal(Signal::TERM)?;
            let status = member.ended(DRAIN).await?;
            world.recorder.record(Record::Drained {
                victim: victim.clone(),
                code: status.code(),
            });
            member.start().await?;
        }
        Blow::Kill | Blow::Backend | Blow::Listeners => {
            member.kill().await?;
            member.start().await?;
        }
    }
    world.recorder.record(Record::Recovered { victim, blow });
    Ok(())
}

async fn strike_database(
    world: Arc<World>,
    database: Arc<Client>,
    blow: Blow,
    time: Duration,
) -> anyhow::Result<()> {
    let victim = "postgres".to_owned();
    world.recorder.record(Record::Struck {
        victim: victim.clone(),
        blow,
    });
    if blow == Blow::Listeners {
        let listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = $1 AND query LIKE 'LISTEN%'";
        let end = Instant::now() + time;
        while Instant::now() < end {
            database.execute(listening, &[&CONNECTIONS]).await?;
            sleep(Duration::from_millis(20)).await;
        }
    } else {
        // One that is at work, if any is.
        let busy = "SELECT pg_terminate_backend(pid) FROM (
             SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND query NOT LIKE 'LISTEN%'
             ORDER BY state = 'active' DESC, random() LIMIT 1) one";
        database.execute(busy, &[&CONNECTIONS]).await?;
    }
    world.recorder.record(Record::Recovered { victim, blow });
    Ok(())
}
