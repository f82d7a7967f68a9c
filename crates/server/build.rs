//! Tells the binary what it is built with: compiler, target, profile and cargo features.

#![forbid(unsafe_code)]

use std::process::Command;

fn main() {
    tell("rerun-if-changed=build.rs");
    let features: Vec<String> = variables()
        .filter_map(|name| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .map(|name| name.replace('_', "-"))
        .filter(|name| name != "default")
        .collect();
    say(
        "COMPILER",
        &compiler().unwrap_or_else(|| "unknown".to_owned()),
    );
    say("TARGET", &variable("TARGET"));
    say("PROFILE", &variable("PROFILE"));
    say("FEATURES", &features.join(","));
}

// The name begins otherwise than settings do: `cargo run` hands it on, and an unknown setting is refused.
fn say(name: &str, value: &str) {
    tell(&format!("rustc-env=BUILT_{name}={value}"));
}

fn tell(what: &str) {
    println!("cargo::{what}");
}

/// The first line of `rustc --version`.
fn compiler() -> Option<String> {
    let output = Command::new(variable("RUSTC")).arg("--version").output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    Some(text.lines().next()?.to_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to a build script through the environment"
)]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to a build script through the environment"
)]
fn variables() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}
