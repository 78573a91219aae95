//! Ready-made stages: many stages from one call.
