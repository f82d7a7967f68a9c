//! Servers that are broken on purpose, each in one way that the oracle has to notice: a copy of the source in which a
//! piece of text is another one.

mod lend;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::BUILD;
use crate::cargo::{cargo, root, run};
use crate::tidy::files;

/// A way of breaking the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// What it is called.
    pub(super) name: &'static str,
    /// What is wrong with it.
    pub(super) what: &'static str,
    edits: &'static [Edit],
}

/// A text that is replaced, and occurs exactly once: a mutant that no longer is one must not go unnoticed.
#[derive(Debug, PartialEq, Eq)]
struct Edit {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const fn edit(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { file, from, to }
}

/// What a write that is not fenced leaves out.
const FENCE: &str = "l.action_id = u.action_id AND l.lease_id = u.lease_id";
const NO_FENCE: &str = "l.action_id = u.action_id";

pub(super) const MUTANTS: [Mutant; 3] = [
    Mutant {
        name: "fencing",
        what: "fencing off: whoever knows an action writes to it, lease or no lease",
        edits: &[
            edit("crates/adapters/src/postgres/sql/held.sql", FENCE, NO_FENCE),
            edit(
                "crates/adapters/src/postgres/sql/append.sql",
                FENCE,
                NO_FENCE,
            ),
            edit(
                "crates/adapters/src/postgres/sql/heartbeat.sql",
                FENCE,
                NO_FENCE,
            ),
            edit(
                "crates/adapters/src/postgres/sql/finish.sql",
                FENCE,
                NO_FENCE,
            ),
        ],
    },
    Mutant {
        name: "events-apart",
        what: "events committed apart from the state that tells of them",
        edits: &[
            // The first statement says where the log ends and writes nothing there …
            edit(
                "crates/adapters/src/postgres/sql/append.sql",
                "JOIN moved m ON m.action_id = e.action_id AND m.before = m.from_seq",
                "JOIN moved m ON m.action_id = e.action_id AND m.before = m.from_seq WHERE false",
            ),
            // … and a second one, a little later, writes.
            edit(
                "crates/adapters/src/postgres/leases.rs",
                "let rows: Vec<AppendRow> = self.database.rows(Access::Write, &statement).await?;",
                r#"let rows: Vec<AppendRow> = self.database.rows(Access::Write, &statement).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        for row in rows.iter().filter(|row| row.verdict == "written") {
            let Some(append) = appends.iter().find(|one| one.lease.action_id.as_uuid() == row.action_id) else {
                continue;
            };
            let apart = Statement::new(
                "WITH e AS (SELECT * FROM unnest($2::uuid[], $3::int4[], $4::text[], $5::text[]) AS e(action_id, off, event, data)), \
                 said AS (INSERT INTO action_events (action_id, seq, event, data) SELECT action_id, $1::int4 + off, event, data FROM e) \
                 SELECT action_id FROM e",
            )
            .bind::<Int4, _>(int4(append.from_seq))
            .bind_events(numbered(append.lease, append.events.iter()));
            self.database.run(Access::Write, &apart).await?;
        }"#,
            ),
        ],
    },
    Mutant {
        name: "no-catch-up",
        what: "NOTIFY trusted: nobody looks for what it has not told",
        edits: &[edit(
            "crates/adapters/src/postgres/wakeups.rs",
            "if let Err(error) = pulse::take(shared).await {",
            "if ticks.period().is_zero() && let Err(error) = pulse::take(shared).await {",
        )],
    },
];

/// Builds the server of a mutant, and answers its program. All of them share a directory of their own, so that only what
/// differs is built again, and what comes from elsewhere not at all.
pub(super) fn build(mutant: &Mutant) -> anyhow::Result<PathBuf> {
    let copy = root().join("target/mutants/source");
    write_copy(root(), &copy, mutant)?;
    let target = root().join("target/mutants/target");
    lend::dependencies(root(), &target.join("debug"))?;
    let mut build = cargo(BUILD.into_iter().chain(["--bin", "deed"]));
    build.arg("--target-dir").arg(&target).current_dir(&copy);
    run(build).with_context(|| format!("the mutant `{}` can't be built", mutant.name))?;
    Ok(target.join("debug/deed"))
}

/// Makes `copy` the source with the mutant's edits. A file that is as it should be is left alone: cargo goes by the time.
fn write_copy(root: &Path, copy: &Path, mutant: &Mutant) -> anyhow::Result<()> {
    let all = files::all(root)?;
    for file in &all {
        let path = root.join(file);
        let mut bytes = fs::read(&path).with_context(|| format!("{file} can't be read"))?;
        for edit in mutant.edits.iter().filter(|edit| edit.file == file) {
            let text = String::from_utf8(bytes).with_context(|| format!("{file} is no text"))?;
            if text.matches(edit.from).count() != 1 {
                let name = mutant.name;
                bail!(
                    "the mutant `{name}` is out of date: {file} must hold once:\n{}",
                    edit.from
                );
            }
            bytes = text.replace(edit.from, edit.to).into_bytes();
        }
        let to = copy.join(file);
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&to, bytes).with_context(|| format!("{} can't be written", to.display()))?;
    }
    if let Some(edit) = mutant
        .edits
        .iter()
        .find(|edit| !all.iter().any(|file| file == edit.file))
    {
        bail!(
            "the mutant `{}` is out of date: there is no {}",
            mutant.name,
            edit.file
        );
    }
    for file in files::all(copy)? {
        if all.binary_search(&file).is_err() {
            fs::remove_file(copy.join(&file))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_still_is_one() {
        for mutant in &MUTANTS {
            let copy = tempfile::tempdir().unwrap();
            write_copy(root(), copy.path(), mutant).unwrap();
            for edit in mutant.edits {
                let text = fs::read_to_string(copy.path().join(edit.file)).unwrap();
                assert!(text.contains(edit.to), "{}: {}", mutant.name, edit.file);
            }
        }
    }

    #[test]
    fn a_copy_follows_its_source_and_leaves_alone_what_is_the_same() {
        let (source, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mutant = Mutant {
            name: "x",
            what: "x",
            edits: const { &[edit("a.txt", "one", "two")] },
        };
        let write = |file: &str, text: &str| fs::write(source.path().join(file), text).unwrap();
        let read = |file: &str| fs::read_to_string(copy.path().join(file));
        write("a.txt", "one");
        write("b.txt", "b");
        write_copy(source.path(), copy.path(), &mutant).unwrap();
        assert_eq!(
            (read("a.txt").unwrap(), read("b.txt").unwrap()),
            ("two".to_owned(), "b".to_owned())
        );
        let written = fs::metadata(copy.path().join("a.txt"))
            .unwrap()
            .modified()
            .unwrap();
        fs::remove_file(source.path().join("b.txt")).unwrap();
        write_copy(source.path(), copy.path(), &mutant).unwrap();
        assert!(read("b.txt").is_err());
        let again = fs::metadata(copy.path().join("a.txt"))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(written, again);
    }

    #[test]
    fn a_mutant_whose_text_is_gone_or_stands_twice_is_refused() {
        let mutant = Mutant {
            name: "x",
            what: "x",
            edits: const { &[edit("a.txt", "one", "two")] },
        };
        for text in ["other", "one one"] {
            let (source, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            fs::write(source.path().join("a.txt"), text).unwrap();
            let error = write_copy(source.path(), copy.path(), &mutant).unwrap_err();
            assert!(error.to_string().contains("out of date"), "{error}");
        }
        let (source, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(write_copy(source.path(), copy.path(), &mutant).is_err());
    }
}
