//! `p.map("embed", Embed).max_in_flight(16).over(chunks)`.

use std::{fmt, time::Duration};

use stageflow_core::Stage;
use stageflow_dag::{Builder, IntoStage, Port, StageBuilder, Wire};

use super::{
    failures::{Failures, OnExceeded},
    items::MapSource,
    limiter::{FanOutLimiter, FanOutRequest},
    map::{Map, MapStage},
    outcome::{Outcomes, Outputs, Shape},
    retry::ItemRetry,
};

/// Adds maps to pipelines.
pub trait MapExt<I> {
    /// Adds a stage that calls `stage` for each item of a collection, as soon as [`over`](MapBuilder::over) says which.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// use stageflow_plus::fan_out::MapExt;
    ///
    /// # async fn fetch(_: StageContext, url: Arc<String>) -> StageResult<usize> { Ok(url.len()) }
    /// let mut p = Pipeline::builder("crawl");
    /// let urls = p.input();
    /// let sizes = p.map("fetch", stage_fn(fetch)).max_in_flight(8).over(urls);
    /// let crawl: Pipeline<Vec<String>, Vec<usize>> = p.build(sizes)?;
    /// # Ok::<_, BuildError>(())
    /// ```
    #[track_caller]
    fn map<S: IntoStage>(&mut self, name: impl Into<String>, stage: S) -> MapBuilder<'_, I, S::Stage>;
}

impl<I> MapExt<I> for Builder<I> {
    fn map<S: IntoStage>(&mut self, name: impl Into<String>, stage: S) -> MapBuilder<'_, I, S::Stage> {
        MapBuilder { builder: self, name: name.into(), map: Map::new(stage) }
    }
}

/// A map that has a name and waits for its collection: made by [`MapExt::map`].
#[must_use = "a map joins the pipeline when it is said over what"]
pub struct MapBuilder<'b, I, S: Stage, M = Outputs> {
    builder: &'b mut Builder<I>,
    name: String,
    map: Map<S, M>,
}

impl<'b, I, S: Stage> MapBuilder<'b, I, S> {
    /// How many items may fail: see [`Map::tolerate`]. The map gives a [`Mapped`](super::Mapped) then.
    pub fn tolerate(self, failures: Failures) -> MapBuilder<'b, I, S, Outcomes> {
        MapBuilder { builder: self.builder, name: self.name, map: self.map.tolerate(failures) }
    }
}

impl<'b, I, S: Stage, M> MapBuilder<'b, I, S, M> {
    fn with(mut self, with: impl FnOnce(Map<S, M>) -> Map<S, M>) -> Self {
        self.map = with(self.map);
        self
    }

    /// See [`Map::max_in_flight`].
    pub fn max_in_flight(self, items: usize) -> Self {
        self.with(|map| map.max_in_flight(items))
    }

    /// See [`Map::ramp_from`].
    pub fn ramp_from(self, items: usize) -> Self {
        self.with(|map| map.ramp_from(items))
    }

    /// See [`Map::limiter`].
    pub fn limiter(self, limiter: &FanOutLimiter) -> Self {
        self.with(|map| map.limiter(limiter))
    }

    /// See [`Map::request`].
    pub fn request(self, request: impl Fn(&S::Input) -> FanOutRequest + Send + Sync + 'static) -> Self {
        self.with(|map| map.request(request))
    }

    /// See [`Map::per_tenant`].
    pub fn per_tenant(self) -> Self {
        self.with(Map::per_tenant)
    }

    /// See [`Map::read_ahead`].
    pub fn read_ahead(self, items: usize) -> Self {
        self.with(|map| map.read_ahead(items))
    }

    /// See [`Map::on_exceeded`].
    pub fn on_exceeded(self, what: OnExceeded) -> Self {
        self.with(|map| map.on_exceeded(what))
    }

    /// See [`Map::retry_items`].
    pub fn retry_items(self, retry: ItemRetry) -> Self {
        self.with(|map| map.retry_items(retry))
    }

    /// See [`Map::item_timeout`].
    pub fn item_timeout(self, time: Duration) -> Self {
        self.with(|map| map.item_timeout(time))
    }
}

impl<'b, I, S: Stage<Input: Clone>, M: Shape> MapBuilder<'b, I, S, M> {
    /// Says what the map is over, adds it to the pipeline, and gives the port of its results: of a `Vec` of all outputs, or of a
    /// [`Mapped`](super::Mapped) where failures are tolerated.
    #[track_caller]
    pub fn over<C>(self, collection: Port<C>) -> Port<M::Output<S::Output>>
    where
        C: MapSource<S::Input>,
        Port<C>: Wire<C::Wire>,
    {
        self.over_with(collection, |stage| stage)
    }

    /// The same, with settings of the stage that the map is: timeouts, retries of the whole map, conditions, interceptors.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{DurationExt, StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// # use stageflow_plus::fan_out::MapExt;
    /// # async fn fetch(_: StageContext, url: Arc<String>) -> StageResult<usize> { Ok(url.len()) }
    /// # let mut p = Pipeline::builder("crawl");
    /// # let urls = p.input();
    /// let sizes = p.map("fetch", stage_fn(fetch)).over_with(urls, |stage| stage.timeout(30.secs()));
    /// # let crawl: Pipeline<Vec<String>, Vec<usize>> = p.build(sizes)?;
    /// # Ok::<_, BuildError>(())
    /// ```
    #[track_caller]
    pub fn over_with<C>(
        self,
        collection: Port<C>,
        settings: impl FnOnce(StageBuilder<'b, I, MapStage<S, C, M>>) -> StageBuilder<'b, I, MapStage<S, C, M>>,
    ) -> Port<M::Output<S::Output>>
    where
        C: MapSource<S::Input>,
        Port<C>: Wire<C::Wire>,
    {
        settings(self.builder.stage(self.name, self.map.of::<C>())).inputs(collection)
    }
}

impl<I, S: Stage, M> fmt::Debug for MapBuilder<'_, I, S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapBuilder").field("name", &self.name).field("map", &self.map).finish()
    }
}
