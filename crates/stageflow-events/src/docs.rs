//! What `docs/telemetry.md` and `docs/telemetry/grafana.json` have to say: made of the tables of events and metrics.
//!
//! `cargo xtask docs` writes it; the test of this file fails where it is out of date.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use stageflow_core::EVENTS;

use crate::{METRICS, MetricKind, grafana_dashboard, metrics::names};

/// Set by `cargo xtask docs`: write what is out of date.
const WRITE: &str = "STAGEFLOW_WRITE_DOCS";

fn docs(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(path)
}

fn code(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn events() -> String {
    let mut out = "| event | class | by | when | details |\n|---|---|---|---|---|\n".to_owned();
    for event in EVENTS {
        let details = code(event.details);
        let _infallible = writeln!(
            out,
            "| `{}` | {} | {} | {} | {details} |",
            event.name, event.class, event.by, event.when
        );
    }
    out
}

fn metrics() -> String {
    let mut out =
        "| metric | kind | unit | from | what | attributes |\n|---|---|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let (kind, attributes) = (metric.kind.as_str(), code(metric.attributes));
        let _infallible = writeln!(
            out,
            "| `{}` | {kind} | `{}` | {} | {} | {attributes} |",
            metric.name,
            metric.unit,
            metric.source.as_str(),
            metric.description
        );
    }
    out
}

fn buckets() -> String {
    let mut out = "| metrics | upper bounds of the buckets |\n|---|---|\n".to_owned();
    let mut known: Vec<(&[f64], Vec<&str>)> = Vec::new();
    for metric in METRICS {
        let MetricKind::Histogram(bounds) = metric.kind else { continue };
        match known.iter_mut().find(|(same, _)| *same == bounds) {
            Some((_, names)) => names.push(metric.name),
            None => known.push((bounds, vec![metric.name])),
        }
    }
    for (bounds, names) in known {
        let bounds = bounds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let _infallible = writeln!(out, "| {} | {bounds} |", code(&names));
    }
    out
}

fn attributes() -> String {
    let mut out = "| attribute | value |\n|---|---|\n".to_owned();
    for (key, what) in names::ALL {
        let _infallible = writeln!(out, "| `{key}` | {what} |");
    }
    out
}

/// The attributes of spans, by where they stand.
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
fn spans() -> String {
    use crate::otel::conventions::{self as names, ALL};
    let on: &[(&str, &[&str])] = &[
        (
            "every span",
            &[
                names::RUN_ID,
                names::PIPELINE,
                names::TENANT,
                names::CORRELATION,
                names::REQUEST,
                names::SESSION,
            ],
        ),
        ("run", &[names::PARENT_RUN_ID, names::RUN_OUTCOME, names::LOST, names::GEN_AI_WORKFLOW]),
        ("stage, attempt", &[names::STAGE, names::STAGE_KIND]),
        ("stage", &[names::ATTEMPTS, names::STAGE_OUTCOME, names::GEN_AI_AGENT]),
        ("attempt", &[names::ATTEMPT]),
        ("run, stage", &[names::CAUSE, names::INCOMPLETE, names::GEN_AI_OPERATION]),
        ("run, stage, attempt", &[names::ERROR_TYPE, names::ERROR_CLASS, names::RECOVERABLE]),
        ("event `stage.blocked`", &[names::BLOCKED_BY]),
        ("event `pipeline.child_started`", &[names::CHILD_RUN_ID]),
        ("event `exception`", &[names::EXCEPTION_TYPE, names::EXCEPTION_MESSAGE]),
    ];
    let mut out = "| attribute | on | value |\n|---|---|---|\n".to_owned();
    let mut shown = 0;
    for (place, keys) in on {
        for (key, what) in ALL.iter().filter(|(key, _)| keys.contains(key)) {
            let _infallible = writeln!(out, "| `{key}` | {place} |{what} |");
            shown += 1;
        }
    }
    // Names of a scope, an event, a value and the resource, and an attribute of metrics.
    let others =
        [names::SCOPE, names::EXCEPTION, names::RETRY_REQUESTED, names::SERVICE_NAME, names::OVERFLOW];
    assert_eq!(shown, ALL.len() - others.len(), "an attribute has no place");
    out
}

/// Puts what is generated between its marks. That of the exporter needs its feature.
fn filled(page: &str) -> String {
    let parts = [
        ("events", events()),
        ("metrics", metrics()),
        ("buckets", buckets()),
        ("attributes", attributes()),
        #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
        ("spans", spans()),
    ];
    parts.into_iter().fold(page.to_owned(), |page, (name, text)| {
        let (begin, end) =
            (format!("<!-- {name}: made by `cargo xtask docs` -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = page.split_once(&begin).expect("a mark where it begins");
        let (_, after) = rest.split_once(&end).expect("a mark where it ends");
        format!("{before}{begin}\n{text}\n{end}{after}")
    })
}

fn is_current(path: &str, wanted: &str) -> bool {
    let file = docs(path);
    if fs::read_to_string(&file).is_ok_and(|known| known == wanted) {
        return true;
    }
    let writes = env::var_os(WRITE).is_some();
    if writes {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, wanted).expect("it can be written");
    }
    writes
}

#[test]
fn the_pages_say_what_the_tables_say() {
    let page = fs::read_to_string(docs("telemetry.md")).expect("the page");
    let pages = [("telemetry.md", filled(&page)), ("telemetry/grafana.json", grafana_dashboard())];
    for (path, wanted) in &pages {
        assert!(is_current(path, wanted), "docs/{path} is out of date: run `cargo xtask docs`");
    }
}

/// Each metric is a panel, each panel asks for what Prometheus is given, and none lies on another.
#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard: serde_json::Value = serde_json::from_str(&grafana_dashboard()).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let titles: Vec<_> = panels.iter().filter(|it| it["type"] != "row").map(|it| &it["title"]).collect();
    for metric in METRICS {
        assert_eq!(titles.iter().filter(|title| **title == metric.name).count(), 1, "{}", metric.name);
    }
    assert_eq!(titles.len(), METRICS.len());
    let mut places = std::collections::HashSet::new();
    for (at, panel) in panels.iter().enumerate() {
        let place = &panel["gridPos"];
        assert!(places.insert((place["x"].as_u64(), place["y"].as_u64())), "{place}");
        assert_eq!(panel["id"], at + 1);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            assert!(
                query.matches('(').count() == query.matches(')').count() && query.contains("stageflow_"),
                "{query}"
            );
            assert!(!query.contains("by ()") && !query.contains("(le, )"), "{query}");
        }
    }
}

/// Each field of a wide event is on the page.
#[test]
fn the_page_names_each_field_of_wide_events() {
    let page = fs::read_to_string(docs("telemetry.md")).expect("the page");
    let (_, rest) = page.split_once("## Wide events").expect("a part about them");
    let part = rest.split("\n## ").next().expect("the part");
    for record in crate::wide::samples() {
        let json = serde_json::to_value(&record).expect("JSON");
        for key in json.as_object().expect("an object").keys() {
            assert!(
                part.contains(&format!("| `{key}` |")),
                "`{key}` of {} is not on the page",
                record.name()
            );
        }
    }
}
