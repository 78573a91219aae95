//! One test for each assertion of `upstream-engine.md` §18.6 and §18.7 that is kept, fixed or decided, in running pipelines.
//!
//! Each bears its number, and that of the weakness of §22 (W7 … W18) where it is one. `keep_policies` says which are moot, and why.

mod breaker;
mod chain;
mod idempotency;
mod retry;
mod verdicts;
