//! Futures that are polled at the same time, until they have all ended or enough is known.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

type Boxed<'a, O> = Pin<Box<dyn Future<Output = O> + Send + 'a>>;

/// Polls all until `enough` holds of what has ended, in the order in which they were given; the rest is dropped then.
pub(super) async fn together<O>(
    futures: Vec<Boxed<'_, O>>,
    enough: impl Fn(&[Option<O>]) -> bool,
) -> Vec<Option<O>> {
    let mut ended: Vec<Option<O>> = futures.iter().map(|_| None).collect();
    let mut running: Vec<_> = futures.into_iter().map(Some).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in running.iter_mut().zip(&mut ended) {
            if let Some(polled) = future.as_mut().map(|future| future.as_mut().poll(cx)) {
                match polled {
                    Poll::Pending => pending = true,
                    Poll::Ready(done) => (*future, *output) = (None, Some(done)),
                }
            }
        }
        if pending && !enough(&ended) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    ended
}
