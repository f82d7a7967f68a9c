//! `cargo xtask browser`: the example page and Swagger UI in Chromium, and how much later events come through proxies.
//!
//! Apart from `cargo xtask test`, because it needs packages of some hundred megabytes that nothing else needs.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cargo::program_in;
use crate::environment;
use crate::install;
use crate::test;

/// The Debian packages, each with its program of the same name.
const PROGRAMS: [&str; 3] = ["chromium", "nginx", "haproxy"];
/// Where servers lie, which is in root's `PATH` alone.
const SERVERS: &str = "/usr/sbin";

const TESTS: [&str; 4] = ["--package", "deed-e2e", "--test", "browser"];

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let path = environment::path();
    let places = env::split_paths(&path).chain([PathBuf::from(SERVERS)]);
    let path = env::join_paths(places)?;
    for name in PROGRAMS {
        if program_in(&path, name).is_none() {
            install::install_package(name, &format!("the program `{name}`"))?;
        }
    }
    test::run(&TESTS.map(str::to_owned))
}
