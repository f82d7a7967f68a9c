//! A connection that is lost at the very COMMIT: what is answered is honest, and a retry with the same key finds out.

use std::time::{Duration, Instant};

use deed_e2e::client::{Answer, Client};
use deed_e2e::database::Database;
use deed_e2e::proxy::{Commit, Fault, FaultyProxy};
use deed_e2e::server::Server;
use deed_e2e::unique;
use serde_json::{Value, json};

use crate::{ACTIONS, DEED, beside, check_honest, nearly_alone, note};

/// How long an answer may take where the outcome of a COMMIT is unknown.
const PROMISED: Duration = Duration::from_secs(7);

struct World {
    proxy: FaultyProxy,
    server: Server,
    client: Client,
    _database: Database,
}

impl World {
    async fn new() -> Self {
        let database = Database::fresh().await;
        let proxy = FaultyProxy::before(database.url()).await;
        let server = Server::setup(&database)
            .environment("DATABASE_URL", &proxy.url(database.url()))
            .start(DEED)
            .await;
        let client = server.user(&ACTIONS).await;
        Self {
            proxy,
            server,
            client,
            _database: database,
        }
    }

    /// Submits an action while the next statement that stores one is lost as told.
    async fn submit_into(&self, commit: Commit, key: Option<&str>) -> Answer {
        self.lose("INTO actions (", commit, submission(&self.client, key))
            .await
    }

    async fn lose(
        &self,
        text: &'static str,
        commit: Commit,
        send: impl Future<Output = Answer>,
    ) -> Answer {
        let before = self.proxy.ended();
        self.proxy.switch(Fault::OnCommit(commit, text));
        let start = Instant::now();
        let answer = send.await;
        let taken = start.elapsed();
        self.proxy.switch(Fault::None);
        assert_eq!(self.proxy.ended(), before + 1, "nothing was lost");
        // It can't know: neither success nor refusal would be honest.
        check_honest(&answer, &[]);
        assert!(taken <= PROMISED, "{taken:?}");
        note(
            &format!("COMMIT lost, {commit:?}"),
            format!("503 after {} ms", taken.as_millis()),
        );
        answer
    }

    async fn actions(&self) -> Vec<Value> {
        let page = self.client.get("/actions").send().await.json(200);
        page["items"].as_array().unwrap().clone()
    }
}

async fn submission(client: &Client, key: Option<&str>) -> Answer {
    let body = json!({"type": "echo", "input": {"text": "once"}});
    let request = client
        .post("/actions", &body)
        .header("Prefer", "respond-async");
    match key {
        Some(key) => request.header("Idempotency-Key", key).send().await,
        None => request.send().await,
    }
}

/// The retry of a request whose outcome was unknown is the same action, whether it was stored or not.
async fn check_retry(commit: Commit, is_stored: bool) {
    let world = World::new().await;
    world.submit_into(commit, Some("k")).await;
    let stored = world.actions().await;
    assert_eq!(stored.len(), usize::from(is_stored));
    let again = submission(&world.client, Some("k")).await;
    let replayed = if is_stored { "true" } else { "" };
    assert_eq!(again.header("idempotency-replayed"), replayed);
    assert!([201, 202].contains(&again.status), "{}", again.body);
    let id = &again.json(again.status)["id"];
    assert!(stored.iter().all(|action| action["id"] == *id));
    assert_eq!(world.actions().await.len(), 1);
}

#[tokio::test]
async fn what_was_committed_unheard_is_found_by_its_key() {
    let _machine = beside().await;
    check_retry(Commit::DoneAndCut, true).await;
}

#[tokio::test]
async fn what_was_cut_before_its_commit_is_wholly_out() {
    let _machine = beside().await;
    check_retry(Commit::NotDone, false).await;
}

#[tokio::test]
async fn a_commit_that_is_never_answered_is_waited_for_seven_seconds() {
    let _machine = nearly_alone().await;
    check_retry(Commit::DoneAndSilent, true).await;
}

#[tokio::test]
async fn without_a_key_the_answer_is_honest_and_nothing_is_sent_twice() {
    let _machine = beside().await;
    let world = World::new().await;
    for (commit, stored) in [
        (Commit::NotDone, 0),
        (Commit::DoneAndCut, 1),
        (Commit::NotDone, 1),
        (Commit::DoneAndCut, 2),
    ] {
        world.submit_into(commit, None).await;
        assert_eq!(world.actions().await.len(), stored, "{commit:?}");
    }
}

#[tokio::test]
async fn a_user_who_was_stored_unheard_is_found_by_the_key() {
    let _machine = beside().await;
    let world = World::new().await;
    let root = world.server.root();
    let body = json!({"email": format!("{}@example.com", unique()), "name": "Ann", "password": "correct horse"});
    let send = async || {
        let request = root.post("/users", &body);
        request.header("Idempotency-Key", "k").send().await
    };
    world.lose("INTO users (", Commit::NotDone, send()).await;
    world.lose("INTO users (", Commit::DoneAndCut, send()).await;
    let again = send().await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    again.json(201);
}
