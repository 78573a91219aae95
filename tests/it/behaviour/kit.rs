//! Small stages and observers that the behaviour tests are put together from.

use std::{
    future::{Future, IntoFuture},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow::{IntoConfiguredStage, Recorder, RunBuilder, RunReport, prelude::*};

/// A stage that gives `value`.
pub(crate) fn gives<T: Clone + Send + Sync + 'static>(value: T) -> impl Stage<Input = (), Output = T> {
    stage_fn(move |_, (): ()| std::future::ready(Ok(value.clone())))
}

/// A stage that gives `value` after `time`.
pub(crate) fn naps(time: Duration, value: u32) -> impl Stage<Input = (), Output = u32> {
    stage_fn(move |_, (): ()| async move {
        // sleeps: on paused time
        tokio::time::sleep(time).await;
        Ok(value)
    })
}

/// A stage that waits for ever.
pub(crate) fn never() -> impl Stage<Input = (), Output = u32> {
    stage_fn(|_, (): ()| std::future::pending::<StageResult<u32>>())
}

/// A stage that leaves as `exit` says.
pub(crate) fn exits(exit: fn() -> StageExit) -> impl Stage<Input = (), Output = u32> {
    stage_fn(move |_, (): ()| std::future::ready(Err(exit())))
}

/// A stage that leaves as `exit` says, after `time`.
pub(crate) fn exits_after(time: Duration, exit: fn() -> StageExit) -> impl Stage<Input = (), Output = u32> {
    stage_fn(move |_, (): ()| async move {
        // sleeps: on paused time
        tokio::time::sleep(time).await;
        Err(exit())
    })
}

/// A stage that passes its input on.
pub(crate) fn same() -> impl Stage<Input = Arc<u32>, Output = u32> {
    stage_fn(|_, n: Arc<u32>| std::future::ready(Ok(*n)))
}

/// A stage that adds up a list.
pub(crate) fn sum() -> impl Stage<Input = Vec<Arc<u32>>, Output = u32> {
    stage_fn(|_, all: Vec<Arc<u32>>| std::future::ready(Ok(all.iter().map(|n| **n).sum())))
}

/// A pipeline of one stage, `only`.
pub(crate) fn solo<S>(stage: S) -> Pipeline<(), <S::Stage as Stage>::Output>
where
    S: IntoConfiguredStage<Stage: Stage<Input = ()>>,
{
    let mut p = Pipeline::builder("solo");
    let only = p.stage("only", stage).inputs(());
    p.build(only).expect("one stage is a pipeline")
}

/// A pipeline of one stage, `only`, that is built as `build` says.
pub(crate) fn pipeline<O: Send + Sync + 'static>(
    build: impl FnOnce(&mut stageflow::Builder<()>) -> Port<O>,
) -> Pipeline<(), O> {
    let mut p = Pipeline::builder("test");
    let output = build(&mut p);
    p.build(output).expect("the pipeline of a test is right")
}

/// Runs to the error that is expected. On paused time a hang is a failure.
pub(crate) async fn error_of<O: Send + Sync + 'static>(
    run: impl IntoFuture<Output = RunResult<O>>,
) -> RunError {
    match within(run).await {
        Ok(done) => panic!("it completed:\n{}", done.report()),
        Err(error) => error,
    }
}

pub(crate) type RunResult<O> = Result<stageflow::Completed<O>, RunError>;

/// Runs to the report, however it ends.
pub(crate) async fn report_of<O: Send + Sync + 'static>(run: RunBuilder<O>) -> RunReport {
    match within(run).await {
        Ok(done) => done.report(),
        Err(error) => error.report().expect("the run was let in"),
    }
}

/// `name: status` of every stage, in declaration order.
pub(crate) fn statuses(report: &RunReport) -> Vec<String> {
    report.stages().map(|stage| format!("{}: {}", stage.name, stage.outcome)).collect()
}

/// An engine with a recorder.
pub(crate) fn recorded() -> (Engine, Recorder) {
    let recorder = Recorder::new();
    (Engine::builder().sink(recorder.clone()).build().expect("a recorder is no problem"), recorder)
}

/// Lets everything go on until nothing can without time: on paused time only.
pub(crate) async fn idle() {
    // sleeps: on paused time
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// What `future` gives, unless it hangs. On paused time a hang takes no time.
///
/// Unlike `tokio::time::timeout` it does not poll once more when the time is up, which would hide a lost wake-up.
pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    // sleeps: never to the end, on paused time
    let mut limit = std::pin::pin!(tokio::time::sleep(Duration::from_secs(1_000_000)));
    let mut future = std::pin::pin!(future.into_future());
    std::future::poll_fn(|cx| {
        assert!(limit.as_mut().poll(cx).is_pending(), "it hangs");
        future.as_mut().poll(cx)
    })
    .await
}

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, line: impl Into<String>) {
        self.0.lock().expect("no line panics").push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no line panics").clone()
    }

    /// A guard that adds `line` when it is dropped.
    pub(crate) fn on_drop(&self, line: &str) -> LogOnDrop {
        LogOnDrop(self.clone(), line.to_owned())
    }
}

pub(crate) struct LogOnDrop(Log, String);

impl Drop for LogOnDrop {
    fn drop(&mut self) {
        self.0.add(&*self.1);
    }
}

/// How many are inside, and how many were at most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

pub(crate) struct Inside(Gauge);

impl Gauge {
    pub(crate) fn enter(&self) -> Inside {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        Inside(self.clone())
    }

    pub(crate) fn now(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    /// A stage that is inside for `time`.
    pub(crate) fn stage(&self, time: Duration) -> impl Stage<Input = (), Output = u32> + use<> {
        let gauge = self.clone();
        stage_fn(move |_, (): ()| {
            let gauge = gauge.clone();
            async move {
                let _inside = gauge.enter();
                // sleeps: on paused time
                tokio::time::sleep(time).await;
                Ok(1_u32)
            }
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A stage made of a log and an async function of the log and the context.
pub(crate) fn logging<O, Fut>(
    log: &Log,
    body: fn(Log, StageContext) -> Fut,
) -> impl Stage<Input = (), Output = O> + use<O, Fut>
where
    O: Send + Sync + 'static,
    Fut: Future<Output = StageResult<O>> + Send + 'static,
{
    let log = log.clone();
    stage_fn(move |ctx, (): ()| body(log.clone(), ctx))
}

/// Spins on one flag until the test sets it: a stage that does not yield.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch(Arc<(std::sync::atomic::AtomicBool, std::sync::atomic::AtomicBool)>);

impl Switch {
    /// Says that somebody has arrived, and spins until [`open`](Self::open).
    pub(crate) fn spin(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        while !self.0.1.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }

    pub(crate) fn open(&self) {
        self.0.1.store(true, Ordering::SeqCst);
    }

    /// Waits until somebody spins.
    pub(crate) async fn reached(&self) {
        while !self.0.0.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Whatever a test asserts, no thread is left spinning: the test's own switch is the last but one.
        if std::thread::panicking() {
            self.open();
        }
    }
}
