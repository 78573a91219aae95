//! The rules of [`EventSink`].

mod feed;
mod runs;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stageflow_core::{Delivery, Event, EventSink, RunId, time::Human};
use stageflow_exec::Engine;

use self::feed::feed;
use super::{
    ContractError, Findings, Rule,
    drive::{guarded, message},
};

/// How long a sink may take for one event on a worker of the engine, by the time of the machine.
const INLINE_LIMIT: Duration = Duration::from_millis(500);
/// How long on a thread of its own.
const QUEUED_LIMIT: Duration = Duration::from_secs(2);

const DELIVERY: Rule = Rule {
    text: "a sink says how it is given events",
    hint: "return `Delivery::Inline`, or `Delivery::Queued` with a capacity above zero, from `delivery`",
};
const PANICS: Rule = Rule {
    text: "a sink takes every kind of event without panicking",
    hint: "an event may have no stage, attempt, tenant or failure: unwrap none of them; drop what cannot be written",
};
const BLOCKS: Rule = Rule {
    text: "a sink does not block",
    hint: "hand the event to a thread or task of your own; wait for the other side with a timeout",
};
const AT_ONCE: Rule = Rule {
    text: "a sink takes events of several runs at the same time",
    hint: "hold no lock while you call out, and take locks in one order",
};
const DELIVERED: Rule = Rule {
    text: "an engine can deliver every event of its runs to a sink",
    hint: "take events as they come: what a sink panics on is lost",
};
const ONCE: Rule = Rule {
    text: "a sink keeps every event once",
    hint: "tell events by run id and sequence number; write what is buffered before it is read",
};
const IN_ORDER: Rule = Rule {
    text: "a sink keeps the events of a run in the order of their sequence numbers",
    hint: "events of different runs may mix, those of one run come in order: keep it, or sort by sequence number",
};

/// Checks a sink with the events of several runs at the same time: completed, failed, skipped and cancelled ones, events of
/// their own, and a gap.
///
/// What a sink does with its events cannot be seen from outside: [`sink_that_keeps`] checks that as well. How long an event
/// may take is measured by the time of the machine: 500 ms for a sink that is given its events
/// [inline](Delivery::Inline), 2 s for the others.
///
/// # Errors
///
/// Every rule that was broken. A sink that blocks for ever leaves its thread behind.
///
/// # Panics
///
/// Outside a tokio runtime.
///
/// ```
/// use stageflow_core::Recorder;
/// use stageflow_testing::contract;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let keeps = |recorder: &Recorder| recorder.events().iter().map(|event| (event.run_id(), event.seq())).collect();
/// contract::sink_that_keeps(Recorder::new(), keeps).await?;
/// # Ok::<_, contract::ContractError>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub async fn sink<S: EventSink>(sink: S) -> Result<(), ContractError> {
    check(sink, None::<fn(&S) -> Vec<(RunId, u64)>>).await
}

/// Like [`sink`], for one whose events can be read back: `kept` gives the run and the sequence number of each event it has
/// kept, in the order in which it has kept them.
///
/// # Errors
///
/// Every rule that was broken.
///
/// # Panics
///
/// Outside a tokio runtime, or where `kept` panics.
pub async fn sink_that_keeps<S: EventSink>(
    sink: S,
    kept: impl Fn(&S) -> Vec<(RunId, u64)>,
) -> Result<(), ContractError> {
    check(sink, Some(kept)).await
}

async fn check<S: EventSink>(
    sink: S,
    kept: Option<impl Fn(&S) -> Vec<(RunId, u64)>>,
) -> Result<(), ContractError> {
    let mut findings = Findings::of::<S>();
    let sink = Arc::new(sink);
    let Some(delivery) = delivery(&sink, &mut findings) else { return findings.into_result() };
    match runs::events().await {
        Ok(runs) => {
            directly(&sink, delivery, &runs, &mut findings);
            if let (Some(kept), true) = (kept, findings.violations.is_empty()) {
                compare(&runs, &kept(&sink), &mut findings);
            }
            // A sink that blocks would block the engine.
            if findings.violations.is_empty() {
                through_an_engine(&sink, &mut findings).await;
            }
        }
        Err(error) => findings.add(DELIVERED, error.to_string()),
    }
    findings.into_result()
}

fn delivery<S: EventSink>(sink: &Arc<S>, findings: &mut Findings) -> Option<Delivery> {
    match guarded(|| sink.delivery()) {
        Ok(Delivery::Queued { capacity: 0 }) => {
            findings.add(DELIVERY, "a queue without room");
            None
        }
        Ok(delivery) => Some(delivery),
        Err(payload) => {
            findings.add(DELIVERY, format!("`delivery` panicked: {}", message(&payload)));
            None
        }
    }
}

/// Hands the events of each run over from a thread of its own.
fn directly<S: EventSink>(sink: &Arc<S>, delivery: Delivery, runs: &[Vec<Event>], findings: &mut Findings) {
    let limit = if delivery == Delivery::Inline { INLINE_LIMIT } else { QUEUED_LIMIT };
    // One run alone first: what blocks then blocks by itself.
    let (first, others) = runs.split_at(runs.len().min(1));
    for (runs, rule) in [(first, BLOCKS), (others, AT_ONCE)] {
        let fed = feed(sink, runs, limit);
        for (event, panic) in fed.panics {
            findings.add(PANICS, format!("given `{event}`: {panic}"));
        }
        if let Some((event, took)) = fed.slowest.filter(|(_, took)| *took > limit) {
            let seen = format!("`{event}` took {}, and {} are allowed", Human(took), Human(limit));
            findings.add(BLOCKS, seen);
        }
        if fed.stuck > 0 {
            findings.add(rule, format!("{} of {} threads still wait in it", fed.stuck, runs.len()));
            return;
        }
    }
}

fn compare(runs: &[Vec<Event>], kept: &[(RunId, u64)], findings: &mut Findings) {
    let mut by_run: BTreeMap<RunId, Vec<u64>> = BTreeMap::new();
    for (run, seq) in kept {
        by_run.entry(*run).or_default().push(*seq);
    }
    for run in runs {
        let Some(first) = run.first() else { continue };
        let given: Vec<u64> = run.iter().map(Event::seq).collect();
        let kept = by_run.get(&first.run_id()).cloned().unwrap_or_default();
        let mut sorted = kept.clone();
        sorted.sort_unstable();
        if sorted != given {
            findings.add(ONCE, format!("given {given:?} of a run, it kept {kept:?}"));
        } else if kept != given {
            findings.add(IN_ORDER, format!("given {given:?} of a run, it kept {kept:?}"));
        }
    }
}

async fn through_an_engine<S: EventSink>(sink: &Arc<S>, findings: &mut Findings) {
    let engine = match Engine::builder().sink(Arc::clone(sink)).build() {
        Ok(engine) => engine,
        Err(error) => return findings.add(DELIVERED, error.to_string()),
    };
    if let Err(error) = runs::on(&engine).await {
        return findings.add(DELIVERED, error.to_string());
    }
    engine.flush().await;
    for account in engine.sink_accounts() {
        if account.dropped_panic > 0 {
            findings.add(
                DELIVERED,
                format!("it panicked on {} of {} events", account.dropped_panic, account.emitted),
            );
        }
    }
}
