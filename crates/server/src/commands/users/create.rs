//! `deed users create`.

use std::path::{Path, PathBuf};

use clap::Args;
use deed_delivery::user_body;
use deed_domain::caller::Attribution;
use deed_domain::email::Email;
use deed_domain::error::Error;
use deed_domain::password::{Password, PasswordPolicy};
use deed_domain::ports::Ids;
use deed_domain::service::Registration;
use deed_domain::user::{DisplayName, ExternalId, User};

use super::identities;
use crate::commands::DatabaseArguments;
use crate::fault::{Exit, Fault};
use crate::output::OutputArguments;
use crate::settings::Secret;
use crate::terminal::note;
use crate::wire::Identities;

const EXAMPLES: &str = "\
Examples:
  deed users create --email ada@example.com --name Ada
  deed users create --email ada@example.com --name Ada --password-file - < password.txt
  id=$(deed users create --email ada@example.com --name Ada --external-id crm-42)";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// E-mail address; unique
    #[arg(long, value_parser = Email::parse)]
    email: Email,
    /// Name, 1 to 100 characters
    #[arg(long, value_parser = display_name)]
    name: DisplayName,
    /// File that holds the password; - is standard input. Without it nobody can sign in as this user
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The fewest characters of the password, 8 to 128
    #[arg(long, env = "DEED_PASSWORD_MIN", default_value_t = 8, value_parser = clap::value_parser!(u16).range(8..=128), value_name = "CHARACTERS")]
    password_min: u16,
    /// The application's own name for the user; unique
    #[arg(long, value_parser = external_id)]
    external_id: Option<ExternalId>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

pub(super) fn display_name(text: &str) -> Result<DisplayName, impl std::error::Error + use<>> {
    DisplayName::parse(text)
}

pub(super) fn external_id(text: &str) -> Result<ExternalId, impl std::error::Error + use<>> {
    ExternalId::parse(text)
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let policy = PasswordPolicy::with_min(usize::from(arguments.password_min));
    let given = arguments
        .password_file
        .as_deref()
        .map(|file| password(file, policy))
        .transpose()?;
    let identities = identities(&arguments.database).await?;
    let registration = Registration {
        email: arguments.email,
        name: arguments.name,
        password: match given {
            Some(password) => password,
            None => unknown_password(identities.ids.as_ref())?,
        },
        external_id: arguments.external_id,
    };
    let user = register(&identities, registration).await?;
    let id = user.id;
    arguments
        .output
        .print(&user_body(user), |_| id.to_string())?;
    note(format!(
        "Registered. Its first key: deed keys create --user {id} --name first --scope actions:read --scope actions:write",
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
        .await;
    match registered {
        Ok(registered) => Ok(registered.user),
        Err(Error::UserAlreadyExists) => Err(Fault::new(
            Exit::Conflict,
            "A user with this e-mail address already exists",
            "`deed users show` and the address shows it",
        )
        .into()),
        Err(Error::ExternalIdTaken) => Err(Fault::new(
            Exit::Conflict,
            "Another user has this external id",
            "`deed users list --external-id` and the id shows it",
        )
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// The password in `file`, or on standard input for `-`.
fn password(file: &Path, policy: PasswordPolicy) -> anyhow::Result<Password> {
    let text = if file.as_os_str() == "-" {
        Secret::from_stdin()?
    } else {
        Secret::from_file(file, "--password-file")?
    };
    Password::parse(text.reveal(), policy).map_err(|error| {
        let fault = Fault::new(
            Exit::WeakSecret,
            format!("The password {error}"),
            "Choose another one; DEED_PASSWORD_MIN says how many characters it needs",
        );
        fault.into()
    })
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
    use crate::fault::exit_of;

    #[test]
    fn a_password_is_read_from_a_file_without_its_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let policy = PasswordPolicy::default();
        std::fs::write(&file, "correct horse\n").unwrap();
        assert_eq!(password(&file, policy).unwrap().reveal(), "correct horse");
        std::fs::write(&file, "short\n").unwrap();
        let error = password(&file, policy).unwrap_err();
        assert_eq!(exit_of(&error), Exit::WeakSecret);
        std::fs::remove_file(&file).unwrap();
        let error = password(&file, policy).unwrap_err();
        assert_eq!(exit_of(&error), Exit::SecretFile);
    }

    #[test]
    fn the_least_length_is_the_servers_setting() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "correct horse\n").unwrap();
        assert!(password(&file, PasswordPolicy::with_min(15)).is_err());
        let mut definition = crate::cli::command();
        definition.build();
        let of = |path: &[&str]| {
            let command = path.iter().fold(&definition, |command, name| {
                command.find_subcommand(name).unwrap()
            });
            let arguments = command.get_arguments();
            let mut found = arguments.filter(|one| one.get_id() == "password_min");
            let found = found.next().unwrap().clone();
            (
                found.get_env().map(ToOwned::to_owned),
                found.get_default_values().to_vec(),
                format!("{:?}", found.get_value_parser()),
            )
        };
        assert_eq!(of(&["serve"]), of(&["users", "create"]));
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
