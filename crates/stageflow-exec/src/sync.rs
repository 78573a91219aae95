//! The synchronisation primitives of the protocols: replaced as a whole when a model checker runs them.

pub(crate) use std::{
    hint::spin_loop,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
};
