//! The bill of materials: every package whose code is in the binary, as CycloneDX.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::epoch;
use crate::cargo::{cargo, output, root, run};
use crate::tidy::files;
use crate::tools::Tool;

const CYCLONEDX: Tool = Tool {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    is_bare: false,
};
/// The name that its files get, beside every manifest.
const NAME: &str = "bill";
/// What stands for the directory of the sources, wherever that was.
const SOURCES: &str = "file:///deed";

/// Writes the bill for the target `triple`.
///
/// cargo-cyclonedx writes beside every manifest, so it works on a copy; and it takes the features of all packages of the
/// workspace together, those of the tests too, so what is not linked is taken out again.
pub(crate) fn write(triple: &str, file: &Path) -> anyhow::Result<()> {
    let tool = CYCLONEDX.ensure()?;
    let copy = root().join("target/package-bill");
    drop(fs::remove_dir_all(&copy));
    for path in files::all(root())? {
        if path.starts_with("Cargo.") || path.starts_with("crates/") {
            let to = copy.join(&path);
            fs::create_dir_all(to.parent().unwrap_or(&copy))?;
            fs::copy(root().join(&path), to).with_context(|| format!("{path} can't be copied"))?;
        }
    }
    let mut command = Command::new(tool);
    command
        .args([
            "cyclonedx",
            "--quiet",
            "--format",
            "json",
            "--spec-version",
            "1.5",
        ])
        .args([
            "--no-build-deps",
            "--target",
            triple,
            "--override-filename",
            NAME,
        ])
        .args(["--manifest-path", "crates/server/Cargo.toml"])
        .current_dir(&copy)
        .env("SOURCE_DATE_EPOCH", epoch()?);
    run(command)?;
    let text = fs::read_to_string(copy.join(format!("crates/server/{NAME}.json")))?;
    let text = text.replace(&format!("file://{}", copy.display()), SOURCES);
    drop(fs::remove_dir_all(&copy));
    let linked = linked(triple)?;
    let bill = only(serde_json::from_str(&text)?, &linked)?;
    fs::write(file, format!("{bill:#}\n"))?;
    Ok(())
}

/// `name version` of every package that is linked into the binary.
fn linked(triple: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut tree = cargo([
        "tree",
        "--locked",
        "--package",
        "deed-server",
        "--edges",
        "normal",
    ]);
    tree.args(["--prefix", "none", "--format", "{p}", "--target", triple]);
    let text = output(tree)?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            Some(format!("{name} {}", words.next()?.strip_prefix('v')?))
        })
        .collect())
}

/// The bill without the components that are not `linked`. A linked one that it lacks is an error.
fn only(mut bill: Value, linked: &BTreeSet<String>) -> anyhow::Result<Value> {
    let root = bill
        .pointer("/metadata/component")
        .context("the bill names no program")?;
    let mut missing = linked.clone();
    missing.remove(&identity(root));
    let mut kept: BTreeSet<String> = reference(root).into_iter().collect();
    let components = list(&mut bill, "components")?;
    components.retain(|component| {
        let identity = identity(component);
        missing.remove(&identity);
        let is_linked = linked.contains(&identity);
        if is_linked {
            kept.extend(reference(component));
        }
        is_linked
    });
    if !missing.is_empty() {
        bail!("the bill of materials lacks {missing:?}");
    }
    let dependencies = list(&mut bill, "dependencies")?;
    dependencies.retain(|edge| {
        edge.get("ref")
            .and_then(Value::as_str)
            .is_some_and(|name| kept.contains(name))
    });
    for edge in dependencies {
        if let Some(Value::Array(names)) = edge.get_mut("dependsOn") {
            names.retain(|name| name.as_str().is_some_and(|name| kept.contains(name)));
        }
    }
    Ok(bill)
}

fn list<'a>(bill: &'a mut Value, name: &str) -> anyhow::Result<&'a mut Vec<Value>> {
    bill.get_mut(name)
        .and_then(Value::as_array_mut)
        .with_context(|| format!("the bill of materials has no {name}"))
}

fn identity(component: &Value) -> String {
    let text = |name| component.get(name).and_then(Value::as_str).unwrap_or("");
    format!("{} {}", text("name"), text("version"))
}

fn reference(component: &Value) -> Option<String> {
    Some(component.get("bom-ref")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bill() -> Value {
        json!({
            "metadata": {"component": {"name": "deed-server", "version": "1.0.0", "bom-ref": "s"}},
            "components": [
                {"name": "log", "version": "0.4.1", "bom-ref": "log"},
                {"name": "mockall", "version": "0.15.0", "bom-ref": "mockall"},
            ],
            "dependencies": [
                {"ref": "s", "dependsOn": ["log", "mockall"]},
                {"ref": "log"},
                {"ref": "mockall", "dependsOn": ["log"]},
            ],
        })
    }

    fn linked(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_linked_is_no_part_of_the_bill() {
        let bill = only(bill(), &linked(&["deed-server 1.0.0", "log 0.4.1"])).unwrap();
        assert_eq!(
            bill["components"],
            json!([{"name": "log", "version": "0.4.1", "bom-ref": "log"}])
        );
        assert_eq!(
            bill["dependencies"],
            json!([{"ref": "s", "dependsOn": ["log"]}, {"ref": "log"}])
        );
    }

    #[test]
    fn a_bill_that_lacks_something_is_none() {
        let error = only(bill(), &linked(&["deed-server 1.0.0", "tokio 1.0.0"])).unwrap_err();
        assert!(error.to_string().contains("tokio 1.0.0"), "{error}");
    }

    #[test]
    fn cargo_tells_what_is_linked() {
        let linked = super::linked("x86_64-unknown-linux-gnu").unwrap();
        assert!(
            linked.iter().any(|name| name.starts_with("tokio ")),
            "{linked:?}"
        );
        assert!(
            !linked.iter().any(|name| name.starts_with("mockall ")),
            "{linked:?}"
        );
    }
}
