//! Wide events on their own.
