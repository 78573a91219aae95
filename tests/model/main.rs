//! The protocols of the scheduler and of the policies under a model checker: every interleaving, and every value an atomic may
//! show.
//!
//! `protocol` and `account` are the very files that the executor and the core compile, over loom's primitives instead of std's. What surrounds the
//! protocols in the executor (`worker.rs`, `helper.rs`, `driver.rs`, `queue.rs`) is modelled here, function by function, and
//! each model says what it stands for. Loom treats sequentially consistent accesses as acquire and release only, so the models
//! put a fence behind each such store: [`sc`] says why that is fair.

mod breaker;
mod budget;
mod bulkhead;
mod countdown;
mod fan_out;
mod gate;
mod help;
mod limiter;
mod number;
mod retry_budget;
mod sink;
mod task;
mod turnstile;

#[path = "../../crates/stageflow-core/src/budget/account.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is public in its crate, and the models use a part of it")]
mod account;
#[path = "../../crates/stageflow-exec/src/protocol.rs"]
mod protocol;

/// The queue of a backpressure monitor, as the executor compiles it.
#[allow(dead_code, unreachable_pub, reason = "the model uses a part of it")]
#[path = "../../crates/stageflow-exec/src/admission"]
mod admission {
    pub(crate) mod state;
    pub(crate) mod turnstile;
}

/// What the limits use.
mod limit {
    pub(crate) trait Idle {
        fn is_idle(&self, now: u64) -> bool;
    }
}

/// What `protocol` and `account` use.
mod sync {
    pub(crate) use loom::{
        hint::spin_loop,
        sync::{
            Mutex, MutexGuard,
            atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
        },
    };
}

/// Sequentially consistent stores, as loom can check them.
///
/// A store and a later load, both sequentially consistent, may not swap: two threads that each announce something and then look
/// for the other's announcement do not both miss it. Loom would let them. A fence between the two forbids it without ordering
/// anything that comes *before* the store, which real sequentially consistent stores do not order either.
mod sc {
    use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

    pub(crate) fn store(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn store_u32(number: &AtomicU32, value: u32) {
        number.store(value, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

/// Checks `model` in every interleaving with at most so many involuntary switches of threads.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
