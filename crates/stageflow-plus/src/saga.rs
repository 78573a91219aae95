//! Steps that are undone in reverse order when a later one fails.
