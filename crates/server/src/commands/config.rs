//! `deed config`: which settings there are, which are in force, and whether they make sense.

use anyhow::Context as _;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Subcommand};
use deed_adapters::postgres::examine;
use serde::Serialize;

use super::DatabaseArguments;
use crate::environment;
use crate::fault::Exit;
use crate::output::{OutputArguments, table};
use crate::settings::Settings;
use crate::terminal::say;

const EXAMPLES: &str = "\
Examples:
  deed config show                  what `deed serve` would run with here, and where each value comes from
  deed config show --format json    the same for programs
  deed config check                 exit code 0 if these settings can be served with
  deed config reference             every setting, as Markdown";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the settings in force and where each comes from; secrets are masked
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// Check the settings without touching the database
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Print every setting as Markdown
    #[command(after_help = REFERENCE_EXAMPLES)]
    Reference,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  deed config show
  DEED_WAIT=5s deed config show --listen 0.0.0.0:80
  deed config show --format json | jq '.settings[] | select(.origin != \"default\")'";

const CHECK_EXAMPLES: &str = "\
Examples:
  deed config check && systemctl restart deed";

const REFERENCE_EXAMPLES: &str = "\
Examples:
  deed config reference > CONFIG.md";

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    _database: DatabaseArguments,
    #[command(flatten)]
    _settings: Box<Settings>,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    database: DatabaseArguments,
    #[command(flatten)]
    settings: Box<Settings>,
}

/// Runs the command. `matches` are those of the whole command line, which know where each value came from.
pub(crate) fn run(arguments: Arguments, matches: &ArgMatches) -> anyhow::Result<()> {
    match arguments.what {
        What::Show(show) => {
            let definition = crate::cli::command();
            let effective = Effective {
                settings: effective(&definition, matches).context("no `config show`")?,
            };
            show.output.print(&effective, Effective::text)
        }
        What::Check(check) => {
            check.settings.check()?;
            check.settings.root_key()?;
            let url = check.database.url()?;
            examine::describe(url.reveal())
                .map_err(|error| crate::preflight::out_of_reach(&error))?;
            say("The settings are valid. `deed doctor` looks at the database and the machine.");
            Ok(())
        }
        What::Reference => {
            say(reference(&crate::cli::command()).trim_end());
            Ok(())
        }
    }
}

#[derive(Debug, Serialize)]
struct Effective {
    settings: Vec<Setting>,
}

/// A setting in force.
#[derive(Debug, Serialize)]
struct Setting {
    name: String,
    /// `null` where it is not set.
    value: Option<String>,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    Flag,
    Environment,
    Default,
    Unset,
}

impl Effective {
    fn text(&self) -> String {
        let rows: Vec<[String; 3]> = self
            .settings
            .iter()
            .map(|setting| {
                let origin = match setting.origin {
                    Origin::Flag => "flag",
                    Origin::Environment => "environment",
                    Origin::Default => "default",
                    Origin::Unset => "-",
                };
                let value = setting.value.clone().unwrap_or_else(|| "-".to_owned());
                [setting.name.clone(), value, origin.to_owned()]
            })
            .collect();
        table(["SETTING", "VALUE", "FROM"], &rows)
    }
}

/// The settings of `config show`, which are those of `serve`.
fn effective(definition: &Command, matches: &ArgMatches) -> Option<Vec<Setting>> {
    let mut definition = definition.clone();
    definition.build();
    let shown = definition
        .find_subcommand("config")?
        .find_subcommand("show")?;
    let matches = matches
        .subcommand_matches("config")?
        .subcommand_matches("show")?;
    let settings = shown.get_arguments().filter_map(|argument| {
        let name = argument.get_env()?.to_string_lossy().into_owned();
        let id = argument.get_id().as_str();
        let values: Vec<String> = matches
            .get_raw(id)
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Environment,
            Some(ValueSource::DefaultValue) => Origin::Default,
            _ => Origin::Unset,
        };
        let value = (origin != Origin::Unset).then(|| shown_value(argument, &values.join(",")));
        Some(Setting {
            name,
            value,
            origin,
        })
    });
    let mut settings: Vec<Setting> = settings.collect();
    settings.sort_by(|one, other| one.name.cmp(&other.name));
    Some(settings)
}

/// A secret shows that it is there, the database's URL where it leads.
fn shown_value(argument: &Arg, value: &str) -> String {
    const MASK: &str = "********";
    if !argument.is_hide_env_values_set() {
        return value.to_owned();
    }
    if argument.get_id() == "database_url" {
        let place = examine::describe(value);
        return place.map_or_else(|_| MASK.to_owned(), |place| format!("{place} ({MASK})"));
    }
    MASK.to_owned()
}

const INTRODUCTION: &str = "\
# Configuration

Every setting of Deed. This page is printed by `deed config reference`, from the definitions that also make `deed serve
--help`.

**Precedence**: a flag wins over its variable, and a variable over the default. Nothing else is read: there is no
configuration file, and no `.env` is looked for. A secret can be given directly or by a file (`…_FILE`), whose line break
at its end is no part of it. Where both are given, the direct one wins; two root keys at once are refused.

A variable that begins with `DEED_` and is none of these is refused at the start, with the setting that was probably
meant. Durations are written as `500ms`, `10s`, `10m`, `12h` or `30d`. `deed config show` says which values are in force
and where each comes from; `deed config check` and `deed doctor` say whether they make sense.
";

/// The page of all settings.
fn reference(definition: &Command) -> String {
    let mut definition = definition.clone();
    definition.build();
    let mut page = INTRODUCTION.to_owned();
    let mut told = Vec::new();
    if let Some(serve) = definition.find_subcommand("serve") {
        page.push_str(
            "\n## The server\n\nOf `deed serve`, and but for the database of `deed dev`.\n\n",
        );
        page.push_str(&rows(serve, &mut told));
    }
    page.push_str("\n## Other commands\n\n");
    let others: String = leaves(&definition)
        .into_iter()
        .map(|command| rows_alone(command, &mut told))
        .collect();
    page.push_str(HEAD);
    page.push_str(&others);
    let count = environment::names(&definition).len();
    page.push_str(&format!(
        "\n{count} settings in all. `NO_COLOR` (any value) switches colours off, as everywhere.\n"
    ));
    page.push_str(EXIT_CODES);
    for exit in Exit::ALL {
        page.push_str(&format!("| {} | {} |\n", exit.code(), exit.meaning()));
    }
    page
}

const EXIT_CODES: &str = "
## Exit codes

Every command ends with one of these; they never change their meaning. On standard error stand the cause, in one sentence,
and the mend, in another.

| code | meaning |
|---|---|
| 0 | done |
";

const HEAD: &str = "| variable | flag | default | what it sets |\n|---|---|---|---|\n";

fn rows(command: &Command, told: &mut Vec<String>) -> String {
    format!("{HEAD}{}", rows_alone(command, told))
}

/// A row for each setting of `command` that has none yet.
fn rows_alone(command: &Command, told: &mut Vec<String>) -> String {
    let mut rows = String::new();
    for argument in command.get_arguments() {
        let Some(name) = argument.get_env() else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        if told.contains(&name) {
            continue;
        }
        let flag = argument
            .get_long()
            .map_or_else(String::new, |flag| format!("`--{flag}`"));
        let default = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(", ");
        let help = argument.get_help().map(ToString::to_string);
        let mut help = help.unwrap_or_default().replace('|', "\\|");
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|_| argument.get_action().takes_values())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !values.is_empty() {
            help.push_str(&format!(": {}", values.join(", ")));
        }
        rows.push_str(&format!("| `{name}` | {flag} | {default} | {help} |\n"));
        told.push(name);
    }
    rows
}

/// Every command without sub-commands, in the order of the help.
fn leaves(command: &Command) -> Vec<&Command> {
    let mut leaves = Vec::new();
    for sub in command.get_subcommands() {
        if sub.has_subcommands() {
            leaves.extend(self::leaves(sub));
        } else {
            leaves.push(sub);
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(arguments: &[&str]) -> Vec<Setting> {
        let all = ["deed", "config", "show"].iter().chain(arguments);
        // Without the variables that are set where the test runs.
        let command = without_environment(crate::cli::command());
        let matches = command.try_get_matches_from(all).unwrap();
        effective(&crate::cli::command(), &matches).unwrap()
    }

    fn without_environment(command: Command) -> Command {
        command
            .mut_args(|argument| argument.env(None))
            .mut_subcommands(without_environment)
    }

    fn of<'a>(settings: &'a [Setting], name: &str) -> &'a Setting {
        settings
            .iter()
            .find(|setting| setting.name == name)
            .unwrap()
    }

    #[test]
    fn every_value_has_its_origin() {
        let settings = show(&["--wait", "5s"]);
        let wait = of(&settings, "DEED_WAIT");
        assert_eq!(
            (wait.value.as_deref(), wait.origin),
            (Some("5s"), Origin::Flag)
        );
        let slots = of(&settings, "DEED_RUNNER_SLOTS");
        assert_eq!(
            (slots.value.as_deref(), slots.origin),
            (Some("64"), Origin::Default)
        );
        let root = of(&settings, "DEED_ROOT_KEY");
        assert_eq!((root.value.as_deref(), root.origin), (None, Origin::Unset));
    }

    #[test]
    fn secrets_are_masked() {
        let settings = show(&[
            "--root-key",
            "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "--database-url",
            "postgres://ada:hunter2@db.example:6432/deed",
        ]);
        let all = serde_json::to_string(&Effective { settings }).unwrap();
        assert!(!all.contains("0f1e2d") && !all.contains("hunter2"), "{all}");
        assert!(all.contains("ada@db.example:6432/deed"), "{all}");
        let settings = show(&["--database-url", "hunter2"]);
        assert_eq!(
            of(&settings, "DATABASE_URL").value.as_deref(),
            Some("********")
        );
    }

    #[test]
    fn the_page_tells_every_setting_once() {
        let definition = crate::cli::command();
        let page = reference(&definition);
        for name in environment::names(&definition) {
            assert_eq!(page.matches(&format!("| `{name}` |")).count(), 1, "{name}");
        }
    }

    #[test]
    fn there_are_at_most_30_settings() {
        let names = environment::names(&crate::cli::command());
        assert!((15..=30).contains(&names.len()), "{names:?}");
    }
}
