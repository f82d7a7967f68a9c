//! The container image, made and run by the Dockerfile's own steps where no engine is at hand.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::dockerfile::{self, Stage};
use super::service::{Service, free_address};
use crate::cargo::{output, root, run};
use crate::package::VERSION;
use crate::terminal::say;

const DOCKERFILE: &str = "crates/server/packaging/Dockerfile";
const DOCKERIGNORE: &str = "crates/server/packaging/Dockerfile.dockerignore";
/// Where the Dockerfile puts the image's files, and finds the binary.
const IMAGE: &str = "/image";
const BUILT: &str = "target/*/release/deed";
/// All that the image holds.
const FILES: [&str; 3] = ["deed", "etc/group", "etc/passwd"];

pub(super) fn check(directory: &Path, binary: &Path, url: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(root().join(DOCKERFILE))?;
    let stages = dockerfile::stages(&text).context(DOCKERFILE)?;
    let [build, last] = stages.as_slice() else {
        bail!("{DOCKERFILE} has {} stages, not two", stages.len())
    };
    let copied = copied(build)?;
    check_context(&copied)?;
    check_reads(&copied)?;

    let image = directory.join("image");
    lay_out(build, binary, &image)?;
    let is_static = lay_libraries(binary, &image)?;
    say(if is_static {
        "The image's binary needs no library."
    } else {
        "The binary is linked dynamically, so its libraries are laid beside it; the Dockerfile links it statically."
    });
    make_devices(&image)?;
    let served = serve(last, &image, directory, url);
    fs::remove_dir_all(&image)?;
    served
}

/// What the build's stage copies from the repository.
fn copied(build: &Stage) -> anyhow::Result<Vec<String>> {
    let mut copied = Vec::new();
    for arguments in build.all("COPY") {
        let mut words: Vec<&str> = arguments.split_whitespace().collect();
        words.pop().context("COPY without a destination")?;
        copied.extend(words.iter().map(ToString::to_string));
    }
    ensure!(!copied.is_empty(), "{DOCKERFILE} copies nothing");
    Ok(copied)
}

/// What is copied exists, and is not kept from the engine.
fn check_context(copied: &[String]) -> anyhow::Result<()> {
    let ignore = fs::read_to_string(root().join(DOCKERIGNORE))?;
    for path in copied {
        ensure!(
            root().join(path).exists(),
            "{DOCKERFILE} copies {path}, which does not exist"
        );
        ensure!(
            ignore
                .lines()
                .any(|line| line.strip_prefix('!') == Some(path)),
            "{DOCKERIGNORE} keeps {path} from being copied"
        );
    }
    Ok(())
}

/// Every file of the repository that the compiler has read for this binary is copied.
fn check_reads(copied: &[String]) -> anyhow::Result<()> {
    let list = root().join("target/package-stage/release/deed.d");
    let text =
        fs::read_to_string(&list).with_context(|| format!("{} can't be read", list.display()))?;
    let mut count = 0;
    for file in read_by_compiler(&text) {
        let Ok(path) = file.strip_prefix(root()) else {
            continue;
        };
        // What build scripts have written, they write there too.
        if path.starts_with("target") {
            continue;
        }
        count += 1;
        ensure!(
            copied.iter().any(|start| path.starts_with(start)),
            "the build reads {}, which {DOCKERFILE} does not copy",
            path.display()
        );
    }
    ensure!(count > 50, "the compiler has read {count} files only");
    Ok(())
}

/// The files in a list as make reads it; a space in a name is written with a backslash.
fn read_by_compiler(list: &str) -> Vec<PathBuf> {
    let Some((_, files)) = list.lines().next().and_then(|line| line.split_once(": ")) else {
        return Vec::new();
    };
    files
        .replace("\\ ", "\0")
        .split(' ')
        .map(|file| PathBuf::from(file.replace('\0', " ")))
        .collect()
}

/// Runs the steps that make the image's files, each with the directory and the binary of this test.
fn lay_out(build: &Stage, binary: &Path, image: &Path) -> anyhow::Result<()> {
    drop(fs::remove_dir_all(image));
    let steps = build.all("RUN");
    let [compile, lay] = steps.as_slice() else {
        bail!("{DOCKERFILE} runs {} steps, not two", steps.len())
    };
    for word in [
        "--release",
        "--locked",
        "--package deed-server",
        "--bin deed",
    ] {
        ensure!(compile.contains(word), "the build lacks {word}: {compile}");
    }
    ensure!(
        lay.contains(BUILT),
        "the binary is not taken from {BUILT}: {lay}"
    );
    let step = lay
        .replace(IMAGE, &image.display().to_string())
        .replace(BUILT, &binary.display().to_string());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &step]);
    run(shell)?;
    let files: BTreeSet<String> = crate::tidy::files::all(image)?.into_iter().collect();
    ensure!(
        files == FILES.map(str::to_owned).into(),
        "the image holds {files:?}"
    );
    Ok(())
}

/// Lays the libraries beside a binary that needs some; answers whether it needs none.
fn lay_libraries(binary: &Path, image: &Path) -> anyhow::Result<bool> {
    let mut ldd = Command::new("ldd");
    ldd.arg(binary);
    // It fails for a static binary.
    let text = output(ldd).unwrap_or_default();
    let libraries: Vec<PathBuf> = text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    for library in &libraries {
        let to = image.join(library.strip_prefix("/")?);
        fs::create_dir_all(to.parent().context("a library without directory")?)?;
        fs::copy(library, to)?;
    }
    Ok(libraries.is_empty())
}

/// Some of the devices that every engine gives a container (OCI Runtime Specification, "Default Devices").
fn make_devices(image: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(image.join("dev"))?;
    for (name, minor) in [("null", "3"), ("random", "8"), ("urandom", "9")] {
        let mut mknod = Command::new("mknod");
        mknod
            .arg("--mode=666")
            .arg(image.join("dev").join(name))
            .args(["c", "1", minor]);
        output(mknod)?;
    }
    Ok(())
}

/// Runs the last stage as an engine would.
fn serve(last: &Stage, image: &Path, directory: &Path, url: &str) -> anyhow::Result<()> {
    ensure!(
        last.one("FROM")? == "scratch",
        "the image begins with something"
    );
    ensure!(
        last.one("COPY")? == format!("--from=build {IMAGE}/ /"),
        "other files are copied"
    );
    ensure!(
        last.one("STOPSIGNAL")? == "SIGTERM",
        "it is not stopped by SIGTERM"
    );
    let user = last.one("USER")?;
    ensure!(
        user.split(':')
            .all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)),
        "{user} is not a number other than root's"
    );
    let (name, listen) = last
        .one("ENV")?
        .split_once('=')
        .context("ENV sets nothing")?;
    let listen: SocketAddr = listen.parse()?;
    ensure!(
        name == "DEED_LISTEN" && last.one("EXPOSE")? == listen.port().to_string(),
        "the port that is exposed is not the one that is listened on"
    );
    // Another process may have that port here.
    let address = free_address()?;
    let listen = SocketAddr::new(listen.ip(), address.port());

    let in_image = |words: &[String]| {
        let mut command = Command::new("chroot");
        command
            .arg(format!("--userspec={user}"))
            .arg(image)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env(name, listen.to_string())
            .env("DATABASE_URL", url);
        command
    };
    let entry = last.words("ENTRYPOINT")?;
    let with_entry = |words: &[&str]| {
        let own = words.iter().map(ToString::to_string);
        entry.iter().cloned().chain(own).collect::<Vec<String>>()
    };
    let said = output(in_image(&with_entry(&["version"])))?;
    ensure!(said.contains(VERSION), "`deed version` says {said:?}");
    run(in_image(&with_entry(&["migrate", "up"])))?;
    let command: Vec<String> = [entry.clone(), last.words("CMD")?].concat();
    let health = last.words("HEALTHCHECK")?;
    let is_healthy =
        || -> anyhow::Result<bool> { Ok(in_image(&health).output()?.status.success()) };
    let service = Service::start(in_image(&command), address, directory.join("image.log"))?;
    ensure!(is_healthy()?, "the health check fails though it is ready");
    service.stop()?;
    ensure!(
        !is_healthy()?,
        "the health check succeeds though nothing runs"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_the_compiler_are_read() {
        let list = "/t/debug/deed: /r/src/main.rs /r/a\\ b/c.sql\n";
        assert_eq!(
            read_by_compiler(list),
            [
                PathBuf::from("/r/src/main.rs"),
                PathBuf::from("/r/a b/c.sql")
            ]
        );
        assert_eq!(read_by_compiler(""), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_the_dockerfile_copies_is_there() {
        let text = fs::read_to_string(root().join(DOCKERFILE)).unwrap();
        let stages = dockerfile::stages(&text).unwrap();
        let copied = copied(&stages[0]).unwrap();
        assert!(copied.contains(&"Cargo.lock".to_owned()), "{copied:?}");
        check_context(&copied).unwrap();
        assert!(check_context(&["nowhere".to_owned()]).is_err());
    }

    #[test]
    fn the_image_is_laid_out_by_the_dockerfiles_own_step() {
        let text = fs::read_to_string(root().join(DOCKERFILE)).unwrap();
        let stages = dockerfile::stages(&text).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("built");
        fs::write(&binary, "program").unwrap();
        let image = directory.path().join("image");
        lay_out(&stages[0], &binary, &image).unwrap();
        let passwd = fs::read_to_string(image.join("etc/passwd")).unwrap();
        assert_eq!(passwd, "deed:x:65532:65532:Deed:/:/nonexistent\n");
        let user = stages[1].one("USER").unwrap();
        assert!(passwd.contains(user), "{user}");
    }
}
