//! Ready-made stages: pipelines as data.
