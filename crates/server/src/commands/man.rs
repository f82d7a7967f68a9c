//! `deed man`: the manual's pages, made from the definition of the command line.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::fault::Exit;
use crate::terminal::{note, say};

const EXAMPLES: &str = "\
Examples:
  deed man | man -l -                               the page of `deed` itself
  deed man --directory ~/.local/share/man/man1      a page for every command
  man deed-users-create                             one of them, once they are there";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where to write the pages, one for every command; without it the page of `deed` itself is printed
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments, command: Command) -> anyhow::Result<()> {
    let pages = pages(command).context("the manual can't be made")?;
    let Some(directory) = arguments.directory else {
        if let Some(page) = pages.first() {
            say(page.text.trim_end());
        }
        return Ok(());
    };
    fs::create_dir_all(&directory)
        .with_context(|| format!("{} can't be made", directory.display()))?;
    for page in &pages {
        let file = directory.join(format!("{}.1", page.name));
        fs::write(&file, &page.text)
            .with_context(|| format!("{} can't be written", file.display()))?;
    }
    note(format!(
        "{} pages are in {}.",
        pages.len(),
        directory.display()
    ));
    Ok(())
}

/// A page of the manual.
struct Page {
    /// `deed`, `deed-serve`, `deed-users-create`, …
    name: String,
    /// In roff; nothing but ASCII.
    text: String,
}

/// The page of the command itself, then those of its sub-commands.
fn pages(command: Command) -> io::Result<Vec<Page>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let version = command.get_version().unwrap_or_default().to_owned();
    let mut pages = Vec::new();
    collect(&command, None, &version, &mut pages)?;
    Ok(pages)
}

fn collect(
    command: &Command,
    parent: Option<&str>,
    version: &str,
    pages: &mut Vec<Page>,
) -> io::Result<()> {
    let name = match parent {
        Some(parent) => format!("{parent}-{}", command.get_name()),
        None => command.get_name().to_owned(),
    };
    pages.push(Page {
        text: page(command, &name, parent, version)?,
        name: name.clone(),
    });
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, Some(&name), version, pages)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, parent: Option<&str>, version: &str) -> io::Result<String> {
    let man = Man::new(command.clone()).title(name);
    let mut out = Vec::new();
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    man.render_options_section(&mut out)?;
    let mut rest = Roff::new();
    for section in sections(command) {
        section.render(&mut rest);
    }
    exit_status(&mut rest);
    see_also(&mut rest, command, name, parent);
    rest.to_writer(&mut out)?;
    Ok(ascii(&assemble(
        name,
        version,
        &String::from_utf8_lossy(&out),
    )))
}

/// Puts the title before `sections`, each of which brings the same preamble, and that once.
fn assemble(name: &str, version: &str, sections: &str) -> String {
    let is_preamble = |line: &&str| line.starts_with(".ie ") || line.starts_with(".el ");
    let mut text = String::new();
    for line in sections.lines().take_while(is_preamble) {
        text.push_str(line);
        text.push('\n');
    }
    // No date: a page of the same version is the same, whenever it was made.
    text.push_str(&format!(".TH {name} 1 \"\" \"deed {version}\" Deed\n"));
    for line in sections.lines().filter(|line| !is_preamble(line)) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A part of what stands after the options: a heading, and lines that stay as they are.
struct Section {
    heading: String,
    lines: Vec<String>,
}

/// What stands after a command's options, by its headings: `Examples:` alone on a line begins a section.
fn sections(command: &Command) -> Vec<Section> {
    let text = command
        .get_after_long_help()
        .or_else(|| command.get_after_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        let heading = line
            .strip_suffix(':')
            .filter(|heading| !heading.starts_with(' '));
        match (heading, sections.last_mut()) {
            // The manual says them itself, in full.
            (Some(heading), _) => sections.push(Section {
                heading: heading.to_uppercase(),
                lines: Vec::new(),
            }),
            (None, Some(section)) => section.lines.push(line.to_owned()),
            (None, None) => sections.push(Section {
                heading: "NOTES".to_owned(),
                lines: vec![line.to_owned()],
            }),
        }
    }
    sections.retain(|section| !section.heading.starts_with("EXIT"));
    sections
}

impl Section {
    fn render(&self, roff: &mut Roff) {
        roff.control("SH", [self.heading.as_str()]);
        roff.control("nf", []);
        let end = self
            .lines
            .iter()
            .rposition(|line| !line.trim().is_empty())
            .map_or(0, |last| last.saturating_add(1));
        for line in self.lines.iter().take(end) {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    let success = (0, "done");
    let faults = Exit::ALL.iter().map(|exit| (exit.code(), exit.meaning()));
    for (code, meaning) in std::iter::once(success).chain(faults) {
        roff.control("TP", []);
        roff.text([bold(code.to_string())]);
        roff.text([roman(meaning)]);
    }
}

fn see_also(roff: &mut Roff, command: &Command, name: &str, parent: Option<&str>) {
    let children = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| format!("{name}-{}", sub.get_name()));
    let others: Vec<String> = parent
        .map(ToOwned::to_owned)
        .into_iter()
        .chain(children)
        .collect();
    roff.control("SH", ["SEE ALSO"]);
    let count = others.len();
    for (at, other) in others.into_iter().enumerate() {
        let comma = if at.saturating_add(1) < count {
            ","
        } else {
            ""
        };
        roff.text([bold(other), roman(format!("(1){comma}"))]);
    }
}

/// The same with every other character as roff's escape of it: such a page looks right wherever it is read.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            out.push_str(&format!("\\[u{:04X}]", u32::from(char)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all() -> Vec<Page> {
        pages(crate::cli::command()).unwrap()
    }

    #[test]
    fn every_command_has_a_page() {
        let names: BTreeSet<String> = all().into_iter().map(|page| page.name).collect();
        for expected in ["deed", "deed-serve", "deed-migrate-up", "deed-users-create"] {
            assert!(names.contains(expected), "{names:?}");
        }
    }

    #[test]
    fn a_page_has_the_sections_that_readers_look_for() {
        let version = env!("CARGO_PKG_VERSION");
        for page in all() {
            let title = format!(".TH {} 1 \"\" \"deed {version}\" Deed\n", page.name);
            assert_eq!(page.text.matches(&title).count(), 1, "{}", page.text);
            assert_eq!(page.text.matches(".ie ").count(), 1, "{}", page.text);
            for section in [".SH NAME", ".SH SYNOPSIS", ".SH \"EXIT STATUS\""] {
                assert!(page.text.contains(section), "{}: {section}", page.name);
            }
            let name = page.text.lines().position(|line| line == ".SH NAME");
            let line = page.text.lines().nth(name.unwrap() + 1).unwrap();
            assert!(line.contains(" \\- "), "{line}");
        }
    }

    #[test]
    fn pages_are_ascii_and_every_request_is_known() {
        let known = [
            ".TH", ".SH", ".TP", ".PP", ".IP", ".RS", ".RE", ".br", ".nf", ".fi", ".ie", ".el",
        ];
        for page in all() {
            assert!(page.text.is_ascii(), "{}", page.name);
            for line in page.text.lines().filter(|line| line.starts_with('.')) {
                let request = line.split([' ', '\\']).next().unwrap();
                assert!(known.contains(&request), "{}: {line}", page.name);
            }
            let open = page.text.lines().filter(|line| *line == ".nf").count();
            let shut = page.text.lines().filter(|line| *line == ".fi").count();
            assert_eq!(open, shut, "{}", page.name);
        }
    }

    #[test]
    fn examples_keep_their_lines() {
        let page = all()
            .into_iter()
            .find(|page| page.name == "deed-man")
            .unwrap();
        assert!(
            page.text
                .contains(".SH EXAMPLES\n.nf\ndeed man | man \\-l \\- "),
            "{}",
            page.text
        );
    }

    #[test]
    fn a_flag_names_its_variable() {
        let page = all()
            .into_iter()
            .find(|page| page.name == "deed-migrate-up")
            .unwrap();
        assert!(page.text.contains("DATABASE_URL"), "{}", page.text);
    }

    #[test]
    fn pages_are_written_to_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = Arguments {
            directory: Some(directory.path().join("man1")),
        };
        run(arguments, crate::cli::command()).unwrap();
        let page = fs::read_to_string(directory.path().join("man1/deed-users-create.1")).unwrap();
        assert!(page.contains("deed users create"), "{page}");
    }
}
