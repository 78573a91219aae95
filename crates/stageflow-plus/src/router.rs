//! Choosing a route, and saying why.
