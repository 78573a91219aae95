//! A dashboard for Grafana, made of the table of metrics.

use serde_json::{Value, json};

use super::{
    names,
    prometheus::{label, name},
    table::{METRICS, MetricKind, MetricSpec},
};

/// The rows, each with the beginning of the names of its metrics.
const ROWS: &[(&str, &[&str])] = &[
    ("Runs", &["stageflow.run."]),
    ("Stages", &["stageflow.stage."]),
    ("Limits, breakers and budgets", &["stageflow.limit.", "stageflow.breaker.", "stageflow.budget."]),
    ("Admission", &["stageflow.admission."]),
    ("Clean-up and sinks", &["stageflow.cleanup.", "stageflow.events.", "stageflow.sink."]),
    ("Export", &["stageflow.export."]),
];

const WIDTH: usize = 12;
const HEIGHT: usize = 8;

/// A dashboard for Grafana that shows every metric of [`METRICS`](crate::METRICS), as JSON to be imported.
///
/// It reads them from Prometheus, by the names of [`to_prometheus`](crate::MetricsSnapshot::to_prometheus), and can be narrowed to
/// tenants and pipelines.
///
/// ```
/// let json = stageflow_events::grafana_dashboard();
/// assert!(json.contains("stageflow_run_duration_seconds_bucket"));
/// ```
pub fn grafana_dashboard() -> String {
    let mut panels = Vec::new();
    let mut top = 0;
    for (title, prefixes) in ROWS {
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": title,
            "collapsed": false,
            "panels": [],
            "gridPos": { "h": 1, "w": 24, "x": 0, "y": top },
        }));
        top += 1;
        let is_in = |spec: &&MetricSpec| prefixes.iter().any(|prefix| spec.name.starts_with(prefix));
        let metrics: Vec<_> = METRICS.iter().filter(is_in).collect();
        for (at, spec) in metrics.iter().enumerate() {
            let place = json!({ "h": HEIGHT, "w": WIDTH, "x": at % 2 * WIDTH, "y": top + at / 2 * HEIGHT });
            panels.push(panel(spec, panels.len() + 1, &place));
        }
        top += metrics.len().div_ceil(2) * HEIGHT;
    }
    let dashboard = json!({
        "uid": "stageflow",
        "title": "Stageflow",
        "description": "Made by `cargo xtask docs` of the table of metrics.",
        "tags": ["stageflow"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": variables() },
        "panels": panels,
    });
    // A value of JSON can always be written.
    let mut text = serde_json::to_string_pretty(&dashboard).unwrap_or_default();
    text.push('\n');
    text
}

fn variables() -> Vec<Value> {
    let source = json!({ "name": "source", "label": "Source", "type": "datasource", "query": "prometheus" });
    let values = [("tenant", "Tenant", names::TENANT), ("pipeline", "Pipeline", names::PIPELINE)];
    let values = values.map(|(variable, title, key)| {
        json!({
            "name": variable,
            "label": title,
            "type": "query",
            "datasource": { "type": "prometheus", "uid": "${source}" },
            "query": format!("label_values({})", label(key)),
            "refresh": 2,
            "includeAll": true,
            "allValue": ".*",
            "multi": true,
            "current": { "text": "All", "value": "$__all" },
        })
    });
    std::iter::once(source).chain(values).collect()
}

fn panel(spec: &MetricSpec, id: usize, place: &Value) -> Value {
    let unit = if spec.unit == "s" { "s" } else { "short" };
    json!({
        "id": id,
        "type": "timeseries",
        "title": spec.name,
        "description": spec.description,
        "datasource": { "type": "prometheus", "uid": "${source}" },
        "gridPos": place,
        "fieldConfig": { "defaults": { "unit": unit }, "overrides": [] },
        "targets": targets(spec),
    })
}

fn targets(spec: &MetricSpec) -> Vec<Value> {
    let (name, matched) = (name(spec), matched(spec));
    let by: Vec<_> = spec
        .attributes
        .iter()
        .filter(|key| ![names::TENANT, names::STAGE_KIND].contains(key))
        .map(|key| label(key))
        .collect();
    let legend: Vec<_> = by.iter().map(|key| format!("{{{{{key}}}}}")).collect();
    let (by, legend) = (by.join(", "), legend.join(" "));
    let target = |at: usize, query: String, legend: String| json!({ "refId": char::from(b'A' + u8::try_from(at).unwrap_or(25)).to_string(), "expr": query, "legendFormat": legend });
    match spec.kind {
        MetricKind::Counter => {
            let query = format!("sum by ({by}) (rate({name}{matched}[$__rate_interval]))");
            vec![target(0, query, legend)]
        }
        MetricKind::UpDownCounter => {
            vec![target(0, format!("sum by ({by}) ({name}{matched})"), legend)]
        }
        MetricKind::Gauge => vec![target(0, format!("max by ({by}) ({name}{matched})"), legend)],
        MetricKind::Histogram(_) => {
            let quantile = |(at, percent): (usize, &str)| {
                let rate = format!("sum by (le, {by}) (rate({name}_bucket{matched}[$__rate_interval]))");
                let query = format!("histogram_quantile(0.{percent}, {rate})");
                target(at, query, format!("p{percent} {legend}"))
            };
            ["50", "95", "99"].into_iter().enumerate().map(quantile).collect()
        }
    }
}

/// What narrows a metric to tenants and pipelines. What has none of both, such as a run without a tenant, is shown with `.*`.
fn matched(spec: &MetricSpec) -> String {
    let narrow = [(names::PIPELINE, "$pipeline"), (names::TENANT, "$tenant")];
    let known = narrow.iter().filter(|(key, _)| spec.attributes.contains(key));
    let parts: Vec<_> = known.map(|(key, variable)| format!("{}=~\"{variable}\"", label(key))).collect();
    if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(",")) }
}
