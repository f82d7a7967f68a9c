//! An application over fakes, and answers as text.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::dev::Service;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, init_service};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_delivery::metrics::HttpMetrics;
use deed_delivery::{Api, Check, HttpSettings, Parts, Readiness, ServerKey, Services, app};
use deed_domain::action::{
    Action, ActionOverview, ActionType, ActionTypeName, Event, EventName, Payload, PerformedBy,
    Priority, Sequence, Status,
};
use deed_domain::api_key::{ApiKey, KeyName};
use deed_domain::caller::{Actor, Identity};
use deed_domain::email::Email;
use deed_domain::id::{ActionId, ApiKeyId, UserId};
use deed_domain::key_limits::KeyLimits;
use deed_domain::ports::{
    Authenticator, Clock, Dispatch, EventPage, Ids, MockActionReader, MockActionTypes,
    MockApiKeyRepository, MockAuthenticator, MockClock, MockDispatch, MockEventLog, MockIds,
    MockInputSchemas, MockLeases, MockPasswordHasher, MockStreamTickets, MockSubmissions,
    MockUserRepository, MockWakeups, NoTracer, Tracer, UserRepository, Wakeups,
};
use deed_domain::scope::ScopeSet;
use deed_domain::service::{
    AwaitChange, AwaitOutcome, Cancel, ChangeUser, DefineTypes, Follow, Identify, IssueKey,
    ManageKeys, Perform, ReadActions, ReadUsers, RegisterUser, Retention, Retry, Submit,
    SubmitBatch, Tickets, Work,
};
use deed_domain::user::{DisplayName, User, UserStatus};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) const KEY: (&str, &str) = ("X-API-Key", "a-key");

/// How long actions are kept: longer than ago the ids here were made.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A fake of every port. What a test doesn't expect to be called panics when it is.
pub(crate) struct Fakes {
    pub(crate) authenticator: MockAuthenticator,
    pub(crate) users: MockUserRepository,
    pub(crate) keys: MockApiKeyRepository,
    pub(crate) hasher: MockPasswordHasher,
    pub(crate) ids: MockIds,
    pub(crate) submissions: MockSubmissions,
    pub(crate) types: MockActionTypes,
    pub(crate) schemas: MockInputSchemas,
    pub(crate) actions: MockActionReader,
    pub(crate) log: MockEventLog,
    pub(crate) tickets: MockStreamTickets,
    pub(crate) dispatch: MockDispatch,
    /// In its place, where a fake can't do.
    pub(crate) dispatching: Option<Arc<dyn Dispatch>>,
    pub(crate) leases: MockLeases,
    pub(crate) wakeups: MockWakeups,
    pub(crate) settings: HttpSettings,
    pub(crate) checks: Vec<Check>,
    pub(crate) tracer: Arc<dyn Tracer>,
    pub(crate) metrics: HttpMetrics,
    pub(crate) draining: watch::Sender<bool>,
}

/// Fakes that no key opens.
pub(crate) fn fakes() -> Fakes {
    let mut ids = MockIds::new();
    let made = AtomicU64::new(0);
    ids.expect_time_ordered()
        .returning(move || id(0xf00, made.fetch_add(1, Ordering::Relaxed)));
    Fakes {
        authenticator: MockAuthenticator::new(),
        users: MockUserRepository::new(),
        keys: MockApiKeyRepository::new(),
        hasher: MockPasswordHasher::new(),
        ids,
        submissions: MockSubmissions::new(),
        types: MockActionTypes::new(),
        schemas: MockInputSchemas::new(),
        actions: MockActionReader::new(),
        log: MockEventLog::new(),
        tickets: MockStreamTickets::new(),
        dispatch: MockDispatch::new(),
        dispatching: None,
        leases: MockLeases::new(),
        wakeups: MockWakeups::new(),
        settings: HttpSettings::default(),
        checks: Vec::new(),
        tracer: Arc::new(NoTracer),
        metrics: HttpMetrics::default(),
        draining: watch::Sender::new(false),
    }
}

/// Fakes where Ada's key has these scopes.
pub(crate) fn with_scopes(scopes: &[&str]) -> Fakes {
    let identity = Identity {
        actor: Actor::Key(key_id()),
        owner: Some(ada()),
        scopes: ScopeSet::of(scopes.iter().map(|scope| scope.parse().unwrap())).unwrap(),
        expires_at: None,
        limits: KeyLimits::NONE,
    };
    let mut fakes = fakes();
    fakes
        .authenticator
        .expect_authenticate()
        .returning(move |_| Ok(Some(identity.clone())));
    fakes
}

/// Fakes where the key is the root key.
pub(crate) fn with_root() -> Fakes {
    let mut fakes = fakes();
    fakes.authenticator.expect_authenticate().returning(|_| {
        let scopes = ScopeSet::everything();
        Ok(Some(Identity {
            actor: Actor::Root,
            owner: None,
            scopes,
            expires_at: None,
            limits: KeyLimits::NONE,
        }))
    });
    fakes
}

struct Checks(Vec<Check>);

#[async_trait]
impl Readiness for Checks {
    async fn checks(&self) -> Vec<Check> {
        self.0.clone()
    }
}

impl Fakes {
    pub(crate) fn into_api(self) -> Api {
        Api::new(self.into_parts()).unwrap()
    }

    pub(crate) fn into_parts(self) -> Parts {
        let mut clock = MockClock::new();
        clock.expect_now().returning(now);
        clock.expect_sleep().returning(|_| ());
        let authenticator: Arc<dyn Authenticator> = Arc::new(self.authenticator);
        let users: Arc<dyn UserRepository> = Arc::new(self.users);
        let keys = Arc::new(self.keys);
        let ids: Arc<dyn Ids> = Arc::new(self.ids);
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let retention = Retention::new(KEPT, Arc::clone(&clock));
        let submissions = Arc::new(self.submissions);
        let types = Arc::new(self.types);
        let actions = Arc::new(self.actions);
        let log = Arc::new(self.log);
        let schemas = Arc::new(self.schemas);
        let wakeups: Arc<dyn Wakeups> = Arc::new(self.wakeups);
        let leases = Arc::new(self.leases);
        let work = Work::new(leases.clone(), ids.clone());
        let dispatch = self.dispatching.unwrap_or(Arc::new(self.dispatch));
        let perform = Perform::new(dispatch, leases, work);
        let define_types = DefineTypes::new(types.clone(), schemas.clone());
        let submit = Submit::new(
            submissions.clone(),
            types.clone(),
            schemas.clone(),
            ids.clone(),
            clock.clone(),
        );
        let services = Services {
            identify: Identify::new(authenticator.clone(), users.clone()),
            register_user: RegisterUser::new(users.clone(), Arc::new(self.hasher), ids.clone()),
            read_users: ReadUsers::new(users.clone()),
            change_user: ChangeUser::new(users),
            issue_key: IssueKey::new(keys.clone(), ids.clone(), clock.clone()),
            manage_keys: ManageKeys::new(keys),
            submit_batch: SubmitBatch::new(submit.clone(), actions.clone())
                .keeping(retention.clone()),
            submit,
            await_outcome: AwaitOutcome::new(actions.clone(), wakeups.clone())
                .keeping(retention.clone()),
            await_change: AwaitChange::new(
                actions.clone(),
                wakeups.clone(),
                authenticator.clone(),
                clock.clone(),
            )
            .keeping(retention.clone()),
            read_actions: ReadActions::new(actions.clone(), log.clone(), types.clone())
                .keeping(retention.clone()),
            retry: Retry::new(
                submissions.clone(),
                actions.clone(),
                types,
                schemas,
                ids.clone(),
            )
            .keeping(retention.clone()),
            define_types,
            perform,
            cancel: Cancel::new(submissions, actions).keeping(retention.clone()),
            tickets: Tickets::new(Arc::new(self.tickets), ids.clone()).keeping(retention.clone()),
            follow: Follow::new(log, wakeups, authenticator, clock).keeping(retention),
        };
        Parts {
            metrics: self.metrics,
            services,
            settings: self.settings,
            runtime: tokio::runtime::Handle::current(),
            key: ServerKey::new([7; 32]),
            ids,
            tracer: self.tracer,
            readiness: Arc::new(Checks(self.checks)),
            draining: self.draining.subscribe(),
        }
    }

    /// The answer to one request.
    pub(crate) async fn answer(self, request: TestRequest) -> Answer {
        answer(&self.into_api(), request).await
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// What the application answers; also where a panic has left only an error.
pub(crate) async fn answer(api: &Api, request: TestRequest) -> Answer {
    let service = init_service(app(api)).await;
    let (status, headers, body) = match service.call(request.to_request()).await {
        Ok(response) => {
            let (status, headers) = (response.status(), response.headers().clone());
            (status, headers, response.into_body())
        }
        Err(error) => {
            let response = error.error_response();
            let (status, headers) = (response.status(), response.headers().clone());
            (status, headers, response.into_body())
        }
    };
    let body = to_bytes(body).await.unwrap();
    Answer::new(
        status,
        &headers,
        String::from_utf8_lossy(&body).into_owned(),
    )
}

impl Answer {
    fn new(status: StatusCode, headers: &HeaderMap, body: String) -> Self {
        let text = |value: &actix_web::http::header::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let mut headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        headers.sort();
        Self {
            status: status.as_u16(),
            headers,
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The code of a problem; checks that it is one through and through.
    pub(crate) fn problem(&self) -> String {
        let body = self.json();
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert_eq!(body["status"], self.status, "{self:?}");
        assert_eq!(
            body["request_id"],
            self.header("x-request-id").unwrap(),
            "{self:?}"
        );
        let code = body["error"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("/problems/{code}"));
        code
    }

    /// The places of a problem's faults.
    pub(crate) fn places(&self) -> Vec<String> {
        let body = self.json();
        let faults = body["errors"].as_array().cloned().unwrap_or_default();
        let place = |fault: &Value| {
            ["pointer", "parameter", "header"]
                .iter()
                .find_map(|name| fault[*name].as_str())
                .unwrap()
                .to_owned()
        };
        faults.iter().map(place).collect()
    }

    /// Status, headers and body, for a snapshot.
    pub(crate) fn text(&self) -> String {
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect();
        let body = match serde_json::from_str::<Value>(&self.body) {
            Ok(_) => self.body.clone(),
            Err(_) => self.body.clone(),
        };
        format!("{}\n{headers}\n{body}", self.status)
    }
}

/// Expects an answer with this status and code.
pub(crate) fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (status, code),
        "{answer:?}"
    );
}

pub(crate) fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path).insert_header(KEY)
}

pub(crate) fn post(path: &str, body: &str) -> TestRequest {
    with_json(TestRequest::post().uri(path).insert_header(KEY), body)
}

pub(crate) fn patch(path: &str, body: &str) -> TestRequest {
    with_json(TestRequest::patch().uri(path).insert_header(KEY), body)
}

pub(crate) fn with_json(request: TestRequest, body: &str) -> TestRequest {
    request
        .insert_header(("Content-Type", "application/json"))
        .set_payload(body.to_owned())
}

pub(crate) fn now() -> DateTime<Utc> {
    "2026-01-31T10:00:00Z".parse().unwrap()
}

/// An id that tells its kind and number.
fn id(kind: u128, number: u64) -> Uuid {
    Uuid::from_u128((0x0198_c0de_0000_7000_8000 << 48) | (kind << 32) | u128::from(number))
}

pub(crate) fn ada() -> UserId {
    UserId::from_uuid(id(0xa, 1))
}

pub(crate) fn user_id(number: u64) -> UserId {
    UserId::from_uuid(id(0xa, number))
}

pub(crate) fn key_id() -> ApiKeyId {
    ApiKeyId::from_uuid(id(0xb, 1))
}

pub(crate) fn action_id(number: u64) -> ActionId {
    ActionId::from_uuid(id(0xc, number))
}

pub(crate) fn user(id: UserId) -> User {
    User {
        id,
        email: Email::parse("Ada@example.com").unwrap(),
        name: DisplayName::parse("Ada Lovelace").unwrap(),
        status: UserStatus::Active,
        external_id: None,
        created_at: now(),
        updated_at: now(),
    }
}

pub(crate) fn api_key(id: ApiKeyId) -> ApiKey {
    ApiKey {
        id,
        user_id: ada(),
        name: KeyName::parse("laptop").unwrap(),
        scopes: ScopeSet::of([
            "actions:read".parse().unwrap(),
            "actions:write:report.*".parse().unwrap(),
        ])
        .unwrap(),
        created_at: now(),
        expires_at: Some(now()),
        revoked_at: None,
        last_used_at: None,
    }
}

pub(crate) fn name(text: &str) -> ActionTypeName {
    ActionTypeName::parse(text).unwrap()
}

pub(crate) fn action_type(text: &str) -> ActionType {
    ActionType::new(name(text), PerformedBy::Handler)
}

pub(crate) fn overview(id: ActionId, status: Status) -> ActionOverview {
    ActionOverview {
        id,
        user_id: ada(),
        api_key_id: Some(key_id()),
        action_type: name("echo"),
        status,
        error: None,
        attempt: 1,
        max_attempts: 3,
        priority: Priority::default(),
        retry_of: None,
        run_at: None,
        created_at: now(),
        started_at: Some(now()),
        finished_at: status.is_over().then(now),
    }
}

pub(crate) fn action(id: ActionId, status: Status) -> Action {
    Action {
        overview: overview(id, status),
        input: Payload::parse(r#"{"text": "a  b", "n": 1.50}"#).unwrap(),
        output: (status == Status::Succeeded)
            .then(|| Payload::parse(r#"{"z":1,"a":"\u0000"}"#).unwrap()),
        traceparent: None,
    }
}

pub(crate) fn event(seq: u32, name: &str, data: &str) -> Event {
    Event {
        seq: Sequence::new(seq).unwrap(),
        name: EventName::from_name(name),
        at: now(),
        data: Payload::parse(data).unwrap(),
    }
}

/// A log of `created`, `started`, two chunks and `done`.
pub(crate) fn log() -> Vec<Event> {
    vec![
        event(
            1,
            "created",
            &format!("{{\"action_id\":\"{}\"}}", action_id(1)),
        ),
        event(2, "started", r#"{"attempt":1}"#),
        event(3, "message", r#"{"text":"hello"}"#),
        event(4, "message", r#"{"text":"world"}"#),
        event(
            5,
            "done",
            r#"{"status":"succeeded","output":{"text":"hello world"}}"#,
        ),
    ]
}

/// Serves `events` as the log of every action.
pub(crate) fn serve_log(fakes: &mut Fakes, events: Vec<Event>) {
    fakes
        .log
        .expect_read()
        .returning(move |_, _, after, limit| {
            let rest: Vec<Event> = events
                .iter()
                .filter(|event| event.seq > after)
                .take(limit)
                .cloned()
                .collect();
            Ok(Some(EventPage {
                events: rest,
                last: events.last().map_or(Sequence::START, |event| event.seq),
                is_over: events.last().is_some_and(|event| event.name.is_last()),
            }))
        });
}

/// Wake-ups that never come.
pub(crate) fn sleep_soundly(fakes: &mut Fakes) {
    fakes
        .wakeups
        .expect_watch_log()
        .returning(|_| futures_util::stream::pending().boxed());
    fakes
        .wakeups
        .expect_watch_identities()
        .returning(|| futures_util::stream::pending().boxed());
    fakes.ids.expect_random_bytes().returning(|| [7; 64]);
}
