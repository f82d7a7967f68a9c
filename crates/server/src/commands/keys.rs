//! `deed keys`: API keys, straight in the database. The way in when no key works.

mod create;
mod hash;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use deed_delivery::api_key_body;
use deed_domain::api_key::ApiKey;
use deed_domain::caller::Attribution;
use deed_domain::id::ApiKeyId;
use serde::Serialize;

use super::DatabaseArguments;
use super::listing::ListArguments;
use super::users::{find_user, identities, moment};
use crate::fault::{Exit, Fault};
use crate::output::{OutputArguments, table};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Issue a key and print its secret, once
    Create(create::Arguments),
    /// List keys, the newest first; never their secrets
    List(List),
    /// Revoke a key: it is refused from then on
    Revoke(Revoke),
    /// Print the SHA-256 digest of a key's secret, which may be kept where the secret may not
    Hash(hash::Arguments),
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.what {
        What::Create(arguments) => create::run(arguments).await,
        What::List(arguments) => list(arguments).await,
        What::Revoke(arguments) => revoke(arguments).await,
        What::Hash(arguments) => hash::run(&arguments),
    }
}

const LIST_EXAMPLES: &str = "\
Examples:
  deed keys list                                the newest 50 of everybody
  deed keys list --user ada@example.com --all
  deed keys list --all --format json | jq -r '.items[] | select(.last_used_at == null).id'";

#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// Only this user's keys: its id or e-mail address
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    list: ListArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

async fn list(arguments: List) -> anyhow::Result<()> {
    let identities = identities(&arguments.database).await?;
    let owner = match &arguments.user {
        Some(user) => Some(find_user(&identities, user).await?.id),
        None => None,
    };
    let listed = arguments
        .list
        .read(async |page| identities.api_keys.list(owner, page).await)
        .await?;
    let now = identities.clock.now();
    let rows: Vec<_> = listed.items.iter().map(|key| row(key, now)).collect();
    let listed = listed.map(api_key_body);
    arguments.output.print(&listed, |_| {
        table(
            ["ID", "NAME", "USER", "STATE", "LAST USED", "SCOPES"],
            &rows,
        )
    })?;
    listed.tell_of_more();
    Ok(())
}

fn row(key: &ApiKey, now: DateTime<Utc>) -> [String; 6] {
    let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    [
        key.id.to_string(),
        key.name.as_str().to_owned(),
        key.user_id.to_string(),
        state(key, now),
        key.last_used_at.map_or_else(|| "never".to_owned(), moment),
        scopes.join(" "),
    ]
}

/// Whether the key works, as far as it itself can tell.
fn state(key: &ApiKey, now: DateTime<Utc>) -> String {
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(at)) if at <= now => "expired".to_owned(),
        (None, Some(at)) => format!("until {}", moment(at)),
        (None, None) => "valid".to_owned(),
    }
}

const REVOKE_EXAMPLES: &str = "\
Examples:
  deed keys revoke 019ab0c2-…                   refused everywhere within a second";

#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct Revoke {
    /// The key's id, as `deed keys list` shows it
    key: ApiKeyId,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

#[derive(Serialize)]
struct Revoked<K> {
    #[serde(flatten)]
    key: K,
    /// Whether it was valid before.
    changed: bool,
}

async fn revoke(arguments: Revoke) -> anyhow::Result<()> {
    let identities = identities(&arguments.database).await?;
    let id = arguments.key;
    let unknown = || {
        Fault::new(
            Exit::NotFound,
            format!("No key has the id {id}"),
            "`deed keys list --all` shows every key",
        )
    };
    let before = identities.api_keys.find(id, None).await?;
    let was_revoked = before.ok_or_else(unknown)?.revoked_at.is_some();
    identities
        .api_keys
        .revoke(id, None, &Attribution::OPERATOR)
        .await?;
    let after = identities.api_keys.find(id, None).await?;
    let revoked = Revoked {
        key: api_key_body(after.ok_or_else(unknown)?),
        changed: !was_revoked,
    };
    arguments.output.print(&revoked, |revoked| {
        if revoked.changed {
            format!(
                "Revoked key {id}: it is refused by every server within 1 s, by one that has lost touch with \
                 PostgreSQL's notifications within 5 s, and its open streams end with it."
            )
        } else {
            format!("Key {id} is revoked already.")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use deed_domain::api_key::KeyName;
    use deed_domain::id::UserId;
    use deed_domain::scope::ScopeSet;
    use uuid::Uuid;

    #[test]
    fn a_keys_state_is_told() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let check = |expires_at, revoked_at, expected: &str| {
            let key = ApiKey {
                id: ApiKeyId::from_uuid(Uuid::from_u128(1)),
                user_id: UserId::from_uuid(Uuid::from_u128(2)),
                name: KeyName::parse("ci").unwrap(),
                scopes: ScopeSet::everything(),
                created_at: DateTime::UNIX_EPOCH,
                expires_at,
                revoked_at,
                last_used_at: None,
            };
            assert_eq!(state(&key, now), expected);
            assert_eq!(row(&key, now)[4], "never");
        };
        let hour = TimeDelta::hours(1);
        check(None, None, "valid");
        check(Some(now), None, "expired");
        check(Some(now + hour), None, "until 1970-01-02 01:00:00Z");
        check(Some(now + hour), Some(now), "revoked");
    }
}
