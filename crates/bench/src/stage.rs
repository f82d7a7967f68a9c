//! What a scenario plays on: a PostgreSQL of its own with its defaults, a server, a user, and keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use deed_client::Client;
use deed_client::api::api_key::CreateApiKey;
use deed_client::api::user::CreateUser;
use local_postgres::{Cluster, Installation, Options};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::terminal::say;

/// The operator's key of the server.
const ROOT_KEY: &str = "the-root-key-of-the-bench-and-of-nothing-else";
/// How long the server may take to serve, and to end.
const PATIENCE: Duration = Duration::from_secs(35);

/// What a scenario plays on. Dropping it ends everything.
pub(crate) struct Stage {
    server: Child,
    cluster: Cluster,
    base: String,
    /// The server's binary.
    pub(crate) binary: PathBuf,
    /// The directory of PostgreSQL's programs.
    pub(crate) programs: PathBuf,
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// For whom everything is performed.
    pub(crate) user: Uuid,
    /// The secret of a key of the user.
    pub(crate) secret: String,
}

impl Stage {
    /// Starts a new PostgreSQL with its defaults and the server `binary` on it.
    pub(crate) async fn set(binary: &Path, pg_bin: Option<&Path>) -> anyhow::Result<Self> {
        if !binary.is_file() {
            bail!(
                "there is no server at {}; `cargo xtask bench` builds it",
                binary.display()
            );
        }
        let installation = Installation::find(pg_bin)?;
        let programs = installation.bin().to_owned();
        let cluster = tokio::task::spawn_blocking(move || {
            let options = Options {
                user: "deed".to_owned(),
                database: "deed".to_owned(),
                fresh: true,
                unreachable_base: PathBuf::from("/var/lib/deed-dev"),
                ..Options::new("target/bench-postgres")
            };
            Cluster::start(&installation, &options, &mut |progress| say(progress))
        })
        .await??;
        let mut server = serve(
            binary,
            &cluster.url(),
            &["--migrate", "--listen", "127.0.0.1:0"],
        )?;
        let base = listening(&mut server).await?;
        let address = base.trim_start_matches("http://").parse()?;
        let root = client(&base, ROOT_KEY)?;
        let user = root
            .create_user(&CreateUser {
                email: "bench@example.com".to_owned(),
                name: "Bench".to_owned(),
                password: "never used by anybody".to_owned(),
                external_id: None,
            })
            .await?
            .id;
        let key = root
            .as_user(user)
            .create_api_key(&CreateApiKey {
                name: "bench".to_owned(),
                scopes: [
                    "actions:read",
                    "actions:write",
                    "actions:work",
                    "types:write",
                    "users:read",
                ]
                .map(str::to_owned)
                .to_vec(),
                expires_at: None,
            })
            .await?;
        Ok(Self {
            server,
            cluster,
            base,
            binary: binary.to_owned(),
            programs,
            address,
            user,
            secret: key.secret,
        })
    }

    /// A client with a key of the user, with connections of its own.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        client(&self.base, &self.secret)
    }

    /// Where the database is.
    pub(crate) fn url(&self) -> String {
        self.cluster.url()
    }

    /// The server's process.
    pub(crate) fn process(&self) -> anyhow::Result<u32> {
        self.server.id().context("the server has ended")
    }

    /// A connection to the database, beside the server's.
    pub(crate) async fn connect(&self) -> anyhow::Result<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::connect(&self.cluster.url(), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Asked to end, so that its connections are gone before PostgreSQL is told to stop.
        if let Some(id) = self.server.id()
            && let Ok(id) = i32::try_from(id)
            && let Some(pid) = Pid::from_raw(id)
        {
            // One that has ended needs no asking.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// Starts the server `binary` on a database.
pub(crate) fn serve(binary: &Path, url: &str, arguments: &[&str]) -> anyhow::Result<Child> {
    Command::new(binary)
        .arg("serve")
        .args(arguments)
        .env_clear()
        .env("RUST_LOG", "warn,deed_server=info")
        .env("DATABASE_URL", url)
        .env("DEED_ROOT_KEY", ROOT_KEY)
        .env("DEED_METRICS_LISTEN", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} can't be run", binary.display()))
}

fn client(base: &str, secret: &str) -> anyhow::Result<Client> {
    Ok(Client::builder(base).api_key(secret).build()?)
}

/// Waits until the server says where it listens; passes on what it says.
pub(crate) async fn listening(server: &mut Child) -> anyhow::Result<String> {
    let said = server.stderr.take().context("the server has no output")?;
    let mut lines = BufReader::new(said).lines();
    let find = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, rest)) = line.split_once("listening on ")
                && let Some(base) = rest.split(['"', ' ']).next()
            {
                return Ok(base.to_owned());
            }
            say(&line);
        }
        bail!("the server ended before it listened")
    };
    let base = tokio::time::timeout(PATIENCE, find)
        .await
        .context("the server does not listen")??;
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            say(line);
        }
    });
    Ok(base)
}
