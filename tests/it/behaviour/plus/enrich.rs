//! Ready-made stages: accounts of context windows.
