//! Runs a case on one of several runtimes and keeps everything that can be seen of the run.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use stageflow::{Completed, Engine, Event, Recorder, RunError, RunReport};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::yield_now,
    time::timeout,
};

use super::{
    super::{
        super::behaviour::telemetry::{Records, wide},
        pause::Time,
    },
    build,
    case::Case,
    expect,
    probe::{Probe, V},
};

/// Where and how a case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On one thread with virtual time.
    Single,
    /// On one thread with virtual time, in an order drawn from the seed.
    Seeded,
    /// On so many worker threads, driven by one of them or by a thread of its own.
    Threads { workers: usize, inside: bool },
}

/// What could be seen of one run.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) mode: Mode,
    pub(crate) result: Result<Completed<V>, RunError>,
    pub(crate) report: RunReport,
    /// `None` for a run without a sink.
    pub(crate) events: Option<Vec<Event>>,
    pub(crate) probe: Arc<Probe>,
}

/// Much longer than any case takes: only a run that hangs takes so long. Under virtual time it takes no time.
const PATIENCE: Duration = Duration::from_secs(30);

static RUNTIMES: LazyLock<[Runtime; 2]> = LazyLock::new(|| {
    [2, 3].map(|workers| {
        Builder::new_multi_thread().worker_threads(workers).enable_time().build().expect("a runtime")
    })
});

pub(crate) fn run(case: &Case, mode: Mode) -> Seen {
    match mode {
        Mode::Single | Mode::Seeded => {
            let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.expect("a runtime").block_on(observe(case.clone(), mode))
        }
        Mode::Threads { workers, inside } => {
            let runtime = &RUNTIMES[workers - 2];
            let case = case.clone();
            if inside {
                let task = runtime.spawn(async move { observe(case, mode).await });
                runtime.block_on(task).expect("no panic")
            } else {
                runtime.block_on(observe(case, mode))
            }
        }
    }
}

async fn observe(case: Case, mode: Mode) -> Seen {
    let time = if matches!(mode, Mode::Threads { .. }) { Time::Real } else { Time::Virtual };
    let probe = Probe::new(case.stages.len());
    let pipeline = build::pipeline(&case, &probe, time);
    let (recorder, records) = (Recorder::new(), Records::default());
    let mut engine = Engine::builder();
    if !case.quiet {
        engine = engine.sink(recorder.clone()).sink(records.sink());
    }
    if let Some(limit) = case.limits.engine {
        engine = engine.max_in_flight(limit);
    }
    if mode == Mode::Seeded {
        engine = engine.seed(case.seed);
    }
    let engine = engine.build().expect("an engine");
    let mut run = engine.run(&pipeline, probe.value(expect::INPUT)).tenant("acme");
    if let Some(limit) = case.limits.run {
        run = run.max_in_flight(limit);
    }
    let tasks = Handle::current().metrics().num_alive_tasks();
    let result = if case.handle {
        timeout(PATIENCE, run.start()).await
    } else {
        timeout(PATIENCE, run.into_future()).await
    };
    let result = result.expect("the run ends");
    // Helpers that were called and found nothing to do any more may need a moment to notice.
    let mut moments = 0;
    while Handle::current().metrics().num_alive_tasks() > tasks {
        moments += 1;
        assert!(moments < 10_000_000, "a task is left behind the end of its run");
        yield_now().await;
    }
    let report = match &result {
        Ok(completed) => completed.report(),
        Err(error) => error.report().expect("the engine let it in"),
    };
    engine.flush().await;
    if !case.quiet {
        wide::agrees(&records.all(), &report);
    }
    Seen { mode, result, report, events: (!case.quiet).then(|| recorder.events()), probe }
}
