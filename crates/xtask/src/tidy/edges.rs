//! Which crate may know which: `server → {delivery, adapters} → domain`, `delivery → api → domain`,
//! `server → client → api`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cargo::{cargo, output};

/// The crates of this workspace that each one may depend on outside of its tests.
const MAY_KNOW: [(&str, &[&str]); 12] = [
    ("deed-domain", &[]),
    ("deed-adapters", &["deed-domain"]),
    ("deed-api", &["deed-domain"]),
    ("deed-delivery", &["deed-api", "deed-domain"]),
    ("deed-client", &["deed-api"]),
    (
        "deed-server",
        &[
            "deed-adapters",
            "deed-api",
            "deed-client",
            "deed-delivery",
            "deed-domain",
            "local-postgres",
        ],
    ),
    ("deed-conformance", &["deed-domain"]),
    (
        "deed-testkit",
        &[
            "deed-adapters",
            "deed-api",
            "deed-conformance",
            "deed-delivery",
            "deed-domain",
            "deed-server",
            "local-postgres",
        ],
    ),
    // It builds the binary and the example that its tests run; the tests themselves speak HTTP only.
    (
        "deed-e2e",
        &[
            "deed-client",
            "deed-domain",
            "deed-server",
            "deed-testkit",
            "local-postgres",
        ],
    ),
    ("deed-bench", &["deed-client", "local-postgres"]),
    ("local-postgres", &[]),
    ("xtask", &["local-postgres"]),
];

/// What must not be anywhere below a crate. A name that ends in `*` stands for all that begin so.
const MUST_NOT_REACH: [(&str, &[&str]); 6] = [
    (
        "deed-domain",
        &[
            "tokio*",
            "diesel*",
            "actix*",
            "hyper*",
            "serde",
            "serde_derive",
            "serde_json",
        ],
    ),
    ("deed-conformance", &["diesel*", "actix*"]),
    ("deed-adapters", &["actix*", "apistos*"]),
    (
        "deed-client",
        &[
            "actix*",
            "apistos*",
            "diesel*",
            "deed-domain",
            "openssl-sys",
        ],
    ),
    ("deed-delivery", &["diesel*", "tokio-postgres", "deadpool*"]),
    ("local-postgres", &["tokio*", "deed-*"]),
];

/// Whether to look at a crate's own dependencies or at theirs too.
enum Depth {
    Own,
    All,
}

pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let members = members(root)?;
    let mut found = Vec::new();
    for member in &members {
        let dependencies = dependencies(member, Depth::Own)?;
        found.extend(forbidden_edges(member, &dependencies, &members));
    }
    for (member, forbidden) in MUST_NOT_REACH {
        let reached = dependencies(member, Depth::All)?;
        found.extend(
            reached
                .iter()
                .filter(|name| forbidden.iter().any(|pattern| matches(pattern, name)))
                .map(|name| format!("{member} must not depend on {name}, not even through others (cargo tree -p {member} -i {name})")),
        );
    }
    Ok(found)
}

fn forbidden_edges(
    member: &str,
    dependencies: &BTreeSet<String>,
    members: &BTreeSet<String>,
) -> Vec<String> {
    let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == member) else {
        return vec![format!(
            "the crate {member} is not in the list of who may know whom (crates/xtask/src/tidy/edges.rs)"
        )];
    };
    dependencies
        .iter()
        .filter(|name| {
            *name != member && members.contains(*name) && !allowed.contains(&name.as_str())
        })
        .map(|name| format!("{member} must not depend on {name}"))
        .collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |start| name.starts_with(start))
}

/// The names of the packages under `crates/`.
pub(crate) fn members(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut members = BTreeSet::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let Ok(manifest) = fs::read_to_string(entry?.path().join("Cargo.toml")) else {
            continue;
        };
        let name = manifest
            .lines()
            .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        members.extend(name.map(str::to_owned));
    }
    // A workspace of its own.
    members.remove("deed-fuzz");
    Ok(members)
}

/// What a crate needs to be built, with all its features, tests aside.
fn dependencies(member: &str, depth: Depth) -> anyhow::Result<BTreeSet<String>> {
    let mut tree = cargo([
        "tree",
        "--locked",
        "--all-features",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ]);
    tree.args(["--format", "{p}", "--package", member]);
    if matches!(depth, Depth::Own) {
        tree.args(["--depth", "1"]);
    }
    let text = output(tree)?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != member)
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_edge_that_is_not_in_the_list_is_found() {
        let members = set(&["deed-delivery", "deed-adapters", "deed-domain"]);
        let edges = set(&["deed-domain", "deed-adapters", "actix-web"]);
        assert_eq!(
            forbidden_edges("deed-delivery", &edges, &members),
            ["deed-delivery must not depend on deed-adapters"]
        );
        assert_eq!(
            forbidden_edges("deed-adapters", &set(&["deed-domain", "diesel"]), &members),
            [""; 0]
        );
    }

    #[test]
    fn a_crate_that_is_not_in_the_list_is_found() {
        let found = forbidden_edges("deed-new", &set(&[]), &set(&["deed-new"]));
        assert!(
            found.concat().contains("deed-new is not in the list"),
            "{found:?}"
        );
    }

    #[test]
    fn patterns_end_in_a_star() {
        assert!(matches("tokio*", "tokio-util") && matches("serde", "serde"));
        assert!(!matches("serde", "serde_core") && !matches("tokio*", "mio"));
    }

    #[test]
    fn cargo_tree_knows_the_edges_of_this_crate() {
        let own = dependencies("xtask", Depth::Own).unwrap();
        assert_eq!(
            own,
            set(&["anyhow", "local-postgres", "serde_json", "sha2"])
        );
        assert!(
            dependencies("xtask", Depth::All)
                .unwrap()
                .contains("rustix")
        );
    }
}
