//! What a store of answers has to do.

use std::{borrow::Cow, error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    code::Code,
    durable::Encoded,
    exit::{BoxError, ErrorClass, FailSpec, StageExit},
    value::Value,
};

use super::{Fingerprint, StoreKey};

/// What a store is doing.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// Completes when it is worth asking again: at the end of the call that is waited for, or of its lease, or simply after a while.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keeps answers by key, and who is about to give one.
///
/// # Contract
///
/// - [`begin`](Self::begin) is atomic: of all calls that ask for a key at most one is told to be the first until it completes, abandons
///   or its lease ends. Another fingerprint than the one that the key has is a mismatch, in flight as well.
/// - A lease that has ended changes nothing any more.
///
/// A store elsewhere [keeps bytes](Self::keeps_bytes): it is given [`Answer::Encoded`] in place of [`Answer::Output`], by the codec that the
/// stage has, and gives it back. Its waits may be delays.
pub trait IdempotencyStore: Send + Sync + 'static {
    /// A call asks whether to be made.
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin>;

    /// The first call has an answer. Gives whether its lease still held, and so whether the answer was stored.
    fn complete<'a>(&'a self, key: &'a StoreKey, lease: Lease, answer: Answer) -> StoreFuture<'a, bool>;

    /// The first call has none, and never will. It is called where nothing can wait, from `Drop`: a store that has to wait does so in
    /// a task of its own, or lets the lease end.
    fn abandon(&self, key: &StoreKey, lease: Lease);

    /// Whether it keeps outputs as bytes. A stage without a codec is not called then: its answer could not be kept.
    fn keeps_bytes(&self) -> bool {
        false
    }

    /// The time of its leases, if it is always the same: for listings, and for the lint.
    fn lease_time(&self) -> Option<Duration> {
        None
    }

    /// How long it keeps answers, if that is always the same: for listings.
    fn kept_for(&self) -> Option<Duration> {
        None
    }
}

/// What a call is told that asked for a key.
pub enum Begin {
    /// It is the first.
    First(Lease),
    /// It was made before.
    Done(Answer),
    /// Another is being made.
    InFlight(Wait),
    /// The key belongs to other inputs.
    Mismatch,
}

impl fmt::Debug for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(lease) => f.debug_tuple("First").field(lease).finish(),
            Self::Done(answer) => f.debug_tuple("Done").field(answer).finish(),
            Self::InFlight(_) => f.write_str("InFlight(..)"),
            Self::Mismatch => f.write_str("Mismatch"),
        }
    }
}

/// The right to give the answer of a key, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    id: u64,
    time: Duration,
}

impl Lease {
    /// A lease with a number that tells it from all others of its key, for some time from when it was asked for.
    pub fn new(id: u64, time: Duration) -> Self {
        Self { id, time }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// For how long it was given.
    pub fn time(&self) -> Duration {
        self.time
    }
}

/// How a call has ended.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With an output.
    Output(Value),
    /// With an output, as bytes.
    Encoded(Encoded),
    /// With a failure.
    Failure(StoredFailure),
}

impl Answer {
    /// Whether it is a failure.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failure(_))
    }
}

/// What is kept of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFailure {
    code: Code,
    class: ErrorClass,
    message: Arc<str>,
    hint: Option<Cow<'static, str>>,
}

impl StoredFailure {
    /// A failure with a code, a class and a message.
    pub fn new(code: Code, class: ErrorClass, message: impl Into<Arc<str>>) -> Self {
        Self { code, class, message: message.into(), hint: None }
    }

    #[doc(hidden)]
    pub fn of(spec: &FailSpec) -> Self {
        let failure = Self::new(spec.code, spec.class, spec.error.to_string());
        Self { hint: spec.hint.clone(), ..failure }
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Its class.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// What the error said.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What usually helps, if it says so itself.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// With what usually helps.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// How the repeated call leaves.
    pub fn into_exit(mut self) -> StageExit {
        let hint = self.hint.take();
        let exit = StageExit::failure(self.code, self.class, Box::new(self));
        match hint {
            Some(hint) => exit.hint(hint),
            None => exit,
        }
    }
}

impl fmt::Display for StoredFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StoredFailure {}
