//! A stage that is tried again wherever it is added.
