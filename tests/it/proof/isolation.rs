//! S-2: runs of one pipeline at the same time never see each other: two of them, and a hundred.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use stageflow::{
    CancelCause, Engine, Event, Pipeline, Recorder, RunHandle, RunId, RunOutcome, StageContext, StageResult,
    TenantId, stage_fn,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Barrier, watch},
    time::timeout,
};

/// What becomes of a run: the input says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Completes,
    IsCancelled,
    Panics,
    IsDropped,
}

impl Fate {
    fn of(run: usize) -> Self {
        [Self::Completes, Self::IsCancelled, Self::Panics, Self::IsDropped][run % 4]
    }
}

/// Where runs meet, and what they leave behind.
struct Meeting {
    /// All runs are in their second stage.
    together: Barrier,
    /// They may go on.
    open: watch::Sender<bool>,
    /// The clean-ups of each run, in order.
    clean_ups: Mutex<BTreeMap<usize, Vec<&'static str>>>,
}

impl Meeting {
    fn clean_up(self: &Arc<Self>, ctx: &StageContext, run: usize, stage: &'static str) {
        let meeting = Arc::clone(self);
        ctx.on_cleanup(async move {
            let mut all = meeting.clean_ups.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(run).or_default().push(stage);
        });
    }

    fn clean_ups_of(&self, run: usize) -> Vec<&'static str> {
        let all = self.clean_ups.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&run).cloned().unwrap_or_default()
    }
}

async fn enter(ctx: StageContext, meeting: Arc<Meeting>, run: usize) -> StageResult<usize> {
    meeting.clean_up(&ctx, run, "enter");
    assert_eq!(ctx.identity().tenant_id().map(TenantId::as_str), Some(&*format!("t{run}")));
    Ok(run)
}

async fn meet(ctx: StageContext, meeting: Arc<Meeting>, run: usize) -> StageResult<usize> {
    meeting.clean_up(&ctx, run, "meet");
    let mut open = meeting.open.subscribe();
    meeting.together.wait().await;
    open.wait_for(|open| *open).await?;
    assert!(Fate::of(run) != Fate::Panics, "{}", super::ON_PURPOSE);
    Ok(run * 10)
}

fn pipeline(meeting: &Arc<Meeting>) -> Pipeline<usize, usize> {
    let mut p = Pipeline::builder("shared");
    let run = p.input();
    let at = Arc::clone(meeting);
    let entered = stage_fn(move |ctx, run: Arc<usize>| enter(ctx, Arc::clone(&at), *run));
    let entered = p.stage("enter", entered).inputs(run);
    let at = Arc::clone(meeting);
    let met = stage_fn(move |ctx, run: Arc<usize>| meet(ctx, Arc::clone(&at), *run));
    let met = p.stage("meet", met).inputs(entered);
    let left = p.stage("leave", stage_fn(leave)).inputs((entered, met));
    p.build(left).expect("a pipeline")
}

async fn leave(_: StageContext, (entered, met): (Arc<usize>, Arc<usize>)) -> StageResult<usize> {
    assert_eq!(*entered * 10, *met, "both come from one run");
    Ok(*met + 1)
}

async fn meet_in_runs(runs: usize) {
    let meeting = Arc::new(Meeting {
        together: Barrier::new(runs + 1),
        open: watch::Sender::new(false),
        clean_ups: Mutex::default(),
    });
    let pipeline = pipeline(&meeting);
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
    let start = |run: usize| engine.run(&pipeline, run).tenant(format!("t{run}")).start();
    let mut handles: Vec<_> = (0..runs).map(|run| Some(start(run))).collect();
    let ids: Vec<RunId> = handles.iter().flatten().filter_map(RunHandle::run_id).collect();

    // Every run is in its second stage now.
    meeting.together.wait().await;
    for (run, held) in handles.iter_mut().enumerate() {
        match Fate::of(run) {
            Fate::IsCancelled => {
                let handle = held.as_mut().expect("it is there");
                handle.cancel(format!("cancelled {run}"));
                let error = handle.await.expect_err("it is cancelled");
                let report = error.report().expect("it ran");
                let reason = format!("cancelled {run}");
                assert_eq!(report.cancelled(), Some(CancelCause::Requested { reason }));
                assert_eq!(meeting.clean_ups_of(run), ["meet", "enter"], "its own clean-ups, at once");
            }
            Fate::IsDropped => drop(held.take()),
            Fate::Completes | Fate::Panics => {
                assert!(meeting.clean_ups_of(run).is_empty(), "run {run} goes on");
            }
        }
    }
    meeting.open.send_replace(true);
    for (run, handle) in handles.iter_mut().enumerate() {
        let Some(handle) = handle else { continue };
        match Fate::of(run) {
            Fate::Completes => {
                let completed = handle.await.expect("it completes");
                assert_eq!(*completed.output(), run * 10 + 1, "its own values");
                assert_eq!(completed.report().output_of::<usize>("enter").as_deref(), Some(&run));
            }
            Fate::Panics => {
                let error = handle.await.expect_err("it panics");
                assert_eq!(error.outcome(), Some(RunOutcome::Failed));
                assert_eq!(error.failure().expect("a failure").stage(), "meet");
            }
            Fate::IsCancelled | Fate::IsDropped => {}
        }
    }
    assert_eq!(engine.drain(Duration::from_secs(30)).await, 0, "all runs end");
    for run in 0..runs {
        assert_eq!(meeting.clean_ups_of(run), ["meet", "enter"], "S-17: the clean-ups of run {run}");
    }
    the_events_are_apart(&recorder.events(), &ids);
}

/// Each run tells its own story, with its own tenant and numbers.
fn the_events_are_apart(events: &[Event], ids: &[RunId]) {
    let mut of: HashMap<RunId, Vec<&Event>> = HashMap::new();
    for event in events {
        of.entry(event.run_id()).or_default().push(event);
    }
    assert_eq!(of.len(), ids.len(), "each run has an id of its own");
    for (run, id) in ids.iter().enumerate() {
        let events = &of[id];
        assert!(events.iter().zip(1..).all(|(event, seq)| event.seq() == seq), "S-28: run {run}");
        assert!(events.iter().all(|event| event.tenant() == Some(&*format!("t{run}"))));
        let names: Vec<_> = events.iter().map(|event| event.name().into_owned()).collect();
        let last = match Fate::of(run) {
            Fate::Completes => ["stage.completed", "pipeline.completed"],
            Fate::Panics => ["stage.cancelled", "pipeline.failed"],
            Fate::IsCancelled | Fate::IsDropped => ["stage.cancelled", "pipeline.cancelled"],
        };
        assert_eq!(names[names.len() - 2..], last, "S-27: run {run}: {names:?}");
        assert_eq!(
            names.iter().filter(|name| *name == "stage.started").count(),
            if last[0] == "stage.completed" { 3 } else { 2 }
        );
    }
}

fn on(runtime: &Runtime, runs: usize) {
    super::panics_on_purpose_are_silent();
    let meeting = async { timeout(Duration::from_secs(30), meet_in_runs(runs)).await };
    runtime.block_on(meeting).expect("no run waits for another");
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

#[test]
fn s_2_two_runs_on_one_thread() {
    on(&single(), 2);
}

#[test]
fn s_2_a_hundred_runs_on_one_thread() {
    on(&single(), 100);
}

#[test]
fn s_2_two_runs_on_two_threads() {
    (0..50).for_each(|_| on(&threads(), 2));
}

#[test]
fn s_2_a_hundred_runs_on_two_threads() {
    (0..10).for_each(|_| on(&threads(), 100));
}
