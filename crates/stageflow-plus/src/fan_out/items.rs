//! Where the items of a map come from: a list, an iterator, or a stream.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use stageflow_core::{ErrorClass, Owned, StageExit, StageInput, StageResult, code};

use super::drive::Source;

type Next<T> = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<T>> + Send>;

/// The items of a map, one after the other.
#[doc(hidden)]
pub struct Feed<T> {
    next: Next<T>,
    pub(super) total: Option<usize>,
}

impl<T: 'static> Feed<T> {
    fn iter(iter: impl Iterator<Item = T> + Send + 'static) -> Self {
        let total = match iter.size_hint() {
            (low, Some(high)) if low == high => Some(low),
            _ => None,
        };
        let mut iter = iter;
        Self { next: Box::new(move |_| Poll::Ready(iter.next())), total }
    }

    fn map<U>(mut self, with: impl Fn(T) -> U + Send + 'static) -> Feed<U> {
        let next = move |cx: &mut Context<'_>| (self.next)(cx).map(|item| item.map(&with));
        Feed { next: Box::new(next), total: self.total }
    }
}

impl<T> Source for Feed<T> {
    type Item = T;

    #[inline]
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        (self.next)(cx)
    }
}

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("total", &self.total).finish_non_exhaustive()
    }
}

/// Items that are made as they are needed: the output of a stage before a map, where a list would be too long.
///
/// They are taken once. A map that is tried again finds none and fails, as does a second map over the same port.
///
/// ```
/// use std::task::Poll;
/// use stageflow_plus::fan_out::Items;
///
/// let numbers = Items::new((0_u64..1_000_000).map(|n| n * n));
///
/// // A stream is an iterator that may have to wait.
/// let mut left = 3;
/// let stream = Items::poll_fn(move |_cx| {
///     left -= 1;
///     Poll::Ready((left >= 0).then_some(left))
/// });
/// # let _ = (numbers, stream);
/// ```
pub struct Items<T>(Mutex<Option<Feed<T>>>);

impl<T: Send + 'static> Items<T> {
    /// The items of an iterator. Their number is known if its `size_hint` is exact.
    pub fn new<I>(items: I) -> Self
    where
        I: IntoIterator<Item = T, IntoIter: Send + 'static>,
    {
        Self(Mutex::new(Some(Feed::iter(items.into_iter()))))
    }

    /// The items of a stream: `None` ends it, and it is not asked again after that.
    pub fn poll_fn(next: impl FnMut(&mut Context<'_>) -> Poll<Option<T>> + Send + 'static) -> Self {
        Self(Mutex::new(Some(Feed { next: Box::new(next), total: None })))
    }

    /// How many there will be, where that is known otherwise: for percentages and for what `explain()` says.
    #[must_use]
    pub fn with_total(self, items: usize) -> Self {
        if let Some(feed) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            feed.total = Some(items);
        }
        self
    }

    pub(crate) fn take(&self) -> StageResult<Feed<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(|| {
            let error =
                "the items were taken already, and are made once: give a `Vec` to what is tried again";
            StageExit::failure(code::INVALID_INPUT, ErrorClass::Invalid, error.into())
        })
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Items")
    }
}

/// What a map can be over, for a stage that takes `In` for each item.
///
/// | collection | the stage takes |
/// |---|---|
/// | `Vec<T>` | `Owned<T>`, or `Arc<T>` |
/// | `Vec<Arc<T>>` | `Arc<T>` |
/// | [`Items<T>`] | `Owned<T>`, or `Arc<T>` |
///
/// A `Vec` is moved if the map is its last reader, and cloned otherwise.
#[diagnostic::on_unimplemented(
    message = "a map over `{Self}` cannot feed a stage that takes `{In}`",
    label = "does not match the stage's input",
    note = "`Vec<T>` and `Items<T>` feed an `Owned<T>` or an `Arc<T>`, `Vec<Arc<T>>` an `Arc<T>`"
)]
pub trait MapSource<In>: Any + Send + Sync {
    #[doc(hidden)]
    type Wire: StageInput;
    #[doc(hidden)]
    fn feed(wire: Self::Wire) -> StageResult<Feed<In>>;
}

impl<T: Any + Clone + Send + Sync> MapSource<Owned<T>> for Vec<T> {
    type Wire = Owned<Self>;

    fn feed(Owned(items): Owned<Self>) -> StageResult<Feed<Owned<T>>> {
        Ok(Feed::iter(items.into_iter().map(Owned)))
    }
}

impl<T: Any + Clone + Send + Sync> MapSource<Arc<T>> for Vec<T> {
    type Wire = Owned<Self>;

    fn feed(Owned(items): Owned<Self>) -> StageResult<Feed<Arc<T>>> {
        Ok(Feed::iter(items.into_iter().map(Arc::new)))
    }
}

impl<T: Any + Send + Sync> MapSource<Arc<T>> for Vec<Arc<T>> {
    type Wire = Owned<Self>;

    fn feed(Owned(items): Owned<Self>) -> StageResult<Feed<Arc<T>>> {
        Ok(Feed::iter(items.into_iter()))
    }
}

impl<T: Any + Clone + Send + Sync> MapSource<Owned<T>> for Items<T> {
    type Wire = Arc<Self>;

    fn feed(items: Arc<Self>) -> StageResult<Feed<Owned<T>>> {
        Ok(items.take()?.map(Owned))
    }
}

impl<T: Any + Send + Sync> MapSource<Arc<T>> for Items<T> {
    type Wire = Arc<Self>;

    fn feed(items: Arc<Self>) -> StageResult<Feed<Arc<T>>> {
        Ok(items.take()?.map(Arc::new))
    }
}
