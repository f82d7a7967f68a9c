//! `cargo xtask shells`: whether the completions work in real shells, and the manual renders without a warning.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context as _, bail};

use crate::cargo::{cargo, output, root, run};
use crate::install;
use crate::terminal::say;

/// A shell, the package that it is in, how it is asked, and how its answer is told from another.
struct Shell {
    name: &'static str,
    /// Without anybody's own configuration.
    flags: &'static [&'static str],
    /// A program of the shell's. `$1` is the file of the completions, the word to complete is `mig`.
    program: &'static str,
    /// What the program has to print.
    expected: &'static str,
}

const SHELLS: [Shell; 3] = [
    Shell {
        name: "bash",
        flags: &["--norc", "--noprofile", "-e"],
        program: r#"
source "$1"
complete -p deed > /dev/null
COMP_WORDS=(deed mig) COMP_CWORD=1
_deed deed mig deed
echo "${COMPREPLY[@]}"
COMP_WORDS=(deed users create --em) COMP_CWORD=3
_deed deed --em create
echo "${COMPREPLY[@]}"
"#,
        expected: "migrate\n--email\n",
    },
    Shell {
        name: "zsh",
        flags: &["-f", "-e"],
        // Its completer only runs in a terminal; what can be seen without one is that the function loads, and is the
        // one that the shell would call.
        program: r#"
autoload -Uz compinit
compinit -D -u
source "$1"
echo $_comps[deed]
source "$1"
(( $+functions[_deed__subcmd__migrate_commands] + $+functions[_deed__migrate_commands] )) && echo migrate
"#,
        expected: "_deed\nmigrate\n",
    },
    Shell {
        name: "fish",
        flags: &["--no-config"],
        program: r#"
source $argv[1]
complete --do-complete "deed mig" | string split --fields 1 \t
complete --do-complete "deed users create --em" | string split --fields 1 \t
"#,
        expected: "migrate\n--email\n",
    },
];

pub(crate) fn check() -> anyhow::Result<()> {
    for shell in &SHELLS {
        install::ensure_program(shell.name, shell.name)?;
    }
    install::ensure_program("groff", "groff")?;
    run(cargo([
        "build",
        "--locked",
        "--package",
        "deed-server",
        "--bin",
        "deed",
    ]))?;
    let binary = root().join("target/debug/deed");
    let directory = root().join("target/shells");
    // What an earlier run has left.
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(&directory)
        .with_context(|| format!("{} can't be made", directory.display()))?;
    for shell in &SHELLS {
        completes(shell, &binary, &directory)?;
    }
    let pages = pages(&binary, &directory)?;
    for page in &pages {
        renders(page)?;
    }
    say(format!(
        "completions work in bash, zsh and fish; {} pages render",
        pages.len()
    ));
    Ok(())
}

fn completes(shell: &Shell, binary: &Path, directory: &Path) -> anyhow::Result<()> {
    let mut print = Command::new(binary);
    print.args(["completions", shell.name]);
    let file = directory.join(shell.name);
    fs::write(&file, output(print)?).context("the completions can't be written")?;
    let mut command = Command::new(shell.name);
    command.args(shell.flags).args(["-c", shell.program]);
    if shell.name != "fish" {
        // What follows the program is `$0`, then `$1`.
        command.arg(shell.name);
    }
    command.arg(&file).env("HOME", directory);
    let answer = output(command)?;
    if answer != shell.expected {
        bail!(
            "{} answers {answer:?}, not {:?}",
            shell.name,
            shell.expected
        );
    }
    Ok(())
}

/// The manual, a file for every command.
fn pages(binary: &Path, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let manual = directory.join("man1");
    let mut write = Command::new(binary);
    write.args(["man", "--directory"]).arg(&manual);
    run(write)?;
    let pages: io::Result<Vec<PathBuf>> =
        fs::read_dir(&manual).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut pages = pages.context("the manual can't be read")?;
    if pages.is_empty() {
        bail!("the manual has no page");
    }
    pages.sort();
    Ok(pages)
}

/// Renders a page as `man` does, and fails where groff has anything to say about it.
fn renders(page: &Path) -> anyhow::Result<()> {
    let mut groff = Command::new("groff");
    // As plain text, without bold and underlined letters.
    groff.args(["-man", "-ww", "-Tutf8", "-P-cbou"]).arg(page);
    let result = groff.output().context("groff can't be run")?;
    let said = String::from_utf8_lossy(&result.stderr);
    if !result.status.success() || !said.is_empty() {
        bail!("{}: {said}", page.display());
    }
    let text = String::from_utf8_lossy(&result.stdout);
    if !text.contains("SYNOPSIS") {
        bail!("{} renders as nothing", page.display());
    }
    Ok(())
}
