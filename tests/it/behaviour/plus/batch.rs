//! Ready-made stages: batches across runs.
