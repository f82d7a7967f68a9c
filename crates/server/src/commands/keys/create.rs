//! `deed keys create`.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use clap::Args;
use deed_delivery::api_key_body;
use deed_domain::api_key::KeyName;
use deed_domain::caller::Attribution;
use deed_domain::scope::{Scope, ScopeSet};
use deed_domain::service::KeyRequest;
use deed_domain::user::UserStatus;
use serde::Serialize;

use crate::commands::DatabaseArguments;
use crate::commands::users::{find_user, identities};
use crate::fault::{Exit, Fault};
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

/// A shorter one would be over before the key is there.
const SHORTEST: Duration = Duration::from_secs(1);

/// When a key ends that is valid for `lifetime` from `now` on.
fn expiry(now: DateTime<Utc>, lifetime: Duration) -> Result<DateTime<Utc>, Fault> {
    let wrong = |cause: &str| {
        let mend = "Say how long the key is valid, such as 12h or 30d, or leave it out";
        Fault::new(Exit::Usage, cause, mend)
    };
    if lifetime < SHORTEST {
        return Err(wrong("--expires-in is shorter than a second"));
    }
    let end = TimeDelta::from_std(lifetime)
        .ok()
        .and_then(|lifetime| now.checked_add_signed(lifetime))
        // Beyond it the moment has no form in RFC 3339.
        .filter(|end| end.year() <= 9999);
    end.ok_or_else(|| wrong("--expires-in is too long"))
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let identities = identities(&arguments.database).await?;
    let now = identities.clock.now();
    let request = KeyRequest {
        name: arguments.name,
        scopes: ScopeSet::of(arguments.scopes)?,
        expires_at: arguments
            .expires_in
            .map(|lifetime| expiry(now, lifetime.into()))
            .transpose()?,
    };
    let owner = find_user(&identities, &arguments.user).await?;
    let issued = identities
        .issue_key
        .issue(owner.id, request, &Attribution::OPERATOR)
        .await?;
    let id = issued.key.id;
    let secret = issued.secret.reveal();
    let answer = Issued {
        key: api_key_body(issued.key),
        secret,
    };
    arguments.output.print(&answer, |_| secret.to_owned())?;
    note(format!(
        "Key {id} of user {}. This is the only time that its secret is shown.",
        owner.id
    ));
    if owner.status == UserStatus::Disabled {
        note(format!(
            "The user is disabled: the key is refused until `deed users enable {}`.",
            owner.id
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_lies_in_the_future_and_can_be_written() {
        let now = DateTime::UNIX_EPOCH;
        let day = Duration::from_secs(86_400);
        assert_eq!(expiry(now, day), Ok(now + TimeDelta::days(1)));
        for wrong in [
            Duration::ZERO,
            Duration::from_millis(999),
            day * 366 * 8100,
            Duration::MAX,
        ] {
            let fault = expiry(now, wrong).unwrap_err();
            assert_eq!(fault.exit, Exit::Usage, "{fault}");
            assert!(fault.cause().contains("--expires-in"), "{fault}");
        }
    }
}
