//! Entity tags: what bears one, and requests that depend on it.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use deed_delivery::Api;
use deed_domain::id::UserId;
use deed_domain::ports::{UserChanged, UserCreated};
use deed_domain::user::{UserCondition, UserVersion, UserVersions};

use crate::support::*;

/// The tag of [`user`]: the moment of its last change.
const TAG: &str = "\"1-649ac2721e800\"";

fn path() -> String {
    format!("/users/{}", user_id(2))
}

fn api() -> Api {
    let mut fakes = with_scopes(&["users:read", "users:write"]);
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    fakes
        .users
        .expect_change()
        .returning(|id, _, condition, _| Ok(changed_if(id, condition)));
    fakes.into_api()
}

/// What a store answers that keeps to the condition.
fn changed_if(id: UserId, condition: &UserCondition) -> UserChanged {
    let user = user(id);
    match condition.holds(user.version()) {
        true => UserChanged::Changed(user),
        false => UserChanged::ConditionFailed,
    }
}

async fn read(method: Method, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = TestRequest::default()
        .method(method)
        .uri(&path())
        .insert_header(KEY);
    for (name, value) in headers {
        request = request.append_header((*name, *value));
    }
    answer(&api(), request).await
}

#[actix_web::test]
async fn a_user_has_a_tag_wherever_it_is_answered() {
    let mut fakes = with_scopes(&["users:write"]);
    fakes
        .hasher
        .expect_hash()
        .returning(|_| Ok(deed_domain::password::PasswordHash::from_phc("$hash")));
    fakes
        .users
        .expect_create()
        .returning(|_, _, _| Ok(UserCreated::New(user(user_id(2)))));
    let body = r#"{"email":"ada@example.com","name":"Ada","password":"correct horse"}"#;
    let created = fakes.answer(post("/users", body)).await;
    let api = api();
    let found = answer(&api, get(&path())).await;
    let changed = answer(&api, patch(&path(), "{}")).await;
    for (answer, status) in [(created, 201), (found, 200), (changed, 200)] {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("etag"), Some(TAG));
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    }
}

#[actix_web::test]
async fn who_has_a_user_already_is_told_so() {
    for method in [Method::GET, Method::HEAD] {
        let check = async |sent: &[&str], status: u16| {
            let headers: Vec<_> = sent.iter().map(|value| ("If-None-Match", *value)).collect();
            let answer = read(method.clone(), &headers).await;
            assert_eq!(answer.status, status, "{method} {sent:?}");
            assert_eq!(answer.header("etag"), Some(TAG), "{sent:?}");
            assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
            if status == 304 {
                assert_eq!(
                    (answer.body.as_str(), answer.header("content-type")),
                    ("", None)
                );
            }
        };
        check(&[TAG], 304).await;
        check(&[&format!("W/{TAG}")], 304).await;
        check(&["*"], 304).await;
        check(&[&format!("\"x\", {TAG}")], 304).await;
        check(&["\"x\"", TAG], 304).await;
        check(&["\"x\""], 200).await;
        check(&[TAG.trim_matches('"')], 200).await;
        check(&[""], 200).await;
    }
}

/// RFC 9110, section 13.2.2: `If-Match` is judged on every method, and before `If-None-Match`.
#[actix_web::test]
async fn a_read_can_depend_on_the_tag_too() {
    let check = async |headers: &[(&'static str, &str)], status: u16| {
        let answer = read(Method::GET, headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 412 {
            assert_eq!(answer.problem(), "precondition_failed");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    };
    check(&[("If-Match", TAG)], 200).await;
    check(&[("If-Match", "*")], 200).await;
    check(&[("If-Match", "\"x\"")], 412).await;
    check(&[("If-Match", &format!("W/{TAG}"))], 412).await;
    check(&[("If-Match", TAG), ("If-None-Match", TAG)], 304).await;
    check(&[("If-Match", "\"x\""), ("If-None-Match", TAG)], 412).await;
}

#[actix_web::test]
async fn a_change_depends_on_the_tag() {
    let api = api();
    let check = async |headers: &[(&'static str, &str)], status: u16| {
        let mut request = patch(&path(), r#"{"name":"Ada King"}"#);
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        let answer = answer(&api, request).await;
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 412 {
            assert_eq!(answer.problem(), "precondition_failed");
        }
    };
    check(&[], 200).await;
    check(&[("If-Match", TAG)], 200).await;
    check(&[("If-Match", "*")], 200).await;
    check(&[("If-Match", &format!("\"x\", {TAG}"))], 200).await;
    check(&[("If-Match", "\"x\""), ("If-Match", TAG)], 200).await;
    check(&[("If-Match", "\"x\"")], 412).await;
    check(&[("If-Match", &format!("W/{TAG}"))], 412).await;
    check(&[("If-Match", TAG.trim_matches('"'))], 412).await;
    check(&[("If-Match", "")], 412).await;
    check(&[("If-None-Match", "\"x\"")], 200).await;
    check(&[("If-None-Match", TAG)], 412).await;
    check(&[("If-None-Match", &format!("W/{TAG}"))], 412).await;
    check(&[("If-None-Match", "*")], 412).await;
}

/// RFC 9110, section 13.2.1: a condition refuses nothing that would be refused without it.
#[actix_web::test]
async fn other_refusals_go_before_the_condition() {
    let stale = ("If-Match", "\"x\"");
    let nobody = || {
        let mut fakes = with_scopes(&["users:read", "users:write"]);
        fakes.users.expect_find().returning(|_| Ok(None));
        fakes
            .users
            .expect_change()
            .returning(|_, _, _, _| Ok(UserChanged::NotFound));
        fakes
    };
    let request = get(&path()).insert_header(stale);
    refused(&nobody().answer(request).await, 404, "user_not_found");
    let request = patch(&path(), "{}").insert_header(stale);
    refused(&nobody().answer(request).await, 404, "user_not_found");
    let request = patch(&path(), r#"{"name":""}"#).insert_header(stale);
    refused(&nobody().answer(request).await, 400, "validation_failed");
    let request = patch(&path(), r#"{"email":"b@example.com"}"#).insert_header(stale);
    refused(&nobody().answer(request).await, 403, "insufficient_scope");
}

#[actix_web::test]
async fn the_store_is_told_the_versions() {
    let these = |numbers: &[i64]| {
        let versions = numbers.iter().copied().filter_map(UserVersion::new);
        UserVersions::These(versions.collect())
    };
    let mut fakes = with_scopes(&["users:write"]);
    let expected = UserCondition {
        one_of: these(&[10, 12]),
        none_of: these(&[11]),
    };
    fakes
        .users
        .expect_change()
        .times(1)
        .withf(move |_, _, condition, _| *condition == expected)
        .returning(|id, _, _, _| Ok(UserChanged::Changed(user(id))));
    let request = patch(&path(), "{}")
        .insert_header(("If-Match", "\"1-a\", W/\"1-b\", \"1-c\", \"2-d\""))
        .insert_header(("If-None-Match", "W/\"1-b\""));
    assert_eq!(fakes.answer(request).await.status, 200);
}

/// The files of the documentation have tags as well.
#[actix_web::test]
async fn what_never_changes_is_not_sent_twice() {
    let api = fakes().into_api();
    for path in [
        "/openapi.json",
        "/docs",
        "/docs/start.js",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/docs/favicon-32x32.png",
    ] {
        let get = || TestRequest::get().uri(path);
        let whole = answer(&api, get()).await;
        let tag = whole.header("etag").unwrap().to_owned();
        assert_eq!(whole.status, 200);
        let same = answer(&api, get().insert_header(("If-None-Match", tag.clone()))).await;
        assert_eq!((same.status, same.body.as_str()), (304, ""), "{path}");
        assert_eq!(same.header("etag"), Some(tag.as_str()));
        assert_eq!(same.header("cache-control"), whole.header("cache-control"));
        let other = answer(&api, get().insert_header(("If-Match", "\"x\""))).await;
        refused(&other, 412, "precondition_failed");
    }
}
