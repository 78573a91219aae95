//! S-20: what guards fails closed; a guard that fails open is found out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use stageflow::{
    Call, Engine, Interceptor, Layer, Next, Placement, RunOutcome, Value,
    interceptors::{AuthError, Authenticate, Authenticator, Credentials, Principal, TenantGuard},
    prelude::*,
};

/// What the directory of users does.
#[derive(Clone, Copy, Debug)]
enum Directory {
    KnowsNobody,
    IsDown,
    Panics,
    Hangs,
    KnowsAll,
}

impl Authenticator for Directory {
    async fn authenticate(&self, _: &Credentials) -> Result<Principal, AuthError> {
        match self {
            Self::KnowsNobody => Err(AuthError::invalid("no such key")),
            Self::IsDown => Err(AuthError::unavailable("the directory is down")),
            Self::Panics => panic!("{}", super::super::ON_PURPOSE),
            Self::Hangs => std::future::pending().await,
            Self::KnowsAll => Ok(Principal::builder("ada").tenant("acme").build()),
        }
    }
}

const BROKEN: [Directory; 4] =
    [Directory::KnowsNobody, Directory::IsDown, Directory::Panics, Directory::Hangs];

/// Whether nothing behind the guard runs and the run is denied, with credentials and without.
async fn denies<G: Interceptor>(guard: impl Fn() -> G) -> Result<(), String> {
    for credentials in [None, Some(Credentials::bearer("a key"))] {
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ran);
        let stage = stage_fn(move |_, (): ()| {
            counted.fetch_add(1, SeqCst);
            async { Ok(1_u32) }
        });
        let mut p = Pipeline::builder("guarded");
        let only = p.stage("only", stage).inputs(());
        let only = p.build(only).expect("a pipeline");
        let engine = Engine::builder().interceptor(guard()).build().expect("an engine");
        let run = engine.run(&only, ());
        let run = match credentials {
            Some(credentials) => run.extension(credentials),
            None => run,
        };
        let outcome = run.await.map_or_else(|error| error.outcome(), |run| Some(run.outcome()));
        if (outcome, ran.load(SeqCst)) != (Some(RunOutcome::Denied), 0) {
            return Err(format!("the run is {outcome:?}, and {} stages ran", ran.load(SeqCst)));
        }
    }
    Ok(())
}

fn guard(directory: Directory) -> Authenticate<Directory> {
    Authenticate::new(directory).timeout(Duration::from_secs(1))
}

#[tokio::test(start_paused = true)]
async fn s_20_whatever_breaks_in_a_guard_nothing_behind_it_runs() {
    super::super::panics_on_purpose_are_silent();
    for directory in BROKEN {
        assert_eq!(denies(|| guard(directory)).await, Ok(()), "{directory:?}");
        assert_eq!(denies(|| TenantGuard::new(&guard(directory))).await, Ok(()), "{directory:?}");
    }
}

/// The double: it asks, and lets everybody in.
struct FailOpen(Authenticate<Directory>);

impl Interceptor for FailOpen {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        match self.0.around(call, next.clone()).await {
            Err(exit) if exit.is_failure() => next.run().await,
            done => done,
        }
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Authenticate)
    }
}

#[tokio::test(start_paused = true)]
async fn control_a_guard_that_fails_open_is_found_out() {
    super::super::panics_on_purpose_are_silent();
    for directory in BROKEN {
        assert!(denies(|| FailOpen(guard(directory))).await.is_err(), "{directory:?}");
    }
    assert!(denies(|| guard(Directory::KnowsAll)).await.is_err(), "a directory that knows everybody");
}
