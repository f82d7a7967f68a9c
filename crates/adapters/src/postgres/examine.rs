//! What a database server is like, seen by connections of its own: for refusing one that can't keep Deed's promises,
//! and for finding out what is wrong with one.

use std::future::poll_fn;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// The oldest major version of PostgreSQL that the statements are written for.
pub const OLDEST_MAJOR: u32 = 15;

/// How long connecting may take, to one of the hosts.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the server may take to answer what is asked of it.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a notification may be on its way.
const HEARD: Duration = Duration::from_secs(3);

/// Everything that is asked, each as text: what stands between may not know more than the simple protocol.
const QUESTIONS: &str = "SELECT
  current_setting('server_version') AS version,
  pg_is_in_recovery()::text AS is_standby,
  current_setting('transaction_read_only') AS read_only,
  current_setting('fsync') AS fsync,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('full_page_writes') AS full_page_writes,
  current_setting('max_connections') AS max_connections,
  current_setting('superuser_reserved_connections') AS reserved_connections,
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::text AS connections,
  (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text AS clock,
  current_database() AS database,
  current_user::text AS role,
  coalesce(current_schema(), '') AS schema,
  coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::text AS may_create,
  coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), '') AS data_directory";

/// What a server says of itself to the user of the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// As it writes it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// Whether it only replays another server's log.
    pub is_standby: bool,
    /// Whether transactions can't write; so on a standby, and where a database or role is set so.
    pub is_read_only: bool,
    /// Whether it waits for the disk at all.
    pub fsync: bool,
    /// Whether it answers a COMMIT only when it is on disk here.
    pub waits_for_commit: bool,
    /// Whether a page torn by a power cut can be mended.
    pub full_page_writes: bool,
    /// How many connections it takes.
    pub max_connections: u32,
    /// How many of them are kept for superusers.
    pub reserved_connections: u32,
    /// How many clients are connected now.
    pub connections: u32,
    /// Its clock.
    pub clock: DateTime<Utc>,
    /// How far off that reading may be: half of the time that it took.
    pub clock_uncertainty: Duration,
    /// The database's name.
    pub database: String,
    /// The user's name.
    pub role: String,
    /// Where tables would be made; empty where nowhere.
    pub schema: String,
    /// Whether the user may make tables there.
    pub may_create: bool,
    /// Where its files are, if the user may know.
    pub data_directory: Option<String>,
    /// Whether it runs on this machine, as far as the address tells.
    pub is_local: bool,
}

/// Why a server can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExamineError {
    /// The URL can't be understood.
    #[error("the database URL is not valid: {0}")]
    Url(String),
    /// The URL asks for an encrypted connection, which is not there yet.
    #[error("the database URL asks for TLS")]
    Tls,
    /// Nobody answers.
    #[error("no PostgreSQL answers: {0}")]
    Unreachable(String),
    /// The user, its password or the database's name is refused.
    #[error("PostgreSQL refuses the connection: {0}")]
    Refused(String),
    /// It answers, and can't take connections just now.
    #[error("PostgreSQL takes no connection just now: {0}")]
    Busy(String),
    /// Older than [`OLDEST_MAJOR`]; the version as it writes it.
    #[error("PostgreSQL {0} is too old")]
    TooOld(String),
    /// It answered something that can't be understood.
    #[error("PostgreSQL answered otherwise than expected: {0}")]
    Odd(String),
}

/// Connects to `url` as its user, without any setting of ours, and asks.
///
/// # Errors
/// [`ExamineError`], within about ten seconds for each host of the URL.
pub async fn examine(url: &str) -> Result<Examined, ExamineError> {
    let config = config(url)?;
    let (session, _) = Session::open(&config).await?;
    let asked = Instant::now();
    let row = session.row(QUESTIONS).await?;
    let uncertainty = asked.elapsed() / 2;
    examined(&row, uncertainty, is_local(&config))
}

/// Where `url` leads, as `user@host:port/database`: everything but what is secret.
///
/// # Errors
/// When it can't be understood.
pub fn describe(url: &str) -> Result<String, ExamineError> {
    let config = config(url)?;
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(path) => path.display().to_string(),
            }
        })
        .collect();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    Ok(format!("{user}@{}/{database}", hosts.join(",")))
}

/// How long a notification takes from one connection to another. `None` when it did not come in time: something
/// between doesn't keep a session to one client, as a pooler in transaction mode.
///
/// # Errors
/// When a connection can't be made, or refuses LISTEN or NOTIFY.
pub async fn round_trip(url: &str) -> Result<Option<Duration>, ExamineError> {
    let config = config(url)?;
    let (listening, mut heard) = Session::open(&config).await?;
    let (speaking, _) = Session::open(&config).await?;
    let channel = format!(
        "deed_doctor_{:016x}",
        getrandom::u64().map_err(|error| ExamineError::Odd(error.to_string()))?
    );
    listening.run(&format!("LISTEN {channel}")).await?;
    let sent = Instant::now();
    speaking.run(&format!("NOTIFY {channel}")).await?;
    let arrived = timeout(HEARD, async {
        while let Some(name) = heard.recv().await {
            if name == channel {
                return true;
            }
        }
        false
    });
    Ok(arrived.await.unwrap_or(false).then(|| sent.elapsed()))
}

fn config(url: &str) -> Result<Config, ExamineError> {
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        ExamineError::Url(match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        })
    })?;
    if config.get_hosts().is_empty() {
        return Err(ExamineError::Url("it names no host".to_owned()));
    }
    if config.get_ssl_mode() == SslMode::Require {
        return Err(ExamineError::Tls);
    }
    if config.get_application_name().is_none() {
        config.application_name("deed");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    Ok(config)
}

/// Whether every host of the URL is this machine.
fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

/// A connection whose driver ends with it.
struct Session {
    client: Client,
    driver: tokio::task::AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects, and answers the names of the channels that it hears of.
    async fn open(config: &Config) -> Result<(Self, mpsc::Receiver<String>), ExamineError> {
        let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(1);
        let (client, mut connection) = timeout(CONNECT * (hosts + 1), config.connect(NoTls))
            .await
            .map_err(|_| ExamineError::Unreachable("no answer in time".to_owned()))?
            .map_err(|error| meaning(&error))?;
        let version = connection
            .parameter("server_version")
            .unwrap_or_default()
            .to_owned();
        if major(&version).is_some_and(|major| major < OLDEST_MAJOR) {
            return Err(ExamineError::TooOld(version));
        }
        let (sender, heard) = mpsc::channel(16);
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message {
                    // Nobody waits for more than a few.
                    let _ = sender.try_send(notification.channel().to_owned());
                }
            }
        })
        .abort_handle();
        Ok((Self { client, driver }, heard))
    }

    async fn messages(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, ExamineError> {
        timeout(ANSWER, self.client.simple_query(sql).boxed())
            .await
            .map_err(|_| ExamineError::Unreachable("it stopped answering".to_owned()))?
            .map_err(|error| meaning(&error))
    }

    async fn run(&self, sql: &str) -> Result<(), ExamineError> {
        self.messages(sql).await.map(drop)
    }

    async fn row(&self, sql: &str) -> Result<SimpleQueryRow, ExamineError> {
        let messages = self.messages(sql).await?;
        messages
            .into_iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .ok_or_else(|| ExamineError::Odd("no row".to_owned()))
    }
}

/// `15` of `15.18 (Debian 15.18-0+deb12u1)` and of `15beta2`.
fn major(version: &str) -> Option<u32> {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn examined(
    row: &SimpleQueryRow,
    clock_uncertainty: Duration,
    is_local: bool,
) -> Result<Examined, ExamineError> {
    let text = |name: &str| {
        row.try_get(name)
            .ok()
            .flatten()
            .map(str::to_owned)
            .ok_or_else(|| ExamineError::Odd(format!("no {name}")))
    };
    let number = |name: &str| {
        text(name)?
            .parse::<u32>()
            .map_err(|_| ExamineError::Odd(format!("{name} is no number")))
    };
    let clock = text("clock")?
        .parse()
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .ok_or_else(|| ExamineError::Odd("its clock can't be read".to_owned()))?;
    Ok(Examined {
        version: text("version")?,
        is_standby: text("is_standby")? == "true",
        is_read_only: text("read_only")? == "on",
        fsync: text("fsync")? == "on",
        // `local` is on disk here as well, and only doesn't wait for a standby.
        waits_for_commit: text("synchronous_commit")? != "off",
        full_page_writes: text("full_page_writes")? == "on",
        max_connections: number("max_connections")?,
        reserved_connections: number("reserved_connections")?,
        connections: number("connections")?,
        clock,
        clock_uncertainty,
        database: text("database")?,
        role: text("role")?,
        schema: text("schema")?,
        may_create: text("may_create")? == "true",
        data_directory: Some(text("data_directory")?).filter(|path| !path.is_empty()),
        is_local,
    })
}

fn meaning(error: &tokio_postgres::Error) -> ExamineError {
    let Some(refusal) = error.as_db_error() else {
        let text = match std::error::Error::source(error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        };
        // Wrong values of the URL that only connecting shows, such as no user, or a password that is asked for.
        return match error.to_string().as_str() {
            text if text.contains("invalid configuration") => ExamineError::Refused(
                std::error::Error::source(error).map_or(text.to_owned(), ToString::to_string),
            ),
            _ => ExamineError::Unreachable(text),
        };
    };
    let words = refusal.message().to_owned();
    let code = refusal.code();
    if *code == SqlState::INVALID_PASSWORD
        || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
        || *code == SqlState::INVALID_CATALOG_NAME
        || *code == SqlState::INSUFFICIENT_PRIVILEGE
    {
        ExamineError::Refused(words)
    } else if *code == SqlState::TOO_MANY_CONNECTIONS
        || *code == SqlState::CANNOT_CONNECT_NOW
        || *code == SqlState::ADMIN_SHUTDOWN
    {
        ExamineError::Busy(words)
    } else {
        ExamineError::Odd(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        for (version, expected) in [
            ("15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("9.6.24", Some(9)),
            ("18beta1", Some(18)),
            ("", None),
        ] {
            assert_eq!(major(version), expected, "{version}");
        }
    }

    #[test]
    fn urls_are_refused_before_anybody_is_asked() {
        for (url, expected) in [
            ("mysql://a@b/c", "is not valid"),
            ("postgres:///deed", "names no host"),
            ("postgres://deed@db/deed?sslmode=require", "asks for TLS"),
            ("postgres://deed@db/deed?nonsense=1", "is not valid"),
        ] {
            let error = config(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn where_a_url_leads_is_told_without_its_password() {
        for (url, expected) in [
            ("postgres://a:hunter2@db/deed", "a@db:5432/deed"),
            ("postgres://a:hunter2@db:1,[::2]:3/x", "a@db:1,[::2]:3/x"),
            (
                "postgres://a@/x?host=%2Frun%2Fpg&password=hunter2",
                "a@/run/pg/x",
            ),
        ] {
            assert_eq!(describe(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        for (url, expected) in [
            ("postgres://deed@127.0.0.1/deed", true),
            ("postgres://deed@[::1]/deed", true),
            ("postgres://deed@localhost/deed", true),
            ("postgres://deed@/deed?host=%2Frun%2Fpostgresql", true),
            ("postgres://deed@db.example/deed", false),
            ("postgres://deed@localhost,db.example/deed", false),
        ] {
            assert_eq!(is_local(&config(url).unwrap()), expected, "{url}");
        }
    }
}
