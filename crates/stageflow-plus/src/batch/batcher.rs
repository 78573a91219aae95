//! [`Batcher`]: one call for the items of many runs.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use stageflow_core::{
    FieldValue, Owned, Stage, StageContext, StageResult, TenantId, WaitReason, time::nanos,
};
use tokio::time::{Sleep, sleep};

use super::{
    Batch,
    builder::BatcherBuilder,
    error::BatchRefused,
    flight::Dispatched,
    hub::{Found, Hub},
    queue::Key,
};

/// Gathers the items of many callers, in whatever run they are, and has one call answer them all: for models and services that
/// like batches.
///
/// As a stage it takes an `Owned<I>` and gives an `O`; [`call`](Self::call) is the same for code outside of pipelines. Clones share
/// everything.
///
/// # Guarantees
///
/// - A batch has the items of one tenant, unless the batcher was built with
///   [`across_tenants`](BatcherBuilder::across_tenants). Tenants whose batches have to wait take turns, one batch each.
/// - No batch has more items than `max_size`, nor more weight than `max_weight` but for a single item that is heavier.
/// - No item waits for others for longer than `max_wait`, or half of the time its stage can spare, if that is less.
/// - Each item is given to the handler at most once, and its answer to its own caller.
/// - Whoever stops to wait takes their item along, unless the call has begun; nobody else notices.
/// - A call that fails, panics, hangs or gives a wrong number of answers is a failure of its own callers alone.
/// - There is no task of its own: one of the callers carries the call, and another goes on with it if that one leaves. With its last
///   caller the call is dropped.
///
/// # Limits
///
/// The call advances while the one who carries it is polled: a future of [`call`](Self::call) is to be awaited or dropped, and not to
/// be kept aside. A stage that waits for its batch holds its permits under the engine's limits.
///
/// # Events
///
/// `batch.dispatched` (`batcher`, `size`, `weight`, `because`, `waited_ns`) in each stage whose item goes with the batch, and
/// `batch.refused` (`batcher`, `reason`).
///
/// ```
/// use stageflow_core::{DurationExt, StageResult};
/// use stageflow_plus::batch::{Batch, Batcher};
///
/// async fn lengths(texts: Batch<String>) -> StageResult<Vec<StageResult<usize>>> {
///     Ok(texts.iter().map(|text| Ok(text.len())).collect()) // one request for all
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let embed = Batcher::builder("embed", lengths).max_size(2).max_wait(5.millis()).build()?;
///
/// let (one, two) = tokio::join!(embed.call("one".to_owned()), embed.call("three".to_owned()));
/// assert_eq!((one.ok(), two.ok()), (Some(3), Some(5)));
/// assert_eq!(embed.stats().batches, 1);
/// # Ok(())
/// # }
/// ```
pub struct Batcher<I, O>(pub(super) Arc<Hub<I, O>>);

impl<I, O> Batcher<I, O> {
    /// A batcher before the dependency `name`, to be furnished: `handler` answers all items of a batch, with an answer for each, in
    /// their order.
    pub fn builder<Fut>(
        name: impl Into<Arc<str>>,
        handler: impl Fn(Batch<I>) -> Fut + Send + Sync + 'static,
    ) -> BatcherBuilder<I, O>
    where
        Fut: Future<Output = StageResult<Vec<StageResult<O>>>> + Send + 'static,
    {
        BatcherBuilder::new(name.into(), Box::new(move |batch| Box::pin(handler(batch))))
    }
}

/// How a [`Batcher`] stands, as of one moment: `offered = refused + left + answered + queued + flying`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatcherStats {
    /// Items that wait for their batch.
    pub queued: usize,
    /// Tenants with such items.
    pub tenants: usize,
    /// Batches that are being called.
    pub in_flight: usize,
    /// Items whose batch is being called, and whose callers wait.
    pub flying: u64,
    /// Items that came, so far.
    pub offered: u64,
    /// Items that were refused.
    pub refused: u64,
    /// Items whose callers stopped to wait.
    pub left: u64,
    /// Items that were answered.
    pub answered: u64,
    /// Batches so far.
    pub batches: u64,
}

impl<I, O> Batcher<I, O> {
    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it stands.
    pub fn stats(&self) -> BatcherStats {
        self.0.look(|queues, counts| BatcherStats {
            queued: queues.queued(),
            tenants: queues.tenants(),
            in_flight: queues.in_flight(),
            flying: counts.offered - counts.refused - counts.left - counts.answered - queues.queued() as u64,
            offered: counts.offered,
            refused: counts.refused,
            left: counts.left,
            answered: counts.answered,
            batches: counts.batches,
        })
    }

    /// Takes no more items from now on, and has those that wait go at once.
    pub fn close(&self) {
        self.0.close();
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// The answer for one item, without a tenant.
    ///
    /// # Errors
    ///
    /// What the handler says about this item or the whole batch, and `BATCH_REFUSED`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the item out of its batch, unless the call has begun; the other items are not affected.
    pub async fn call(&self, item: I) -> StageResult<O> {
        self.answer(None, item).await
    }

    /// The answer for one item of a tenant.
    ///
    /// # Errors
    ///
    /// What the handler says about this item or the whole batch, and `BATCH_REFUSED`.
    ///
    /// # Cancel safety
    ///
    /// As that of [`call`](Self::call).
    pub async fn call_for(&self, tenant: impl Into<TenantId>, item: I) -> StageResult<O> {
        self.answer(Some(tenant.into()), item).await
    }

    async fn answer(&self, tenant: Key, item: I) -> StageResult<O> {
        let mut waits =
            Waits::enter(&self.0, tenant, item, Duration::MAX).map_err(BatchRefused::into_exit)?;
        waits.dispatched().await;
        waits.answered().await
    }
}

impl<I, O> Stage for Batcher<I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    type Input = Owned<I>;
    type Output = O;

    async fn run(&self, ctx: &StageContext, Owned(item): Owned<I>) -> StageResult<O> {
        let hub = &self.0;
        let tenant = ctx.identity().tenant_id().cloned();
        let patience = ctx.slack().map_or(Duration::MAX, |slack| slack / 2);
        let mut waits = Waits::enter(hub, tenant, item, patience).map_err(|refused| {
            let fields = [("batcher", refused.batcher()), ("reason", refused.by().as_str())];
            ctx.emit("batch.refused", fields);
            refused.into_exit()
        })?;
        let reason = |is_called| WaitReason::Batch { batcher: (*hub.name).to_owned(), is_called };
        let waiting = ctx.waiting(reason(false));
        let facts = waits.dispatched().await;
        drop(waiting);
        let fields = [
            ("batcher", FieldValue::from(&*hub.name)),
            ("size", facts.size.into()),
            ("weight", facts.weight.into()),
            ("because", facts.by.as_str().into()),
            ("waited_ns", nanos(facts.waited).into()),
        ];
        ctx.emit("batch.dispatched", fields);
        let _waiting = ctx.waiting(reason(true));
        waits.answered().await
    }
}

/// One who waits, until they are dropped.
struct Waits<I, O> {
    hub: Arc<Hub<I, O>>,
    key: Key,
    ticket: u64,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_ripe: bool,
    early: Option<StageResult<O>>,
}

impl<I: Send + 'static, O: Send + 'static> Waits<I, O> {
    fn enter(hub: &Arc<Hub<I, O>>, tenant: Key, item: I, patience: Duration) -> Result<Self, BatchRefused> {
        let key = tenant.filter(|_| !hub.across_tenants);
        let ticket = hub.enter(&key, item, patience).map_err(|by| BatchRefused::new(&hub.name, by))?;
        let patience = patience.min(Duration::from_nanos(hub.rules.max_wait));
        let hub = Arc::clone(hub);
        Ok(Self { hub, key, ticket, patience, timer: None, is_ripe: false, early: None })
    }

    /// Waits until its batch goes.
    async fn dispatched(&mut self) -> Dispatched {
        poll_fn(|cx| {
            loop {
                match self.hub.look_at(self.ticket, cx.waker()) {
                    Found::Flying(flight) => return Poll::Ready(flight.facts),
                    Found::Answered(facts, answer) => {
                        self.early = Some(answer);
                        return Poll::Ready(facts);
                    }
                    // Nobody takes a seat away but its owner.
                    Found::Queued | Found::Gone if self.is_ripe => return Poll::Pending,
                    Found::Queued | Found::Gone => {}
                }
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.patience)));
                std::task::ready!(Future::poll(timer.as_mut(), cx));
                // If others are in the way, whoever makes room sees that it is ripe.
                self.is_ripe = true;
                self.hub.ripen(&self.key);
            }
        })
        .await
    }

    /// Carries the call, if it is its turn to, and waits for the answer.
    async fn answered(&mut self) -> StageResult<O> {
        poll_fn(|cx| {
            if let Some(answer) = self.early.take() {
                return Poll::Ready(answer);
            }
            loop {
                match self.hub.look_at(self.ticket, cx.waker()) {
                    Found::Answered(_, answer) => return Poll::Ready(answer),
                    Found::Flying(flight) if flight.leader() == self.ticket => {
                        if flight.carry(&self.hub).is_pending() {
                            return Poll::Pending;
                        }
                    }
                    _ => return Poll::Pending,
                }
            }
        })
        .await
    }
}

impl<I, O> Drop for Waits<I, O> {
    fn drop(&mut self) {
        self.hub.leave(self.ticket);
    }
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I, O> fmt::Debug for Batcher<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("name", &self.name()).field("stats", &self.stats()).finish()
    }
}
