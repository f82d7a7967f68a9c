//! `deed users delete`.

use anyhow::Context as _;
use clap::Args;
use deed_domain::caller::Attribution;
use deed_domain::error::Error;
use deed_domain::id::UserId;
use deed_domain::ports::Belongings;
use deed_domain::user::User;
use serde::Serialize;

use super::{counted, find_user, identities, nobody};
use crate::commands::DatabaseArguments;
use crate::confirm::confirm;
use crate::fault::{Exit, exit_of};
use crate::output::{Format, OutputArguments, printable};
use crate::progress::Progress;
use crate::shutdown::unless_interrupted;
use crate::terminal::note;
use crate::wire::Identities;

const EXAMPLES: &str = "\
Examples:
  deed users delete ada@example.com             says what would go, and asks
  deed users delete ada@example.com --yes       for scripts";

/// What Ctrl-C leaves once the user is deleted, and a fault too.
const LEFT: &str =
    "the user is deleted; what is left of its actions is removed by the next server that runs";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The user's id or e-mail address
    user: String,
    /// Don't ask: the user goes for good
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

#[derive(Serialize)]
struct Deleted {
    id: String,
    api_keys: u64,
    actions: u64,
    /// What stays.
    stays: [&'static str; 2],
}

const STAYS: [&str; 2] = [
    "audit events, which hold ids only",
    "the idempotency key of its registration, without what was sent, until it expires",
];

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let identities = identities(&arguments.database).await?;
    let user = match find_user(&identities, &arguments.user).await {
        Ok(user) => user,
        Err(error) if exit_of(&error) == Exit::NotFound => {
            return go_on(&arguments, &identities, error).await;
        }
        Err(error) => return Err(error),
    };
    let belongings = identities.delete.belongings(user.id).await?;
    let what = announcement(&user, belongings);
    confirm(
        arguments.yes.into(),
        &what,
        &format!("deed users delete {} --yes", user.id),
    )
    .await?;
    if arguments.yes && arguments.output.format == Format::Text {
        note(format!("{what}."));
    }
    match identities
        .delete
        .delete(user.id, &Attribution::OPERATOR)
        .await
    {
        Ok(()) => {}
        Err(Error::UserNotFound) => {
            return Err(nobody(format!("No user has the id {} any more", user.id)).into());
        }
        Err(error) => return Err(error.into()),
    }
    let gone = erase(&identities, user.id, belongings.actions).await?;
    // A server that runs may have removed some of them.
    let actions = gone.actions.max(belongings.actions);
    report(arguments.output, user.id, belongings.api_keys, actions)
}

/// Removes what is left of a user that was deleted before, if there is something; else the user was not found.
async fn go_on(
    arguments: &Arguments,
    identities: &Identities,
    not_found: anyhow::Error,
) -> anyhow::Result<()> {
    let Ok(id) = arguments.user.parse::<UserId>() else {
        return Err(not_found);
    };
    let left = identities.delete.belongings(id).await?;
    let erased = erase(identities, id, left.actions).await?;
    if erased.was_something {
        report(arguments.output, id, 0, erased.actions)
    } else {
        Err(not_found)
    }
}

struct Gone {
    actions: u64,
    /// Actions, or only the events of some that had gone before.
    was_something: bool,
}

async fn erase(identities: &Identities, id: UserId, expected: u64) -> anyhow::Result<Gone> {
    let progress = Progress::new(expected);
    progress.doing("actions".to_owned());
    let mut steps = 0_u64;
    let erasing = async {
        let erased = identities.delete.erase(id, |gone| {
            progress.set_done(gone);
            steps = steps.saturating_add(1);
        });
        erased.await.context(LEFT)
    };
    let actions = unless_interrupted(LEFT, erasing).await?;
    Ok(Gone {
        actions,
        // The last step finds nothing.
        was_something: steps > 1,
    })
}

fn announcement(user: &User, belongings: Belongings) -> String {
    format!(
        "User {} ({}) goes for good, with {} and {}, their results and events",
        user.id,
        printable(user.email.as_str()),
        keys(belongings.api_keys),
        actions(counted(belongings.actions))
    )
}

fn report(output: OutputArguments, id: UserId, api_keys: u64, removed: u64) -> anyhow::Result<()> {
    let deleted = Deleted {
        id: id.to_string(),
        api_keys,
        actions: removed,
        stays: STAYS,
    };
    output.print(&deleted, |deleted| {
        let [audit, key] = deleted.stays;
        format!(
            "Deleted user {id}, {} and {}.\n\
             What stays: {audit}, and {key}. The e-mail address can be registered again.",
            keys(deleted.api_keys),
            actions(deleted.actions.to_string())
        )
    })
}

fn keys(count: u64) -> String {
    match count {
        1 => "1 API key".to_owned(),
        _ => format!("{count} API keys"),
    }
}

fn actions(count: String) -> String {
    match count.as_str() {
        "1" => "1 action".to_owned(),
        _ => format!("{count} actions"),
    }
}
