//! Any number of steps, failing anywhere, with undos that fail, cancelled anywhere: what was done and undone is what it should be.

use std::{
    future::IntoFuture,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use stageflow_core::{Backoff, ErrorClass, StageContext, StageExit, StageResult, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_exec::Engine;
use tokio::task::yield_now;

use super::super::{OnStuck, Saga, SagaEnd, SagaReport, SagaScope, StepState};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Done,
    Fails,
    Panics,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    act: Act,
    /// How often the action yields.
    yields: usize,
    /// How often the undo fails before it succeeds.
    undo_fails: u32,
    /// Whether it fails for good the first time.
    is_permanent: bool,
    undo_yields: usize,
}

const ATTEMPTS: u32 = 3;

impl Plan {
    fn is_stuck(self) -> bool {
        self.undo_fails >= if self.is_permanent { 1 } else { ATTEMPTS }
    }
}

#[derive(Default)]
struct World {
    effects: Mutex<Vec<(&'static str, usize)>>,
    polls: AtomicUsize,
    undo_calls: Mutex<Vec<u32>>,
    reports: Mutex<Vec<SagaReport>>,
}

impl World {
    async fn wait(&self, yields: usize) {
        for _ in 0..yields {
            self.polls.fetch_add(1, Ordering::SeqCst);
            yield_now().await;
        }
    }

    async fn act(self: Arc<Self>, step: usize, plan: Plan) -> StageResult<usize> {
        self.wait(plan.yields).await;
        match plan.act {
            Act::Done => {
                self.effects.lock().expect("effects").push(("do", step));
                Ok(step)
            }
            Act::Fails => Err(StageExit::fail("no")),
            // Without a word on the console.
            Act::Panics => std::panic::resume_unwind(Box::new("no")),
        }
    }

    async fn undo(self: Arc<Self>, step: usize, plan: Plan) -> StageResult<()> {
        let call = {
            let mut calls = self.undo_calls.lock().expect("calls");
            let len = calls.len().max(step + 1);
            calls.resize(len, 0);
            calls[step] += 1;
            calls[step]
        };
        self.wait(plan.undo_yields).await;
        if call <= plan.undo_fails {
            let class = if plan.is_permanent { ErrorClass::Permanent } else { ErrorClass::Transient };
            return Err(StageExit::fail("not yet").class(class));
        }
        self.effects.lock().expect("effects").push(("undo", step));
        Ok(())
    }
}

fn pipeline(world: &Arc<World>, plans: Vec<Plan>, on_stuck: OnStuck) -> Pipeline<(), usize> {
    let told = Arc::clone(world);
    let saga = Saga::new("oracle")
        .undo_attempts(ATTEMPTS)
        .undo_backoff(Backoff::constant(Duration::from_millis(1)))
        .on_stuck(on_stuck)
        .on_end(move |report| told.reports.lock().expect("reports").push(report.clone()));
    let (world, plans) = (Arc::clone(world), Arc::new(plans));
    let stage = stage_fn(move |ctx: StageContext, (): ()| {
        let (world, plans, saga) = (Arc::clone(&world), Arc::clone(&plans), saga.clone());
        async move {
            let body = |scope: SagaScope| async move {
                for (step, plan) in plans.iter().copied().enumerate() {
                    let undoes = Arc::clone(&world);
                    let undo = move |done: Arc<usize>| Arc::clone(&undoes).undo(*done, plan);
                    scope.step(step.to_string(), Arc::clone(&world).act(step, plan), undo).await?;
                    world.wait(1).await;
                }
                Ok(plans.len())
            };
            saga.run(&ctx, body).await
        }
    });
    let mut p = Pipeline::builder("oracle");
    let only = p.stage("saga", stage).inputs(());
    p.build(only).expect("one stage is a pipeline")
}

/// What must have been done and undone, given what was done; and the steps that are stuck, and that are still done.
fn oracle(done: &[usize], plans: &[Plan], on_stuck: OnStuck) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let (mut undone, mut stuck, mut still) = (Vec::new(), Vec::new(), Vec::new());
    for step in done.iter().rev().copied() {
        if on_stuck == OnStuck::Stop && !stuck.is_empty() {
            still.push(step);
        } else if plans[step].is_stuck() {
            stuck.push(step);
        } else {
            undone.push(step);
        }
    }
    (undone, stuck, still)
}

fn check(world: &World, plans: &[Plan], on_stuck: OnStuck, is_complete: bool) {
    let effects = world.effects.lock().expect("effects").clone();
    let of = |what| effects.iter().filter(|one| one.0 == what).map(|one| one.1).collect::<Vec<_>>();
    let (done, was_undone) = (of("do"), of("undo"));
    assert_eq!(done, (0..done.len()).collect::<Vec<_>>());
    let reports = world.reports.lock().expect("reports");
    if reports.is_empty() && world.polls.load(Ordering::SeqCst) == 0 {
        // Cancelled before its stage began.
        assert!(effects.is_empty() && !is_complete);
        return;
    }
    let [report] = &reports[..] else { panic!("{} ends of one saga", reports.len()) };
    if is_complete {
        assert_eq!((done.len(), was_undone.len(), report.end), (plans.len(), 0, SagaEnd::Committed));
        return;
    }
    let (undone, stuck, still) = oracle(&done, plans, on_stuck);
    assert_eq!(was_undone, undone, "{report}");
    let listed = |state| {
        let mut steps: Vec<usize> =
            report.in_state(state).map(|name| name.parse().expect("a number")).collect();
        steps.reverse();
        steps
    };
    assert_eq!(listed(StepState::Undone), undone, "{report}");
    assert_eq!(listed(StepState::Stuck), stuck, "{report}");
    assert_eq!(listed(StepState::Done), still, "{report}");
    assert_eq!(listed(StepState::InDoubt), [] as [usize; 0], "{report}");
    assert_eq!(report.end, if stuck.is_empty() { SagaEnd::RolledBack } else { SagaEnd::Stuck });
    let calls = world.undo_calls.lock().expect("calls");
    for step in undone.iter().chain(&stuck) {
        let plan = plans[*step];
        let expected = match (plan.is_stuck(), plan.is_permanent) {
            (true, true) => 1,
            (true, false) => ATTEMPTS,
            (false, _) => plan.undo_fails + 1,
        };
        assert_eq!(calls[*step], expected, "{report}");
    }
}

/// Runs it, and cancels it as soon as so many waits were begun. Whether it completed, and how many waits there were.
fn run(plans: &[Plan], on_stuck: OnStuck, cancel_at: Option<usize>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let world = Arc::new(World::default());
    let is_complete = runtime.expect("a runtime").block_on(async {
        let engine = Engine::builder().build().expect("an engine");
        let pipeline = pipeline(&world, plans.to_vec(), on_stuck);
        let run = engine.run(&pipeline, ()).start();
        if let Some(at) = cancel_at {
            let mut turns = 0;
            while world.polls.load(Ordering::SeqCst) < at && run.explain().is_some() {
                yield_now().await;
                turns += 1;
                if turns % 16 == 0 {
                    // sleeps: on paused time, which does not pass while somebody has something to do
                    tokio::time::sleep(Duration::from_micros(100)).await;
                }
            }
            run.cancel("by the test");
        }
        run.into_future().await.is_ok()
    });
    check(&world, plans, on_stuck, is_complete);
    world.polls.load(Ordering::SeqCst)
}

fn plan() -> impl Strategy<Value = Plan> {
    let act = prop_oneof![6 => Just(Act::Done), 1 => Just(Act::Fails), 1 => Just(Act::Panics)];
    let undo_fails = prop_oneof![4 => Just(0), 2 => 1..ATTEMPTS, 1 => Just(9)];
    (act, 0_usize..3, undo_fails, any::<bool>(), 0_usize..3).prop_map(
        |(act, yields, undo_fails, is_permanent, undo_yields)| Plan {
            act,
            yields,
            undo_fails,
            is_permanent,
            undo_yields,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_done_and_undone_is_what_should_be(
        plans in prop::collection::vec(plan(), 0..6),
        goes_on in any::<bool>(),
    ) {
        let on_stuck = if goes_on { OnStuck::GoOn } else { OnStuck::Stop };
        let polls = run(&plans, on_stuck, None);
        for cancel_at in 0..=polls {
            run(&plans, on_stuck, Some(cancel_at));
        }
    }
}
