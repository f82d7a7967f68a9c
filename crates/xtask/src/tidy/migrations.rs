//! Each migration goes both ways.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let directory = root.join("migrations");
    let mut found = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&directory).context("migrations/ can't be read")? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        count += 1;
        let name = entry.file_name().to_string_lossy().into_owned();
        for way in ["up.sql", "down.sql"] {
            let is_said =
                fs::read_to_string(entry.path().join(way)).is_ok_and(|sql| says_something(&sql));
            if !is_said {
                found.push(format!("migrations/{name}/{way} is missing or empty"));
            }
        }
    }
    if count == 0 {
        found.push("migrations/ holds no migration".to_owned());
    }
    found.sort();
    Ok(found)
}

/// Whether there is anything but comments.
fn says_something(sql: &str) -> bool {
    sql.lines()
        .map(str::trim)
        .any(|line| !line.is_empty() && !line.starts_with("--"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_without_a_way_back_is_found() {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("1_good/up.sql", "CREATE TABLE t ();"),
            ("1_good/down.sql", "DROP TABLE t;"),
            ("2_none/up.sql", "CREATE TABLE u ();"),
            ("3_empty/up.sql", "CREATE TABLE v ();"),
            ("3_empty/down.sql", "-- nothing\n"),
        ] {
            let path = root.path().join("migrations").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let expected = [
            "migrations/2_none/down.sql is missing or empty",
            "migrations/3_empty/down.sql is missing or empty",
        ];
        assert_eq!(check(root.path()).unwrap(), expected);
    }

    #[test]
    fn a_repository_without_migrations_is_found() {
        let root = tempfile::tempdir().unwrap();
        assert!(check(root.path()).is_err());
        fs::create_dir(root.path().join("migrations")).unwrap();
        assert_eq!(check(root.path()).unwrap().len(), 1);
    }
}
