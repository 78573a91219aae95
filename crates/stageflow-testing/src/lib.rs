//! Testing pipelines: what a test of a pipeline needs, and nothing that a production build should have.
