//! `deed keys create`.

use anyhow::Context as _;
use chrono::TimeDelta;
use clap::Args;
use deed_delivery::api_key_body;
use deed_domain::api_key::KeyName;
use deed_domain::caller::Attribution;
use deed_domain::scope::{Scope, ScopeSet};
use deed_domain::service::KeyRequest;
use serde::Serialize;

use crate::commands::DatabaseArguments;
use crate::commands::users::{find_user, identities};
use crate::output::OutputArguments;
use crate::terminal::note;

const EXAMPLES: &str = "\
Examples:
  deed keys create --user ada@example.com --name laptop --scope actions:read --scope actions:write
  deed keys create --user ada@example.com --name ci --scope actions:write:report.* --expires-in 30d
  export DEED_API_KEY=$(deed keys create --user ada@example.com --name shell --scope actions:write)";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Whose key it will be: the user's id or e-mail address
    #[arg(long)]
    user: String,
    /// What the key is called, 1 to 100 characters
    #[arg(long, value_parser = key_name)]
    name: KeyName,
    /// What the key permits, such as actions:write or actions:read:report.*; once for each
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<Scope>,
    /// After how long the key is refused, such as 30d; never without it
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<humantime::Duration>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

fn key_name(text: &str) -> Result<KeyName, impl std::error::Error + use<>> {
    KeyName::parse(text)
}

#[derive(Serialize)]
struct Issued<'s, K> {
    #[serde(flatten)]
    key: K,
    secret: &'s str,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let identities = identities(&arguments.database).await?;
    let lifetime = arguments
        .expires_in
        .map(|duration| TimeDelta::from_std(duration.into()))
        .transpose()
        .context("--expires-in")?;
    let now = identities.clock.now();
    let request = KeyRequest {
        name: arguments.name,
        scopes: ScopeSet::of(arguments.scopes)?,
        expires_at: lifetime
            .map(|lifetime| {
                now.checked_add_signed(lifetime)
                    .context("--expires-in is too long")
            })
            .transpose()?,
    };
    let owner = find_user(&identities, &arguments.user).await?.id;
    let issued = identities
        .issue_key
        .issue(owner, request, &Attribution::OPERATOR)
        .await?;
    let id = issued.key.id;
    let secret = issued.secret.reveal();
    let answer = Issued {
        key: api_key_body(issued.key),
        secret,
    };
    arguments.output.print(&answer, |_| secret.to_owned())?;
    note(format!(
        "Key {id} of user {owner}. This is the only time that its secret is shown.",
    ));
    Ok(())
}
