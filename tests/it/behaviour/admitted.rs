//! Who calls is decided when a run begins, before anything of it is evaluated (rule S-20).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use stageflow::{
    BackpressureMonitor, Call, CancelCause, EventKind, FailureRules, FieldValue, Interceptor, Layer, Next,
    Placement, Recorder, RunAdmission, RunOutcome, StageOutcome, Value, WaitReason, code,
    interceptors::{AuthError, Authenticate, Authenticator, Credentials, Principal, Retry, TenantGuard},
    prelude::*,
};

use super::kit::{Log, error_of, exits_after, gives, idle, naps, pipeline, report_of, same, within};

/// What an authenticator does, and how often it was asked.
#[derive(Clone)]
struct Keys {
    hangs: bool,
    panics: bool,
    expires: Option<Duration>,
    asked: Arc<AtomicUsize>,
}

fn keys() -> Keys {
    Keys { hangs: false, panics: false, expires: None, asked: Arc::default() }
}

impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        self.asked.fetch_add(1, SeqCst);
        // sleeps: on paused time
        tokio::time::sleep(10.millis()).await;
        assert!(!self.panics, "the authenticator is broken");
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if !credentials.matches("right") {
            return Err(AuthError::invalid("no such key"));
        }
        let ada = Principal::builder("ada").tenant("acme").scope("run");
        Ok(match self.expires {
            Some(time) => ada.expires_in(time).build(),
            None => ada.build(),
        })
    }
}

fn right() -> Credentials {
    Credentials::api_key("right")
}

/// A pipeline all of whose stages are skipped for an input of 0, and what of it was evaluated.
fn branches() -> (Pipeline<u32, u32>, Log) {
    let log = Log::default();
    let mut p = Pipeline::builder("branches");
    let n = p.input();
    let (seen, ran) = (log.clone(), log.clone());
    let work = stage_fn(move |ctx: StageContext, n: Arc<u32>| {
        ran.add("ran");
        let log = ran.clone();
        ctx.on_cleanup(async move { log.add("cleaned up") });
        std::future::ready(Ok(*n))
    });
    let only = p
        .stage("only", work)
        .when(n, move |n| {
            seen.add("looked");
            *n > 0
        })
        .inputs(n);
    let last = p.stage("last", same()).inputs(only);
    (p.build(last).expect("the pipeline is right"), log)
}

/// How an engine came to its authenticator.
fn engines(keys: &Keys, recorder: &Recorder) -> Vec<(&'static str, Engine)> {
    let auth = || Authenticate::new(keys.clone()).timeout(5.secs());
    let (one, two) = (auth(), auth());
    [
        ("preset", Engine::production().authenticated(one)),
        ("plain", Engine::builder().interceptor(auth())),
        ("last", Engine::builder().retry(Retry::default()).interceptor(auth())),
        ("guard", Engine::builder().interceptor(TenantGuard::new(&auth()))),
        ("both", Engine::builder().interceptor(TenantGuard::new(&two)).interceptor(two)),
    ]
    .map(|(name, engine)| (name, engine.sink(recorder.clone()).build().expect("the engine is right")))
    .into()
}

fn names(recorder: &Recorder) -> Vec<String> {
    recorder.events().iter().map(|event| event.name().into_owned()).collect()
}

/// The hole that was: a run whose stages are all skipped calls no interceptor, and told strangers which branch it took.
#[tokio::test(start_paused = true)]
async fn s_20_a_run_that_calls_no_stage_is_authenticated() {
    let broken = [Keys { hangs: true, ..keys() }, Keys { panics: true, ..keys() }];
    let shown = [None, Some("wrong"), Some("right")];
    let cases = shown[..2].iter().map(|shown| (keys(), *shown));
    for (keys, secret) in cases.chain(broken.map(|keys| (keys, Some("right")))) {
        let recorder = Recorder::new();
        for (name, engine) in engines(&keys, &recorder) {
            for input in [0, 1] {
                let (pipeline, log) = branches();
                let run = engine.run(&pipeline, input).tenant("acme");
                let run = match secret {
                    Some(secret) => run.extension(Credentials::api_key(secret)),
                    None => run,
                };
                let error = error_of(run).await;
                let what = format!("{name} {secret:?} {input}: {error:?}");
                assert_eq!(
                    (error.outcome(), error.code()),
                    (Some(RunOutcome::Denied), code::DENIED),
                    "{what}"
                );
                assert_eq!(log.lines(), Vec::<String>::new(), "{what}");
                let report = error.report().expect("it was a run");
                assert!(report.stages().all(|stage| stage.attempts == 0), "{report}");
                engine.flush().await;
                let told = names(&recorder);
                let denied: Vec<_> = told.iter().filter(|name| name.ends_with(".denied")).collect();
                let by = if name == "guard" { "tenant.denied" } else { "auth.denied" };
                assert_eq!(denied, [by, "pipeline.denied"], "{what}: {told:?}");
                assert!(!told.iter().any(|name| name == "stage.started"), "{what}: {told:?}");
                assert_eq!(told.last().map(String::as_str), Some("pipeline.denied"), "{what}: {told:?}");
                recorder.clear();
            }
        }
    }
    // The same run of somebody who is known is as it was.
    for (name, engine) in engines(&keys(), &Recorder::new()) {
        let (pipeline, log) = branches();
        let report = report_of(engine.run(&pipeline, 0).tenant("acme").extension(right())).await;
        assert_eq!(
            (report.outcome(), log.lines()),
            (RunOutcome::Completed, vec!["looked".to_owned()]),
            "{name}"
        );
    }
}

/// A pipeline whose output is its input, and whose only stage is left out.
#[tokio::test(start_paused = true)]
async fn s_20_a_pipeline_without_stages_on_its_way_is_authenticated() {
    let mut p = Pipeline::builder("through");
    let n: Port<u32> = p.input();
    p.stage("aside", same()).when(n, |n| *n > 9).inputs(n);
    let through: Pipeline<u32, u32> = p.build(n).expect("an input is an output");
    let engine =
        Engine::builder().interceptor(Authenticate::new(keys())).build().expect("the engine is right");
    assert_eq!(error_of(engine.run(&through, 1)).await.outcome(), Some(RunOutcome::Denied));
    assert!(engine.run(&through, 1).extension(right()).await.is_ok());
}

/// What is said of a run that was not let in.
#[tokio::test(start_paused = true)]
async fn a_denied_run_says_who_did_not_let_it_in() {
    let (pipeline, _) = branches();
    let recorder = Recorder::new();
    let looked = Log::default();
    let spy = looked.clone();
    let rules = FailureRules::new(FailurePolicy::Continue).abort_if(move |_| {
        spy.add("asked");
        false
    });
    let auth = Authenticate::new(keys());
    let engine =
        Engine::builder().interceptor(auth).on_failure(rules).sink(recorder.clone()).build().unwrap();
    let error = error_of(engine.run(&pipeline, 0)).await;
    assert_eq!(error.to_string(), "pipeline `branches` was denied");
    assert!(!error.recoverable());
    let by = "Authenticate(Keys)".to_owned();
    let report = error.report().unwrap();
    assert_eq!(report.cancelled(), Some(CancelCause::NotAdmitted { by: by.clone() }));
    let outcome = StageOutcome::Cancelled(CancelCause::NotAdmitted { by });
    assert!(report.stages().all(|stage| stage.outcome == outcome), "{report}");
    let failure = error.failure().expect("there is a cause");
    assert_eq!(
        (failure.stage(), failure.attempts(), failure.message()),
        ("", 0, "there are no credentials".into())
    );
    assert!(failure.cause().downcast_ref::<AuthError>().is_some());
    assert_eq!(failure.to_string(), "the run was not let in [DENIED]");
    assert_eq!((report.failures().len(), report.failure_summary().failures.len()), (1, 1));
    assert!(looked.lines().is_empty(), "a rule about failures has no say in it");
    let printed = report.to_string();
    assert!(printed.contains("because `Authenticate(Keys)` did not let the run in"), "{printed}");
    let events = recorder.events();
    let of = |name: &str| events.iter().find(|event| event.name() == name).expect("it was emitted");
    let EventKind::Custom(denied) = of("auth.denied").kind() else { panic!("it is one of a policy") };
    assert_eq!(denied.field("reason"), Some(&FieldValue::Text("missing".into())));
    assert_eq!(of("auth.denied").stage(), None);
    let EventKind::PipelineEnded { outcome, failure, .. } = of("pipeline.denied").kind() else { panic!() };
    assert_eq!((*outcome, failure.is_some()), (RunOutcome::Denied, true));
}

/// One decision for the stages, their retries and all child runs, whatever is forgotten meanwhile; another authenticator asks again.
#[tokio::test(start_paused = true)]
async fn s_20_who_calls_is_decided_once_for_a_run_and_its_children() {
    let (own, other) = (keys(), keys());
    let auth = Authenticate::new(own.clone()).max_runs(1).require("run");
    let recorder = Recorder::new();
    let engine = Engine::builder().interceptor(auth.clone()).sink(recorder.clone()).build().unwrap();
    let elsewhere = (engine.clone(), pipeline(|p| p.stage("only", gives(1_u32)).inputs(())));

    let known = auth.clone();
    let who = stage_fn(move |ctx: StageContext, (): ()| {
        let known = known.principal(ctx.snapshot()).map(|who| who.user().to_string());
        let (engine, other) = elsewhere.clone();
        async move {
            // The answer about this run is forgotten for that about another.
            engine.run(&other, ()).extension(right()).await.expect("it is let in");
            assert_eq!(known.as_deref(), Some("ada"));
            if ctx.attempt() < 3 { Err(StageExit::retry("again")) } else { Ok(1_u32) }
        }
    });
    let inner = pipeline(|p| p.stage("who", who).retry(Retry::constant(1.secs()).no_jitter()).inputs(()));
    let middle = pipeline(|p| {
        p.intercept(Authenticate::new(other.clone()));
        let unit = p.input();
        p.stage("inner", inner).inputs(unit)
    });
    let outer = pipeline(|p| {
        let unit = p.input();
        p.stage("middle", middle).intercept(auth.clone().require("run")).inputs(unit)
    });
    let done = within(engine.run(&outer, ()).extension(right())).await.expect("it is let in");
    assert_eq!(*done.output(), 1);
    // Once for this run, and once for each of the three within it.
    assert_eq!((own.asked.load(SeqCst), other.asked.load(SeqCst)), (4, 1));
    engine.flush().await;
    let accepted = |run| {
        let of = |event: &&stageflow::Event| event.run_id() == run && event.name() == "auth.accepted";
        recorder.events().iter().filter(of).count()
    };
    assert_eq!(accepted(done.run_id()), 1);
}

/// A scope of a stage is asked for when it is called, and the end of the principal is looked at each time.
#[tokio::test(start_paused = true)]
async fn what_is_of_a_call_is_checked_at_each_call() {
    let two = |log: &Log| {
        let log = log.clone();
        pipeline(move |p| {
            let nap = p.stage("nap", naps(1.secs(), 1)).inputs(());
            p.stage(
                "work",
                stage_fn(move |_, n: Arc<u32>| {
                    log.add("ran");
                    std::future::ready(Ok(*n))
                }),
            )
            .inputs(nap)
        })
    };
    let expires = Keys { expires: Some(500.millis()), ..keys() };
    for (auth, reason) in [
        (Authenticate::new(keys()).require_at("work", "write"), "the principal lacks a scope: `write`"),
        (Authenticate::new(expires), "the credentials have expired"),
    ] {
        let log = Log::default();
        let engine = Engine::builder().interceptor(auth).build().unwrap();
        let error = error_of(engine.run(&two(&log), ()).extension(right())).await;
        let failure = error.failure().unwrap();
        assert_eq!((error.outcome(), failure.stage()), (Some(RunOutcome::Denied), "work"));
        assert_eq!((failure.message().as_str(), log.lines().len()), (reason, 0));
    }
    let log = Log::default();
    let everywhere =
        Engine::builder().interceptor(Authenticate::new(keys()).require("write")).build().unwrap();
    let error = error_of(everywhere.run(&two(&log), ()).extension(right())).await;
    assert_eq!(error.failure().unwrap().stage(), "");
}

/// The guard of tenants decides with it, and a run of somebody else's tenant is none of the authenticator's.
#[tokio::test(start_paused = true)]
async fn s_20_a_tenant_that_is_not_allowed_is_told_nothing() {
    let auth = Authenticate::new(keys());
    let recorder = Recorder::new();
    let guard = TenantGuard::new(&auth).allow(["globex"]);
    let engine =
        Engine::builder().interceptor(guard).interceptor(auth).sink(recorder.clone()).build().unwrap();
    let (pipeline, log) = branches();
    let error = error_of(engine.run(&pipeline, 0).tenant("acme").extension(right())).await;
    assert_eq!((error.outcome(), log.lines().len()), (Some(RunOutcome::Denied), 0));
    engine.flush().await;
    let told = names(&recorder);
    assert_eq!(told[..3], ["pipeline.started", "auth.accepted", "tenant.denied"], "{told:?}");
}

/// A gate of somebody's own, and what it does.
struct Door(Layer, fn() -> StageResult<()>, bool);

impl Interceptor for Door {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    async fn admit(&self, run: &RunAdmission) -> StageResult<()> {
        run.attach("let in");
        if self.2 {
            // sleeps: on paused time
            tokio::time::sleep(1.secs()).await;
        }
        (self.1)()
    }

    fn placement(&self) -> Placement {
        Placement::At(self.0)
    }
}

/// Every exit and every panic of it is a denial; elsewhere it is not asked.
#[tokio::test(start_paused = true)]
async fn s_20_whatever_a_gate_says_but_yes_is_a_denial() {
    let noes: [fn() -> StageResult<()>; 6] = [
        || Err(StageExit::fail("down")),
        || Err(StageExit::deny("no")),
        || Err(StageExit::skip("not today")),
        || Err(StageExit::cancel("enough")),
        || Err(StageExit::retry("later")),
        || panic!("broken"),
    ];
    for layer in [Layer::Authenticate, Layer::Tenant] {
        for (index, no) in noes.into_iter().enumerate() {
            for waits in [false, true] {
                let (pipeline, log) = branches();
                let engine = Engine::builder().interceptor(Door(layer, no, waits)).build().unwrap();
                let error = error_of(engine.run(&pipeline, 1)).await;
                let what = format!("{layer:?} {index} {waits}: {error:?}");
                assert_eq!(
                    (error.outcome(), error.code()),
                    (Some(RunOutcome::Denied), code::DENIED),
                    "{what}"
                );
                assert!(log.lines().is_empty(), "{what}");
            }
        }
    }
    let engine = Engine::builder().interceptor(Door(Layer::Inner, noes[1], false)).build().unwrap();
    assert!(engine.run(&branches().0, 1).await.is_ok());
}

/// What was attached is there for all stages, and only once the run is let in; a builder from a snapshot has nothing of it.
#[tokio::test(start_paused = true)]
async fn what_a_gate_attaches_is_of_the_run_alone() {
    let sees = || {
        stage_fn(|ctx: StageContext, (): ()| {
            let own = ctx.snapshot().attached::<&str>().count();
            let copied = ctx.snapshot().to_builder().build().attached::<&str>().count();
            std::future::ready(Ok((own, copied)))
        })
    };
    let child = pipeline(|p| p.stage("sees", sees()).inputs(()));
    let nested = pipeline(|p| {
        let unit = p.input();
        p.stage("child", child).inputs(unit)
    });
    let engine = Engine::builder().interceptor(Door(Layer::Tenant, || Ok(()), true)).build().unwrap();
    assert_eq!(*within(engine.run(&nested, ())).await.unwrap().output(), (1, 0));
    let text = serde_json::to_string(&SnapshotOf(&engine).of().await).unwrap();
    assert!(!text.contains("attached") && !text.contains("let in"), "{text}");
}

/// The snapshot of a run of an engine.
struct SnapshotOf<'a>(&'a Engine);

impl SnapshotOf<'_> {
    async fn of(&self) -> stageflow::ContextSnapshot {
        let take = stage_fn(|ctx: StageContext, (): ()| std::future::ready(Ok(ctx.snapshot().clone())));
        let done = within(self.0.run(&pipeline(|p| p.stage("take", take).inputs(())), ())).await;
        done.expect("it is let in").output().clone()
    }
}

/// A run that ends while it is asked about: by its deadline, its handle, its owner; nothing of it was looked at.
#[tokio::test(start_paused = true)]
async fn s_16_a_run_may_end_while_it_is_asked_about() {
    let hangs = Authenticate::new(Keys { hangs: true, ..keys() });
    let monitor = BackpressureMonitor::builder().max_active(1).build().unwrap();
    let engine = Engine::builder().interceptor(hangs).backpressure(monitor).build().unwrap();
    let (pipeline, log) = branches();
    let error = error_of(engine.run(&pipeline, 1).extension(right()).deadline(2.secs())).await;
    assert_eq!((error.outcome(), error.report().unwrap().duration()), (Some(RunOutcome::TimedOut), 2.secs()));

    let run = engine.start(&pipeline, 1);
    idle().await;
    assert!(run.is_ended(), "without credentials there is nothing to ask");
    error_of(run).await;

    let run = engine.run(&pipeline, 1).extension(right()).start();
    idle().await;
    let explained = run.explain().expect("it is let in");
    assert_eq!(explained.reason("only"), Some(&WaitReason::Authentication), "{explained}");
    run.cancel("enough");
    let error = error_of(run).await;
    assert_eq!(
        (error.outcome(), error.report().unwrap().duration()),
        (Some(RunOutcome::Cancelled), 1.millis())
    );

    let mut run = Box::pin(engine.run(&pipeline, 1).extension(right()).into_future());
    assert!(is_pending(run.as_mut()).await);
    drop(run);
    idle().await;
    assert_eq!((engine.drain(1.secs()).await, log.lines().len()), (0, 0));
    let stats = engine.backpressure().unwrap().stats();
    assert_eq!((stats.active, stats.queued), (0, 0), "every place was given back");
}

/// Whether a future is pending after one poll.
async fn is_pending<F: Future + ?Sized>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// A pipeline's own authenticator decides when a stage is called, as one around a stage does.
#[tokio::test(start_paused = true)]
async fn an_authenticator_of_a_pipeline_decides_at_its_calls() {
    let guarded = pipeline(|p| {
        p.intercept(Authenticate::new(keys()));
        let late = p.stage("late", exits_after(1.secs(), || StageExit::skip("nothing"))).inputs(());
        p.stage("only", same()).inputs(late)
    });
    let error = error_of(guarded.run(())).await;
    assert_eq!((error.outcome(), error.failure().unwrap().stage()), (Some(RunOutcome::Denied), "late"));
    let report = report_of(guarded.run(()).extension(right())).await;
    assert_eq!(report.outcome(), RunOutcome::Completed);
}

/// A run that says nothing of whose it is has the ids of the principal from the moment it is let in; so do its child runs, and what is
/// counted of it.
#[tokio::test(start_paused = true)]
async fn s_20_a_run_that_names_nobody_is_the_principals() {
    async fn whose(ctx: StageContext, _: Arc<()>) -> StageResult<String> {
        let ids = ctx.identity();
        Ok(format!(
            "{:?} of {:?}",
            ids.user_id().map(stageflow::UserId::as_str),
            ids.tenant_id().map(stageflow::TenantId::as_str)
        ))
    }
    let inner = pipeline(|p: &mut stageflow::Builder<()>| {
        let n = p.input();
        p.stage("whose", stage_fn(whose)).inputs(n)
    });
    let outer = pipeline(|p: &mut stageflow::Builder<()>| {
        let n = p.input();
        let mine = p.stage("mine", stage_fn(whose)).inputs(n);
        let child = p.stage("child", inner.clone()).inputs(n);
        p.stage(
            "both",
            stage_fn(async |_: StageContext, (a, b): (Arc<String>, Arc<String>)| Ok(format!("{a}, {b}"))),
        )
        .inputs((mine, child))
    });
    let (recorder, metrics) = (Recorder::new(), stageflow::events::Metrics::new());
    let engine = Engine::builder().interceptor(Authenticate::new(keys()));
    let engine = engine.sink(recorder.clone()).sink(metrics.clone()).build().unwrap();

    let run = engine.run(&outer, ()).extension(right()).await.unwrap();
    assert_eq!(run.output(), "Some(\"ada\") of Some(\"acme\"), Some(\"ada\") of Some(\"acme\")");
    assert!(recorder.events().iter().all(|event| event.tenant() == Some("acme")), "{:?}", recorder.lines());
    engine.flush().await;
    let read = metrics.read();
    assert_eq!(read.sum("stageflow.run.duration", &[("stageflow.tenant.id", "acme")]), 2);
    let active = read.metrics().iter().find(|metric| metric.spec.name == "stageflow.run.active").unwrap();
    assert!(active.series.iter().all(|series| format!("{:?}", series.value).contains('0')), "{active:?}");

    // Whoever is not let in stays a stranger.
    recorder.clear();
    assert_eq!(
        error_of(engine.run(&outer, ()).extension(Credentials::api_key("wrong"))).await.outcome(),
        Some(RunOutcome::Denied)
    );
    assert!(recorder.events().iter().all(|event| event.tenant().is_none()));
}
