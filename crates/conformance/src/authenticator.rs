//! Suite of [`Authenticator`](deed_domain::ports::Authenticator).

use chrono::{SubsecRound as _, TimeDelta};
use deed_domain::caller::{Actor, Caller, Identity};
use deed_domain::id::UserId;
use deed_domain::key_limits::KeyLimits;
use deed_domain::ports::UserChanged;
use deed_domain::scope::ScopeSet;
use deed_domain::secret::{PlainSecret, SecretKind};
use deed_domain::user::{UserChange, UserCondition, UserStatus};

use crate::api_keys::{issue, new_key};
use crate::fixtures::by_somebody;
use crate::{Hearing, Ports, ROOT_KEY, Store};

/// A secret leads to its key, its user and its scopes.
pub async fn a_secret_tells_its_bearer(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await.id;
    let (mut new, secret) = new_key(&ports, user, &["actions:read", "users:act_as"]);
    new.expires_at = Some((ports.clock.now() + TimeDelta::hours(1)).trunc_subsecs(6));
    ports
        .api_keys
        .create(new.clone(), &by_somebody())
        .await
        .unwrap();
    let expected = Identity {
        actor: Actor::Key(new.id),
        owner: Some(user),
        scopes: new.scopes,
        expires_at: new.expires_at,
        limits: KeyLimits::NONE,
    };
    // The second time it may be remembered.
    for _ in 0..2 {
        assert_eq!(authenticate(&ports, &secret).await, Some(expected.clone()));
    }
}

/// The root key is nobody's and may everything.
pub async fn the_root_key_may_everything(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let expected = Identity {
        actor: Actor::Root,
        owner: None,
        scopes: ScopeSet::everything(),
        expires_at: None,
        limits: KeyLimits::NONE,
    };
    assert_eq!(
        ports.authenticator.authenticate(ROOT_KEY).await.unwrap(),
        Some(expected.clone())
    );
    assert!(
        ports
            .authenticator
            .is_still_valid(&expected.for_itself())
            .await
            .unwrap()
    );
    let almost = format!("{ROOT_KEY}x");
    assert_eq!(
        ports.authenticator.authenticate(&almost).await.unwrap(),
        None
    );
}

/// What is no secret, or not one of a key, is nobody's.
pub async fn what_is_no_secret_is_nobodys(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let unknown = PlainSecret::generate(SecretKind::ApiKey, || ports.ids.random_bytes());
    assert_eq!(authenticate(&ports, &unknown).await, None);
    for text in ["", "secret", "deedk_", "deedk_\0", &"é".repeat(500)] {
        assert_eq!(
            ports.authenticator.authenticate(text).await.unwrap(),
            None,
            "{text}"
        );
    }
}

/// An expired key is nobody's.
pub async fn an_expired_key_is_nobodys(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await.id;
    let (mut new, secret) = new_key(&ports, user, &["actions:read"]);
    new.expires_at = Some(ports.clock.now() - TimeDelta::seconds(1));
    ports.api_keys.create(new, &by_somebody()).await.unwrap();
    assert_eq!(authenticate(&ports, &secret).await, None);
}

/// A key that expires while it is remembered is nobody's from then on.
pub async fn a_key_expires_even_while_it_is_remembered(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await.id;
    let (mut new, secret) = new_key(&ports, user, &["actions:read"]);
    let expiry = ports.clock.now() + TimeDelta::milliseconds(700);
    new.expires_at = Some(expiry);
    ports.api_keys.create(new, &by_somebody()).await.unwrap();
    ports
        .until("expired", async || {
            authenticate(&ports, &secret).await.is_none().then_some(())
        })
        .await;
    let late = ports.clock.now() - expiry;
    assert!(
        late >= TimeDelta::zero() && late < TimeDelta::seconds(2),
        "{late}"
    );
}

/// From the commit on a revoked key is nobody's, on this replica at once, on others within their bound.
pub async fn a_revoked_key_is_nobodys_everywhere(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let hearing = store.replica(Hearing::Good).await;
    let deaf = store.replica(Hearing::Deaf).await;
    let user = ports.user("ada@example.com").await.id;
    let (key, secret) = issue(&ports, user, &["actions:read"]).await;
    let caller = authenticate(&ports, &secret).await.unwrap().for_itself();
    for replica in [&hearing, &deaf] {
        assert!(authenticate(replica, &secret).await.is_some());
    }
    assert!(ports.authenticator.is_still_valid(&caller).await.unwrap());
    ports
        .api_keys
        .revoke(key.id, None, &by_somebody())
        .await
        .unwrap();
    let revoked_at = ports.clock.now();
    assert_eq!(authenticate(&ports, &secret).await, None);
    for (replica, bound) in [(&hearing, 1_000), (&deaf, 5_000)] {
        assert!(!replica.authenticator.is_still_valid(&caller).await.unwrap());
        replica
            .until("refused", async || {
                authenticate(replica, &secret).await.is_none().then_some(())
            })
            .await;
        let after = replica.clock.now() - revoked_at;
        assert!(after < TimeDelta::milliseconds(bound), "after {after}");
    }
}

/// The keys of a disabled user are nobody's, and work again when the user does.
pub async fn a_disabled_users_key_is_nobodys(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await.id;
    let (_, secret) = issue(&ports, user, &["actions:read"]).await;
    let caller = authenticate(&ports, &secret).await.unwrap().for_itself();
    set_status(&ports, user, UserStatus::Disabled).await;
    assert_eq!(authenticate(&ports, &secret).await, None);
    assert!(!ports.authenticator.is_still_valid(&caller).await.unwrap());
    set_status(&ports, user, UserStatus::Active).await;
    assert!(authenticate(&ports, &secret).await.is_some());
    assert!(ports.authenticator.is_still_valid(&caller).await.unwrap());
}

/// The keys of a deleted user end everywhere: within a second, where hints are lost within five.
pub async fn a_deleted_users_key_is_nobodys_everywhere(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let hearing = store.replica(Hearing::Good).await;
    let deaf = store.replica(Hearing::Deaf).await;
    let user = ports.user("ada@example.com").await.id;
    let (_, secret) = issue(&ports, user, &["actions:read"]).await;
    let caller = authenticate(&ports, &secret).await.unwrap().for_itself();
    for replica in [&hearing, &deaf] {
        assert!(authenticate(replica, &secret).await.is_some());
    }
    assert!(ports.users.delete(user, &by_somebody()).await.unwrap());
    let deleted_at = ports.clock.now();
    assert_eq!(authenticate(&ports, &secret).await, None);
    for (replica, bound) in [(&hearing, 1_000), (&deaf, 5_000)] {
        assert!(!replica.authenticator.is_still_valid(&caller).await.unwrap());
        replica
            .until("refused", async || {
                authenticate(replica, &secret).await.is_none().then_some(())
            })
            .await;
        let after = replica.clock.now() - deleted_at;
        assert!(after < TimeDelta::milliseconds(bound), "after {after}");
    }
}

/// Who acts for a user that is disabled is no longer valid, whatever the key.
pub async fn acting_for_a_disabled_user_ends(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.user("ada@example.com").await.id;
    let bea = ports.user("bea@example.com").await.id;
    let (_, secret) = issue(&ports, ada, &["users:act_as"]).await;
    let identity = authenticate(&ports, &secret).await.unwrap();
    let caller: Caller = identity.for_user(bea, Some(UserStatus::Active)).unwrap();
    assert!(ports.authenticator.is_still_valid(&caller).await.unwrap());
    set_status(&ports, bea, UserStatus::Disabled).await;
    assert!(!ports.authenticator.is_still_valid(&caller).await.unwrap());
}

async fn authenticate(ports: &Ports, secret: &PlainSecret) -> Option<Identity> {
    ports
        .authenticator
        .authenticate(secret.reveal())
        .await
        .unwrap()
}

async fn set_status(ports: &Ports, user: UserId, status: UserStatus) {
    let change = UserChange {
        status: Some(status),
        ..UserChange::default()
    };
    let changed = ports
        .users
        .change(user, &change, &UserCondition::default(), &by_somebody())
        .await
        .unwrap();
    assert!(matches!(changed, UserChanged::Changed(_)), "{changed:?}");
}
