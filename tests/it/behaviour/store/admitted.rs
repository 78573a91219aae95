//! Runs that go on, and whoever is asked whether they may (issue 7, part 3; rules S-11, S-20).

use stageflow::{
    BackpressureMonitor, Engine, RunId, RunOutcome, code,
    interceptors::{AuthError, Authenticate, Authenticator, Credentials, Principal, TenantGuard},
    prelude::*,
    store::MemoryStore,
};

use super::support::{Calls, Door, chain, engine};

struct Keys;
impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        match ["acme", "globex"].into_iter().find(|tenant| credentials.matches(tenant)) {
            Some(tenant) => Ok(Principal::builder("resumer").tenant(tenant).build()),
            None => Err(AuthError::invalid("no such key")),
        }
    }
}

fn pipeline(calls: &Calls, door: &Door) -> Pipeline<u32, u32> {
    chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        p.stage("b", calls.behind(door)).durable().inputs(a)
    })
}

/// A run whose engine was shut down in the middle of `b`.
async fn stopped(store: &MemoryStore, pipeline: &Pipeline<u32, u32>, calls: &Calls) -> RunId {
    let ours = engine(store.clone());
    let run = ours.run(pipeline, 1).tenant("acme").start();
    while calls.of("b") == 0 {
        tokio::task::yield_now().await;
    }
    ours.shutdown(1.secs()).await;
    run.run_id().expect("it was let in")
}

#[tokio::test(start_paused = true)]
async fn s_20_a_run_that_goes_on_is_asked_about_like_any_other_and_not_lost_where_it_is_denied() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = pipeline(&calls, &door);
    let id = stopped(&store, &pipeline, &calls).await;
    door.open();
    let auth = Authenticate::new(Keys);
    let guarded =
        Engine::builder().journal(store).interceptor(auth.clone()).interceptor(TenantGuard::new(&auth));
    let guarded = guarded.build().expect("it builds");

    let denied = guarded.resume(&pipeline, "acme", id).await.expect("it is resumable").await;
    let denied = denied.expect_err("nobody has shown who they are");
    assert_eq!((denied.code(), denied.outcome()), (code::DENIED, Some(RunOutcome::Denied)));
    assert!(denied.report().is_some_and(|report| report.is_resumable()), "it was not let in");
    assert_eq!(calls.of("b"), 1);

    let theirs = auth.admit(&Credentials::api_key("globex")).await.expect("it is a key");
    let theirs =
        guarded.resume(&pipeline, "acme", id).await.expect("it is resumable").with(|it| theirs.apply(it));
    assert_eq!(theirs.await.expect_err("it is acme's").code(), code::TENANT_REQUIRED);

    let admitted = auth.admit(&Credentials::api_key("acme")).await.expect("it is a key");
    let run =
        guarded.resume(&pipeline, "acme", id).await.expect("it is resumable").with(|it| admitted.apply(it));
    assert_eq!(*run.await.expect("it completes").output(), 3);
    assert_eq!((calls.of("a"), calls.of("b")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn s_11_a_run_that_goes_on_and_finds_no_room_can_be_resumed_later() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = pipeline(&calls, &door);
    let id = stopped(&store, &pipeline, &calls).await;
    door.open();
    let monitor = BackpressureMonitor::builder().max_active(1).queue_limit(1).queue_timeout(1.secs());
    let monitor = monitor.build().expect("it builds");
    let busy = monitor.acquire().await.expect("nobody else is active");
    let full = Engine::builder().journal(store).backpressure(monitor).build().expect("it builds");

    let shed = full.resume(&pipeline, "acme", id).await.expect("it is resumable").await;
    let shed = shed.expect_err("there is no room");
    assert_eq!(shed.code(), code::OVERLOADED);
    assert!(shed.report().is_some_and(|report| report.is_resumable()), "it made way");
    drop(busy);
    let run = full.resume(&pipeline, "acme", id).await.expect("it is resumable").await;
    assert_eq!(*run.expect("it completes").output(), 3);
    assert_eq!((calls.of("a"), calls.of("b")), (1, 2));
}
