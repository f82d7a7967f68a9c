//! `deed keys`: API keys, straight in the database. The way in when no key works.

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use clap::{Args, Subcommand};
use deed_domain::api_key::KeyName;
use deed_domain::caller::Attribution;
use deed_domain::email::Email;
use deed_domain::id::UserId;
use deed_domain::page::{Limit, PageRequest};
use deed_domain::scope::{Scope, ScopeSet};
use deed_domain::service::KeyRequest;
use deed_domain::user::UserFilter;

use super::DatabaseArguments;
use crate::terminal::{note, say};
use crate::wire::{self, Identities};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    database: DatabaseArguments,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Issue a key and print its secret, once
    Create(Create),
}

#[derive(Debug, Args)]
struct Create {
    /// Whose key it will be: the user's id or e-mail address
    #[arg(long)]
    user: String,
    /// What the key is called, 1 to 100 characters
    #[arg(long)]
    name: String,
    /// What the key permits, such as actions:write or actions:read:report.*; once for each
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// After how long the key is refused, such as 30d; never without it
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<humantime::Duration>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let What::Create(create) = arguments.what;
    let scopes: Vec<Scope> = create
        .scopes
        .iter()
        .map(|text| text.parse().with_context(|| format!("--scope {text}")))
        .collect::<Result<_, _>>()?;
    let database = wire::connect_migrated(arguments.database.url()?.reveal(), 1).await?;
    let identities = Identities::new(&database);
    let lifetime = create
        .expires_in
        .map(|duration| TimeDelta::from_std(duration.into()))
        .transpose()
        .context("--expires-in")?;
    let now = identities.clock.now();
    let request = KeyRequest {
        name: KeyName::parse(create.name).context("--name")?,
        scopes: ScopeSet::of(scopes)?,
        expires_at: lifetime
            .map(|lifetime| {
                now.checked_add_signed(lifetime)
                    .context("--expires-in is too long")
            })
            .transpose()?,
    };
    let owner = find_user(&identities, &create.user).await?;
    let issued = identities
        .issue_key
        .issue(owner, request, &Attribution::OPERATOR)
        .await?;
    say(issued.secret.reveal());
    note(format!(
        "Key {} of user {owner}. This is the only time that its secret is shown.",
        issued.key.id
    ));
    Ok(())
}

async fn find_user(identities: &Identities, text: &str) -> anyhow::Result<UserId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let filter = UserFilter {
        email: Some(Email::parse(text).context("--user is neither an id nor an e-mail address")?),
        ..UserFilter::default()
    };
    let first = PageRequest {
        limit: Limit::default(),
        after: None,
    };
    let found = identities.users.list(&filter, first).await?;
    match found.items.first() {
        Some(user) => Ok(user.id),
        None => bail!("no user has this e-mail address"),
    }
}
