//! `cargo xtask package-test`: the Debian package is installed, used, removed and purged in a chroot, and the container
//! image's files are laid out by the Dockerfile's own steps and run. The proxies of the documentation are put in front of
//! the package's server. None of this needs a container engine; all of it needs root.

mod chroot;
mod dockerfile;
mod image;
mod installed;
mod proxies;
mod relay;
mod service;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use local_postgres::{Cluster, Options};

use crate::cargo::root;
use crate::dev::NOT_INSTALLED;
use crate::install::{ensure_program, is_root};
use crate::package::{self, Build};
use crate::postgres::{self, Found};
use crate::terminal::say;

use chroot::Chroot;
use relay::Relay;

/// What is tested: packages of the binary that the tests use, so that nothing is built twice; or a binary of the caller's.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    profile: String,
    /// For the image, instead of the packaged one: the Dockerfile links it statically.
    image_binary: Option<PathBuf>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut parsed = Self {
            profile: "dev".to_owned(),
            image_binary: None,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("`{name}` needs a value"))?;
            match name.as_str() {
                "--profile" => parsed.profile.clone_from(value),
                "--image-binary" => parsed.image_binary = Some(PathBuf::from(value)),
                _ => bail!(
                    "`package-test` takes --profile NAME and --image-binary FILE, not `{name}`"
                ),
            }
        }
        Ok(parsed)
    }
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse(arguments)?;
    if !is_root() {
        say(
            "`cargo xtask package-test` makes and enters a chroot, which takes root: run it as root.",
        );
        return Ok(ExitCode::from(NOT_INSTALLED));
    }
    let installation = match postgres::ensure("package-test")? {
        Found::Yes(installation) => installation,
        Found::No => return Ok(ExitCode::from(NOT_INSTALLED)),
    };
    ensure_program("debootstrap", "debootstrap")?;
    let began = Instant::now();
    let directory = root().join("target/package-test");
    fs::create_dir_all(&directory)?;

    let build = Build {
        profile: arguments.profile,
        target: None,
    };
    let deb = package::deb(&build, &directory.join("packages"))?;
    let options = Options {
        user: "deed".to_owned(),
        database: "deed".to_owned(),
        fresh: true,
        unreachable_base: PathBuf::from("/var/lib/deed-dev"),
        ..Options::new(directory.join("postgres"))
    };
    let cluster = Cluster::start(&installation, &options, &mut |progress| say(progress))?;
    let relay = Relay::start(&cluster.socket_directory().join(".s.PGSQL.5432"))?;
    let url = |database: &str| format!("postgres://deed@{}/{database}", relay.address());

    let chroot = Chroot::fresh(&directory)?;
    installed::check(&chroot, &deb, &url("deed"))?;
    say(format!(
        "The package installs, serves, also through the proxies, and leaves nothing behind ({} s so far).",
        began.elapsed().as_secs()
    ));
    let binary = match arguments.image_binary {
        Some(binary) => binary,
        None => root().join("target/package-stage/release/deed"),
    };
    image::check(&directory, &binary, &url("deed"))?;
    say(format!(
        "The image's files serve, without a shell and without root ({} s).",
        began.elapsed().as_secs()
    ));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tested_is_what_the_tests_have_built_unless_said_otherwise() {
        let parse = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            Arguments::parse(&arguments)
        };
        let parsed = parse(&[]).unwrap();
        assert_eq!(
            (parsed.profile.as_str(), parsed.image_binary),
            ("dev", None)
        );
        let parsed = parse(&["--image-binary", "/deed", "--profile", "release"]).unwrap();
        assert_eq!(
            (parsed.profile.as_str(), parsed.image_binary),
            ("release", Some(PathBuf::from("/deed")))
        );
        assert!(parse(&["--binary", "/deed"]).is_err() && parse(&["--profile"]).is_err());
    }
}
