//! [`Idempotency`]: a repeated request is answered, not done again (rule S-26).

mod error;
mod intercept;
mod memory;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

pub use stageflow_core::idempotency::{
    Answer, Begin, Fingerprint, IdempotencyKey, IdempotencyStore, Lease, StoreFuture, StoreKey,
    StoredFailure, Wait,
};

pub use self::{error::IdempotencyError, memory::InMemoryStore};

use crate::CallInputs;

/// Tells the inputs of one call from those of another.
type Fingerprinting = dyn Fn(&CallInputs) -> Option<Fingerprint> + Send + Sync;

/// Answers a repeated call from a store: an interceptor in [`Layer::Idempotency`](stageflow_core::Layer::Idempotency), outside of
/// deadline, retry and fallback.
///
/// A call is known by tenant, pipeline, stage, and the [`IdempotencyKey`] that the caller has given to the run as an extension.
/// Of a pipeline that is a stage itself, that stage is part of it too. A run without a key passes, unless
/// [`required`](Self::required).
///
/// # Guarantees
///
/// - Of concurrent calls under one key one is made, the *first*; the others wait for its answer. If it fails, panics, is cancelled or
///   dropped, one of them becomes the first.
/// - The first ends when its lease does, as a timeout: so a call that hangs holds the others up no longer than that, and goes on
///   beside none of them. Inside, the lease is the end of the call's time, for [`remaining`](stageflow_core::StageContext::remaining),
///   retries, waits and child runs, and a breaker counts a call that meets it as a timeout.
/// - The same key with another [`fingerprint`](Self::fingerprint) is refused with the code `IDEMPOTENCY_MISMATCH`.
/// - When the store fails before the call, the call is not made.
/// - A guard is never answered from a store: it applies to no stage of kind [`Guard`](stageflow_core::StageKind::Guard).
/// - Skips, cancellations, denials and requests for a retry are never stored, failures only with
///   [`store_failures`](Self::store_failures), and what a fallback inside has answered only with
///   [`store_fallbacks`](Self::store_fallbacks): the call keeps it, the key is free, and the event `idempotency.not_stored` tells.
///
/// # Limits
///
/// - It is as good as its store: an [`InMemoryStore`] knows one process, and forgets after a time.
/// - If the store fails after the call, the call keeps its output and the event `idempotency.not_stored` tells: repeated, it waits
///   for the end of the lease and is made again.
/// - What a call has done before it was cancelled or failed is done: the next first does it again.
/// - A stage that is a pipeline is answered as a whole, with the guards in it: have the guards before it. Fallbacks of the stages in
///   it are its own affair: its answer is stored.
///
/// # Events
///
/// `idempotency.replayed` (`failure`), `idempotency.waited` (`waited_ns`), `idempotency.mismatch` (`stage`),
/// `idempotency.not_stored` (`reason`).
///
/// # Cancel safety
///
/// Dropping the first call gives the key free at once; while its answer is being stored, with the end of the lease at the latest.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult, stage_fn};
/// use stageflow_dag::Pipeline;
/// use stageflow_exec::PipelineExt as _;
/// use stageflow_interceptors::{Fingerprint, Idempotency, IdempotencyKey, InMemoryStore};
///
/// async fn charge(ctx: StageContext, cents: Arc<u32>) -> StageResult<String> {
///     Ok(format!("charged {cents} in run {}", ctx.identity().run_id()))
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let once = Idempotency::new(InMemoryStore::new())
///     .fingerprint(|inputs| Some(Fingerprint::of(&*inputs.input::<u32>(0)?)));
///
/// let mut p = Pipeline::builder("billing");
/// let cents = p.input();
/// let receipt = p.stage("charge", stage_fn(charge)).intercept(once).inputs(cents);
/// let billing = p.build(receipt)?;
///
/// let first = billing.run(500).extension(IdempotencyKey::new("order-17")).await?;
/// let again = billing.run(500).extension(IdempotencyKey::new("order-17")).await?;
/// assert_eq!(first.output(), again.output());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing until a stage, pipeline or engine has it"]
pub struct Idempotency {
    store: Arc<dyn IdempotencyStore>,
    fingerprint: Option<Arc<Fingerprinting>>,
    required: bool,
    store_failures: bool,
    store_fallbacks: bool,
}

impl Idempotency {
    /// Answers from this store. Whoever shares the store shares the answers.
    pub fn new(store: impl IdempotencyStore) -> Self {
        Self {
            store: Arc::new(store),
            fingerprint: None,
            required: false,
            store_failures: false,
            store_fallbacks: false,
        }
    }

    /// What tells the inputs of a call from others: a number, bytes, or [`Fingerprint::of`] a value. `None` says that an input is not
    /// what it should be, and refuses the call.
    ///
    /// Without this the key alone decides: a key that comes again with other inputs is answered with the old answer.
    pub fn fingerprint<F, P>(mut self, fingerprint: F) -> Self
    where
        F: Fn(&CallInputs) -> Option<P> + Send + Sync + 'static,
        P: Into<Fingerprint>,
    {
        self.fingerprint = Some(Arc::new(move |inputs| fingerprint(inputs).map(Into::into)));
        self
    }

    /// Refuses calls of runs without a key.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Stores failures as well, so that a repeated call fails like the first: with its code, class and message, and without its
    /// error as a type of its own. Denials are not stored.
    pub fn store_failures(mut self) -> Self {
        self.store_failures = true;
        self
    }

    /// Stores what a fallback has answered as well, and whatever else [stands in](stageflow_core::Call::mark_substitute) for the
    /// answer of the stage: a repeated call then gets it again, though the stage may be well by now.
    pub fn store_fallbacks(mut self) -> Self {
        self.store_fallbacks = true;
        self
    }
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("fingerprint", &self.fingerprint.is_some())
            .field("required", &self.required)
            .field("store_failures", &self.store_failures)
            .field("store_fallbacks", &self.store_fallbacks)
            .finish_non_exhaustive()
    }
}
