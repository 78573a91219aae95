//! How a value leaves the process and comes back.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{exit::BoxError, sensitive, text::panic_message, value::Value};

/// A value outside of its process.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoded {
    /// The version of the type that it was written with.
    pub version: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Encoded {
    /// Bytes of a version.
    pub fn new(version: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { version, bytes: bytes.into() }
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads are never printed: they may hold secrets.
        write!(f, "Encoded(version {}, {} bytes)", self.version, self.bytes.len())
    }
}

/// Brings the JSON of one version to that of the next.
type Upcast = dyn Fn(serde_json::Value) -> Result<serde_json::Value, BoxError> + Send + Sync;

/// How values of one type leave the process and come back: as JSON, under a version number.
///
/// # Versions
///
/// A codec writes its own [`version`](Self::version), 1 unless it is said. What an older version has written goes through the
/// [upcasters](Self::upcast), one version at a time, before it is read. Without the upcaster that it needs, and of what a newer version
/// has written, nothing is read: that is an error which names both versions.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use stageflow_core::{Value, durable::{Codec, Encoded}};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Profile { name: String, plan: String }
///
/// let codec = Codec::<Profile>::json().version(2).upcast(1, |mut old| {
///     old["plan"] = "free".into();
///     Ok(old)
/// });
/// let old = Encoded::new(1, br#"{"name":"Ada"}"#);
/// let profile = codec.decode(&old)?;
/// assert_eq!(profile, Profile { name: "Ada".into(), plan: "free".into() });
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Codec<T> {
    version: u32,
    upcasters: BTreeMap<u32, Arc<Upcast>>,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        Self { version: self.version, upcasters: self.upcasters.clone(), value: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Default for Codec<T> {
    fn default() -> Self {
        Self::json()
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    /// Version 1 of a type, as JSON.
    #[must_use]
    pub fn json() -> Self {
        Self { version: 1, upcasters: BTreeMap::new(), value: PhantomData }
    }

    /// The version that is written from now on. Raise it whenever what an older version has written is to be read in another way.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// How the JSON of version `from` becomes that of the version after it.
    #[must_use]
    pub fn upcast(
        mut self,
        from: u32,
        upcast: impl Fn(serde_json::Value) -> Result<serde_json::Value, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.upcasters.insert(from, Arc::new(upcast));
        self
    }

    /// Writes a value. [`Sensitive`](crate::Sensitive) parts are written as they are: this is how they come back.
    ///
    /// # Errors
    ///
    /// What `T` says against being serialised.
    pub fn encode(&self, value: &T) -> Result<Encoded, CodecError> {
        let bytes = sensitive::exposed(|| serde_json::to_vec(value));
        Ok(Encoded { version: self.version, bytes: bytes.map_err(CodecError::encode::<T>)? })
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// It was written by a newer version, or by an older one for which there is no upcaster, or it is no `T`.
    pub fn decode(&self, encoded: &Encoded) -> Result<T, CodecError> {
        if encoded.version == self.version {
            return serde_json::from_slice(&encoded.bytes).map_err(CodecError::decode::<T>);
        }
        if encoded.version > self.version {
            return Err(CodecError::version::<T>(encoded.version, self.version));
        }
        let mut json = serde_json::from_slice(&encoded.bytes).map_err(CodecError::decode::<T>)?;
        for from in encoded.version..self.version {
            let Some(upcast) = self.upcasters.get(&from) else {
                return Err(CodecError::version::<T>(encoded.version, self.version));
            };
            json = upcast(json).map_err(CodecError::decode::<T>)?;
        }
        serde_json::from_value(json).map_err(CodecError::decode::<T>)
    }
}

impl<T> fmt::Debug for Codec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A codec with its type erased: what a plan holds.
trait ErasedCodec: Send + Sync {
    fn encode(&self, value: &Value) -> Result<Encoded, CodecError>;
    fn decode(&self, encoded: &Encoded) -> Result<Value, CodecError>;
    fn version(&self) -> u32;
    fn type_name(&self) -> String;
}

impl<T: Any + Send + Sync + Serialize + DeserializeOwned> ErasedCodec for Codec<T> {
    fn encode(&self, value: &Value) -> Result<Encoded, CodecError> {
        let value = value.downcast_ref().ok_or_else(|| CodecError::encode::<T>("it is of another type"))?;
        Self::encode(self, value)
    }

    fn decode(&self, encoded: &Encoded) -> Result<Value, CodecError> {
        Self::decode(self, encoded).map(Value::new)
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn type_name(&self) -> String {
        type_name::<T>()
    }
}

/// A [`Codec`] whose type is known to whoever made it.
#[derive(Clone)]
pub struct AnyCodec(Arc<dyn ErasedCodec>);

impl AnyCodec {
    /// Erases the type.
    pub fn new<T: Any + Send + Sync + Serialize + DeserializeOwned>(codec: Codec<T>) -> Self {
        Self(Arc::new(codec))
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// It is of another type, or says something against being serialised.
    pub fn encode(&self, value: &Value) -> Result<Encoded, CodecError> {
        self.0.encode(value)
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// As [`Codec::decode`].
    pub fn decode(&self, encoded: &Encoded) -> Result<Value, CodecError> {
        // Upcasters and what `T` does are the user's code, and a run that cannot be read is refused with the reason.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.0.decode(encoded)));
        decoded.unwrap_or_else(|panic| {
            let reason = format!("reading it panicked: {}", panic_message(panic));
            Err(CodecError::Decode { type_name: self.0.type_name(), reason: reason.into() })
        })
    }

    /// The version that it writes.
    pub fn version(&self) -> u32 {
        self.0.version()
    }
}

impl fmt::Debug for AnyCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyCodec").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// A value could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// It says something against being serialised.
    #[error("a `{type_name}` cannot be written: {reason}")]
    Encode {
        /// Its type.
        type_name: String,
        /// What it says.
        reason: BoxError,
    },
    /// What was written is no such value.
    #[error("what was written is no `{type_name}`: {reason}")]
    Decode {
        /// The type that was asked for.
        type_name: String,
        /// What is wrong.
        reason: BoxError,
    },
    /// It was written by a version that this code does not read.
    #[error("a `{type_name}` was written in version {written}, and this code reads version {reads}{}", upcasters(*.written, *.reads))]
    Version {
        /// The type that was asked for.
        type_name: String,
        /// The version that has written it.
        written: u32,
        /// The version of the codec.
        reads: u32,
    },
}

fn upcasters(written: u32, reads: u32) -> &'static str {
    if written < reads { ", with no upcaster for each version between" } else { "" }
}

impl CodecError {
    fn encode<T>(reason: impl Into<BoxError>) -> Self {
        Self::Encode { type_name: type_name::<T>(), reason: reason.into() }
    }

    fn decode<T>(reason: impl Into<BoxError>) -> Self {
        Self::Decode { type_name: type_name::<T>(), reason: reason.into() }
    }

    fn version<T>(written: u32, reads: u32) -> Self {
        Self::Version { type_name: type_name::<T>(), written, reads }
    }
}

fn type_name<T>() -> String {
    crate::value::shorten(std::any::type_name::<T>())
}
