//! What two workers do at the same moment: two failures, two sides of an `or`, a stop and a stage that becomes ready.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use stageflow::{
    CancelCause, Engine, Pipeline, Recorder, RunReport, Stage, StageContext, StageExit, StageOutcome,
    StageResult, stage_fn,
};
use tokio::runtime::{Builder, Runtime};

/// How often each race is run.
const ROUNDS: usize = 500;

/// Two stages leave it at the same moment, as long as two threads work.
#[derive(Clone, Default)]
struct Line(Arc<AtomicUsize>);

impl Line {
    /// Waits for the other, but not for ever: one worker may have both.
    fn meet(&self) {
        self.0.fetch_add(1, SeqCst);
        for _ in 0..10_000 {
            if self.0.load(SeqCst).is_multiple_of(2) {
                return;
            }
            thread::yield_now();
        }
    }

    fn failing(&self) -> impl Stage<Input = (), Output = u8> + use<> {
        let line = self.clone();
        stage_fn(move |_: StageContext, (): ()| {
            line.meet();
            async { Err(StageExit::fail(super::ON_PURPOSE)) }
        })
    }

    fn giving(&self, value: u8) -> impl Stage<Input = (), Output = u8> + use<> {
        let line = self.clone();
        stage_fn(move |_: StageContext, (): ()| {
            line.meet();
            async move { Ok(value) }
        })
    }
}

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).build().expect("a runtime")
}

/// Runs a pipeline many times and looks at each report and its events.
fn rounds(pipeline: &Pipeline<(), u8>, line: &Line, look: impl Fn(&RunReport, &Recorder)) {
    let runtime = threads();
    for _ in 0..ROUNDS {
        line.0.store(0, SeqCst);
        let recorder = Recorder::new();
        let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
        let ended = runtime.block_on(async { engine.start(pipeline, ()).await });
        let report = match ended {
            Ok(completed) => completed.report(),
            Err(error) => error.report().expect("it ran"),
        };
        look(&report, &recorder);
    }
}

#[test]
fn s_8_of_two_failures_at_a_time_one_is_first_for_everybody() {
    let line = Line::default();
    let mut p = Pipeline::builder("failures");
    let one = p.stage("one", line.failing()).inputs(());
    p.stage("two", line.failing()).inputs(());
    let pipeline = p.build(one).expect("a pipeline");
    rounds(&pipeline, &line, |report, _| {
        let first = report.cause().expect("a failure");
        let Some(CancelCause::Failure { stage }) = report.cancelled() else { panic!("{report}") };
        assert_eq!(stage, first.stage(), "S-8: what ended the run is the first failure observed");
        assert_eq!(report.failures()[0], first);
    });
}

async fn first(_: StageContext, n: Arc<u8>) -> StageResult<u8> {
    Ok(*n)
}

#[test]
fn s_27_both_sides_of_an_or_end_before_what_they_start() {
    let line = Line::default();
    let mut p = Pipeline::builder("sides");
    let (left, right) =
        (p.stage("left", line.giving(1)).inputs(()), p.stage("right", line.giving(2)).inputs(()));
    let joined = p.stage("joined", stage_fn(first)).inputs(left.or(right));
    let pipeline = p.build(joined).expect("a pipeline");
    rounds(&pipeline, &line, |report, recorder| {
        assert_eq!(report.output_of::<u8>("joined").as_deref(), Some(&1), "S-6: the first in written order");
        let lines = recorder.lines();
        let place = |wanted: &str| lines.iter().position(|line| line == wanted).expect("it happened");
        assert!(place("stage.completed left") < place("stage.started joined"), "S-4: {lines:?}");
    });
}

/// A failure ends the run while others wait: whoever reads these optionally would find them gone, and must not start.
#[test]
fn s_5_nothing_is_decided_by_a_stage_that_was_cancelled() {
    const WAITING: usize = 20;
    let line = Line::default();
    let called = Arc::new(AtomicUsize::new(0));
    let mut p = Pipeline::builder("stop");
    let mut last = None;
    for index in 0..WAITING {
        let waiting = p.stage(format!("waiting-{index}"), stage_fn(wait)).inputs(());
        let called = Arc::clone(&called);
        let reads = stage_fn(move |_: StageContext, _: Option<Arc<u8>>| {
            called.fetch_add(1, SeqCst);
            async { Ok(()) }
        });
        p.stage(format!("optional-{index}"), reads).inputs(waiting.optional());
        last = Some(p.stage(format!("required-{index}"), stage_fn(first)).inputs(waiting));
    }
    p.stage("failing", line.failing()).inputs(());
    p.stage("beside", line.giving(0)).inputs(());
    let pipeline = p.build(last.expect("a stage")).expect("a pipeline");
    rounds(&pipeline, &line, |report, _| {
        for stage in report.stages().take(3 * WAITING) {
            assert!(
                matches!(stage.outcome, StageOutcome::Cancelled(_)),
                "S-5: {}: {}",
                stage.name,
                stage.outcome
            );
        }
    });
    assert_eq!(called.load(SeqCst), 0, "no stage is called for a run that has ended");
}

async fn wait(_: StageContext, (): ()) -> StageResult<u8> {
    std::future::pending().await
}
