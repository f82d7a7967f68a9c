//! `deed users`: users, straight in the database. The way in when no key works.

mod create;
mod delete;
mod list;
mod status;

use clap::{Args, Subcommand};
use deed_delivery::user_body;
use deed_domain::email::Email;
use deed_domain::id::UserId;
use deed_domain::page::{Limit, PageRequest};
use deed_domain::ports::Belongings;
use deed_domain::user::{User, UserFilter};
use serde::Serialize;

pub(crate) use self::create::{register, unknown_password};
use super::DatabaseArguments;
use crate::fault::{Exit, Fault};
use crate::output::{OutputArguments, printable};
use crate::wire::{self, Identities};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Register a user and print its id
    Create(create::Arguments),
    /// List users, the newest first
    List(list::Arguments),
    /// Show one user, and how much belongs to it
    Show(Show),
    /// Refuse a user's keys, and whoever would act for it
    Disable(status::Disable),
    /// Let a disabled user's keys work again
    Enable(status::Enable),
    /// Delete a user, with its keys, its actions and all that they said
    Delete(delete::Arguments),
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.what {
        What::Create(arguments) => create::run(arguments).await,
        What::List(arguments) => list::run(arguments).await,
        What::Show(arguments) => show(arguments).await,
        What::Disable(arguments) => status::disable(arguments).await,
        What::Enable(arguments) => status::enable(arguments).await,
        What::Delete(arguments) => delete::run(arguments).await,
    }
}

/// What users and keys are changed with, over the database that the arguments name.
pub(super) async fn identities(database: &DatabaseArguments) -> anyhow::Result<Identities> {
    let database = wire::connect_migrated(database.url()?.reveal(), 1).await?;
    Ok(Identities::new(&database))
}

/// The user of that id or e-mail address.
///
/// # Errors
/// A [`Fault`] when there is none, or `text` is neither.
pub(super) async fn find_user(identities: &Identities, text: &str) -> anyhow::Result<User> {
    if let Ok(id) = text.parse::<UserId>() {
        let found = identities.users.find(id).await?;
        return Ok(found.ok_or_else(|| nobody(format!("No user has the id {id}")))?);
    }
    let Ok(email) = Email::parse(text) else {
        return Err(Fault::new(
            Exit::Usage,
            format!("{} is neither an id nor an e-mail address", printable(text)),
            "Name the user by one of the two, as `deed users list` shows them",
        )
        .into());
    };
    let filter = UserFilter {
        email: Some(email),
        ..UserFilter::default()
    };
    let first = PageRequest {
        limit: Limit::default(),
        after: None,
    };
    let found = identities.users.list(&filter, first).await?;
    let user = found.items.into_iter().next();
    Ok(user.ok_or_else(|| nobody("No user has this e-mail address".to_owned()))?)
}

fn nobody(cause: String) -> Fault {
    Fault::new(
        Exit::NotFound,
        cause,
        "`deed users list --all` shows every user",
    )
}

const SHOW_EXAMPLES: &str = "\
Examples:
  deed users show ada@example.com
  deed users show 019ab0c2-… --format json | jq .status";

#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct Show {
    /// The user's id or e-mail address
    user: String,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

#[derive(Serialize)]
struct Shown<U> {
    #[serde(flatten)]
    user: U,
    api_keys: u64,
    actions: u64,
}

async fn show(arguments: Show) -> anyhow::Result<()> {
    let identities = identities(&arguments.database).await?;
    let user = find_user(&identities, &arguments.user).await?;
    let belongings = identities.delete.belongings(user.id).await?;
    let text = described(&user, belongings);
    let shown = Shown {
        api_keys: belongings.api_keys,
        actions: belongings.actions,
        user: user_body(user),
    };
    arguments.output.print(&shown, |_| text)
}

fn described(user: &User, belongings: Belongings) -> String {
    let external_id = user.external_id.as_ref().map_or("none", |id| id.as_str());
    let rows = [
        ("id", user.id.to_string()),
        ("e-mail", printable(user.email.as_str())),
        ("name", printable(user.name.as_str())),
        ("status", user.status.as_str().to_owned()),
        ("external id", printable(external_id)),
        ("registered", moment(user.created_at)),
        ("changed", moment(user.updated_at)),
        ("API keys", belongings.api_keys.to_string()),
        ("actions", counted(belongings.actions)),
    ];
    rows.map(|(name, value)| format!("{name:<12} {value}\n"))
        .concat()
}

/// A moment for people: to the second.
pub(super) fn moment(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A number of actions, which is only counted up to a limit.
fn counted(actions: u64) -> String {
    if actions >= Belongings::MOST {
        format!("{actions} or more")
    } else {
        actions.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::user::{DisplayName, UserStatus};
    use uuid::Uuid;

    #[test]
    fn a_user_is_described_without_control_characters() {
        let user = User {
            id: UserId::from_uuid(Uuid::from_u128(1)),
            email: Email::parse("ada@example.com").unwrap(),
            name: DisplayName::parse("Ada").unwrap(),
            status: UserStatus::Disabled,
            external_id: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            updated_at: chrono::DateTime::UNIX_EPOCH,
        };
        let belongings = Belongings {
            api_keys: 2,
            actions: Belongings::MOST,
        };
        insta::assert_snapshot!(described(&user, belongings), @r"
        id           00000000-0000-0000-0000-000000000001
        e-mail       ada@example.com
        name         Ada
        status       disabled
        external id  none
        registered   1970-01-01 00:00:00Z
        changed      1970-01-01 00:00:00Z
        API keys     2
        actions      1000000 or more
        ");
    }
}
