//! Suite of [`UserRepository`](deed_domain::ports::UserRepository) and of the audit events that it writes.

use deed_domain::audit::{AuditEvent, AuditKind};
use deed_domain::id::UserId;
use deed_domain::ports::{AuditFilter, UserChanged, UserCreated};
use deed_domain::user::{
    ExternalId, NewUser, User, UserChange, UserCondition, UserFilter, UserStatus, UserVersion,
    UserVersions,
};
use futures_util::future::{join, join_all};

use crate::api_keys::{issue, new_key};
use crate::fixtures::{by_somebody, email, idempotency, name, page};
use crate::{Hearing, Ports, Store};

/// What is found is what was registered.
pub async fn a_registered_user_is_found_as_it_was_registered(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let new = NewUser {
        external_id: Some(external_id("ext-1")),
        ..ports.new_user("Ada@Example.com")
    };
    let created = ports
        .users
        .create(new.clone(), &by_somebody(), None)
        .await
        .unwrap();
    let UserCreated::New(user) = created else {
        panic!("{created:?}")
    };
    let expected = User {
        id: new.id,
        email: email("Ada@Example.com"),
        name: new.name,
        status: UserStatus::Active,
        external_id: new.external_id,
        created_at: user.created_at,
        updated_at: user.created_at,
    };
    assert_eq!(user, expected);
    assert_eq!(ports.users.find(user.id).await.unwrap(), Some(expected));
    assert_eq!(ports.users.find(nobody(&ports)).await.unwrap(), None);
}

/// Addresses are compared by their key.
pub async fn an_address_is_registered_once(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    ports.user("ada@example.com").await;
    let again = ports
        .users
        .create(ports.new_user("ADA@example.COM"), &by_somebody(), None)
        .await
        .unwrap();
    assert_eq!(again, UserCreated::EmailTaken);
    assert_eq!(everybody(&ports).await.len(), 1);
}

/// External ids are unique; users without one are not in each other's way.
pub async fn an_external_id_is_given_once(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    ports.user("x@example.com").await;
    ports.user("y@example.com").await;
    for (address, expected) in [("a@example.com", false), ("b@example.com", true)] {
        let new = NewUser {
            external_id: Some(external_id("ext-1")),
            ..ports.new_user(address)
        };
        let created = ports.users.create(new, &by_somebody(), None).await.unwrap();
        assert_eq!(created == UserCreated::ExternalIdTaken, expected);
    }
}

/// Of many at once one registers the address.
pub async fn of_many_at_once_one_gets_the_address(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let by = by_somebody();
    let tries = (0..8).map(|_| {
        ports
            .users
            .create(ports.new_user("ada@example.com"), &by, None)
    });
    let created: Vec<UserCreated> = join_all(tries)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        created
            .iter()
            .filter(|one| matches!(one, UserCreated::New(_)))
            .count(),
        1,
        "{created:?}"
    );
    assert_eq!(
        created
            .iter()
            .filter(|one| **one == UserCreated::EmailTaken)
            .count(),
        7,
        "{created:?}"
    );
}

/// The same request again is answered with its user, as it is now.
pub async fn a_repeated_request_is_answered_with_its_user(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let new = ports.new_user("ada@example.com");
    let first = ports
        .users
        .create(new.clone(), &by_somebody(), Some(idempotency("k", 1)))
        .await
        .unwrap();
    let UserCreated::New(user) = first else {
        panic!("{first:?}")
    };
    let renamed = change(
        &ports,
        user.id,
        UserChange {
            name: Some(name("Bea")),
            ..UserChange::default()
        },
    )
    .await;
    let again = NewUser {
        id: nobody(&ports),
        ..new
    };
    let again = ports
        .users
        .create(again, &by_somebody(), Some(idempotency("k", 1)))
        .await
        .unwrap();
    assert_eq!(again, UserCreated::Replayed(changed(renamed)));
    assert_eq!(everybody(&ports).await.len(), 1);
}

/// A key that was used for another request is refused, and nothing is made.
pub async fn a_reused_key_is_refused(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    ports
        .users
        .create(
            ports.new_user("a@example.com"),
            &by_somebody(),
            Some(idempotency("k", 1)),
        )
        .await
        .unwrap();
    let other = ports
        .users
        .create(
            ports.new_user("b@example.com"),
            &by_somebody(),
            Some(idempotency("k", 2)),
        )
        .await;
    assert_eq!(other.unwrap(), UserCreated::KeyReused);
    assert_eq!(everybody(&ports).await.len(), 1);
}

/// Of many that race with one key, one registers and the others get its user.
pub async fn requests_that_race_with_one_key_make_one_user(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let by = by_somebody();
    let tries = (0..8).map(|_| {
        ports.users.create(
            ports.new_user("ada@example.com"),
            &by,
            Some(idempotency("k", 1)),
        )
    });
    let created: Vec<UserCreated> = join_all(tries)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let new: Vec<_> = created
        .iter()
        .filter(|one| matches!(one, UserCreated::New(_)))
        .collect();
    let [UserCreated::New(user)] = new.as_slice() else {
        panic!("{created:?}")
    };
    let replays = created
        .iter()
        .filter(|one| **one == UserCreated::Replayed(user.clone()))
        .count();
    assert_eq!(replays, 7, "{created:?}");
}

/// A refused registration leaves its key free.
pub async fn a_refused_registration_leaves_its_key_free(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    ports.user("ada@example.com").await;
    let refused = ports
        .users
        .create(
            ports.new_user("ada@example.com"),
            &by_somebody(),
            Some(idempotency("k", 1)),
        )
        .await;
    assert_eq!(refused.unwrap(), UserCreated::EmailTaken);
    let other = ports
        .users
        .create(
            ports.new_user("bea@example.com"),
            &by_somebody(),
            Some(idempotency("k", 2)),
        )
        .await;
    assert!(matches!(other.unwrap(), UserCreated::New(_)));
}

/// Lists go from the newest to the oldest, page by page, with nothing lost or repeated.
pub async fn lists_are_newest_first_and_paged(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let mut expected = Vec::new();
    for n in 0..5 {
        expected.insert(0, ports.user(&format!("u{n}@example.com")).await);
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let one = ports
            .users
            .list(&UserFilter::default(), page(2, after))
            .await
            .unwrap();
        assert!(one.items.len() <= 2);
        seen.extend(one.items);
        after = one.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
}

/// Filters are exact, and all of them hold.
pub async fn filters_are_exact(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let new = NewUser {
        external_id: Some(external_id("e")),
        ..ports.new_user("ada@example.com")
    };
    let ada = new.id;
    ports.users.create(new, &by_somebody(), None).await.unwrap();
    let bea = ports.user("bea@example.com").await.id;
    change(&ports, bea, status(UserStatus::Disabled)).await;
    let found = async |filter: UserFilter| {
        let users = ports
            .users
            .list(&filter, page(10, None))
            .await
            .unwrap()
            .items;
        users.into_iter().map(|user| user.id).collect::<Vec<_>>()
    };
    let all = UserFilter::default();
    assert_eq!(
        found(UserFilter {
            email: Some(email("ADA@example.com")),
            ..all.clone()
        })
        .await,
        [ada]
    );
    assert_eq!(
        found(UserFilter {
            email: Some(email("da@example.com")),
            ..all.clone()
        })
        .await,
        []
    );
    assert_eq!(
        found(UserFilter {
            external_id: Some(external_id("e")),
            ..all.clone()
        })
        .await,
        [ada]
    );
    assert_eq!(
        found(UserFilter {
            status: Some(UserStatus::Disabled),
            ..all.clone()
        })
        .await,
        [bea]
    );
    let both = UserFilter {
        status: Some(UserStatus::Disabled),
        external_id: Some(external_id("e")),
        ..all
    };
    assert_eq!(found(both).await, []);
}

/// A change changes what it says and nothing else.
pub async fn a_change_changes_what_it_says(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await;
    let renamed = changed(
        change(
            &ports,
            user.id,
            UserChange {
                name: Some(name("Bea")),
                ..UserChange::default()
            },
        )
        .await,
    );
    assert!(renamed.updated_at > user.updated_at);
    assert_eq!(
        renamed,
        User {
            name: name("Bea"),
            updated_at: renamed.updated_at,
            ..user.clone()
        }
    );
    let all = UserChange {
        email: Some(email("bea@example.com")),
        name: Some(name("Bea B.")),
        status: Some(UserStatus::Disabled),
        external_id: Some(Some(external_id("e"))),
    };
    let after = changed(change(&ports, user.id, all).await);
    let expected = User {
        id: user.id,
        email: email("bea@example.com"),
        name: name("Bea B."),
        status: UserStatus::Disabled,
        external_id: Some(external_id("e")),
        created_at: user.created_at,
        updated_at: after.updated_at,
    };
    assert_eq!(after, expected);
    let without = changed(
        change(
            &ports,
            user.id,
            UserChange {
                external_id: Some(None),
                ..UserChange::default()
            },
        )
        .await,
    );
    assert_eq!(without.external_id, None);
    assert_eq!(ports.users.find(user.id).await.unwrap(), Some(without));
}

/// A change that alters nothing leaves the user and the audit log alone.
pub async fn a_change_of_nothing_is_none(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await;
    let same = UserChange {
        email: Some(user.email.clone()),
        name: Some(user.name.clone()),
        status: Some(user.status),
        external_id: Some(None),
    };
    assert_eq!(
        change(&ports, user.id, same).await,
        UserChanged::Changed(user.clone())
    );
    assert_eq!(audit(&ports, user.id).await.len(), 1);
}

/// Addresses and external ids of others can't be taken, and are free once they are given up.
pub async fn a_change_cannot_take_what_is_anothers(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.user("ada@example.com").await;
    let bea = ports.user("bea@example.com").await;
    let named = UserChange {
        external_id: Some(Some(external_id("e"))),
        ..UserChange::default()
    };
    change(&ports, ada.id, named.clone()).await;
    assert_eq!(
        change(&ports, bea.id, named).await,
        UserChanged::ExternalIdTaken
    );
    let taken = UserChange {
        email: Some(email("ADA@example.com")),
        ..UserChange::default()
    };
    assert_eq!(
        change(&ports, bea.id, taken.clone()).await,
        UserChanged::EmailTaken
    );
    change(
        &ports,
        ada.id,
        UserChange {
            email: Some(email("new@example.com")),
            ..UserChange::default()
        },
    )
    .await;
    assert!(matches!(
        change(&ports, bea.id, taken).await,
        UserChanged::Changed(_)
    ));
    assert_eq!(
        change(&ports, nobody(&ports), status(UserStatus::Disabled)).await,
        UserChanged::NotFound
    );
}

/// A change is made for a user of the versions that it depends on, and of no other; what is refused changes nothing,
/// not even what else would refuse it.
pub async fn a_change_depends_on_the_version(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    ports.user("bea@example.com").await;
    let user = ports.user("ada@example.com").await;
    let (now, other) = (user.version(), after(&user));
    let these = |versions: &[UserVersion]| UserVersions::These(versions.to_vec());
    let refused = [
        (these(&[]), these(&[])),
        (these(&[other]), these(&[])),
        (these(&[now]), these(&[now])),
        (these(&[now]), UserVersions::Every),
        (UserVersions::Every, these(&[other, now])),
    ];
    for (one_of, none_of) in refused {
        let condition = UserCondition { one_of, none_of };
        for change in [
            renamed("Eve"),
            UserChange::default(),
            addressed("bea@example.com"),
        ] {
            assert_eq!(
                change_if(&ports, user.id, change, &condition).await,
                UserChanged::ConditionFailed,
                "{condition:?}"
            );
        }
        assert_eq!(
            change_if(&ports, nobody(&ports), renamed("Eve"), &condition).await,
            UserChanged::NotFound
        );
    }
    assert_eq!(ports.users.find(user.id).await.unwrap(), Some(user.clone()));
    assert_eq!(audit(&ports, user.id).await.len(), 1);

    let taken = [
        (these(&[other, now]), these(&[])),
        (UserVersions::Every, these(&[other])),
    ];
    for (one_of, none_of) in taken {
        let condition = UserCondition { one_of, none_of };
        let same = change_if(&ports, user.id, UserChange::default(), &condition).await;
        assert_eq!(same, UserChanged::Changed(user.clone()), "{condition:?}");
    }
    let only_now = UserCondition {
        one_of: these(&[now]),
        ..UserCondition::default()
    };
    let eve = changed(change_if(&ports, user.id, renamed("Eve"), &only_now).await);
    assert_eq!(eve.name, name("Eve"));
    assert!(eve.version() > now);
    assert_eq!(
        change_if(&ports, user.id, renamed("Eva"), &only_now).await,
        UserChanged::ConditionFailed
    );
}

/// Of many changes at once that depend on the same version one is made, whichever replicas they come to.
pub async fn of_many_changes_of_one_version_one_is_made(store: &impl Store) {
    let replicas = [
        store.replica(Hearing::Good).await,
        store.replica(Hearing::Good).await,
    ];
    let [first, _] = &replicas;
    let mut user = first.user("ada@example.com").await;
    for round in 0..10 {
        let condition = UserCondition {
            one_of: UserVersions::These(vec![user.version()]),
            ..UserCondition::default()
        };
        let tries = (0..8).zip(replicas.iter().cycle()).map(|(n, ports)| {
            change_if(
                ports,
                user.id,
                renamed(&format!("N{round}-{n}")),
                &condition,
            )
        });
        let mut made = Vec::new();
        for answer in join_all(tries).await {
            match answer {
                UserChanged::Changed(user) => made.push(user),
                other => assert_eq!(other, UserChanged::ConditionFailed),
            }
        }
        let [one] = made.as_slice() else {
            panic!("{made:?}")
        };
        assert!(one.version() > user.version());
        assert_eq!(first.users.find(user.id).await.unwrap().as_ref(), Some(one));
        user = one.clone();
    }
}

/// Every change has a version of its own, however fast they follow each other.
pub async fn every_change_has_its_version(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await;
    let changes = (0..32).map(|n| change(&ports, user.id, renamed(&format!("N{n}"))));
    let mut versions: Vec<UserVersion> = join_all(changes)
        .await
        .into_iter()
        .map(|answer| changed(answer).version())
        .collect();
    versions.push(user.version());
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 33);
}

/// Every change leaves its audit event, with who did it; what was refused leaves none.
pub async fn changes_leave_audit_events(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let user = ports.user("ada@example.com").await;
    change(
        &ports,
        user.id,
        UserChange {
            name: Some(name("Bea")),
            ..UserChange::default()
        },
    )
    .await;
    change(&ports, user.id, status(UserStatus::Disabled)).await;
    change(&ports, user.id, status(UserStatus::Active)).await;
    ports
        .users
        .create(ports.new_user("ada@example.com"), &by_somebody(), None)
        .await
        .unwrap();
    let events = audit(&ports, user.id).await;
    let kinds: Vec<AuditKind> = events.iter().map(|event| event.kind).collect();
    use AuditKind::{UserCreated, UserDisabled, UserEnabled, UserUpdated};
    assert_eq!(kinds, [UserEnabled, UserDisabled, UserUpdated, UserCreated]);
    for event in &events {
        let AuditEvent {
            id: _,
            at: _,
            kind: _,
            by,
            user_id,
            api_key_id,
        } = event;
        assert_eq!((by, *user_id, *api_key_id), (&by_somebody(), user.id, None));
    }
    assert_eq!(
        ports
            .audit_log
            .list(&AuditFilter::default(), page(100, None))
            .await
            .unwrap()
            .items,
        events
    );
}

/// A deleted user is found by nobody, nor are its keys; only the audit log remembers that there was one.
pub async fn a_deleted_user_is_found_nowhere(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let ada = ports.user("ada@example.com").await;
    let bea = ports.user("bea@example.com").await;
    let (of_ada, _) = issue(&ports, ada.id, &["actions:read"]).await;
    let (of_bea, _) = issue(&ports, bea.id, &["actions:read"]).await;
    assert!(ports.users.delete(ada.id, &by_somebody()).await.unwrap());
    assert_eq!(ports.users.find(ada.id).await.unwrap(), None);
    assert_eq!(everybody(&ports).await, std::slice::from_ref(&bea));
    assert_eq!(
        change(&ports, ada.id, status(UserStatus::Active)).await,
        UserChanged::NotFound
    );
    assert_eq!(ports.api_keys.find(of_ada.id, None).await.unwrap(), None);
    let keys = ports.api_keys.list(None, page(10, None)).await.unwrap();
    assert_eq!(keys.items, [of_bea]);
    let (new, _) = new_key(&ports, ada.id, &["actions:read"]);
    assert_eq!(
        ports.api_keys.create(new, &by_somebody()).await.unwrap(),
        None
    );

    let last = &audit(&ports, ada.id).await[0];
    assert_eq!(
        (last.kind, &last.by),
        (AuditKind::UserDeleted, &by_somebody())
    );
    let count = audit(&ports, ada.id).await.len();
    for gone in [ada.id, nobody(&ports)] {
        assert!(!ports.users.delete(gone, &by_somebody()).await.unwrap());
    }
    assert_eq!(audit(&ports, ada.id).await.len(), count);
}

/// The address and the external id of a deleted user can be registered again, by another user.
pub async fn what_a_deleted_user_was_known_by_is_free(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let register = async || {
        let new = NewUser {
            external_id: Some(external_id("ext-1")),
            ..ports.new_user("ada@example.com")
        };
        match ports.users.create(new, &by_somebody(), None).await.unwrap() {
            UserCreated::New(user) => user.id,
            other => panic!("{other:?}"),
        }
    };
    let first = register().await;
    assert!(ports.users.delete(first, &by_somebody()).await.unwrap());
    let second = register().await;
    assert_ne!(first, second);
    assert!(ports.users.delete(second, &by_somebody()).await.unwrap());
    register().await;
}

/// Who repeats the request that registered a user does not bring it back.
pub async fn a_repeated_registration_brings_no_deleted_user_back(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let new = ports.new_user("ada@example.com");
    let register = async |id| {
        let again = NewUser { id, ..new.clone() };
        let key = Some(idempotency("k", 1));
        ports
            .users
            .create(again, &by_somebody(), key)
            .await
            .unwrap()
    };
    assert!(matches!(register(new.id).await, UserCreated::New(_)));
    assert!(ports.users.delete(new.id, &by_somebody()).await.unwrap());
    assert_eq!(register(nobody(&ports)).await, UserCreated::ReplayedGone);
    assert_eq!(everybody(&ports).await, []);
}

/// A key that is issued while its user is deleted is either refused or gone with it.
pub async fn no_key_outlives_its_user(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    for n in 0..20 {
        let user = ports.user(&format!("u{n}@example.com")).await.id;
        let by = by_somebody();
        let issued = (0..4).map(|_| {
            let (new, _) = new_key(&ports, user, &["actions:read"]);
            ports.api_keys.create(new, &by)
        });
        let (deleted, issued) = join(ports.users.delete(user, &by), join_all(issued)).await;
        assert!(deleted.unwrap());
        for key in issued {
            key.unwrap();
        }
    }
    let left = ports.api_keys.list(None, page(200, None)).await.unwrap();
    assert_eq!(left.items, []);
}

fn external_id(text: &str) -> ExternalId {
    ExternalId::parse(text).unwrap()
}

fn status(status: UserStatus) -> UserChange {
    UserChange {
        status: Some(status),
        ..UserChange::default()
    }
}

fn nobody(ports: &Ports) -> UserId {
    UserId::from_uuid(ports.ids.time_ordered())
}

fn renamed(to: &str) -> UserChange {
    UserChange {
        name: Some(name(to)),
        ..UserChange::default()
    }
}

fn addressed(address: &str) -> UserChange {
    UserChange {
        email: Some(email(address)),
        ..UserChange::default()
    }
}

/// A version that the user does not have yet.
fn after(user: &User) -> UserVersion {
    UserVersion::new(user.version().get() + 1).unwrap()
}

async fn change(ports: &Ports, id: UserId, change: UserChange) -> UserChanged {
    change_if(ports, id, change, &UserCondition::default()).await
}

async fn change_if(
    ports: &Ports,
    id: UserId,
    change: UserChange,
    condition: &UserCondition,
) -> UserChanged {
    ports
        .users
        .change(id, &change, condition, &by_somebody())
        .await
        .unwrap()
}

#[track_caller]
fn changed(changed: UserChanged) -> User {
    match changed {
        UserChanged::Changed(user) => user,
        other => panic!("{other:?}"),
    }
}

async fn everybody(ports: &Ports) -> Vec<User> {
    ports
        .users
        .list(&UserFilter::default(), page(100, None))
        .await
        .unwrap()
        .items
}

async fn audit(ports: &Ports, user: UserId) -> Vec<AuditEvent> {
    ports
        .audit_log
        .list(
            &AuditFilter {
                user_id: Some(user),
            },
            page(100, None),
        )
        .await
        .unwrap()
        .items
}
