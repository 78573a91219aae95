//! What you see: the trace as a tree with a bar for each span.
use std::collections::BTreeMap;

use stageflow::{RunReport, events::otel::ExportReceipt};

use crate::collector::Seen;

/// Characters of the longest bar.
const WIDTH: u64 = 40;

pub(crate) fn show(report: &RunReport, spans: &[Seen], receipt: &ExportReceipt) {
    let Some(root) = spans.iter().find(|span| !spans.iter().any(|other| other.id == span.parent)) else {
        println!("The collector has received nothing.\n{receipt}");
        return;
    };
    println!("The run, as it reports itself:\n\n{}\n", report.to_string().trim_end());
    println!("Its trace, as the collector has it ({} spans of `{}`):\n", spans.len(), root.service);
    println!("  trace       {}", root.trace);
    println!("  caller      {}, which sent the traceparent", root.parent);
    let said = ["stageflow.run.id", "stageflow.tenant.id", "stageflow.correlation.id"];
    for key in said {
        println!(
            "  {:<11} {}",
            key.rsplit('.').nth(1).unwrap_or(key),
            root.attributes.get(key).map_or("-", |it| it)
        );
    }
    println!();
    let mut below: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for span in spans {
        below.entry(&span.parent).or_default().push(span);
    }
    below.values_mut().for_each(|spans| spans.sort_by_key(|span| (span.start, span.end)));
    line(root, root, "", "");
    children(root, root, &below, "");
    println!("\nThe exporter says: {receipt}");
}

fn children(root: &Seen, span: &Seen, below: &BTreeMap<&str, Vec<&Seen>>, indent: &str) {
    let all = below.get(&*span.id).map_or(&[][..], Vec::as_slice);
    for (at, child) in all.iter().enumerate() {
        let (branch, next) = if at + 1 == all.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        line(root, child, indent, branch);
        children(root, child, below, &format!("{indent}{next}"));
    }
}

fn line(root: &Seen, span: &Seen, indent: &str, branch: &str) {
    let name = format!("{indent}{branch}{}", span.name);
    let total = (root.end - root.start).max(1);
    let cell = |time: u64| (time.saturating_sub(root.start) * WIDTH / total).min(WIDTH - 1);
    let (from, to) = (cell(span.start), cell(span.end));
    let bar: String = (0..WIDTH).map(|at| if (from..=to).contains(&at) { '█' } else { '·' }).collect();
    #[expect(clippy::cast_precision_loss, reason = "a time of milliseconds")]
    let took = (span.end - span.start) as f64 / 1e6;
    let error = span.attributes.get("error.type").map_or_else(String::new, |code| format!("  {code}"));
    let events =
        span.events.iter().filter(|event| *event != "exception" && !event.starts_with("stage.retry"));
    let events: String = events.map(|event| format!("  ({event})")).collect();
    println!("  {name:<34} {bar} {took:>7.2} ms{error}{events}");
}
