//! Timeouts of a whole pipeline and of an engine; whose timeout it was (rule S-15; W35, KEEP 18.6-165 … 170).

use std::{io, time::Duration};

use stageflow::{
    Call, Code, Engine, ErrorClass, Interceptor, Next, Pipeline, RunOutcome, TimeLimit, Timeouts, Value,
    code, prelude::*,
};

use super::{
    child::parent_of,
    kit::{Log, error_of, naps, never, pipeline, solo},
};

type Limit = Option<Option<u64>>;

/// Which of the three timeouts.
#[derive(Clone, Copy, Debug)]
enum Which {
    Stage,
    Attempt,
    Idle,
}

impl Which {
    const ALL: [Self; 3] = [Self::Stage, Self::Attempt, Self::Idle];

    fn code(self) -> Code {
        match self {
            Self::Stage => code::STAGE_TIMEOUT,
            Self::Attempt => code::ATTEMPT_TIMEOUT,
            Self::Idle => code::IDLE_TIMEOUT,
        }
    }

    fn engine(self, limit: Option<u64>) -> Engine {
        let builder = Engine::builder();
        let builder = match (self, limit.map(Duration::from_secs)) {
            (_, None) => builder,
            (Self::Stage, Some(limit)) => builder.stage_timeout(limit),
            (Self::Attempt, Some(limit)) => builder.attempt_timeout(limit),
            (Self::Idle, Some(limit)) => builder.idle_timeout(limit),
        };
        builder.build().expect("a timeout above zero")
    }

    /// A stage of an hour, with limits that its pipeline and itself set; `Some(None)` for none.
    fn pipeline(self, of_pipeline: Limit, of_stage: Limit) -> Pipeline<(), u32> {
        let time = |limit: Option<u64>| limit.map(Duration::from_secs);
        pipeline(move |p| {
            if let Some(limit) = of_pipeline {
                match self {
                    Self::Stage => p.stage_timeout(time(limit)),
                    Self::Attempt => p.attempt_timeout(time(limit)),
                    Self::Idle => p.idle_timeout(time(limit)),
                };
            }
            let only = p.stage("only", naps(3_600.secs(), 1));
            let only = match (self, of_stage) {
                (_, None) => only,
                (Self::Stage, Some(limit)) => only.timeout(time(limit)),
                (Self::Attempt, Some(limit)) => only.attempt_timeout(time(limit)),
                (Self::Idle, Some(limit)) => only.idle_timeout(time(limit)),
            };
            only.inputs(())
        })
    }
}

/// KEEP 18.6-165, 166, 167.
#[tokio::test(start_paused = true)]
async fn s_15_the_nearest_timeout_counts_and_none_is_one() {
    let cases: [(Option<u64>, Limit, Limit, Option<u64>); 8] = [
        (None, None, None, None),
        (Some(7), None, None, Some(7)),
        (Some(7), Some(Some(9)), None, Some(9)),
        (Some(7), Some(Some(9)), Some(Some(11)), Some(11)),
        (Some(7), Some(None), None, None),
        (Some(7), Some(Some(9)), Some(None), None),
        (Some(7), None, Some(None), None),
        (None, Some(Some(9)), None, Some(9)),
    ];
    for which in Which::ALL {
        for (engine, of_pipeline, of_stage, expected) in cases {
            let what = format!("{which:?} {engine:?} {of_pipeline:?} {of_stage:?}");
            let run = which.engine(engine).run(&which.pipeline(of_pipeline, of_stage), ());
            let Some(expected) = expected else {
                assert_eq!(run.await.expect(&what).report().duration(), 3_600.secs());
                continue;
            };
            let error = error_of(run).await;
            let failure = error.failure().expect(&what);
            assert_eq!((failure.code(), failure.class()), (which.code(), ErrorClass::Timeout), "{what}");
            assert!(failure.message().contains(&format!("{expected}")), "{what}: {}", failure.message());
            assert_eq!(error.report().expect(&what).duration(), expected.secs(), "{what}");
        }
    }
}

/// An engine's timeouts are for the stages that do the work: a pipeline in the place of a stage may take longer than each of its
/// own stages, unless the pipeline around it says otherwise.
#[tokio::test(start_paused = true)]
async fn s_15_an_engines_timeouts_are_for_the_stages_that_do_the_work() {
    let naps_twice = |first: u64| {
        pipeline(move |p| {
            let one = p.stage("one", naps(first.secs(), 1)).inputs(());
            p.stage("two", naps(4.secs(), 2)).after(one).inputs(())
        })
    };
    for which in Which::ALL {
        let engine = which.engine(Some(5));
        let done = engine.run(&parent_of(naps_twice(4)), ()).await.expect("no stage takes five seconds");
        assert_eq!(done.report().duration(), 8.secs());
        let error = error_of(engine.run(&parent_of(naps_twice(6)), ())).await;
        assert_eq!(error.code(), which.code());
    }
    let strict = pipeline(|p| {
        p.attempt_timeout(5.secs());
        let input = p.input();
        p.stage("kid", naps_twice(4)).inputs(input)
    });
    assert_eq!(error_of(strict.run(())).await.code(), code::ATTEMPT_TIMEOUT);
}

/// Pipelines that become one keep the timeouts of their own stages.
#[tokio::test(start_paused = true)]
async fn timeouts_of_a_pipeline_stay_with_its_stages() {
    let timed = |name: &'static str, limit: Option<u64>| {
        let mut p = Pipeline::builder(name);
        if let Some(limit) = limit {
            p.stage_timeout(limit.secs());
        }
        let nap = stage_fn(|_, (): ()| async {
            // sleeps: on paused time
            tokio::time::sleep(10.secs()).await;
            Ok(())
        });
        p.stage(format!("nap-{name}"), nap).inputs(());
        let out = p.stage(name, stage_fn(|_, (): ()| async { Ok(()) })).after_name(format!("nap-{name}"));
        let out = out.inputs(());
        p.build(out).expect("it is right")
    };
    let both = timed("a", None).then(&timed("b", Some(5))).expect("it is right");
    let error = error_of(both.run(())).await;
    let failure = error.failure().expect("a stage failed");
    assert_eq!((failure.code(), failure.stage()), (code::STAGE_TIMEOUT, "nap-b"));
}

/// W35: nobody has a timeout who has not set one, neither a stage nor a run.
#[tokio::test(start_paused = true)]
async fn there_is_no_timeout_by_default() {
    let engine = Engine::builder().build().expect("an engine");
    assert_eq!((engine.timeouts(), engine.timeouts().stage), (Timeouts::default(), TimeLimit::Inherit));
    let day = solo(naps(86_400.secs(), 1));
    assert_eq!(day.timeouts(), Timeouts::default());
    assert_eq!(engine.run(&day, ()).await.expect("it has time").report().duration(), 86_400.secs());
}

/// Lets through what comes, and notes it.
struct Hears(Log);

impl Interceptor for Hears {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        let done = next.run().await;
        if let Err(exit) = &done {
            self.0.add(exit.to_string());
        }
        done
    }
}

/// W35, FIX 18.6-169, 170: a timeout that a stage has had itself is reported as its own, to interceptors as well.
#[tokio::test(start_paused = true)]
async fn a_stages_own_timeout_is_its_own_w35() {
    let elapsed = stage_fn(|_, (): ()| async {
        tokio::time::timeout(5.secs(), std::future::pending::<()>()).await?;
        Ok(1_u32)
    });
    let io = stage_fn(|_, (): ()| async {
        Err::<u32, _>(io::Error::new(io::ErrorKind::TimedOut, "the socket timed out").into())
    });
    let log = Log::default();
    let of = |stage: &'static str| format!("failed: {stage}");
    let engine = Engine::builder().interceptor(Hears(log.clone())).build().expect("an engine");
    let error = error_of(engine.run(&timed(elapsed, 5), ())).await;
    assert_eq!(error.code(), code::STAGE_FAILED, "its own came first");
    assert_eq!(error.failure().expect("it failed").class(), ErrorClass::Unclassified);
    let error = error_of(engine.run(&timed(io, 5), ())).await;
    assert_eq!(error.failure().expect("it failed").message(), "the socket timed out");
    let error = error_of(engine.run(&timed(never(), 5), ())).await;
    assert_eq!(error.code(), code::ATTEMPT_TIMEOUT);
    let heard = ["deadline has elapsed", "the socket timed out", "the attempt used up its time of 5.0s"];
    assert_eq!(log.lines(), heard.map(of));
    assert_eq!(error.outcome(), Some(RunOutcome::Failed));
}

fn timed(stage: impl Stage<Input = (), Output = u32>, seconds: u64) -> Pipeline<(), u32> {
    pipeline(|p| p.stage("only", stage).attempt_timeout(seconds.secs()).inputs(()))
}

#[test]
fn a_timeout_of_zero_is_refused() {
    let built = Engine::builder()
        .stage_timeout(Duration::ZERO)
        .attempt_timeout(Duration::ZERO)
        .idle_timeout(Duration::ZERO)
        .build();
    let error = built.map(drop).expect_err("nothing could complete");
    assert_eq!(error.codes().collect::<Vec<_>>(), [code::INVALID_POLICY; 3]);
    assert!(error.to_string().contains("with `idle_timeout` of zero no stage can ever complete"), "{error}");
}
