//! The typed client against the real server.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deed_client::api::action::{ActionQuery, ActionStatus, CreateAction};
use deed_client::api::action_type::ActionTypeQuery;
use deed_client::api::api_key::{ApiKeyQuery, CreateApiKey};
use deed_client::api::event::EventQuery;
use deed_client::api::user::{CreateUser, PatchUser, UserQuery};
use deed_client::{Client, Error, Event, EventKind, Follow, Job};
use deed_e2e::database::Database;
use deed_e2e::server::{ROOT_KEY, Server, deed};
use deed_e2e::wait::within;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::sync::{Barrier, oneshot};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];
/// The lease of a dead server lasts 10 s, and some seconds later it is taken over.
const TAKEOVER: Duration = Duration::from_secs(40);

fn client_with(server: &Server, key: &str) -> Client {
    Client::builder(&server.base).api_key(key).build().unwrap()
}

async fn user(server: &Server) -> Client {
    client_with(server, server.user(&ACTIONS).await.key().unwrap())
}

fn echo(input: Value) -> CreateAction {
    CreateAction::new("echo", &input).unwrap()
}

async fn all(mut events: Follow) -> Vec<Event> {
    let mut found = Vec::new();
    while let Some(event) = events.next().await {
        found.push(event.unwrap());
    }
    found
}

/// The words of an echo's events, whose positions are checked: 1, 2, 3 …, `done` last.
fn words(events: &[Event]) -> String {
    let positions: Vec<u32> = events.iter().map(|event| event.seq).collect();
    let expected: Vec<u32> = (1..).take(events.len()).collect();
    assert_eq!(positions, expected);
    assert_eq!(events.last().unwrap().name, "done");
    let chunks = events.iter().filter(|event| event.name == "message");
    chunks
        .map(|event| {
            let chunk: Value = serde_json::from_str(event.data.get()).unwrap();
            chunk["text"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn every_operation_about_users_and_keys() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = client_with(&server, ROOT_KEY);
    let new = CreateUser {
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        password: "correct horse".to_owned(),
        external_id: Some("crm-17".to_owned()),
    };
    let ada = root.create_user(&new).idempotency_key("ada").await.unwrap();
    let again = root.create_user(&new).idempotency_key("ada").await.unwrap();
    assert_eq!(ada, again, "one key, one user");
    let taken = root.create_user(&new).await.unwrap_err();
    assert_eq!(taken.code(), Some("user_already_exists"));

    assert_eq!(root.get_user(ada.id).await.unwrap(), ada);
    let query = UserQuery {
        external_id: Some("crm-17".to_owned()),
        ..UserQuery::default()
    };
    let page = root.list_users(&query).unwrap().page().await.unwrap();
    assert_eq!((page.items, page.next_cursor), (vec![ada.clone()], None));
    let patch = PatchUser {
        name: Some("Ada L.".to_owned()),
        external_id: Some(None),
        ..PatchUser::default()
    };
    let changed = root.update_user(ada.id, &patch).await.unwrap();
    assert_eq!(
        (changed.name.as_str(), changed.external_id),
        ("Ada L.", None)
    );

    let scopes = ["keys:read", "keys:write", "actions:read"].map(str::to_owned);
    let key = CreateApiKey {
        name: "laptop".to_owned(),
        scopes: scopes.to_vec(),
        expires_at: None,
    };
    let issued = root.as_user(ada.id).create_api_key(&key).await.unwrap();
    let own = client_with(&server, &issued.secret);
    let me = own.get_me().await.unwrap();
    assert_eq!((me.user.id, me.scopes.len()), (ada.id, 3));
    assert_eq!(own.get_current_api_key().await.unwrap().id, issued.key.id);
    assert_eq!(own.get_api_key(issued.key.id).await.unwrap().name, "laptop");
    let keys = own.list_api_keys(&ApiKeyQuery::default()).unwrap();
    let keys: Vec<_> = keys.all().try_collect().await.unwrap();
    assert_eq!(keys.len(), 1);

    root.revoke_api_key(issued.key.id).await.unwrap();
    root.revoke_api_key(issued.key.id).await.unwrap();
    let refused = own.get_me().await.unwrap_err();
    assert_eq!(refused.code(), Some("invalid_api_key"));
    let refusal = refused.refusal().unwrap();
    assert_eq!(refusal.status, 401);
    assert!(refusal.request_id.is_some());
}

#[tokio::test]
async fn every_operation_about_actions() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = user(&server).await;
    let types = client
        .list_action_types(&ActionTypeQuery::default())
        .unwrap();
    let types: Vec<_> = types.all().try_collect().await.unwrap();
    assert_eq!(types.len(), 2);
    let known = client.get_action_type("echo").await.unwrap();
    assert!(known.input_schema.unwrap().get().contains("delay_ms"));

    let hello = echo(json!({"text": "hello wide world"}));
    let accepted = client
        .create_action(&hello)
        .idempotency_key("one")
        .await
        .unwrap();
    let first = accepted.action;
    assert!(accepted.is_over && !accepted.is_replay);
    assert_eq!(first.status, ActionStatus::Succeeded);
    let again = client
        .create_action(&hello)
        .idempotency_key("one")
        .await
        .unwrap();
    assert_eq!((again.is_replay, again.action.id), (true, first.id));
    let found = client.get_action(first.id).await.unwrap();
    assert_eq!(
        found.output.unwrap().get(),
        r#"{"text":"hello wide world"}"#
    );

    let waiting = CreateAction::new("wait", &json!({"seconds": 600})).unwrap();
    let waiting = client
        .create_action(&waiting)
        .respond_async()
        .await
        .unwrap();
    assert!(!waiting.is_over);
    let id = waiting.action.id;
    client.cancel_action(id).await.unwrap();
    let events = all(client.follow(id)).await;
    assert!(matches!(
        events.last().unwrap().kind().unwrap(),
        EventKind::Done(deed_client::Outcome::Cancelled)
    ));
    let retried = client.retry_action(id).await.unwrap();
    assert_eq!(retried.retry_of, Some(id));
    client.cancel_action(retried.id).await.unwrap();
    let refused = client.retry_action(first.id).await.unwrap_err();
    assert_eq!(refused.code(), Some("action_not_retryable"));

    let query = ActionQuery {
        limit: Some(1),
        ..ActionQuery::default()
    };
    let listed = client.list_actions(&query).unwrap().all();
    let listed: Vec<_> = listed.try_collect().await.unwrap();
    let ids: Vec<_> = listed.iter().map(|action| action.id).collect();
    assert_eq!(
        ids,
        [retried.id, id, first.id],
        "newest first, page by page"
    );

    let ticket = client.create_stream_ticket(first.id).await.unwrap();
    assert!(ticket.ticket.starts_with("deedt_"));

    let query = EventQuery {
        limit: Some(2),
        ..EventQuery::default()
    };
    let events = client.get_action_events(first.id, &query).unwrap().all();
    let events: Vec<_> = events.try_collect().await.unwrap();
    let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(
        names,
        [
            "created", "started", "message", "message", "message", "done"
        ]
    );

    let stream = client
        .perform_and_follow(&hello)
        .idempotency_key("two")
        .await
        .unwrap();
    assert!(!stream.is_replay());
    let id = stream.action_id();
    assert_eq!(words(&all(stream).await), "hellowideworld");
    let stream = client
        .perform_and_follow(&hello)
        .idempotency_key("two")
        .await
        .unwrap();
    assert_eq!((stream.is_replay(), stream.action_id()), (true, id));
    let rest = all(client.follow(id).after(4)).await;
    assert_eq!(rest.first().unwrap().seq, 5);
    assert!(all(client.follow(id).after(6)).await.is_empty());
    let beyond = client
        .follow(id)
        .after(7)
        .next()
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(beyond.code(), Some("invalid_cursor"));
}

#[tokio::test]
async fn every_operation_about_the_server_itself() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = Client::builder(&server.base).build().unwrap();
    assert_eq!(client.get_livez().await.unwrap().status, "ok");
    assert!(!client.get_readyz().await.unwrap().checks.is_empty());
    let document = client.get_open_api().await.unwrap();
    assert!(document.contains(r#""openapi""#));
    let page = client.get_problem_page("action_not_found").await.unwrap();
    assert!(page.contains("action_not_found"));
    let nobody = client.get_me().await.unwrap_err();
    assert_eq!(nobody.code(), Some("invalid_api_key"));
}

#[tokio::test]
async fn a_worker_performs_as_many_at_a_time_as_it_has_places() {
    const PLACES: usize = 4;
    const ACTIONS: usize = 20;
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let put = root.request("PUT", "/action-types/demo.count");
    put.json(&json!({})).send().await.json(201);
    let worker = client_with(
        &server,
        server.user(&["actions:work:demo.*"]).await.key().unwrap(),
    );
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&under_way), Arc::clone(&most));
    // The first ones wait for each other: they are performed at the same time, or never.
    let together = Arc::new(Barrier::new(PLACES));
    let worker =
        worker
            .worker("counter")
            .concurrency(4)
            .on("demo.count", move |job: Job, number: usize| {
                let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
                let together = Arc::clone(&together);
                async move {
                    peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    if number < PLACES {
                        together.wait().await;
                    }
                    job.emit(&number).await?;
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(number)
                }
            });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(worker.run(async { drop(stopped.await) }));
    let client = user(&server).await;
    let mut asked = Vec::new();
    for number in 0..ACTIONS {
        let action = CreateAction::new("demo.count", &number).unwrap();
        asked.push(client.create_action(&action).respond_async().await.unwrap());
    }
    for (number, accepted) in asked.iter().enumerate() {
        let events = within(TAKEOVER, "its end", all(client.follow(accepted.action.id))).await;
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["created", "started", "message", "done"]);
        assert_eq!(events[2].data.get(), number.to_string());
    }
    assert_eq!(most.load(Ordering::SeqCst), PLACES);
    drop(stop);
    within(TAKEOVER, "the worker's end", running)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn following_survives_a_kill_and_a_drain() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = user(&server).await;
    let body = echo(json!({"text": "a b c d e f g h i j", "delay_ms": 100, "repeat": 3}));
    let mut stream = client.perform_and_follow(&body).await.unwrap();
    let mut events = Vec::new();
    let take = async |stream: &mut Follow, events: &mut Vec<Event>, enough: usize| {
        while events
            .iter()
            .filter(|event| event.name == "message")
            .count()
            < enough
        {
            let event = within(TAKEOVER, "the next event", stream.next()).await;
            events.push(event.unwrap().unwrap());
        }
    };
    take(&mut stream, &mut events, 5).await;
    server.process.kill().await;
    let address = server.address().to_owned();
    let server = Server::setup(&database).listen(&address).start(DEED).await;
    take(&mut stream, &mut events, 10).await;
    server.terminate();
    let mut server = server;
    server.process.ended(Duration::from_secs(40)).await;
    let server = Server::setup(&database).listen(&address).start(DEED).await;
    while let Some(event) = within(TAKEOVER, "the next event", stream.next()).await {
        events.push(event.unwrap());
    }
    assert_eq!(words(&events), "abcdefghij".repeat(3));
    drop(server);
}

#[tokio::test]
async fn an_action_is_performed_once_however_often_its_answer_is_lost() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = user(&server).await;
    let address = server.address().to_owned();
    // Its answer is awaited while the server dies; the same call gets it from the next one.
    let hello = echo(json!({"text": "a b c", "delay_ms": 700}));
    let call = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .create_action(&hello)
                .wait(Duration::from_secs(30))
                .await
        }
    });
    let query = ActionQuery::default();
    let started = async || loop {
        let page = client.list_actions(&query).unwrap().page().await.unwrap();
        if page
            .items
            .iter()
            .any(|action| action.status == ActionStatus::Running)
        {
            break;
        }
    };
    within(Duration::from_secs(20), "the start", started()).await;
    server.process.kill().await;
    let _server = Server::setup(&database).listen(&address).start(DEED).await;
    let accepted = within(TAKEOVER, "the answer", call).await.unwrap().unwrap();
    assert!(accepted.is_replay && accepted.is_over);
    let page = client.list_actions(&query).unwrap().page().await.unwrap();
    assert_eq!(page.items.len(), 1);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_unreachable_by_https() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let url = format!("https://{}", server.address());
    let client = Client::builder(&url)
        .retry(deed_client::Retry::NEVER)
        .build()
        .unwrap();
    let error = client.get_livez().await.unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
}

async fn example(binary: &str, server: &Server, key: &str, argument: &str) -> String {
    let mut command = deed(binary);
    command
        .arg(argument)
        .env("DEED_URL", &server.base)
        .env("DEED_API_KEY", key);
    let output = within(Duration::from_secs(60), "the example", command.output()).await;
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_examples_run() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let user = server.user(&ACTIONS).await;
    let key = user.key().unwrap();
    let perform = env!("CARGO_BIN_EXE_client-perform-under-test");
    assert_eq!(
        example(perform, &server, key, "hello world").await,
        "{\"text\":\"hello world\"}\n"
    );
    let follow = env!("CARGO_BIN_EXE_client-follow-under-test");
    assert_eq!(
        example(follow, &server, key, "one two").await,
        "{\"text\":\"one\"}\n{\"text\":\"two\"}\n"
    );
    let users = env!("CARGO_BIN_EXE_client-users-and-keys-under-test");
    let said = example(users, &server, ROOT_KEY, "ada@example.com").await;
    assert!(
        said.contains("ada@example.com may actions:read, actions:write"),
        "{said}"
    );
    let again = example(users, &server, ROOT_KEY, "ada@example.com").await;
    assert_eq!(again, "");
}
