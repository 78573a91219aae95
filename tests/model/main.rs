//! The protocols of the scheduler under a model checker: every interleaving, and every value an atomic may show.
//!
//! `protocol` is the very file that the executor compiles, over loom's primitives instead of std's. What surrounds the
//! protocols in the executor (`worker.rs`, `helper.rs`, `driver.rs`, `queue.rs`) is modelled here, function by function, and
//! each model says what it stands for. Loom treats sequentially consistent accesses as acquire and release only, so the models
//! put a fence behind each such store: [`sc`] says why that is fair.

mod countdown;
mod gate;
mod help;
mod number;
mod sink;
mod task;

#[path = "../../crates/stageflow-exec/src/protocol.rs"]
mod protocol;

/// What `protocol` uses.
mod sync {
    pub(crate) use loom::{
        hint::spin_loop,
        sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
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
