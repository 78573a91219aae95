//! Tests of pipelines from data.
