//! [`Map`]: a stage for each item of a collection.

mod failed;
mod tally;

use std::{fmt, future::poll_fn, marker::PhantomData, sync::Arc, time::Duration};

use stageflow_core::{
    Stage, StageContext, StageKind, StageResult, TenantId, WaitReason, context::Waiting, stage::StageRole,
};
use stageflow_dag::IntoStage;

pub use self::failed::MapFailed;

use self::tally::Tally;
use super::{
    DEFAULT_LIMIT,
    drive::{Drive, Lane, Standing},
    failures::{Failures, OnExceeded},
    item::{self, Given, Rules},
    items::MapSource,
    limiter::{FanOutLimiter, FanOutRequest},
    outcome::{Outcomes, Outputs, Shape},
    retry::ItemRetry,
};

type Request<In> = Arc<dyn Fn(&In) -> FanOutRequest + Send + Sync>;

/// A stage for each item of a collection: what [`MapExt::map`](super::MapExt::map) adds to a pipeline.
///
/// # Guarantees
///
/// - Items are taken from the collection as there is room for them: beside the collection and the results, memory is proportional
///   to the limits, and not to the number of items.
/// - Results are in the order of the input, whatever the order in which they came.
/// - Never do more run than `max_in_flight`, and none runs without a permit where there is a limiter.
/// - A panic of an item is a failure of that item, with the code `PANIC`.
/// - When the run is cancelled, or the map's time is up, all items are dropped where they are, and their permits are given back.
///
/// # How items leave
///
/// | the item's stage returns | then |
/// |---|---|
/// | an output | it is in its place among the results |
/// | [`StageExit::skip`](stageflow_core::StageExit::skip) | it is left out of a `Vec`, and `Skipped` among outcomes |
/// | a failure | it counts against what is [tolerated](Map::tolerate) |
/// | [`StageExit::retry`](stageflow_core::StageExit::retry) | it is tried again if [`retry_items`](Map::retry_items) grants it, and fails otherwise |
/// | [`StageExit::cancel`](stageflow_core::StageExit::cancel) | the whole run is cancelled |
/// | [`StageExit::deny`](stageflow_core::StageExit::deny) | the whole run is denied |
///
/// # Limits
///
/// Items share the attempt of their stage: they run at the same time, but on one worker, as what `join!` awaits does. Work that keeps
/// a processor busy belongs on threads (`stageflow::blocking`), or into pipelines. Each item is called with the context of the map.
///
/// ```
/// use stageflow_core::{Owned, StageContext, StageResult, stage_fn};
/// use stageflow_dag::{BuildError, Pipeline};
/// use stageflow_plus::fan_out::Map;
///
/// async fn square(_ctx: StageContext, Owned(n): Owned<u64>) -> StageResult<u64> {
///     Ok(n * n)
/// }
///
/// let mut p = Pipeline::builder("squares");
/// let numbers = p.input();
/// let squares = Map::new(stage_fn(square)).max_in_flight(8).of::<Vec<u64>>();
/// let squares = p.stage("square", squares).inputs(numbers);
/// let pipeline: Pipeline<Vec<u64>, Vec<u64>> = p.build(squares)?;
/// # Ok::<_, BuildError>(())
/// ```
#[must_use = "a map is added to a pipeline"]
pub struct Map<S: Stage, M = Outputs> {
    stage: S,
    max_in_flight: Option<usize>,
    ramp_from: Option<usize>,
    limiter: Option<FanOutLimiter>,
    read_ahead: Option<usize>,
    request: Option<Request<S::Input>>,
    per_tenant: bool,
    failures: Failures,
    on_exceeded: OnExceeded,
    rules: Rules,
    shape: PhantomData<fn() -> M>,
}

impl<S: Stage> Map<S> {
    /// Calls `stage` for each item: a stage that takes an `Owned<T>` or an `Arc<T>`, or a pipeline.
    pub fn new(stage: impl IntoStage<Stage = S>) -> Self {
        Self {
            stage: stage.into_stage(),
            max_in_flight: None,
            ramp_from: None,
            limiter: None,
            read_ahead: None,
            request: None,
            per_tenant: false,
            failures: Failures::none(),
            on_exceeded: OnExceeded::Cancel,
            rules: Rules::default(),
            shape: PhantomData,
        }
    }

    /// How many items may fail. The map gives a [`Mapped`](super::Mapped) then, with the outcome of each item, and fails with
    /// `TOO_MANY_FAILURES` when there are more. Without a call none may: the map gives a `Vec` of all outputs, and fails with the
    /// first failure.
    pub fn tolerate(self, failures: Failures) -> Map<S, Outcomes> {
        Map {
            stage: self.stage,
            max_in_flight: self.max_in_flight,
            ramp_from: self.ramp_from,
            limiter: self.limiter,
            read_ahead: self.read_ahead,
            request: self.request,
            per_tenant: self.per_tenant,
            failures,
            on_exceeded: self.on_exceeded,
            rules: self.rules,
            shape: PhantomData,
        }
    }
}

impl<S: Stage, M> Map<S, M> {
    /// How many items may run at a time, in each call of this stage; 64 unless set, and no limit of its own if there is a
    /// [`limiter`](Self::limiter). 0 counts as 1.
    pub fn max_in_flight(mut self, items: usize) -> Self {
        self.max_in_flight = Some(items.max(1));
        self
    }

    /// Begins with so many items at a time, and doubles that each time as many have ended.
    pub fn ramp_from(mut self, items: usize) -> Self {
        self.ramp_from = Some(items);
        self
    }

    /// A limiter whose permits the items need, one each unless [`request`](Self::request) says otherwise: for limits that several
    /// maps and runs share, and for limits that change.
    pub fn limiter(mut self, limiter: &FanOutLimiter) -> Self {
        self.limiter = Some(limiter.clone());
        self
    }

    /// What each item asks the limiter for: weight, keys, priority, deadline.
    pub fn request(mut self, request: impl Fn(&S::Input) -> FanOutRequest + Send + Sync + 'static) -> Self {
        self.request = Some(Arc::new(request));
        self
    }

    /// Adds the tenant of the run to the keys of each item. Runs without a tenant share the key of no name.
    pub fn per_tenant(mut self) -> Self {
        self.per_tenant = true;
        self
    }

    /// How many items are taken from the collection before there is a permit for them. One, unless items differ in what they ask for
    /// or the limiter's order is not that of arrival: then as many as may wait in the limiter's queue. Only with
    /// [`Overflow::Wait`](super::Overflow::Wait); the others read on, and let the queue decide. 0 counts as 1.
    pub fn read_ahead(mut self, items: usize) -> Self {
        self.read_ahead = Some(items.max(1));
        self
    }

    /// What becomes of the items in flight when more have failed than are tolerated; [`OnExceeded::Cancel`] unless set.
    pub fn on_exceeded(mut self, what: OnExceeded) -> Self {
        self.on_exceeded = what;
        self
    }

    /// Tries items again. While an item backs off, its permit is given back to the limiter, and it is first of its rank when it comes
    /// again; under `max_in_flight` it keeps its place.
    pub fn retry_items(mut self, retry: ItemRetry) -> Self {
        self.rules.retry = Some(retry);
        self
    }

    /// The time for one attempt of one item: then it fails with `ATTEMPT_TIMEOUT`, and may be tried again.
    pub fn item_timeout(mut self, time: Duration) -> Self {
        self.rules.timeout = Some(time);
        self
    }

    /// The map as a stage that takes a `C`, for [`Builder::stage`](stageflow_dag::Builder::stage).
    pub fn of<C: MapSource<S::Input>>(self) -> MapStage<S, C, M> {
        MapStage { map: self, collection: PhantomData }
    }
}

/// A [`Map`] over a `C`: made by [`Map::of`].
pub struct MapStage<S: Stage, C, M = Outputs> {
    map: Map<S, M>,
    collection: PhantomData<fn(C)>,
}

/// Events: `fan_out.item_failed` (`index`, `code`, `class`), `fan_out.refused` and `fan_out.dropped` (`index`, `reason`, `limiter`),
/// `fan_out.item_retried` (`index`, `attempt`, `delay_ms`, `code`), `fan_out.stopped` (`because`, `failed`), and at the end
/// `fan_out.finished` with the figures of [`MapSummary`](super::MapSummary).
impl<S, C, M> Stage for MapStage<S, C, M>
where
    S: Stage<Input: Clone>,
    C: MapSource<S::Input>,
    M: Shape,
{
    type Input = C::Wire;
    type Output = M::Output<S::Output>;
    const KIND: StageKind = S::KIND;

    async fn run(&self, ctx: &StageContext, input: C::Wire) -> StageResult<Self::Output> {
        let map = &self.map;
        let feed = C::feed(input)?;
        let total = feed.total;
        let tenant: Option<Arc<str>> =
            map.per_tenant.then(|| ctx.identity().tenant_id().map_or("", TenantId::as_str).into());
        let ranks = map.limiter.as_ref().is_some_and(FanOutLimiter::ranks);
        let underway = map.limiter.as_ref().map(|limiter| limiter.begin(ctx));
        let is_nested = underway.as_ref().is_some_and(|map| map.is_nested);
        let request = |item: &S::Input| {
            let request = map.request.as_ref().map_or_else(FanOutRequest::new, |request| request(item));
            let mut request = request.nested(is_nested);
            if ranks {
                request = request.or_priority(ctx.snapshot().priority()).or_due_in(ctx.remaining());
            }
            tenant.iter().fold(request, |request, tenant| request.key(Arc::clone(tenant)))
        };
        let lane = map.limiter.as_ref().map(|limiter| Lane {
            limiter: limiter.clone(),
            request: &request,
            read_ahead: map.read_ahead.unwrap_or_else(|| map.default_read_ahead(limiter)),
            within: || ctx.slack().unwrap_or(Duration::MAX),
            is_nested,
        });
        let limiter = map.limiter.as_ref();
        let given = Given { ctx, rules: map.rules, limiter, request: &request, is_nested };
        let mut tally = Tally::<S::Output, M>::new(ctx, total, map.failures, map.on_exceeded);
        let (standing, peak, aborted) = {
            let most = map.max_in_flight.unwrap_or(match &map.limiter {
                Some(_) => usize::MAX,
                None => DEFAULT_LIMIT,
            });
            let mut drive = Drive::new(
                feed,
                lane,
                (most, map.ramp_from),
                |index, item, permit| item::run(&map.stage, &given, index, item, permit),
                |index, end| tally.end(index, end),
            );
            let mut watch = Watch::new(ctx, total);
            poll_fn(|cx| {
                let polled = drive.poll(cx);
                watch.see(drive.standing(), polled.is_pending());
                polled
            })
            .await;
            (drive.standing(), drive.peak, drive.aborted)
        };
        tally.finish(standing.begun, peak, aborted)
    }

    fn role(&self) -> StageRole {
        self.map.stage.role()
    }

    fn child_plan(&self) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        self.map.stage.child_plan()
    }

    fn min_time(&self) -> Duration {
        self.map.stage.min_time()
    }
}

impl<S: Stage, M> Map<S, M> {
    fn default_read_ahead(&self, limiter: &FanOutLimiter) -> usize {
        let differ = self.request.is_some() || limiter.looks_ahead();
        if differ { limiter.max_queue().max(1) } else { 1 }
    }
}

/// Shows how a map stands: to `explain()`, and to the idle timeout.
struct Watch<'a> {
    ctx: &'a StageContext,
    total: Option<usize>,
    last: Option<Standing>,
    _waiting: Option<Waiting>,
}

impl<'a> Watch<'a> {
    fn new(ctx: &'a StageContext, total: Option<usize>) -> Self {
        Self { ctx, total, last: None, _waiting: None }
    }

    fn see(&mut self, now: Standing, is_pending: bool) {
        if self.last.is_none_or(|last| last.ended != now.ended) {
            self.ctx.progress();
        }
        if is_pending && self.last != Some(now) {
            let reason = WaitReason::Items {
                done: now.ended,
                total: self.total,
                running: now.running,
                queued: now.queued,
            };
            self._waiting = None;
            self._waiting = Some(self.ctx.waiting(reason));
        }
        self.last = Some(now);
    }
}

impl<S: Stage, M> fmt::Debug for Map<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("max_in_flight", &self.max_in_flight)
            .field("limiter", &self.limiter)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl<S: Stage, C, M> fmt::Debug for MapStage<S, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.map.fmt(f)
    }
}
