//! The Debian package: what it lays down, that it serves, and that it goes without a trace.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::chroot::{Chroot, text};
use super::proxies;
use super::service::{Service, free_address, status};
use crate::package::VERSION;
use crate::terminal::say;

/// What has to be there once it is installed.
const INSTALLED: [&str; 9] = [
    "/usr/bin/deed",
    "/lib/systemd/system/deed.service",
    "/etc/deed/deed.env",
    "/usr/share/man/man1/deed.1.gz",
    "/usr/share/man/man1/deed-serve.1.gz",
    "/usr/share/bash-completion/completions/deed",
    "/usr/share/zsh/vendor-completions/_deed",
    "/usr/share/fish/vendor_completions.d/deed.fish",
    "/usr/share/doc/deed/copyright",
];
/// What may be there after `remove`: the configuration, until `purge`.
const CONFIGURATION: [&str; 3] = ["/etc/deed", "/etc/deed/deed.env", "/etc/deed/root.key"];
/// What this test and the proxies write, which is not the package's.
const TRACES: [&str; 4] = ["/tmp/", "/run/", "/var/lib/nginx/", "/root/"];
const ROOT_KEY: &str = "/etc/deed/root.key";
const ENVIRONMENT: &str = "/etc/deed/deed.env";

pub(super) fn check(chroot: &Chroot, deb: &Path, url: &str) -> anyhow::Result<()> {
    let before = chroot.files()?;
    let accounts = accounts(chroot)?;
    fs::copy(deb, chroot.path("/tmp/deed.deb"))?;

    say("Installing …");
    chroot.run(&["dpkg", "--install", "/tmp/deed.deb"])?;
    check_files(chroot)?;
    check_not_enabled(chroot)?;
    check_unprivileged(chroot)?;
    let key = fs::read_to_string(chroot.path(ROOT_KEY))?;

    say("Serving …");
    check_serves(chroot, url)?;

    say("Upgrading, removing, purging …");
    chroot.run(&["dpkg", "--install", "/tmp/deed.deb"])?;
    ensure!(
        fs::read_to_string(chroot.path(ROOT_KEY))? == key,
        "an upgrade has changed the root key"
    );
    ensure!(
        fs::read_to_string(chroot.path(ENVIRONMENT))?.contains(url),
        "an upgrade has thrown the configuration away"
    );
    chroot.run(&["dpkg", "--remove", "deed"])?;
    let left = left_behind(chroot, &before)?;
    let expected: BTreeSet<String> = CONFIGURATION.map(str::to_owned).into();
    let left: BTreeSet<String> = left
        .into_iter()
        // systemd's helper remembers that the unit was there, until it is purged.
        .filter(|file| !file.contains("/systemd/"))
        .collect();
    ensure!(left == expected, "removing has left behind {left:?}");
    chroot.run(&["dpkg", "--purge", "deed"])?;
    let left = left_behind(chroot, &before)?;
    ensure!(left.is_empty(), "purging has left behind {left:?}");
    ensure!(
        self::accounts(chroot)? == accounts,
        "purging has left an account behind"
    );
    Ok(())
}

fn check_files(chroot: &Chroot) -> anyhow::Result<()> {
    for file in INSTALLED {
        // /lib is /usr/lib on the systems of today.
        ensure!(chroot.path(file).is_file(), "the package lacks {file}");
    }
    let deed = account(chroot, "deed")?;
    for (path, mode, owner, group) in [
        ("/usr/bin/deed", 0o755, 0, 0),
        ("/etc/deed", 0o750, 0, deed.group),
        (ENVIRONMENT, 0o640, 0, deed.group),
        // The service manager alone reads it.
        (ROOT_KEY, 0o600, 0, 0),
    ] {
        let found = fs::metadata(chroot.path(path)).with_context(|| path.to_owned())?;
        let found = (
            found.permissions().mode() & 0o7777,
            found.uid(),
            found.gid(),
        );
        ensure!(
            found == (mode, owner, group),
            "{path} has mode {:o}, owner {}, group {}",
            found.0,
            found.1,
            found.2
        );
    }
    let key = fs::read_to_string(chroot.path(ROOT_KEY))?;
    ensure!(key.len() == 44, "the root key has {} characters", key.len());
    Ok(())
}

/// There is nothing to serve until somebody has said where the database is.
fn check_not_enabled(chroot: &Chroot) -> anyhow::Result<()> {
    let wanted = chroot.path("/etc/systemd/system/multi-user.target.wants/deed.service");
    ensure!(
        fs::symlink_metadata(wanted).is_err(),
        "installing has enabled the service"
    );
    Ok(())
}

fn check_unprivileged(chroot: &Chroot) -> anyhow::Result<()> {
    let directory = chroot.path("/tmp/empty");
    fs::create_dir(&directory)?;
    let words = ["sh", "-c", "cd /tmp/empty && deed version"];
    let said = text(&words, chroot.command("nobody:nogroup", &words).output()?)?;
    ensure!(said.contains(VERSION), "`deed version` says {said:?}");
    let words = ["cat", ENVIRONMENT];
    let refused = chroot.command("nobody:nogroup", &words).output()?;
    ensure!(!refused.status.success(), "anybody can read {ENVIRONMENT}");
    fs::remove_dir(directory)?;
    Ok(())
}

/// Starts it as the unit does: as `deed`, with the variables of the file, and with the root key that only it can read.
fn check_serves(chroot: &Chroot, url: &str) -> anyhow::Result<()> {
    let address = free_address()?;
    let mut settings = fs::read_to_string(chroot.path(ENVIRONMENT))?;
    settings.push_str(&format!("DATABASE_URL={url}\nDEED_LISTEN={address}\n"));
    fs::write(chroot.path(ENVIRONMENT), &settings)?;
    let deed = account(chroot, "deed")?;
    let credential = chroot.path("/tmp/root.key");
    fs::copy(chroot.path(ROOT_KEY), &credential)?;
    chown(&credential, Some(deed.user), Some(deed.group))?;
    fs::set_permissions(&credential, fs::Permissions::from_mode(0o400))?;

    let as_deed = |words: &[&str]| {
        let mut command = chroot.command("deed:deed", words);
        let lines = settings.lines().filter(|line| !line.starts_with('#'));
        command.envs(lines.filter_map(|line| line.split_once('=')));
        command
    };
    let words = ["deed", "migrate", "up"];
    text(&words, as_deed(&words).output()?)?;
    let serve = exec_start(chroot)?.replace("${CREDENTIALS_DIRECTORY}", "/tmp");
    let words: Vec<&str> = serve.split(' ').collect();
    let service = Service::start(as_deed(&words), address, chroot.path("/tmp/deed.log"))?;
    ensure!(
        status(address, "/users")? == 401,
        "somebody without a key was let in"
    );
    let words = ["deed", "healthcheck"];
    text(&words, as_deed(&words).output()?)?;
    let root_key = fs::read_to_string(&credential)?;
    let user = proxies::user(address, &root_key)?;
    proxies::check(chroot, address, &root_key, &user)?;
    service.stop()
}

/// The command line in the unit file.
fn exec_start(chroot: &Chroot) -> anyhow::Result<String> {
    let unit = fs::read_to_string(chroot.path("/lib/systemd/system/deed.service"))?;
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    Ok(line.context("the unit starts nothing")?.to_owned())
}

/// What is there now and was not `before`, but for the traces of this test and of the proxies.
fn left_behind(chroot: &Chroot, before: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
    let is_ours = |file: &&String| !TRACES.iter().any(|start| file.starts_with(start));
    let now = chroot.files()?;
    Ok(now.difference(before).filter(is_ours).cloned().collect())
}

struct Account {
    user: u32,
    group: u32,
}

/// The numbers of an account in the chroot.
fn account(chroot: &Chroot, name: &str) -> anyhow::Result<Account> {
    let passwd = fs::read_to_string(chroot.path("/etc/passwd"))?;
    let start = format!("{name}:");
    let Some(line) = passwd.lines().find(|line| line.starts_with(&start)) else {
        bail!("there is no account {name}")
    };
    let mut fields = line.split(':').skip(2);
    let mut number = || -> anyhow::Result<u32> {
        Ok(fields
            .next()
            .context("a line of passwd is short")?
            .parse()?)
    };
    Ok(Account {
        user: number()?,
        group: number()?,
    })
}

/// Everybody who is known in the chroot.
fn accounts(chroot: &Chroot) -> anyhow::Result<String> {
    let mut lines = String::new();
    for file in ["/etc/passwd", "/etc/group", "/etc/shadow"] {
        lines.push_str(&fs::read_to_string(chroot.path(file))?);
    }
    Ok(lines)
}
