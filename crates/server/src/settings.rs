//! Settings: flag, variable, default and help of each from one definition.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use deed_domain::key_limits::KeyLimits;
use deed_domain::secret::RootKey;
use zeroize::Zeroizing;

use crate::fault::{Exit, Fault};

/// Where the server listens unless it is told otherwise.
pub(crate) const LISTEN: &str = "127.0.0.1:8080";

/// Less would take an action away before its idempotency key, more would be partitions without number.
const RETENTION: RangeInclusive<Duration> =
    Duration::from_secs(24 * 3600)..=Duration::from_secs(3650 * 24 * 3600);

/// How many bytes a file with a secret may have.
const SECRET_MAX: usize = 64 * 1024;

/// How the server behaves. Everything has a default but the database.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// Address and port to serve on
    #[arg(
        long,
        env = "DEED_LISTEN",
        default_value = LISTEN,
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,

    /// Address and port to serve the metrics on, or `off`
    #[arg(
        long,
        env = "DEED_METRICS_LISTEN",
        default_value = "127.0.0.1:9464",
        value_name = "ADDRESS|off"
    )]
    pub metrics_listen: MetricsListen,

    /// The operator's key, at least 32 visible ASCII characters; better given by file
    #[arg(
        long,
        env = "DEED_ROOT_KEY",
        value_name = "KEY",
        hide_env_values = true,
        conflicts_with = "root_key_file"
    )]
    pub root_key: Option<Secret>,

    /// File that holds the operator's key
    #[arg(long, env = "DEED_ROOT_KEY_FILE", value_name = "FILE")]
    pub root_key_file: Option<PathBuf>,

    /// Let anybody register a user without a key
    #[arg(long, env = "DEED_OPEN_REGISTRATION", default_value_t = false, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub open_registration: bool,

    /// Origins that browsers may call from, separated by commas, each exactly as browsers send it
    #[arg(
        long,
        env = "DEED_CORS_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGINS"
    )]
    pub cors_origins: Vec<String>,

    /// How long POST /actions waits for the end unless the client says otherwise
    #[arg(long, env = "DEED_WAIT", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub wait: Duration,

    /// The longest that a client may ask to wait
    #[arg(long, env = "DEED_MAX_WAIT", default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub max_wait: Duration,

    /// The fewest characters of a new password, 8 to 128
    #[arg(long, env = "DEED_PASSWORD_MIN", default_value_t = 8, value_parser = clap::value_parser!(u16).range(8..=128), value_name = "CHARACTERS")]
    pub password_min: u16,

    /// Serve /docs, /openapi.json and /problems
    #[arg(long, env = "DEED_DOCS", default_value = "on", action = clap::ArgAction::Set, value_parser = switch, value_name = "on|off")]
    pub docs: bool,

    /// How many connections to the database requests share
    #[arg(long, env = "DEED_POOL_SIZE", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "CONNECTIONS")]
    pub pool_size: u16,

    /// How many actions are performed inside this server at a time; 0 leaves them to others
    #[arg(long, env = "DEED_RUNNER_SLOTS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(0..=10_000), value_name = "ACTIONS")]
    pub runner_slots: u16,

    /// How long one stream lasts at the most before its client has to resume it
    #[arg(long, env = "DEED_STREAM_MAX_AGE", default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub stream_max_age: Duration,

    /// How long actions are kept with their results and events, 1d to 3650d; months go as a whole, below 14d weeks, once their last day is older
    #[arg(long, env = "DEED_RETENTION", default_value = "30d", value_parser = retention, value_name = "DURATION")]
    pub retention: Duration,

    /// How many requests a second one key may make of this server; 0 is no limit
    #[arg(long, env = "DEED_RATE_LIMIT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000), value_name = "REQUESTS")]
    pub rate_limit: u32,

    /// How many event streams one key may have open at this server; 0 is no limit
    #[arg(long, env = "DEED_STREAMS_PER_KEY", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000), value_name = "STREAMS")]
    pub streams_per_key: u32,

    /// How many actions of one key may wait, at all servers together; 0 is no limit
    #[arg(long, env = "DEED_QUEUED_PER_KEY", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000), value_name = "ACTIONS")]
    pub queued_per_key: u32,
}

/// Where metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsListen {
    /// Nowhere.
    Off,
    /// At this address.
    On(SocketAddr),
}

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map(Self::On);
        address.map_err(|_| "write it as 127.0.0.1:9464, or off".to_owned())
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, else JSON
    Auto,
    /// For people
    Text,
    /// One object a line
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogSettings {
    /// What to log, as in `info` or `deed_adapters=debug,warn`
    #[arg(
        long = "log",
        env = "RUST_LOG",
        default_value = "info,actix_server=warn",
        value_name = "FILTER",
        global = true
    )]
    pub(crate) filter: String,

    /// How log lines look
    #[arg(
        long,
        env = "DEED_LOG_FORMAT",
        default_value = "auto",
        value_enum,
        value_name = "FORMAT",
        global = true
    )]
    pub(crate) log_format: LogFormat,
}

/// A text that never prints.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl Secret {
    /// What stands in `file`, without the line break at its end. `setting` named the file.
    ///
    /// # Errors
    /// When it can't be read, or is no text.
    pub(crate) fn from_file(file: &Path, setting: &str) -> Result<Self, Fault> {
        let opened = File::open(file).map_err(|error| error.to_string());
        opened.and_then(Self::read).map_err(|reason| {
            Fault::new(
                Exit::SecretFile,
                format!(
                    "{setting} names {}, which can't be read: {reason}",
                    file.display()
                ),
                "Mend the path, or let the user that runs deed read the file (and nobody else)",
            )
        })
    }

    /// What comes over standard input, without the line break at its end.
    ///
    /// # Errors
    /// When it can't be read, is no text, or has no end.
    pub(crate) fn from_stdin() -> Result<Self, Fault> {
        let said = Self::read(std::io::stdin().lock());
        said.map_err(|reason| {
            Fault::new(
                Exit::SecretFile,
                format!("Standard input can't be read: {reason}"),
                "Give it the secret alone",
            )
        })
    }

    /// At the most [`SECRET_MAX`] bytes, without the line break at their end; else why not.
    fn read(source: impl Read) -> Result<Self, String> {
        let bytes = read_at_most(source, SECRET_MAX).map_err(|error| error.to_string())?;
        if bytes.len() > SECRET_MAX {
            return Err(format!("it is larger than {SECRET_MAX} bytes"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is no text".to_owned())?;
        Ok(Self::from(text.trim_end_matches(['\n', '\r'])))
    }

    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Settings {
    /// The defaults, with the environment's changes.
    ///
    /// # Errors
    /// When a variable holds what its setting can't be.
    pub fn from_environment() -> anyhow::Result<Self> {
        crate::environment::refuse_unknown(&crate::cli::command())?;
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            settings: Settings,
        }
        let only = <Only as clap::Parser>::try_parse_from(["deed"])?;
        Ok(only.settings)
    }

    /// The operator's key, if one is set.
    ///
    /// # Errors
    /// When the file can't be read, or the key is weak.
    pub(crate) fn root_key(&self) -> Result<Option<RootKey>, Fault> {
        let text = match (&self.root_key, &self.root_key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(file)) => Secret::from_file(file, "DEED_ROOT_KEY_FILE")?,
            (None, None) => return Ok(None),
        };
        let key = RootKey::parse(text.reveal()).map_err(|error| {
            Fault::new(
                Exit::WeakSecret,
                format!("The root key is too weak: {error}"),
                "Make one with `openssl rand -hex 32`, and keep it in the file that DEED_ROOT_KEY_FILE names",
            )
        })?;
        Ok(Some(key))
    }

    /// The origins that browsers may call from; a variable that is set to nothing names none.
    pub(crate) fn origins(&self) -> &[String] {
        match self.cors_origins.as_slice() {
            [nothing] if nothing.is_empty() => &[],
            origins => origins,
        }
    }

    /// How much each key may use.
    pub(crate) fn key_limits(&self) -> KeyLimits {
        KeyLimits {
            requests_per_second: NonZeroU32::new(self.rate_limit),
            streams: NonZeroU32::new(self.streams_per_key),
            queued: NonZeroU32::new(self.queued_per_key),
        }
    }

    /// Checks what one setting alone can't know.
    ///
    /// # Errors
    /// Says which settings contradict each other, or which origin can't be one.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.wait > self.max_wait {
            return Err(Fault::new(
                Exit::Configuration,
                "DEED_WAIT is longer than DEED_MAX_WAIT",
                "Lower the one or raise the other",
            ));
        }
        if self.stream_max_age < Duration::from_secs(1) {
            return Err(Fault::new(
                Exit::Configuration,
                "DEED_STREAM_MAX_AGE is too short for a stream to tell anything",
                "Make it 1s or more",
            ));
        }
        if self.listen.port() != 0 && self.metrics_listen == MetricsListen::On(self.listen) {
            return Err(Fault::new(
                Exit::Configuration,
                "DEED_LISTEN and DEED_METRICS_LISTEN are the same address",
                "Give the metrics a port of their own, or switch them off with DEED_METRICS_LISTEN=off",
            ));
        }
        for origin in self.origins() {
            if !is_origin(origin) {
                return Err(Fault::new(
                    Exit::Configuration,
                    format!("DEED_CORS_ORIGINS: {origin:?} is no origin"),
                    "Write it as https://app.example.com or http://localhost:5173",
                ));
            }
        }
        Ok(())
    }
}

/// What `source` holds, or a little more than `limit` bytes of it: a device has no end.
fn read_at_most(source: impl Read, limit: usize) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    source.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `scheme://host[:port]` and nothing behind it: what browsers send as `Origin`.
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '*', ' ', '?', '#', '@']))
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write it as 10s, 500ms or 10m".to_owned())
}

fn retention(text: &str) -> Result<Duration, String> {
    let retention = humantime::parse_duration(text).map_err(|_| "write it as 30d".to_owned())?;
    if !RETENTION.contains(&retention) {
        return Err("must be from 1d to 3650d".to_owned());
    }
    Ok(retention)
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        settings: Settings,
    }

    const ROOT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

    fn parse(arguments: &[&str]) -> Result<Settings, clap::Error> {
        let all = std::iter::once("deed").chain(arguments.iter().copied());
        Only::try_parse_from(all).map(|only| only.settings)
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(
            (settings.wait.as_secs(), settings.max_wait.as_secs()),
            (10, 60)
        );
        assert_eq!((settings.pool_size, settings.runner_slots), (16, 64));
        assert_eq!(
            (settings.password_min, settings.stream_max_age.as_secs()),
            (8, 600)
        );
        assert_eq!(settings.retention.as_secs(), 30 * 24 * 3600);
        assert!(settings.docs && !settings.open_registration && settings.cors_origins.is_empty());
        assert_eq!(settings.key_limits(), KeyLimits::NONE);
        settings.check().unwrap();
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for wrong in [
            ["--password-min=7"],
            ["--password-min=129"],
            ["--pool-size=0"],
            ["--wait=ten"],
            ["--docs=maybe"],
            ["--retention=23h"],
            ["--retention=3651d"],
            ["--retention=30"],
            ["--listen=8080"],
            ["--rate-limit=-1"],
            ["--rate-limit=0.5"],
            ["--streams-per-key=1000001"],
            ["--queued-per-key=none"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn origins_are_exact() {
        for wrong in [
            "*",
            "example.com",
            "https://",
            "https://a.example/",
            "https://*.example",
            "ftp://a.example",
        ] {
            let settings = parse(&["--cors-origins", wrong]).unwrap();
            assert!(settings.check().is_err(), "{wrong}");
        }
        let settings =
            parse(&["--cors-origins", "https://a.example,http://localhost:5173"]).unwrap();
        settings.check().unwrap();
        assert_eq!(settings.origins().len(), 2);
        let nothing = parse(&["--cors-origins", ""]).unwrap();
        nothing.check().unwrap();
        assert!(nothing.origins().is_empty());
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let limits = |arguments: &[&str]| parse(arguments).unwrap().key_limits();
        let expected = KeyLimits {
            requests_per_second: NonZeroU32::new(50),
            streams: None,
            queued: NonZeroU32::new(1_000_000),
        };
        let said = [
            "--rate-limit=50",
            "--streams-per-key=0",
            "--queued-per-key=1000000",
        ];
        assert_eq!(limits(&said), expected);
    }

    #[test]
    fn metrics_have_an_address_of_their_own_or_none() {
        let at = |arguments: &[&str]| parse(arguments).unwrap().metrics_listen;
        let standard = "127.0.0.1:9464".parse().unwrap();
        assert_eq!(at(&[]), MetricsListen::On(standard));
        assert_eq!(at(&["--metrics-listen=off"]), MetricsListen::Off);
        for wrong in ["on", "9464", "Off", ""] {
            assert!(parse(&["--metrics-listen", wrong]).is_err(), "{wrong}");
        }
        let same = parse(&["--listen=[::1]:99", "--metrics-listen=[::1]:99"]).unwrap();
        let fault = same.check().unwrap_err().to_string();
        assert!(fault.contains("DEED_METRICS_LISTEN"), "{fault}");
        let chosen = parse(&["--listen=[::1]:0", "--metrics-listen=[::1]:0"]).unwrap();
        chosen.check().unwrap();
    }

    #[test]
    fn a_stream_lasts_for_a_second_at_the_least() {
        let short = parse(&["--stream-max-age=999ms"]).unwrap();
        let fault = short.check().unwrap_err().to_string();
        assert!(fault.contains("DEED_STREAM_MAX_AGE"), "{fault}");
        parse(&["--stream-max-age=1s"]).unwrap().check().unwrap();
    }

    #[test]
    fn waits_must_not_contradict_each_other() {
        let settings = parse(&["--wait=2m"]).unwrap();
        assert!(
            settings
                .check()
                .unwrap_err()
                .to_string()
                .contains("DEED_MAX_WAIT")
        );
    }

    #[test]
    fn a_root_key_comes_from_a_file_without_its_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("root.key");
        std::fs::write(&file, format!("{ROOT}\n")).unwrap();
        let settings = parse(&["--root-key-file", file.to_str().unwrap()]).unwrap();
        assert_eq!(
            settings.root_key().unwrap(),
            Some(RootKey::parse(ROOT).unwrap())
        );
        std::fs::write(&file, "short").unwrap();
        assert!(
            settings
                .root_key()
                .unwrap_err()
                .to_string()
                .contains("32 characters")
        );
        std::fs::remove_file(&file).unwrap();
        assert!(
            settings
                .root_key()
                .unwrap_err()
                .to_string()
                .contains("root.key")
        );
    }

    #[test]
    fn a_secret_s_file_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "k".repeat(SECRET_MAX)).unwrap();
        assert!(Secret::from_file(&file, "X").is_ok());
        std::fs::write(&file, "k".repeat(SECRET_MAX + 1)).unwrap();
        for endless in [file.as_path(), Path::new("/dev/zero")] {
            let fault = Secret::from_file(endless, "X").unwrap_err();
            assert_eq!(fault.exit, Exit::SecretFile);
            assert!(fault.cause().contains("larger"), "{fault}");
        }
    }

    #[test]
    fn settings_never_print_the_root_key() {
        let settings = parse(&["--root-key", &"k".repeat(40)]).unwrap();
        assert!(!format!("{settings:?}").contains("kkkk"));
    }
}
