//! Ready-made stages: guards.
