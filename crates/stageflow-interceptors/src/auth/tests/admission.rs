//! Whoever is admitted before the run brings a proof along, and the ids of the principal.

use stageflow_core::{ContextSnapshot, UserId};

use super::{
    super::{Authenticated, admit},
    *,
};

/// Another authenticator than the pipeline's: the caller's own.
struct Mine;

impl Authenticator for Mine {
    async fn authenticate(&self, _credentials: &Credentials) -> Result<Principal, AuthError> {
        Ok(Principal::builder("ada").tenant("acme").build())
    }
}

#[tokio::test(start_paused = true)]
async fn the_ids_of_the_principal_count_and_nobody_is_asked_twice() {
    let keys = keys(Does::Know);
    let auth = Authenticate::new(keys.clone());
    let admitted = auth.admit(&Credentials::api_key(GOOD)).await.unwrap();
    let set = |run: Run| run.user("root").tenant("globex").with(|snapshot| admitted.apply(snapshot));
    let seen = run_all(3, auth.clone(), Some(TenantGuard::new(&auth)), set).await;
    assert_eq!((seen.outcome, seen.ran, keys.asked()), (RunOutcome::Completed, 3, 1));
    assert_eq!(seen.fields("auth.accepted", "by"), ["admission"]);
    let events = seen.recorder.events();
    assert!(events.iter().all(|event| event.tenant().is_some_and(|tenant| tenant == "acme")));
}

#[tokio::test(start_paused = true)]
async fn a_principal_without_a_tenant_leaves_none() {
    struct Loner;
    impl Authenticator for Loner {
        async fn authenticate(&self, _credentials: &Credentials) -> Result<Principal, AuthError> {
            Ok(Principal::builder("loner").build())
        }
    }
    let admitted = admit(&Loner, &Credentials::bearer("x")).await.unwrap();
    let snapshot = admitted.apply(ContextSnapshot::builder().tenant("acme").user("root")).build();
    assert!(snapshot.identity().tenant_id().is_none());
    assert_eq!(snapshot.identity().user_id(), Some(&UserId::from("loner")));
    assert!(snapshot.extension::<Authenticated>().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_says_about_itself_counts_for_nothing() {
    let auth = || Authenticate::new(keys(Does::Know));
    let ada = Principal::builder("ada").tenant("acme").build();
    let seen = run(auth(), |run| run.extension(ada).tenant("acme").user("ada")).await;
    assert!(seen.is_denied(AuthReason::Missing), "{seen:?}");
    let own = admit(&Mine, &Credentials::bearer("mine")).await.unwrap();
    let seen = run(auth(), |run| run.with(|snapshot| own.apply(snapshot))).await;
    assert!(seen.is_denied(AuthReason::OtherAuthenticator), "{seen:?}");
    // Ids that are changed after the admission are not those of the principal.
    let keys = auth();
    let admitted = keys.admit(&Credentials::bearer(GOOD)).await.unwrap();
    let seen = run(keys.clone(), |run| run.with(|snapshot| admitted.apply(snapshot)).tenant("globex")).await;
    assert!(seen.is_denied(AuthReason::TenantMismatch), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn admission_fails_closed_and_ends() {
    for (does, secret, reason) in [
        (Does::Know, "wrong", AuthReason::Invalid),
        (Does::AcceptAll, "", AuthReason::Missing),
        (Does::KnowFor(Duration::ZERO), GOOD, AuthReason::Expired),
        (Does::Fail, GOOD, AuthReason::Unavailable),
        (Does::Panic, GOOD, AuthReason::Panicked),
        (Does::Hang, GOOD, AuthReason::TimedOut),
    ] {
        let error = admit(&keys(does), &Credentials::bearer(secret)).await.unwrap_err();
        assert_eq!(error.reason(), reason);
    }
    let auth = Authenticate::new(keys(Does::KnowFor(5.secs())));
    let admitted = auth.admit(&Credentials::bearer(GOOD)).await.unwrap();
    tokio::time::advance(6.secs()).await;
    let seen = run(auth, |run| run.with(|snapshot| admitted.apply(snapshot))).await;
    assert!(seen.is_denied(AuthReason::Expired), "{seen:?}");
}

/// A snapshot that was written and read back proves nothing any more.
#[tokio::test(start_paused = true)]
async fn a_proof_is_not_serialised() {
    let admitted = admit(&keys(Does::Know), &Credentials::bearer(GOOD)).await.unwrap();
    let snapshot = admitted.apply(ContextSnapshot::builder()).extension(Credentials::bearer(GOOD)).build();
    let text = serde_json::to_string(&snapshot).unwrap();
    assert!(!text.contains(GOOD));
    let read: ContextSnapshot = serde_json::from_str(&text).unwrap();
    assert!(read.extension::<Authenticated>().is_none() && read.extension::<Credentials>().is_none());
}

#[tokio::test(start_paused = true)]
async fn stages_learn_who_calls() {
    let auth = Authenticate::new(keys(Does::Know));
    let known = auth.clone();
    let mut p = Pipeline::builder("who");
    let who = p
        .stage(
            "who",
            stage_fn(move |ctx: StageContext, (): ()| {
                let who = known.principal(ctx.snapshot());
                async move { Ok(who.map(|who| who.user().to_string())) }
            }),
        )
        .inputs(());
    let pipeline = p.build(who).unwrap();
    let engine = Engine::builder().interceptor(auth).build().unwrap();
    let done = engine.run(&pipeline, ()).extension(Credentials::bearer(GOOD)).await.unwrap();
    assert_eq!(done.output().as_deref(), Some("ada"));
    // Nobody has asked for this one.
    let auth = Authenticate::new(keys(Does::Know));
    let done = Engine::builder()
        .build()
        .unwrap()
        .run(&pipeline, ())
        .extension(Credentials::bearer(GOOD))
        .await
        .unwrap();
    assert_eq!((done.output().as_deref(), auth.runs()), (None, 0));
}

/// What a proof remembers is of one run and of one set of answers: others find out for themselves.
#[tokio::test(start_paused = true)]
async fn a_proof_is_known_to_its_run_even_when_answers_are_forgotten_and_to_no_other() {
    let auth = Authenticate::new(keys(Does::Know)).max_runs(1);
    let admitted = auth.admit(&Credentials::api_key(GOOD)).await.unwrap();
    let snapshot = Arc::new(admitted.apply(ContextSnapshot::builder()).build());
    let proof = snapshot.extension::<Authenticated>().unwrap();
    let (run_id, other) = (snapshot.identity().run_id(), stageflow_core::RunId::new());
    assert!(auth.principal(&snapshot).is_none() && !proof.is_accepted(run_id, 7));
    proof.accept(run_id, 7);
    proof.accept(other, 8);
    let known = [(run_id, 7), (run_id, 8), (other, 7), (other, 8)];
    assert_eq!(known.map(|(run, answers)| proof.is_accepted(run, answers)), [true, false, false, false]);
    // Accepted by the answers of others, it is unknown to these.
    assert!(auth.principal(&snapshot).is_none());

    let (known, last) = (auth.clone(), auth.clone());
    let mut p = Pipeline::builder("who");
    let who = stage_fn(move |ctx: StageContext, (): ()| {
        let (known, other) = (known.clone(), last.clone());
        async move {
            // Another run makes the answers of this one forgotten.
            let seen = run(other, good).await;
            assert_eq!(seen.outcome, RunOutcome::Completed);
            Ok(known.principal(ctx.snapshot()).map(|who| who.user().to_string()))
        }
    });
    let who = p.stage("who", who).inputs(());
    let pipeline = p.build(who).unwrap();
    let engine = Engine::builder().interceptor(auth.clone()).build().unwrap();
    let admitted = auth.admit(&Credentials::api_key(GOOD)).await.unwrap();
    let done = engine.run(&pipeline, ()).with(|snapshot| admitted.apply(snapshot)).await.unwrap();
    assert_eq!((done.output().as_deref(), auth.runs()), (Some("ada"), 1));
}
