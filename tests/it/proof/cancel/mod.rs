//! S-16 … S-18: a run is cancelled, dropped, failed or broken at every poll of every stage and clean-up, and each time everything
//! that was acquired is released, every clean-up runs once, and nothing is left.

mod ledger;
mod pipeline;
mod world;

use std::{
    collections::HashMap,
    future::{Future as _, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use stageflow::{Engine, Event, EventKind, Recorder, RunHandle, RunId, RunOutcome};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
    task::yield_now,
    time::timeout,
};

use self::{
    ledger::Scope,
    pipeline::{CHILD_STAGES, STAGES},
    world::{Exit, Fault, Point, World},
};
use super::pause::Time;

/// What happens to a run, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Its handle is asked to cancel it.
    Cancel,
    /// Its handle is dropped.
    DropHandle,
    /// The future that drives it is dropped.
    DropFuture,
    /// The stage that is polled leaves.
    Stage(Exit),
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    time: Time,
    seed: Option<u64>,
}

const PATIENCE: Duration = Duration::from_secs(30);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One run with a fault at the poll number `at`; where it was fired, and how many polls there were.
async fn run(setting: Setting, what: What, at: usize) -> (Option<Point>, usize) {
    let world = World::new(setting.time, at, None);
    let pipeline = pipeline::pipeline(&world);
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone());
    let engine = if let Some(seed) = setting.seed { engine.seed(seed) } else { engine };
    let engine = engine.build().expect("an engine");
    let tasks = Handle::current().metrics().num_alive_tasks();

    let run = engine.run(&pipeline, 1);
    let in_time = if what == What::DropFuture {
        drive(run.into_future(), &world).await
    } else {
        hold(run.start(), &world, what).await;
        true
    };
    let left = engine.drain(PATIENCE).await;
    assert_eq!(left, 0, "S-18: the run ends");
    let mut moments = 0;
    while Handle::current().metrics().num_alive_tasks() > tasks {
        moments += 1;
        assert!(moments < 10_000_000, "a task is left behind the end of its run");
        yield_now().await;
    }

    world.ledger.assert_empty();
    assert!(world.ledger.acquired() > 0 || at <= 1, "the stages have acquired something");
    let fired = world.fired();
    assert!(fired.len() <= 1, "one fault is fired once");
    let outcome = the_events_are_complete(&recorder.events());
    let expected = match (fired.first(), what) {
        // Nothing has happened, or it was committed before.
        (None | Some(Point::CleanUp(Scope::Parent)), _) => RunOutcome::Completed,
        (Some(_), What::DropFuture) if !in_time => RunOutcome::Completed,
        // The clean-up of a child is left alone by what its stages do.
        (Some(Point::CleanUp(Scope::Child)), What::Stage(_)) => RunOutcome::Completed,
        (Some(_), What::Stage(Exit::Fail | Exit::Panic)) => RunOutcome::Failed,
        (Some(_), _) => RunOutcome::Cancelled,
    };
    assert_eq!(outcome, expected, "S-8: after {what:?} at poll {at} ({fired:?})");
    if outcome == RunOutcome::Completed {
        assert!(world.ledger.clean_ups() >= 10, "S-17: clean-ups run on success as well");
    }
    (fired.first().copied(), world.polls())
}

/// Drives a run in this task, and drops it right after the poll within which the fault is fired; `false` if with that very poll all
/// stages had ended, so that the run was committed.
async fn drive(future: stageflow::RunFuture<u64>, world: &Arc<World>) -> bool {
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dropped);
    world.set_fault(Fault::Outside(Box::new(move || flag.store(true, SeqCst))));
    world.start();
    let mut future = Some(Box::pin(future));
    let polled = poll_fn(|cx| {
        if let Some(running) = &mut future
            && !dropped.load(SeqCst)
        {
            if running.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            if !dropped.load(SeqCst) {
                return Poll::Pending;
            }
        }
        let in_time = !world.ledger.is_cleaning_up(Scope::Parent);
        future = None;
        Poll::Ready(in_time)
    });
    timeout(PATIENCE, polled).await.expect("the run ends, or is dropped")
}

/// Waits for a run on a task of its own, as long as there is a handle.
async fn hold(handle: RunHandle<u64>, world: &Arc<World>, what: What) {
    let handle = Arc::new(Mutex::new(Some(handle)));
    let held = Arc::clone(&handle);
    let dropped = Arc::new(Notify::new());
    let told = Arc::clone(&dropped);
    world.set_fault(match what {
        What::Stage(exit) => Fault::Inside(exit),
        What::Cancel => Fault::Outside(Box::new(move || {
            if let Some(handle) = &*locked(&held) {
                handle.cancel("on purpose");
            }
        })),
        What::DropHandle | What::DropFuture => Fault::Outside(Box::new(move || {
            drop(locked(&held).take());
            told.notify_one();
        })),
    });
    world.start();
    let ended = poll_fn(|cx| match &mut *locked(&handle) {
        Some(handle) => Pin::new(handle).poll(cx).map(Some),
        None => Poll::Ready(None),
    });
    let result = timeout(PATIENCE, async {
        tokio::select! {
            result = ended => result,
            () = dropped.notified() => None,
        }
    });
    let Ok(result) = result.await else {
        let why = locked(&handle).as_ref().and_then(RunHandle::explain);
        panic!(
            "S-16: the run does not end after {what:?} at poll {} ({:?}): {why:#?}",
            world.polls(),
            world.fired()
        );
    };
    if let Some(result) = result {
        let report = match &result {
            Ok(completed) => completed.report(),
            Err(error) => error.report().expect("the engine let it in"),
        };
        assert_eq!(report.stages().count(), STAGES, "S-7: the report has every stage");
        assert!(report.clean_up_failures().is_empty(), "S-17");
    }
}

/// S-5, S-27: the run, and the child if there was one, tell their start, one end of each stage, and their end. Gives the run's.
fn the_events_are_complete(events: &[Event]) -> RunOutcome {
    let mut runs: HashMap<RunId, Vec<&Event>> = HashMap::new();
    for event in events {
        runs.entry(event.run_id()).or_default().push(event);
    }
    let mut outcome = None;
    for events in runs.values() {
        assert!(events.iter().zip(1..).all(|(event, seq)| event.seq() == seq), "S-28: without gaps");
        assert!(matches!(events[0].kind(), EventKind::PipelineStarted), "S-27: {}", events[0]);
        let last = events[events.len() - 1];
        let EventKind::PipelineEnded { outcome: ended, .. } = last.kind() else { panic!("S-27: {last}") };
        let is_parent = last.pipeline() == "parent";
        let mut ends: Vec<_> = events[..events.len() - 1]
            .iter()
            .filter(|event| event.kind().is_terminal())
            .filter_map(|event| event.stage())
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let count = if is_parent { STAGES } else { CHILD_STAGES };
        assert_eq!(ends.len(), count, "S-5: every stage ends");
        let all = events.iter().filter(|event| event.kind().is_terminal()).count();
        assert_eq!(all, count + 1, "S-27: exactly one terminal event for each stage and the run");
        if is_parent {
            outcome = Some(*ended);
        }
    }
    outcome.expect("the run tells its end")
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

const FAULTS: [What; 6] = [
    What::Cancel,
    What::DropHandle,
    What::DropFuture,
    What::Stage(Exit::Fail),
    What::Stage(Exit::Panic),
    What::Stage(Exit::Cancel),
];

/// How many polls a run without a fault has.
fn polls(runtime: &Runtime, setting: Setting) -> usize {
    let (fired, polls) = runtime.block_on(run(setting, What::Stage(Exit::Fail), usize::MAX));
    assert_eq!(fired, None);
    assert!(polls > 40, "a pipeline that is not trivial: {polls}");
    polls
}

/// Every fault at every poll: each must have been fired.
fn everywhere(setting: Setting) {
    super::panics_on_purpose_are_silent();
    let runtime = single();
    let polls = polls(&runtime, setting);
    let mut fired = 0;
    for what in FAULTS {
        // Before the first poll there is no stage that could leave, and a future that is never polled is no run.
        let first = usize::from(!matches!(what, What::Cancel | What::DropHandle));
        for at in first..=polls {
            let (point, _) = runtime.block_on(run(setting, what, at));
            assert!(point.is_some(), "{what:?} at poll {at} of {polls} was not fired");
            fired += 1;
        }
    }
    assert_eq!(fired, FAULTS.len() * polls + 2, "every fault was fired at every poll");
}

#[test]
fn s_16_every_fault_at_every_poll_in_order() {
    everywhere(Setting { time: Time::Virtual, seed: None });
}

#[test]
fn s_16_every_fault_at_every_poll_in_orders_drawn_from_seeds() {
    for seed in 0..3 {
        everywhere(Setting { time: Time::Virtual, seed: Some(seed) });
    }
}

#[test]
fn s_16_every_fault_at_every_poll_on_two_threads() {
    super::panics_on_purpose_are_silent();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    let setting = Setting { time: Time::Real, seed: None };
    let polls = polls(&runtime, setting);
    let mut fired = 0;
    for what in FAULTS {
        for at in 1..=polls {
            let task = runtime.spawn(run(setting, what, at));
            let (point, _) = runtime.block_on(task).expect("no panic");
            fired += usize::from(point.is_some());
        }
    }
    // Where threads meet, the number of polls differs from run to run.
    assert!(fired > FAULTS.len() * polls * 3 / 4, "{fired} faults were fired at {polls} polls");
}
