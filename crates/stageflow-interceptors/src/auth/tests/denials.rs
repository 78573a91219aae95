//! Everything that can go wrong is a denial, and no code of a stage runs.

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn who_is_known_runs() {
    let seen = run(Authenticate::new(keys(Does::Know)), good).await;
    assert_eq!((seen.outcome, seen.ran), (RunOutcome::Completed, 1));
    assert_eq!(seen.fields("auth.accepted", "principal"), ["ada"]);
    assert_eq!(seen.fields("auth.accepted", "by"), ["credentials"]);
    assert!(seen.reasons("auth.denied").is_empty());
}

/// What happens with an authenticator and a secret.
async fn with(does: Does, secret: Option<&str>) -> Seen {
    run(Authenticate::new(keys(does)), |run| match secret {
        Some(secret) => run.extension(Credentials::bearer(secret)),
        None => run,
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn everything_else_is_denied() {
    for (does, secret, reason) in [
        (Does::Know, None, AuthReason::Missing),
        (Does::AcceptAll, None, AuthReason::Missing),
        (Does::Know, Some(""), AuthReason::Missing),
        (Does::AcceptAll, Some(""), AuthReason::Missing),
        (Does::Know, Some("wrong"), AuthReason::Invalid),
        (Does::Know, Some("t0p-s3cr3t "), AuthReason::Invalid),
        (Does::KnowFor(Duration::ZERO), Some(GOOD), AuthReason::Expired),
        (Does::Fail, Some(GOOD), AuthReason::Unavailable),
        (Does::Panic, Some(GOOD), AuthReason::Panicked),
        (Does::Hang, Some(GOOD), AuthReason::TimedOut),
    ] {
        let seen = with(does, secret).await;
        assert!(seen.is_denied(reason), "{reason:?}: {seen:?}");
        assert!(seen.fields("auth.accepted", "principal").is_empty());
    }
}

/// The negative control: what the checks above see with an authenticator that accepts anything is no denial.
#[tokio::test(start_paused = true)]
async fn an_authenticator_that_accepts_anything_is_noticed() {
    let seen = with(Does::AcceptAll, Some("wrong")).await;
    assert!(!seen.is_denied(AuthReason::Invalid));
    assert_eq!((seen.outcome, seen.ran), (RunOutcome::Completed, 1));
}

#[tokio::test(start_paused = true)]
async fn who_hangs_is_given_up_in_time() {
    let started = Instant::now();
    let seen = run(Authenticate::new(keys(Does::Hang)).timeout(3.secs()), good).await;
    assert!(seen.is_denied(AuthReason::TimedOut));
    assert_eq!(started.elapsed(), 3.secs());
}

/// Without a timer there is no timeout: the answer is no as well.
#[test]
fn without_a_timer_the_answer_is_no() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let admitted = runtime.block_on(super::super::admit(&keys(Does::AcceptAll), &Credentials::bearer(GOOD)));
    assert_eq!(admitted.unwrap_err().reason(), AuthReason::Panicked);
}

/// The second stage begins after the principal has expired.
#[tokio::test(start_paused = true)]
async fn who_expires_on_the_way_is_denied_from_then_on() {
    for (time, ran) in [(5.secs(), 2), (1.secs() / 2, 1)] {
        let count = Arc::new(AtomicUsize::new(0));
        let step = |count: &Arc<AtomicUsize>| {
            let count = Arc::clone(count);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(1.secs()).await;
                Ok(1_u32)
            }
        };
        let mut p = Pipeline::builder("two");
        let (one, two) = (Arc::clone(&count), Arc::clone(&count));
        let first = p.stage("one", stage_fn(move |_: StageContext, (): ()| step(&one))).inputs(());
        let second = p.stage("two", stage_fn(move |_: StageContext, _: Arc<u32>| step(&two))).inputs(first);
        let pipeline = p.build(second).unwrap();
        let auth = Authenticate::new(keys(Does::KnowFor(time)));
        let engine = Engine::builder().interceptor(auth).build().unwrap();
        let done = engine.run(&pipeline, ()).extension(Credentials::api_key(GOOD)).await;
        assert_eq!(count.load(Ordering::SeqCst), ran);
        assert_eq!(done.err().and_then(|error| error.outcome()), (ran == 1).then_some(RunOutcome::Denied));
    }
}
