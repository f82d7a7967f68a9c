//! `/docs`: Swagger UI out of the binary, where nothing but this machine can be reached.

use deed_e2e::browser::Browser;
use deed_e2e::database::Database;
use deed_e2e::server::{ROOT_KEY, Server};
use deed_e2e::wait::SOON;
use serde_json::Value;

use crate::{DEED, beside};

/// The form of one way to authorise, told by the header that it fills.
const BY_HEADER: &str = "Array.from(document.querySelectorAll('.auth-container')).find((form) => form.textContent.includes('X-API-Key'))";
const CREATE_USER: &str = "#operations-users-createUser";

#[tokio::test(flavor = "multi_thread")]
async fn swagger_ui_works_without_a_network() {
    let _place = beside().await;
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let browser = Browser::start().await;
    let tab = browser.open(&format!("{}/docs", server.base)).await;
    tab.until(SOON, "document.querySelectorAll('.opblock').length > 30")
        .await;
    let operations = tab
        .evaluate("document.querySelectorAll('.opblock').length")
        .await;
    let document = server
        .anonymous()
        .get("/openapi.json")
        .send()
        .await
        .json(200);
    let documented: usize = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|path| {
            path.as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "parameters")
                .count()
        })
        .sum();
    assert_eq!(operations, documented);

    tab.click(".btn.authorize").await;
    tab.until(SOON, &format!("Boolean({BY_HEADER})")).await;
    tab.evaluate(&format!("{BY_HEADER}.id = 'by-header'")).await;
    tab.fill("#by-header input", ROOT_KEY).await;
    tab.click("#by-header .authorize").await;
    tab.until(
        SOON,
        &format!("{BY_HEADER}.textContent.includes('Authorized')"),
    )
    .await;
    tab.click(".auth-btn-wrapper .btn-done").await;

    tab.click(&format!("{CREATE_USER} .opblock-summary-control"))
        .await;
    let text = format!("document.querySelector('{CREATE_USER} textarea')?.value ?? ''");
    tab.until(SOON, &format!("({text}).includes('password')"))
        .await;
    tab.click(&format!("{CREATE_USER} .execute")).await;
    let status = format!(
        "document.querySelector('{CREATE_USER} .live-responses-table tbody .response-col_status')?.textContent ?? ''"
    );
    tab.until(SOON, &format!("({status}).trim().length > 0"))
        .await;
    let status = tab.evaluate(&status).await;
    assert!(status.as_str().unwrap().contains("201"), "{status}");

    let body: Value = serde_json::from_str(tab.evaluate(&text).await.as_str().unwrap()).unwrap();
    let path = format!("/users?email={}", body["email"].as_str().unwrap());
    let found = server.root().get(&path).send().await.json(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");

    assert_eq!(tab.errors(), [""; 0]);
    let requests = tab.requests();
    let elsewhere: Vec<_> = requests
        .iter()
        .filter(|(_, url)| !url.starts_with(&format!("{}/", server.base)))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert!(
        requests.iter().any(|(method, _)| method == "POST"),
        "{requests:?}"
    );
}
