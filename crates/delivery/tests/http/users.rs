//! `/users`.

use actix_web::test::TestRequest;
use deed_domain::caller::Actor;
use deed_domain::page::Page;
use deed_domain::password::PasswordHash;
use deed_domain::ports::{HashingError, UserChanged, UserCreated};
use deed_domain::user::{UserChange, UserCondition, UserFilter, UserStatus};
use insta::assert_snapshot;

use crate::support::*;

const BODY: &str =
    r#"{"email":"Ada@example.com","name":"Ada Lovelace","password":"correct horse"}"#;

fn hashing(mut fakes: Fakes) -> Fakes {
    fakes
        .hasher
        .expect_hash()
        .returning(|_| Ok(PasswordHash::from_phc("$hash")));
    fakes
}

#[actix_web::test]
async fn create() {
    let mut fakes = hashing(with_scopes(&["users:write"]));
    fakes
        .users
        .expect_create()
        .withf(|user, by, idempotency| {
            user.email.as_str() == "Ada@example.com"
                && by.actor == Actor::Key(key_id())
                && by.subject == Some(ada())
                && by.request_id.is_some()
                && idempotency.is_none()
        })
        .returning(|_, _, _| Ok(UserCreated::New(user(user_id(2)))));
    let answer = fakes.answer(post("/users", BODY)).await;
    assert_snapshot!(answer.text());
}

#[actix_web::test]
async fn a_repeated_create_is_marked() {
    let mut fakes = hashing(with_scopes(&["users:write"]));
    fakes
        .users
        .expect_create()
        .withf(|_, _, idempotency| {
            idempotency
                .as_ref()
                .is_some_and(|same| same.key.as_str() == "k-1")
        })
        .returning(|_, _, _| Ok(UserCreated::Replayed(user(user_id(2)))));
    let answer = fakes
        .answer(post("/users", BODY).insert_header(("Idempotency-Key", "\"k-1\"")))
        .await;
    assert_eq!(
        (answer.status, answer.header("idempotency-replayed")),
        (201, Some("true"))
    );
}

#[actix_web::test]
async fn registration_without_a_key_only_where_it_is_open() {
    let request = || with_json(TestRequest::post().uri("/users"), BODY);
    refused(&fakes().answer(request()).await, 401, "invalid_api_key");

    let mut fakes = hashing(fakes());
    fakes.settings.open_registration = true;
    fakes
        .users
        .expect_create()
        .withf(|_, by, _| by.actor == Actor::Anonymous && by.subject.is_none())
        .returning(|_, _, _| Ok(UserCreated::New(user(user_id(2)))));
    assert_eq!(fakes.answer(request()).await.status, 201);
}

#[actix_web::test]
async fn open_registration_does_not_take_a_bad_key() {
    let mut fakes = fakes();
    fakes.settings.open_registration = true;
    fakes
        .authenticator
        .expect_authenticate()
        .returning(|_| Ok(None));
    refused(
        &fakes.answer(post("/users", BODY)).await,
        401,
        "invalid_api_key",
    );
}

#[actix_web::test]
async fn create_is_refused() {
    let outcomes = [
        (UserCreated::EmailTaken, 409, "user_already_exists"),
        (UserCreated::ExternalIdTaken, 409, "external_id_taken"),
        (UserCreated::KeyReused, 422, "idempotency_key_reused"),
        (UserCreated::InFlight, 409, "idempotency_in_flight"),
        (UserCreated::ReplayedGone, 404, "user_not_found"),
    ];
    for (outcome, status, code) in outcomes {
        let mut fakes = hashing(with_scopes(&["users:write"]));
        fakes
            .users
            .expect_create()
            .return_once(move |_, _, _| Ok(outcome));
        refused(&fakes.answer(post("/users", BODY)).await, status, code);
    }
}

#[actix_web::test]
async fn a_full_hasher_is_overloaded() {
    let mut fakes = with_scopes(&["users:write"]);
    let retry_after = std::time::Duration::from_millis(1500);
    fakes
        .hasher
        .expect_hash()
        .returning(move |_| Err(HashingError::Overloaded { retry_after }));
    let answer = fakes.answer(post("/users", BODY)).await;
    refused(&answer, 503, "overloaded");
    assert_eq!(answer.header("retry-after"), Some("2"));
}

#[actix_web::test]
async fn all_broken_limits_come_together() {
    let body = r#"{"email":"nobody","name":"","password":"short","external_id":"a\u0000b"}"#;
    let answer = with_scopes(&["users:write"])
        .answer(post("/users", body))
        .await;
    assert_snapshot!(answer.text());
}

#[actix_web::test]
async fn the_least_length_of_passwords_is_a_setting() {
    let mut fakes = with_scopes(&["users:write"]);
    fakes.settings.limits.password = deed_domain::password::PasswordPolicy::with_min(15);
    let answer = fakes.answer(post("/users", BODY)).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["#/password"]);
}

#[actix_web::test]
async fn list_and_go_on() {
    let mut fakes = with_scopes(&["users:read"]);
    fakes
        .users
        .expect_list()
        .withf(|filter, page| {
            *filter == UserFilter::default() && page.limit.as_usize() == 1 && page.after.is_none()
        })
        .returning(|_, _| {
            Ok(Page {
                items: vec![user(user_id(2))],
                next: Some(user_id(2)),
            })
        });
    fakes
        .users
        .expect_list()
        .withf(|_, page| page.after == Some(user_id(2)))
        .returning(|_, _| {
            Ok(Page {
                items: vec![user(user_id(1))],
                next: None,
            })
        });
    let api = fakes.into_api();
    let first = answer(&api, get("/users?limit=1")).await;
    assert_snapshot!(first.text());
    let link = first.header("link").unwrap();
    let next = link
        .strip_prefix('<')
        .and_then(|link| link.strip_suffix(">; rel=\"next\""))
        .unwrap();
    let second = answer(&api, get(next)).await;
    assert_eq!(
        (
            second.status,
            second.json()["next_cursor"].is_null(),
            second.header("link")
        ),
        (200, true, None)
    );
}

#[actix_web::test]
async fn a_cursor_belongs_to_its_filters() {
    let mut fakes = with_scopes(&["users:read"]);
    fakes
        .users
        .expect_list()
        .times(1)
        .withf(|filter, _| filter.status == Some(UserStatus::Active))
        .returning(|_, _| {
            Ok(Page {
                items: vec![user(user_id(2))],
                next: Some(user_id(2)),
            })
        });
    let api = fakes.into_api();
    let cursor = answer(&api, get("/users?status=active")).await.json()["next_cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    for query in [
        format!("cursor={cursor}"),
        format!("status=disabled&cursor={cursor}"),
        format!("status=active&email=ada@example.com&cursor={cursor}"),
        format!("status=active&cursor=x{cursor}"),
        "cursor=".to_owned(),
    ] {
        refused(
            &answer(&api, get(&format!("/users?{query}"))).await,
            400,
            "invalid_cursor",
        );
    }
}

#[actix_web::test]
async fn filters_reach_the_repository() {
    let mut fakes = with_scopes(&["users:read"]);
    fakes
        .users
        .expect_list()
        .withf(|filter, _| {
            filter
                .email
                .as_ref()
                .is_some_and(|email| email.key() == "ada@example.com")
                && filter
                    .external_id
                    .as_ref()
                    .is_some_and(|id| id.as_str() == "crm 17")
                && filter.status == Some(UserStatus::Disabled)
        })
        .returning(|_, _| {
            Ok(Page {
                items: Vec::new(),
                next: None,
            })
        });
    let answer = fakes
        .answer(get(
            "/users?email=ADA%40example.com&external_id=crm+17&status=disabled",
        ))
        .await;
    assert_eq!(answer.body, r#"{"items":[],"next_cursor":null}"#);
}

#[actix_web::test]
async fn bad_queries_name_their_parameters() {
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("color=red", "color"),
        ("status=x", "status"),
    ] {
        let answer = with_scopes(&["users:read"])
            .answer(get(&format!("/users?{query}")))
            .await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), [parameter], "{query}");
    }
}

#[actix_web::test]
async fn me() {
    let mut fakes = with_scopes(&["actions:read", "keys:read"]);
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    assert_snapshot!(fakes.answer(get("/users/me")).await.text());
}

#[actix_web::test]
async fn the_root_key_is_nobody() {
    refused(
        &with_root().answer(get("/users/me")).await,
        400,
        "user_required",
    );
}

#[actix_web::test]
async fn find() {
    let mut fakes = with_scopes(&["users:read"]);
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    assert_snapshot!(
        fakes
            .answer(get(&format!("/users/{}", user_id(2))))
            .await
            .text()
    );
}

#[actix_web::test]
async fn without_the_scope_only_oneself_is_found() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes
        .users
        .expect_find()
        .times(1)
        .returning(|id| Ok(Some(user(id))));
    let api = fakes.into_api();
    assert_eq!(
        answer(&api, get(&format!("/users/{}", ada()))).await.status,
        200
    );
    refused(
        &answer(&api, get(&format!("/users/{}", user_id(2)))).await,
        403,
        "insufficient_scope",
    );
}

#[actix_web::test]
async fn an_unknown_user_is_not_found() {
    let mut fakes = with_scopes(&["users:read"]);
    fakes.users.expect_find().returning(|_| Ok(None));
    refused(
        &fakes.answer(get(&format!("/users/{}", user_id(2)))).await,
        404,
        "user_not_found",
    );
}

#[actix_web::test]
async fn an_id_is_a_uuid() {
    let answer = with_scopes(&["users:read"]).answer(get("/users/17")).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["id"]);
}

#[actix_web::test]
async fn change() {
    let mut fakes = with_scopes(&["users:write"]);
    fakes
        .users
        .expect_change()
        .withf(|id, change, condition, _| {
            let expected = UserChange {
                status: Some(UserStatus::Disabled),
                external_id: Some(None),
                ..UserChange::default()
            };
            *id == user_id(2) && *change == expected && *condition == UserCondition::default()
        })
        .returning(|id, _, _, _| Ok(UserChanged::Changed(user(id))));
    let request = patch(
        &format!("/users/{}", user_id(2)),
        r#"{"status":"disabled","external_id":null}"#,
    )
    .insert_header(("Content-Type", "application/merge-patch+json"));
    assert_snapshot!(fakes.answer(request).await.text());
}

#[actix_web::test]
async fn change_is_refused() {
    let outcomes = [
        (UserChanged::NotFound, 404, "user_not_found"),
        (UserChanged::ConditionFailed, 412, "precondition_failed"),
        (UserChanged::EmailTaken, 409, "user_already_exists"),
        (UserChanged::ExternalIdTaken, 409, "external_id_taken"),
    ];
    for (outcome, status, code) in outcomes {
        let mut fakes = with_scopes(&["users:write"]);
        fakes
            .users
            .expect_change()
            .return_once(move |_, _, _, _| Ok(outcome));
        refused(
            &fakes
                .answer(patch(&format!("/users/{}", user_id(2)), "{}"))
                .await,
            status,
            code,
        );
    }
}

#[actix_web::test]
async fn changing_the_address_needs_credentials() {
    let answer = with_scopes(&["users:write"])
        .answer(patch(
            &format!("/users/{}", user_id(2)),
            r#"{"email":"b@example.com"}"#,
        ))
        .await;
    refused(&answer, 403, "insufficient_scope");
    assert_eq!(
        answer.json()["message"],
        "The key lacks the scope users:credentials."
    );
}
