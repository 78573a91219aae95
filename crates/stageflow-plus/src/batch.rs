//! Many calls as one: items are gathered by number, size or time.
