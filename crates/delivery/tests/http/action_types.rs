//! `/action-types`.

use deed_domain::action::Payload;
use insta::assert_snapshot;

use crate::support::*;

#[actix_web::test]
async fn list_a_page_at_a_time() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes.types.expect_list().returning(|| {
        Ok(vec![
            action_type("echo"),
            action_type("report.render"),
            action_type("wait"),
        ])
    });
    let api = fakes.into_api();
    let names = |answer: &Answer| {
        let items = answer.json()["items"].as_array().cloned().unwrap();
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = answer(&api, get("/action-types?limit=2")).await;
    assert_eq!(names(&first), ["echo", "report.render"]);
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = answer(&api, get(&format!("/action-types?limit=2&cursor={cursor}"))).await;
    assert_eq!(names(&second), ["wait"]);
    assert!(second.json()["next_cursor"].is_null());
}

#[actix_web::test]
async fn narrowed_keys_see_their_types() {
    let mut fakes = with_scopes(&["actions:read:report.*"]);
    fakes
        .types
        .expect_list()
        .returning(|| Ok(vec![action_type("echo"), action_type("report.render")]));
    let answer = fakes.answer(get("/action-types")).await;
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn find() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes.types.expect_find().returning(|name| {
        let mut found = action_type(name.as_str());
        found.input_schema = Some(Payload::parse(r#"{"type":"object", "x":1.0}"#).unwrap());
        Ok(Some(found))
    });
    assert_snapshot!(fakes.answer(get("/action-types/echo")).await.text());
}

#[actix_web::test]
async fn an_unknown_type_is_not_found() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes.types.expect_find().times(1).returning(|_| Ok(None));
    let api = fakes.into_api();
    refused(
        &answer(&api, get("/action-types/echo")).await,
        404,
        "action_type_not_found",
    );
    refused(
        &answer(&api, get("/action-types/No%20Name")).await,
        404,
        "action_type_not_found",
    );
}

#[actix_web::test]
async fn a_name_has_a_bound() {
    let path = format!("/action-types/{}", "x".repeat(256));
    let answer = with_scopes(&["actions:read"]).answer(get(&path)).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["name"]);
}
