//! The application: what it is made of, and how requests reach the use cases.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App, Error, FromRequest, HttpMessage as _, HttpRequest};
use apistos::ApiComponent;
use apistos::app::{BuildConfig, OpenApiWrapper};
use apistos::reference_or::ReferenceOr;
use apistos::spec::Spec;
use deed_api::limits::Limits;
use deed_domain::caller::{Caller, Identity};
use deed_domain::idempotency::{Idempotency, IdempotencyKey, IdempotencyScope};
use deed_domain::ports::{Ids, Tracer};
use deed_domain::service::{
    AwaitChange, AwaitOutcome, Cancel, ChangeUser, DefineTypes, Follow, Identify, IssueKey,
    ManageKeys, Perform, ReadActions, ReadUsers, RegisterUser, Retry, Submit, SubmitBatch, Tickets,
};
use deed_domain::store_time::StoreTime;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::deprecation::{Deprecated, Deprecations};
use crate::docs::Document;
use crate::extract::Produced;
use crate::health::Readiness;
use crate::metrics::HttpMetrics;
use crate::middleware::{cors, frame};
use crate::openapi::operation::Operation;
use crate::openapi::{self, DocumentError};
use crate::problem::{ErrorCode, Refusal};
use crate::rates::{Allowance, Rates};
use crate::request_id::{self, RequestId};
use crate::routes;
use crate::server_key::ServerKey;
use crate::streams::Places;

/// The use cases that the interface calls.
#[derive(Clone)]
pub struct Services {
    /// Finds out who calls.
    pub identify: Identify,
    /// POST `/users`.
    pub register_user: RegisterUser,
    /// GET `/users…`.
    pub read_users: ReadUsers,
    /// PATCH `/users/{id}`.
    pub change_user: ChangeUser,
    /// POST `/api-keys`.
    pub issue_key: IssueKey,
    /// GET and DELETE `/api-keys…`.
    pub manage_keys: ManageKeys,
    /// POST `/actions` and `/stream`.
    pub submit: Submit,
    /// POST `/actions/batch`.
    pub submit_batch: SubmitBatch,
    /// The wait of POST `/actions`.
    pub await_outcome: AwaitOutcome,
    /// The wait of GET `/actions/{id}`.
    pub await_change: AwaitChange,
    /// GET `/actions…` and `/action-types…`.
    pub read_actions: ReadActions,
    /// PUT and DELETE `/action-types/{name}`.
    pub define_types: DefineTypes,
    /// POST `/actions/{id}/cancel`.
    pub cancel: Cancel,
    /// POST `/actions/{id}/retry`.
    pub retry: Retry,
    /// The worker's side: `/leases…`.
    pub perform: Perform,
    /// Event streams.
    pub follow: Follow,
    /// POST `/actions/{id}/stream-ticket`, and whom a ticket lets in.
    pub tickets: Tickets,
}

/// What an operator can set of the interface.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The limits of request fields that can be set.
    pub limits: Limits,
    /// Whether POST `/users` needs no key.
    pub open_registration: bool,
    /// How long POST `/actions` waits for the end where the client has no preference.
    pub wait: Duration,
    /// The longest wait that a client can ask for.
    pub max_wait: Duration,
    /// The longest life of a stream; each lives 80 to 100 % of it, so that they don't all reconnect at once.
    pub stream_max_age: Duration,
    /// How often a silent stream shows that it lives.
    pub stream_heartbeat: Duration,
    /// How long a reader of a stream may take nothing before it is cut.
    pub stream_stall: Duration,
    /// How many events wait for a slow reader at the most.
    pub stream_buffer_events: usize,
    /// How many bytes wait for a slow reader at the most; one larger event still passes, alone.
    pub stream_buffer_bytes: usize,
    /// The origins whose pages may call, exactly as browsers send them.
    pub cors_origins: Vec<String>,
    /// Whether `/docs`, `/openapi.json` and `/problems/{code}` are served.
    pub docs: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            open_registration: false,
            wait: Duration::from_secs(10),
            max_wait: Duration::from_secs(60),
            stream_max_age: Duration::from_secs(600),
            stream_heartbeat: Duration::from_secs(15),
            stream_stall: Duration::from_secs(30),
            stream_buffer_events: 256,
            stream_buffer_bytes: 1024 * 1024,
            cors_origins: Vec::new(),
            docs: true,
        }
    }
}

/// Everything that the application is made of.
pub struct Parts {
    /// The use cases.
    pub services: Services,
    /// The settings.
    pub settings: HttpSettings,
    /// The runtime that owns the pool: every call of a use case runs in a task of it.
    pub runtime: Handle,
    /// Signs cursors and tells requests apart; the same on every replica.
    pub key: ServerKey,
    /// Makes request ids.
    pub ids: Arc<dyn Ids>,
    /// Records requests as spans.
    pub tracer: Arc<dyn Tracer>,
    /// Tells whether this replica can serve.
    pub readiness: Arc<dyn Readiness>,
    /// What the interface measures.
    pub metrics: HttpMetrics,
    /// Becomes true when the server begins to drain: streams and waits end, `/readyz` answers 503.
    pub draining: watch::Receiver<bool>,
}

/// What the extractors of a request share of [`Api::spent`].
#[derive(Default)]
struct Spent(Arc<AtomicU64>);

/// The application, shared by all workers. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
    /// What finding out who calls has cost of the request's time at the store, in microseconds.
    spent: Arc<AtomicU64>,
}

struct Inner {
    parts: Parts,
    document: Document,
    produced: Produced,
    deprecations: Deprecations,
    rates: Rates,
    places: Places,
}

impl Api {
    /// Puts the application together.
    ///
    /// # Errors
    /// [`DocumentError`], which a test rules out.
    pub fn new(parts: Parts) -> Result<Self, DocumentError> {
        Self::with_operations(parts, routes::OPERATIONS)
    }

    /// The same, with one operation on its way out. For tests of what is told then.
    ///
    /// # Errors
    /// [`DocumentError`] when what is said of it can't be read.
    #[doc(hidden)]
    pub fn deprecating(
        parts: Parts,
        operation: &str,
        deprecated: Deprecated,
    ) -> Result<Self, DocumentError> {
        let mut operations: Vec<Operation> = routes::OPERATIONS
            .iter()
            .map(|operation| **operation)
            .collect();
        for found in operations.iter_mut().filter(|found| found.id == operation) {
            found.deprecated = Some(deprecated);
        }
        let operations: Vec<&Operation> = operations.iter().collect();
        Self::with_operations(parts, &operations)
    }

    fn with_operations(parts: Parts, operations: &[&Operation]) -> Result<Self, DocumentError> {
        let (document, deprecations) = openapi::described(operations)?;
        let inner = Inner {
            parts,
            produced: Produced::of(&openapi::read(&document)?),
            document: Document::new(document),
            deprecations,
            rates: Rates::default(),
            places: Places::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            spent: Arc::default(),
        })
    }

    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Refusal> {
        let found = request.app_data::<Self>().ok_or_else(|| {
            Refusal::new(ErrorCode::InternalError).because("the application is not in its own data")
        })?;
        let mut extensions = request.extensions_mut();
        if !extensions.contains::<Spent>() {
            extensions.insert(Spent::default());
        }
        let spent = extensions.get::<Spent>().map(|spent| Arc::clone(&spent.0));
        Ok(Self {
            inner: Arc::clone(&found.inner),
            spent: spent.unwrap_or_default(),
        })
    }

    pub(crate) fn services(&self) -> &Services {
        &self.inner.parts.services
    }

    pub(crate) fn settings(&self) -> &HttpSettings {
        &self.inner.parts.settings
    }

    pub(crate) fn key(&self) -> &ServerKey {
        &self.inner.parts.key
    }

    pub(crate) fn metrics(&self) -> &HttpMetrics {
        &self.inner.parts.metrics
    }

    pub(crate) fn readiness(&self) -> Arc<dyn Readiness> {
        Arc::clone(&self.inner.parts.readiness)
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.parts.runtime
    }

    pub(crate) fn tracer(&self) -> &dyn Tracer {
        self.inner.parts.tracer.as_ref()
    }

    pub(crate) fn deprecations(&self) -> &Deprecations {
        &self.inner.deprecations
    }

    /// The streams that are open here.
    pub(crate) fn places(&self) -> &Places {
        &self.inner.places
    }

    /// Counts a request of a key that may make so many a second; answers what it may still do.
    pub(crate) fn count(&self, identity: &Identity) -> Option<Allowance> {
        let (key, rate) = (
            identity.actor.key_id()?,
            identity.limits.requests_per_second?,
        );
        Some(self.inner.rates.count(key, rate))
    }

    pub(crate) fn document(&self) -> &Document {
        &self.inner.document
    }

    pub(crate) fn produced(&self) -> &Produced {
        &self.inner.produced
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.inner.parts.draining.borrow()
    }

    /// A replica that is about to stop takes no new work: another one will perform it sooner.
    pub(crate) fn refuse_while_draining(&self) -> Result<(), Refusal> {
        if self.is_draining() {
            return Err(
                Refusal::new(ErrorCode::Unavailable).message("The server is shutting down.")
            );
        }
        Ok(())
    }

    /// Returns when the server begins to drain, or is gone altogether.
    pub(crate) fn drained(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut draining = self.inner.parts.draining.clone();
        async move {
            // An error means that nobody is left who could ever drain; then the wait is for ever.
            if draining.wait_for(|draining| *draining).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(crate) fn new_request_id(&self) -> RequestId {
        let id = self.inner.parts.ids.time_ordered().hyphenated().to_string();
        RequestId::parse(&id).unwrap_or_else(RequestId::unknown)
    }

    /// Evenly drawn from 0 to 255.
    pub(crate) fn random_byte(&self) -> u8 {
        let [byte, ..] = self.inner.parts.ids.random_bytes();
        byte
    }

    /// What makes a request repeatable, if it carries a key. `path` is that of the operation.
    pub(crate) fn idempotency(
        &self,
        caller: Option<&Caller>,
        path: &str,
        key: Option<IdempotencyKey>,
        body: &[u8],
    ) -> Option<Idempotency> {
        key.map(|key| Idempotency {
            scope: IdempotencyScope::of(caller, path),
            key,
            request_hash: self.key().request_hash(body),
        })
    }

    /// Runs a use case in a task of the main runtime and answers what came of it. When the client goes away, the task
    /// runs on: what it has begun is wholly done. Its looks at the store share one time, together with what finding out
    /// who calls has cost; what waits stands [`apart`](deed_domain::store_time::apart).
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, deed_domain::Error>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let before = Duration::from_micros(self.spent.swap(0, Ordering::Relaxed));
        self.run_on(StoreTime::after(before), work).await
    }

    /// The same before the use case proper: its time at the store is counted to the next [`Self::run`].
    pub(crate) async fn run_before<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, deed_domain::Error>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let time = StoreTime::default();
        let outcome = self.run_on(time.clone(), work).await;
        let spent = u64::try_from(time.spent().as_micros()).unwrap_or(u64::MAX);
        self.spent.store(spent, Ordering::Relaxed);
        outcome
    }

    async fn run_on<T: Send + 'static>(
        &self,
        time: StoreTime,
        work: impl Future<Output = Result<T, deed_domain::Error>> + Send + 'static,
    ) -> Result<T, Refusal> {
        match request_id::spawn(self.runtime(), time.within(work)).await {
            Ok(outcome) => outcome.map_err(Refusal::from),
            Err(error) if error.is_panic() => {
                self.metrics().panicked();
                Err(Refusal::new(ErrorCode::InternalError).because(error))
            }
            Err(error) => Err(Refusal::new(ErrorCode::Unavailable).because(error)),
        }
    }
}

impl FromRequest for Api {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

impl ApiComponent for Api {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }
}

/// The actix application for one worker: for `HttpServer::new(move || app(&api))`, and for tests.
pub fn app(
    api: &Api,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let with_docs = api.settings().docs;
    let origins = &api.settings().cors_origins;
    App::new()
        .app_data(api.clone())
        .document(Spec::default())
        .configure(|config| {
            if with_docs {
                routes::documented(config)
            } else {
                routes::always(config)
            }
        })
        .build_with(
            "/openapi.json",
            BuildConfig::default().disable_openapi_route(),
        )
        .configure(|config| {
            if with_docs {
                routes::pages(config);
            }
        })
        .wrap(Condition::new(!origins.is_empty(), cors(origins)))
        .wrap(from_fn(frame))
}
