//! `deed users list`.

use clap::{Args, ValueEnum};
use deed_delivery::user_body;
use deed_domain::email::Email;
use deed_domain::user::{ExternalId, User, UserFilter, UserStatus};

use super::create::external_id;
use super::{identities, moment};
use crate::commands::DatabaseArguments;
use crate::commands::listing::ListArguments;
use crate::output::{OutputArguments, table};

const EXAMPLES: &str = "\
Examples:
  deed users list                               the newest 50
  deed users list --status disabled --all
  deed users list --all --format json | jq -r '.items[].id'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Only users of this status
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only the user with this e-mail address
    #[arg(long, value_parser = Email::parse)]
    email: Option<Email>,
    /// Only the user with this external id
    #[arg(long, value_parser = external_id)]
    external_id: Option<ExternalId>,
    #[command(flatten)]
    list: ListArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Status {
    Active,
    Disabled,
}

impl From<Status> for UserStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Disabled => Self::Disabled,
        }
    }
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let identities = identities(&arguments.database).await?;
    let filter = UserFilter {
        email: arguments.email,
        external_id: arguments.external_id,
        status: arguments.status.map(UserStatus::from),
    };
    let listed = arguments
        .list
        .read(async |page| identities.users.list(&filter, page).await)
        .await?;
    let rows: Vec<_> = listed.items.iter().map(row).collect();
    let listed = listed.map(user_body);
    arguments.output.print(&listed, |_| {
        table(
            [
                "ID",
                "E-MAIL",
                "NAME",
                "STATUS",
                "EXTERNAL ID",
                "REGISTERED",
            ],
            &rows,
        )
    })?;
    listed.tell_of_more();
    Ok(())
}

fn row(user: &User) -> [String; 6] {
    [
        user.id.to_string(),
        user.email.as_str().to_owned(),
        user.name.as_str().to_owned(),
        user.status.as_str().to_owned(),
        user.external_id
            .as_ref()
            .map_or_else(String::new, |id| id.as_str().to_owned()),
        moment(user.created_at),
    ]
}
