//! What goes on only when it is allowed.
