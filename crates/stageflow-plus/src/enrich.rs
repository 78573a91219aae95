//! Accounts of context windows: what was used, what was cut off, what contradicts, which version.
