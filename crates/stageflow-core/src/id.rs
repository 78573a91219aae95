//! Identities: each one a type of its own, so that one cannot be passed for another.

use std::{fmt, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Randomness;

/// The identity of one run of a pipeline: a version 7 UUID (RFC 9562), so that ids sort by time.
///
/// ```
/// use stageflow_core::RunId;
/// let id = RunId::new();
/// assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// A new id from the wall clock and the thread's random source.
    #[expect(clippy::new_without_default, reason = "each call gives another id")]
    pub fn new() -> Self {
        Self::from_parts(crate::time::wall_now(), &crate::time::ThreadRandom)
    }

    /// A new id from the given time and randomness: the same ones give the same id.
    pub fn from_parts(now: SystemTime, random: &dyn Randomness) -> Self {
        let millis = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&random.next_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&random.next_u64().to_le_bytes()[..2]);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
    }

    /// The id of 16 bytes, as [`as_bytes`](Self::as_bytes) gave them.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidId { what: "run id" })
    }
}

/// A text is not an id of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}")]
pub struct InvalidId {
    what: &'static str,
}

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(text: T) -> Self {
                Self(text.into())
            }
        }
    )*};
}

text_id! {
    /// Who pays and who must not see whom: part of every key that outlives a run.
    TenantId,
    /// The end user on whose behalf a run happens.
    UserId,
    /// A conversation or login that spans several requests.
    SessionId,
    /// The request that started the run.
    RequestId,
    /// One exchange within a session.
    InteractionId,
    /// Ties together everything that one outside cause set in motion, child runs included.
    CorrelationId,
}
