//! When keys were last used: gathered in memory, written down together.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use deed_adapters::clock::SystemClock;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{Database, PgApiKeys, PgAuthenticator, PgUsers, WakeupHub};
use deed_domain::api_key::{KeyName, NewApiKey};
use deed_domain::caller::Attribution;
use deed_domain::email::Email;
use deed_domain::id::{ApiKeyId, UserId};
use deed_domain::password::PasswordHash;
use deed_domain::ports::{
    ApiKeyRepository as _, Authenticator as _, Clock as _, Ids as _, UserCreated,
    UserRepository as _,
};
use deed_domain::scope::ScopeSet;
use deed_domain::secret::{PlainSecret, SecretKind};
use deed_domain::user::{DisplayName, NewUser};
use deed_testkit::{ManualClock, TestDatabase};

struct Fixture {
    database: Database,
    keys: PgApiKeys,
    authenticator: PgAuthenticator,
    clock: Arc<ManualClock>,
    user: UserId,
    _test: TestDatabase,
}

impl Fixture {
    async fn new() -> Self {
        let test = TestDatabase::fresh().await;
        let database = test.database();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        let users = PgUsers::new(database.clone(), hub.clone(), Arc::new(SystemIds));
        let user = NewUser {
            id: UserId::from_uuid(SystemIds.time_ordered()),
            email: Email::parse("ada@example.com").unwrap(),
            name: DisplayName::parse("Ada").unwrap(),
            password_hash: PasswordHash::from_phc("$"),
            external_id: None,
        };
        let UserCreated::New(user) = users
            .create(user, &Attribution::OPERATOR, None)
            .await
            .unwrap()
        else {
            panic!("a user of that address is there already")
        };
        let clock = Arc::new(ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap()));
        Self {
            keys: PgApiKeys::new(database.clone(), hub.clone(), Arc::new(SystemIds)),
            authenticator: PgAuthenticator::new(database.clone(), hub, clock.clone(), None),
            database,
            clock,
            user: user.id,
            _test: test,
        }
    }

    async fn key(&self) -> (ApiKeyId, PlainSecret) {
        let secret = PlainSecret::generate(SecretKind::ApiKey, || SystemIds.random_bytes());
        let key = NewApiKey {
            id: ApiKeyId::from_uuid(SystemIds.time_ordered()),
            user_id: self.user,
            name: KeyName::parse("k").unwrap(),
            scopes: ScopeSet::everything(),
            expires_at: None,
            digest: secret.digest(),
        };
        let id = key.id;
        self.keys.create(key, &Attribution::OPERATOR).await.unwrap();
        (id, secret)
    }

    async fn last_used(&self, id: ApiKeyId) -> Option<chrono::DateTime<chrono::Utc>> {
        self.keys
            .find(id, None)
            .await
            .unwrap()
            .unwrap()
            .last_used_at
    }
}

#[tokio::test]
async fn uses_are_gathered_and_written_down_together() {
    let fixture = Fixture::new().await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(fixture.key().await);
    }
    for (_, secret) in &keys[..2] {
        for _ in 0..5 {
            fixture
                .authenticator
                .authenticate(secret.reveal())
                .await
                .unwrap()
                .unwrap();
            fixture.clock.advance(Duration::from_secs(1));
        }
    }
    assert_eq!(fixture.last_used(keys[0].0).await, None);
    let before = fixture.database.statements();
    fixture.authenticator.flush_last_used().await.unwrap();
    assert_eq!(fixture.database.statements() - before, 1);
    let at = |seconds: i64| {
        Some(
            "2026-11-22T10:00:00Z"
                .parse::<chrono::DateTime<chrono::Utc>>()
                .unwrap()
                + chrono::TimeDelta::seconds(seconds),
        )
    };
    let mut found = Vec::new();
    for (id, _) in &keys {
        found.push(fixture.last_used(*id).await);
    }
    assert_eq!(found, [at(4), at(9), None]);
    fixture.authenticator.flush_last_used().await.unwrap();
    assert_eq!(
        fixture.database.statements() - before,
        4,
        "three looks, and nothing to write down"
    );
}

#[tokio::test]
async fn a_use_that_is_told_late_does_not_turn_the_clock_back() {
    let fixture = Fixture::new().await;
    let (id, secret) = fixture.key().await;
    let late = PgAuthenticator::new(
        fixture.database.clone(),
        WakeupHub::new(fixture.database.clone(), &SystemIds),
        Arc::new(SystemClock),
        None,
    );
    late.authenticate(secret.reveal()).await.unwrap().unwrap();
    late.flush_last_used().await.unwrap();
    let last = fixture.last_used(id).await.unwrap();
    assert!(last <= SystemClock.now());
    let early = ManualClock::at("2000-01-01T00:00:00Z".parse().unwrap());
    let early = PgAuthenticator::new(
        fixture.database.clone(),
        WakeupHub::new(fixture.database.clone(), &SystemIds),
        Arc::new(early),
        None,
    );
    early.authenticate(secret.reveal()).await.unwrap().unwrap();
    early.flush_last_used().await.unwrap();
    assert_eq!(fixture.last_used(id).await, Some(last));
}
