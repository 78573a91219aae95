//! Which calls are the same.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    call::Call,
    id::{TenantId, UserId},
};

/// What the caller names a request by, however often it is repeated: an extension of the run.
///
/// A run that is resumed has the key that it was begun with; a branch of a run is another request, and has none.
///
/// ```
/// use stageflow_core::idempotency::IdempotencyKey;
/// assert_eq!(IdempotencyKey::new("order-17").as_str(), "order-17");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// A key. An empty one is refused when a stage asks for it.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }

    /// The key as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Under what a store keeps an answer. Two calls are the same only if all parts are; join them in no way that mixes them up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey {
    tenant: Option<TenantId>,
    /// Who asks, where no tenant does.
    user: Option<UserId>,
    pipeline: Arc<str>,
    /// Of a pipeline that runs as a stage: the pipeline of the root run, and the stages that lead to it.
    path: Arc<[String]>,
    stage: Arc<str>,
    key: IdempotencyKey,
}

impl StoreKey {
    /// The key of a call.
    pub fn of(call: &Call, key: IdempotencyKey) -> Self {
        let snapshot = call.snapshot();
        let tenant = snapshot.identity().tenant_id().cloned();
        let user = if tenant.is_none() { snapshot.identity().user_id().cloned() } else { None };
        Self {
            tenant,
            user,
            pipeline: snapshot.pipeline().into(),
            path: snapshot.parent().map_or_else(Arc::default, |parent| parent.path.as_slice().into()),
            stage: call.stage_name().into(),
            key,
        }
    }

    /// The key of a stage of a root run, for whoever asks a store without a call.
    pub fn for_stage(
        tenant: Option<TenantId>,
        pipeline: impl Into<Arc<str>>,
        stage: impl Into<Arc<str>>,
        key: IdempotencyKey,
    ) -> Self {
        let (pipeline, stage) = (pipeline.into(), stage.into());
        Self { tenant, user: None, pipeline, path: Arc::default(), stage, key }
    }

    /// For whom the run is. None is a tenant of its own.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_ref().map(TenantId::as_str)
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// For which user the run is, where it is for no tenant.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(UserId::as_str)
    }

    /// If the pipeline runs as a stage of another: the pipeline of the root run, and the stages that lead to this one. Empty
    /// otherwise.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// The stage.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// The key of the caller.
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }
}

/// What tells the inputs of one call from those of another, compared byte by byte.
///
/// ```
/// use stageflow_core::idempotency::Fingerprint;
/// assert_eq!(Fingerprint::from(1).as_bytes(), 1_u64.to_be_bytes());
/// assert_ne!(Fingerprint::of("a"), Fingerprint::of("b"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(Arc<[u8]>);

impl Fingerprint {
    /// The 64-bit hash of a value, by the hasher of the standard library: for stores that live no longer than the process, as other
    /// versions of Rust may hash in another way. Whoever may choose a key and its inputs can find two inputs with one hash; where
    /// that matters, give the bytes of a cryptographic hash.
    pub fn of<T: Hash + ?Sized>(value: &T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self::from(hasher.finish())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<u64> for Fingerprint {
    fn from(number: u64) -> Self {
        Self(Arc::new(number.to_be_bytes()))
    }
}

impl From<&[u8]> for Fingerprint {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Fingerprint {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl<const N: usize> From<[u8; N]> for Fingerprint {
    fn from(bytes: [u8; N]) -> Self {
        Self(Arc::new(bytes))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes may be the inputs themselves.
        f.write_str("Fingerprint(..)")
    }
}
