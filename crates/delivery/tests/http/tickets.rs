//! Tickets for streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::test::TestRequest;
use deed_domain::caller::{Actor, Caller, Identity};
use deed_domain::key_limits::KeyLimits;
use deed_domain::ports::TicketKept;
use deed_domain::scope::ScopeSet;
use deed_domain::secret::{PlainSecret, SecretKind};
use insta::assert_snapshot;

use crate::support::*;

fn caller(scope: &str) -> Caller {
    Identity {
        actor: Actor::Key(key_id()),
        owner: Some(ada()),
        scopes: ScopeSet::of([scope.parse().unwrap()]).unwrap(),
        expires_at: None,
        limits: KeyLimits::NONE,
    }
    .for_itself()
}

fn ticket() -> String {
    let secret = PlainSecret::generate(SecretKind::Ticket, || [7; 64]);
    secret.reveal().to_owned()
}

fn events(query: &str) -> String {
    format!("/actions/{}/events?{query}", action_id(1))
}

/// Without a key.
fn anonymous(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

/// Fakes where [`ticket`] stands for Ada's key with this scope, and how often a ticket was taken.
fn with_ticket(scope: &'static str) -> (Fakes, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut fakes = with_scopes(&["actions:read"]);
    let count = Arc::clone(&taken);
    let digest = PlainSecret::parse(&ticket()).unwrap().digest();
    fakes.tickets.expect_take().returning(move |found, action| {
        count.fetch_add(1, Ordering::Relaxed);
        let is_it = (*found, action) == (digest, action_id(1));
        Ok(is_it.then(|| caller(scope)))
    });
    serve_log(&mut fakes, log());
    sleep_soundly(&mut fakes);
    (fakes, taken)
}

fn issuing(kept: TicketKept) -> Fakes {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes.ids.expect_random_bytes().returning(|| [7; 64]);
    fakes
        .tickets
        .expect_keep()
        .withf(|ticket, reach| {
            ticket.action == action_id(1)
                && ticket.caller == caller("actions:read")
                && reach.owner == Some(ada())
        })
        .returning(move |_, _| Ok(kept));
    fakes
}

fn ask() -> TestRequest {
    let path = format!("/actions/{}/stream-ticket", action_id(1));
    TestRequest::post().uri(&path).insert_header(KEY)
}

#[actix_web::test]
async fn a_ticket_is_shown_once_and_not_kept_by_anybody() {
    let answer = issuing(TicketKept::Until(now())).answer(ask()).await;
    assert_snapshot!(answer.text());
}

#[actix_web::test]
async fn who_can_not_have_a_ticket() {
    let check = async |kept, status, code| {
        let answer = issuing(kept).answer(ask()).await;
        refused(&answer, status, code);
        answer
    };
    check(TicketKept::NoAction, 404, "action_not_found").await;
    let full = check(TicketKept::TooMany, 429, "too_many_tickets").await;
    assert_eq!(full.header("retry-after"), Some("60"));
}

#[actix_web::test]
async fn a_ticket_opens_its_stream_and_goes_on_from_anywhere() {
    let (fakes, taken) = with_ticket("actions:read");
    let query = format!("last_event_id=3&ticket={}", ticket());
    let answer = fakes.answer(anonymous(&events(&query))).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/event-stream"))
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(
        answer.body.starts_with("retry: 2000\n\nid: 4\n"),
        "{}",
        answer.body
    );
    assert_eq!(taken.load(Ordering::Relaxed), 1);
}

/// All that is no good ticket looks like a bad key, and what stands beside a key is not even looked for.
#[actix_web::test]
async fn what_is_no_ticket_for_this_stream_is_refused_like_a_bad_key() {
    let good = ticket();
    let check = async |request: TestRequest, looks: usize| {
        let (fakes, taken) = with_ticket("actions:read");
        let answer = fakes.answer(request).await;
        refused(&answer, 401, "invalid_api_key");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"deed\"")
        );
        assert_eq!(taken.load(Ordering::Relaxed), looks, "{answer:?}");
    };
    let other = PlainSecret::generate(SecretKind::Ticket, || [8; 64]);
    check(anonymous(&events(&format!("ticket={}", other.reveal()))), 1).await;
    let elsewhere = format!("/actions/{}/events?ticket={good}", action_id(2));
    check(anonymous(&elsewhere), 1).await;
    let key = PlainSecret::generate(SecretKind::ApiKey, || [7; 64]);
    check(anonymous(&events(&format!("ticket={}", key.reveal()))), 0).await;
    check(anonymous(&events("ticket=")), 0).await;
    check(
        anonymous(&events(&format!("ticket={good}&ticket={good}"))),
        0,
    )
    .await;
    check(anonymous(&format!("/actions/none/events?ticket={good}")), 0).await;
    let with_good = events(&format!("ticket={good}"));
    check(get(&with_good), 0).await;
    let bearer = ("Authorization", "Bearer x");
    check(anonymous(&with_good).insert_header(bearer), 0).await;
    for accept in ["application/json", "text/html"] {
        let request = anonymous(&with_good).insert_header(("Accept", accept));
        check(request, 0).await;
    }
}

#[actix_web::test]
async fn a_ticket_opens_nothing_else() {
    for path in [
        "/users/me".to_owned(),
        format!("/actions/{}", action_id(1)),
        "/actions".to_owned(),
    ] {
        let (fakes, taken) = with_ticket("actions:read");
        let path = format!("{path}?ticket={}", ticket());
        refused(
            &fakes.answer(anonymous(&path)).await,
            401,
            "invalid_api_key",
        );
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        let (fakes, _) = with_ticket("actions:read");
        refused(&fakes.answer(get(&path)).await, 400, "validation_failed");
    }
}

#[actix_web::test]
async fn a_named_user_is_not_ignored() {
    let check = async |user: &str| {
        let (fakes, _) = with_ticket("actions:read");
        let request = anonymous(&events(&format!("ticket={}", ticket())));
        fakes
            .answer(request.insert_header(("X-User-ID", user)))
            .await
    };
    assert_eq!(check(&ada().to_string()).await.status, 200);
    let another = check(&user_id(2).to_string()).await;
    refused(&another, 403, "act_as_not_allowed");
    refused(&check("me").await, 400, "validation_failed");
}

/// Of a key whose scopes are fewer by now.
#[actix_web::test]
async fn a_ticket_permits_no_more_than_its_key() {
    let (fakes, _) = with_ticket("actions:write");
    let answer = fakes
        .answer(anonymous(&events(&format!("ticket={}", ticket()))))
        .await;
    refused(&answer, 403, "insufficient_scope");
}

#[actix_web::test]
async fn the_rest_of_the_query_is_read_as_ever() {
    let (fakes, _) = with_ticket("actions:read");
    let path = events(&format!("ticket={}&color=red", ticket()));
    let answer = fakes.answer(anonymous(&path)).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["color"]);
}
