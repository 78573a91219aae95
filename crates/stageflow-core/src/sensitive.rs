//! [`Sensitive`]: what is in memory and in the journal, and nowhere else.

use std::{cell::Cell, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands in place of a sensitive value.
pub const REDACTED: &str = "[redacted]";

thread_local! {
    static EXPOSED: Cell<bool> = const { Cell::new(false) };
}

/// A value that is for the stages, and for the journal from which a run resumes: printed, logged or serialised anywhere else it is
/// `[redacted]`.
///
/// ```
/// use serde::Serialize;
/// use stageflow_core::{Sensitive, durable::Codec};
///
/// let card = Sensitive::new("4111 1111 1111 1111".to_owned());
/// assert_eq!(format!("{card:?} {card}"), "[redacted] [redacted]");
/// assert_eq!(serde_json::to_string(&card)?, r#""[redacted]""#);
/// assert_eq!(card.expose(), "4111 1111 1111 1111");
///
/// let codec = Codec::<Sensitive<String>>::json();
/// assert_eq!(codec.decode(&codec.encode(&card)?)?, card);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Marks a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. Where it goes from here is up to the caller.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value, without its mark.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(REDACTED)
    }
}

impl<T: Serialize> Serialize for Sensitive<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if EXPOSED.get() { self.0.serialize(serializer) } else { serializer.serialize_str(REDACTED) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sensitive<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// Whether what is written on this thread is for a journal.
pub(crate) fn is_exposed() -> bool {
    EXPOSED.get()
}

/// Serialises sensitive values as they are, while `write` runs on this thread.
pub(crate) fn exposed<R>(write: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            EXPOSED.set(self.0);
        }
    }
    let _before = Before(EXPOSED.replace(true));
    write()
}
