//! `/api-keys`.

use actix_web::test::TestRequest;
use deed_domain::caller::Actor;
use deed_domain::page::Page;
use insta::assert_snapshot;

use crate::support::*;

#[actix_web::test]
async fn create_shows_the_secret_once() {
    let mut fakes = with_scopes(&["keys:write", "actions:read"]);
    fakes.ids.expect_random_bytes().returning(|| [7; 64]);
    fakes
        .keys
        .expect_create()
        .withf(|key, by| {
            key.user_id == ada()
                && key.name.as_str() == "laptop"
                && by.actor == Actor::Key(key_id())
        })
        .returning(|new, _| {
            let mut key = api_key(key_id());
            (key.scopes, key.expires_at) = (new.scopes, new.expires_at);
            Ok(Some(key))
        });
    let body =
        r#"{"name":"laptop","scopes":["actions:read"],"expires_at":"2027-01-31T12:00:00+02:00"}"#;
    assert_snapshot!(fakes.answer(post("/api-keys", body)).await.text());
}

#[actix_web::test]
async fn a_key_mints_no_more_than_itself() {
    let body = r#"{"name":"laptop","scopes":["actions:read","users:write"]}"#;
    let answer = with_scopes(&["keys:write", "actions:read"])
        .answer(post("/api-keys", body))
        .await;
    refused(&answer, 403, "insufficient_scope");
    assert_eq!(
        answer.json()["message"],
        "The key lacks the scope users:write."
    );
}

#[actix_web::test]
async fn scopes_are_known_and_not_none() {
    let check = async |scopes: &str, places: &[&str]| {
        let body = format!(r#"{{"name":"laptop","scopes":{scopes}}}"#);
        let answer = with_scopes(&["keys:write"])
            .answer(post("/api-keys", &body))
            .await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), places, "{scopes}");
    };
    check("[]", &["#/scopes"]).await;
    check("null", &["#/scopes"]).await;
    check(r#""*""#, &["#/scopes"]).await;
    check(r#"["keys:write","everything"]"#, &["#/scopes/1"]).await;
    check(r#"["keys:write:echo",""]"#, &["#/scopes/0", "#/scopes/1"]).await;
    check(r#"["keys:write",7]"#, &["#/scopes/1"]).await;
}

#[actix_web::test]
async fn a_key_expires_in_the_future() {
    let body = r#"{"name":"laptop","scopes":["keys:write"],"expires_at":"2026-01-31T10:00:00Z"}"#;
    let answer = with_scopes(&["keys:write"])
        .answer(post("/api-keys", body))
        .await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["#/expires_at"]);
}

#[actix_web::test]
async fn a_key_needs_a_user() {
    let body = r#"{"name":"laptop","scopes":["keys:write"]}"#;
    refused(
        &with_root().answer(post("/api-keys", body)).await,
        400,
        "user_required",
    );
}

#[actix_web::test]
async fn list() {
    let mut fakes = with_scopes(&["keys:read"]);
    fakes
        .keys
        .expect_list()
        .withf(|owner, _| *owner == Some(ada()))
        .returning(|_, _| {
            Ok(Page {
                items: vec![api_key(key_id())],
                next: None,
            })
        });
    assert_snapshot!(fakes.answer(get("/api-keys")).await.text());
}

#[actix_web::test]
async fn the_root_key_lists_everybodys() {
    let mut fakes = with_root();
    let empty = || Page {
        items: Vec::new(),
        next: None,
    };
    fakes
        .keys
        .expect_list()
        .withf(|owner, _| owner.is_none())
        .returning(move |_, _| Ok(empty()));
    assert_eq!(fakes.answer(get("/api-keys")).await.status, 200);
}

#[actix_web::test]
async fn current_and_find() {
    let mut fakes = with_scopes(&["keys:read"]);
    fakes
        .keys
        .expect_find()
        .withf(|id, owner| *id == key_id() && *owner == Some(ada()))
        .returning(|id, _| Ok(Some(api_key(id))));
    let api = fakes.into_api();
    let current = answer(&api, get("/api-keys/current")).await;
    let found = answer(&api, get(&format!("/api-keys/{}", key_id()))).await;
    assert_snapshot!(current.text());
    assert_eq!(found.body, current.body);
}

#[actix_web::test]
async fn the_root_key_is_no_api_key() {
    refused(
        &with_root().answer(get("/api-keys/current")).await,
        400,
        "user_required",
    );
}

#[actix_web::test]
async fn revoke() {
    let mut fakes = with_scopes(&["keys:write"]);
    fakes
        .keys
        .expect_revoke()
        .withf(|id, owner, _| *id == key_id() && *owner == Some(ada()))
        .returning(|_, _, _| Ok(true));
    let request = TestRequest::delete()
        .uri(&format!("/api-keys/{}", key_id()))
        .insert_header(KEY);
    assert_snapshot!(fakes.answer(request).await.text());
}

#[actix_web::test]
async fn a_foreign_key_looks_like_none() {
    let mut fakes = with_scopes(&["keys:read", "keys:write"]);
    fakes.keys.expect_find().returning(|_, _| Ok(None));
    fakes.keys.expect_revoke().returning(|_, _, _| Ok(false));
    let api = fakes.into_api();
    let path = format!("/api-keys/{}", key_id());
    refused(&answer(&api, get(&path)).await, 404, "api_key_not_found");
    refused(
        &answer(&api, TestRequest::delete().uri(&path).insert_header(KEY)).await,
        404,
        "api_key_not_found",
    );
}
