//! What is exported, and what the documents say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use deed_adapters::clock::SystemClock;
use serde_json::Value;

use super::*;

/// What a metric is, as the page and the exporter have to agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Described {
    kind: String,
    unit: String,
    labels: BTreeSet<String>,
}

/// Everything that a server exports, none of it left out for want of a value.
fn openmetrics() -> String {
    let database = Database::new("postgres://nobody@127.0.0.1:1/none", 1).unwrap();
    let http = HttpMetrics::default();
    http.pretend("/livez");
    database.metrics().pretend("echo");
    let (_draining, draining) = watch::channel(false);
    let state = ServerState {
        tasks: vec![TaskState::new("sweeper")],
        draining,
    };
    let mut registry = Registry::default();
    register(&mut registry, &database, &http, state, &SystemClock).unwrap();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn document(path: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::read_to_string(docs.join(path)).unwrap()
}

/// By the name under which a metric is asked for: counters with their suffix.
fn exported() -> BTreeMap<String, Described> {
    let text = openmetrics();
    let mut metrics: BTreeMap<String, Described> = BTreeMap::new();
    let mut family = ("", String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let suffix = if kind == "counter" { "_total" } else { "" };
            family = (name, format!("{name}{suffix}"));
            let described = Described {
                kind: kind.to_owned(),
                unit: String::new(),
                labels: BTreeSet::new(),
            };
            let before = metrics.insert(family.1.clone(), described);
            assert_eq!(before, None, "{name} is exported twice");
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert_eq!(name, family.0);
            assert!(name.ends_with(&format!("_{unit}")), "{name}");
            unit.clone_into(&mut metrics.get_mut(&family.1).unwrap().unit);
        } else if !line.starts_with('#') {
            assert!(line.starts_with(family.0), "{line} is not described");
            let Some((labels, _)) = line
                .split_once('{')
                .and_then(|(_, rest)| rest.rsplit_once('}'))
            else {
                continue;
            };
            // No value of a label here holds a quotation mark.
            let names = labels
                .split('"')
                .step_by(2)
                .map(|part| part.trim_matches([',', '=']).to_owned());
            let own = names.filter(|name| !name.is_empty() && name != "le");
            metrics.get_mut(&family.1).unwrap().labels.extend(own);
        }
    }
    metrics
}

/// The page's sections: the name, and the text up to the next.
fn sections(page: &str) -> BTreeMap<String, String> {
    let mut sections = BTreeMap::new();
    for section in page.split("\n### `").skip(1) {
        let (name, text) = section.split_once("`\n").unwrap();
        let text = text.split("\n## ").next().unwrap();
        let before = sections.insert(name.to_owned(), text.to_owned());
        assert_eq!(before, None, "{name} stands twice on the page");
    }
    sections
}

/// `Counter in seconds; labels `a`, `b`. Text …`
fn described(name: &str, section: &str) -> Described {
    let (head, _) = section.trim().split_once(". ").unwrap();
    let head = head.replace('\n', " ");
    let (kind, labels) = head.split_once("; label").unwrap_or((&head, ""));
    let (kind, unit) = kind.split_once(" in ").unwrap_or((kind, ""));
    assert!(
        ["Counter", "Gauge", "Histogram"].contains(&kind),
        "{name}: {head}"
    );
    Described {
        kind: kind.to_lowercase(),
        unit: unit.to_owned(),
        labels: labels
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect(),
    }
}

/// The names of ours in an expression of PromQL.
fn names(expression: &str) -> BTreeSet<String> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    expression
        .split(|letter: char| !is_word(letter))
        .filter(|word| word.starts_with("deed_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Every name that Prometheus keeps samples under.
fn samples() -> BTreeSet<String> {
    let of = |(name, described): (String, Described)| match described.kind.as_str() {
        "histogram" => ["_bucket", "_sum", "_count"]
            .map(|suffix| format!("{name}{suffix}"))
            .to_vec(),
        _ => vec![name],
    };
    exported().into_iter().flat_map(of).collect()
}

#[track_caller]
fn check_names(place: &str, expression: &str) {
    let (used, known) = (names(expression), samples());
    assert!(!used.is_empty(), "{place} asks for nothing: {expression}");
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "{place} names {unknown:?}: {expression}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn the_page_has_every_metric_and_no_other() {
    let page = sections(&document("METRICS.md"));
    let page: BTreeMap<String, Described> = page
        .iter()
        .map(|(name, text)| (name.clone(), described(name, text)))
        .collect();
    let exported = exported();
    let (listed, there): (BTreeSet<_>, BTreeSet<_>) =
        (page.keys().collect(), exported.keys().collect());
    let missing: Vec<_> = there.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(&there).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not on the page: {missing:?}; not exported: {invented:?}"
    );
    for (name, described) in &exported {
        assert_eq!(&page[name], described, "{name}");
    }
}

#[test]
fn every_section_asks_for_its_metric() {
    for (name, section) in sections(&document("METRICS.md")) {
        let (_, rest) = section.split_once("```promql\n").unwrap();
        let (expression, _) = rest.split_once("\n```").unwrap();
        check_names(&name, expression);
        let asks = names(expression);
        assert!(
            asks.iter().any(|asked| asked.starts_with(&name)),
            "{name}: {expression}"
        );
    }
}

#[test]
fn the_alerts_are_those_of_the_page() {
    let alerts = document("alerts.yml");
    let of = |key: &str| -> Vec<String> {
        let found = alerts
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix(key));
        found.map(str::to_owned).collect()
    };
    let expressions = of("expr: ");
    assert!(expressions.len() >= 10);
    for expression in &expressions {
        check_names("an alert", expression);
    }
    let defined: BTreeSet<String> = of("- alert: ").into_iter().collect();
    assert_eq!(defined.len(), expressions.len());
    let page = document("METRICS.md");
    let named: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("Alert: `")?.strip_suffix("`."))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, defined);
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let board: Value = serde_json::from_str(&document("grafana/deed.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let mut expressions = 0;
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            check_names(title, target["expr"].as_str().unwrap());
            expressions += 1;
        }
    }
    assert!(expressions >= 40, "{expressions}");
    let ids: BTreeSet<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "panels with one id");
    for variable in board["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            check_names("a variable", variable["definition"].as_str().unwrap());
        }
    }
}

#[test]
fn names_keep_the_conventions() {
    for (name, Described { kind, unit, labels }) in exported() {
        let is_ours = name.starts_with("deed_") || name.starts_with("process_");
        assert!(is_ours, "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(
            ["", "seconds", "bytes"].contains(&unit.as_str()),
            "{name}: {unit}"
        );
        assert!(labels.len() <= 4, "{name}: {labels:?}");
    }
}

#[test]
fn text_describes_every_sample() {
    let text = Format::Text.of_openmetrics(openmetrics());
    let described: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let is_described = described.contains(name) || described.contains(family);
        assert!(is_described, "{line}");
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
}
