//! Ready-made stages: a stage for each item.
