//! What the repository's files may be, and what may not stand in its source.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// No file is larger than this many bytes, but for vendored ones.
const SIZE_MAX: u64 = 1024 * 1024;
/// Directories that are not part of the repository.
const OUTSIDE: [&str; 4] = ["target", ".git", ".deed", "node_modules"];

/// All files of the repository, as paths from its root, sorted.
pub(crate) fn all(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("{} can't be read", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !OUTSIDE.iter().any(|name| entry.file_name() == *name) {
                    directories.push(path);
                }
            } else if kind.is_file() {
                files.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

pub(crate) fn check(root: &Path, files: &[String]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in files {
        let path = root.join(file);
        let size = fs::metadata(&path)?.len();
        if size > SIZE_MAX && !file.contains("/vendor/") {
            found.push(format!("{file} has {size} bytes; no file is over 1 MiB"));
        }
        if file.ends_with(".snap.new") || file.ends_with(".pending-snap") {
            found.push(format!(
                "{file} is a snapshot that nobody has reviewed; accept it or delete it"
            ));
        }
        if file.starts_with("crates/") && file.ends_with(".rs") {
            let source = fs::read_to_string(&path)?;
            found.extend(forbidden_lines(file, &source));
        }
    }
    Ok(found)
}

/// Silenced lints and tests. The patterns are put together so that this file doesn't hold them.
fn forbidden_lines(file: &str, source: &str) -> Vec<String> {
    let allow = concat!("[", "allow(");
    let ignore = concat!("#[", "ignore");
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.lines()) {
        let line = line.trim_start();
        if line.starts_with('#') && line.contains(allow) {
            found.push(format!(
                "{file}:{number}: a lint is expected with a reason, never allowed"
            ));
        }
        if line.starts_with(ignore) {
            found.push(format!(
                "{file}:{number}: a test is mended or deleted, never ignored"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_files_but_not_what_is_built() {
        let root = tempfile::tempdir().unwrap();
        for file in ["b/c.txt", "a.txt", "target/debug/x", "b/target/y", ".git/z"] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(all(root.path()).unwrap(), ["a.txt", "b/c.txt"]);
    }

    #[test]
    fn large_and_unreviewed_files_are_found() {
        let root = tempfile::tempdir().unwrap();
        for (file, size) in [
            ("big.bin", SIZE_MAX + 1),
            ("x/vendor/big.js", SIZE_MAX + 1),
            ("fits", SIZE_MAX),
            ("a.snap.new", 0),
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap().set_len(size).unwrap();
        }
        let found = check(root.path(), &all(root.path()).unwrap()).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found.concat().contains("a.snap.new is a snapshot")
                && found.concat().contains("big.bin has 1048577 bytes")
        );
    }

    #[test]
    fn silenced_lints_and_tests_are_found() {
        let source = format!(
            "#!{}x)]\nfn a() {{}}\n  #{}y)]\n{}]\n// #[x]\n",
            concat!("[", "allow("),
            concat!("[", "allow("),
            concat!("#[", "ignore")
        );
        let found = forbidden_lines("crates/a.rs", &source);
        let places: Vec<_> = found
            .iter()
            .filter_map(|line| line.split(": ").next())
            .collect();
        assert_eq!(places, ["crates/a.rs:1", "crates/a.rs:3", "crates/a.rs:4"]);
    }
}
