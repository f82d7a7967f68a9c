//! `deed doctor`: looks for what is wrong with the settings, the database and the machine.

mod checks;

use clap::Args;
use serde::Serialize;

use super::DatabaseArguments;
use crate::fault::{Exit, Fault};
use crate::output::{Format, OutputArguments};
use crate::settings::Settings;
use crate::terminal::{self, Paint, say};

const EXAMPLES: &str = "\
Examples:
  deed doctor                    look at everything, with the settings that `deed serve` would run with
  deed doctor -q                 say nothing unless something is wrong; for cron and deployments
  deed doctor --format json      for monitoring

It changes nothing, and may run beside a server. The exit code is 0 if all is well, 3 if a fault was found.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Say nothing of what is well
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
    #[command(flatten)]
    settings: Box<Settings>,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum Verdict {
    /// All is well; what was seen.
    Well { seen: String },
    /// Something has to be mended.
    Fault { cause: String, mend: String },
    /// Could not be looked at, and why.
    Skipped { because: String },
}

impl Finding {
    fn well(check: &'static str, seen: impl Into<String>) -> Self {
        let seen = seen.into();
        Self {
            check,
            verdict: Verdict::Well { seen },
        }
    }

    fn fault(check: &'static str, cause: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Fault {
                cause: cause.into(),
                mend: mend.into(),
            },
        }
    }

    fn of(check: &'static str, fault: &Fault) -> Self {
        Self::fault(check, fault.cause(), fault.mend())
    }

    fn skipped(check: &'static str, because: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Skipped {
                because: because.into(),
            },
        }
    }

    fn is_fault(&self) -> bool {
        matches!(self.verdict, Verdict::Fault { .. })
    }

    fn text(&self) -> String {
        let check = self.check;
        match &self.verdict {
            Verdict::Well { seen } => {
                format!(
                    "{}     {check}: {seen}",
                    terminal::painted(Paint::Good, "ok")
                )
            }
            Verdict::Fault { cause, mend } => format!(
                "{}  {check}: {cause}.\n       {mend}.",
                terminal::painted(Paint::Bad, "fault")
            ),
            Verdict::Skipped { because } => {
                format!(
                    "{}  {check}: {because}",
                    terminal::painted(Paint::Dim, "     ")
                )
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    is_well: bool,
    findings: Vec<Finding>,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    // Each is told as it is found: some take seconds.
    let is_text = arguments.output.format == Format::Text;
    let mut tell = |finding: Finding| {
        if is_text && (finding.is_fault() || !arguments.quiet) {
            say(finding.text());
        }
        findings.push(finding);
    };
    checks::run(&arguments.settings, &arguments.database, &mut tell).await;
    let faults = findings.iter().filter(|finding| finding.is_fault()).count();
    let report = Report {
        is_well: faults == 0,
        findings,
    };
    let is_silent = is_text || (arguments.quiet && report.is_well);
    if !is_silent {
        arguments.output.print(&report, |_| String::new())?;
    }
    if report.is_well {
        return Ok(());
    }
    let cause = match faults {
        1 => "One fault was found".to_owned(),
        number => format!("{number} faults were found"),
    };
    Err(Fault::new(
        Exit::Unwell,
        cause,
        "Mend what is named above, and run `deed doctor` again",
    )
    .into())
}
