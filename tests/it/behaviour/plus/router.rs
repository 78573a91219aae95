//! Ready-made stages: routers.
