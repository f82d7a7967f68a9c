//! `deed users disable` and `enable`.

use clap::Args;
use deed_delivery::user_body;
use deed_domain::caller::Attribution;
use deed_domain::ports::UserChanged;
use deed_domain::user::{UserChange, UserCondition, UserStatus};
use serde::Serialize;

use super::{find_user, identities, nobody};
use crate::commands::DatabaseArguments;
use crate::output::OutputArguments;

const DISABLE_EXAMPLES: &str = "\
Examples:
  deed users disable ada@example.com            its keys end within a second, its open streams too
  deed users disable 019ab0c2-… --format json | jq .changed";

const ENABLE_EXAMPLES: &str = "\
Examples:
  deed users enable ada@example.com             the keys that it had work again";

#[derive(Debug, Args)]
#[command(after_help = DISABLE_EXAMPLES)]
pub(super) struct Disable {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = ENABLE_EXAMPLES)]
pub(super) struct Enable {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The user's id or e-mail address
    user: String,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

#[derive(Serialize)]
struct Changed<U> {
    #[serde(flatten)]
    user: U,
    /// Whether it was otherwise before.
    changed: bool,
}

pub(super) async fn disable(arguments: Disable) -> anyhow::Result<()> {
    set(arguments.which, UserStatus::Disabled).await
}

pub(super) async fn enable(arguments: Enable) -> anyhow::Result<()> {
    set(arguments.which, UserStatus::Active).await
}

async fn set(which: Which, status: UserStatus) -> anyhow::Result<()> {
    let identities = identities(&which.database).await?;
    let before = find_user(&identities, &which.user).await?;
    let change = UserChange {
        status: Some(status),
        ..UserChange::default()
    };
    let changed = identities
        .users
        .change(
            before.id,
            &change,
            &UserCondition::default(),
            &Attribution::OPERATOR,
        )
        .await?;
    let user = match changed {
        UserChanged::Changed(user) => user,
        UserChanged::NotFound
        | UserChanged::ConditionFailed
        | UserChanged::EmailTaken
        | UserChanged::ExternalIdTaken => {
            return Err(nobody(format!("No user has the id {} any more", before.id)).into());
        }
    };
    let id = user.id;
    let changed = before.status != status;
    let words = match (status, changed) {
        (UserStatus::Disabled, true) => format!(
            "Disabled user {id}: its keys are refused by every server within 1 s, by one that has lost touch with \
             PostgreSQL's notifications within 5 s, and its open streams end with them."
        ),
        (UserStatus::Disabled, false) => format!("User {id} is disabled already."),
        (UserStatus::Active, true) => format!("Enabled user {id}: its keys work again."),
        (UserStatus::Active, false) => format!("User {id} is active already."),
    };
    let changed = Changed {
        user: user_body(user),
        changed,
    };
    which.output.print(&changed, |_| words)
}
