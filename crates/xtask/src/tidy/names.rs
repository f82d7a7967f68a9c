//! What the documents name exists: paths and items in backticks, and the files that links lead to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// A name in backticks is a path of the repository if it begins so.
const PATHS: [&str; 3] = ["crates/", "docs/", "migrations/"];
/// Signs of a pattern or of a placeholder.
const NOT_LITERAL: [&str; 7] = ["*", "…", "{", "<", " ", "$", "NNNN"];

pub(crate) fn check(root: &Path, files: &[String]) -> anyhow::Result<Vec<String>> {
    let mut sources = Sources::default();
    let mut found = Vec::new();
    let documents = files
        .iter()
        .filter(|file| file.ends_with(".md") && (!file.contains('/') || file.starts_with("docs/")));
    for document in documents {
        let text = fs::read_to_string(root.join(document))
            .with_context(|| format!("{document} can't be read"))?;
        let directory = Path::new(document).parent().unwrap_or(Path::new(""));
        for (number, line) in (1..).zip(text.lines()) {
            for name in in_backticks(line) {
                if !exists(root, files, &mut sources, name)? {
                    found.push(format!("{document}:{number}: `{name}` does not exist"));
                }
            }
            for target in linked(line) {
                if !root.join(directory).join(target).exists() {
                    found.push(format!(
                        "{document}:{number}: the link to {target} leads nowhere"
                    ));
                }
            }
        }
    }
    Ok(found)
}

fn exists(
    root: &Path,
    files: &[String],
    sources: &mut Sources,
    name: &str,
) -> anyhow::Result<bool> {
    if NOT_LITERAL.iter().any(|sign| name.contains(sign)) && !name.contains("::") {
        return Ok(true);
    }
    if PATHS.iter().any(|start| name.starts_with(start)) {
        // A path may be followed by a line, as in `src/lib.rs:12`.
        let path = name.split_once(':').map_or(name, |(path, _)| path);
        return Ok(root.join(path).exists());
    }
    match item(name) {
        Some((library, item)) => sources
            .of(root, files, library)?
            .map_or(Ok(true), |source| Ok(has_word(source, item))),
        None => Ok(true),
    }
}

/// The library and the last segment of a Rust path such as `deed_domain::ports::Clock`, if it begins with one of ours.
fn item(name: &str) -> Option<(&str, &str)> {
    let name = name.split(['(', '<']).next()?.trim_end_matches('!');
    let (library, rest) = name.split_once("::")?;
    let is_ours = library.starts_with("deed_") || library == "local_postgres";
    let item = rest.rsplit("::").next()?;
    (is_ours
        && !item.is_empty()
        && item
            .chars()
            .all(|letter| letter.is_alphanumeric() || letter == '_'))
    .then_some((library, item))
}

/// The source of each library, read once.
#[derive(Default)]
struct Sources(BTreeMap<String, Option<String>>);

impl Sources {
    /// All source of `library`, or `None` if the workspace has none of that name.
    fn of(&mut self, root: &Path, files: &[String], library: &str) -> anyhow::Result<Option<&str>> {
        if !self.0.contains_key(library) {
            let directory = library
                .strip_prefix("deed_")
                .unwrap_or(library)
                .replace('_', "-");
            let start = format!("crates/{directory}/src/");
            let mut source = String::new();
            for file in files
                .iter()
                .filter(|file| file.starts_with(&start) && file.ends_with(".rs"))
            {
                source.push_str(&fs::read_to_string(root.join(file))?);
            }
            self.0
                .insert(library.to_owned(), (!source.is_empty()).then_some(source));
        }
        Ok(self.0.get(library).and_then(Option::as_deref))
    }
}

fn has_word(source: &str, word: &str) -> bool {
    source
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|found| found == word)
}

/// What stands between single backticks.
fn in_backticks(line: &str) -> impl Iterator<Item = &str> {
    line.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| !name.is_empty())
}

/// The files that a line's links lead to, without their fragments; links to other places are left out.
fn linked(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .filter_map(|(target, _)| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_exist_are_found() {
        let root = tempfile::tempdir().unwrap();
        let document = "\
See `crates/domain/src/lib.rs`, `crates/domain`, `crates/domain/src/lib.rs:3` and `migrations/*/up.sql`.
Gone: `crates/domain/src/gone.rs`, [here](GONE.md#part) but [not here](https://example.com/x.md) nor [there](A.md#x).
`deed_domain::port::Clock` lives, `deed_domain::port::Watch` does not, `std::fmt::Nothing` is not ours; `cargo test`.
`deed_domain::port::tick()` lives too.
";
        for (file, text) in [
            ("crates/domain/src/lib.rs", "pub trait Clock { fn tick(); }"),
            ("docs/A.md", document),
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = [
            "crates/domain/src/lib.rs".to_owned(),
            "docs/A.md".to_owned(),
        ];
        let expected = [
            "docs/A.md:2: `crates/domain/src/gone.rs` does not exist",
            "docs/A.md:2: the link to GONE.md leads nowhere",
            "docs/A.md:3: `deed_domain::port::Watch` does not exist",
        ];
        assert_eq!(check(root.path(), &files).unwrap(), expected);
    }

    #[test]
    fn a_document_at_the_top_is_read_too() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("README.md"), "`docs/none.md`").unwrap();
        assert_eq!(
            check(root.path(), &["README.md".to_owned()]).unwrap().len(),
            1
        );
    }
}
