//! An interceptor under observation: what it panics with is noted, where an engine would make a failure of it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use stageflow_core::{Call, Interceptor, Next, StageKind, StageResult, Value, intercept::Placement};

use crate::contract::drive::{Payload, guarded, message};

/// The interceptor, shared by all engines and noted by all.
pub(super) struct Watched<I>(Arc<Shared<I>>);

struct Shared<I> {
    interceptor: I,
    panics: Panics,
}

#[derive(Default)]
struct Panics(Mutex<Vec<String>>);

impl Panics {
    fn note(&self, payload: &Payload, doing: &str) {
        let text = format!("it panicked {doing}: {}", message(payload));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

impl<I> Watched<I> {
    pub(super) fn new(interceptor: I) -> Self {
        Self(Arc::new(Shared { interceptor, panics: Panics::default() }))
    }

    /// The panics since the last time. Those of a stage inside are among them: they go through the interceptor.
    pub(super) fn take_panics(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.panics.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<I> Clone for Watched<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: Interceptor> Interceptor for Watched<I> {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let Shared { interceptor, panics } = &*self.0;
        match guarded(|| Box::pin(interceptor.around(call, next))) {
            Ok(future) => WatchedFuture { future: Some(future), panics }.await,
            Err(payload) => {
                panics.note(&payload, "before its first await");
                std::panic::resume_unwind(payload)
            }
        }
    }

    fn name(&self) -> String {
        self.0.interceptor.name()
    }

    fn placement(&self) -> Placement {
        self.0.interceptor.placement()
    }

    fn applies_to(&self, stage: &str, kind: StageKind) -> bool {
        self.0.interceptor.applies_to(stage, kind)
    }
}

struct WatchedFuture<'a, F> {
    future: Option<Pin<Box<F>>>,
    panics: &'a Panics,
}

impl<F: Future> Future for WatchedFuture<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let Some(future) = &mut this.future else { return Poll::Pending };
        guarded(|| future.as_mut().poll(cx)).unwrap_or_else(|payload| {
            this.panics.note(&payload, "as it was polled");
            std::panic::resume_unwind(payload)
        })
    }
}

impl<F> Drop for WatchedFuture<'_, F> {
    fn drop(&mut self) {
        let future = self.future.take();
        if let Err(payload) = guarded(|| drop(future)) {
            self.panics.note(&payload, "as it was dropped");
        }
    }
}
