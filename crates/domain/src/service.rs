//! Use cases: what Deed does, in terms of the ports. Each is a small struct of `Arc<dyn Port>`.

mod await_change;
mod await_outcome;
mod cancel;
mod change_user;
mod define_types;
mod delete_user;
mod follow;
mod identify;
mod issue_key;
mod manage_keys;
mod perform;
mod read_actions;
mod read_users;
mod register_user;
mod retention;
mod retry;
mod signals;
mod submit;
mod tickets;
mod work;

pub use await_change::AwaitChange;
pub use await_outcome::AwaitOutcome;
pub use cancel::{Cancel, CancelAnswer};
pub use change_user::ChangeUser;
pub use define_types::DefineTypes;
pub use delete_user::DeleteUser;
pub use follow::{Follow, Followed};
pub use identify::Identify;
pub use issue_key::{IssueKey, IssuedKey, KeyRequest};
pub use manage_keys::ManageKeys;
pub use perform::{Allowed, Concluded, Conclusion, Perform, Report, Reported};
pub use read_actions::ReadActions;
pub use read_users::ReadUsers;
pub use register_user::{RegisterUser, Registered, Registration};
pub use retention::Retention;
pub use retry::Retry;
pub use submit::{BatchItem, BatchSubmission, Submission, Submit, SubmitBatch, SubmitRequest};
pub use tickets::Tickets;
pub use work::{Attempt, Ended, Settled, Work};

#[cfg(test)]
mod testing;
