//! What is packaged fits the binary: the unit, its settings, the image.

use std::collections::BTreeSet;

use crate::fault::Exit;
use crate::{cli, environment};

const UNIT: &str = include_str!("../packaging/deed.service");
const ENVIRONMENT: &str = include_str!("../packaging/deed.env");
const DOCKERFILE: &str = include_str!("../packaging/Dockerfile");
const COMPOSE: &str = include_str!("../packaging/compose.yaml");

/// The value of a line `name=value` of the unit.
fn unit(name: &str) -> &'static str {
    let start = format!("{name}=");
    UNIT.lines()
        .find_map(|line| line.strip_prefix(&start))
        .unwrap_or_else(|| panic!("the unit has no {name}"))
}

/// Fails unless `deed` takes these words.
fn check_takes(words: &[&str]) {
    let parsed = cli::command().try_get_matches_from(words);
    assert!(parsed.is_ok(), "{words:?}: {parsed:?}");
}

/// The settings that a text names.
fn settings(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_'))
        .filter(|word| word.starts_with("DEED_") || word.starts_with("DATABASE_URL"))
        .collect()
}

#[test]
fn the_unit_starts_what_the_binary_understands() {
    let words: Vec<&str> = unit("ExecStart").split(' ').collect();
    assert_eq!(words.first(), Some(&"/usr/bin/deed"));
    check_takes(&words);
}

#[test]
fn the_unit_waits_for_a_drain() {
    let seconds: u64 = unit("TimeoutStopSec").parse().unwrap();
    assert!(seconds > 30, "a drain takes up to 30 s");
    assert_eq!(unit("KillSignal"), "SIGTERM");
}

#[test]
fn the_unit_starts_again_what_a_restart_can_mend() {
    let codes: BTreeSet<u8> = unit("RestartPreventExitStatus")
        .split(' ')
        .map(|code| code.parse().unwrap())
        .collect();
    let known: BTreeSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
    assert!(codes.is_subset(&known), "{codes:?}");
    for passing in [
        Exit::Failed,
        Exit::DatabaseUnreachable,
        Exit::DatabaseRefused,
        Exit::DatabaseReadOnly,
        Exit::AddressInUse,
    ] {
        assert!(!codes.contains(&passing.code()), "{passing:?} may pass");
    }
    for lasting in [
        Exit::Usage,
        Exit::BadDatabaseUrl,
        Exit::DatabaseTooOld,
        Exit::DatabaseBehind,
        Exit::NotDurable,
        Exit::SecretFile,
        Exit::WeakSecret,
        Exit::Configuration,
    ] {
        assert!(codes.contains(&lasting.code()), "{lasting:?} lasts");
    }
}

#[test]
fn the_packaged_files_name_settings_that_exist() {
    let known = environment::names(&cli::command());
    for text in [ENVIRONMENT, DOCKERFILE, COMPOSE] {
        let named = settings(text);
        assert!(!named.is_empty());
        for name in named {
            assert!(known.iter().any(|known| known == name), "{name}");
        }
    }
}

#[test]
fn the_settings_of_a_fresh_package_set_nothing() {
    let set: Vec<&str> = ENVIRONMENT
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert_eq!(set, [""; 0]);
}

#[test]
fn the_image_runs_what_the_binary_understands() {
    let mut found = 0;
    for line in DOCKERFILE.lines() {
        let Some((_, list)) = line.split_once("CMD ") else {
            continue;
        };
        let mut words: Vec<String> = serde_json::from_str(list).unwrap();
        if words.first().is_some_and(|first| first != "/deed") {
            words.insert(0, "/deed".to_owned());
        }
        check_takes(&words.iter().map(String::as_str).collect::<Vec<_>>());
        found += 1;
    }
    assert_eq!(found, 2, "a health check and a command");
}
