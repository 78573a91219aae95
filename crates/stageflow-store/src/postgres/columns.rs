//! Ids of runs as columns of the type `uuid`.

use stageflow_core::RunId;

use super::trouble::Trouble;
use crate::rows;

pub(super) type Id = uuid::Uuid;

pub(super) fn id(run: RunId) -> Id {
    Id::from_bytes(*run.as_bytes())
}

/// One that nobody else has.
pub(super) fn unique() -> Id {
    id(RunId::new())
}

pub(super) fn run(id: Id) -> Result<RunId, Trouble> {
    id.to_string().parse().map_err(|error| rows::unreadable("the id of a run", error).into())
}
