//! One question for each run, however many stages ask.

use stageflow_core::RunId;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_thousand_stages_ask_once() {
    for (does, outcome, ran) in
        [(Does::Know, RunOutcome::Completed, 1000), (Does::Fail, RunOutcome::Denied, 0)]
    {
        let keys = keys(does);
        let auth = Authenticate::new(keys.clone());
        let seen =
            run_all(1000, auth.clone(), Some(TenantGuard::new(&auth)), |run| good(run).tenant("acme")).await;
        assert_eq!((seen.outcome, seen.ran, keys.asked()), (outcome, ran, 1));
        let accepted = seen.fields("auth.accepted", "principal").len();
        assert_eq!(accepted, usize::from(ran > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn each_run_is_asked_for_and_the_oldest_are_forgotten() {
    let keys = keys(Does::Know);
    let auth = Authenticate::new(keys.clone()).max_runs(2);
    let shown = Credentials::api_key(GOOD);
    for number in 1..=5 {
        let seen = run(auth.clone(), |run| run.extension(shown.clone())).await;
        assert_eq!((seen.outcome, keys.asked()), (RunOutcome::Completed, number));
        assert!(auth.runs() <= 2);
    }
}

/// Whoever starts a run may choose its id: an answer for somebody else's run is worth nothing.
#[tokio::test(start_paused = true)]
async fn a_borrowed_run_id_opens_nothing() {
    let keys = keys(Does::Know);
    let auth = Authenticate::new(keys.clone());
    let id = RunId::new();
    let own = Credentials::api_key(GOOD);
    let seen = run(auth.clone(), |run| run.extension(own.clone()).run(id)).await;
    assert_eq!(seen.outcome, RunOutcome::Completed);
    let seen = run(auth.clone(), |run| run.extension(own).run(id).tenant("globex")).await;
    assert!(seen.is_denied(AuthReason::TenantMismatch), "{seen:?}");
    let wrong = Credentials::api_key("wrong");
    let seen = run(auth.clone(), |run| run.extension(wrong).run(id)).await;
    assert!(seen.is_denied(AuthReason::Invalid), "{seen:?}");
    let seen = run(auth, |run| run.run(id)).await;
    assert!(seen.is_denied(AuthReason::Missing), "{seen:?}");
    assert_eq!(keys.asked(), 2);
}

/// Around the stages of a pipeline: the first stage asks, and its time is up before there is an answer: the others ask again, and are
/// not left without.
#[tokio::test(start_paused = true)]
async fn who_asks_first_may_leave() {
    let keys = keys(Does::Know);
    let mut p = Pipeline::builder("two");
    p.on_failure(FailurePolicy::Continue).intercept(Authenticate::new(keys.clone()));
    let stage = || stage_fn(async |_: StageContext, (): ()| Ok(1_u32));
    let hasty = p.stage("hasty", stage()).timeout(1.millis()).inputs(());
    let calm = p.stage("calm", stage()).inputs(());
    let all = p.stage("all", stage_fn(gather)).inputs(vec![hasty, calm]);
    let pipeline = p.build(all).unwrap();
    let engine = Engine::builder().build().unwrap();
    let error = engine.run(&pipeline, ()).extension(Credentials::api_key(GOOD)).await.unwrap_err();
    let report = error.report().unwrap();
    assert!(report.stage("calm").unwrap().outcome.is_completed(), "{report}");
    assert_eq!(keys.asked(), 2);
}

/// The answer of the parent is enough for its children; that of another run, or for other credentials, is not.
#[tokio::test(start_paused = true)]
async fn children_take_over_the_answer_of_their_parent() {
    let keys = keys(Does::Know);
    let auth = Authenticate::new(keys.clone());
    let (child, ran) = work(3);
    let mut p = Pipeline::builder("parent");
    let unit = p.input();
    let children: Vec<_> =
        (0..3).map(|number| p.stage(format!("child-{number}"), child.clone()).inputs(unit)).collect();
    let all = p
        .stage("all", stage_fn(async |_: StageContext, all: Vec<Arc<Vec<Arc<u32>>>>| Ok(all.len())))
        .inputs(children);
    let pipeline = p.build(all).unwrap();
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).interceptor(auth.clone()).build().unwrap();
    let done = engine.run(&pipeline, ()).extension(Credentials::api_key(GOOD)).await.unwrap();
    assert_eq!((*done.output(), ran.load(Ordering::SeqCst), keys.asked()), (3, 9, 1));
    assert_eq!(recorder.events().iter().filter(|event| event.name() == "auth.accepted").count(), 1);

    let error = engine.run(&pipeline, ()).extension(Credentials::api_key("wrong")).await.unwrap_err();
    assert_eq!((error.outcome(), ran.load(Ordering::SeqCst)), (Some(RunOutcome::Denied), 9));
}

/// Only the child is guarded: its denial is the one of the whole run.
#[tokio::test(start_paused = true)]
async fn a_denied_child_denies_its_parent() {
    for (secret, outcome) in [(GOOD, None), ("wrong", Some(RunOutcome::Denied))] {
        let mut p = Pipeline::builder("child");
        p.intercept(Authenticate::new(keys(Does::Know)));
        let work = p.stage("work", stage_fn(async |_: StageContext, (): ()| Ok(1_u32))).inputs(());
        let child: Pipeline<(), u32> = p.build(work).unwrap();
        let mut p = Pipeline::builder("parent");
        let unit = p.input();
        let only = p.stage("only", child).inputs(unit);
        let pipeline = p.build(only).unwrap();
        let engine = Engine::builder().build().unwrap();
        let done = engine.run(&pipeline, ()).extension(Credentials::api_key(secret)).await;
        assert_eq!(done.err().and_then(|error| error.outcome()), outcome);
    }
}
