//! What a start promises, on real PostgreSQL. Each test has a directory and a server of its own.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use local_postgres::{Cluster, Installation, Options, Progress, StartError};
use tempfile::TempDir;

/// How long to wait for a fact before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A directory that the account `postgres` can enter, should the test run as root.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

fn installation() -> Installation {
    Installation::find(None).unwrap()
}

fn start(options: &Options) -> Result<Cluster, StartError> {
    Cluster::start(&installation(), options, &mut |_| {})
}

/// The first column of the first row of the answer, asked by a client that knows nothing but the URL.
fn ask(url: &str, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let rows = client.simple_query(sql).await.unwrap();
        drop(client);
        driver.await.unwrap().unwrap();
        rows.into_iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some(row.get(0).unwrap_or_default().to_owned())
                }
                _ => None,
            })
            .unwrap_or_default()
    })
}

/// Waits until `fact` holds.
fn eventually(what: &str, fact: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !fact() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

fn is_alive(pid: i32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::test_kill_process(pid).is_ok()
}

fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Another process that runs a server in `directory` until it is killed or its standard input ends.
struct Owner {
    process: Child,
    url: String,
    server: i32,
}

impl Owner {
    fn start(directory: &Path) -> Self {
        use std::io::{BufRead as _, BufReader};
        let mut process = Command::new(env!("CARGO_BIN_EXE_local-postgres"))
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.next().unwrap().unwrap();
        let server = lines.next().unwrap().unwrap().parse().unwrap();
        Self {
            process,
            url,
            server,
        }
    }

    fn finish(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }

    fn kill(mut self) -> i32 {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.server
    }
}

#[test]
fn what_was_written_is_there_after_the_next_start() {
    let directory = open_directory();
    let options = Options {
        user: "ada".into(),
        database: "a b".into(),
        ..Options::new(directory.path().join("pg"))
    };
    let cluster = start(&options).unwrap();
    assert_eq!(
        ask(
            &cluster.url(),
            "SELECT current_user || ' in ' || current_database()"
        ),
        "ada in a b"
    );
    ask(&cluster.url(), "CREATE TABLE t AS SELECT 42 AS n");
    let (pid, socket) = (
        cluster.pid(),
        cluster.socket_directory().join(".s.PGSQL.5432"),
    );
    cluster.stop().unwrap();
    assert!(!is_alive(pid) && !socket.exists());

    let mut said = Vec::new();
    let cluster = Cluster::start(&installation(), &options, &mut |progress| {
        said.push(progress.clone())
    })
    .unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT n FROM t"), "42");
    assert_eq!(
        said,
        [Progress::Starting {
            major: cluster.major()
        }]
    );
}

#[test]
fn a_database_that_is_asked_for_later_is_created() {
    let directory = open_directory();
    let options = Options::new(directory.path());
    drop(start(&options).unwrap());
    let cluster = start(&Options {
        database: "later".into(),
        ..options
    })
    .unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT current_database()"), "later");
    assert_eq!(
        ask(&cluster.url_for("postgres"), "SELECT current_database()"),
        "postgres"
    );
}

#[test]
fn the_server_is_private_and_durable() {
    let directory = open_directory();
    let settings = vec![
        ("max_connections".into(), "37".into()),
        ("listen_addresses".into(), "*".into()),
        ("unix_socket_directories".into(), "/tmp".into()),
    ];
    let cluster = start(&Options {
        settings,
        ..Options::new(directory.path())
    })
    .unwrap();
    let url = cluster.url();
    for (setting, expected) in [
        ("listen_addresses", ""),
        ("fsync", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("timezone", "UTC"),
        ("max_connections", "37"),
    ] {
        assert_eq!(ask(&url, &format!("SHOW {setting}")), expected, "{setting}");
    }
    assert_eq!(
        ask(
            &url,
            "SELECT min(datcollate) || max(datcollate) FROM pg_database"
        ),
        "CC"
    );
    let socket = fs::metadata(cluster.socket_directory().join(".s.PGSQL.5432")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o777, 0o700, "the socket");
    for private in [
        cluster.socket_directory(),
        &cluster.data_directory(),
        directory.path(),
    ] {
        assert_eq!(
            fs::metadata(private).unwrap().mode() & 0o777,
            0o700,
            "{private:?}"
        );
    }
    assert!(
        fs::read_to_string(cluster.log_file())
            .unwrap()
            .contains("ready to accept connections")
    );
}

#[test]
fn a_fresh_start_deletes_what_was_there() {
    let directory = open_directory();
    let options = Options {
        fresh: true,
        ..Options::new(directory.path())
    };
    let cluster = start(&options).unwrap();
    ask(&cluster.url(), "CREATE TABLE t ()");
    drop(cluster);
    let cluster = start(&options).unwrap();
    assert_eq!(
        ask(
            &cluster.url(),
            "SELECT count(*) FROM pg_tables WHERE tablename = 't'"
        ),
        "0"
    );
}

#[test]
fn a_second_start_is_told_that_one_is_running() {
    let directory = open_directory();
    let owner = Owner::start(directory.path());
    for fresh in [false, true] {
        let error = start(&Options {
            fresh,
            ..Options::new(directory.path())
        })
        .unwrap_err();
        let StartError::AlreadyRunning { holder, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*holder, Some(owner.process.id()));
        assert!(error.to_string().contains("already running"), "{error}");
    }
    assert_eq!(ask(&owner.url, "SELECT 1"), "1");
    owner.finish();
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_owner_takes_its_server_along() {
    let directory = open_directory();
    let server = Owner::start(directory.path()).kill();
    eventually("the server has ended", || !is_alive(server));
}

#[test]
fn the_next_start_after_a_kill_succeeds_at_once() {
    let directory = open_directory();
    let owner = Owner::start(directory.path());
    ask(
        &owner.url,
        "CREATE TABLE t AS SELECT generate_series(1, 100000) AS n",
    );
    let server = owner.kill();
    // No wait: the old server is still writing its checkpoint.
    let cluster = start(&Options::new(directory.path())).unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT count(*) FROM t"), "100000");
    eventually("the old server has ended", || !is_alive(server));
}

#[test]
fn a_server_that_was_left_over_is_stopped() {
    let directory = open_directory();
    let options = Options::new(directory.path());
    let cluster = start(&options).unwrap();
    let (data, socket) = (
        cluster.data_directory(),
        cluster.socket_directory().to_owned(),
    );
    cluster.stop().unwrap();
    // As on a system without a death signal: nobody owns this server.
    let mut left_over = as_owner_of(&data, &installation().bin().join("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=", "-k"])
        .arg(&socket)
        .current_dir(&socket)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ready =
        || fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.contains("ready"));
    eventually("the left-over server is ready", ready);

    let mut said = Vec::new();
    let cluster = Cluster::start(&installation(), &options, &mut |progress| {
        said.push(progress.to_string())
    })
    .unwrap();
    assert!(left_over.wait().unwrap().success());
    assert!(
        said.iter()
            .any(|line| line.contains(&left_over.id().to_string())),
        "{said:?}"
    );
    assert_eq!(ask(&cluster.url(), "SELECT 1"), "1");
}

/// A command that runs as whoever owns `data`.
fn as_owner_of(data: &Path, program: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    let metadata = fs::metadata(data).unwrap();
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        command.uid(metadata.uid()).gid(metadata.gid());
    }
    command
}

/// A process that has nothing to do with PostgreSQL; ended with the test.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_stale_pid_that_belongs_to_a_stranger_now_does_not_matter() {
    let directory = open_directory();
    let options = Options::new(directory.path());
    let cluster = start(&options).unwrap();
    let (data, socket, pid) = (
        cluster.data_directory(),
        cluster.socket_directory().to_owned(),
        cluster.pid(),
    );
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let lock = fs::read_to_string(socket.join(".s.PGSQL.5432.lock")).unwrap();
    cluster.stop().unwrap();
    // What a crash of the machine leaves behind, when the number has been given to another process of the same account.
    let mut stranger = Stranger(
        as_owner_of(&data, Path::new("sleep"))
            .arg("600")
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let (old, new) = (pid.to_string(), stranger.0.id().to_string());
    for (file, text) in [
        (data.join("postmaster.pid"), pid_file),
        (socket.join(".s.PGSQL.5432.lock"), lock),
    ] {
        assert!(text.starts_with(&old), "{text}");
        fs::write(&file, text.replacen(&old, &new, 1)).unwrap();
        let owner = fs::metadata(&data).unwrap();
        std::os::unix::fs::chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let cluster = start(&options).unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT 1"), "1");
    assert_eq!(
        stranger.0.try_wait().unwrap(),
        None,
        "a stranger was killed"
    );
}

#[test]
fn a_killed_server_recovers_at_the_next_start() {
    let directory = open_directory();
    let options = Options::new(directory.path());
    let cluster = start(&options).unwrap();
    ask(&cluster.url(), "CREATE TABLE t AS SELECT 42 AS n");
    kill(cluster.pid(), rustix::process::Signal::KILL);
    eventually("the end of the server is noticed", || !cluster.is_running());
    cluster.stop().unwrap();
    let cluster = start(&options).unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT n FROM t"), "42");
}

#[test]
fn data_of_another_major_version_are_refused_with_what_to_do() {
    let directory = open_directory();
    let options = Options::new(directory.path());
    let cluster = start(&options).unwrap();
    let data = cluster.data_directory();
    cluster.stop().unwrap();
    fs::write(data.join("PG_VERSION"), "12\n").unwrap();
    let error = start(&options).unwrap_err();
    assert!(
        matches!(&error, StartError::OtherMajor { found, .. } if found == "12"),
        "{error:?}"
    );
    for word in [
        "PostgreSQL 12",
        "move the directory away",
        data.to_str().unwrap(),
    ] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(data.join("global").is_dir(), "the data are untouched");
}

#[test]
fn an_initdb_that_was_cut_off_is_begun_anew() {
    let directory = open_directory();
    let cluster = start(&Options::new(directory.path())).unwrap();
    drop(cluster);
    // As far as a killed initdb had come.
    let unfinished = directory.path().join("data.unfinished.1");
    fs::rename(directory.path().join("data"), &unfinished).unwrap();
    fs::remove_file(unfinished.join("PG_VERSION")).unwrap();
    let cluster = start(&Options::new(directory.path())).unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT 1"), "1");
    assert!(!unfinished.exists());
}

#[test]
fn an_initdb_whose_owner_was_killed_is_begun_anew_at_once() {
    let directory = open_directory();
    let mut owner = Command::new(env!("CARGO_BIN_EXE_local-postgres"))
        .arg(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let unfinished = directory
        .path()
        .join(format!("data.unfinished.{}", owner.id()));
    eventually("initdb writes", || unfinished.join("base").exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(!directory.path().join("data").exists());
    let cluster = start(&Options::new(directory.path())).unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT 1"), "1");
}

#[test]
fn a_server_that_does_not_start_shows_the_end_of_its_log() {
    let directory = open_directory();
    let settings = vec![("no_such_setting".to_owned(), "1".to_owned())];
    let error = start(&Options {
        settings,
        ..Options::new(directory.path())
    })
    .unwrap_err();
    assert!(matches!(error, StartError::NotStarted { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("unrecognized configuration parameter \"no_such_setting\""),
        "{error}"
    );
    start(&Options::new(directory.path())).unwrap();
}

#[test]
fn a_failing_initdb_shows_what_it_said() {
    let directory = open_directory();
    let error = start(&Options {
        user: "pg_reserved".into(),
        ..Options::new(directory.path())
    })
    .unwrap_err();
    assert!(matches!(error, StartError::Initdb { .. }), "{error:?}");
    assert!(error.to_string().contains("pg_reserved"), "{error}");
    start(&Options::new(directory.path())).unwrap();
}

#[test]
fn a_long_path_gets_a_short_socket() {
    let directory = open_directory();
    let long = directory
        .path()
        .join("a-directory-with-a-rather-long-name".repeat(3));
    let cluster = start(&Options::new(&long)).unwrap();
    let socket = cluster.socket_directory().to_owned();
    assert!(
        socket.join(".s.PGSQL.5432").as_os_str().len() < 100,
        "{socket:?}"
    );
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
    assert_eq!(ask(&cluster.url(), "SELECT 1"), "1");
    cluster.stop().unwrap();
    assert!(!socket.exists(), "the short directory is removed");
}

#[test]
fn a_directory_with_quotes_commas_and_spaces_works() {
    let directory = open_directory();
    let cluster = start(&Options::new(directory.path().join("a, \"b\" & 'c' % ü"))).unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT 1"), "1");
}

#[test]
fn a_closed_folder_works_for_root_too() {
    let base = open_directory();
    let folder = open_directory();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let asked = folder.path().join("clone/pg");
    let options = Options {
        unreachable_base: base.path().join("data"),
        ..Options::new(&asked)
    };
    let mut said = Vec::new();
    let cluster = Cluster::start(&installation(), &options, &mut |progress| {
        said.push(progress.to_string())
    })
    .unwrap();
    ask(&cluster.url(), "CREATE TABLE t AS SELECT 42 AS n");
    let expected: PathBuf = if rustix::process::geteuid().is_root() {
        options.unreachable_base.clone()
    } else {
        asked
    };
    let data = cluster.data_directory();
    assert!(
        data.starts_with(fs::canonicalize(expected).unwrap()),
        "{data:?}"
    );
    if rustix::process::geteuid().is_root() {
        assert!(
            said.iter()
                .any(|line| line.contains(data.parent().unwrap().to_str().unwrap())),
            "{said:?}"
        );
    }
    let error = start(&options).unwrap_err();
    assert!(
        matches!(error, StartError::AlreadyRunning { .. }),
        "{error:?}"
    );
    cluster.stop().unwrap();

    // A folder that has moved finds its data, and another one in its place gets data of its own.
    let moved = folder.path().join("moved");
    fs::rename(folder.path().join("clone"), &moved).unwrap();
    let other = start(&options).unwrap();
    let cluster = start(&Options {
        directory: moved.join("pg"),
        ..options
    })
    .unwrap();
    assert_eq!(ask(&cluster.url(), "SELECT n FROM t"), "42");
    assert_eq!(
        ask(
            &other.url(),
            "SELECT count(*) FROM pg_tables WHERE tablename = 't'"
        ),
        "0"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn the_server_has_no_rights_of_root_and_a_group_of_its_own() {
    let directory = open_directory();
    let cluster = start(&Options::new(directory.path())).unwrap();
    assert_ne!(
        fs::metadata(format!("/proc/{}", cluster.pid()))
            .unwrap()
            .uid(),
        0
    );
    let group = rustix::process::getpgid(rustix::process::Pid::from_raw(cluster.pid())).unwrap();
    assert_eq!(
        group.as_raw_nonzero().get(),
        cluster.pid(),
        "Ctrl-C at a terminal must not reach the server"
    );
}

#[test]
fn the_server_lives_on_when_the_thread_that_started_it_ends() {
    let directory = open_directory();
    let options = Options::new(directory.path());
    let cluster = std::thread::spawn(move || start(&options).unwrap())
        .join()
        .unwrap();
    // A fast shutdown refuses new connections at once; several round trips give the signal time to arrive.
    for _ in 0..10 {
        assert_eq!(ask(&cluster.url(), "SELECT 1"), "1");
    }
    assert!(cluster.is_running());
}

#[test]
fn open_connections_do_not_delay_the_stop() {
    let directory = open_directory();
    let cluster = start(&Options::new(directory.path())).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connected = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&cluster.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
        (client, tokio::spawn(connection))
    });
    let began = Instant::now();
    cluster.stop().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    drop(connected);
}

#[test]
fn the_tool_stops_its_server_when_its_input_ends() {
    let directory = open_directory();
    let owner = Owner::start(directory.path());
    let server = owner.server;
    owner.finish();
    assert!(!is_alive(server));
}
