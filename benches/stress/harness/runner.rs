//! Runs scenarios one after the other, each on a runtime of its own, and keeps what they recorded.

use std::{io::IsTerminal, sync::Arc, time::Duration};

use anyhow::Result;
use stageflow::ContextSnapshot;
use stageflow_benches::machine;

use super::{
    bench::{Bench, Settings},
    clock::Moment,
    lag::Lag,
    record::{Counts, Machine, Record, SCHEMA, ScenarioRecord},
    scenario::{Body, Scenario, Step},
    stop::Stop,
    verdict::Verdict,
};

/// A scenario that has not ended by then hangs.
const HANGS_AFTER: Duration = Duration::from_secs(240);

/// What a campaign consists of.
pub(crate) struct Campaign {
    pub(crate) scenarios: Vec<&'static Scenario>,
    pub(crate) settings: Settings,
    pub(crate) command: String,
}

impl Campaign {
    /// Runs the scenarios; what was recorded until a stop is kept.
    pub(crate) fn run(&self, stop: &Stop) -> Result<Record> {
        let started = Moment::now();
        let mut record = Record {
            schema: SCHEMA,
            run_id: ContextSnapshot::builder().build().identity().run_id().to_string(),
            command: self.command.clone(),
            seed: self.settings.seed,
            scale: self.settings.scale,
            commit: machine::commit(),
            machine: Machine::look(),
            started: machine::date("+%Y-%m-%dT%H:%M:%SZ"),
            seconds: 0.0,
            partial: None,
            not_run: Vec::new(),
            summary: Counts::default(),
            scenarios: Vec::new(),
        };
        for (index, scenario) in self.scenarios.iter().enumerate() {
            if let Some(reason) = stop.reason() {
                record.partial.get_or_insert_with(|| reason.to_owned());
                record.not_run.push(scenario.name.to_owned());
                continue;
            }
            progress(&format!("{}/{} {}", index + 1, self.scenarios.len(), scenario.name));
            let settings = Settings { until: share(stop, self.scenarios.len() - index), ..self.settings };
            record.scenarios.push(run(scenario, settings, stop)?);
        }
        progress("");
        if record.partial.is_none() {
            let last = record.scenarios.last().and_then(|last| last.reason.as_deref());
            // The last scenario was stopped, and has not ended by itself.
            record.partial = stop.reason().filter(|reason| last == Some(*reason)).map(ToOwned::to_owned);
        }
        record.seconds = started.elapsed().as_secs_f64();
        record.summary = Counts::of(&record.scenarios);
        Ok(record)
    }
}

/// Until when one of the scenarios that are left may go on, so that all of them have their turn.
fn share(stop: &Stop, scenarios_left: usize) -> Option<Moment> {
    let scenarios_left = u32::try_from(scenarios_left).unwrap_or(u32::MAX).max(1);
    // Some is left over for what a scenario does after its last repetition.
    stop.left().map(|left| Moment::now().plus(left / scenarios_left * 4 / 5))
}

/// Runs one scenario.
pub(crate) fn run(scenario: &'static Scenario, settings: Settings, stop: &Stop) -> Result<ScenarioRecord> {
    let mut record = ScenarioRecord {
        name: scenario.name.to_owned(),
        suites: owned(scenario.suites),
        answers: owned(scenario.answers),
        about: scenario.about.to_owned(),
        parameters: scenario.parameters.to_owned(),
        verdict: Verdict::NotBuilt,
        reason: None,
        seconds: 0.0,
        checks: Vec::new(),
        faults: Vec::new(),
        measurements: Vec::new(),
        accounts: Vec::new(),
        lag: None,
    };
    let body = match scenario.body {
        Step::Run(body) => body,
        Step::NotBuilt { issue } => {
            record.reason = Some(format!("not built yet: needs issue {issue}"));
            return Ok(record);
        }
    };
    let bench = Arc::new(Bench::new(scenario, settings));
    let started = Moment::now();
    // Nothing that a scenario leaves behind reaches the next one.
    let workers = machine::cores().max(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    let (error, lag) = runtime.block_on(drive(body, &bench, stop));
    runtime.shutdown_timeout(Duration::from_secs(1));
    record.seconds = started.elapsed().as_secs_f64();
    record.lag = Some(lag);
    let (seen, faults) = bench.take();
    record.reason = error.or(seen.misuse);
    record.verdict = Verdict::of(record.reason.as_deref(), &faults, &seen.checks);
    if record.verdict == Verdict::Error && record.reason.is_none() {
        record.reason = Some("nothing was checked".to_owned());
    }
    (record.checks, record.faults) = (seen.checks, faults);
    (record.measurements, record.accounts) = (seen.measurements, seen.accounts);
    Ok(record)
}

/// Runs the body to its end, and gives why it had none, and the scheduler's lag meanwhile.
async fn drive(body: Body, bench: &Arc<Bench>, stop: &Stop) -> (Option<String>, super::lag::Histogram) {
    let lag = Lag::start();
    // A task of its own, so that a panic ends it and nothing else.
    let mut task = tokio::spawn(body(Arc::clone(bench)));
    let error = tokio::select! {
        ended = &mut task => match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(error) => Some(panic_message(error)),
        },
        reason = stop.asked() => Some(reason.to_owned()),
        () = tokio::time::sleep(HANGS_AFTER) => Some(format!("it has not ended after {HANGS_AFTER:?}")),
    };
    task.abort();
    (error, lag.seen())
}

fn panic_message(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the task was cancelled".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.as_deref().unwrap_or("with no message"))
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|one| (*one).to_owned()).collect()
}

/// Shows what runs now, if somebody looks.
#[expect(clippy::print_stderr, reason = "progress is for who looks at the terminal")]
pub(crate) fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        // Clears the line, and leaves the cursor at its start.
        eprint!("\r\x1b[2K{what}");
    }
}

#[cfg(test)]
mod tests;
