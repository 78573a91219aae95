//! Other engines from the registry, each as its documentation says. Compiled with the feature `peers`.
//!
//! A graph that an engine uses up in a run is built anew for each, outside of the measured time.

#[cfg(feature = "peers")]
mod async_dag;
#[cfg(feature = "peers")]
mod dagrs;
#[cfg(feature = "peers")]
mod dagx;
#[cfg(feature = "peers")]
mod graph_flow;

#[cfg(feature = "peers")]
pub(crate) use self::{
    async_dag::prepare as async_dag, dagrs::prepare as dagrs, dagx::prepare as dagx,
    graph_flow::prepare as graph_flow,
};

#[cfg(not(feature = "peers"))]
pub(crate) use self::absent::{absent as async_dag, absent as dagrs, absent as dagx, absent as graph_flow};

#[cfg(not(feature = "peers"))]
mod absent {
    use stageflow_benches::{graph::Shape, work::Work};

    use crate::rows::Prepared;

    pub(crate) fn absent<W: Work>(_: Shape, _: &W) -> Result<Prepared, &'static str> {
        Err("built without the feature `peers`")
    }
}
