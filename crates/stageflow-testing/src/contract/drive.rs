//! Polls futures of others: counted, guarded against panics, dropped where it is told.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::Poll,
};

use super::LIMIT;

/// How a future ended.
pub(super) enum Ending<T> {
    /// By itself, with its last poll.
    Ended { output: T, polls: u32 },
    /// With a panic: as it was made, polled or dropped.
    Panicked { message: String, doing: &'static str },
    /// Dropped, as it was told.
    Dropped,
    /// Dropped, because it did not end in time.
    Late,
}

pub(super) type Payload = Box<dyn Any + Send>;

/// Runs code of others.
pub(super) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, Payload> {
    catch_unwind(AssertUnwindSafe(code))
}

/// What a panic says.
pub(super) fn message(payload: &Payload) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no text)".to_owned())
}

/// Polls a future whenever it is woken, so many times at most, and drops it then.
pub(super) async fn drive<F: Future>(make: impl FnOnce() -> F, most: u32) -> Ending<F::Output> {
    let mut future = match guarded(|| Box::pin(make())) {
        Ok(future) => Some(future),
        Err(payload) => return Ending::Panicked { message: message(&payload), doing: "was made" },
    };
    let mut polls = 0;
    let driven = poll_fn(|cx| {
        let Some(future) = future.as_mut().filter(|_| polls < most) else { return Poll::Ready(None) };
        polls += 1;
        match guarded(|| future.as_mut().poll(cx)) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(Ok(output))),
            Ok(Poll::Pending) if polls == most => Poll::Ready(None),
            Ok(Poll::Pending) => Poll::Pending,
            Err(payload) => Poll::Ready(Some(Err(payload))),
        }
    });
    let ended = tokio::time::timeout(LIMIT, driven).await;
    let dropped = guarded(|| drop(future));
    match (ended, dropped) {
        (Ok(Some(Err(payload))), _) => Ending::Panicked { message: message(&payload), doing: "was polled" },
        (_, Err(payload)) => Ending::Panicked { message: message(&payload), doing: "was dropped" },
        (Ok(Some(Ok(output))), Ok(())) => Ending::Ended { output, polls },
        (Ok(None), Ok(())) => Ending::Dropped,
        (Err(_), Ok(())) => Ending::Late,
    }
}

/// Awaits two futures at the same time.
pub(super) async fn both<A: Future, B: Future>(one: A, two: B) -> (A::Output, B::Output) {
    let (mut one, mut two) = (pin!(one), pin!(two));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        step(&mut first, one.as_mut(), cx);
        step(&mut second, two.as_mut(), cx);
        match (first.take(), second.take()) {
            (Some(one), Some(two)) => Poll::Ready((one, two)),
            (one, two) => {
                (first, second) = (one, two);
                Poll::Pending
            }
        }
    })
    .await
}

fn step<F: Future>(output: &mut Option<F::Output>, future: Pin<&mut F>, cx: &mut std::task::Context<'_>) {
    if output.is_none()
        && let Poll::Ready(done) = future.poll(cx)
    {
        *output = Some(done);
    }
}
