//! Stages that obey, and stages that do not.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use stageflow_core::{BoxError, DurationExt, Owned, StageContext, StageExit, StageResult, stage_fn};
use stageflow_exec::blocking;
use tokio::{task::yield_now, time::sleep};

use super::breaks;
use crate::{ScriptedModel, TestContext, contract, hangs, ok, panics, script, waits};

/// Checks a stage made of a function that is given a flag of the stage's.
async fn check<F, Fut>(call: F) -> Result<(), contract::ContractError>
where
    F: Fn(StageContext, Arc<AtomicBool>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = StageResult<u32>> + Send + 'static,
{
    let flag = Arc::new(AtomicBool::new(false));
    let stage = stage_fn(move |ctx: StageContext, (): ()| call(ctx, Arc::clone(&flag)));
    contract::stage(&stage, || ()).await
}

#[tokio::test(start_paused = true)]
async fn stages_that_obey_pass() {
    contract::stage(&waits(5.millis()).then_ok(7), || ()).await.unwrap();
    contract::stage(&script::<(), u32>().then_fails(1), || ()).await.unwrap();
    contract::stage(&ScriptedModel::new().otherwise("yes"), || Arc::new("ok?".to_owned())).await.unwrap();
    let thread = blocking(|_ctx: StageContext, n: Arc<u32>| Ok(*n + 1));
    contract::stage(&thread, || Arc::new(1)).await.unwrap();
    let careful = stage_fn(|ctx: StageContext, Owned(list): Owned<Vec<u32>>| async move {
        ctx.on_cleanup(async { sleep(1.secs()).await });
        let hold = ctx.hold();
        tokio::spawn(async move {
            sleep(1.secs()).await;
            drop(hold);
        });
        for _ in &list {
            yield_now().await;
            ctx.checkpoint()?;
        }
        Ok(list.len())
    });
    contract::stage(&careful, || Owned(vec![1, 2, 3])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stage_may_need_a_context_of_somebody() {
    let stage = stage_fn(|ctx: StageContext, (): ()| async move {
        yield_now().await;
        Ok(ctx.identity().tenant_id().expect("a tenant").to_string())
    });
    contract::stage_in(&stage, || TestContext::new().tenant("acme"), || ()).await.unwrap();
    breaks(contract::stage(&stage, || ()).await, "a stage returns an error instead of panicking", "a tenant");
}

#[tokio::test(start_paused = true)]
async fn it_must_not_panic() {
    let rule = "a stage returns an error instead of panicking";
    breaks(
        contract::stage(&panics::<(), u32>(), || ()).await,
        rule,
        "as a call was polled: a scripted panic in call 1",
    );
}

#[tokio::test(start_paused = true)]
async fn it_must_end() {
    breaks(contract::stage(&hangs::<(), u32>(), || ()).await, "a call ends by itself", "within 1m00s");
}

#[tokio::test(start_paused = true)]
async fn dropping_it_must_not_panic() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(self.0, "dropped too early");
        }
    }
    let result = check(|_ctx, _flag| async {
        yield_now().await;
        let mut bomb = Bomb(false);
        yield_now().await;
        bomb.0 = true;
        Ok(1)
    });
    breaks(result.await, "dropping a call does not panic", "dropped after poll 2: dropped too early");
}

#[tokio::test(start_paused = true)]
async fn it_must_work_after_a_call_was_dropped() {
    let result = check(|_ctx, busy| async move {
        if busy.swap(true, Ordering::SeqCst) {
            return Err(StageExit::fail("still busy"));
        }
        yield_now().await;
        busy.store(false, Ordering::SeqCst);
        Ok(1)
    });
    let seen = "a call was dropped after poll 1, and the next one failed: still busy";
    breaks(result.await, "after a call was dropped, a new call works", seen);
}

#[tokio::test(start_paused = true)]
async fn it_must_be_called_twice_at_the_same_time() {
    struct Free(Arc<AtomicBool>);
    impl Drop for Free {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    let result = check(|_ctx, busy| async move {
        if busy.swap(true, Ordering::SeqCst) {
            return Err(StageExit::fail("busy"));
        }
        let _free = Free(busy);
        yield_now().await;
        Ok(1)
    });
    breaks(result.await, "two calls at the same time work", "one of them failed: busy");
}

#[tokio::test(start_paused = true)]
async fn it_must_not_panic_when_it_is_cancelled() {
    let rule = "a call of a run that is cancelled, or has no time left, does not panic";
    let result = check(|ctx, _flag| async move {
        yield_now().await;
        assert!(!ctx.is_cancelled(), "nobody told me");
        Ok(1)
    });
    breaks(result.await, rule, "cancelled after its first poll: nobody told me");
    let result = check(|ctx, _flag| async move {
        assert!(ctx.remaining().is_none_or(|left| !left.is_zero()), "no time");
        Ok(1)
    });
    breaks(result.await, rule, "without any time left: no time");
}

#[tokio::test(start_paused = true)]
async fn its_holds_must_be_released() {
    let result = check(|ctx, _flag| async move {
        std::mem::forget(ctx.hold());
        Ok(1)
    });
    breaks(result.await, "a hold is released in time after its call", "after a call, 1 are held");
}

#[tokio::test(start_paused = true)]
async fn its_clean_ups_must_succeed_and_end() {
    let rule = "clean-ups succeed and end in time, however the call ended";
    let result = check(|ctx, done| async move {
        let at_end = Arc::clone(&done);
        ctx.on_cleanup(async move {
            if at_end.swap(false, Ordering::SeqCst) {
                Ok(())
            } else {
                Err(BoxError::from("nothing to remove"))
            }
        });
        yield_now().await;
        done.store(true, Ordering::SeqCst);
        Ok(1)
    });
    let error = result.await.unwrap_err();
    let broken = error.violations().iter().find(|violation| violation.rule == rule).unwrap();
    assert_eq!(broken.seen, "after a call was dropped after poll 1: nothing to remove");

    let result = check(|ctx, _flag| async move {
        ctx.on_cleanup(async { pending::<()>().await });
        Ok(1)
    });
    breaks(result.await, rule, "one did not end within 1m00s");
}

#[tokio::test(start_paused = true)]
async fn several_broken_rules_are_listed() {
    let result = check(|ctx, _flag| async move {
        ctx.on_cleanup(async { Err::<(), _>(BoxError::from("stuck")) });
        std::mem::forget(ctx.hold());
        Ok(1)
    });
    let error = result.await.unwrap_err();
    assert_eq!(error.violations().len(), 2);
    let text = error.to_string();
    assert!(
        text.contains("breaks 2 rules of its trait\n  a hold is released in time after its call\n    seen: "),
        "{text}"
    );
    assert_eq!(format!("{error:?}"), text);
    let one = contract::stage(&ok::<(), _>(1).then_panics(), || ()).await.unwrap_err();
    assert!(one.to_string().starts_with("`Script<(), i32>` breaks"), "{one}");
}
