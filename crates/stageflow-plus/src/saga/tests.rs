//! Sagas against an oracle in running pipelines, and what is particular about their steps.

mod oracle;
mod steps;
