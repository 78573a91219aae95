//! A limiter's own map: outside of pipelines.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::resume_unwind,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    super::{
        drive::{Drive, End, Lane, Source, Then},
        outcome::Ordered,
    },
    FanOutLimiter, FanOutRefused, FanOutRequest,
};

struct Iter<I>(I);

impl<I: Iterator> Source for Iter<I> {
    type Item = I::Item;

    #[inline]
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

impl FanOutLimiter {
    /// Makes a future of each item, under a permit of its own, and gives their outputs in the order of the items.
    ///
    /// Items are taken as there are permits: beside the outputs, memory is proportional to the limit. Nothing is allocated for an
    /// item that follows another.
    ///
    /// # Errors
    ///
    /// [`FanOutRefused`] for the first item that the limiter refuses or drops; all others are dropped.
    ///
    /// # Panics
    ///
    /// If a future panics, this does; all others are dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops those of all items and gives their permits back.
    pub async fn map<I, F, Fut>(&self, items: I, mut each: F) -> Result<Vec<Fut::Output>, FanOutRefused>
    where
        I: IntoIterator,
        F: FnMut(I::Item) -> Fut,
        Fut: Future,
    {
        let items = items.into_iter();
        let mut outputs = Ordered::new(items.size_hint().0);
        let (mut refused, mut panicked): (_, Option<Box<dyn Any + Send>>) = (None, None);
        {
            let lane = Lane {
                limiter: self.clone(),
                request: |_: &I::Item| FanOutRequest::new(),
                read_ahead: 1,
                within: || Duration::MAX,
                is_nested: false,
            };
            let start = |_, item, permit| {
                let future = each(item);
                async move {
                    let output = future.await;
                    drop(permit);
                    output
                }
            };
            let end = |number, end| {
                match end {
                    End::Output(output) => {
                        outputs.put(number, Some(output));
                        return Then::GoOn;
                    }
                    End::Refused(by) => refused = Some(by),
                    End::Panicked(payload) => panicked = Some(payload),
                }
                Then::Abort
            };
            let mut drive = Drive::new(Iter(items), Some(lane), (usize::MAX, None), start, end);
            poll_fn(|cx| drive.poll(cx)).await;
        }
        match (panicked, refused) {
            (Some(payload), _) => resume_unwind(payload),
            (None, Some(refused)) => Err(refused),
            (None, None) => Ok(outputs.done),
        }
    }
}
