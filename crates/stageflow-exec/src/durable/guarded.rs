//! Calls of a journal: a panic in one is an error of the journal, and nobody else's (S-9).

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use stageflow_core::durable::{JournalError, JournalErrorKind};

use crate::worker::panic_message;

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send>>;

/// What a journal is doing.
pub(crate) struct Guarded<T> {
    answer: Option<Answer<T>>,
    failed: Option<Box<JournalError>>,
}

/// Asks a journal for something.
pub(crate) fn guarded<T>(ask: impl FnOnce() -> Answer<T>) -> Guarded<T> {
    match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(answer) => Guarded { answer: Some(answer), failed: None },
        Err(panic) => Guarded { answer: None, failed: Some(Box::new(panicked(panic))) },
    }
}

/// Tells a journal something that it does not answer.
pub(crate) fn told(tell: impl FnOnce()) {
    let _panicked = catch_unwind(AssertUnwindSafe(tell));
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> JournalError {
    let message = format!("the journal panicked: {}", panic_message(panic));
    JournalError::new(JournalErrorKind::Unavailable, message)
}

impl<T> Future for Guarded<T> {
    type Output = Result<T, JournalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &mut self.answer else {
            let over = || JournalError::new(JournalErrorKind::Unavailable, "the journal has answered before");
            return Poll::Ready(Err(self.failed.take().map_or_else(over, |failed| *failed)));
        };
        let answered = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)));
        let answered = ready!(answered.unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic)))));
        self.forget();
        Poll::Ready(answered)
    }
}

impl<T> Guarded<T> {
    fn forget(&mut self) {
        let answer = self.answer.take();
        told(|| drop(answer));
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.forget();
    }
}
