//! The only place that names concrete adapters.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use deed_adapters::clock::SystemClock;
use deed_adapters::dispatcher::Dispatcher;
use deed_adapters::eraser::erase_deleted;
use deed_adapters::handlers::{Echo, Wait};
use deed_adapters::ids::SystemIds;
use deed_adapters::input_schemas::JsonSchemas;
use deed_adapters::password_hasher::Argon2Hasher;
use deed_adapters::postgres::housekeeping::{
    Housekeeper, Pace, make_partitions, missing_partitions,
};
use deed_adapters::postgres::{
    Database, PgActionReader, PgActionTypes, PgApiKeys, PgAuthenticator, PgErasure, PgEventLog,
    PgLeases, PgStreamTickets, PgSubmissions, PgUsers, Sampler, WakeupHub, migrate, server_secret,
};
use deed_adapters::runner::{Runner, RunnerSettings, sweep};
use deed_delivery::metrics::HttpMetrics;
use deed_delivery::{Check, HttpSettings, Parts, Readiness, ServerKey, Services};
use deed_domain::password::PasswordPolicy;
use deed_domain::ports::{
    ActionHandler, ActionTypes as _, ApiKeyRepository, Authenticator, Clock, Ids, UserRepository,
    Wakeups,
};
use deed_domain::secret::{PlainSecret, SecretKind};
use deed_domain::service::{
    AwaitChange, AwaitOutcome, Cancel, ChangeUser, DefineTypes, DeleteUser, Follow, Identify,
    IssueKey, ManageKeys, Perform, ReadActions, ReadUsers, RegisterUser, Retention, Retry, Submit,
    SubmitBatch, Tickets, Work,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fault::{Exit, Fault};
use crate::metrics::{Exporter, ServerState};
use crate::preflight::{self, Need};
use crate::settings::Settings;
use crate::spans::Spans;
use crate::supervision::{TaskState, Tasks, down};

/// The name under which the key that signs cursors is kept.
const SERVER_KEY: &str = "http";

pub(crate) fn built_in_handlers() -> Vec<Arc<dyn ActionHandler>> {
    vec![Arc::new(Echo), Arc::new(Wait)]
}

/// Connects to a database that meets `need`, and says what is wrong if that can't be done.
pub(crate) async fn connect(url: &str, pool_size: usize, need: Need) -> anyhow::Result<Database> {
    preflight::check(url, need).await?;
    let database = Database::new(url, pool_size)?;
    database.ping().await.map_err(|error| {
        Fault::new(
            Exit::DatabaseRefused,
            format!("The database refuses the settings of Deed's sessions: {error}"),
            "Connect to PostgreSQL itself; a pooler between has to pass the start-up parameter `options` on",
        )
    })?;
    Ok(database)
}

/// Connects to a database whose schema is up to date, to change it.
pub(crate) async fn connect_migrated(url: &str, pool_size: usize) -> anyhow::Result<Database> {
    let database = connect(url, pool_size, Need::Write).await?;
    crate::serve::refuse_when_behind(&migrate::lacking(&database).await?)?;
    Ok(database)
}

/// What the commands need that change users and keys without a server.
pub(crate) struct Identities {
    pub(crate) users: Arc<dyn UserRepository>,
    pub(crate) api_keys: Arc<dyn ApiKeyRepository>,
    pub(crate) register: RegisterUser,
    pub(crate) delete: DeleteUser,
    pub(crate) issue_key: IssueKey,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

impl Identities {
    pub(crate) fn new(database: &Database) -> Self {
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Nobody runs this hub: replicas see the change by their own look at the database, within a second.
        let hub = WakeupHub::new(database.clone(), ids.as_ref());
        let users: Arc<dyn UserRepository> = Arc::new(PgUsers::new(
            database.clone(),
            hub.clone(),
            Arc::clone(&ids),
        ));
        let api_keys: Arc<dyn ApiKeyRepository> = Arc::new(PgApiKeys::new(
            database.clone(),
            hub.clone(),
            Arc::clone(&ids),
        ));
        let authenticator = Arc::new(PgAuthenticator::new(
            database.clone(),
            hub,
            Arc::clone(&clock),
            None,
        ));
        let erasure = Arc::new(PgErasure::new(database.clone()));
        Self {
            register: RegisterUser::new(
                Arc::clone(&users),
                Arc::new(Argon2Hasher::new(1)),
                Arc::clone(&ids),
            ),
            issue_key: IssueKey::new(Arc::clone(&api_keys), Arc::clone(&ids), Arc::clone(&clock)),
            delete: DeleteUser::new(Arc::clone(&users), erasure),
            users,
            api_keys,
            authenticator,
            clock,
            ids,
        }
    }

    pub(crate) fn new_secret(&self, kind: SecretKind) -> PlainSecret {
        PlainSecret::generate(kind, || self.ids.random_bytes())
    }
}

/// What runs beside the HTTP server.
pub(crate) struct Background {
    database: Database,
    authenticator: Arc<PgAuthenticator>,
    /// Who keeps the runner going, and what tells it to take no more; none once it has drained.
    runner: Option<(JoinHandle<()>, watch::Sender<bool>)>,
    tasks: Tasks,
    housekeeper: Arc<Housekeeper>,
    spans: Spans,
}

/// How long the runner has to finish what it performs once it drains.
const FINISH: Duration = Duration::from_secs(20);

/// How long writing down when keys were last used may take at the end.
const LAST_USED: Duration = Duration::from_secs(2);

/// How long handing the housekeeping over may take at the end.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Puts the ports' adapters together, registers the handlers' types, and starts what runs beside the HTTP server.
pub(crate) async fn wire(
    database: Database,
    handlers: Vec<Arc<dyn ActionHandler>>,
    settings: &Settings,
    draining: watch::Receiver<bool>,
) -> anyhow::Result<(Parts, Background, Exporter)> {
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    make_partitions(&database, clock.now(), settings.retention)
        .await
        .context("partitions can't be made")?;
    let key = server_key(&database, ids.as_ref()).await?;

    let hub = WakeupHub::new(database.clone(), ids.as_ref());
    let wakeups: Arc<dyn Wakeups> = Arc::new(hub.clone());
    let users: Arc<dyn UserRepository> = Arc::new(PgUsers::new(
        database.clone(),
        hub.clone(),
        Arc::clone(&ids),
    ));
    let keys = Arc::new(PgApiKeys::new(
        database.clone(),
        hub.clone(),
        Arc::clone(&ids),
    ));
    let authenticator = Arc::new(
        PgAuthenticator::new(
            database.clone(),
            hub.clone(),
            Arc::clone(&clock),
            settings.root_key()?,
        )
        .limiting(settings.key_limits()),
    );
    let types = Arc::new(PgActionTypes::new(database.clone()));
    let actions = Arc::new(PgActionReader::new(database.clone()));
    let log = Arc::new(PgEventLog::new(database.clone()));
    let leases = Arc::new(PgLeases::new(database.clone(), hub.clone()));
    let submissions = Arc::new(PgSubmissions::new(database.clone(), hub.clone()));

    let spans = Spans::from_environment()?;
    let runner = {
        let (leases, ids, wakeups) = (leases.clone(), Arc::clone(&ids), Arc::clone(&wakeups));
        let (tracer, database) = (spans.tracer(), database.clone());
        let slots = usize::from(settings.runner_slots);
        move || {
            Runner::new(
                leases.clone(),
                Work::new(leases.clone(), Arc::clone(&ids)),
                Arc::clone(&wakeups),
                handlers.clone(),
                RunnerSettings {
                    slots,
                    worker: format!("in-process:{}", std::process::id()),
                },
                database.metrics(),
            )
            .traced(tracer.clone())
        }
    };
    types
        .register_handlers(&runner().action_types())
        .await
        .context("the action types can't be registered")?;

    let mut tasks = Tasks::new(Arc::clone(&ids));
    let wakeup_hub = hub.clone();
    tasks.keep("wake-ups", move || wakeup_hub.clone().run());
    let housekeeper = Arc::new(Housekeeper::new(
        database.clone(),
        Arc::clone(&clock),
        ids.as_ref(),
        settings.retention,
        Pace::default(),
    ));
    let keeping_house = Arc::clone(&housekeeper);
    tasks.keep("housekeeper", move || {
        let housekeeper = Arc::clone(&keeping_house);
        async move { housekeeper.run().await }
    });
    let erasure = Arc::new(PgErasure::new(database.clone()));
    tasks.keep("eraser", move || erase_deleted(erasure.clone()));
    let dispatcher = Dispatcher::new(leases.clone(), Arc::clone(&wakeups), database.metrics());
    let perform = Perform::new(
        Arc::new(dispatcher.clone()),
        leases.clone(),
        Work::new(leases.clone(), Arc::clone(&ids)),
    );
    // To the end: what it has granted to a worker that goes during a drain goes back.
    tasks.keep("dispatcher", move || dispatcher.clone().run());
    tasks.keep("sweeper", move || sweep(leases.clone()));
    let last_used = Arc::clone(&authenticator);
    tasks.keep("last-used", move || {
        let last_used = Arc::clone(&last_used);
        async move { last_used.keep_last_used().await }
    });
    let (drain_runner, drain) = watch::channel(false);
    let drained = drain.clone();
    // What a runner that dies was performing is taken over when its leases expire.
    let runner = tasks.keep_until("runner", drain, move || {
        let (runner, mut drained) = (runner(), drained.clone());
        async move {
            let drained = async move {
                let _ = drained.wait_for(|drained| *drained).await;
            };
            runner.run(drained, FINISH).await;
        }
    });

    let schemas = Arc::new(JsonSchemas::default());
    let retention = Retention::new(settings.retention, Arc::clone(&clock));
    let define_types = DefineTypes::new(types.clone(), schemas.clone());
    let submit = Submit::new(
        submissions.clone(),
        types.clone(),
        schemas.clone(),
        Arc::clone(&ids),
        Arc::clone(&clock),
    );
    let services = Services {
        identify: Identify::new(authenticator.clone(), Arc::clone(&users)),
        register_user: RegisterUser::new(
            Arc::clone(&users),
            Arc::new(Argon2Hasher::new(available_cores()).measured(database.metrics())),
            Arc::clone(&ids),
        ),
        read_users: ReadUsers::new(Arc::clone(&users)),
        change_user: ChangeUser::new(users),
        issue_key: IssueKey::new(keys.clone(), Arc::clone(&ids), Arc::clone(&clock)),
        manage_keys: ManageKeys::new(keys),
        submit_batch: SubmitBatch::new(submit.clone(), actions.clone()).keeping(retention.clone()),
        submit,
        await_outcome: AwaitOutcome::new(actions.clone(), Arc::clone(&wakeups))
            .keeping(retention.clone()),
        await_change: AwaitChange::new(
            actions.clone(),
            Arc::clone(&wakeups),
            authenticator.clone(),
            Arc::clone(&clock),
        )
        .keeping(retention.clone()),
        read_actions: ReadActions::new(actions.clone(), log.clone(), types.clone())
            .keeping(retention.clone()),
        retry: Retry::new(
            submissions.clone(),
            actions.clone(),
            types,
            schemas,
            Arc::clone(&ids),
        )
        .keeping(retention.clone()),
        define_types,
        perform,
        cancel: Cancel::new(submissions, actions).keeping(retention.clone()),
        tickets: Tickets::new(
            Arc::new(PgStreamTickets::new(database.clone()).limiting(settings.key_limits())),
            Arc::clone(&ids),
        )
        .keeping(retention.clone()),
        follow: Follow::new(log, wakeups, authenticator.clone(), Arc::clone(&clock))
            .keeping(retention),
    };
    let http_metrics = HttpMetrics::default();
    let state = ServerState {
        tasks: tasks.states(),
        draining: draining.clone(),
    };
    let sampler = Sampler::new(
        database.clone(),
        hub,
        authenticator.clone(),
        Arc::clone(&clock),
    );
    let exporter = Exporter::new(&database, &http_metrics, state, sampler, clock.as_ref())?;
    let readiness = ReplicaReadiness {
        database: database.clone(),
        clock,
        tasks: tasks.states(),
        draining: draining.clone(),
    };
    let parts = Parts {
        services,
        settings: http_settings(settings),
        runtime: Handle::current(),
        key,
        ids,
        tracer: spans.tracer(),
        readiness: Arc::new(readiness),
        metrics: http_metrics,
        draining,
    };
    let background = Background {
        database,
        authenticator,
        runner: Some((runner, drain_runner)),
        tasks,
        housekeeper,
        spans,
    };
    Ok((parts, background, exporter))
}

async fn server_key(database: &Database, ids: &dyn Ids) -> anyhow::Result<ServerKey> {
    let secret = server_secret(database, ids, SERVER_KEY)
        .await
        .context("the server's key can't be read")?;
    let mut key = [0u8; 32];
    for (to, from) in key.iter_mut().zip(secret.iter()) {
        *to = *from;
    }
    Ok(ServerKey::new(key))
}

fn http_settings(settings: &Settings) -> HttpSettings {
    let mut http = HttpSettings {
        open_registration: settings.open_registration,
        wait: settings.wait,
        max_wait: settings.max_wait,
        stream_max_age: settings.stream_max_age,
        cors_origins: settings.origins().to_vec(),
        docs: settings.docs,
        ..HttpSettings::default()
    };
    http.limits.password = PasswordPolicy::with_min(usize::from(settings.password_min));
    http
}

pub(crate) fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Background {
    /// Takes no more actions, and returns when those under way have finished or gone back to the queue.
    pub(crate) async fn finish_work(&mut self) {
        let Some((runner, drain)) = self.runner.take() else {
            return;
        };
        drain.send_replace(true);
        if let Err(error) = runner.await {
            log::error!(error:err = error; "the runner did not end well");
        }
    }

    /// Ends everything else.
    pub(crate) async fn stop(self) {
        match tokio::time::timeout(LAST_USED, self.authenticator.flush_last_used()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                log::warn!(error:err = error; "when keys were last used was not written down")
            }
            Err(_) => log::warn!("when keys were last used was not written down in time"),
        }
        self.spans.flush().await;
        self.tasks.stop().await;
        // Now that nobody takes it again.
        match tokio::time::timeout(HAND_OVER, self.housekeeper.hand_over()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                log::debug!(error:err = error; "the housekeeping was not handed over")
            }
            Err(_) => log::debug!("the housekeeping was not handed over in time"),
        }
        self.database.close();
    }
}

/// Whether this replica can serve.
struct ReplicaReadiness {
    database: Database,
    clock: Arc<dyn Clock>,
    tasks: Vec<TaskState>,
    draining: watch::Receiver<bool>,
}

#[async_trait]
impl Readiness for ReplicaReadiness {
    async fn checks(&self) -> Vec<Check> {
        let check = |name, missing: Option<&str>| Check {
            name,
            missing: missing.map(str::to_owned),
        };
        let pending = migrate::lacking(&self.database).await;
        let database = pending.is_err().then_some("it can't be reached");
        let migrations = match &pending {
            Ok(pending) if pending.is_empty() => None,
            Ok(_) => Some("the database lacks a migration of this binary"),
            Err(_) => Some("unknown"),
        };
        let partitions = match missing_partitions(&self.database, self.clock.now()).await {
            Ok(missing) if missing.is_empty() => None,
            Ok(_) => Some("there is no room for all actions of the coming 14 days"),
            Err(_) => Some("unknown"),
        };
        let down = if *self.draining.borrow() {
            Vec::new()
        } else {
            down(&self.tasks)
        };
        let tasks = (!down.is_empty()).then(|| format!("{} died", down.join(", ")));
        vec![
            check("database", database),
            check("migrations", migrations),
            check("partitions", partitions),
            check("background tasks", tasks.as_deref()),
        ]
    }
}
