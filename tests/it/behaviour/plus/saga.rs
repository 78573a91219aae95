//! Ready-made stages: compensation.
