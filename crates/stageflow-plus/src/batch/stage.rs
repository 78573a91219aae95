//! `p.windows("pages", windows).over(rows)`: windows over a list, or over a stream as it comes.

use std::{any::Any, fmt, future::Future, marker::PhantomData, sync::Arc, task::Poll};

use stageflow_core::{Owned, Stage, StageContext, StageInput, StageResult};
use stageflow_dag::{Builder, Port, Wire};
use tokio::time::{Instant, sleep_until};

use super::{Window, Windows};
use crate::fan_out::{Items, drive::Source as _};

/// How many items of a stream one poll takes without a window, so that others can go on.
const BUDGET: usize = 1_024;

/// What windows can be over: a `Vec` gives a `Vec` of windows, and [`Items`] give windows as they are needed.
#[diagnostic::on_unimplemented(
    message = "windows of `{T}` cannot be over a `{Self}`",
    note = "they are over a `Vec` or over `Items`"
)]
pub trait WindowSource<T>: Any + Send + Sync {
    #[doc(hidden)]
    type Wire: StageInput;
    /// The windows.
    type Windows: Any + Send + Sync;
    #[doc(hidden)]
    fn cut(wire: Self::Wire, windows: &Windows<T>) -> StageResult<Self::Windows>;
}

impl<T: Any + Clone + Send + Sync> WindowSource<T> for Vec<T> {
    type Wire = Owned<Self>;
    type Windows = Vec<Window<T>>;

    fn cut(Owned(items): Owned<Self>, windows: &Windows<T>) -> StageResult<Vec<Window<T>>> {
        Ok(windows.over(items).collect())
    }
}

impl<T: Any + Clone + Send + Sync> WindowSource<T> for Items<T> {
    type Wire = Arc<Self>;
    type Windows = Items<Window<T>>;

    fn cut(items: Arc<Self>, windows: &Windows<T>) -> StageResult<Items<Window<T>>> {
        let mut feed = items.take()?;
        let (mut cutter, base) = (windows.cutter(), Instant::now());
        let (mut timer, mut is_over) = (None, false);
        Ok(Items::poll_fn(move |cx| {
            for _ in 0..BUDGET {
                if let Some(window) = cutter.pop() {
                    return Poll::Ready(Some(window));
                }
                if is_over {
                    return Poll::Ready(None);
                }
                match feed.poll_next(cx) {
                    Poll::Ready(Some(item)) => cutter.push(base.elapsed(), item),
                    Poll::Ready(None) => {
                        cutter.finish();
                        is_over = true;
                    }
                    Poll::Pending => {
                        let Some(due) = cutter.due() else { return Poll::Pending };
                        let sleep = match &mut timer {
                            Some((known, sleep)) if *known == due => sleep,
                            _ => &mut timer.insert((due, Box::pin(sleep_until(base + due)))).1,
                        };
                        std::task::ready!(sleep.as_mut().poll(cx));
                        cutter.tick(base.elapsed().max(due));
                    }
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }))
    }
}

/// Cuts a `C` into windows: a stage made by [`Windows::of`].
pub struct WindowsStage<T, C> {
    windows: Windows<T>,
    collection: PhantomData<fn(C)>,
}

impl<T> Windows<T> {
    /// These windows over a `C`, as a stage for [`Builder::stage`].
    pub fn of<C: WindowSource<T>>(self) -> WindowsStage<T, C> {
        WindowsStage { windows: self, collection: PhantomData }
    }
}

impl<T: Any + Send + Sync, C: WindowSource<T>> Stage for WindowsStage<T, C> {
    type Input = C::Wire;
    type Output = C::Windows;

    async fn run(&self, _ctx: &StageContext, input: C::Wire) -> StageResult<C::Windows> {
        C::cut(input, &self.windows)
    }
}

/// Adds windows to pipelines.
pub trait WindowsExt<I> {
    /// Adds a stage that cuts a collection into windows, as soon as [`over`](WindowsOver::over) says which. A map can go over its
    /// output.
    ///
    /// ```
    /// use stageflow_core::{Owned, StageContext, StageResult, stage_fn};
    /// use stageflow_dag::Pipeline;
    /// use stageflow_plus::{batch::{Window, Windows, WindowsExt}, fan_out::MapExt};
    ///
    /// async fn embed(_: StageContext, Owned(page): Owned<Window<String>>) -> StageResult<usize> { Ok(page.len()) }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut p = Pipeline::builder("index");
    /// let rows = p.input();
    /// let pages = p.windows("pages", Windows::builder().size(100).build()?).over(rows);
    /// let sizes = p.map("embed", stage_fn(embed)).over(pages);
    /// let index: Pipeline<Vec<String>, Vec<usize>> = p.build(sizes)?;
    /// # Ok(())
    /// # }
    /// ```
    fn windows<T>(&mut self, name: impl Into<String>, windows: Windows<T>) -> WindowsOver<'_, I, T>;
}

impl<I> WindowsExt<I> for Builder<I> {
    fn windows<T>(&mut self, name: impl Into<String>, windows: Windows<T>) -> WindowsOver<'_, I, T> {
        WindowsOver { builder: self, name: name.into(), windows }
    }
}

/// Windows that have a name and wait for their collection: made by [`WindowsExt::windows`].
#[must_use = "windows join the pipeline when it is said over what"]
pub struct WindowsOver<'b, I, T> {
    builder: &'b mut Builder<I>,
    name: String,
    windows: Windows<T>,
}

impl<I, T: Any + Send + Sync> WindowsOver<'_, I, T> {
    /// Says what the windows are over, adds them to the pipeline, and gives their port.
    #[track_caller]
    pub fn over<C: WindowSource<T>>(self, collection: Port<C>) -> Port<C::Windows>
    where
        Port<C>: Wire<C::Wire>,
    {
        self.builder.stage(self.name, self.windows.of::<C>()).inputs(collection)
    }
}

impl<I, T> fmt::Debug for WindowsOver<'_, I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowsOver").field("name", &self.name).field("windows", &self.windows).finish()
    }
}

impl<T, C> fmt::Debug for WindowsStage<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.windows.fmt(f)
    }
}
