//! The onion around a stage: scopes, order, verdicts, repeats (§18.6 as far as it is about the chain; rules S-20, S-21).

use std::sync::Arc;

use stageflow::{
    Call, CancelCause, FailurePolicy, Interceptor, Layer, Next, Owned, Placement, RunOutcome, StageOutcome,
    Value, code, prelude::*,
};

use super::kit::{
    Log, error_of, exits, gives, idle, logging, never, pipeline, recorded, report_of, same, statuses, within,
};

/// Logs what it enters and leaves.
pub(super) struct Note {
    name: &'static str,
    log: Log,
    placement: Placement,
    only: Option<&'static str>,
}

pub(super) fn note(name: &'static str, log: &Log) -> Note {
    Note { name, log: log.clone(), placement: Placement::At(Layer::Inner), only: None }
}

impl Note {
    pub(super) fn at(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }

    pub(super) fn only(self, stage: &'static str) -> Self {
        Self { only: Some(stage), ..self }
    }
}

impl Interceptor for Note {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        self.log.add(format!("> {} {}", self.name, call.stage_name()));
        let _left = self.log.on_drop(&format!("< {} {}", self.name, call.stage_name()));
        next.run().await
    }

    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn placement(&self) -> Placement {
        self.placement
    }

    fn applies_to(&self, stage: &str, _: StageKind) -> bool {
        self.only.is_none_or(|only| only == stage)
    }
}

/// 18.3-92: stages that do not run meet no interceptor.
#[tokio::test(start_paused = true)]
async fn a_stage_that_is_left_out_meets_no_interceptor() {
    let log = Log::default();
    let left_out = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue).intercept(note("n", &log));
        let no = p.stage("no", gives(false)).inputs(());
        p.stage("not-taken", gives(1_u32)).when(no, |it| *it).inputs(());
        let skips = p.stage("skips", exits(|| StageExit::skip("x"))).inputs(());
        p.stage("skipped", same()).inputs(skips);
        let fails = p.stage("fails", exits(|| StageExit::fail("x"))).inputs(());
        p.stage("blocked", same()).inputs(fails)
    });
    report_of(left_out.run(())).await;
    let entered: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with('>')).collect();
    assert_eq!(entered, ["> n no", "> n skips", "> n fails"]);
}

/// Gives a value of its own instead of calling the stage.
struct Replace(Value);

impl Interceptor for Replace {
    async fn around(&self, _: &Call, _: Next<'_>) -> StageResult<Value> {
        Ok(self.0.clone())
    }
}

/// S-20: an output may be replaced by one of the same type, and by no other.
#[tokio::test(start_paused = true)]
async fn an_output_can_be_replaced_by_one_of_its_type() {
    let replaced =
        |value: Value| pipeline(move |p| p.stage("only", never()).intercept(Replace(value)).inputs(()));
    let done = replaced(Value::new(9_u32)).run(()).await.unwrap();
    assert_eq!((*done.output(), statuses(&done.report())), (9, vec!["only: completed".to_owned()]));
    let error = error_of(replaced(Value::new("nine")).run(())).await;
    let failure = error.failure().unwrap();
    assert_eq!((failure.code(), failure.stage()), (code::REPLACED_TYPE, "only"));
    assert!(failure.message().contains("`u32`"), "{}", failure.message());
}

/// Leaves in the place of the stage.
struct Leave(fn() -> StageExit);

impl Interceptor for Leave {
    async fn around(&self, _: &Call, _: Next<'_>) -> StageResult<Value> {
        Err((self.0)())
    }
}

/// S-20: deny and cancel end the run, and nothing that comes later runs.
#[tokio::test(start_paused = true)]
async fn verdicts_end_the_run_before_the_stage_runs() {
    let verdicts: [(fn() -> StageExit, RunOutcome); 3] = [
        (|| StageExit::deny("not yours"), RunOutcome::Denied),
        (|| StageExit::cancel("not now"), RunOutcome::Cancelled),
        (|| StageExit::fail("broken"), RunOutcome::Failed),
    ];
    for (verdict, outcome) in verdicts {
        let log = Log::default();
        let ran = || {
            logging(&log, |log, _| async move {
                log.add("ran");
                Ok(1_u32)
            })
        };
        let guarded = pipeline(|p| {
            let a = p.stage("a", ran()).intercept(Leave(verdict)).inputs(());
            p.stage("b", ran()).after(a).inputs(())
        });
        let (engine, recorder) = recorded();
        let error = error_of(engine.run(&guarded, ())).await;
        assert_eq!((error.outcome(), log.lines().len()), (Some(outcome), 0));
        // The attempt never began: no stage has started, and no attempt is counted.
        assert!(!recorder.lines().iter().any(|line| line.starts_with("stage.started")));
        assert_eq!(error.report().unwrap().stage("a").unwrap().attempts, 0);
    }
    let error = error_of(
        pipeline(|p| p.stage("a", never()).intercept(Leave(|| StageExit::cancel("not now"))).inputs(()))
            .run(()),
    )
    .await;
    let cause = CancelCause::Stage { stage: "a".into(), reason: "not now".into() };
    assert_eq!(error.report().unwrap().cancelled(), Some(cause));
}

/// Calls what lies inside so many times.
struct Times(u32);

impl Interceptor for Times {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let mut last = Err(StageExit::fail("called not once"));
        for n in 1..=self.0 {
            assert_eq!(call.attempts(), n - 1);
            last = next.clone().run().await;
        }
        last
    }
}

/// S-22, S-28: each call of `next` is an attempt, with its number in context, events and report.
#[tokio::test(start_paused = true)]
async fn calling_twice_makes_two_attempts() {
    let (engine, recorder) = recorded();
    let twice = pipeline(|p| {
        p.stage("only", stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx.attempt()) }))
            .intercept(Times(2))
            .inputs(())
    });
    let done = engine.run(&twice, ()).await.unwrap();
    assert_eq!((*done.output(), done.report().stage("only").unwrap().attempts), (2, 2));
    let told: Vec<_> =
        recorder.events().iter().filter_map(|it| Some((it.name().into_owned(), it.attempt()?))).collect();
    let expected = [("stage.started", 1), ("stage.started", 2), ("stage.completed", 2)];
    assert_eq!(told, expected.map(|(name, attempt)| (name.to_owned(), attempt)));
    let fails = pipeline(|p| p.stage("only", exits(|| StageExit::fail("x"))).intercept(Times(3)).inputs(()));
    let failure = error_of(fails.run(())).await.failure().unwrap();
    assert_eq!(
        (failure.attempts(), failure.to_string()),
        (3, "stage `only` failed after 3 attempts [STAGE_FAILED]".into())
    );
}

/// `next.run()` does nothing until it is awaited: what is only prepared is no attempt.
#[tokio::test(start_paused = true)]
async fn what_is_not_awaited_does_not_run() {
    struct Prepare;
    impl Interceptor for Prepare {
        async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
            let unused = next.clone().run();
            tokio::task::yield_now().await;
            assert_eq!(call.attempts(), 0);
            drop(unused);
            next.run().await
        }
    }
    let log = Log::default();
    let spy = log.clone();
    let called = stage_fn(move |ctx: StageContext, (): ()| {
        spy.add("called");
        std::future::ready(Ok(ctx.attempt()))
    });
    let (engine, recorder) = recorded();
    let prepared = pipeline(|p| p.stage("only", called).intercept(Prepare).inputs(()));
    let done = engine.run(&prepared, ()).await.unwrap();
    assert_eq!((*done.output(), log.lines().len()), (1, 1));
    assert_eq!(recorder.lines().iter().filter(|line| *line == "stage.started only").count(), 1);
}

/// Inputs that a stage owns are there again for each call.
#[tokio::test(start_paused = true)]
async fn owned_inputs_are_there_for_each_call() {
    let owned = pipeline(|p| {
        let list = p.stage("list", gives(vec![1_u32])).inputs(());
        let grow = stage_fn(|_, mut list: Owned<Vec<u32>>| async move {
            list.0.push(2);
            Ok(list.0)
        });
        p.stage("grow", grow).intercept(Times(3)).inputs(list)
    });
    assert_eq!(owned.run(()).await.unwrap().output(), &[1, 2]);
}

/// An interceptor sees the inputs, the ids and the stage.
#[tokio::test(start_paused = true)]
async fn an_interceptor_sees_what_it_wraps() {
    struct Look(Log);
    impl Interceptor for Look {
        async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
            let tenant = call.snapshot().identity().tenant_id().map(ToString::to_string);
            self.0.add(format!(
                "{} {} {tenant:?} {:?}",
                call.stage_name(),
                call.stage_kind(),
                next.input::<u32>(0)
            ));
            assert!(next.input::<String>(0).is_none() && next.input::<u32>(1).is_none());
            next.run().await
        }
    }
    let log = Log::default();
    let two = pipeline(|p| {
        let n = p.stage("n", gives(7_u32)).inputs(());
        p.stage("look", same()).kind(StageKind::Guard).intercept(Look(log.clone())).inputs(n)
    });
    two.run(()).tenant("acme").await.unwrap();
    assert_eq!(log.lines(), ["look guard Some(\"acme\") Some(7)"]);
}

/// S-20: what it enters it leaves, also when the run is cancelled or its time is up.
#[tokio::test(start_paused = true)]
async fn interceptors_are_left_on_every_path() {
    let log = Log::default();
    let wrapped = |timeout: bool| {
        pipeline(|p| {
            p.intercept(note("outer", &log));
            let only = p.stage("only", never()).intercept(note("inner", &log));
            let only = if timeout { only.timeout(5.millis()) } else { only };
            only.inputs(())
        })
    };
    let all = ["> outer only", "> inner only", "< inner only", "< outer only"];
    let run = wrapped(false).start(());
    idle().await;
    run.cancel("x");
    error_of(run).await;
    assert_eq!(log.lines(), all);
    let error = within(error_of(wrapped(true).run(()))).await;
    assert_eq!((log.lines().len(), error.code()), (8, code::STAGE_TIMEOUT));
    assert_eq!(log.lines()[4..], all);
}

/// A failure an interceptor turns into an output is none.
#[tokio::test(start_paused = true)]
async fn a_failure_may_be_replaced_by_an_output() {
    struct Fallback;
    impl Interceptor for Fallback {
        async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
            next.run().await.or_else(|_| Ok(Value::from_arc(Arc::new(0_u32))))
        }
    }
    let safe = pipeline(|p| p.stage("only", exits(|| StageExit::fail("x"))).intercept(Fallback).inputs(()));
    let done = safe.run(()).await.unwrap();
    assert_eq!(
        (*done.output(), done.outcome(), done.report().failures().len()),
        (0, RunOutcome::Completed, 0)
    );
    assert_eq!(done.report().stage("only").unwrap().outcome, StageOutcome::Completed);
}
