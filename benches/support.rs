//! Shapes and measuring.
