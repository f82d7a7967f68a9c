//! Suite of [`ApiKeyRepository`](deed_domain::ports::ApiKeyRepository).

use chrono::{SubsecRound as _, TimeDelta};
use deed_domain::api_key::{ApiKey, KeyName, NewApiKey};
use deed_domain::audit::AuditKind;
use deed_domain::caller::{Actor, Attribution};
use deed_domain::id::{ApiKeyId, UserId};
use deed_domain::ports::AuditFilter;
use deed_domain::scope::ScopeSet;
use deed_domain::secret::{PlainSecret, SecretKind};

use crate::fixtures::{by_somebody, page};
use crate::{Hearing, Ports, Store};

/// What is found is what was issued.
pub async fn an_issued_key_is_found_as_it_was_issued(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await.id;
    let (mut new, _) = new_key(&ports, user, &["actions:read", "actions:work:report.*"]);
    new.expires_at = Some((ports.clock.now() + TimeDelta::hours(1)).trunc_subsecs(6));
    let key = ports
        .api_keys
        .create(new.clone(), &by_somebody())
        .await
        .unwrap()
        .expect("its user exists");
    let expected = ApiKey {
        id: new.id,
        user_id: user,
        name: new.name,
        scopes: new.scopes,
        created_at: key.created_at,
        expires_at: new.expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    assert_eq!(key, expected);
    assert_eq!(
        ports.api_keys.find(key.id, Some(user)).await.unwrap(),
        Some(expected.clone())
    );
    assert_eq!(
        ports.api_keys.find(key.id, None).await.unwrap(),
        Some(expected)
    );
}

/// A key needs a user.
pub async fn nobody_gets_no_key(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let nobody = UserId::from_uuid(ports.ids.time_ordered());
    let (new, _) = new_key(&ports, nobody, &["actions:read"]);
    let id = new.id;
    assert_eq!(
        ports.api_keys.create(new, &by_somebody()).await.unwrap(),
        None
    );
    assert_eq!(ports.api_keys.find(id, None).await.unwrap(), None);
    assert_eq!(
        ports
            .audit_log
            .list(&AuditFilter::default(), page(10, None))
            .await
            .unwrap()
            .items,
        []
    );
}

/// Another user's key looks like one that doesn't exist, and stays as it is.
pub async fn anothers_key_is_out_of_reach(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.user("ada@example.com").await.id;
    let bea = ports.user("bea@example.com").await.id;
    let (key, _) = issue(&ports, ada, &["actions:read"]).await;
    assert_eq!(ports.api_keys.find(key.id, Some(bea)).await.unwrap(), None);
    assert!(
        !ports
            .api_keys
            .revoke(key.id, Some(bea), &by_somebody())
            .await
            .unwrap()
    );
    assert_eq!(
        ports
            .api_keys
            .list(Some(bea), page(10, None))
            .await
            .unwrap()
            .items,
        []
    );
    assert_eq!(
        ports.api_keys.find(key.id, Some(ada)).await.unwrap(),
        Some(key)
    );
}

/// Lists go from the newest to the oldest, page by page.
pub async fn keys_are_listed_newest_first(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.user("ada@example.com").await.id;
    let bea = ports.user("bea@example.com").await.id;
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.insert(0, issue(&ports, ada, &["actions:read"]).await.0);
        issue(&ports, bea, &["actions:read"]).await;
    }
    let first = ports.api_keys.list(Some(ada), page(2, None)).await.unwrap();
    let second = ports
        .api_keys
        .list(Some(ada), page(2, first.next))
        .await
        .unwrap();
    assert_eq!(second.next, None);
    assert_eq!([first.items, second.items].concat(), expected);
    assert_eq!(
        ports
            .api_keys
            .list(None, page(10, None))
            .await
            .unwrap()
            .items
            .len(),
        6
    );
}

/// Revoking is final, and the second time changes nothing.
pub async fn a_key_is_revoked_once(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await.id;
    let (key, _) = issue(&ports, user, &["actions:read"]).await;
    assert!(
        ports
            .api_keys
            .revoke(key.id, Some(user), &by_somebody())
            .await
            .unwrap()
    );
    let revoked = ports.api_keys.find(key.id, None).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some());
    assert!(
        ports
            .api_keys
            .revoke(key.id, Some(user), &by_somebody())
            .await
            .unwrap()
    );
    assert_eq!(
        ports.api_keys.find(key.id, None).await.unwrap(),
        Some(revoked)
    );
    let unknown = ApiKeyId::from_uuid(ports.ids.time_ordered());
    assert!(
        !ports
            .api_keys
            .revoke(unknown, None, &by_somebody())
            .await
            .unwrap()
    );
    let events = ports
        .audit_log
        .list(
            &AuditFilter {
                user_id: Some(user),
            },
            page(10, None),
        )
        .await
        .unwrap()
        .items;
    let kinds: Vec<_> = events
        .iter()
        .map(|event| (event.kind, event.api_key_id))
        .collect();
    use AuditKind::{KeyCreated, KeyRevoked, UserCreated};
    assert_eq!(
        kinds,
        [
            (KeyRevoked, Some(key.id)),
            (KeyCreated, Some(key.id)),
            (UserCreated, None)
        ]
    );
}

/// The audit event tells which key did it, and for whom.
pub async fn audit_events_tell_who_did_it(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await.id;
    for actor in [
        Actor::Root,
        Actor::Operator,
        Actor::Key(ApiKeyId::from_uuid(ports.ids.time_ordered())),
    ] {
        let by = Attribution {
            actor,
            subject: Some(user),
            request_id: None,
        };
        let (new, _) = new_key(&ports, user, &["actions:read"]);
        ports.api_keys.create(new, &by).await.unwrap();
        let events = ports
            .audit_log
            .list(&AuditFilter::default(), page(1, None))
            .await
            .unwrap();
        assert_eq!(events.items[0].by, by);
        assert!(events.next.is_some());
    }
}

pub(crate) fn new_key(ports: &Ports, user: UserId, scopes: &[&str]) -> (NewApiKey, PlainSecret) {
    let secret = PlainSecret::generate(SecretKind::ApiKey, || ports.ids.random_bytes());
    let key = NewApiKey {
        id: ApiKeyId::from_uuid(ports.ids.time_ordered()),
        user_id: user,
        name: KeyName::parse("a key").unwrap(),
        scopes: ScopeSet::of(scopes.iter().map(|scope| scope.parse().unwrap())).unwrap(),
        expires_at: None,
        digest: secret.digest(),
    };
    (key, secret)
}

pub(crate) async fn issue(ports: &Ports, user: UserId, scopes: &[&str]) -> (ApiKey, PlainSecret) {
    let (new, secret) = new_key(ports, user, scopes);
    let key = ports
        .api_keys
        .create(new, &by_somebody())
        .await
        .unwrap()
        .expect("its user exists");
    (key, secret)
}
