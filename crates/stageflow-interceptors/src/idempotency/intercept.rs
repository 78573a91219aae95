//! Idempotency around the calls of a stage.

use std::time::Duration;

use stageflow_core::{
    Call, ErrorClass, IdempotencyFacts, Interceptor, Layer, Next, PolicyFacts, StageExit, StageKind,
    StageResult, Value, WaitReason,
    durable::{CodecError, Encoded},
    exit::Exit,
    intercept::Placement,
    time::nanos,
};
use tokio::time::{Instant, timeout_at};

use super::{
    Answer, Begin, Fingerprint, Idempotency, IdempotencyError, IdempotencyKey, IdempotencyStore, Lease,
    StoreKey, StoredFailure,
};
use crate::CallInputs;

/// The key of a call that is the first: free again when dropped without an answer.
struct Held<'a> {
    store: &'a dyn IdempotencyStore,
    key: StoreKey,
    lease: Option<Lease>,
    /// When the lease ends, if ever.
    until: Option<Instant>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.store.abandon(&self.key, lease);
        }
    }
}

/// What a call that came has to do.
enum Turn<'a> {
    First(Held<'a>),
    Done(Answer),
}

impl Idempotency {
    /// The key of a call; `None` if it may pass without.
    fn key(&self, call: &Call) -> Result<Option<StoreKey>, IdempotencyError> {
        match call.context().extension::<IdempotencyKey>() {
            Some(key) if key.as_str().is_empty() => Err(IdempotencyError::NoKey),
            Some(key) => Ok(Some(StoreKey::of(call, key.clone()))),
            None if self.required => Err(IdempotencyError::NoKey),
            None => Ok(None),
        }
    }

    /// The fingerprint of the inputs. They are let go of at once, so that the stage can move them.
    fn fingerprint_of(&self, next: &Next<'_>) -> Result<Fingerprint, IdempotencyError> {
        let Some(fingerprint) = &self.fingerprint else { return Ok(Fingerprint::from([])) };
        fingerprint(&CallInputs::of(next)).ok_or(IdempotencyError::NoFingerprint)
    }

    /// Asks the store until the call is the first or has an answer, waiting for who was before.
    async fn turn(
        &self,
        call: &Call,
        key: StoreKey,
        fingerprint: &Fingerprint,
    ) -> Result<Turn<'_>, IdempotencyError> {
        let store = &*self.store;
        let ctx = call.context();
        let mut waited = None;
        let turn = loop {
            // A lease is counted from before it is given: here it ends no later than there.
            let asked = Instant::now();
            match store.begin(&key, fingerprint).await.map_err(IdempotencyError::Store)? {
                Begin::First(lease) => {
                    let until = asked.checked_add(lease.time());
                    break Turn::First(Held { store, key, lease: Some(lease), until });
                }
                Begin::Done(answer) => break Turn::Done(answer),
                Begin::Mismatch => return Err(IdempotencyError::Mismatch),
                Begin::InFlight(wait) => {
                    let _waiting = ctx.waiting(WaitReason::Permit { limit: "idempotency", key: None });
                    let before = ctx.elapsed();
                    wait.await;
                    *waited.get_or_insert(Duration::ZERO) += ctx.elapsed().saturating_sub(before);
                }
            }
        };
        if let Some(waited) = waited {
            ctx.emit("idempotency.waited", [("waited_ns", nanos(waited))]);
        }
        Ok(turn)
    }

    /// What is to be stored of a result, which is as before.
    fn answer(&self, result: StageResult<Value>) -> (Option<Answer>, StageResult<Value>) {
        let exit = match result {
            Ok(output) => return (Some(Answer::Output(output.clone())), Ok(output)),
            Err(exit) => exit,
        };
        let is_stored =
            self.store_failures && exit.error_class().is_some_and(|class| class != ErrorClass::Denied);
        if !is_stored {
            return (None, Err(exit));
        }
        match exit.into_exit() {
            Exit::Fail(spec) => (Some(Answer::Failure(StoredFailure::of(&spec))), Err(spec.into_exit())),
            Exit::Skip(reason) => (None, Err(StageExit::skip(reason))),
            Exit::Cancel(reason) => (None, Err(StageExit::cancel(reason))),
            Exit::Retry { reason, .. } => (None, Err(StageExit::retry(reason))),
        }
    }

    /// What the store keeps of an answer.
    fn to_store(&self, call: &Call, answer: Answer) -> Result<Answer, CodecError> {
        match (answer, call.context().codec()) {
            (Answer::Output(value), Some(codec)) if self.store.keeps_bytes() => {
                codec.encode(&value).map(Answer::Encoded)
            }
            (answer, _) => Ok(answer),
        }
    }

    /// An output that the store has kept as bytes.
    fn decoded(&self, call: &Call, bytes: &Encoded) -> StageResult<Value> {
        let Some(codec) = call.context().codec() else {
            return Err(IdempotencyError::NotStorable.into_exit());
        };
        codec.decode(bytes).map_err(|error| IdempotencyError::NotReadable(error).into_exit())
    }

    /// Makes the call, at most for as long as its lease.
    async fn first(&self, call: &Call, next: Next<'_>, mut held: Held<'_>) -> StageResult<Value> {
        let done = match held.until {
            Some(until) => {
                // To those inside it is the time of the call: they wait for nothing beyond it, and know why they are dropped.
                let left = until.saturating_duration_since(Instant::now());
                timeout_at(until, next.run_within(left)).await
            }
            None => Ok(next.run().await),
        };
        let Ok(result) = done else {
            let lease = held.lease.map_or(Duration::MAX, |lease| lease.time());
            return Err(IdempotencyError::LeaseEnded { lease }.into_exit());
        };
        if !self.store_fallbacks && result.is_ok() && call.is_substitute() {
            call.context().emit("idempotency.not_stored", [("reason", "a fallback has answered")]);
            return result;
        }
        let (answer, result) = self.answer(result);
        let answer = match answer.map(|answer| self.to_store(call, answer)).transpose() {
            Ok(answer) => answer,
            Err(why) => {
                call.context().emit("idempotency.not_stored", [("reason", why.to_string())]);
                held.lease.take();
                return result;
            }
        };
        // From here on it is done: whatever becomes of the answer, the key is not given free before its time.
        if let Some(answer) = answer
            && let Some(lease) = held.lease.take()
        {
            let why = match held.store.complete(&held.key, lease, answer).await {
                Ok(true) => return result,
                Ok(false) => "the lease has ended".to_owned(),
                Err(error) => error.to_string(),
            };
            call.context().emit("idempotency.not_stored", [("reason", why)]);
        }
        result
    }
}

impl Interceptor for Idempotency {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let Some(key) = self.key(call).map_err(IdempotencyError::into_exit)? else {
            return next.run().await;
        };
        // On the heap, so that calls without a key do not carry its size.
        Box::pin(self.keyed(call, next, key)).await
    }

    fn name(&self) -> String {
        "idempotency".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Idempotency)
    }

    fn describe(&self) -> PolicyFacts {
        let mut facts = IdempotencyFacts::new(self.store.lease_time());
        facts.ttl = self.store.kept_for();
        facts.required = self.required;
        facts.fingerprint = self.fingerprint.is_some();
        facts.store_failures = self.store_failures;
        facts.store_fallbacks = self.store_fallbacks;
        facts.into()
    }

    fn applies_to(&self, _stage: &str, kind: StageKind) -> bool {
        kind != StageKind::Guard
    }
}

impl Idempotency {
    /// A call under a key.
    async fn keyed(&self, call: &Call, next: Next<'_>, key: StoreKey) -> StageResult<Value> {
        if self.store.keeps_bytes() && call.context().codec().is_none() {
            return Err(IdempotencyError::NotStorable.into_exit());
        }
        let fingerprint = self.fingerprint_of(&next).map_err(IdempotencyError::into_exit)?;
        match self.turn(call, key, &fingerprint).await {
            Ok(Turn::First(held)) => self.first(call, next, held).await,
            Ok(Turn::Done(answer)) => {
                call.context().emit("idempotency.replayed", [("failure", answer.is_failure())]);
                match answer {
                    Answer::Output(value) => Ok(value),
                    Answer::Failure(failure) => Err(failure.into_exit()),
                    Answer::Encoded(bytes) => self.decoded(call, &bytes),
                }
            }
            Err(error) => {
                if matches!(error, IdempotencyError::Mismatch) {
                    call.context().emit("idempotency.mismatch", [("stage", call.stage_name())]);
                }
                Err(error.into_exit())
            }
        }
    }
}
