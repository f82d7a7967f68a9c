//! The typed client of a Deed server.
//!
//! Every operation of the server's OpenAPI document is a method of [`Client`], named as the document names it. What goes
//! over the wire are the types of the crate `deed-api`, re-exported as [`api`].
//!
//! ```no_run
//! # async fn example() -> Result<(), deed_client::Error> {
//! use deed_client::Client;
//! use deed_client::api::action::CreateAction;
//!
//! let client = Client::builder("http://127.0.0.1:8080").api_key("deedk_…").build()?;
//! let echo = CreateAction::new("echo", &serde_json::json!({"text": "hello"}))?;
//! let accepted = client.create_action(&echo).await?;
//! println!("{:?}: {:?}", accepted.action.status, accepted.action.output);
//! # Ok(())
//! # }
//! ```
//!
//! # Following an action
//!
//! [`Client::follow`] reads the log of an action from any position, as it grows, up to `done`. A connection that breaks is
//! replaced by another one that goes on where the last one stopped: over a restart of the server, a drain, a proxy that
//! cuts. Positions are checked: an event that is missing or comes twice is an [`Error`], never passed over.
//!
//! ```no_run
//! # async fn example(client: deed_client::Client, id: uuid::Uuid) -> Result<(), deed_client::Error> {
//! use deed_client::EventKind;
//!
//! let mut events = client.follow(id).on_reconnect(|lost| eprintln!("reconnecting: {lost}"));
//! while let Some(event) = events.next().await {
//!     match event?.kind()? {
//!         EventKind::Message(chunk) => println!("{chunk}"),
//!         EventKind::Done(outcome) => println!("{outcome:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::perform_and_follow`] creates the action and follows it in one call.
//!
//! # Performing actions
//!
//! [`Client::worker`] begins a worker: it leases actions of given types, keeps the leases alive, hands the actions to
//! handlers, writes what they say, and takes over where others have stopped. See [`Worker`].
//!
//! # What is repeated, and what is not
//!
//! A request that got no answer may have been served all the same. So a request is sent again only where that can't act
//! twice: reads, what is idempotent by nature (cancel, revoke, what a worker says of its lease), and what bears an `Idempotency-Key`. `create_user`,
//! `create_action`, `create_action_batch`, `retry_action` and `perform_and_follow` get a random key of their own unless
//! they are given one.
//! All others are sent again only when the connection could not be made, or the answer was 429. [`Retry`] says how often and how long.
//!
//! # Lists
//!
//! ```no_run
//! # async fn example(client: deed_client::Client) -> Result<(), deed_client::Error> {
//! use deed_client::api::action::{ActionQuery, ActionStatus};
//! use futures_util::TryStreamExt as _;
//!
//! let failed = ActionQuery { status: Some(ActionStatus::Failed), ..ActionQuery::default() };
//! let mut all = std::pin::pin!(client.list_actions(&failed)?.all());
//! while let Some(action) = all.try_next().await? {
//!     println!("{}", action.id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Needs
//!
//! A tokio runtime. Servers behind `https` need the feature `https`, which is on by default.
#![forbid(unsafe_code)]

mod action_types;
mod actions;
mod api_keys;
mod builder;
mod error;
mod event;
mod follow;
mod keyed;
mod leases;
mod list;
mod operation;
mod random;
mod request;
mod retry;
mod service;
mod sse;
mod users;
mod worker;

pub use actions::{Accepted, Perform, PerformAndFollow};
pub use builder::{Builder, Client};
pub use deed_api as api;
pub use error::{Error, Refusal};
pub use event::{Event, EventKind, Outcome, RetryReason};
pub use follow::{Follow, Lost};
pub use keyed::Keyed;
pub use list::List;
pub use request::Tagged;
pub use retry::Retry;
pub use worker::{Failure, Job, Trouble, Worker};
