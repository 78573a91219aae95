//! Why a call was refused.

use std::{error::Error, fmt, time::Duration};

use stageflow_core::{BoxError, ErrorClass, StageExit, code, durable::CodecError, time::Human};

/// A call was not made, or not to its end, for the sake of its idempotency key.
#[derive(Debug)]
#[non_exhaustive]
pub enum IdempotencyError {
    /// The key belongs to other inputs: permanent, with the code `IDEMPOTENCY_MISMATCH`.
    Mismatch,
    /// The run has no key, or an empty one: invalid.
    NoKey,
    /// The fingerprint function did not find the inputs it looked for: permanent.
    NoFingerprint,
    /// The store has failed: transient.
    Store(BoxError),
    /// The store keeps bytes, and the output of the stage has no codec: permanent, with the code `NOT_STORABLE`.
    NotStorable,
    /// What the store has kept is not what this code reads: permanent, with the code `NOT_READABLE`.
    NotReadable(CodecError),
    /// The call took longer than its lease: a timeout.
    LeaseEnded {
        /// How long that was.
        lease: Duration,
    },
}

impl IdempotencyError {
    /// How a stage leaves for this reason.
    pub fn into_exit(self) -> StageExit {
        let (code, class, hint) = match self {
            Self::Mismatch => (code::IDEMPOTENCY_MISMATCH, ErrorClass::Permanent, None),
            Self::NoKey => {
                let hint = "give the run a key: `.extension(IdempotencyKey::new(…))`";
                (code::INVALID_INPUT, ErrorClass::Invalid, Some(hint))
            }
            Self::NoFingerprint => {
                let hint = "ask for the types that the stage takes, in the order of its ports";
                (code::STAGE_FAILED, ErrorClass::Permanent, Some(hint))
            }
            Self::NotStorable => (code::NOT_STORABLE, ErrorClass::Permanent, None),
            Self::NotReadable(_) => (code::NOT_READABLE, ErrorClass::Permanent, None),
            Self::Store(_) => (code::STAGE_FAILED, ErrorClass::Transient, None),
            Self::LeaseEnded { .. } => {
                let hint = "have the store give longer leases, or make the stage faster";
                (code::STAGE_TIMEOUT, ErrorClass::Timeout, Some(hint))
            }
        };
        let exit = StageExit::failure(code, class, Box::new(self));
        match hint {
            Some(hint) => exit.hint(hint),
            None => exit,
        }
    }
}

impl fmt::Display for IdempotencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch => f.write_str("the idempotency key was used before, with other inputs"),
            Self::NoKey => f.write_str("the run has no idempotency key"),
            Self::NoFingerprint => f.write_str("the inputs are not those that the fingerprint is made of"),
            Self::Store(error) => {
                write!(f, "the idempotency store failed, and so the call was not made: {error}")
            }
            Self::NotStorable => f.write_str(
                "the idempotency store is outside of the process, and the output of the stage has no codec: the call was not made",
            ),
            Self::NotReadable(error) => write!(f, "the stored answer cannot be read: {error}"),
            Self::LeaseEnded { lease } => {
                write!(f, "the call took longer than the lease of its idempotency key, {}", Human(*lease))
            }
        }
    }
}

impl Error for IdempotencyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // This level already says what the store's error says.
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}
