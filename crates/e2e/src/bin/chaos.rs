//! The program of `cargo xtask chaos`, which builds it and the server, and says what the arguments are.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stderr,
    reason = "what is said to the person at the terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use deed_e2e::chaos::child::{self, GUARD};
use deed_e2e::chaos::run::{self, Plan};
use deed_e2e::chaos::worker;

/// How many violations are told; the others are like them.
const TOLD: usize = 20;
/// What contradicts the promises is told by another code than that nothing could be tried out.
const VIOLATED: u8 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [GUARD, parent, program, ..] => {
            let rest = arguments.get(3..).unwrap_or_default();
            Err(child::become_program(parent, program, rest).into())
        }
        ["worker"] => work(),
        ["run", options @ ..] => judge(options),
        _ => Err(anyhow::anyhow!(
            "`cargo xtask chaos` knows how to call this"
        )),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread for everything: a child dies with the thread that has started it.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn work() -> anyhow::Result<ExitCode> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let settings = serde_json::from_str(&line)?;
    runtime()?.block_on(worker::run(settings));
    Ok(ExitCode::SUCCESS)
}

fn judge(options: &[&str]) -> anyhow::Result<ExitCode> {
    let plan = plan(options)?;
    eprintln!(
        "chaos: seed {}; it repeats the choices, not their timing",
        plan.seed
    );
    let (verdict, directory) = runtime()?.block_on(async {
        tokio::select! {
            verdict = run::run(&plan, |line| eprintln!("{line}")) => verdict.map(|verdict| (verdict, plan.directory.join("run"))),
            _ = tokio::signal::ctrl_c() => bail!("stopped"),
        }
    })?;
    eprintln!("\n{}", verdict.summary);
    for violation in verdict.violations.iter().take(TOLD) {
        eprintln!("{violation}");
    }
    let (kills, count) = (plan.kills, verdict.violations.len());
    let took = verdict.took.as_secs();
    eprintln!(
        "chaos: {kills} kills, {count} violations, seed {}, {took} s",
        plan.seed
    );
    if count > 0 {
        eprintln!(
            "chaos: the history and the logs are in {}",
            directory.display()
        );
        return Ok(ExitCode::from(VIOLATED));
    }
    if !options.contains(&"--keep") {
        std::fs::remove_dir_all(directory)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(options: &[&str]) -> anyhow::Result<Plan> {
    let option = |name: &str| {
        let mut pairs = options.iter().zip(options.iter().skip(1));
        pairs.find_map(|(option, value)| (*option == name).then_some(*value))
    };
    let seed = match option("--seed") {
        Some(seed) => seed.parse().context("--seed is a number")?,
        None => {
            let mut bytes = [0u8; 4];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
            u64::from(u32::from_le_bytes(bytes))
        }
    };
    Ok(Plan {
        kills: option("--kills").context("--kills is missing")?.parse()?,
        seed,
        server: option("--server")
            .context("--server is missing")?
            .to_owned(),
        directory: PathBuf::from(option("--directory").context("--directory is missing")?),
    })
}
