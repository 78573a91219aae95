//! A stage for each item of a collection or a stream, with limits.
