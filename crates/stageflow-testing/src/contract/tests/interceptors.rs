//! Interceptors that obey, and interceptors that do not.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use stageflow_core::{
    Call, DurationExt, Interceptor, Layer, Next, StageExit, StageKind, StageResult, Value,
    intercept::Placement,
};
use tokio::{
    sync::Semaphore,
    task::yield_now,
    time::{sleep, timeout},
};

use super::breaks;
use crate::contract;

/// An interceptor of a body that sees `self`, `call` and `next`.
macro_rules! interceptor {
    ($name:ident $({ $($field:ident: $ty:ty),* })?, |$this:ident, $call:ident, $next:ident| $body:expr $(, $more:item)*) => {
        #[derive(Default)]
        struct $name { $($($field: $ty),*)? }

        impl Interceptor for $name {
            async fn around(&self, $call: &Call, $next: Next<'_>) -> StageResult<Value> {
                let $this = self;
                $body
            }

            $($more)*
        }
    };
}

#[tokio::test(start_paused = true)]
async fn interceptors_that_obey_pass() {
    interceptor!(Transparent, |_this, _call, next| next.run().await);
    interceptor!(Retry, |_this, _call, next| {
        for _ in 0..3 {
            match next.clone().run().await {
                Err(exit) if exit.is_failure() => sleep(10.millis()).await,
                done => return done,
            }
        }
        next.run().await
    });
    interceptor!(Timeout, |_this, _call, next| {
        timeout(1.secs(), next.run()).await.unwrap_or_else(|_| Err(StageExit::deny("too slow")))
    });
    interceptor!(Deny, |_this, _call, _next| Err(StageExit::deny("nobody")));
    interceptor!(Fallback, |_this, _call, next| match next.run().await {
        Err(exit) if exit.is_failure() => Ok(Value::new(0_u32)),
        done => done,
    });
    interceptor!(
        Authenticate,
        |_this, call, next| match call.context().identity().user_id() {
            Some(_) => next.run().await,
            None => Err("no user".into()),
        },
        fn placement(&self) -> Placement {
            Placement::At(Layer::Authenticate)
        }
    );
    contract::interceptor(Transparent::default()).await.unwrap();
    contract::interceptor(Retry::default()).await.unwrap();
    contract::interceptor(Timeout::default()).await.unwrap();
    contract::interceptor(Deny::default()).await.unwrap();
    contract::interceptor(Fallback::default()).await.unwrap();
    contract::interceptor(Authenticate::default()).await.unwrap();
}

/// Two calls at a time, and no more: the second may wait, and a breaker may refuse after failures.
#[tokio::test(start_paused = true)]
async fn limits_and_breakers_pass() {
    struct Limit(Semaphore);
    impl Interceptor for Limit {
        async fn around(&self, _call: &Call, next: Next<'_>) -> StageResult<Value> {
            let _permit = self.0.acquire().await?;
            next.run().await
        }
    }
    interceptor!(Breaker { failures: AtomicU32 }, |this, _call, next| {
        if this.failures.load(Ordering::SeqCst) > 1 {
            return Err(StageExit::deny("open"));
        }
        let done = next.run().await;
        if done.is_err() {
            this.failures.fetch_add(1, Ordering::SeqCst);
        }
        done
    });
    contract::interceptor(Limit(Semaphore::new(1))).await.unwrap();
    contract::interceptor(Breaker::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_must_fit_into_an_engine() {
    interceptor!(
        Outside,
        |_this, _call, next| next.run().await,
        fn placement(&self) -> Placement {
            Placement::Outside(Layer::Authenticate)
        }
    );
    interceptor!(
        Nameless,
        |_this, _call, next| next.run().await,
        fn name(&self) -> String {
            " \n".to_owned()
        }
    );
    interceptor!(
        Picky,
        |_this, _call, next| next.run().await,
        fn applies_to(&self, stage: &str, _kind: StageKind) -> bool {
            panic!("never heard of {stage}")
        }
    );
    let rule = "an interceptor can be added to an engine";
    breaks(contract::interceptor(Outside::default()).await, rule, "OUTSIDE_AUTHENTICATION");
    breaks(contract::interceptor(Picky::default()).await, rule, "never heard of stage");
    let rule = "an interceptor has a name of one line";
    breaks(contract::interceptor(Nameless::default()).await, rule, r#"its name is " \n""#);
}

#[tokio::test(start_paused = true)]
async fn it_must_deny_without_a_panic() {
    interceptor!(Hasty, |_this, call, next| {
        assert!(call.context().identity().tenant_id().is_some(), "whose is it?");
        next.run().await
    });
    interceptor!(
        Closed,
        |_this, _call, _next| panic!("no key"),
        fn placement(&self) -> Placement {
            Placement::At(Layer::Authenticate)
        }
    );
    let rule = "an interceptor refuses a call without panicking";
    breaks(
        contract::interceptor(Hasty::default()).await,
        rule,
        "around a stage that works: it panicked as it was polled: whose is it?",
    );
    // An engine makes a denial of it: the check sees it all the same.
    breaks(contract::interceptor(Closed::default()).await, rule, "no key");
    interceptor!(Unwraps, |_this, _call, next| match next.run().await {
        Err(exit) if exit.is_failure() => panic!("unwrapped {exit}"),
        done => done,
    });
    breaks(
        contract::interceptor(Unwraps::default()).await,
        rule,
        "around a stage that fails: it panicked as it was polled: unwrapped failed: scripted failure of call 1",
    );
}

/// Runs of a tenant, and runs with a deadline.
#[tokio::test(start_paused = true)]
async fn it_must_take_runs_of_every_caller() {
    let rule = "an interceptor refuses a call without panicking";
    interceptor!(Anonymous, |_this, call, next| {
        assert!(call.snapshot().identity().tenant_id().is_none(), "who is that?");
        next.run().await
    });
    breaks(contract::interceptor(Anonymous::default()).await, rule, "in a run of a tenant");
    interceptor!(Timeless, |_this, call, next| {
        assert!(call.context().remaining().is_none(), "what hurry?");
        next.run().await
    });
    breaks(contract::interceptor(Timeless::default()).await, rule, "in a run with a deadline of 1 ms");
}

#[tokio::test(start_paused = true)]
async fn it_must_end() {
    interceptor!(Stuck, |_this, _call, _next| std::future::pending().await);
    breaks(
        contract::interceptor(Stuck::default()).await,
        "a call ends when what is inside has ended",
        "within 1m00s",
    );
}

#[tokio::test(start_paused = true)]
async fn it_must_keep_the_type_of_the_output() {
    interceptor!(Replaces, |_this, _call, next| next.run().await.map(|_| Value::new("done")));
    let rule = "an output that is replaced has the type of the stage's output";
    breaks(contract::interceptor(Replaces::default()).await, rule, "REPLACED_TYPE");
}

#[tokio::test(start_paused = true)]
async fn it_must_work_for_stages_that_own_their_input() {
    interceptor!(Typed, |_this, _call, next| match next.input::<u32>(0) {
        Some(_) => next.run().await,
        None => Err("not a number".into()),
    });
    breaks(
        contract::interceptor(Typed::default()).await,
        "a stage that takes `Owned` works like any other",
        "not a number",
    );
}

#[tokio::test(start_paused = true)]
async fn inner_failures_must_come_out() {
    let rule = "an inner failure, panic or skip comes out as it is, or as a verdict of the interceptor";
    interceptor!(Rewrites, |_this, _call, next| match next.run().await {
        Err(exit) if exit.is_failure() => Err(StageExit::fail("it failed")),
        done => done,
    });
    breaks(
        contract::interceptor(Rewrites::default()).await,
        rule,
        "around a stage that fails with the code INNER",
    );
    interceptor!(FailsSkips, |_this, _call, next| match next.run().await {
        Err(exit) if exit.is_skip() => Err(StageExit::fail("no output")),
        done => done,
    });
    breaks(contract::interceptor(FailsSkips::default()).await, rule, "around a stage that skips");
}

#[tokio::test(start_paused = true)]
async fn it_must_work_after_an_inner_failure() {
    let rule = "after an inner failure that was not its own, an interceptor still works";
    interceptor!(Poisoned { lock: std::sync::Mutex<u32> }, |this, _call, next| {
        *this.lock.lock().expect("poisoned") += 1;
        let mut next = std::pin::pin!(next.run());
        std::future::poll_fn(|cx| {
            // What is inside panics under the lock.
            let _held = this.lock.lock().expect("poisoned");
            next.as_mut().poll(cx)
        })
        .await
    });
    breaks(contract::interceptor(Poisoned::default()).await, rule, "poisoned");
    struct Leaky(Semaphore);
    impl Interceptor for Leaky {
        async fn around(&self, _call: &Call, next: Next<'_>) -> StageResult<Value> {
            let permit = self.0.acquire().await?;
            let done = next.run().await;
            if done.as_ref().is_err_and(StageExit::is_skip) {
                permit.forget();
            }
            done
        }
    }
    let error = contract::interceptor(Leaky(Semaphore::new(1))).await.unwrap_err();
    let broken = error.violations().iter().find(|violation| violation.rule == rule);
    assert_eq!(broken.unwrap().seen, "the next call did not end within 1m00s");
}

#[tokio::test(start_paused = true)]
async fn dropping_it_must_not_panic() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(self.0 || std::thread::panicking(), "dropped too early");
        }
    }
    interceptor!(Explodes, |_this, _call, next| {
        let mut bomb = Bomb(false);
        let done = next.run().await;
        bomb.0 = true;
        done
    });
    breaks(
        contract::interceptor(Explodes::default()).await,
        "dropping a call does not panic",
        "dropped after poll 1: it panicked as it was dropped: dropped too early",
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_must_leave_nothing() {
    interceptor!(Counts { in_flight: Arc<AtomicU32> }, |this, _call, next| {
        if this.in_flight.fetch_add(1, Ordering::SeqCst) > 1 {
            return Err(StageExit::deny("too many"));
        }
        let done = next.run().await;
        this.in_flight.fetch_sub(1, Ordering::SeqCst);
        done
    });
    let result = contract::interceptor(Counts::default()).await;
    let rule = "a call that is dropped leaves nothing behind";
    let error = result.unwrap_err();
    let broken = error
        .violations()
        .iter()
        .find(|violation| violation.rule == rule)
        .unwrap_or_else(|| panic!("{error}"));
    assert!(broken.seen.contains("too many"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn two_calls_at_the_same_time_must_end() {
    interceptor!(Waits { here: AtomicU32 }, |this, _call, next| {
        struct Leave<'a>(&'a AtomicU32);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        this.here.fetch_add(1, Ordering::SeqCst);
        let _leave = Leave(&this.here);
        yield_now().await;
        if this.here.load(Ordering::SeqCst) > 1 {
            return std::future::pending().await;
        }
        next.run().await
    });
    let error = contract::interceptor(Waits::default()).await.unwrap_err();
    assert!(error.to_string().contains("two calls at the same time work\n    seen: "), "{error}");
}
