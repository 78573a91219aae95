//! Proof: the rules of the executor (S-4 … S-19) under random graphs, faults at every point, and load.

mod blocked;
