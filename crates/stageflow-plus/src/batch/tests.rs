//! Windows and queues against what they are defined as, and batchers without pipelines.

mod calls;
mod queue;
mod windows;
