//! A run from its start to its verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use local_postgres::{Cluster, Installation, Options};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::NoTls;

use super::history::{Record, Recorder};
use super::killer::{CONNECTIONS, Killer};
use super::members::{Member, Role, free_address, replica_name};
use super::oracle::{self, Bounds, Violation};
use super::random::Random;
use super::service::Service;
use super::summary::Summary;
use super::world::{Phase, World};
use super::{stored, subscriber, work, worker, writer};
use crate::client::Client;
use crate::environment::variable;
use crate::server::ROOT_KEY;

const REPLICAS: usize = 2;
const WORKERS: usize = 2;
const WRITERS: usize = 8;
const SUBSCRIBERS: usize = 16;
/// How long all may take to come to rest: the longest lease and its takeover, and then what waits behind it.
const REST: Duration = Duration::from_secs(90);
/// How late events may be. Promised are 1.2 s with notifications lost; the rest is for a busy machine.
const DELIVERY: Duration = Duration::from_secs(4);
/// How long a server may take that was asked to stop: promised are 30 s.
const DRAIN: Duration = Duration::from_secs(31);
/// How long a strike takes at the most, in the mean: half a minute of drain, and a start.
const STRIKE: Duration = Duration::from_secs(12);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many times to strike.
    pub kills: usize,
    /// Where the choices come from.
    pub seed: u64,
    /// The server's program.
    pub server: String,
    /// Where everything is kept: the database, the logs, the history.
    pub directory: PathBuf,
}

/// What came of it.
pub struct Verdict {
    /// The numbers.
    pub summary: Summary,
    /// What contradicts the promises.
    pub violations: Vec<Violation>,
    /// How long it took.
    pub took: Duration,
}

/// Runs it. `say` hears of the progress.
///
/// # Errors
/// When it can't be carried out.
pub async fn run(plan: &Plan, say: impl Fn(String)) -> anyhow::Result<Verdict> {
    let began = Instant::now();
    let logs = plan.directory.join("run");
    // What an earlier run has left is that run's.
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let cluster = cluster(&plan.directory)?;
    let (database, connection) = tokio_postgres::connect(&cluster.url(), NoTls).await?;
    tokio::spawn(connection);
    let database = Arc::new(database);
    let url = format!("{}&application_name={CONNECTIONS}", cluster.url());
    let addresses = (0..REPLICAS)
        .map(|_| free_address())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let bases: Vec<String> = addresses.iter().map(|at| format!("http://{at}")).collect();
    let recorder = Arc::new(Recorder::new(&logs.join("history.jsonl"))?);

    let mut replicas = Vec::new();
    for (number, address) in addresses.into_iter().enumerate() {
        let role = Role::Replica {
            server: plan.server.clone(),
            address,
            database: url.clone(),
            log: logs.join(format!("replica-{number}.log")),
        };
        let mut replica = Member::new(replica_name(number), role, Arc::clone(&recorder));
        replica.start().await?;
        replicas.push(Arc::new(Mutex::new(replica)));
    }
    let keys = set_up(&bases[0]).await;
    let service = Service::new(&bases, &keys.user);
    let world = Arc::new(World::new(service, Arc::clone(&recorder)));
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let role = Role::Worker {
            settings: worker::Settings {
                name: format!("w{number}"),
                replicas: bases.clone(),
                key: keys.worker.clone(),
                seed: plan.seed,
            },
            log: logs.join(format!("worker-{number}.log")),
        };
        let mut worker = Member::new(format!("worker {number}"), role, Arc::clone(&recorder));
        worker.start().await?;
        workers.push(Arc::new(Mutex::new(worker)));
    }
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let name = format!("writer-{number}");
        let random = Random::of(plan.seed, &name);
        writers.spawn(writer::run(Arc::clone(&world), name, random));
    }
    let mut subscribers = JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let name = format!("subscriber-{number}");
        let random = Random::of(plan.seed, &name);
        subscribers.spawn(subscriber::run(Arc::clone(&world), name, random));
    }

    let struck = Arc::new(AtomicUsize::new(0));
    let killer = Killer {
        world: Arc::clone(&world),
        replicas: replicas.clone(),
        workers: workers.clone(),
        database: Arc::clone(&database),
        random: Random::of(plan.seed, "killer"),
    };
    let limit = Duration::from_secs(60) + STRIKE * u32::try_from(plan.kills)?;
    let counter = Arc::clone(&struck);
    let killing = killer.run(plan.kills, move |count| {
        counter.store(count, Ordering::Relaxed)
    });
    let progress = async {
        loop {
            sleep(Duration::from_secs(5)).await;
            let left = stored::unfinished(&database).await.unwrap_or(-1);
            say(format!(
                "{:>4} s  {} of {} kills, {} acknowledged, {left} not over",
                began.elapsed().as_secs(),
                struck.load(Ordering::Relaxed),
                plan.kills,
                world.published(),
            ));
        }
    };
    tokio::select! {
        killed = timeout(limit, killing) => killed.context("striking took too long")??,
        () = progress => {}
    }

    world.enter(Phase::Rest);
    say(format!(
        "{:>4} s  coming to rest",
        began.elapsed().as_secs()
    ));
    let written = async {
        while writers.join_next().await.transpose()?.is_some() {}
        Ok(())
    };
    timeout(REST, written)
        .await
        .context("the writers got no answers")?
        .map_err(failed)?;
    if !stored::at_rest(&database, REST).await? {
        say(format!("not all is over after {REST:?}"));
    }
    // Whoever is still connected has this long to hear of the end.
    sleep(DELIVERY + Duration::from_secs(1)).await;
    world.enter(Phase::Over);
    while subscribers
        .join_next()
        .await
        .transpose()
        .map_err(failed)?
        .is_some()
    {}
    for member in replicas.iter().chain(&workers) {
        let mut member = member.lock().await;
        for complaint in member.complaints()? {
            recorder.record(Record::Died {
                victim: member.name.clone(),
                how: complaint,
            });
        }
        // One that has ended by itself has been written down.
        drop(member.kill().await);
    }
    let stored = stored::read(&database).await?;
    let history = recorder.history();
    let bounds = Bounds {
        delivery: DELIVERY,
        drain: DRAIN,
    };
    Ok(Verdict {
        summary: Summary::of(&history, &stored),
        violations: oracle::judge(&history, &stored, &bounds),
        took: began.elapsed(),
    })
}

fn failed(error: tokio::task::JoinError) -> anyhow::Error {
    anyhow::Error::new(error).context("one that takes part has failed")
}

/// A PostgreSQL of its own, empty, which does not lose what it has committed.
fn cluster(directory: &Path) -> anyhow::Result<Cluster> {
    let bin = variable("DEED_PG_BIN").map(PathBuf::from);
    let installation = Installation::find(bin.as_deref())?;
    let options = Options {
        user: "deed".to_owned(),
        database: "deed".to_owned(),
        fresh: true,
        unreachable_base: PathBuf::from("/var/lib/deed-dev"),
        ..Options::new(directory.join("postgres"))
    };
    Ok(Cluster::start(&installation, &options, &mut |_| {})?)
}

/// The keys of those who take part.
struct Keys {
    user: String,
    worker: String,
}

/// Registers a user, and the type that external workers perform. Nobody is struck yet.
async fn set_up(base: &str) -> Keys {
    let root = Client::anonymous(base).with_key(ROOT_KEY);
    let path = format!("/action-types/{}", work::TYPE);
    let put = root.request("PUT", &path).json(&work::definition());
    put.send().await.json(201);
    let user = root.new_user().await;
    let issue = async |scopes: &[&str]| {
        let body = json!({"name": "chaos", "scopes": scopes});
        let issued = root.issue(&user, body).await;
        issued["secret"].as_str().unwrap().to_owned()
    };
    Keys {
        user: issue(&["actions:read", "actions:write"]).await,
        worker: issue(&["actions:work"]).await,
    }
}
