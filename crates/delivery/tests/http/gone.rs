//! Actions that are older than what is kept.

use actix_web::test::TestRequest;
use deed_domain::ports::CancelVerdict;
use insta::assert_snapshot;

use crate::support::*;

/// An id of 2022: far older than the year that the fakes keep.
const OLD: &str = "0180c0de-0000-7000-8000-0000000c0001";

/// Fakes in which nothing is found.
fn empty() -> Fakes {
    let mut fakes = with_scopes(&["actions:read", "actions:write"]);
    fakes.actions.expect_find().returning(|_, _| Ok(None));
    fakes.log.expect_read().returning(|_, _, _, _| Ok(None));
    fakes
        .submissions
        .expect_cancel()
        .returning(|_, _| Ok(CancelVerdict::NotFound));
    sleep_soundly(&mut fakes);
    fakes
}

/// Every request that names an action.
fn requests(id: &str) -> Vec<TestRequest> {
    let post = |path: String| TestRequest::post().uri(&path).insert_header(KEY);
    let events = format!("/actions/{id}/events");
    vec![
        get(&format!("/actions/{id}")),
        get(&events),
        get(&events).insert_header(("Last-Event-ID", "17")),
        get(&format!("{events}?last_event_id=17")),
        get(&events).insert_header(("Accept", "application/json")),
        post(format!("/actions/{id}/cancel")),
        post(format!("/actions/{id}/retry")),
    ]
}

#[actix_web::test]
async fn what_is_older_than_what_is_kept_is_gone() {
    let api = empty().into_api();
    for request in requests(OLD) {
        refused(&answer(&api, request).await, 410, "action_gone");
    }
    assert_snapshot!(answer(&api, get(&format!("/actions/{OLD}"))).await.text());
}

#[actix_web::test]
async fn what_would_still_be_kept_was_never_there() {
    let api = empty().into_api();
    let random = "7c0a3c9e-4a5f-4b8e-9d43-0d6f0a1b2c3d";
    for id in [&action_id(1).to_string(), random] {
        for request in requests(id) {
            refused(&answer(&api, request).await, 404, "action_not_found");
        }
    }
}
