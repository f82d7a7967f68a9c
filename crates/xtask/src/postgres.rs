//! Making sure that there is a PostgreSQL server.

use anyhow::bail;
use local_postgres::{FindError, Installation};

use crate::environment;
use crate::install::{self, Installed, Machine, Manager, PackageAge};
use crate::terminal::say;

/// Whether there is a server to use.
pub(crate) enum Found {
    /// There is one now.
    Yes(Installation),
    /// There is none, and the lines that install one have been printed.
    No,
}

/// Finds an installed server, or installs one where that takes no more than Homebrew, or apt and the right to use it, for `task`.
pub(crate) fn ensure(task: &str) -> anyhow::Result<Found> {
    let explicit = environment::pg_bin();
    let error = match Installation::find(explicit.as_deref()) {
        Ok(installation) => return Ok(Found::Yes(installation)),
        Err(error) if explicit.is_some() => bail!("DEED_PG_BIN: {error}"),
        Err(error) => error,
    };
    let machine = Machine::look(&environment::path());
    if let Some(bin) = machine.installed_bin() {
        return Ok(Found::Yes(Installation::find(Some(&bin))?));
    }
    say(&error);
    let age = if matches!(error, FindError::TooOld { .. }) && machine.manager != Manager::Brew {
        PackageAge::TooOld
    } else {
        match machine.install()? {
            Installed::Yes => return Ok(Found::Yes(Installation::find(None)?)),
            Installed::In(bin) => return Ok(Found::Yes(Installation::find(Some(&bin))?)),
            Installed::No(age) => age,
        }
    };
    say("\nInstall PostgreSQL 15 or newer, then try again:\n");
    for line in install::lines(machine.manager, age, task) {
        say(format!("  {line}"));
    }
    Ok(Found::No)
}
