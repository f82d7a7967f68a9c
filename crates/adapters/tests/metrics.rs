//! What is measured, on a real server.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deed_adapters::clock::SystemClock;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{
    Database, PgActionTypes, PgAuthenticator, PgLeases, PgSubmissions, PgUsers, Sampler, WakeupHub,
};
use deed_domain::action::state::RetryReason;
use deed_domain::action::{
    ActionType, ActionTypeName, Grant, NewAction, NewEvent, Outcome, Payload, PerformedBy, Priority,
};
use deed_domain::caller::{Attribution, Reach};
use deed_domain::email::Email;
use deed_domain::id::{ActionId, UserId};
use deed_domain::password::PasswordHash;
use deed_domain::ports::{
    ActionTypes as _, Append, Authenticator as _, CancelVerdict, ClaimRequest, Clock as _, Finish,
    Finished, Ids as _, Leases as _, Requeue, Requeued, Submissions as _, UserRepository as _,
};
use deed_domain::scope::TypeReach;
use deed_domain::secret::{PlainSecret, SecretKind};
use deed_domain::user::{DisplayName, NewUser};
use deed_testkit::TestDatabase;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

const LEASE: Duration = Duration::from_secs(30);

struct Fixture {
    _test: TestDatabase,
    database: Database,
    hub: WakeupHub,
    leases: PgLeases,
    submissions: PgSubmissions,
    user: UserId,
    registry: Registry,
}

impl Fixture {
    async fn new() -> Self {
        let test = TestDatabase::fresh().await;
        let database = test.database();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        let echo = ActionType::new(echo(), PerformedBy::Handler);
        PgActionTypes::new(database.clone())
            .register_handlers(&[echo])
            .await
            .unwrap();
        let user = NewUser {
            id: UserId::from_uuid(SystemIds.time_ordered()),
            email: Email::parse("ada@example.com").unwrap(),
            name: DisplayName::parse("Ada").unwrap(),
            password_hash: PasswordHash::from_phc("$"),
            external_id: None,
        };
        let id = user.id;
        PgUsers::new(database.clone(), hub.clone(), Arc::new(SystemIds))
            .create(user, &Attribution::OPERATOR, None)
            .await
            .unwrap();
        let mut registry = Registry::default();
        database.metrics().register(&mut registry);
        Self {
            _test: test,
            leases: PgLeases::new(database.clone(), hub.clone()),
            submissions: PgSubmissions::new(database.clone(), hub.clone()),
            database,
            hub,
            user: id,
            registry,
        }
    }

    fn sampler(&self) -> Sampler {
        let clock = Arc::new(SystemClock);
        let authenticator = Arc::new(self.authenticator());
        Sampler::new(
            self.database.clone(),
            self.hub.clone(),
            authenticator,
            clock,
        )
    }

    fn authenticator(&self) -> PgAuthenticator {
        PgAuthenticator::new(
            self.database.clone(),
            self.hub.clone(),
            Arc::new(SystemClock),
            None,
        )
    }

    async fn submit(&self, delay: Option<Duration>) -> ActionId {
        let id = ActionId::from_uuid(SystemIds.time_ordered());
        let action = NewAction {
            id,
            user_id: self.user,
            api_key_id: None,
            action_type: echo(),
            priority: Priority::default(),
            max_attempts: 3,
            run_at: delay.map(|delay| SystemClock.now() + delay),
            retry_of: None,
            input: Payload::empty_object(),
            traceparent: None,
            max_queued: None,
        };
        self.submissions.submit(action, None).await.unwrap();
        id
    }

    async fn claim(&self, lease: Duration) -> Grant {
        let request = ClaimRequest {
            types: vec![echo()],
            max: 1,
            worker: "w".to_owned(),
            lease: Some(lease),
        };
        let mut grants = self.leases.claim(&request).await.unwrap();
        grants.pop().unwrap()
    }

    /// Every sample, by its name with its labels.
    fn samples(&self) -> BTreeMap<String, f64> {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    #[track_caller]
    fn check(&self, expected: &[(&str, f64)]) {
        let samples = self.samples();
        for (name, value) in expected {
            match samples.get(*name) {
                Some(found) if found == value => {}
                found => panic!("{name} is {found:?}, not {value}:\n{samples:#?}"),
            }
        }
    }
}

fn echo() -> ActionTypeName {
    ActionTypeName::parse("echo").unwrap()
}

fn finish(grant: &Grant, outcome: Outcome) -> Finish {
    Finish {
        lease: grant.lease.id,
        from_seq: None,
        events: vec![NewEvent::message(Payload::empty_object())],
        outcome,
    }
}

#[tokio::test]
async fn an_action_is_counted_from_its_submission_to_its_end() {
    let fixture = Fixture::new().await;
    fixture.submit(None).await;
    let grant = fixture.claim(LEASE).await;
    let append = Append {
        lease: grant.lease.id,
        from_seq: grant.lease.next_seq,
        events: vec![NewEvent::message(Payload::empty_object()); 2],
        checkpoint: None,
    };
    for _ in 0..2 {
        // The second one is no news, and not counted again.
        fixture
            .leases
            .append(std::slice::from_ref(&append), &TypeReach::All)
            .await
            .unwrap();
    }
    let output = Outcome::Succeeded(Payload::empty_object());
    let finish = finish(&grant, output);
    for expected in [true, false] {
        let finished = fixture.leases.finish(std::slice::from_ref(&finish)).await;
        let is_first = matches!(finished.unwrap()[0], Finished::Finished(_));
        assert_eq!(is_first, expected);
    }
    fixture.check(&[
        ("actions_submitted_total{type=\"echo\"}", 1.0),
        ("action_attempts_total{type=\"echo\"}", 1.0),
        ("action_queue_wait_seconds_count{type=\"echo\"}", 1.0),
        ("action_attempt_duration_seconds_count{type=\"echo\"}", 1.0),
        (
            "actions_finished_total{type=\"echo\",outcome=\"succeeded\"}",
            1.0,
        ),
        (
            "actions_finished_total{type=\"echo\",outcome=\"failed\"}",
            0.0,
        ),
        // created, started, two messages, one with the end, done
        ("events_appended_total", 6.0),
        ("leases_lost_total", 0.0),
    ]);
    let samples = fixture.samples();
    let waited = samples["action_queue_wait_seconds_sum{type=\"echo\"}"];
    let took = samples["action_attempt_duration_seconds_sum{type=\"echo\"}"];
    assert!(waited > 0.0 && waited < 60.0, "{waited}");
    assert!(took > 0.0 && took < 60.0, "{took}");
}

#[tokio::test]
async fn retries_takeovers_and_lost_leases_are_told_apart() {
    let fixture = Fixture::new().await;
    fixture.submit(None).await;
    let first = fixture.claim(LEASE).await;
    let requeue = Requeue {
        lease: first.lease.id,
        pause: Duration::ZERO,
        reason: RetryReason::Failed,
        error: None,
    };
    let requeued = fixture.leases.requeue(&[requeue]).await.unwrap();
    assert_eq!(requeued, [Requeued::Requeued]);
    let late = [finish(&first, Outcome::Cancelled)];
    let finished = fixture.leases.finish(&late).await.unwrap();
    assert_eq!(finished, [Finished::Lost]);

    let second = fixture.claim(Duration::from_millis(1)).await;
    let rescued = async {
        while fixture.leases.rescue(10).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LEASE, rescued).await.unwrap();
    let released = fixture.claim(LEASE).await;
    fixture.leases.release(&[released.lease.id]).await.unwrap();
    let cancelled = fixture
        .submissions
        .cancel(second.lease.id.action_id, &Reach::EVERYTHING)
        .await
        .unwrap();
    assert_eq!(cancelled, CancelVerdict::Cancelled);
    fixture.check(&[
        ("action_attempts_total{type=\"echo\"}", 3.0),
        ("action_retries_total{reason=\"failed\"}", 1.0),
        ("action_retries_total{reason=\"lease_expired\"}", 1.0),
        ("action_retries_total{reason=\"attempt_timeout\"}", 0.0),
        ("action_retries_total{reason=\"released\"}", 1.0),
        ("lease_takeovers_total{reason=\"lease_expired\"}", 1.0),
        ("lease_takeovers_total{reason=\"attempt_timeout\"}", 0.0),
        ("leases_lost_total", 1.0),
        (
            "actions_finished_total{type=\"echo\",outcome=\"cancelled\"}",
            1.0,
        ),
        // Only the attempt that its performer ended by itself.
        ("action_attempt_duration_seconds_count{type=\"echo\"}", 1.0),
    ]);
}

#[tokio::test]
async fn statements_are_counted_with_what_became_of_them() {
    let fixture = Fixture::new().await;
    let before = fixture.samples();
    fixture.submit(None).await;
    fixture.database.ping().await.unwrap();
    let clash = NewUser {
        id: UserId::from_uuid(SystemIds.time_ordered()),
        email: Email::parse("ada@example.com").unwrap(),
        name: DisplayName::parse("Ada").unwrap(),
        password_hash: PasswordHash::from_phc("$"),
        external_id: None,
    };
    let users = PgUsers::new(
        fixture.database.clone(),
        fixture.hub.clone(),
        Arc::new(SystemIds),
    );
    drop(users.create(clash, &Attribution::OPERATOR, None).await);
    let after = fixture.samples();
    let grew = |name: &str| after[name] - before[name];
    assert_eq!(grew("database_statements_total{access=\"write\"}"), 3.0);
    assert_eq!(
        grew("database_statement_duration_seconds_count{access=\"write\"}"),
        3.0
    );
    assert_eq!(grew("pool_wait_seconds_count"), 3.0);
    assert_eq!(grew("database_errors_total{kind=\"constraint\"}"), 1.0);
    assert_eq!(grew("database_errors_total{kind=\"statement\"}"), 0.0);
}

#[tokio::test]
async fn the_queue_is_looked_at_and_not_too_often() {
    let fixture = Fixture::new().await;
    fixture.submit(None).await;
    fixture.submit(None).await;
    fixture.submit(None).await;
    fixture.submit(Some(Duration::from_secs(3600))).await;
    let running = fixture.claim(LEASE).await;
    let sampler = fixture.sampler();
    sampler.refresh().await;
    let known = [
        ("database_up", 1.0),
        ("queue_depth{type=\"echo\",state=\"ready\"}", 2.0),
        ("queue_depth{type=\"echo\",state=\"scheduled\"}", 1.0),
        ("leases{type=\"echo\",state=\"held\"}", 1.0),
        ("leases{type=\"echo\",state=\"expired\"}", 0.0),
        ("partitions_missing", 0.0),
    ];
    fixture.check(&known);
    assert!(fixture.samples()["queue_oldest_ready_seconds{type=\"echo\"}"] > 0.0);
    let used = fixture.samples()["pool_connections{state=\"idle\"}"];
    assert!(used >= 1.0, "{used}");

    let done = finish(&running, Outcome::Cancelled);
    fixture.leases.finish(&[done]).await.unwrap();
    let statements = fixture.database.statements();
    for _ in 0..10 {
        sampler.refresh().await;
    }
    assert_eq!(fixture.database.statements(), statements);
    fixture.check(&known);
    fixture.sampler().refresh().await;
    fixture.check(&[("leases{type=\"echo\",state=\"held\"}", 0.0)]);
}

#[tokio::test]
async fn many_who_look_at_once_look_together() {
    let fixture = Fixture::new().await;
    let sampler = Arc::new(fixture.sampler());
    let before = fixture.database.statements();
    let looks = (0..20).map(|_| {
        let sampler = Arc::clone(&sampler);
        tokio::spawn(async move { sampler.refresh().await })
    });
    for look in looks.collect::<Vec<_>>() {
        look.await.unwrap();
    }
    assert_eq!(fixture.database.statements() - before, 2, "one look");
}

#[tokio::test]
async fn a_database_that_is_away_leaves_no_old_values_behind() {
    let fixture = Fixture::new().await;
    fixture.submit(None).await;
    let sampler = fixture.sampler();
    sampler.refresh().await;
    fixture.check(&[("queue_depth{type=\"echo\",state=\"ready\"}", 1.0)]);
    fixture.database.close();
    fixture.sampler().refresh().await;
    fixture.check(&[("database_up", 0.0)]);
    let samples = fixture.samples();
    let left: Vec<&String> = samples
        .keys()
        .filter(|name| {
            ["queue_", "leases{", "partitions_"]
                .iter()
                .any(|one| name.starts_with(one))
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_database_that_hangs_is_not_waited_for() {
    // Connections are taken, and nothing is ever answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let database = Database::new(&format!("postgres://deed@127.0.0.1:{port}/deed"), 4).unwrap();
    let hub = WakeupHub::new(database.clone(), &SystemIds);
    let clock = Arc::new(SystemClock);
    let authenticator = PgAuthenticator::new(database.clone(), hub.clone(), clock.clone(), None);
    let sampler = Sampler::new(database.clone(), hub, Arc::new(authenticator), clock);
    let start = Instant::now();
    sampler.refresh().await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    let again = Instant::now();
    sampler.refresh().await;
    assert!(again.elapsed() < Duration::from_millis(500), "it is known");
    let mut registry = Registry::default();
    database.metrics().register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("database_up 0\n"), "{text}");
}

#[tokio::test]
async fn the_cache_of_identities_tells_hits_from_misses() {
    let fixture = Fixture::new().await;
    let authenticator = fixture.authenticator();
    let secret = PlainSecret::generate(SecretKind::ApiKey, || SystemIds.random_bytes());
    // Nobody looks after changes yet, so the cache is not used.
    assert!(
        authenticator
            .authenticate(secret.reveal())
            .await
            .unwrap()
            .is_none()
    );
    // What is no key never gets there.
    assert!(authenticator.authenticate("guess").await.unwrap().is_none());
    fixture.check(&[
        ("auth_cache_lookups_total{result=\"bypassed\"}", 1.0),
        ("auth_cache_lookups_total{result=\"miss\"}", 0.0),
        ("auth_cache_lookups_total{result=\"hit\"}", 0.0),
    ]);
}

#[tokio::test]
async fn an_own_hint_shows_how_long_hints_take() {
    let fixture = Fixture::new().await;
    let running = tokio::spawn(fixture.hub.clone().run());
    let arrived = async {
        loop {
            // Each submission tells the others that the queue has grown.
            fixture.submit(None).await;
            if fixture.samples()["wakeup_lag_seconds_count"] >= 1.0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), arrived).await.unwrap();
    fixture.sampler().refresh().await;
    let samples = fixture.samples();
    assert_eq!(samples["listener_connected"], 1.0);
    assert!(samples["listener_silence_seconds"] < 20.0);
    running.abort();
}
