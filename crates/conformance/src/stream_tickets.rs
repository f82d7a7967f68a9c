//! Suite of [`StreamTickets`](deed_domain::ports::StreamTickets).

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use deed_domain::caller::{Actor, Caller, Identity, Reach};
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::TicketKept;
use deed_domain::scope::{Permission, ScopeSet};
use deed_domain::secret::{PlainSecret, SecretDigest, SecretKind};
use deed_domain::ticket::{LIFE, MOST_PER_USER, NewTicket};
use deed_domain::user::{UserChange, UserCondition, UserStatus};
use futures_util::future::join_all;

use crate::api_keys::{issue, new_key};
use crate::fixtures::by_somebody;
use crate::{Hearing, Ports, ROOT_KEY, Store};

/// A ticket stands for the caller who asked for it, at any replica, once.
pub async fn a_ticket_stands_for_its_caller_once(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let other = store.replica(Hearing::Deaf).await;
    let (user, action) = user_with_action(&ports).await;
    let caller = caller(&ports, user, &["actions:read:echo", "users:act_as"]).await;
    let before = ports.clock.now();
    let (digest, kept) = keep(&ports, action, &caller).await;
    let left = until(kept) - before;
    let life = TimeDelta::from_std(LIFE).unwrap();
    // Two clocks, of one machine.
    assert!(
        left > life - TimeDelta::seconds(5) && left < life + TimeDelta::seconds(5),
        "{left}"
    );
    assert_eq!(take(&other, &digest, action).await, Some(caller));
    assert_eq!(take(&other, &digest, action).await, None);
    assert_eq!(take(&ports, &digest, action).await, None);
}

/// Of many who take the same ticket at the same time one gets it.
pub async fn of_many_who_take_a_ticket_one_gets_it(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (user, action) = user_with_action(&ports).await;
    let caller = caller(&ports, user, &["actions:read"]).await;
    for _ in 0..5 {
        let (digest, _) = keep(&ports, action, &caller).await;
        let takes = (0..8).map(|_| take(&ports, &digest, action));
        let taken = join_all(takes).await.into_iter().flatten().count();
        assert_eq!(taken, 1);
    }
}

/// A ticket is taken for its own action only, and stays while somebody tries another.
pub async fn a_ticket_is_for_one_action(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (user, action) = user_with_action(&ports).await;
    let other = ports.submitted(user).await;
    let caller = caller(&ports, user, &["actions:read"]).await;
    let (digest, _) = keep(&ports, action, &caller).await;
    assert_eq!(take(&ports, &digest, other).await, None);
    assert_eq!(take(&ports, &new_digest(&ports), action).await, None);
    assert_eq!(take(&ports, &digest, action).await, Some(caller));
}

/// Who may not read an action gets no ticket for it, and no more does anybody for one that does not exist.
pub async fn what_is_out_of_reach_gets_no_ticket(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (user, action) = user_with_action(&ports).await;
    let stranger = ports.user("bea@example.com").await.id;
    let reading_all = caller(&ports, stranger, &["actions:read"]).await;
    let other_types = caller(&ports, user, &["actions:read:report.*"]).await;
    let owner = caller(&ports, user, &["actions:read"]).await;
    let nothing = ActionId::from_uuid(ports.ids.time_ordered());
    for (caller, action) in [
        (&reading_all, action),
        (&other_types, action),
        (&owner, nothing),
    ] {
        let (digest, kept) = keep(&ports, action, caller).await;
        assert_eq!(kept, TicketKept::NoAction, "{caller:?}");
        assert_eq!(take(&ports, &digest, action).await, None);
    }
}

/// A ticket is over with the key that asked for it.
pub async fn a_ticket_lives_no_longer_than_its_key(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (user, action) = user_with_action(&ports).await;
    let (mut new, secret) = new_key(&ports, user, &["actions:read"]);
    let expiry = (ports.clock.now() + TimeDelta::milliseconds(700)).trunc_subsecs(6);
    new.expires_at = Some(expiry);
    ports.api_keys.create(new, &by_somebody()).await.unwrap();
    let caller = authenticated(&ports, secret.reveal()).await.for_itself();
    let (used, kept) = keep(&ports, action, &caller).await;
    assert_eq!(until(kept), expiry);
    let (late, _) = keep(&ports, action, &caller).await;
    let in_time = take(&ports, &used, action).await;
    assert_eq!(in_time, Some(caller), "its stream ends with the key");
    ports
        .until("expired", async || {
            let found = ports.authenticator.authenticate(secret.reveal()).await;
            found.unwrap().is_none().then_some(())
        })
        .await;
    assert_eq!(take(&ports, &late, action).await, None);
}

/// A ticket whose key was revoked, whose user was disabled, or the one acted for, opens nothing.
pub async fn a_ticket_of_a_caller_who_is_refused_is_nobodys(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (user, action) = user_with_action(&ports).await;
    let (key, secret) = issue(&ports, user, &["actions:read"]).await;
    let revoked = authenticated(&ports, secret.reveal()).await.for_itself();
    let agent = ports.user("bea@example.com").await.id;
    let (_, secret) = issue(&ports, agent, &["actions:read", "users:act_as"]).await;
    let identity = authenticated(&ports, secret.reveal()).await;
    let acting = identity.for_user(user, Some(UserStatus::Active)).unwrap();
    let own = caller(&ports, user, &["actions:read"]).await;

    let (of_revoked, _) = keep(&ports, action, &revoked).await;
    let by = by_somebody();
    ports.api_keys.revoke(key.id, None, &by).await.unwrap();
    assert_eq!(take(&ports, &of_revoked, action).await, None);

    let (of_acting, _) = keep(&ports, action, &acting).await;
    let (of_disabled, _) = keep(&ports, action, &own).await;
    let change = UserChange {
        status: Some(UserStatus::Disabled),
        ..UserChange::default()
    };
    let of_any = UserCondition::default();
    let changed = ports.users.change(user, &change, &of_any, &by).await;
    changed.unwrap();
    assert_eq!(take(&ports, &of_acting, action).await, None);
    assert_eq!(take(&ports, &of_disabled, action).await, None);
}

/// The root key gets tickets for everybody's actions, and for whom it acts.
pub async fn a_ticket_of_the_root_key_stands_for_it(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (user, action) = user_with_action(&ports).await;
    let root = authenticated(&ports, ROOT_KEY).await;
    assert_eq!(root.actor, Actor::Root);
    let acting = root.clone().for_user(user, Some(UserStatus::Active));
    for caller in [root.for_itself(), acting.unwrap()] {
        let (digest, _) = keep(&ports, action, &caller).await;
        let found = take(&ports, &digest, action).await.unwrap();
        assert_eq!(found, caller);
        assert_eq!(found.scopes(), &ScopeSet::everything());
    }
}

/// For one user's actions there are only so many tickets at a time; one that was used makes room.
pub async fn a_user_has_a_bounded_number_of_tickets(store: &impl Store) {
    let ports = store.replica(Hearing::Good).await;
    let (user, action) = user_with_action(&ports).await;
    let own = caller(&ports, user, &["actions:read"]).await;
    let mut last = None;
    for _ in 0..MOST_PER_USER {
        let (digest, kept) = keep(&ports, action, &own).await;
        assert!(matches!(kept, TicketKept::Until(_)), "{kept:?}");
        last = Some(digest);
    }
    let (refused, kept) = keep(&ports, action, &own).await;
    assert_eq!(kept, TicketKept::TooMany);
    assert_eq!(take(&ports, &refused, action).await, None);

    let other = ports.user("bea@example.com").await.id;
    let others = ports.submitted(other).await;
    let bea = caller(&ports, other, &["actions:read"]).await;
    let (_, kept) = keep(&ports, others, &bea).await;
    assert!(matches!(kept, TicketKept::Until(_)), "{kept:?}");

    assert!(take(&ports, &last.unwrap(), action).await.is_some());
    let (_, kept) = keep(&ports, action, &own).await;
    assert!(matches!(kept, TicketKept::Until(_)), "{kept:?}");
}

async fn user_with_action(ports: &Ports) -> (UserId, ActionId) {
    let user = ports.ready().await;
    (user, ports.submitted(user).await)
}

async fn authenticated(ports: &Ports, secret: &str) -> Identity {
    let found = ports.authenticator.authenticate(secret).await.unwrap();
    found.expect("the key is valid")
}

async fn caller(ports: &Ports, user: UserId, scopes: &[&str]) -> Caller {
    let (_, secret) = issue(ports, user, scopes).await;
    authenticated(ports, secret.reveal()).await.for_itself()
}

fn new_digest(ports: &Ports) -> SecretDigest {
    PlainSecret::generate(SecretKind::Ticket, || ports.ids.random_bytes()).digest()
}

async fn keep(ports: &Ports, action: ActionId, caller: &Caller) -> (SecretDigest, TicketKept) {
    let digest = new_digest(ports);
    let ticket = NewTicket {
        digest,
        action,
        caller: caller.clone(),
    };
    let reach: Reach = caller.reach(Permission::ActionsRead);
    let kept = ports.stream_tickets.keep(ticket, &reach).await.unwrap();
    (digest, kept)
}

async fn take(ports: &Ports, digest: &SecretDigest, action: ActionId) -> Option<Caller> {
    ports.stream_tickets.take(digest, action).await.unwrap()
}

#[track_caller]
fn until(kept: TicketKept) -> DateTime<Utc> {
    match kept {
        TicketKept::Until(at) => at,
        other => panic!("{other:?}"),
    }
}
