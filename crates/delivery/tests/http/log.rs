//! What stands in the log, and what doesn't.

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use deed_domain::action::Status;
use deed_domain::page::Page;
use deed_domain::ports::Submitted;
use log::{Log, Metadata, Record};

use crate::support::*;

/// Keeps every line with the id of the request that it belongs to.
struct Lines(Mutex<Vec<(String, String)>>);

static LINES: LazyLock<&Lines> = LazyLock::new(|| {
    let lines: &'static Lines = Box::leak(Box::new(Lines(Mutex::new(Vec::new()))));
    log::set_logger(lines).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    lines
});

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(id) = deed_delivery::request_id::current() {
            let line = format!("{} {} {}", record.level(), record.target(), record.args());
            self.0.lock().unwrap().push((id.as_str().to_owned(), line));
        }
    }

    fn flush(&self) {}
}

/// The lines of one request, as far as they are ours.
fn lines(id: &str) -> Vec<String> {
    let all = LINES.0.lock().unwrap();
    let own = all
        .iter()
        .filter(|(of, line)| of == id && line.contains(" deed"));
    own.map(|(_, line)| line.clone()).collect()
}

#[actix_web::test]
async fn a_request_is_one_line_without_what_it_carried() {
    LazyLock::force(&LINES);
    let mut fakes = with_scopes(&["users:read"]);
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    let path = format!("/users/{}", user_id(2));
    let request = get(&path).insert_header(("X-Request-Id", "log-1"));
    assert_eq!(fakes.answer(request).await.status, 200);
    let lines = lines("log-1");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("INFO deed::access GET /users/{id} 200 "),
        "{lines:?}"
    );
}

#[actix_web::test]
async fn a_failure_is_logged_once_with_its_causes_under_its_id() {
    LazyLock::force(&LINES);
    let mut fakes = with_scopes(&["users:read"]);
    fakes.users.expect_list().returning(|_, _| {
        let cause = std::sync::Arc::new(std::io::Error::other("connection refused"));
        Err(deed_domain::StoreError::Bug(cause))
    });
    let request = get("/users").insert_header(("X-Request-Id", "log-2"));
    assert_eq!(fakes.answer(request).await.status, 500);
    let lines = lines("log-2");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("ERROR ") && lines[0].ends_with(": connection refused"),
        "{lines:?}"
    );
}

/// The id goes along into the task that does the work.
#[actix_web::test]
async fn work_is_done_under_the_requests_id() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut fakes = with_scopes(&["users:read"]);
    fakes.users.expect_list().returning(move |_, _| {
        sender.send(deed_delivery::request_id::current()).unwrap();
        Ok(Page {
            items: Vec::new(),
            next: None,
        })
    });
    fakes
        .answer(get("/users").insert_header(("X-Request-Id", "log-3")))
        .await;
    assert_eq!(receiver.recv().unwrap().unwrap().as_str(), "log-3");
}

/// A client that hangs up takes its request with it, before there is an answer to tell of.
#[actix_web::test]
async fn a_request_that_its_client_gave_up_has_its_line_too() {
    LazyLock::force(&LINES);
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find()
        .returning(|name| Ok(Some(action_type(name.as_str()))));
    fakes
        .submissions
        .expect_submit()
        .returning(|_, _| Ok(Submitted::New));
    fakes
        .actions
        .expect_find()
        .returning(|id, _| Ok(Some(action(id, Status::Queued))));
    sleep_soundly(&mut fakes);
    let request = post("/actions", r#"{"type":"echo","input":{}}"#)
        .insert_header(("X-Request-Id", "log-4"))
        .insert_header(("Prefer", "wait=60"));
    let given_up = tokio::time::timeout(Duration::from_millis(200), fakes.answer(request)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    let lines = lines("log-4");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("INFO deed::access POST given up by its client after "),
        "{lines:?}"
    );
}
