//! The table of events: everything that is emitted stands in it, with its details.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use stageflow::{
    BackpressureMonitor, Budget, EVENTS, Event, FailurePolicy, FailureRules, Quota, Recorder,
    events::SinkExt,
    interceptors::{
        Bulkhead, CircuitBreaker, Fallback, Idempotency, IdempotencyKey, InMemoryStore, RateLimiter, Retry,
        WhenFull,
    },
    plus::{
        batch::{Batch, Batcher},
        fan_out::{Failures, FanOutLimiter, ItemRetry, MapExt as _, Overflow},
        saga::{Saga, SagaScope},
    },
    prelude::*,
};

use super::super::{
    child::parent_of,
    kit::{exits, gives, naps, never, pipeline, report_of, same, solo, sum},
};

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if entry.is_dir() && name != "tests" {
            sources(&entry, into);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "support.rs" {
            into.push(entry);
        }
    }
}

/// The names of events in the code of the libraries: those between quotes that stand where an event is made.
fn in_the_code() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut files = Vec::new();
    for library in ["core", "dag", "exec", "events", "interceptors", "plus"] {
        sources(&root.join(format!("stageflow-{library}/src")), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| !file.ends_with("event/table.rs")) {
        let text = fs::read_to_string(file).expect("text");
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            let makes =
                ["emit", "tell(", "told", "CustomEvent::new(", "record_stage_event(", "=> \"", "(\"breaker."];
            if !makes.iter().any(|make| line.contains(make)) {
                continue;
            }
            for word in line.split('"').skip(1).step_by(2) {
                let is_word =
                    |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                let (space, what) = word.split_once('.').unwrap_or_default();
                // Wide events are records, not events.
                if is_word(space) && is_word(what) && what != "wide" {
                    names.insert(word.to_owned());
                } else if line.contains("record_stage_event(") && is_word(word) && word.starts_with("retry_")
                {
                    names.insert(format!("stage.{word}"));
                }
            }
        }
    }
    names
}

#[test]
fn each_event_in_the_code_is_in_the_table() {
    let table: BTreeSet<_> = EVENTS.iter().map(|event| event.name.to_owned()).collect();
    let code = in_the_code();
    let unknown: Vec<_> = code.difference(&table).collect();
    assert!(unknown.is_empty(), "emitted, and not in the table: {unknown:?}");
    let unused: Vec<_> = table.difference(&code).collect();
    assert!(unused.is_empty(), "in the table, and emitted nowhere: {unused:?}");
}

/// What each event had in its details, over all of these.
fn details(events: &[Event]) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for event in events {
        let json = serde_json::to_value(event).expect("JSON");
        let keys = json["details"].as_object().expect("an object").keys().cloned();
        all.entry(event.name().into_owned()).or_default().extend(keys);
    }
    all
}

/// Events whose tests stand elsewhere: what provokes them takes an authenticator, or a store that breaks.
const ELSEWHERE: &[&str] = &[
    "auth.accepted",
    "auth.denied",
    "tenant.denied",
    "idempotency.not_stored",
    // In `plus::router`, each with its details.
    "route.decided",
    "route.refused",
    "route.looped",
    "route.unreported",
    "limit.waited",
    "limit.rejected",
    // In `plus::enrich`, each with its details.
    "context.measured",
    "context.unmeasured",
    "context.near_limit",
    "context.over_limit",
    "context.truncated",
    "context.conflict",
    "context.stale",
    // In `plus::guard`.
    "guard.decided",
    "guard.blocked",
    "audit.guard_opened",
    "guard_retry.attempt",
    "guard_retry.scheduled",
    "guard_retry.recovered",
    "guard_retry.exhausted",
    // In `store`.
    "journal.lost",
    "stage.restored",
    "pause.opened",
    "pause.answered",
];

/// Provokes each of the others, and looks at what it says.
#[tokio::test(start_paused = true)]
async fn each_event_says_what_the_table_says() {
    let recorder = Recorder::new();
    let hole = Recorder::new();
    let engine = || Engine::builder().sink(recorder.clone());
    let plain = engine().sink(hole.clone().bounded(1)).build().expect("an engine");
    let down = || exits(|| StageExit::fail("down").class(stageflow::ErrorClass::Transient));
    let fails = || exits(|| StageExit::fail("down"));

    // Ends of stages and runs.
    let ends = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let skip = p.stage("skip", exits(|| StageExit::skip("no"))).inputs(());
        let fail = p.stage("fail", fails()).inputs(());
        let blocked = p.stage("blocked", same()).inputs(fail);
        p.stage("sum", sum()).inputs([skip, blocked])
    });
    report_of(plain.run(&ends, ())).await;
    report_of(plain.run(&solo(never()), ()).deadline(1.secs())).await;
    report_of(plain.run(&solo(exits(|| StageExit::cancel("x"))), ())).await;
    report_of(plain.run(&solo(exits(|| StageExit::deny("x"))), ())).await;
    report_of(plain.run(&parent_of(solo(gives(1_u32))), ())).await;
    let leaves = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.on_cleanup(async { Err("left behind".into()) });
        (0..200).for_each(|n| ctx.emit("own.said", [("n", n)]));
        Ok(1_u32)
    });
    report_of(plain.run(&solo(leaves), ())).await;
    let tolerant =
        engine().on_failure(FailureRules::new(FailurePolicy::TolerateCount(0))).build().expect("an engine");
    report_of(tolerant.run(&solo(fails()), ())).await;

    // Retries, budgets, fallbacks.
    let retry = || Retry::constant(1.secs()).no_jitter().max_attempts(2);
    let flaky = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() < 2 { Err("reset").transient() } else { Ok(1_u32) }
    });
    report_of(plain.run(&pipeline(|p| p.stage("up", flaky).retry(retry()).inputs(())), ())).await;
    let exhausted = pipeline(|p| p.stage("down", down()).retry(retry()).fallback(gives(1_u32)).inputs(()));
    report_of(plain.run(&exhausted, ())).await;
    report_of(plain.run(&exhausted, ()).budget(Budget::new().retries(0.0, 0))).await;
    let also = pipeline(|p| p.stage("down", fails()).intercept(Fallback::stage(fails())).inputs(()));
    report_of(plain.run(&also, ())).await;

    // Limits.
    let breaker = CircuitBreaker::builder("api").consecutive(1).open_for(3.secs()).jitter(0.0);
    let breaker = breaker.build().expect("a breaker");
    let recovers = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.snapshot().priority() == Priority::High { Err("reset").transient() } else { Ok(1_u32) }
    });
    let guarded = pipeline(|p| p.stage("guarded", recovers).intercept(breaker).inputs(()));
    report_of(plain.run(&guarded, ()).priority(Priority::High)).await;
    report_of(plain.run(&guarded, ())).await;
    tokio::time::sleep(4.secs()).await;
    for _probe in 0..5 {
        report_of(plain.run(&guarded, ())).await;
    }
    let limiter = |full| {
        let limiter = RateLimiter::builder("api").dimension("calls", 1, 4.secs(), 1).when_full(full);
        limiter.build().expect("a limiter")
    };
    let bulkhead = |full| {
        let bulkhead = Bulkhead::builder("db").max_concurrent(1).max_queue(9).when_full(full);
        bulkhead.build().expect("a bulkhead")
    };
    for full in [WhenFull::Wait, WhenFull::Reject] {
        let (limiter, bulkhead) = (limiter(full), bulkhead(full));
        let limited = pipeline(|p| {
            p.on_failure(FailurePolicy::Continue);
            let shards = p.parallel("shard", 0..2, |_| naps(1.secs(), 1)).intercept(limiter).inputs(());
            let rooms = p.parallel("room", 0..2, |_| naps(1.secs(), 1)).intercept(bulkhead).inputs(());
            p.stage("sum", sum()).inputs(shards.into_iter().chain(rooms).collect::<Vec<_>>())
        });
        report_of(plain.run(&limited, ())).await;
    }

    // Repeated requests.
    let once = Idempotency::new(InMemoryStore::new())
        .fingerprint(|inputs| Some(stageflow::interceptors::Fingerprint::of(&*inputs.input::<u32>(0)?)));
    let mut p = Pipeline::builder("once");
    let n = p.input();
    let slow = stage_fn(|_, n: Arc<u32>| async move {
        tokio::time::sleep(1.secs()).await;
        Ok(*n)
    });
    let slow = p.stage("slow", slow).intercept(once).inputs(n);
    let once = p.build(slow).expect("it builds");
    let runs = [1, 1, 2].map(|n| plain.run(&once, n).extension(IdempotencyKey::new("k")).start());
    for run in runs {
        drop(run.await);
    }

    // Maps.
    for overflow in [Overflow::Reject, Overflow::DropNewest] {
        let limiter = FanOutLimiter::builder("api").limit(1).max_queue(0).overflow(overflow).build();
        let limiter = limiter.expect("a limiter");
        let mut p = Pipeline::builder("maps");
        let numbers = p.input();
        let busy = stage_fn(|_, _: Owned<u32>| async {
            tokio::task::yield_now().await;
            StageResult::<u32>::Err(StageExit::fail("busy"))
        });
        let map = p.map("busy", busy).limiter(&limiter).retry_items(ItemRetry::attempts(2));
        let busy = map.tolerate(Failures::count(0)).over(numbers);
        drop(plain.run(&p.build(busy).expect("it builds"), vec![1, 2]).await);
    }

    // Batches and sagas.
    let echo = |batch: Batch<u32>| async move { Ok(batch.into_iter().map(Ok).collect()) };
    let batcher = Batcher::builder("model", echo).build().expect("a batcher");
    let mut p = Pipeline::builder("batches");
    let number = p.input();
    let asked = p.stage("ask", batcher.clone()).inputs(number);
    let asks = p.build(asked).expect("it builds");
    report_of(plain.run(&asks, 1)).await;
    batcher.close();
    report_of(plain.run(&asks, 1)).await;
    let saga = |undo_fails: u32, ends: fn() -> StageResult<u32>| {
        let saga = Saga::new("trip").undo_attempts(2);
        solo(stage_fn(move |ctx: StageContext, (): ()| {
            let (saga, left) = (saga.clone(), Arc::new(AtomicU32::new(undo_fails)));
            async move {
                let body = |scope: SagaScope| async move {
                    let undo = move |_| {
                        let fails = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
                        std::future::ready(if fails { Err("reset").transient() } else { Ok(()) })
                    };
                    scope.step("book", async { Ok(()) }, undo).await?;
                    ends()
                };
                saga.run(&ctx, body).await
            }
        }))
    };
    report_of(plain.run(&saga(0, || Ok(1)), ())).await;
    report_of(plain.run(&saga(1, || Err(StageExit::fail("no"))), ())).await;
    report_of(plain.run(&saga(2, || Err(StageExit::fail("no"))), ())).await;

    // The entry.
    let monitor = BackpressureMonitor::builder().max_active(1).queue_limit(5).queue_timeout(3.secs());
    let entry = engine().backpressure(monitor.build().expect("a monitor")).build().expect("an engine");
    let (first, second) =
        (entry.start(&solo(naps(2.secs(), 1)), ()), entry.start(&solo(naps(9.secs(), 1)), ()));
    let third = entry.start(&solo(naps(1.secs(), 1)), ());
    drop((first.await, second.await, third.await));
    let quota = Quota::concurrent_runs(1).wait_up_to(3.secs());
    let entry = engine().tenant_quota(quota).build().expect("an engine");
    let (first, second) =
        (entry.start(&solo(naps(2.secs(), 1)), ()), entry.start(&solo(naps(9.secs(), 1)), ()));
    let third = entry.start(&solo(naps(1.secs(), 1)), ());
    drop((first.await, second.await, third.await));

    plain.flush().await;
    let mut events = recorder.events();
    events.extend(hole.events().into_iter().filter(|event| event.name() == "events.gap"));
    let told = details(&events);
    for event in EVENTS.iter().filter(|event| !ELSEWHERE.contains(&event.name)) {
        let keys = told.get(event.name).unwrap_or_else(|| panic!("`{}` was not provoked", event.name));
        let known: BTreeSet<_> = event.details.iter().map(|key| (*key).to_owned()).collect();
        assert!(keys.is_subset(&known), "`{}`: {keys:?}", event.name);
        assert!(event.details.is_empty() || !keys.is_empty(), "`{}` has no details", event.name);
    }
    let own: Vec<_> = told.keys().filter(|name| !EVENTS.iter().any(|event| event.name == *name)).collect();
    assert_eq!(own, ["own.said"]);
}
