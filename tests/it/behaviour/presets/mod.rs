//! Engines in one call do what their page says, and every value of them can be replaced.

mod defaults;
mod described;
mod running;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use stageflow::{
    Builder,
    interceptors::{AuthError, Authenticator, Credentials, Principal},
    prelude::*,
};

/// Knows one user.
pub(crate) struct Keys;

impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        if credentials.matches("k-1") {
            return Ok(Principal::builder("ada").tenant("acme").build());
        }
        Err(AuthError::invalid("no such key"))
    }
}

/// How often a stage was called.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicU32>);

impl Calls {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// A stage that counts its calls, and waits for ever.
    fn waits(&self) -> impl Stage<Input = (), Output = u32> {
        let calls = self.clone();
        stage_fn(move |_, (): ()| {
            calls.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        })
    }

    /// A stage that counts its calls, and leaves as `exit` says.
    fn exits(&self, exit: fn() -> StageExit) -> impl Stage<Input = (), Output = u32> {
        let calls = self.clone();
        stage_fn(move |_, (): ()| {
            calls.0.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Err(exit()))
        })
    }
}

/// A pipeline in the place of the only stage, `child`.
fn nested(child: Pipeline<(), u32>) -> Pipeline<(), u32> {
    super::kit::pipeline(|p| {
        let unit = p.input();
        p.stage("child", child).inputs(unit)
    })
}

fn transient() -> StageExit {
    Err::<(), _>("unreachable").transient().expect_err("it is a failure")
}

/// A stage of each kind, none of which needs another.
fn all_kinds(p: &mut Builder<()>) -> Port<u32> {
    let ports: Vec<_> = StageKind::ALL
        .iter()
        .map(|kind| p.stage(kind.as_str(), super::kit::gives(1_u32)).kind(*kind).inputs(()))
        .collect();
    p.stage("sum", super::kit::sum()).inputs(ports)
}
