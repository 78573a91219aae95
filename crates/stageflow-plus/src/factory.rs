//! Many stages in one call: chains, diamonds, fan-ins, map-reduce, from code or from configuration.
//!
//! | form | |
//! |---|---|
//! | [`FactoryExt`] on a builder | `p.chain("step", 0..9, Step).inputs(port)`, a part of a pipeline |
//! | [`Fluent`] | `Fluent::pipeline("count").then("clean", Clean).parallel("shard", 0..8, Shard).reduce("sum", Sum).build()` |
//! | [`linear`], [`diamond`], [`fan_in`], [`map_reduce`] | a whole pipeline |
//! | [`ParallelPipelineFactory`] | stages as a [`ParallelConfig`] says, which may be read from a file |
//!
//! All of them call [`Builder::stage`](stageflow_dag::Builder::stage) and [`Builder::parallel`](stageflow_dag::Builder::parallel): the
//! pipeline is the one that would be written by hand, with the same names, edges, problems and lints. A stage is any stage or
//! pipeline, and one with settings where it is a [`configured`](stageflow_dag::configured) one. A factory is called once for each
//! index, in order.

mod config;
mod configured;
mod ext;
mod fluent;
mod whole;

pub use self::{
    config::{OneOf, ParallelConfig},
    configured::{FactoryError, ParallelPipelineFactory},
    ext::{ChainBuilder, DiamondBuilder, FactoryExt, FanInBuilder, MapReduceBuilder},
    fluent::Fluent,
    whole::{diamond, fan_in, linear, map_reduce},
};

#[cfg(test)]
mod tests;
