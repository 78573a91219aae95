//! Ids of runs as columns of the type `uuid`.

use stageflow_core::RunId;

pub(super) type Id = uuid::Uuid;

pub(super) fn id(run: RunId) -> Id {
    Id::from_bytes(*run.as_bytes())
}

/// One that nobody else has.
pub(super) fn unique() -> Id {
    id(RunId::new())
}

pub(super) fn run(id: Id) -> RunId {
    RunId::from_bytes(id.into_bytes())
}
