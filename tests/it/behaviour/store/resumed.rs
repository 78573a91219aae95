//! Runs that go on in another process (issue 7, part 3).

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use stageflow::{
    Backoff, Budget, FailurePolicy, Pipeline, RunId, StageOutcome, code,
    durable::Codec,
    interceptors::{IdempotencyKey, Retry},
    prelude::*,
    store::MemoryStore,
};

use super::support::{Calls, Door, chain, engine, killed, runtime, written};

fn resume<O: Clone + Send + Sync + 'static>(
    store: &MemoryStore,
    pipeline: &Pipeline<u32, O>,
    run: RunId,
) -> Result<O, RunError> {
    runtime().block_on(async {
        let run = engine(store.clone()).resume(pipeline, "acme", run).await?.await?;
        Ok(run.output().clone())
    })
}

#[test]
fn a_killed_run_goes_on_and_no_durable_stage_that_completed_is_called_again() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        let b = p.stage("b", calls.plus_one()).inputs(a);
        let c = p.stage("c", calls.plus_one()).durable().inputs(b);
        let d = p.stage("d", calls.behind(&door)).durable().inputs(c);
        p.stage("e", calls.plus_one()).inputs(d)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("d") == 1);
    door.open();
    runtime().block_on(async {
        let ours = engine(store.clone());
        let run =
            ours.resume(&pipeline, "acme", id).await.expect("it is resumable").await.expect("it completes");
        assert_eq!((*run.output(), run.run_id()), (6, id));
        let report = run.report();
        let restored: Vec<_> =
            report.stages().filter(|stage| stage.restored).map(|stage| stage.name).collect();
        assert_eq!(restored, ["a", "b", "c"]);
        let printed = report.to_string();
        assert!(printed.lines().any(|line| line.contains("  c ") && line.ends_with("restored")), "{printed}");
        assert_eq!(report.stage("d").map(|stage| stage.attempts), Some(2), "one was spent");
        assert_eq!(written(&store, id).await.iter().filter(|line| *line == "stage_ended a").count(), 1);
    });
    // `b` gave nothing that is kept, and nobody reads it any more.
    assert_eq!(["a", "b", "c", "d", "e"].map(|stage| calls.of(stage)), [1, 1, 1, 2, 1]);
}

#[test]
fn what_is_not_kept_is_made_again_for_whoever_reads_it_and_for_nobody_else() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        let read = p.stage("read", calls.plus_one()).inputs(n);
        let unread = p.stage("unread", calls.plus_one()).inputs(n);
        let unit = p.stage("unit", calls.gives(|_: Arc<u32>| ())).inputs(n);
        let kept =
            p.stage("kept", calls.gives(|(n, _): (Arc<u32>, Arc<()>)| *n)).durable().inputs((unread, unit));
        let slow = p.stage("slow", calls.behind(&door)).inputs(kept);
        p.stage("last", calls.gives(|(a, b): (Arc<u32>, Arc<u32>)| *a + *b)).inputs((slow, read))
    });
    let id = killed(&store, &pipeline, 1, || calls.of("slow") == 1);
    door.open();
    assert_eq!(resume(&store, &pipeline, id).expect("it completes"), 5);
    assert_eq!(
        ["read", "unread", "unit", "kept", "slow", "last"].map(|stage| calls.of(stage)),
        [2, 1, 1, 1, 2, 1]
    );
}

#[test]
fn skips_failures_and_branches_stay_as_they_were() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let mut p = Pipeline::builder("branches");
    p.on_failure(FailurePolicy::Continue);
    let n = p.durable_input();
    let route = p.stage("route", calls.plus_one()).inputs(n);
    let taken = p.stage("taken", calls.plus_one()).when(route, |n| *n == 2).durable().inputs(n);
    let other = p.stage("other", calls.plus_one()).when(route, |n| *n != 2).inputs(n);
    let counted = calls.clone();
    let fails = p
        .stage(
            "fails",
            stage_fn(move |_, _: Arc<u32>| {
                counted.add("fails");
                async { StageResult::<u32>::Err(StageExit::fail("no such user").code(code::INVALID_INPUT)) }
            }),
        )
        .inputs(n);
    let counted = calls.clone();
    let skips = p
        .stage(
            "skips",
            stage_fn(move |_, _: Arc<u32>| {
                counted.add("skips");
                async { StageResult::<u32>::Err(StageExit::skip("nothing to do")) }
            }),
        )
        .inputs(n);
    let blocked = p.stage("blocked", calls.plus_one()).inputs(fails);
    let joined = p
        .stage(
            "joined",
            calls.gives(|(a, b, c): (Arc<u32>, Option<Arc<u32>>, Option<Arc<u32>>)| {
                *a + b.map_or(10, |b| *b) + c.map_or(100, |c| *c)
            }),
        )
        .durable()
        .inputs((taken.or(other), blocked.optional(), skips.optional()));
    let last = p.stage("last", calls.behind(&door)).inputs(joined);
    let pipeline = p.build(last).expect("it builds");

    let id = killed(&store, &pipeline, 1, || calls.of("last") == 1);
    door.open();
    runtime().block_on(async {
        let ours = engine(store.clone());
        let run =
            ours.resume(&pipeline, "acme", id).await.expect("it is resumable").await.expect("it completes");
        assert_eq!(*run.output(), 113);
        let report = run.report();
        let status = |stage: &str| report.stage(stage).expect("it is there").outcome.to_string();
        assert_eq!(status("other"), "skipped: branch not taken at `route`");
        assert_eq!(status("skips"), "skipped: nothing to do");
        assert_eq!(status("blocked"), "blocked by `fails`");
        let failed = report.stage("fails").expect("it is there").outcome;
        let StageOutcome::Failed(failure) = failed else { panic!("{failed}") };
        assert_eq!((failure.code(), failure.message().as_str()), (code::INVALID_INPUT, "no such user"));
    });
    for stage in ["route", "taken", "fails", "skips", "joined"] {
        assert_eq!(calls.of(stage), 1, "{stage}");
    }
}

#[test]
fn attempts_that_were_spent_are_spent() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let counted = calls.clone();
    let flaky = move || {
        let counted = counted.clone();
        stage_fn(move |_: StageContext, _: Arc<u32>| {
            let nth = counted.add("flaky");
            async move {
                if nth == 2 {
                    std::future::pending::<()>().await;
                }
                StageResult::<u32>::Err(StageExit::fail("503").class(stageflow::ErrorClass::Transient))
            }
        })
    };
    let retry = Retry::exponential(1.secs()).max_attempts(4);
    let pipeline = chain(|p, n| p.stage("flaky", flaky()).retry(retry).durable().inputs(n));
    let id = killed(&store, &pipeline, 1, || calls.of("flaky") == 2);
    let error = resume(&store, &pipeline, id).expect_err("all of its attempts fail");
    assert_eq!(calls.of("flaky"), 4, "two before the crash, and two after it");
    assert_eq!(error.failure().expect("a stage failed").attempts(), 4);
}

#[test]
fn a_request_for_a_retry_counts_the_attempts_that_were_spent() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let counted = calls.clone();
    let asks = stage_fn(move |_: StageContext, _: Arc<u32>| {
        let nth = counted.add("asks");
        async move {
            if nth == 2 {
                std::future::pending::<()>().await;
            }
            StageResult::<u32>::Err(StageExit::retry("429"))
        }
    });
    let pipeline = chain(|p, n| p.stage("asks", asks).durable().inputs(n));
    let id = killed(&store, &pipeline, 1, || calls.of("asks") == 2);
    let error = resume(&store, &pipeline, id).expect_err("all of its attempts fail");
    assert_eq!(calls.of("asks"), Backoff::ATTEMPTS, "two before the crash, and one after it");
    assert_eq!(error.code(), code::RETRY_EXHAUSTED);
}

#[test]
fn what_was_used_of_the_budget_is_used() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        p.budget(Budget::new().cost(10));
        let a = p.stage("a", calls.plus_one()).cost(7).durable().inputs(n);
        let b = p.stage("b", calls.behind(&door)).inputs(a);
        p.stage("c", calls.plus_one()).cost(4).inputs(b)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("b") == 1);
    door.open();
    let error = resume(&store, &pipeline, id).expect_err("7 and 4 are more than 10");
    assert_eq!(error.code(), code::BUDGET_EXHAUSTED);
    assert_eq!(error.report().and_then(|report| report.budget()).map(|budget| budget.cost_spent), Some(7));
}

#[test]
fn the_deadline_goes_on_while_no_process_has_the_run() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        p.deadline(Duration::from_millis(40));
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        p.stage("b", calls.behind(&door)).inputs(a)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("b") == 1);
    door.open();
    // The deadline goes by the clock of the system, which nobody can pause.
    std::thread::park_timeout(Duration::from_millis(50));
    let error = resume(&store, &pipeline, id).expect_err("its time is up");
    assert_eq!(error.code(), code::DEADLINE_EXCEEDED);
    assert_eq!(calls.of("b"), 1);
}

#[test]
fn s_26_a_run_that_goes_on_has_its_idempotency_key_and_a_branch_has_none() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let key = || stage_fn(|ctx: StageContext, _: Arc<u32>| async move { Ok(key_of(&ctx)) });
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.behind(&door)).durable().inputs(n);
        let key = p.stage("key", key()).inputs(a);
        p.stage("last", calls.gives(|key: Arc<String>| u32::try_from(key.len()).unwrap_or(0))).inputs(key)
    });
    let runtime = runtime();
    runtime.block_on(async {
        let ours = engine(store.clone());
        let key = IdempotencyKey::new("order-17");
        let run = ours.run(&pipeline, 1).tenant("acme").extension(key).start();
        while calls.of("a") == 0 {
            tokio::task::yield_now().await;
        }
        let id = run.run_id().expect("it was let in");
        ours.shutdown(1.secs()).await;
        door.open();
        let next = engine(store.clone());
        let run = next.resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        assert_eq!(*run.expect("it completes").output(), 8);
        let branch = next.branch(&pipeline, "acme", id, "key").await.expect("it branches").await;
        assert_eq!(*branch.expect("it completes").output(), 0);
    });
}

fn key_of(ctx: &StageContext) -> String {
    ctx.snapshot().extension::<IdempotencyKey>().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn random_numbers_are_those_of_the_run() {
    let (store, door) = (MemoryStore::new(), Door::shut());
    let calls = Calls::default();
    let draw = || {
        let calls = calls.clone();
        stage_fn(move |ctx: StageContext, _: Arc<u32>| {
            calls.add("draw");
            async move { Ok((ctx.random_u64(), ctx.random_u64())) }
        })
    };
    let mut p = Pipeline::builder("draws");
    let n = p.durable_input();
    let first = p.stage("draw", draw()).inputs(n);
    let slow = p.stage("slow", calls.behind(&door)).durable().inputs(n);
    let last = p
        .stage(
            "last",
            stage_fn(|_: StageContext, (drawn, _): (Arc<(u64, u64)>, Arc<u32>)| async move { Ok(*drawn) }),
        )
        .inputs((first, slow));
    let pipeline = p.build(last).expect("it builds");
    let ids = [(); 2].map(|()| {
        let before = (calls.of("slow"), calls.of("draw"));
        killed(&store, &pipeline, 1, || calls.of("slow") > before.0 && calls.of("draw") > before.1)
    });
    door.open();
    let drawn = ids.map(|id| resume(&store, &pipeline, id).expect("it completes"));
    assert_ne!(drawn[0], drawn[1], "each run has its own");
    let again = runtime().block_on(async {
        let ours = engine(store.clone());
        let branch = ours.branch(&pipeline, "acme", ids[0], "draw").await.expect("it branches");
        branch.await.map(|run| *run.output()).expect("it completes")
    });
    assert_eq!(again, drawn[0], "attempt, stage and seed are the same");
}

#[derive(Clone, Serialize, Deserialize)]
struct Profile {
    name: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Profile2 {
    name: String,
    plan: String,
}

/// A run of the pipeline as it was, killed behind its durable stage `load`.
fn killed_behind_load(store: &MemoryStore, calls: &Calls) -> RunId {
    let mut p = Pipeline::builder("support");
    let n = p.durable_input();
    let load = calls.gives(|_: Arc<u32>| Profile { name: "Ada".into() });
    let loaded = p.stage("load", load).durable().inputs(n);
    let door = Door::shut();
    let n = p.stage("greet", calls.gives(|p: Arc<Profile>| p.name.len() as u32)).inputs(loaded);
    let last = p.stage("last", calls.behind(&door)).inputs(n);
    let pipeline = p.build(last).expect("it builds");
    killed(store, &pipeline, 1, || calls.of("last") > 0)
}

#[test]
fn old_journals_on_new_code_resume_through_upcasters_or_are_refused_with_the_reason() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let id = killed_behind_load(&store, &calls);
    let new = |codec: Codec<Profile2>| {
        let mut p = Pipeline::builder("support");
        let n = p.durable_input();
        let load = calls.gives(|_: Arc<u32>| Profile2 { name: "Bob".into(), plan: "pro".into() });
        let loaded = p.stage("load", load).durable_with(codec).inputs(n);
        let greet = calls.gives(|p: Arc<Profile2>| format!("{} ({})", p.name, p.plan));
        let last = p.stage("greet", greet).inputs(loaded);
        p.build(last).expect("it builds")
    };
    let refused = |pipeline: &Pipeline<u32, String>| {
        let error = resume(&store, pipeline, id).expect_err("it cannot be read");
        (error.code(), error.to_string())
    };
    assert_eq!(
        refused(&new(Codec::json().version(2))),
        (
            code::NOT_READABLE,
            "the output of stage `load` cannot be read: a `Profile2` was written in version 1, and this code reads version 2, \
             with no upcaster for each version between [NOT_READABLE]"
                .to_owned()
        )
    );
    let (code, message) = refused(&new(Codec::json()));
    assert_eq!(code, code::NOT_READABLE);
    assert!(message.contains("missing field `plan`"), "{message}");

    let upcast = Codec::json().version(2).upcast(1, |mut old| {
        old["plan"] = "free".into();
        Ok(old)
    });
    // Nothing was lost by the refusals.
    assert_eq!(resume(&store, &new(upcast), id).expect("it is read"), "Ada (free)");
    assert_eq!(calls.of("load"), 1);
}

#[test]
fn another_pipeline_than_the_run_was_begun_with_is_refused_with_the_place() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let id = killed_behind_load(&store, &calls);
    let load = || calls.gives(|_: Arc<u32>| Profile { name: "Bob".into() });
    let refused = |pipeline: Pipeline<u32, u32>| {
        let error = resume(&store, &pipeline, id).expect_err("it has changed");
        assert!(!error.recoverable());
        assert_eq!(error.code(), code::PIPELINE_CHANGED, "{error}");
        error.to_string()
    };
    let mut p = Pipeline::builder("support");
    let n = p.durable_input();
    let loaded = p.stage("fetch", load()).durable().inputs(n);
    let last = p.stage("greet", calls.gives(|_: Arc<Profile>| 1)).inputs(loaded);
    let renamed = refused(p.build(last).expect("it builds"));
    assert_eq!(renamed, "stage `load` had ended, and `support` has no such stage now [PIPELINE_CHANGED]");

    let mut p = Pipeline::builder("support");
    let n = p.durable_input();
    let first = p.stage("first", calls.plus_one()).inputs(n);
    let loaded = p.stage("load", load()).durable().inputs(first);
    let last = p.stage("greet", calls.gives(|_: Arc<Profile>| 1)).inputs(loaded);
    let rewired = refused(p.build(last).expect("it builds"));
    assert_eq!(
        rewired,
        "stage `load` had ended, and its kind or its inputs have changed since [PIPELINE_CHANGED]"
    );

    let mut p = Pipeline::builder("support");
    let n = p.durable_input();
    let loaded = p.stage("load", load()).inputs(n);
    let last = p.stage("greet", calls.gives(|_: Arc<Profile>| 1)).inputs(loaded);
    let not_durable = refused(p.build(last).expect("it builds"));
    assert_eq!(not_durable, "stage `load` was durable when it ended, and is not any more [PIPELINE_CHANGED]");

    let mut p = Pipeline::builder("billing");
    let n = p.durable_input();
    let last = p.stage("a", calls.plus_one()).durable().inputs(n);
    let other = refused(p.build(last).expect("it builds"));
    assert!(other.ends_with("is one of pipeline `support`, not of `billing` [PIPELINE_CHANGED]"), "{other}");
}

#[test]
fn stages_that_were_added_behind_what_has_ended_are_called() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let id = killed_behind_load(&store, &calls);
    let mut p = Pipeline::builder("support");
    let n = p.durable_input();
    let load = calls.gives(|_: Arc<u32>| Profile { name: "Bob".into() });
    let loaded = p.stage("load", load).durable().inputs(n);
    let n = p.stage("greet", calls.gives(|p: Arc<Profile>| p.name.len() as u32)).inputs(loaded);
    let new = p.stage("new", calls.plus_one()).durable().inputs(n);
    let last = p.stage("last", calls.plus_one()).inputs(new);
    let error = resume(&store, &p.build(last).expect("it builds"), id);
    assert_eq!(error.expect("it goes on"), 5);
    assert_eq!(calls.of("load"), 1);
}

#[test]
fn a_run_is_found_by_its_tenant_and_by_nobody_else() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| p.stage("a", calls.behind(&door)).durable().inputs(n));
    let id = killed(&store, &pipeline, 1, || calls.of("a") == 1);
    runtime().block_on(async {
        let ours = engine(store.clone());
        let theirs = ours.resume(&pipeline, "globex", id).await.expect_err("it is acme's");
        let none = ours.resume(&pipeline, "globex", RunId::new()).await.expect_err("there is none");
        assert_eq!((theirs.code(), none.code()), (code::RUN_NOT_FOUND, code::RUN_NOT_FOUND));
        assert!(ours.unfinished("globex", None, 10).await.expect("it is asked").is_empty());
        assert!(ours.journaled("globex", id).await.expect("it is asked").is_none());
        let error = ours.branch(&pipeline, "globex", id, "a").await.expect_err("it is acme's");
        assert_eq!(error.code(), code::RUN_NOT_FOUND);
        assert_eq!(ours.unfinished("acme", None, 10).await.expect("it is asked").len(), 1);
    });
}

#[test]
fn one_process_goes_on_with_a_run_and_gives_it_free_when_it_does_not() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| p.stage("a", calls.behind(&door)).durable().inputs(n));
    let id = killed(&store, &pipeline, 1, || calls.of("a") == 1);
    door.open();
    runtime().block_on(async {
        let (one, other) = (engine(store.clone()), engine(store.clone()));
        let claimed = one.resume(&pipeline, "acme", id).await.expect("it is resumable");
        let error = other.resume(&pipeline, "acme", id).await.expect_err("the other has it");
        assert_eq!(error.code(), code::LEASE_HELD);
        assert!(error.recoverable());
        drop(claimed);
        let run = other.resume(&pipeline, "acme", id).await.expect("it is free again").await;
        assert_eq!(*run.expect("it completes").output(), 2);
    });
}

#[test]
fn durable_stages_of_a_pipeline_in_the_place_of_a_stage_are_not_called_again() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let inner = {
        let mut p = Pipeline::builder("inner");
        let n = p.input();
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        let b = p.stage("b", calls.behind(&door)).durable().inputs(a);
        p.build(b).expect("it builds")
    };
    let pipeline = chain(|p, n| {
        let first = p.stage("first", calls.plus_one()).inputs(n);
        let inner = p.stage("inner", inner).inputs(first);
        p.stage("last", calls.plus_one()).inputs(inner)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("b") == 1);
    door.open();
    assert_eq!(resume(&store, &pipeline, id).expect("it completes"), 5);
    assert_eq!(["first", "a", "b", "last"].map(|stage| calls.of(stage)), [2, 1, 2, 1]);
    let lines = runtime().block_on(written(&store, id));
    assert!(lines.contains(&"stage_ended inner/a".to_owned()), "{lines:?}");
}

#[test]
fn a_branch_begins_anew_at_a_stage_and_the_run_stays_as_it_is() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let counted = calls.clone();
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        let nth = stage_fn(move |_: StageContext, n: Arc<u32>| {
            let nth = counted.add("b");
            async move { Ok(*n + 10 * nth) }
        });
        let b = p.stage("b", nth).durable().inputs(a);
        let beside = p.stage("beside", calls.plus_one()).durable().inputs(a);
        p.stage("c", calls.gives(|(b, beside): (Arc<u32>, Arc<u32>)| *b + *beside))
            .durable()
            .inputs((b, beside))
    });
    runtime().block_on(async {
        let ours = engine(store.clone());
        let run = ours.run(&pipeline, 1).tenant("acme").await.expect("it completes");
        assert_eq!(*run.output(), 15);
        let branch = ours.branch(&pipeline, "acme", run.run_id(), "b").await.expect("it branches").await;
        let branch = branch.expect("it completes");
        assert_eq!(*branch.output(), 25);
        assert_ne!(branch.run_id(), run.run_id());
        let journal =
            ours.journaled("acme", branch.run_id()).await.expect("it is read").expect("it is there");
        assert_eq!(journal.header.branch_of, Some(run.run_id()));
        let numbers: Vec<_> = journal.entries.iter().map(|entry| entry.seq).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        let error = ours.branch(&pipeline, "acme", run.run_id(), "nowhere").await.expect_err("no such stage");
        assert_eq!(error.code(), code::MISSING_DEP);
    });
    assert_eq!(["a", "b", "beside", "c"].map(|stage| calls.of(stage)), [1, 2, 1, 2]);
}

#[test]
fn ten_thousand_stages_are_resumed() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        let shards = p.parallel("shard", 0..10_000, |_| calls.plus_one()).durable().inputs(n);
        let sum = p
            .stage("sum", calls.gives(|all: Vec<Arc<u32>>| all.iter().map(|n| **n).sum::<u32>()))
            .inputs(shards);
        p.stage("last", calls.behind(&door)).inputs(sum)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("last") == 1);
    door.open();
    assert_eq!(resume(&store, &pipeline, id).expect("it completes"), 20_001);
    assert_eq!(calls.of("shard-0000") + calls.of("shard-9999"), 2);
}
