//! Proof of the policies (rules S-21 … S-25): statistics of jitter, limits on real threads, and checks that are known to find what
//! they look for.

mod closed;
mod contract;
mod half_open;
mod herd;
mod jitter;
mod leaving;
mod limits;
mod stats;
