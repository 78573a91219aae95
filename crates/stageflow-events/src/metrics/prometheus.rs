//! The text format of Prometheus.

use std::fmt::{self, Write as _};

use super::{
    snapshot::{MetricData, MetricValue, SeriesData},
    table::{MetricKind, MetricSpec},
};

/// The name of a metric there.
pub(crate) fn name(spec: &MetricSpec) -> String {
    let unit = if spec.unit == "s" { "_seconds" } else { "" };
    let kind = if spec.kind == MetricKind::Counter { "_total" } else { "" };
    format!("{}{unit}{kind}", label(spec.name))
}

/// The name of an attribute there.
pub(crate) fn label(key: &str) -> String {
    key.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

pub(crate) fn text(metrics: &[MetricData]) -> String {
    let mut out = String::new();
    let _infallible = metrics.iter().try_for_each(|metric| write_metric(&mut out, metric));
    out
}

fn write_metric(out: &mut String, metric: &MetricData) -> fmt::Result {
    let name = name(metric.spec);
    let kind = match metric.spec.kind {
        MetricKind::Counter => "counter",
        MetricKind::UpDownCounter | MetricKind::Gauge => "gauge",
        MetricKind::Histogram(_) => "histogram",
    };
    writeln!(out, "# HELP {name} {}", metric.spec.description.replace('\\', "\\\\").replace('\n', "\\n"))?;
    writeln!(out, "# TYPE {name} {kind}")?;
    for series in &metric.series {
        match (&series.value, metric.spec.kind) {
            (MetricValue::Number(number), _) => {
                writeln!(out, "{name}{} {number}", Labels(series, None))?;
            }
            (MetricValue::Histogram { buckets, count, sum, .. }, MetricKind::Histogram(bounds)) => {
                let mut below = 0;
                let bounds = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
                for (bucket, bound) in buckets.iter().zip(bounds) {
                    below += bucket;
                    writeln!(out, "{name}_bucket{} {below}", Labels(series, Some(&bound)))?;
                }
                writeln!(out, "{name}_sum{} {sum}", Labels(series, None))?;
                writeln!(out, "{name}_count{} {count}", Labels(series, None))?;
            }
            (MetricValue::Histogram { .. }, _) => {}
        }
    }
    Ok(())
}

/// The labels of a series, with the bound of a bucket.
struct Labels<'a>(&'a SeriesData, Option<&'a str>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.attributes.iter().map(|(key, value)| (label(key), value.as_str()));
        let all: Vec<_> = known.chain(self.1.map(|bound| ("le".to_owned(), bound))).collect();
        if all.is_empty() {
            return Ok(());
        }
        for (at, (key, value)) in all.iter().enumerate() {
            write!(f, "{}{key}=\"", if at == 0 { "{" } else { "," })?;
            for letter in value.chars() {
                match letter {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    other => f.write_char(other)?,
                }
            }
            f.write_str("\"")?;
        }
        f.write_str("}")
    }
}
