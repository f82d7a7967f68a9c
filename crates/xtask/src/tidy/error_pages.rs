//! Each error code has its page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// The table of error codes, whose rows begin `Variant = STATUS "code" "title"`.
const TABLE: &str = "crates/delivery/src/problem/code.rs";
const PAGES: &str = "docs/PROBLEMS.md";

pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let table =
        fs::read_to_string(root.join(TABLE)).with_context(|| format!("{TABLE} can't be read"))?;
    let pages = fs::read_to_string(root.join(PAGES)).unwrap_or_default();
    let codes = codes(&table);
    let mut found = Vec::new();
    if codes.is_empty() {
        found.push(format!("{TABLE} holds no error code that can be read"));
    }
    let described = described(&pages);
    for code in codes.difference(&described) {
        found.push(format!("the error code {code} has no page in {PAGES}"));
    }
    for code in described.difference(&codes) {
        found.push(format!(
            "{PAGES} has a page for {code}, which is no error code"
        ));
    }
    Ok(found)
}

/// The codes of the table's rows.
fn codes(table: &str) -> BTreeSet<&str> {
    table
        .lines()
        .filter_map(|line| {
            let (variant, rest) = line.trim().split_once(" = ")?;
            let (status, rest) = rest.split_once(" \"")?;
            let is_row = variant.chars().all(char::is_alphanumeric)
                && status
                    .chars()
                    .all(|letter| letter.is_ascii_uppercase() || letter == '_');
            is_row.then(|| rest.split('"').next()).flatten()
        })
        .collect()
}

/// The codes that have a section with words in it.
fn described(pages: &str) -> BTreeSet<&str> {
    let sections = pages.split("\n## ").skip(1);
    sections
        .filter_map(|section| section.split_once('\n'))
        .filter(|(_, words)| !words.trim().is_empty())
        .map(|(code, _)| code.trim())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "errors! {\n    NotFound = NOT_FOUND \"not_found\" \"Not found\"\n        \"No such thing.\"\n    InFlight = CONFLICT \"in_flight\" \"In flight\"\n}\nlet x = y \"z\";\n";

    #[test]
    fn reads_the_rows_of_the_table() {
        assert_eq!(codes(ROWS), BTreeSet::from(["not_found", "in_flight"]));
    }

    #[test]
    fn an_empty_section_is_no_page() {
        let pages = "# Problems\n\n## not_found\n\nNothing there.\n\n## in_flight\n\n";
        assert_eq!(described(pages), BTreeSet::from(["not_found"]));
    }

    #[test]
    fn codes_without_page_and_pages_without_code_are_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(TABLE).parent().unwrap()).unwrap();
        fs::create_dir_all(root.path().join("docs")).unwrap();
        fs::write(root.path().join(TABLE), ROWS).unwrap();
        fs::write(
            root.path().join(PAGES),
            "# Problems\n\n## not_found\n\nWords.\n\n## gone\n\nWords.\n",
        )
        .unwrap();
        let expected = [
            "the error code in_flight has no page in docs/PROBLEMS.md",
            "docs/PROBLEMS.md has a page for gone, which is no error code",
        ];
        assert_eq!(check(root.path()).unwrap(), expected);
    }
}
