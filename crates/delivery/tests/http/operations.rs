//! What holds for every operation, asked of each one in the document.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use deed_delivery::openapi;
use serde_json::Value;

use crate::support::*;

/// One operation of the document.
struct Operation {
    id: String,
    /// With values in place of its parameters.
    path: String,
    method: Method,
    described: Value,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&openapi::document().unwrap()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            found.push(Operation {
                id: described["operationId"].as_str().unwrap().to_owned(),
                path: path
                    .replace("{id}", &action_id(1).to_string())
                    .replace("{lease_id}", "none")
                    .replace("{name}", "echo")
                    .replace("{code}", "not_found"),
                method: Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap(),
                described: described.clone(),
            });
        }
    }
    assert!(found.len() >= 33);
    found
}

impl Operation {
    fn at(&self, path: &str) -> TestRequest {
        TestRequest::default()
            .method(self.method.clone())
            .uri(path)
            .insert_header(KEY)
    }

    fn request(&self) -> TestRequest {
        self.at(&self.path)
    }

    /// The media types of the body that it takes.
    fn taken(&self) -> Vec<String> {
        let content = self.described["requestBody"]["content"].as_object();
        content
            .into_iter()
            .flat_map(|content| content.keys().cloned())
            .collect()
    }

    /// The media types of what it answers below 400.
    fn answered(&self) -> Vec<String> {
        let responses = self.described["responses"].as_object().unwrap().iter();
        responses
            .filter(|(status, _)| status.as_str() < "400")
            .flat_map(|(_, response)| response["content"].as_object().into_iter().flatten())
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn has_parameter(&self, name: &str) -> bool {
        let parameters = self.described["parameters"].as_array();
        parameters
            .into_iter()
            .flatten()
            .any(|parameter| parameter["name"] == name)
    }

    fn names_status(&self, status: &str) -> bool {
        self.described["responses"][status].is_object()
    }
}

/// A refusal as every refusal is: a problem, kept by nobody, read as nothing but what it says it is.
#[track_caller]
fn check_refused(operation: &Operation, answer: &Answer, status: u16, code: &str) {
    let Operation { id, .. } = operation;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (status, code),
        "{id}: {answer:?}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{id}");
    assert_eq!(
        answer.header("x-content-type-options"),
        Some("nosniff"),
        "{id}"
    );
}

fn sorted(list: &str) -> Vec<String> {
    let mut parts: Vec<String> = list.split(',').map(|part| part.trim().to_owned()).collect();
    parts.sort();
    parts
}

#[actix_web::test]
async fn another_method_is_405_and_options_204() {
    let operations = operations();
    let api = with_root().into_api();
    for operation in &operations {
        let mut known = vec!["OPTIONS".to_owned()];
        for other in operations
            .iter()
            .filter(|other| other.path == operation.path)
        {
            known.push(other.method.to_string());
            if other.method == Method::GET {
                known.push("HEAD".to_owned());
            }
        }
        known.sort();
        for method in [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::TRACE,
            Method::CONNECT,
            Method::from_bytes(b"BREW").unwrap(),
        ] {
            if known.contains(&method.to_string()) {
                continue;
            }
            let request = TestRequest::default().method(method).uri(&operation.path);
            let answer = answer(&api, request).await;
            check_refused(operation, &answer, 405, "method_not_allowed");
            assert_eq!(
                sorted(answer.header("allow").unwrap()),
                known,
                "{}",
                operation.id
            );
        }
        let options = TestRequest::default()
            .method(Method::OPTIONS)
            .uri(&operation.path);
        let answer = answer(&api, options).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        assert_eq!(sorted(answer.header("allow").unwrap()), known);
        let patch = known.contains(&"PATCH".to_owned());
        assert_eq!(
            answer.header("accept-patch"),
            patch.then_some("application/merge-patch+json, application/json")
        );
    }
}

#[actix_web::test]
async fn a_trailing_slash_is_another_path() {
    let api = with_root().into_api();
    for operation in operations() {
        for path in [
            format!("{}/", operation.path),
            format!("/{}", operation.path),
        ] {
            let answer = answer(&api, operation.at(&path)).await;
            check_refused(&operation, &answer, 404, "not_found");
        }
    }
}

#[actix_web::test]
async fn a_target_too_long_is_414() {
    let api = with_root().into_api();
    for operation in operations() {
        let path = format!("{}?{}", operation.path, "x".repeat(8192));
        let answer = answer(&api, operation.at(&path)).await;
        check_refused(&operation, &answer, 414, "target_too_long");
        assert!(operation.names_status("414"), "{}", operation.id);
    }
}

#[actix_web::test]
async fn what_a_client_does_not_take_is_406() {
    let api = with_root().into_api();
    for operation in operations() {
        let types = operation.answered();
        assert_eq!(
            operation.names_status("406"),
            !types.is_empty(),
            "{}",
            operation.id
        );
        if types.is_empty() {
            continue;
        }
        for accept in ["image/png", "image/*, audio/ogg", "*/*;q=0", "nonsense"] {
            let request = operation.request().insert_header(("Accept", accept));
            let answer = answer(&api, request).await;
            check_refused(&operation, &answer, 406, "not_acceptable");
        }
        // Whatever else is wrong is said of what a client takes.
        for accept in types
            .iter()
            .map(String::as_str)
            .chain(["*/*", "", "image/png, */*;q=0.1"])
        {
            let request = operation
                .at(&format!("{}?zzz=1", operation.path))
                .insert_header(("Accept", accept));
            let answer = answer(&api, request).await;
            check_refused(&operation, &answer, 400, "validation_failed");
        }
    }
}

/// A stranger is told nothing of what an operation answers.
#[actix_web::test]
async fn the_key_comes_before_what_a_client_takes() {
    for operation in operations() {
        if operation.described["x-public"] == true {
            continue;
        }
        let request = TestRequest::default()
            .method(operation.method.clone())
            .uri(&operation.path)
            .insert_header(("Accept", "image/png"));
        let answer = fakes().answer(request).await;
        check_refused(&operation, &answer, 401, "invalid_api_key");
    }
}

#[actix_web::test]
async fn a_body_of_another_type_is_415() {
    let api = with_root().into_api();
    let mut checked = 0;
    for operation in operations() {
        let mut taken = operation.taken();
        if taken.is_empty() {
            continue;
        }
        taken.sort();
        let with =
            |name: &'static str, value: &str| operation.request().append_header((name, value));
        let json = ("Content-Type", "application/json");
        for request in [
            operation.request(),
            with("Content-Type", "text/plain"),
            with("Content-Type", "application/jsonx"),
            with("Content-Type", ""),
            with("Content-Type", "application/json").append_header(("Content-Type", "text/plain")),
            with("Content-Type", "application/json").append_header(json),
        ] {
            let answer = answer(&api, request.set_payload("{}")).await;
            check_refused(&operation, &answer, 415, "unsupported_media_type");
            assert_eq!(
                sorted(answer.header("accept").unwrap()),
                taken,
                "{}",
                operation.id
            );
            let accept_patch = answer.header("accept-patch").map(sorted);
            let expected = (operation.method == Method::PATCH).then(|| taken.clone());
            assert_eq!(accept_patch, expected, "{}", operation.id);
            assert_eq!(answer.header("accept-encoding"), None);
        }
        for coding in ["gzip", "identity, gzip", "br"] {
            let request = with("Content-Encoding", coding)
                .append_header(json)
                .set_payload("{}");
            let answer = answer(&api, request).await;
            check_refused(&operation, &answer, 415, "unsupported_media_type");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
        checked += 1;
    }
    assert!(checked >= 14, "{checked}");
}

#[actix_web::test]
async fn a_declared_length_over_the_limit_is_413() {
    let api = with_root().into_api();
    for operation in operations()
        .into_iter()
        .filter(|one| !one.taken().is_empty())
    {
        let request =
            with_json(operation.request(), "{}").insert_header(("Content-Length", "16777216"));
        let answer = answer(&api, request).await;
        check_refused(&operation, &answer, 413, "body_too_large");
    }
}

#[actix_web::test]
async fn what_is_not_json_is_400() {
    let api = with_root().into_api();
    for operation in operations()
        .into_iter()
        .filter(|one| !one.taken().is_empty())
    {
        for body in ["", "{", "nul", "\u{feff}{}"] {
            let answer = answer(&api, with_json(operation.request(), body)).await;
            check_refused(&operation, &answer, 400, "malformed_json");
        }
        for body in ["[]", "null", "\"x\"", r#"{"zzz":1}"#] {
            let answer = answer(&api, with_json(operation.request(), body)).await;
            check_refused(&operation, &answer, 400, "validation_failed");
        }
    }
}

/// PostgreSQL keeps no NUL: it is told to nobody, or refused, before it gets there.
#[actix_web::test]
async fn a_nul_in_the_path_or_query_finds_nothing() {
    let api = with_root().into_api();
    for operation in operations() {
        for (name, value) in [
            (action_id(1).to_string(), "%00"),
            ("echo".to_owned(), "a%00b"),
        ] {
            let path = operation.path.replace(&name, value);
            if path == operation.path {
                continue;
            }
            let body = "{}";
            let answer = answer(&api, with_json(operation.at(&path), body)).await;
            answer.problem();
            assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        }
        let answer = answer(&api, operation.at(&format!("{}?a%00=%00", operation.path))).await;
        check_refused(&operation, &answer, 400, "validation_failed");
    }
}

#[actix_web::test]
async fn an_idempotency_key_is_sent_once_and_well_formed() {
    let api = with_root().into_api();
    let mut checked = 0;
    for operation in operations() {
        if !operation.has_parameter("Idempotency-Key") {
            continue;
        }
        for keys in [
            vec!["a", "b"],
            vec!["a", "a"],
            vec![""],
            vec!["\"a"],
            vec!["a b"],
        ] {
            let mut request = with_json(operation.request(), "{}");
            for key in &keys {
                request = request.append_header(("Idempotency-Key", *key));
            }
            let answer = answer(&api, request).await;
            check_refused(&operation, &answer, 400, "validation_failed");
            assert_eq!(
                answer.places(),
                ["Idempotency-Key"],
                "{} {keys:?}",
                operation.id
            );
        }
        for status in ["409", "422"] {
            assert!(operation.names_status(status), "{} {status}", operation.id);
        }
        checked += 1;
    }
    assert_eq!(checked, 5);
}

/// HEAD is GET without a body, in its refusals as well.
#[actix_web::test]
async fn head_answers_as_get_does() {
    let api = with_root().into_api();
    for operation in operations()
        .into_iter()
        .filter(|one| one.method == Method::GET)
    {
        let path = format!("{}?zzz=1", operation.path);
        let of = async |method: Method| {
            let request = TestRequest::default()
                .method(method)
                .uri(&path)
                .insert_header(KEY)
                .insert_header(("X-Request-Id", "r-1"));
            answer(&api, request).await
        };
        let (get, head) = (of(Method::GET).await, of(Method::HEAD).await);
        assert_eq!((head.status, &head.headers), (get.status, &get.headers));
    }
}
