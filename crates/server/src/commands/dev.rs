//! `deed dev`: a private PostgreSQL, a first user and key, and a curl to paste.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use deed_adapters::postgres::migrate;
use deed_domain::api_key::KeyName;
use deed_domain::caller::Attribution;
use deed_domain::email::Email;
use deed_domain::page::{Limit, PageRequest};
use deed_domain::ports::ActionHandler;
use deed_domain::scope::{Permission, Scope, ScopeSet};
use deed_domain::secret::{PlainSecret, SecretKind};
use deed_domain::service::{KeyRequest, Registration};
use deed_domain::user::{DisplayName, User, UserFilter, UserStatus};
use local_postgres::{Cluster, FindError, Installation, Options, StartError};

use super::migrate::told;
use super::users;
use crate::fault::{Exit, Fault};
use crate::preflight::Need;
use crate::settings::Settings;
use crate::terminal::{note, say};
use crate::wire::{self, Identities};
use crate::{serve, shutdown};

const EMAIL: &str = "dev@example.com";

const EXAMPLES: &str = "\
Examples:
  deed dev                                      the server, a first key and a curl to paste
  deed dev --listen 127.0.0.1:0                 on a port that is free
  deed dev --directory /tmp/try                 with a database of its own, to be thrown away";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where the database and the keys are kept
    #[arg(long, default_value = ".deed", value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Where PostgreSQL's programs are; looked for by itself where nothing is said
    #[arg(long, env = "DEED_PG_BIN", value_name = "DIRECTORY")]
    pg_bin: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

pub(crate) async fn run(
    arguments: Arguments,
    handlers: Vec<Arc<dyn ActionHandler>>,
) -> anyhow::Result<()> {
    let stop = shutdown::listen()?;
    let mut settings = arguments.settings;
    settings.check()?;
    if !settings.listen.ip().is_loopback() {
        let fault = Fault::new(
            Exit::Configuration,
            "`deed dev` serves on loopback only, because its keys lie in a file",
            "Choose an address of 127.0.0.0/8 or ::1, or run `deed serve`",
        );
        return Err(fault.into());
    }
    // Before anything that takes time: an address in use is said at once.
    let listener = serve::bind(settings.listen)?;
    let home = Home::make(&arguments.directory)?;
    let pg_bin = arguments.pg_bin;
    let options = Options {
        user: "deed".to_owned(),
        database: "deed".to_owned(),
        unreachable_base: PathBuf::from("/var/lib/deed-dev"),
        ..Options::new(home.path("pg"))
    };
    // Starting blocks for some seconds the first time.
    let cluster =
        tokio::task::spawn_blocking(move || start_postgres(pg_bin.as_deref(), &options)).await??;

    let result = tokio::select! {
        result = serve_until(&stop, listener, &cluster, &home, &mut settings, handlers) => result,
        () = cluster_ended(&cluster) => Err(anyhow::anyhow!(
            "PostgreSQL has stopped by itself; its log is {}", cluster.log_file().display()
        )),
    };
    let stopped = tokio::task::spawn_blocking(move || cluster.stop()).await?;
    result?;
    stopped.context("PostgreSQL did not stop in time")
}

async fn serve_until(
    stop: &tokio::sync::watch::Receiver<bool>,
    listener: TcpListener,
    cluster: &Cluster,
    home: &Home,
    settings: &mut Settings,
    handlers: Vec<Arc<dyn ActionHandler>>,
) -> anyhow::Result<()> {
    let url = cluster.url();
    let starting = async {
        let database = wire::connect(&url, 2, Need::Durable).await?;
        let applied = migrate::up(&database).await;
        let applied = applied.map_err(|error| told(error, "up"))?;
        if !applied.is_empty() {
            note(format!("Migrated ({} steps).", applied.len()));
        }
        let identities = Identities::new(&database);
        if settings.root_key()?.is_none() {
            let make = || Ok(identities.new_secret(SecretKind::ApiKey));
            settings.root_key = Some(home.secret_file("root.key", make)?.as_str().into());
        }
        first_key(&identities, home).await?;
        serve::start_on(listener, handlers, &url, settings).await
    };
    let running = tokio::select! {
        biased;
        () = shutdown::requested(stop.clone()) => return Ok(()),
        running = starting => running?,
    };
    let key_file = home.path("dev.key");
    introduce(
        &url,
        &running.base_url(),
        &key_file,
        &home.path("root.key"),
        settings.docs,
    );
    tokio::select! {
        () = shutdown::requested(stop.clone()) => {}
        () = running.failed() => bail!("the HTTP server has stopped by itself"),
    }
    running.drain().await;
    Ok(())
}

fn start_postgres(pg_bin: Option<&Path>, options: &Options) -> anyhow::Result<Cluster> {
    let installation = Installation::find(pg_bin).map_err(|error| no_postgres(&error))?;
    Cluster::start(&installation, options, &mut |progress| {
        note(progress.to_string())
    })
    .map_err(|error| not_started(error, options))
}

fn no_postgres(error: &FindError) -> Fault {
    let cause = match error {
        FindError::NotFound { looked_at } => format!(
            "No PostgreSQL server is installed (looked at: {})",
            looked_at.join(", ")
        ),
        FindError::TooOld { bin, major } => {
            format!("The PostgreSQL in {} is version {major}", bin.display())
        }
        other => format!("No PostgreSQL can be used: {other}"),
    };
    Fault::new(
        Exit::NoPostgres,
        cause,
        format!(
            "Install PostgreSQL {} or newer (Debian: apt install postgresql; macOS: brew install postgresql@17), \
             or name the directory of its programs in DEED_PG_BIN",
            local_postgres::OLDEST_MAJOR
        ),
    )
}

/// What the person who runs `deed dev` can mend, in two sentences; else the error as it is.
fn not_started(error: StartError, options: &Options) -> anyhow::Error {
    let (cause, mend) = match &error {
        StartError::AlreadyRunning { .. } => (
            format!(
                "A `deed dev` is running in this directory already ({})",
                options.directory.display()
            ),
            "Stop it, or name another directory with --directory".to_owned(),
        ),
        StartError::OtherMajor {
            data,
            found,
            installed,
            ..
        } => (
            format!(
                "The data in {} were written by PostgreSQL {found}, and the one that was found is version {installed}",
                data.display()
            ),
            format!(
                "Name the programs of PostgreSQL {found} in DEED_PG_BIN, or start with an empty directory: --directory .deed-{installed}"
            ),
        ),
        StartError::NotOurs { directory } => (
            format!(
                "{} is not empty, and holds no data of PostgreSQL",
                directory.display()
            ),
            "Name another directory with --directory".to_owned(),
        ),
        _ => return error.into(),
    };
    Fault::new(Exit::DataDirectory, cause, mend).into()
}

async fn cluster_ended(cluster: &Cluster) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(500));
    while cluster.is_running() {
        ticks.tick().await;
    }
}

/// Says what runs where, and how to try it.
fn introduce(url: &str, base: &str, key_file: &Path, root_key_file: &Path, has_docs: bool) {
    let key_file = key_file.display();
    say("\nDeed is running. Ctrl-C stops it; what it has stored stays.\n");
    say(format!("  database   {url}"));
    say(format!("  api        {base}"));
    if has_docs {
        say(format!("  docs       {base}/docs"));
    }
    say(format!("  key file   {key_file}  (user {EMAIL})"));
    say(format!("  root key   {}", root_key_file.display()));
    say("\nTry it, in another terminal:\n");
    say(format!(
        "  curl -N {base}/stream -H \"X-API-Key: $(cat '{key_file}')\" -H 'Content-Type: application/json' \\"
    ));
    say(
        "    -d '{\"type\":\"echo\",\"input\":{\"text\":\"Deed keeps its word\",\"delay_ms\":400}}'\n",
    );
}

/// Makes sure that there is a first user, and that `dev.key` holds a key of it that works.
async fn first_key(identities: &Identities, home: &Home) -> anyhow::Result<()> {
    let user = first_user(identities).await?;
    if user.status != UserStatus::Active {
        bail!(
            "the user {EMAIL} is disabled, so no key of it can work; enable it with PATCH /users/{} and the root key under `deed serve`",
            user.id
        );
    }
    let file = home.path("dev.key");
    if let Ok(text) = fs::read_to_string(&file)
        && identities
            .authenticator
            .authenticate(text.trim())
            .await?
            .is_some()
    {
        return Ok(());
    }
    let scopes = Permission::ALL.into_iter().map(Scope::all);
    let request = KeyRequest {
        name: KeyName::parse("deed dev")?,
        scopes: ScopeSet::of(scopes)?,
        expires_at: None,
    };
    let issued = identities
        .issue_key
        .issue(user.id, request, &Attribution::OPERATOR)
        .await?;
    replace_private_file(&file, issued.secret.reveal())
}

async fn first_user(identities: &Identities) -> anyhow::Result<User> {
    let email = Email::parse(EMAIL)?;
    let filter = UserFilter {
        email: Some(email.clone()),
        ..UserFilter::default()
    };
    let page = PageRequest {
        limit: Limit::default(),
        after: None,
    };
    let found = identities.users.list(&filter, page).await?;
    if let Some(user) = found.items.into_iter().next() {
        return Ok(user);
    }
    let registration = Registration {
        email,
        name: DisplayName::parse("Developer")?,
        password: users::unknown_password(identities.ids.as_ref())?,
        external_id: None,
    };
    users::register(identities, registration).await
}

/// The directory that everything of `deed dev` is kept in.
struct Home(PathBuf);

impl Home {
    fn make(directory: &Path) -> anyhow::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder
            .create(directory)
            .with_context(|| format!("the directory {} can't be made", directory.display()))?;
        let directory = directory
            .canonicalize()
            .with_context(|| format!("the directory {} can't be reached", directory.display()))?;
        // Never committed, whatever the project's own rules say.
        let ignore = directory.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n")
                .with_context(|| format!("{} can't be written", ignore.display()))?;
        }
        Ok(Self(directory))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The secret in the file of that name, made once.
    fn secret_file(
        &self,
        name: &str,
        make: impl FnOnce() -> anyhow::Result<PlainSecret>,
    ) -> anyhow::Result<String> {
        let file = self.path(name);
        match fs::read_to_string(&file) {
            Ok(text) => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("{} can't be read", file.display()));
            }
        }
        let secret = make()?.reveal().to_owned();
        replace_private_file(&file, &secret)?;
        Ok(secret)
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn replace_private_file(file: &Path, content: &str) -> anyhow::Result<()> {
    let draft = file.with_extension("new");
    let write = || -> io::Result<()> {
        // A draft that an interrupted run has left could have any permissions.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        writeln!(out, "{content}")?;
        out.sync_all()?;
        fs::rename(&draft, file)
    };
    write().with_context(|| format!("{} can't be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::make(&directory.path().join("a/.deed")).unwrap();
        let made = home
            .secret_file("root.key", || {
                Ok(PlainSecret::generate(SecretKind::ApiKey, || [7; 64]))
            })
            .unwrap();
        let again = home
            .secret_file("root.key", || bail!("made twice"))
            .unwrap();
        assert_eq!(made, again);
        let mode = fs::metadata(home.path("root.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_to_string(home.path(".gitignore")).unwrap(), "*\n");
    }

    #[test]
    fn a_draft_of_an_interrupted_run_is_no_hindrance() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dev.key");
        fs::write(directory.path().join("dev.new"), "left behind").unwrap();
        replace_private_file(&file, "secret").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "secret\n");
    }
}
