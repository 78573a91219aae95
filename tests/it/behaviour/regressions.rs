//! What was wrong in the Python version must not come back (`upstream-engine.md` §19): W1 to W8, W18 to W25.

use std::{
    collections::HashSet,
    future::IntoFuture as _,
    sync::{Arc, Mutex},
};

use stageflow::{Call, CancelCause, EventKind, Interceptor, Next, RunOutcome, Value, code, prelude::*};

use super::{
    child::parent_of,
    kit::{
        Log, error_of, exits, exits_after, gives, idle, logging, naps, never, pipeline, recorded, report_of,
        solo, statuses, sum,
    },
};

/// A stage that uses a resource until it is dropped, next to one that ends as `exit` says.
fn with_user(log: &Log, exit: fn() -> StageExit) -> Pipeline<(), u32> {
    let uses = logging(log, |log, ctx| async move {
        let cleaned = log.clone();
        ctx.on_cleanup(async move { cleaned.add("closed") });
        let _used = log.on_drop("no longer used");
        std::future::pending::<StageResult<u32>>().await
    });
    pipeline(|p| {
        let uses = p.stage("uses", uses).inputs(());
        let ends = p.stage("ends", exits_after(5.millis(), exit)).inputs(());
        p.stage("sum", sum()).inputs([uses, ends])
    })
}

/// W1: a failure that is returned tears the run down like one that is thrown.
#[tokio::test(start_paused = true)]
async fn w01_a_returned_failure_orphans_no_sibling() {
    let ends: [fn() -> StageExit; 4] = [
        || StageExit::fail("returned"),
        || std::io::Error::other("thrown").into(),
        || StageExit::cancel("cancelled"),
        || panic!("panicked"),
    ];
    for end in ends {
        let log = Log::default();
        report_of(with_user(&log, end).run(())).await;
        assert_eq!(log.lines(), ["no longer used", "closed"]);
    }
}

/// W2: a caller that gives up on the run leaves nothing running.
#[tokio::test(start_paused = true)]
async fn w02_a_caller_that_gives_up_orphans_nothing() {
    let log = Log::default();
    let pipeline = with_user(&log, || StageExit::fail("never comes to it"));
    assert!(tokio::time::timeout(1.millis(), pipeline.run(()).into_future()).await.is_err());
    idle().await;
    assert_eq!(log.lines(), ["no longer used", "closed"]);
    let run = pipeline.start(());
    idle().await;
    let waiting = tokio::spawn(async move { run.await.map(drop) });
    idle().await;
    waiting.abort();
    idle().await;
    assert_eq!(log.lines().len(), 4);
}

/// W3: a cancel is not polled for: it works in the middle of the only stage.
#[tokio::test(start_paused = true)]
async fn w03_a_cancel_is_neither_late_nor_lost() {
    let run = solo(naps(400.millis(), 1)).start(());
    tokio::time::sleep(100.millis()).await;
    run.cancel("x");
    let report = error_of(run).await.report().unwrap();
    assert_eq!((report.outcome(), report.duration()), (RunOutcome::Cancelled, 100.millis()));
}

/// W4: the error has the partial results, the cause with its type, and says whether another run may help.
#[tokio::test(start_paused = true)]
async fn w04_an_error_carries_everything() {
    let failing = pipeline(|p| {
        let a = p.stage("a", gives(41_u32)).inputs(());
        let late = |_, _: Arc<u32>| async { StageResult::<u32>::Err(std::io::Error::other("disk").into()) };
        p.stage("b", stage_fn(late)).inputs(a)
    });
    let error = error_of(failing.run(())).await;
    assert!(error.failure().unwrap().cause().is::<std::io::Error>());
    assert_eq!(*error.report().unwrap().output_of::<u32>("a").unwrap(), 41);
    assert!(!error.recoverable() && error.hint().is_some());
    let transient =
        error_of(solo(exits(|| StageExit::fail("429").class(stageflow::ErrorClass::Transient))).run(()))
            .await;
    assert!(transient.recoverable());
}

/// W5: a pipeline holds no state of its runs.
#[tokio::test(start_paused = true)]
async fn w05_runs_of_one_pipeline_share_nothing() {
    let log = Log::default();
    let held = with_user(&log, || StageExit::fail("x"));
    let (one, other) = (held.start(()), held.start(()));
    idle().await;
    one.cancel("only this one");
    let report = error_of(one).await.report().unwrap();
    assert_eq!(report.cancelled(), Some(CancelCause::Requested { reason: "only this one".into() }));
    assert_eq!(log.lines(), ["no longer used", "closed"]);
    assert_eq!(error_of(other).await.outcome(), Some(RunOutcome::Failed));
    assert_eq!(log.lines().len(), 4);
}

/// W6: what happens in the same tick has one order, each time.
#[tokio::test(start_paused = true)]
async fn w06_the_same_run_ends_the_same_way() {
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let racing = pipeline(|p| {
            let cancel = p.stage("cancel", exits_after(5.millis(), || StageExit::cancel("x"))).inputs(());
            let fail = p.stage("fail", exits_after(5.millis(), || StageExit::fail("x"))).inputs(());
            let other = p.stage("other", exits_after(5.millis(), || StageExit::fail("y"))).inputs(());
            p.stage("sum", sum()).inputs([cancel, fail, other])
        });
        let (engine, recorder) = recorded();
        let report = report_of(engine.run(&racing, ())).await;
        seen.insert(format!("{} {:?} {:?}", report.outcome(), statuses(&report), recorder.lines()));
    }
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

/// W7: asking for a retry again and again is a failure with a code of its own, and never a success.
#[tokio::test(start_paused = true)]
async fn w07_a_retry_that_is_asked_for_each_time_is_a_failure() {
    for kind in [StageKind::Transform, StageKind::Guard] {
        let log = Log::default();
        let asks = logging::<u32, _>(&log, |log, _| async move {
            log.add("called");
            Err(StageExit::retry("429").after(2.secs()))
        });
        let guarded = pipeline(|p| {
            let asks = p.stage("asks", asks).kind(kind).inputs(());
            p.stage("after", gives(1_u32)).after(asks).inputs(())
        });
        let began = tokio::time::Instant::now();
        let error = error_of(guarded.run(())).await;
        let failure = error.failure().unwrap();
        assert_eq!(
            (failure.code(), failure.message()),
            (code::RETRY_EXHAUSTED, "429 (attempt 3)".to_owned())
        );
        assert!(error.recoverable() && error.hint().unwrap().contains("max_attempts"));
        assert_eq!((log.lines().len(), error.report().unwrap().stage("after").unwrap().attempts), (3, 0));
        assert_eq!(began.elapsed(), 4.secs(), "the delays it asked for");
    }
}

/// W8: guards do not repeat stages yet; that a guard asks for it leaves no half-repeated run behind.
#[tokio::test(start_paused = true)]
async fn w08_a_guard_that_wants_a_repeat_ends_the_run() {
    let guarded = pipeline(|p| {
        let agent = p.stage("agent", gives(1_u32)).kind(StageKind::Agent).inputs(());
        let refuse = |_, _: Arc<u32>| async { StageResult::<u32>::Err(StageExit::retry("too short")) };
        let guard = p.stage("guard", stage_fn(refuse)).kind(StageKind::Guard).inputs(agent);
        p.stage("send", stage_fn(|_, n: Arc<u32>| async move { Ok(*n) })).kind(StageKind::Work).inputs(guard)
    });
    let report = report_of(guarded.run(())).await;
    let expected =
        ["agent: completed", "guard: failed: too short (attempt 3)", "send: cancelled: `guard` failed"];
    assert_eq!(statuses(&report), expected);
    assert_eq!(report.stage("agent").unwrap().attempts, 1);
}

/// Counts the calls it has seen.
pub(super) struct Count(pub(super) Arc<Mutex<u32>>);

impl Interceptor for Count {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        *self.0.lock().expect("it does not panic") += 1;
        next.run().await
    }
}

/// W18: an engine keeps its interceptors from run to run, and none are there unasked.
#[tokio::test(start_paused = true)]
async fn w18_interceptors_keep_their_state_between_runs() {
    let count = Arc::new(Mutex::new(0));
    let engine = Engine::builder().interceptor(Count(Arc::clone(&count))).build().unwrap();
    let only = solo(gives(1_u32));
    for _ in 0..3 {
        engine.run(&only, ()).await.unwrap();
    }
    assert_eq!(*count.lock().unwrap(), 3);
    assert_eq!(Engine::builder().build().unwrap().order(&only).to_string(), "(none) -> only");
}

/// W19: see `inputs::a_stage_without_inputs_has_no_silent_default`.
#[tokio::test(start_paused = true)]
async fn w19_a_typo_gives_no_default() {
    let typo = solo(stage_fn(|_, (): ()| async { Ok(1_u32) }));
    assert!(typo.run(()).await.unwrap().report().output_of::<u32>("onyl").is_none());
    let inputs = StageInputs::for_test("lonely");
    assert_eq!(inputs.get_optional::<u32>("anything").unwrap_err().code(), code::UNDECLARED_DEP);
}

/// W20: what a stage was given stays as it was, whatever other stages do with theirs.
#[tokio::test(start_paused = true)]
async fn w20_nobody_can_change_what_others_read() {
    let shared = pipeline(|p| {
        let list = p.stage("list", gives(vec![1_u32])).inputs(());
        let push = |_, mut list: Owned<Vec<u32>>| async move {
            list.0.push(2);
            Ok(list.0)
        };
        let longer = p.stage("longer", stage_fn(push)).inputs(list);
        let look = |_, it: (Arc<Vec<u32>>, Arc<Vec<u32>>)| async move { Ok((it.0.len(), it.1.len())) };
        p.stage("look", stage_fn(look)).inputs((list, longer))
    });
    assert_eq!(shared.run(()).await.unwrap().output(), &(1, 2));
}

/// W21: an ordinary run tells its life.
#[tokio::test(start_paused = true)]
async fn w21_an_ordinary_run_tells_its_life() {
    let (engine, recorder) = recorded();
    engine.run(&solo(gives(1_u32)), ()).await.unwrap();
    let lines = ["pipeline.started", "stage.started only", "stage.completed only", "pipeline.completed"];
    assert_eq!(recorder.lines(), lines);
}

/// W22: what a stage emits is collected, in its place among the others.
#[tokio::test(start_paused = true)]
async fn w22_events_of_a_stage_are_collected() {
    let (engine, recorder) = recorded();
    let emits = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.emit("artifact.stored", [("name", "index")]);
        Ok(1_u32)
    });
    let done = engine.run(&solo(emits), ()).await.unwrap();
    assert_eq!(
        recorder.lines()[1..4],
        ["stage.started only", "artifact.stored only", "stage.completed only"]
    );
    assert!(recorder.events().iter().all(|event| event.run_id() == done.run_id()));
}

/// W23: every run has an id, also without options.
#[tokio::test(start_paused = true)]
async fn w23_every_run_has_an_id() {
    let only = solo(gives(1_u32));
    let (one, other) = (only.run(()).await.unwrap(), only.run(()).await.unwrap());
    assert_ne!(one.run_id(), other.run_id());
    assert_eq!(one.run_id(), one.report().run_id());
}

/// W24: an error in what wraps a stage has the stage's name, and is not met by stages that are left out.
#[tokio::test(start_paused = true)]
async fn w24_an_error_around_a_stage_names_the_stage() {
    struct Broken;
    impl Interceptor for Broken {
        async fn around(&self, _: &Call, _: Next<'_>) -> StageResult<Value> {
            Err(std::io::Error::other("hook").into())
        }
    }
    let wrapped = pipeline(|p| {
        let no = p.stage("no", gives(false)).inputs(());
        let left_out = p.stage("left-out", gives(1_u32)).when(no, |it| *it).intercept(Broken).inputs(());
        let hit = p.stage("hit", gives(1_u32)).intercept(Broken).inputs(());
        p.stage("sum", stage_fn(|_, _: (Option<Arc<u32>>, Arc<u32>)| async { Ok(1_u32) }))
            .inputs((left_out.optional(), hit))
    });
    let error = error_of(wrapped.run(())).await;
    assert_eq!(error.failure().unwrap().stage(), "hit");
    assert_eq!(error.report().unwrap().stage("left-out").unwrap().outcome.status(), "skipped");
}

/// W25: cancellation goes down at once; a child that cancels is told apart from one that fails.
#[tokio::test(start_paused = true)]
async fn w25_children_are_cancelled_with_their_parent() {
    let (engine, recorder) = recorded();
    let run = engine.start(&parent_of(parent_of(solo(never()))), ());
    idle().await;
    run.cancel("x");
    error_of(run).await;
    let told: Vec<_> = recorder.events();
    let cancelled = |event: &&stageflow::Event| {
        matches!(event.kind(), EventKind::PipelineEnded { outcome: RunOutcome::Cancelled, .. })
    };
    assert_eq!(told.iter().filter(cancelled).count(), 3);
    let fails = error_of(parent_of(solo(exits(|| StageExit::fail("x")))).run(())).await;
    let cancels = error_of(parent_of(solo(exits(|| StageExit::cancel("x")))).run(())).await;
    assert_eq!((fails.outcome(), cancels.outcome()), (Some(RunOutcome::Failed), Some(RunOutcome::Cancelled)));
}
