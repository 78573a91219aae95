//! Ready-made stages: stages that are tried again.
