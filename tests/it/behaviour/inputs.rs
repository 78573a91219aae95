//! What stages can read, and what they cannot (§18.9; rules S-12, S-13).

use std::sync::Arc;

use stageflow::{FailurePolicy, InputError, code, names, prelude::*};

use super::kit::{error_of, exits, gives, naps, pipeline, same, statuses};

/// A stage that reads by name.
fn reads<O: Send + Sync + 'static>(
    read: fn(&StageInputs) -> Result<O, InputError>,
) -> impl Stage<Input = StageInputs, Output = O> {
    stage_fn(move |_, inputs: StageInputs| async move { Ok(read(&inputs)?) })
}

/// KEEP 18.2-56, 18.9-212, S-12.
#[tokio::test(start_paused = true)]
async fn reading_what_was_not_declared_fails_the_stage() {
    let chain = pipeline(|p| {
        p.stage("a", gives(1_u32)).inputs(());
        p.stage("b", stage_fn(|_, inputs: StageInputs| async move { Ok(*inputs.get_from::<u32>("a")?) }))
            .inputs("a");
        p.stage("c", reads(|inputs| inputs.get_from::<u32>("a"))).inputs("b")
    });
    let failure = error_of(chain.run(())).await.failure().unwrap();
    assert_eq!((failure.stage(), failure.code()), ("c", code::UNDECLARED_DEP));
    assert_eq!(failure.message(), "stage `c` reads `a`, which is not among its inputs (`b`)");
    assert!(!failure.recoverable());
}

/// KEEP 18.9-214, W19: also for a stage that declared nothing.
#[tokio::test(start_paused = true)]
async fn a_stage_without_inputs_has_no_silent_default() {
    let none: [&str; 0] = [];
    let lonely = pipeline(|p| {
        p.stage("a", gives(1_u32)).inputs(());
        p.stage("b", reads(|inputs| inputs.get_optional::<u32>("a"))).inputs(none)
    });
    let failure = error_of(lonely.run(())).await.failure().unwrap();
    assert_eq!(failure.code(), code::UNDECLARED_DEP);
    assert!(failure.message().contains("it has none"), "{}", failure.message());
}

/// KEEP 18.9-215: declared and not there is told apart from not declared; optional reads give nothing.
#[tokio::test(start_paused = true)]
async fn skipped_failed_and_wrong_typed_are_told_apart() {
    let read = |name: &'static str, read: fn(&StageInputs) -> Result<(), InputError>| {
        pipeline(move |p| {
            p.on_failure(FailurePolicy::Continue);
            p.stage("skipped", exits(|| StageExit::skip("x"))).inputs(());
            p.stage("failed", exits(|| StageExit::fail("x"))).inputs(());
            p.stage("there", gives(7_u32)).inputs(());
            p.stage("read", reads(read)).inputs(names(["there"]).optional([name]))
        })
    };
    let code_of =
        async |pipeline: Pipeline<(), ()>| error_of(pipeline.run(())).await.report().unwrap().stage("read");
    let outcome = async |pipeline| code_of(pipeline).await.unwrap().outcome;
    let code = |outcome| match outcome {
        stageflow::StageOutcome::Failed(failure) => failure.code(),
        other => panic!("{other}"),
    };
    let skipped = outcome(read("skipped", |inputs| inputs.get_from::<u32>("skipped").map(drop))).await;
    assert_eq!(code(skipped), code::INPUT_SKIPPED);
    let failed = outcome(read("failed", |inputs| inputs.get_from::<u32>("failed").map(drop))).await;
    assert_eq!(code(failed), code::INPUT_UNAVAILABLE);
    let wrong = outcome(read("skipped", |inputs| inputs.get_from::<String>("there").map(drop))).await;
    assert_eq!(code(wrong), code::WRONG_TYPE);
    let none = read("failed", |inputs| {
        assert!(inputs.get_optional::<u32>("failed")?.is_none());
        assert_eq!(*inputs.get_optional::<u32>("there")?.expect("it is there"), 7);
        assert_eq!(inputs.names().collect::<Vec<_>>(), ["there", "failed"]);
        Ok(())
    });
    none.run(()).await.unwrap();
}

/// KEEP 18.2-74, 18.9-216, W6: the order of the declaration, whatever came first.
#[tokio::test(start_paused = true)]
async fn names_and_lists_keep_the_order_of_the_declaration() {
    let order = pipeline(|p| {
        let late = p.stage("late", naps(20.millis(), 1)).inputs(());
        let early = p.stage("early", naps(10.millis(), 2)).inputs(());
        let names =
            p.stage("names", reads(|inputs| Ok(inputs.names().map(str::to_owned).collect::<Vec<_>>())));
        let names = names.inputs(["late", "early"]);
        let list = |_, list: Vec<Arc<u32>>| async move { Ok(list.iter().map(|n| **n).collect::<Vec<_>>()) };
        let list = p.stage("list", stage_fn(list)).inputs([late, early]);
        p.stage("both", stage_fn(|_, it: (Arc<Vec<String>>, Arc<Vec<u32>>)| async move { Ok(it) }))
            .inputs((names, list))
    });
    let done = order.run(()).await.unwrap();
    assert_eq!(
        (&*done.output().0, &*done.output().1),
        (&vec!["late".to_owned(), "early".to_owned()], &vec![1, 2])
    );
}

/// KEEP 18.9-217: an output of `None` is an output.
#[tokio::test(start_paused = true)]
async fn an_output_of_none_is_an_output() {
    let none = pipeline(|p| {
        let none = p.stage("none", gives(None::<u32>)).inputs(());
        p.stage(
            "seen",
            stage_fn(|_, it: Option<Arc<Option<u32>>>| async move { Ok(it.is_some_and(|it| it.is_none())) }),
        )
        .inputs(none.optional())
    });
    assert!(*none.run(()).await.unwrap().output());
}

/// KEEP 18.1-30: a name twice is one edge twice, and no deadlock.
#[tokio::test(start_paused = true)]
async fn a_name_twice_is_no_deadlock() {
    let twice = pipeline(|p| {
        let a = p.stage("a", gives(1_u32)).inputs(());
        p.stage("names", reads(|inputs| inputs.get_from::<u32>("a"))).inputs(["a", "a"]);
        p.stage("sum", super::kit::sum()).inputs([a, a, a])
    });
    assert_eq!(*twice.run(()).await.unwrap().output(), 3);
}

/// KEEP 18.9-219, W20: values are shared and cannot be changed; who wants to change one gets one of its own.
#[tokio::test(start_paused = true)]
async fn changing_an_owned_input_changes_nobody_elses() {
    let owned = pipeline(|p| {
        let list = p.stage("list", gives(vec![1_u32])).inputs(());
        let longer = p.stage(
            "longer",
            stage_fn(|_, mut list: Owned<Vec<u32>>| async move {
                list.0.push(2);
                Ok(list.0)
            }),
        );
        let longer = longer.inputs(list);
        let same =
            p.stage("same", stage_fn(|_, list: Arc<Vec<u32>>| async move { Ok(list.len()) })).inputs(list);
        p.stage("both", stage_fn(|_, it: (Arc<Vec<u32>>, Arc<usize>)| async move { Ok((it.0.len(), *it.1)) }))
            .inputs((longer, same))
    });
    let done = owned.run(()).await.unwrap();
    assert_eq!(done.output(), &(2, 1));
    assert_eq!(*done.report().output_of::<Vec<u32>>("list").unwrap(), [1]);
}

/// `after` orders without data, and passes skips and failures on like any required edge (S-6).
#[tokio::test(start_paused = true)]
async fn after_orders_and_passes_skips_and_failures_on() {
    let after = |exit: fn() -> StageExit| {
        pipeline(move |p| {
            p.on_failure(FailurePolicy::Continue);
            let first = p.stage("first", exits(exit)).inputs(());
            let n = p.stage("n", gives(1_u32)).inputs(());
            p.stage("then", same()).after(first).inputs(n)
        })
    };
    let skipped = error_of(after(|| StageExit::skip("x")).run(())).await;
    assert_eq!(statuses(&skipped.report().unwrap())[2], "then: skipped: `first` was skipped");
    let blocked = error_of(after(|| StageExit::fail("x")).run(())).await;
    assert_eq!(statuses(&blocked.report().unwrap())[2], "then: blocked by `first`");
}
