//! Who calls, and for whom.

use actix_web::test::TestRequest;
use deed_domain::user::UserStatus;

use crate::support::*;

fn bare(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

/// What differs between two answers to strangers: nothing but these.
fn without_request(answer: &Answer) -> (u16, Vec<(String, String)>, serde_json::Value) {
    let mut body = answer.json();
    body["request_id"].take();
    body["instance"].take();
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| name != "x-request-id")
        .cloned()
        .collect();
    (answer.status, headers, body)
}

#[actix_web::test]
async fn strangers_are_all_answered_alike() {
    let unknown = || {
        let mut fakes = fakes();
        fakes
            .authenticator
            .expect_authenticate()
            .returning(|_| Ok(None));
        fakes
    };
    let mut answers = vec![
        fakes().answer(bare("/users/me")).await,
        unknown().answer(bare("/users/me").insert_header(KEY)).await,
        unknown()
            .answer(bare("/actions").insert_header(("Authorization", "Bearer x")))
            .await,
        fakes()
            .answer(bare("/actions").insert_header(("Authorization", "Basic eDp5")))
            .await,
        fakes()
            .answer(
                bare("/actions")
                    .insert_header(KEY)
                    .insert_header(("Authorization", "Bearer other")),
            )
            .await,
        unknown()
            .answer(
                bare("/users/me")
                    .insert_header(KEY)
                    .insert_header(("X-User-ID", "nobody")),
            )
            .await,
    ];
    let first = answers.remove(0);
    refused(&first, 401, "invalid_api_key");
    assert_eq!(
        first.header("www-authenticate"),
        Some("Bearer realm=\"deed\"")
    );
    for other in answers {
        assert_eq!(without_request(&other), without_request(&first));
    }
}

#[actix_web::test]
async fn nothing_else_is_looked_at_before_the_caller() {
    let strange = || fakes().answer(with_json(TestRequest::post().uri("/actions"), "{ not json"));
    refused(&strange().await, 401, "invalid_api_key");
    let mut slow = fakes();
    slow.authenticator
        .expect_authenticate()
        .returning(|_| Ok(None));
    let request = post("/actions", "{ not json").insert_header(("Idempotency-Key", ""));
    refused(&slow.answer(request).await, 401, "invalid_api_key");
    let without_scope = with_scopes(&["users:read"])
        .answer(post("/actions", "{ not json"))
        .await;
    refused(&without_scope, 403, "insufficient_scope");
    let bad_id = with_scopes(&["keys:write"])
        .answer(get("/actions/17?color=red"))
        .await;
    refused(&bad_id, 403, "insufficient_scope");
}

#[actix_web::test]
async fn a_key_comes_in_either_header() {
    for header in [
        KEY,
        ("Authorization", "Bearer a-key"),
        ("Authorization", "bearer a-key"),
    ] {
        let mut fakes = with_scopes(&["users:read"]);
        fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
        assert_eq!(
            fakes
                .answer(bare("/users/me").insert_header(header))
                .await
                .status,
            200,
            "{header:?}"
        );
    }
}

#[actix_web::test]
async fn the_secret_reaches_the_authenticator_as_it_was_sent() {
    let mut fakes = fakes();
    fakes
        .authenticator
        .expect_authenticate()
        .withf(|secret| secret == "a-key")
        .times(1)
        .returning(|_| Ok(None));
    refused(
        &fakes.answer(get("/users/me")).await,
        401,
        "invalid_api_key",
    );
}

#[actix_web::test]
async fn acting_for_oneself_needs_no_scope() {
    let mut fakes = with_scopes(&["users:read"]);
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    let answer = fakes
        .answer(get("/users/me").insert_header(("X-User-ID", ada().to_string())))
        .await;
    assert_eq!(answer.status, 200);
}

#[actix_web::test]
async fn acting_for_another() {
    let act = async |scopes: &[&str], found: Option<UserStatus>| {
        let mut fakes = with_scopes(scopes);
        fakes.users.expect_find().returning(move |id| {
            Ok(found.map(|status| {
                let mut user = user(id);
                user.status = status;
                user
            }))
        });
        fakes
            .answer(get("/users/me").insert_header(("X-User-ID", user_id(2).to_string())))
            .await
    };
    refused(
        &act(&["users:read"], Some(UserStatus::Active)).await,
        403,
        "act_as_not_allowed",
    );
    refused(&act(&["users:act_as"], None).await, 404, "user_not_found");
    refused(
        &act(&["users:act_as"], Some(UserStatus::Disabled)).await,
        403,
        "user_disabled",
    );
    let acted = act(&["users:act_as"], Some(UserStatus::Active)).await;
    assert_eq!(
        (acted.status, acted.json()["id"].as_str()),
        (200, Some(user_id(2).to_string().as_str()))
    );
}

#[actix_web::test]
async fn a_named_user_is_a_uuid() {
    for named in ["", "17", "null", "me"] {
        let answer = with_root()
            .answer(get("/users/me").insert_header(("X-User-ID", named)))
            .await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), ["X-User-ID"], "{named}");
    }
}
