//! Ready-made stages: a stage for each item.

mod cancelled;
mod failures;
mod items;
mod limiter;
mod nested;
mod shared;
mod watched;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use stageflow::prelude::*;

/// Counts how many are inside at a time.
#[derive(Clone, Default)]
struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

impl Gauge {
    fn enter(&self) -> Inside {
        let inside = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(inside, Ordering::SeqCst);
        Inside(self.clone())
    }

    fn now(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    fn peak(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

struct Inside(Gauge);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A pipeline whose only stage is made from its input.
fn over<I: Send + Sync + 'static, O: Send + Sync + 'static>(
    build: impl FnOnce(&mut stageflow::Builder<I>, Port<I>) -> Port<O>,
) -> Pipeline<I, O> {
    let mut p = Pipeline::builder("test");
    let input = p.input();
    let output = build(&mut p, input);
    p.build(output).expect("the pipeline of a test is right")
}
