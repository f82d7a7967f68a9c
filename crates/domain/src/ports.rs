//! Ports: what the use cases need of the world. One trait a file; its contract stands in its doc.
//!
//! A port method is one fact: it is committed whole, together with the events that record it, or changes nothing.
//! No transaction, connection or row type crosses a port. With the feature `mocks` each trait has a mockall fake.

mod action_handler;
mod action_reader;
mod action_types;
mod api_keys;
mod audit_log;
mod authenticator;
mod clock;
mod dispatch;
mod erasure;
mod event_log;
mod ids;
mod input_schemas;
mod leases;
mod password_hasher;
mod stream_tickets;
mod submissions;
mod tracer;
mod users;
mod wakeups;

pub use action_handler::{ActionHandler, Context, Failure, Performance, Stopped, Task};
pub use action_reader::ActionReader;
pub use action_types::{ActionTypes, TypeDefined, TypeRemoved};
pub use api_keys::ApiKeyRepository;
pub use audit_log::{AuditFilter, AuditLog};
pub use authenticator::Authenticator;
pub use clock::Clock;
pub use dispatch::{Dispatch, DispatchError, Granted, Receipt, Wish};
pub use erasure::{Belongings, Erased, Erasure};
pub use event_log::{EventLog, EventPage};
pub use ids::Ids;
pub use input_schemas::{InputSchemas, SchemaError};
pub use leases::{
    Append, Appended, Beat, ClaimRequest, Filled, Finish, Finished, GivenUp, HeartbeatVerdict,
    Held, Leases, Promoted, Released, Requeue, Requeued, RescueVerdict, Rescued, Slot,
};
pub use password_hasher::{HashingError, PasswordHasher};
pub use stream_tickets::{StreamTickets, TicketKept};
pub use submissions::{BatchSubmitted, CancelVerdict, Submissions, Submitted};
pub use tracer::{NoTracer, Span, SpanKind, SpanRecord, SpanValue, Tracer};
pub use users::{UserChanged, UserCreated, UserRepository};
pub use wakeups::Wakeups;

#[cfg(any(test, feature = "mocks"))]
pub use {
    action_handler::{MockActionHandler, MockPerformance},
    action_reader::MockActionReader,
    action_types::MockActionTypes,
    api_keys::MockApiKeyRepository,
    audit_log::MockAuditLog,
    authenticator::MockAuthenticator,
    clock::MockClock,
    dispatch::MockDispatch,
    erasure::MockErasure,
    event_log::MockEventLog,
    ids::MockIds,
    input_schemas::MockInputSchemas,
    leases::MockLeases,
    password_hasher::MockPasswordHasher,
    stream_tickets::MockStreamTickets,
    submissions::MockSubmissions,
    users::MockUserRepository,
    wakeups::MockWakeups,
};
