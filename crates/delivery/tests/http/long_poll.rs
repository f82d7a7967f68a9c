//! GET `/actions/{id}`: its tag, and the wait for another one.

use std::sync::Mutex;
use std::time::Duration;

use actix_web::dev::Service;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};
use deed_delivery::app;
use deed_domain::action::{Action, ActionError, Sequence, Status};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::*;

const SOON: Duration = Duration::from_secs(10);

fn path() -> String {
    format!("/actions/{}", action_id(1))
}

/// Fakes where the action stands one way after the other, one step each time it is looked at; the last one stays.
fn standing(stands: &'static [Status]) -> Fakes {
    let mut fakes = with_scopes(&["actions:read"]);
    let mut left = stands.iter().copied();
    let last = *stands.last().unwrap();
    fakes
        .actions
        .expect_find()
        .returning(move |id, _| Ok(Some(action(id, left.next().unwrap_or(last)))));
    fakes
}

/// The same, where its log grows without end.
fn growing(stands: &'static [Status]) -> Fakes {
    let mut fakes = standing(stands);
    fakes
        .wakeups
        .expect_watch_log()
        .returning(|_| stream::repeat(Sequence::START).boxed());
    fakes
        .wakeups
        .expect_watch_identities()
        .returning(|| stream::pending().boxed());
    fakes
}

async fn tag_of(stands: &'static [Status]) -> String {
    let answer = standing(stands).answer(get(&path())).await;
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    answer.header("etag").unwrap().to_owned()
}

/// An answer that comes by itself, long before the time that the request gives.
async fn soon(fakes: Fakes, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = get(&path());
    for (name, value) in headers {
        request = request.append_header((*name, *value));
    }
    timeout(SOON, fakes.answer(request)).await.unwrap()
}

#[actix_web::test]
async fn every_change_that_shows_has_a_tag_of_its_own() {
    let plain = action(action_id(1), Status::Running);
    let mut actions: Vec<Action> = Status::ALL
        .iter()
        .map(|status| action(action_id(1), *status))
        .collect();
    let mut other = |change: fn(&mut Action)| {
        let mut action = plain.clone();
        change(&mut action);
        actions.push(action);
    };
    other(|action| action.overview.attempt = 2);
    other(|action| action.overview.run_at = Some(now()));
    other(|action| action.overview.started_at = None);
    other(|action| action.overview.finished_at = Some(now()));
    other(|action| {
        action.overview.error = Some(ActionError {
            code: "a".to_owned(),
            message: "b".to_owned(),
        });
    });
    let mut tags = Vec::new();
    for action in actions {
        let mut fakes = with_scopes(&["actions:read"]);
        fakes
            .actions
            .expect_find()
            .returning(move |_, _| Ok(Some(action.clone())));
        let answer = fakes.answer(get(&path())).await;
        tags.push(answer.header("etag").unwrap().to_owned());
    }
    let count = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!((count, tags.len()), (11, 11));
    assert_eq!(
        tag_of(&[Status::Running]).await,
        tag_of(&[Status::Running]).await
    );
}

#[actix_web::test]
async fn who_has_an_action_already_is_told_so() {
    let tag = tag_of(&[Status::Running]).await;
    for method in [Method::GET, Method::HEAD] {
        let check = async |name: &'static str, value: &str, status: u16| {
            let request = TestRequest::default()
                .method(method.clone())
                .uri(&path())
                .insert_header(KEY)
                .insert_header((name, value));
            let answer = standing(&[Status::Running]).answer(request).await;
            assert_eq!(answer.status, status, "{method} {name}: {value}");
            if status == 304 {
                assert_eq!(answer.body, "");
                assert_eq!(answer.header("etag"), Some(tag.as_str()));
                assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
            }
        };
        check("If-None-Match", &tag, 304).await;
        check("If-None-Match", &format!("\"x\", W/{tag}"), 304).await;
        check("If-None-Match", "*", 304).await;
        check("If-None-Match", "\"x\"", 200).await;
        check("If-Match", &tag, 200).await;
        check("If-Match", "\"x\"", 412).await;
    }
}

#[actix_web::test]
async fn a_wait_ends_with_the_action() {
    use Status::{Queued, Running, Succeeded};
    let answer = soon(
        growing(&[Queued, Running, Running, Succeeded]),
        &[("Prefer", "wait=3600")],
    )
    .await;
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("succeeded"))
    );
    assert_eq!(answer.header("preference-applied"), Some("wait=60"));
    assert_eq!(
        answer.header("etag"),
        Some(tag_of(&[Succeeded]).await.as_str())
    );
}

#[actix_web::test]
async fn a_wait_with_a_tag_ends_with_another_one() {
    use Status::{Queued, Running, Succeeded};
    let tag = tag_of(&[Queued]).await;
    let headers = [("If-None-Match", tag.as_str()), ("Prefer", "wait=60")];
    let answer = soon(growing(&[Queued, Queued, Running, Succeeded]), &headers).await;
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("running"))
    );
    assert_eq!(answer.header("preference-applied"), Some("wait=60"));
    // It is another one already.
    let answer = soon(standing_soundly(&[Running]), &headers).await;
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("running"))
    );
}

fn standing_soundly(stands: &'static [Status]) -> Fakes {
    let mut fakes = standing(stands);
    sleep_soundly(&mut fakes);
    fakes
}

/// Nothing comes after the end: neither with its tag nor with `*` is it waited for.
#[actix_web::test]
async fn what_is_over_is_not_waited_for() {
    let tag = tag_of(&[Status::Failed]).await;
    for tag in [tag.as_str(), "*"] {
        let headers = [("If-None-Match", tag), ("Prefer", "wait=60")];
        let answer = soon(standing_soundly(&[Status::Failed]), &headers).await;
        assert_eq!(answer.status, 304, "{tag}");
    }
    let headers = [("If-Match", "\"x\""), ("Prefer", "wait=60")];
    let answer = soon(standing_soundly(&[Status::Running]), &headers).await;
    refused(&answer, 412, "precondition_failed");
}

#[actix_web::test]
async fn when_time_is_up_it_is_answered_as_it_is() {
    let tag = tag_of(&[Status::Running]).await;
    let short = || {
        let mut fakes = standing_soundly(&[Status::Running]);
        fakes.settings.max_wait = Duration::from_millis(20);
        fakes
    };
    let headers = [("If-None-Match", tag.as_str()), ("Prefer", "wait=60")];
    let answer = soon(short(), &headers).await;
    assert_eq!((answer.status, answer.body.as_str()), (304, ""));
    assert_eq!(answer.header("preference-applied"), Some("wait=0"));
    let answer = soon(short(), &[("Prefer", "wait=60")]).await;
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("running"))
    );
}

#[actix_web::test]
async fn a_drain_ends_the_wait() {
    let tag = tag_of(&[Status::Running]).await;
    for (headers, status) in [
        (vec![("Prefer", "wait=60")], 200),
        (
            vec![("If-None-Match", tag.as_str()), ("Prefer", "wait=60")],
            304,
        ),
    ] {
        let mut fakes = standing(&[Status::Running]);
        let draining = fakes.draining.clone();
        fakes.wakeups.expect_watch_log().returning(move |_| {
            draining.send_replace(true);
            stream::pending().boxed()
        });
        fakes
            .wakeups
            .expect_watch_identities()
            .returning(|| stream::pending().boxed());
        assert_eq!(soon(fakes, &headers).await.status, status);
    }
}

#[actix_web::test]
async fn what_is_not_understood_is_not_waited_for() {
    for prefer in ["wait=soon", "wait", "respond-async", "wait=0"] {
        // Nothing is watched: the fakes would panic.
        let answer = soon(standing(&[Status::Running]), &[("Prefer", prefer)]).await;
        assert_eq!(answer.status, 200, "{prefer}");
        let applied = (prefer == "wait=0").then_some("wait=0");
        assert_eq!(answer.header("preference-applied"), applied, "{prefer}");
    }
}

#[actix_web::test]
async fn a_key_that_is_revoked_ends_the_wait() {
    let mut fakes = standing(&[Status::Running]);
    fakes
        .wakeups
        .expect_watch_log()
        .returning(|_| stream::pending().boxed());
    fakes
        .wakeups
        .expect_watch_identities()
        .returning(|| stream::iter([()]).chain(stream::pending()).boxed());
    fakes
        .authenticator
        .expect_is_still_valid()
        .returning(|_| Ok(false));
    let answer = soon(fakes, &[("Prefer", "wait=60")]).await;
    refused(&answer, 401, "invalid_api_key");
}

/// A wait that nobody waits for any more looks once more, and is over.
#[actix_web::test]
async fn nobody_is_waited_for_who_has_gone() {
    let (looked, mut looks) = mpsc::unbounded_channel();
    let (watched, mut watches) = mpsc::unbounded_channel();
    let watched = Mutex::new(Some(watched));
    let mut fakes = with_scopes(&["actions:read"]);
    fakes.actions.expect_find().returning(move |id, _| {
        looked.send(()).unwrap();
        Ok(Some(action(id, Status::Running)))
    });
    fakes.wakeups.expect_watch_log().returning(move |_| {
        // The watch holds the sender, and takes it along when it is dropped.
        let held: mpsc::UnboundedSender<()> = watched.lock().unwrap().take().unwrap();
        stream::unfold(held, async |held| {
            held.closed().await;
            Some((Sequence::START, held))
        })
        .boxed()
    });
    fakes
        .wakeups
        .expect_watch_identities()
        .returning(|| stream::pending().boxed());
    let api = fakes.into_api();
    let service = init_service(app(&api)).await;
    let request = get(&path()).insert_header(("Prefer", "wait=60"));
    let mut answer = Box::pin(service.call(request.to_request()));
    let mut first = Box::pin(looks.recv());
    let waiting = futures_util::future::select(&mut answer, &mut first);
    assert!(matches!(
        timeout(SOON, waiting).await.unwrap(),
        futures_util::future::Either::Right((Some(()), _))
    ));
    drop((answer, first));
    assert_eq!(timeout(SOON, watches.recv()).await.unwrap(), None);
}
