//! What can be wrong outside the program, and the exit code of each.
//!
//! A fault says its cause in one sentence and its mend in another. Scripts tell faults apart by the exit code, which
//! never changes its meaning.

use std::fmt;
use std::process::ExitCode;

/// Declares the exit codes once: the enum, the number, and the line of `deed --help`.
macro_rules! exits {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $line:literal;)+) => {
        /// Why the program ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Exit {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Exit {
            /// Every one, in the order of the codes.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What the process ends with.
            pub(crate) const fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// What it means, in a few words.
            pub(crate) const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $line,)+
                }
            }
        }
    };
}

exits! {
    /// Whatever has no code of its own.
    Failed = 1, "failed for another reason";
    /// The command line itself; clap ends with the same code.
    Usage = 2, "wrong arguments";
    /// `deed migrate validate` and `deed doctor` answer a question with no.
    Unwell = 3, "the check found something wrong";
    /// What was asked for isn't there.
    NotFound = 4, "what was named does not exist";
    /// The state of things does not allow it.
    Conflict = 5, "there already, or its state does not allow it";
    /// `deed actions run` and `tail`: the action is over, and did not succeed.
    ActionNotSucceeded = 6, "the action failed or was cancelled";
    /// `deed actions run` and `tail` with `--wait`: the time was up first.
    ActionUnfinished = 7, "the action is not over yet";
    /// The URL can't be understood.
    BadDatabaseUrl = 10, "DATABASE_URL is not valid";
    /// Nobody answers there.
    DatabaseUnreachable = 11, "the database can't be reached";
    /// Somebody answers, and says no.
    DatabaseRefused = 12, "the database refuses the user, password or name";
    /// PostgreSQL is older than what Deed is written for.
    DatabaseTooOld = 13, "PostgreSQL is older than 15";
    /// A standby, or a database set to read only.
    DatabaseReadOnly = 14, "the database is read-only";
    /// The binary knows a migration that the database doesn't have.
    DatabaseBehind = 15, "the database lacks a migration";
    /// A commit may be lost.
    NotDurable = 16, "the database does not keep what it has committed";
    /// An address to listen on.
    AddressInUse = 20, "an address can't be listened on";
    /// A file that holds a key or password.
    SecretFile = 21, "a secret's file can't be read";
    /// A key that can be guessed.
    WeakSecret = 22, "a secret is too weak";
    /// Settings that can't be, contradict each other, or don't exist.
    Configuration = 23, "the configuration is not valid";
    /// `deed dev` finds no PostgreSQL.
    NoPostgres = 30, "no PostgreSQL 15 or newer is installed";
    /// `deed dev` finds a data directory that this PostgreSQL can't read.
    DataDirectory = 31, "the data directory can't be used";
    /// Nobody answers at `DEED_URL`.
    ServerUnreachable = 40, "the server can't be reached";
    /// The server answered with a problem.
    ServerRefused = 41, "the server refused the request";
    /// Ctrl-C where a result was waited for: 128 + SIGINT.
    Interrupted = 130, "interrupted by Ctrl-C";
    /// A second signal while the server drains: 128 + SIGTERM.
    Forced = 143, "ended by a second signal";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Something that has to be mended outside the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) exit: Exit,
    /// One sentence, without a full stop.
    cause: String,
    /// One sentence that says what to do; empty where nothing can be done.
    mend: String,
}

impl Fault {
    pub(crate) fn new(exit: Exit, cause: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            exit,
            cause: cause.into(),
            mend: mend.into(),
        }
    }

    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }

    pub(crate) fn mend(&self) -> &str {
        &self.mend
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mend.is_empty() {
            write!(f, "{}.", self.cause)
        } else {
            write!(f, "{}.\n{}.", self.cause, self.mend)
        }
    }
}

impl std::error::Error for Fault {}

/// The exit code for `error`: that of the fault in its chain, if there is one.
pub(crate) fn exit_of(error: &anyhow::Error) -> Exit {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Fault>())
        .map_or(Exit::Failed, |fault| fault.exit)
}

/// What the person at the terminal reads of `error`: a fault's two sentences alone, else the chain on one line.
pub(crate) fn words(error: &anyhow::Error) -> String {
    match error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Fault>())
    {
        Some(fault) => fault.to_string(),
        None => format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_exit_has_a_code_of_its_own() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        let distinct: BTreeSet<u8> = codes.iter().copied().collect();
        assert_eq!(codes.len(), distinct.len());
        assert!(codes.is_sorted(), "{codes:?}");
        assert!(!distinct.contains(&0));
    }

    #[test]
    fn a_fault_is_found_under_what_was_being_done() {
        let fault = Fault::new(Exit::DatabaseTooOld, "It is too old", "Upgrade it");
        let error = anyhow::Error::new(fault).context("starting");
        assert_eq!(exit_of(&error), Exit::DatabaseTooOld);
        assert_eq!(words(&error), "It is too old.\nUpgrade it.");
        let other = anyhow::anyhow!("cause").context("doing");
        assert_eq!(
            (exit_of(&other), words(&other)),
            (Exit::Failed, "doing: cause".to_owned())
        );
    }
}
