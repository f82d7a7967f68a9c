//! `deed completions`: what a shell needs to complete the command line.

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell as Generator;

use crate::terminal::say;

const EXAMPLES: &str = "\
Examples:
  deed completions bash > ~/.local/share/bash-completion/completions/deed
  deed completions zsh > \"${fpath[1]}/_deed\"
  deed completions fish > ~/.config/fish/completions/deed.fish
  source <(deed completions bash)                        for this bash only";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(arguments: &Arguments, command: Command) {
    say(script(arguments.shell, command).trim_end());
}

fn script(shell: Shell, mut command: Command) -> String {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut command, "deed", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_completed_in_every_shell() {
        for shell in Shell::value_variants() {
            let script = script(*shell, crate::cli::command());
            let command = crate::cli::command();
            for name in command.get_subcommands().map(Command::get_name) {
                assert!(script.contains(name), "{shell:?} lacks {name}");
            }
            assert!(script.contains("metrics-listen") || script.contains("pool-size"));
        }
    }
}
