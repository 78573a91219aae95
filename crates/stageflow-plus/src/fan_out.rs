//! A stage for each item of a collection or a stream, with limits: [`MapExt::map`], [`Map`], [`FanOutLimiter`].
//!
//! ```
//! use stageflow_core::{Owned, StageContext, StageResult, stage_fn};
//! use stageflow_dag::{BuildError, Pipeline};
//! use stageflow_plus::fan_out::{Failures, MapExt, Mapped};
//!
//! async fn embed(_ctx: StageContext, Owned(chunk): Owned<String>) -> StageResult<usize> {
//!     Ok(chunk.len())
//! }
//!
//! fn index() -> Result<Pipeline<Vec<String>, Mapped<usize>>, BuildError> {
//!     let mut p = Pipeline::builder("index");
//!     let chunks = p.input();
//!     let vectors =
//!         p.map("embed", stage_fn(embed)).max_in_flight(16).tolerate(Failures::percent(2)).over(chunks);
//!     p.build(vectors)
//! }
//! # index()?;
//! # Ok::<_, BuildError>(())
//! ```

mod builder;
pub(crate) mod drive;
mod failures;
mod item;
mod items;
mod limiter;
mod map;
mod outcome;
mod pool;
mod retry;

pub use self::{
    builder::{MapBuilder, MapExt},
    failures::{Failures, OnExceeded},
    items::{Items, MapSource},
    limiter::{
        FanOutLimiter, FanOutLimiterBuilder, FanOutLimiterError, FanOutPermit, FanOutRefused, FanOutRequest,
        FanOutStats, Overflow, QueueOrder, RefusedBy,
    },
    map::{Map, MapFailed, MapStage},
    outcome::{ItemOutcome, MapSummary, Mapped},
    retry::ItemRetry,
};

/// How many there may be at a time where nobody says otherwise: for items that wait for something else than the processor.
const DEFAULT_LIMIT: usize = 64;
