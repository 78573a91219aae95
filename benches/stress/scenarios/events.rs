//! Events: a sink that is too slow loses some and says so, and each run tells its whole life in order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use stageflow::{Delivery, Event, EventKind, EventSink, FailurePolicy, RunId, prelude::*};

use super::common::{Counter, load};
use crate::harness::{
    bench::Bench,
    clock::{Moment, block_thread},
    lock,
    scenario::{Control, Scenario, Step},
    stats::count,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "events.overflow",
        suites: &["seeds", "daily", "thu"],
        answers: &["SEED2-2", "SEED2-4", "SEED2-5", "SEED2-26", "SEED2-27"],
        about: "Of 1,000 events a second into a queue of 100 before a slow sink, each is delivered, counted as dropped, or in flight.",
        parameters: "10 stages of 100 events a second for 3 s, a queue of 100, a sink that takes 5 ms for each event",
        faults: &["queue overflow"],
        controls: &[
            Control::new("torn account", &["the account adds up at each moment"]),
            Control::new("lost event", &["each event is accounted for"]),
            Control::new("forgetful sink", &["what is delivered reached the sink"]),
            Control::new("silent drop", &["gaps announce each drop"]),
            Control::new("dropped terminal event", &["no terminal event is dropped"]),
            Control::new("sink in the way", &["no stage waits for the sink"]),
        ],
        body: Step::Run(|bench| Box::pin(overflow(bench))),
    },
    Scenario {
        name: "events.lifecycle",
        suites: &["thu"],
        answers: &["SEED3-20", "SEED2-38"],
        about: "Of each run a sink gets its events in order and without gaps, and one terminal event for each stage and the run.",
        parameters: "2,000 runs of 12 stages, 50 at a time; stages complete, fail, panic, skip and are cancelled at random",
        faults: &["failure", "panic", "skip", "cancel"],
        controls: &[
            Control::new("lost event", &["numbers have no gaps"]),
            Control::new("wrong order", &["numbers have no gaps"]),
            Control::new(
                "repeated event",
                &["one terminal event for each stage", "the run ends last, and once"],
            ),
            Control::new("lost terminal event", &["one terminal event for each stage"]),
        ],
        body: Step::Run(|bench| Box::pin(lifecycle(bench))),
    },
];

/// The slow sink, and what it saw.
#[derive(Default)]
struct Slow {
    capacity: usize,
    inline: bool,
    seen: Counter,
    gaps: Counter,
    terminal: Counter,
    forgets: bool,
    hides_gaps: bool,
    loses_terminal: bool,
}

struct Shared(Arc<Slow>);

impl EventSink for Shared {
    fn on_event(&self, event: &Event) {
        let slow = &self.0;
        if let EventKind::Gap { dropped, .. } = event.kind() {
            if !slow.hides_gaps {
                slow.gaps.add_all(usize::try_from(*dropped).unwrap_or(usize::MAX));
            }
            return;
        }
        block_thread(Duration::from_millis(5));
        if slow.loses_terminal && event.kind().is_terminal() {
            return;
        }
        if !(slow.forgets && event.seq() == 1) {
            slow.seen.add();
        }
        if event.kind().is_terminal() {
            slow.terminal.add();
        }
    }

    fn delivery(&self) -> Delivery {
        if self.0.inline { Delivery::Inline } else { Delivery::Queued { capacity: self.0.capacity } }
    }
}

async fn overflow(bench: Arc<Bench>) -> Result<()> {
    const STAGES: usize = 10;
    let fault = bench.fault("queue overflow");
    let sink = Arc::new(Slow {
        capacity: if fault.is_armed() { 100 } else { 1_000_000 },
        inline: bench.is_broken("sink in the way"),
        forgets: bench.is_broken("forgetful sink"),
        hides_gaps: bench.is_broken("silent drop"),
        loses_terminal: bench.is_broken("dropped terminal event"),
        ..Slow::default()
    });
    let engine = Engine::builder().sink(Shared(Arc::clone(&sink))).build()?;
    let ticks = bench.size(300, 60);
    let loses = bench.is_broken("lost event");
    let mut p = Pipeline::builder("noisy");
    let input = p.input();
    let emitters = p.parallel("emitter", 0..STAGES, |index| {
        stage_fn(move |ctx: StageContext, _: Arc<()>| async move {
            let started = Moment::now();
            for tick in 0..ticks {
                // By the clock and not by sleeps in a row, so that the rate holds.
                let due = Duration::from_millis(10) * u32::try_from(tick)?;
                tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
                if !(loses && index == 0 && tick == 0) {
                    ctx.emit("noise", [("tick", i64::try_from(tick)?)]);
                }
            }
            Ok(())
        })
    });
    let emitters = emitters.inputs(input);
    let done = p.stage("done", stage_fn(|_ctx, _: Vec<Arc<()>>| async { Ok(()) })).inputs(emitters);
    let pipeline = p.build(done)?;

    let started = Moment::now();
    let run = engine.start(&pipeline, ());
    let (mut torn, mut moments) = (0_u64, 0_usize);
    let mut last = engine.sink_accounts();
    while !run.is_ended() {
        let now = engine.sink_accounts();
        for (mut account, earlier) in now.iter().copied().zip(&last) {
            if bench.is_broken("torn account") {
                account.delivered = earlier.delivered;
            }
            let sum = account.delivered + account.dropped() + account.in_flight;
            torn += u64::from(sum != account.emitted);
            moments += 1;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    run.await?;
    let time = started.elapsed();
    bench.equal("the account adds up at each moment", format!("{moments} moments, those where not"), 0, torn);
    let planned = Duration::from_millis(10) * u32::try_from(ticks)?;
    bench.within("no stage waits for the sink", "", planned + Duration::from_millis(300), time);
    for account in &engine.sink_accounts() {
        bench.account("at the end of the run", account);
    }
    engine.flush().await;
    let accounts = engine.sink_accounts();
    let Some(account) = accounts.first() else { anyhow::bail!("the engine has no sink") };
    bench.account("after a flush", account);
    fault.happened(account.dropped());

    let events = ticks * STAGES + 2 * (STAGES + 1) + 2;
    bench.equal("each event is accounted for", "", events as u64, account.emitted);
    bench.equal("what is delivered reached the sink", "", account.delivered, sink.seen.get() as u64);
    bench.equal("gaps announce each drop", "", account.dropped(), sink.gaps.get() as u64);
    bench.equal("no terminal event is dropped", "", STAGES + 2, sink.terminal.get());
    let dropped = f64::from(u32::try_from(account.dropped())?);
    bench.figures("events dropped", "").of("percent", &[100.0 * dropped / count(events)]);
    bench.figures("events emitted", "").of("events/s", &[count(events) / time.as_secs_f64()]);
    Ok(())
}

/// Keeps the events of each run.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<HashMap<RunId, Vec<Event>>>>);

impl EventSink for Keeper {
    fn on_event(&self, event: &Event) {
        lock(&self.0).entry(event.run_id()).or_default().push(event.clone());
    }

    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }
}

async fn lifecycle(bench: Arc<Bench>) -> Result<()> {
    const STAGES: usize = 12;
    let faults = ["failure", "panic", "skip", "cancel"].map(|name| bench.fault(name));
    let mut p = Pipeline::builder("eventful");
    p.on_failure(FailurePolicy::Continue);
    let input = p.input();
    let mut ports = Vec::new();
    for index in 0..STAGES as u64 {
        let faults = faults.clone();
        let stage = stage_fn(move |ctx: StageContext, seed: Arc<u64>| {
            let [failure, panic, skip, cancel] = faults.clone();
            async move {
                tokio::task::yield_now().await;
                match crate::harness::rng::Rng::new(*seed, index).below(40) {
                    0 if failure.fires(true) => Err(StageExit::fail("by plan")),
                    1 if panic.fires(true) => panic!("{} by plan", crate::harness::panics::INJECTED),
                    2 if skip.fires(true) => Err(StageExit::skip("by plan")),
                    3 if cancel.fires(true) => Err(StageExit::cancel("by plan")),
                    4 => {
                        ctx.emit("note", [("index", i64::try_from(index)?)]);
                        Ok(*seed)
                    }
                    _ => Ok(*seed),
                }
            }
        });
        // Three chains of four.
        let from = index.checked_sub(3).map_or(input, |before| ports[usize::try_from(before).unwrap_or(0)]);
        ports.push(p.stage(format!("stage-{index}"), stage).inputs(from));
    }
    let pipeline = p.build(ports[STAGES - 1])?;
    let keeper = Keeper::default();
    let engine = Engine::builder().sink(keeper.clone()).build()?;
    let runs = bench.size(2_000, 300);
    let seed = bench.seed();
    load(runs, 50, |index| {
        let run = engine.run(&pipeline, crate::harness::rng::mix(seed ^ index as u64));
        async move { run.await.is_ok() }
    })
    .await?;

    let mut kept = std::mem::take(&mut *lock(&keeper.0));
    for events in kept.values_mut().take(1) {
        if bench.is_broken("lost event") {
            events.remove(1);
        }
        if bench.is_broken("wrong order") {
            events.swap(0, 1);
        }
        if bench.is_broken("lost terminal event") {
            events.retain(|event| event.stage() != Some("stage-0") || !event.kind().is_terminal());
        }
        if bench.is_broken("repeated event") {
            let twice: Vec<Event> =
                events.iter().filter(|event| event.kind().is_terminal()).cloned().collect();
            events.extend(twice);
        }
    }
    let numbered = |events: &Vec<Event>| (1..).zip(events).all(|(number, event)| event.seq() == number);
    bench.equal(
        "numbers have no gaps",
        "runs",
        runs,
        kept.values().filter(|events| numbered(events)).count(),
    );
    let one_each = |events: &Vec<Event>| {
        let mut ends: HashMap<&str, usize> = HashMap::new();
        for event in events.iter().filter(|event| event.kind().is_terminal()) {
            *ends.entry(event.stage().unwrap_or("")).or_default() += 1;
        }
        ends.len() == STAGES + 1 && ends.values().all(|times| *times == 1)
    };
    bench.equal(
        "one terminal event for each stage",
        "runs",
        runs,
        kept.values().filter(|e| one_each(e)).count(),
    );
    let ends = |event: &Event| matches!(event.kind(), EventKind::PipelineEnded { .. });
    let last = |events: &Vec<Event>| {
        events.last().is_some_and(ends) && events.iter().filter(|event| ends(event)).count() == 1
    };
    bench.equal(
        "the run ends last, and once",
        "runs",
        runs,
        kept.values().filter(|events| last(events)).count(),
    );
    Ok(())
}
