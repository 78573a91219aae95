//! What a journal keeps of the facts of a run, and how they come back.

use std::time::Duration;

use stageflow_core::{
    ContextSnapshot, SnapshotBuilder,
    durable::{JournalError, JournalErrorKind, RunHeader},
    idempotency::IdempotencyKey,
};

/// Under which name the idempotency key of a run is kept: without it a resumed run would do again what is to be done once.
const KEY: &str = "stageflow.idempotency_key";

/// The facts of a run that begins, as its journal has them.
pub(super) fn kept(snapshot: &ContextSnapshot) -> ContextSnapshot {
    let Some(key) = snapshot.extension::<IdempotencyKey>() else { return snapshot.clone() };
    let mut extensions = snapshot.extensions().clone();
    // A text is always written.
    drop(extensions.insert_named(KEY, key.clone()));
    snapshot.to_builder().run(snapshot.identity().run_id()).extensions(extensions).build()
}

/// The facts of a run that goes on, after `since` in which its deadline went on as well.
pub(super) fn resumed(header: &RunHeader, since: Duration) -> Result<SnapshotBuilder, JournalError> {
    let begun = &header.snapshot;
    let mut snapshot = begun.to_builder().run(header.key.run());
    if let Some(deadline) = begun.deadline() {
        snapshot = snapshot.deadline(deadline.saturating_sub(since));
    }
    let key = begun.extensions().restore::<IdempotencyKey>(KEY).map_err(|error| {
        let message = format!("the idempotency key of {} cannot be read: {error}", header.key);
        JournalError::new(JournalErrorKind::Corrupt, message).source(error)
    })?;
    Ok(match key {
        Some(key) => snapshot.extension(key),
        None => snapshot,
    })
}
