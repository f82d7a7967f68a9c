//! What answers tell of an operation that goes away, through the whole application and in its document.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use deed_delivery::{Api, Deprecated};

use crate::support::*;

const SAID: Deprecated = Deprecated {
    since: "2026-01-31T00:00:00Z",
    sunset: Some("2026-07-01T00:00:00Z"),
    link: Some("https://deed.example/news"),
};

/// An application in which GET `/users` goes away; looking for Bob makes it panic.
fn api() -> Api {
    let mut fakes = with_scopes(&["users:read"]);
    fakes.users.expect_list().returning(|filter, _| {
        assert!(filter.external_id.is_none(), "Bob was looked for");
        Ok(deed_domain::page::Page {
            items: vec![user(ada())],
            next: Some(ada()),
        })
    });
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    Api::deprecating(fakes.into_parts(), "listUsers", SAID).unwrap()
}

fn told(answer: &Answer) -> (Option<&str>, Option<&str>, Vec<&str>) {
    let links = answer.headers.iter().filter(|(name, _)| name == "link");
    (
        answer.header("deprecation"),
        answer.header("sunset"),
        links.map(|(_, value)| value.as_str()).collect(),
    )
}

#[actix_web::test]
async fn every_answer_of_it_says_so() {
    let api = api();
    let wrong_key = TestRequest::get().uri("/users");
    for (request, status) in [
        (get("/users"), 200),
        (get("/users").method(Method::HEAD), 200),
        (get("/users?limit=x"), 400),
        (get("/users?external_id=bob"), 500),
        (wrong_key, 401),
        (get(&format!("/users?x={}", "x".repeat(9000))), 414),
    ] {
        let answer = answer(&api, request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let (deprecation, sunset, links) = told(&answer);
        assert_eq!(deprecation, Some("@1769817600"), "{answer:?}");
        assert_eq!(sunset, Some("Wed, 01 Jul 2026 00:00:00 GMT"));
        let page = "<https://deed.example/news>; rel=\"deprecation\"; type=\"text/html\"";
        assert!(links.contains(&page), "{links:?}");
        // Beside the one to the next page.
        assert_eq!(links.len(), if status == 200 { 2 } else { 1 }, "{links:?}");
    }
}

#[actix_web::test]
async fn no_other_operation_says_so() {
    let api = api();
    for request in [
        get("/users/me"),
        get("/users").method(Method::PUT),
        get("/users/nothing/here"),
    ] {
        let answer = answer(&api, request).await;
        assert_eq!(told(&answer), (None, None, Vec::new()), "{answer:?}");
    }
}

#[actix_web::test]
async fn its_document_says_so() {
    let document = answer(&api(), get("/openapi.json")).await.json();
    let path = &document["paths"]["/users"];
    assert_eq!(path["get"]["deprecated"], true);
    assert!(path["post"]["deprecated"].is_null());
    let headers = &path["get"]["responses"]["401"]["headers"];
    assert!(headers["Sunset"].is_object(), "{headers}");
}
