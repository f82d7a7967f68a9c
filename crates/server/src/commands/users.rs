//! `deed users`: users, straight in the database. The way in when no key works.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use deed_domain::caller::Attribution;
use deed_domain::email::Email;
use deed_domain::password::{Password, PasswordPolicy};
use deed_domain::ports::Ids;
use deed_domain::service::Registration;
use deed_domain::user::{DisplayName, ExternalId, User};
use zeroize::Zeroizing;

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
    /// Register a user and print its id
    Create(Create),
}

#[derive(Debug, Args)]
struct Create {
    /// E-mail address; unique
    #[arg(long)]
    email: String,
    /// Name, 1 to 100 characters
    #[arg(long)]
    name: String,
    /// File that holds the password; - is standard input. Without it nobody can sign in as this user
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The application's own name for the user; unique
    #[arg(long)]
    external_id: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let What::Create(create) = arguments.what;
    let database = wire::connect_migrated(arguments.database.url()?.reveal(), 1).await?;
    let identities = Identities::new(&database);
    let registration = Registration {
        email: Email::parse(&create.email).context("--email")?,
        name: DisplayName::parse(create.name).context("--name")?,
        password: match create.password_file {
            Some(file) => password(file)?,
            None => unknown_password(identities.ids.as_ref())?,
        },
        external_id: create
            .external_id
            .map(ExternalId::parse)
            .transpose()
            .context("--external-id")?,
    };
    let user = register(&identities, registration).await?;
    say(user.id.to_string());
    note(format!(
        "Registered. Its first key: deed keys create --user {} --name first --scope actions:read --scope actions:write",
        user.id
    ));
    Ok(())
}

/// Registers a user as the operator.
pub(crate) async fn register(
    identities: &Identities,
    registration: Registration,
) -> anyhow::Result<User> {
    let registered = identities
        .register
        .run(registration, &Attribution::OPERATOR, None)
        .await?;
    Ok(registered.user)
}

/// The password in `file`, or on standard input for `-`.
fn password(file: PathBuf) -> anyhow::Result<Password> {
    let mut text = Zeroizing::new(String::new());
    if file.as_os_str() == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("no password on standard input")?;
    } else {
        let content = std::fs::read_to_string(&file)
            .with_context(|| format!("the password's file {} can't be read", file.display()))?;
        text = Zeroizing::new(content);
    }
    Password::parse(
        text.trim_end_matches(['\n', '\r']),
        PasswordPolicy::default(),
    )
    .context("the password")
}

/// A password that nobody knows: 512 random bits.
pub(crate) fn unknown_password(ids: &dyn Ids) -> anyhow::Result<Password> {
    let text: String = ids
        .random_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Password::parse(text, PasswordPolicy::default())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_from_a_file_without_its_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "correct horse\n").unwrap();
        assert_eq!(password(file.clone()).unwrap().reveal(), "correct horse");
        std::fs::write(&file, "short\n").unwrap();
        assert!(password(file).is_err());
    }

    #[test]
    fn unknown_passwords_differ() {
        let ids = deed_adapters::ids::SystemIds;
        assert_ne!(
            unknown_password(&ids).unwrap(),
            unknown_password(&ids).unwrap()
        );
    }
}
