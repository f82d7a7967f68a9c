//! What the doctor looks at, in the order in which one thing needs the other.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use deed_adapters::clock::SystemClock;
use deed_adapters::postgres::examine::{self, Examined};
use deed_adapters::postgres::housekeeping::missing_partitions;
use deed_adapters::postgres::{Database, migrate};
use deed_domain::ports::Clock as _;

use super::Finding;
use crate::commands::DatabaseArguments;
use crate::preflight::{self, Need};
use crate::settings::{Secret, Settings};
use crate::{environment, limits, probe, serve};

/// How far the clocks may be apart: ids carry this machine's time, and are compared with those of other replicas.
const SKEW: Duration = Duration::from_secs(2);
/// Connections that a replica holds beside its pool: the one that listens, and those of commands.
const BESIDE_POOL: u32 = 4;
/// The least open files that a server should be allowed: each stream and each connection is one.
const FILES: u64 = 4096;
/// The least free room where the database lies, as a part of the whole and in bytes.
const FREE_PART: u64 = 20;
const FREE_LEAST: u64 = 1 << 30;
/// How long the server that may run already has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes all checks, and tells each finding as soon as it is known.
pub(super) async fn run(
    settings: &Settings,
    arguments: &DatabaseArguments,
    tell: &mut (dyn FnMut(Finding) + Send),
) {
    tell(variables());
    tell(consistency(settings));
    tell(root_key(settings));
    tell(open_files(limits::open_files()));
    tell(address(settings.listen).await);
    match arguments.url() {
        Ok(url) => database(settings, &url, tell).await,
        Err(fault) => {
            tell(Finding::of("database", &fault));
            skip_all(tell);
        }
    }
}

fn variables() -> Finding {
    const CHECK: &str = "variables";
    match environment::refuse_unknown(&crate::cli::command()) {
        Ok(()) => Finding::well(CHECK, "every DEED_ variable is a setting"),
        Err(fault) => Finding::of(CHECK, &fault),
    }
}

fn consistency(settings: &Settings) -> Finding {
    const CHECK: &str = "settings";
    match settings.check() {
        Ok(()) => Finding::well(CHECK, "they don't contradict each other"),
        Err(fault) => Finding::of(CHECK, &fault),
    }
}

fn root_key(settings: &Settings) -> Finding {
    const CHECK: &str = "root key";
    match settings.root_key() {
        Ok(Some(_)) => Finding::well(CHECK, "set, and strong enough"),
        Ok(None) => Finding::well(
            CHECK,
            "none; users and keys are made by `deed users` and `deed keys`",
        ),
        Err(fault) => Finding::of(CHECK, &fault),
    }
}

fn open_files(limit: Option<u64>) -> Finding {
    const CHECK: &str = "open files";
    match limit {
        None => Finding::well(CHECK, "without a limit"),
        Some(limit) if limit >= FILES => Finding::well(CHECK, format!("up to {limit}")),
        Some(limit) => Finding::fault(
            CHECK,
            format!("This process may open {limit} files, and every stream needs one"),
            format!(
                "Raise the limit to {FILES} or more: LimitNOFILE= in the systemd unit, --ulimit nofile= of the container, or `ulimit -n`"
            ),
        ),
    }
}

async fn address(listen: SocketAddr) -> Finding {
    const CHECK: &str = "address";
    let fault = match serve::bind(listen) {
        Ok(_) => return Finding::well(CHECK, format!("{listen} is free")),
        Err(fault) => fault,
    };
    match probe::get(listen, "/livez", PATIENCE).await {
        Ok(answer) if answer.status == 200 && answer.body.contains(r#""status":"ok""#) => {
            Finding::well(CHECK, format!("a server answers at {listen} already"))
        }
        _ => Finding::of(CHECK, &fault),
    }
}

/// The checks that need the database.
const OF_DATABASE: [&str; 9] = [
    "database is writable",
    "durability",
    "clock",
    "connections",
    "sessions",
    "LISTEN",
    "migrations",
    "partitions",
    "disk",
];

fn skip_all(tell: &mut (dyn FnMut(Finding) + Send)) {
    for check in OF_DATABASE {
        tell(Finding::skipped(
            check,
            "not looked at without the database",
        ));
    }
}

async fn database(settings: &Settings, url: &Secret, tell: &mut (dyn FnMut(Finding) + Send)) {
    let url = url.reveal();
    let examined = match examine::examine(url).await {
        Ok(examined) => examined,
        Err(error) => {
            tell(Finding::of("database", &preflight::out_of_reach(&error)));
            return skip_all(tell);
        }
    };
    let place = examine::describe(url).unwrap_or_default();
    tell(Finding::well(
        "database",
        format!("PostgreSQL {} at {place}", examined.version),
    ));
    writable(&examined, tell);
    durability(&examined, tell);
    tell(clock(&examined));
    tell(connections(&examined, settings.pool_size));
    tell(sessions(url).await);
    tell(listen(url).await);
    schema(url, tell).await;
    tell(disk(&examined));
}

fn writable(examined: &Examined, tell: &mut (dyn FnMut(Finding) + Send)) {
    const CHECK: &str = "database is writable";
    let faults = preflight::faults(examined, Need::Write);
    if faults.is_empty() {
        tell(Finding::well(
            CHECK,
            format!("user {} in schema {}", examined.role, examined.schema),
        ));
    }
    for fault in faults {
        tell(Finding::of(CHECK, &fault));
    }
}

fn durability(examined: &Examined, tell: &mut (dyn FnMut(Finding) + Send)) {
    const CHECK: &str = "durability";
    let written = preflight::faults(examined, Need::Write);
    let mut faults = preflight::faults(examined, Need::Durable);
    faults.retain(|fault| !written.contains(fault));
    let mut is_well = faults.is_empty();
    for fault in faults {
        tell(Finding::of(CHECK, &fault));
    }
    if !examined.full_page_writes {
        is_well = false;
        tell(Finding::fault(
            CHECK,
            "full_page_writes is off: a power cut in the middle of a write could leave a page that nothing can mend",
            "Run ALTER SYSTEM SET full_page_writes = on, then SELECT pg_reload_conf(); leave it off only on a file system that never tears pages",
        ));
    }
    if is_well {
        tell(Finding::well(CHECK, "what is committed is on disk"));
    }
}

fn clock(examined: &Examined) -> Finding {
    const CHECK: &str = "clock";
    let apart = SystemClock
        .now()
        .signed_duration_since(examined.clock)
        .abs();
    let apart = apart.to_std().unwrap_or_default();
    let surely = apart.saturating_sub(examined.clock_uncertainty);
    if surely > SKEW {
        let apart = humantime::format_duration(Duration::from_secs(apart.as_secs()));
        return Finding::fault(
            CHECK,
            format!("This machine's clock and the database's are {apart} apart"),
            "Keep both in step with NTP (timedatectl set-ntp true)",
        );
    }
    Finding::well(
        CHECK,
        format!(
            "in step with the database, to {} ms",
            TimeDelta::from_std(apart)
                .unwrap_or_default()
                .num_milliseconds()
        ),
    )
}

fn connections(examined: &Examined, pool_size: u16) -> Finding {
    const CHECK: &str = "connections";
    let wanted = u32::from(pool_size) + BESIDE_POOL;
    let room = examined
        .max_connections
        .saturating_sub(examined.reserved_connections);
    if wanted > room {
        return Finding::fault(
            CHECK,
            format!(
                "A replica with DEED_POOL_SIZE={pool_size} takes up to {wanted} connections, and PostgreSQL has room for {room}"
            ),
            "Lower DEED_POOL_SIZE, or raise max_connections and restart PostgreSQL",
        );
    }
    Finding::well(
        CHECK,
        format!(
            "up to {wanted} of this replica, {} in use by all, room for {room}",
            examined.connections
        ),
    )
}

async fn sessions(url: &str) -> Finding {
    const CHECK: &str = "sessions";
    const MEND: &str = "Connect to PostgreSQL itself; a pooler between has to pass the start-up parameter `options` on";
    let outcome = match Database::new(url, 1) {
        Ok(database) => database
            .settings_not_taken()
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(lost) if lost.is_empty() => {
            Finding::well(CHECK, "they take the settings that Deed gives them")
        }
        Ok(lost) => Finding::fault(
            CHECK,
            format!(
                "Something between drops the settings of Deed's sessions: {}",
                lost.join(", ")
            ),
            MEND,
        ),
        Err(reason) => Finding::fault(
            CHECK,
            format!("Sessions with Deed's settings are refused: {reason}"),
            MEND,
        ),
    }
}

async fn listen(url: &str) -> Finding {
    const CHECK: &str = "LISTEN";
    match examine::round_trip(url).await {
        Ok(Some(took)) => Finding::well(
            CHECK,
            format!(
                "a notification arrives within {} ms",
                took.as_millis().max(1)
            ),
        ),
        Ok(None) => Finding::fault(
            CHECK,
            "A notification does not arrive: a pooler in transaction mode stands between, or something that drops messages",
            "Name PostgreSQL itself in DATABASE_URL, or set the pooler to session mode (pool_mode = session)",
        ),
        Err(error) => Finding::of(CHECK, &preflight::out_of_reach(&error)),
    }
}

async fn schema(url: &str, tell: &mut (dyn FnMut(Finding) + Send)) {
    let Ok(database) = Database::new(url, 1) else {
        return;
    };
    let (migrations, behind) = match migrate::lacking(&database).await {
        Ok(lacking) => match serve::refuse_when_behind(&lacking) {
            Ok(()) => (Finding::well("migrations", "none is lacking"), false),
            Err(fault) => (Finding::of("migrations", &fault), true),
        },
        Err(error) => (Finding::skipped("migrations", error.to_string()), true),
    };
    tell(migrations);
    if behind {
        tell(Finding::skipped(
            "partitions",
            "not looked at before the migrations",
        ));
        return;
    }
    tell(
        match missing_partitions(&database, SystemClock.now()).await {
            Ok(missing) if missing.is_empty() => {
                Finding::well("partitions", "the coming 14 days have room")
            }
            Ok(missing) => Finding::fault(
                "partitions",
                format!(
                    "There is no partition for {}",
                    missing
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                "Start a server, which makes them; if one runs, its log says why it can't",
            ),
            Err(error) => Finding::skipped("partitions", error.to_string()),
        },
    );
}

fn disk(examined: &Examined) -> Finding {
    const CHECK: &str = "disk";
    if !examined.is_local {
        return Finding::skipped(CHECK, "not looked at: the database runs on another machine");
    }
    let Some(directory) = &examined.data_directory else {
        return Finding::skipped(
            CHECK,
            "not looked at: this user may not know where the database lies",
        );
    };
    match limits::disk(Path::new(directory)) {
        Some(disk) => room(directory, disk),
        None => Finding::skipped(
            CHECK,
            format!("not looked at: {directory} can't be reached from here"),
        ),
    }
}

fn room(directory: &str, disk: limits::Disk) -> Finding {
    const CHECK: &str = "disk";
    const MIB: u64 = 1 << 20;
    let limits::Disk { free, size } = disk;
    let least = (size / FREE_PART).min(FREE_LEAST);
    if free < least {
        return Finding::fault(
            CHECK,
            format!(
                "{} MiB are free where the database lies ({directory})",
                free / MIB
            ),
            "Make room before PostgreSQL stops: remove what is not its own, or grow the volume",
        );
    }
    Finding::well(CHECK, format!("{} MiB free in {directory}", free / MIB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_a_fault() {
        const GIB: u64 = 1 << 30;
        for (free, size, expected) in [
            (GIB - 1, 100 * GIB, true),
            (GIB, 100 * GIB, false),
            // A small volume needs a twentieth.
            (GIB / 20, GIB, false),
            (GIB / 21, GIB, true),
        ] {
            let found = room("/d", limits::Disk { free, size });
            assert_eq!(found.is_fault(), expected, "{free} of {size}");
        }
    }

    #[test]
    fn few_open_files_are_a_fault() {
        assert!(open_files(Some(1024)).is_fault());
        assert!(!open_files(Some(4096)).is_fault());
        assert!(!open_files(None).is_fault());
    }

    #[tokio::test]
    async fn an_address_that_something_else_holds_is_a_fault() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        // It has to end the connection for the test to be quick.
        std::thread::spawn(move || drop(other.accept()));
        assert!(address(taken).await.is_fault());
        assert!(!address("127.0.0.1:0".parse().unwrap()).await.is_fault());
    }
}
