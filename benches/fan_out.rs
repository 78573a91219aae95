//! Ways to call something for each of many items, so many at a time: ours, and those of futures.

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream};
use stageflow::{
    Owned, Pipeline, PipelineExt as _, StageContext, StageResult,
    plus::fan_out::{FanOutLimiter, Items, MapExt as _},
    stage_fn,
};

/// What an item does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Noop,
    /// Goes on at its second poll.
    Yields,
}

impl Body {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Noop, Self::Yields];

    /// What the item does, as words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noop => "that do nothing",
            Self::Yields => "that yield once",
        }
    }

    async fn run(self, number: u64) -> u64 {
        if self == Self::Yields {
            tokio::task::yield_now().await;
        }
        number + 1
    }
}

/// A way to do it. Each gives all outputs as a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `futures`, in the order in which they end.
    BufferUnordered,
    /// `futures`, in the order of the items.
    Buffered,
    /// `FanOutLimiter::map`.
    Limiter,
    /// A map in a pipeline, with a run of its own each time.
    Map,
    /// The same under a limiter that others may share.
    MapLimiter,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::BufferUnordered, Self::Buffered, Self::Limiter, Self::Map, Self::MapLimiter];

    /// The way as words.
    pub fn name(self) -> &'static str {
        match self {
            Self::BufferUnordered => "futures buffer_unordered",
            Self::Buffered => "futures buffered",
            Self::Limiter => "FanOutLimiter::map",
            Self::Map => "map stage",
            Self::MapLimiter => "map stage under a limiter",
        }
    }

    /// Does it for `items` items, `limit` at a time.
    ///
    /// # Errors
    ///
    /// An output is not what it should be.
    pub async fn run(self, body: Body, items: u64, limit: usize) -> Result<()> {
        let each = move |number| body.run(number);
        let outputs = match self {
            Self::BufferUnordered => {
                stream::iter(0..items).map(each).buffer_unordered(limit).collect::<Vec<_>>().await
            }
            Self::Buffered => stream::iter(0..items).map(each).buffered(limit).collect().await,
            Self::Limiter => {
                let limiter = FanOutLimiter::builder("bench").limit(limit).build()?;
                limiter.map(0..items, each).await?
            }
            Self::Map | Self::MapLimiter => {
                let pipeline = pipeline(self, body, limit)?;
                let run = pipeline.run(Items::new(0..items)).await.context("the run completes")?;
                return check(&run.into_output(), items, true);
            }
        };
        check(&outputs, items, self != Self::BufferUnordered)
    }
}

fn check(outputs: &[u64], items: u64, is_ordered: bool) -> Result<()> {
    ensure!(outputs.len() as u64 == items, "{} outputs of {items} items", outputs.len());
    ensure!(outputs.iter().sum::<u64>() == items * (items + 1) / 2, "the outputs are not those of the items");
    let in_order = !is_ordered || outputs.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    ensure!(in_order, "the order is not that of the items");
    Ok(())
}

fn pipeline(way: Way, body: Body, limit: usize) -> Result<Pipeline<Items<u64>, Vec<u64>>> {
    let stage = stage_fn(move |_: StageContext, Owned(number): Owned<u64>| async move {
        StageResult::Ok(body.run(number).await)
    });
    let mut p = Pipeline::builder("bench");
    let items = p.input();
    let map = p.map("each", stage);
    let map = match way {
        Way::MapLimiter => map.limiter(&FanOutLimiter::builder("bench").limit(limit).build()?),
        _ => map.max_in_flight(limit),
    };
    let outputs = map.over(items);
    Ok(p.build(outputs)?)
}
