//! `deed version`: what this binary is.

use clap::Args;

use crate::build_info::BuildInfo;
use crate::output::OutputArguments;

const EXAMPLES: &str = "\
Examples:
  deed version                                         what to write into a bug report
  deed version --format json | jq -r .newest_migration  the schema that this binary brings";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.output.print(&BuildInfo::of_this_binary(), text)
}

fn text(info: &BuildInfo) -> String {
    let BuildInfo {
        version,
        compiler,
        target,
        profile,
        features,
        newest_migration,
        postgresql_min,
    } = info;
    let features = if features.is_empty() {
        "none".to_owned()
    } else {
        features.join(", ")
    };
    format!(
        "deed {version}\n\
         built with   {compiler}, {target}, {profile}\n\
         features     {features}\n\
         migration    {newest_migration}, the newest that it knows\n\
         PostgreSQL   {postgresql_min} or newer\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_every_fact() {
        let info = BuildInfo {
            version: "1.2.3",
            compiler: "rustc 1.95.0",
            target: "x86_64-unknown-linux-gnu",
            profile: "release",
            features: vec!["one", "two"],
            newest_migration: "0042_last",
            postgresql_min: 15,
        };
        insta::assert_snapshot!(text(&info), @r"
        deed 1.2.3
        built with   rustc 1.95.0, x86_64-unknown-linux-gnu, release
        features     one, two
        migration    0042_last, the newest that it knows
        PostgreSQL   15 or newer
        ");
    }
}
