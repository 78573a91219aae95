//! What you see: what became of the tickets, what the service saw, and what the policies did in between.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    io::Write,
    time::{Duration, SystemTime},
};

use stageflow::{Completed, Event, EventKind, FieldValue, RunError, RunReport};

use crate::service::{BROKEN, OUTAGE, QUOTA, Seen};

/// One load, after it has been served.
pub(crate) struct Phase {
    pub(crate) took: Duration,
    pub(crate) ended: Vec<Result<Completed<String>, RunError>>,
    pub(crate) events: Vec<Event>,
    pub(crate) seen: Seen,
}

impl Phase {
    pub(crate) fn answered(&self) -> usize {
        self.ended.iter().filter(|run| run.is_ok()).count()
    }

    /// How often something was told.
    fn count(&self, event: &str) -> usize {
        self.events.iter().filter(|one| one.name() == event).count()
    }

    /// Since the first ticket came in.
    fn at(&self, event: &Event) -> Duration {
        let first = self.events.iter().map(Event::time).min().unwrap_or(SystemTime::UNIX_EPOCH);
        event.time().duration_since(first).unwrap_or_default()
    }

    fn reports(&self) -> impl Iterator<Item = RunReport> {
        self.ended.iter().filter_map(|run| match run {
            Ok(run) => Some(run.report()),
            Err(error) => error.report(),
        })
    }

    fn requests(&self, path: &str) -> u32 {
        self.seen.get(path).map_or(0, |answers| answers.values().sum())
    }
}

pub(crate) fn intro(tickets: u32, per_second: u32) {
    say(format_args!("{tickets} tickets, {per_second} a second, against a service on this machine:"));
    say(format_args!("  /profile   one call in {BROKEN} is refused or loses its connection"));
    say(format_args!("  /search    out of order from {} to {}", seconds(OUTAGE.start), seconds(OUTAGE.end)));
    say(format_args!("  /complete  takes {QUOTA} requests in any second, and refuses the others with 429"));
}

/// What became of the tickets, and what the service saw.
pub(crate) fn phase(title: &str, phase: &Phase) {
    say(format_args!("\n{title}\n{}", "─".repeat(title.len())));
    say(format_args!("{} of {} answered in {}", phase.answered(), phase.ended.len(), seconds(phase.took)));
    let mut causes: BTreeMap<String, u32> = BTreeMap::new();
    for failure in phase.ended.iter().filter_map(|run| run.as_ref().err()?.failure()) {
        *causes.entry(format!("{}: {}", failure.stage(), failure.message())).or_default() += 1;
    }
    for (cause, count) in causes {
        say(format_args!("  {count:>3} × {cause}"));
    }
    say(format_args!("what the service saw"));
    for (path, answers) in &phase.seen {
        let of = |status: u16, what| answers.get(&status).map(|count| format!("{count} {what}"));
        let list = [
            of(200, "answered"),
            of(500, "× 500"),
            of(503, "× 503"),
            of(429, "× 429"),
            of(0, "connections lost"),
        ];
        let list: Vec<_> = list.into_iter().flatten().collect();
        say(format_args!("  {path:<10} {:>3} requests: {}", phase.requests(path), list.join(", ")));
    }
}

/// When the breaker changed its mind.
pub(crate) fn breaker(phase: &Phase) {
    say(format_args!("the breaker of /search"));
    for event in &phase.events {
        let EventKind::Custom(told) = event.kind() else { continue };
        let Some(change) = told.name().strip_prefix("breaker.").filter(|what| *what != "rejected") else {
            continue;
        };
        let because = told.field("reason").map(|why| format!(" ({})", text(why))).unwrap_or_default();
        let open = told.field("open_ms").map(|ms| format!(", for {} ms", text(ms))).unwrap_or_default();
        say(format_args!("  {:>7}  {}{because}{open}", seconds(phase.at(event)), change.replace('_', " ")));
    }
}

/// What was done about it all.
pub(crate) fn policies(phase: &Phase) {
    let waits = phase.events.iter().filter_map(|event| match event.kind() {
        EventKind::Custom(told) if told.name() == "rate.waited" => match told.field("waited_ns") {
            Some(FieldValue::Int(nanos)) => u64::try_from(*nanos).ok().map(Duration::from_nanos),
            _ => None,
        },
        _ => None,
    });
    let longest = waits.max().unwrap_or_default();
    say(format_args!("what the policies did"));
    let row = |count: usize, what: fmt::Arguments<'_>| say(format_args!("  {count:>3} {what}"));
    let (again, recovered) = (phase.count("stage.retry_scheduled"), phase.count("stage.retry_recovered"));
    row(again, format_args!("retries, by which {recovered} stages recovered"));
    row(phase.count("breaker.rejected"), format_args!("calls not made while the breaker was open"));
    row(phase.count("fallback.used"), format_args!("answers without sources"));
    row(
        phase.count("rate.waited"),
        format_args!("calls waited for the quota, at most {} ms", longest.as_millis()),
    );
}

/// The report of the run with the most attempts.
pub(crate) fn busiest(phase: &Phase) {
    let attempts = |report: &RunReport| report.stages().map(|stage| stage.attempts).sum::<u32>();
    if let Some(report) = phase.reports().max_by_key(attempts) {
        say(format_args!("the ticket with the most attempts\n\n{report}"));
    }
}

pub(crate) fn verdict(without: &Phase, with: &Phase) {
    let saved = without.requests("/search").saturating_sub(with.requests("/search"));
    say(format_args!(
        "\n{} → {} of {} answered, and the service in trouble had {saved} requests fewer to refuse.",
        without.answered(),
        with.answered(),
        with.ended.len(),
    ));
}

pub(crate) fn complain(error: &(dyn Error + Send + Sync)) {
    let _ = writeln!(std::io::stderr(), "resilient: {error}");
}

fn text(value: &FieldValue) -> String {
    match value {
        FieldValue::Text(text) => text.replace('_', " "),
        other => other.to_string(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Prints a line; a reader that has gone away is no reason to panic.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
