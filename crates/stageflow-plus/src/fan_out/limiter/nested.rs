//! Maps within items of maps under the same limiter: they must not wait for what their own items hold.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{RunId, StageContext};

use super::FanOutLimiter;

/// Where a stage is: the pipeline of the root run, and the stages that lead to it.
type Path = Vec<String>;

/// The maps that are under way, by root run.
#[derive(Debug, Default)]
pub(super) struct Maps(Mutex<HashMap<RunId, Vec<Path>>>);

impl Maps {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Vec<Path>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A map that is under way.
pub(in crate::fan_out) struct Underway {
    limiter: FanOutLimiter,
    root: RunId,
    path: Path,
    /// Whether it is part of an item of another one.
    pub(in crate::fan_out) is_nested: bool,
}

impl FanOutLimiter {
    /// A map begins.
    pub(in crate::fan_out) fn begin(&self, ctx: &StageContext) -> Underway {
        let snapshot = ctx.snapshot();
        let parent = snapshot.parent().map(|parent| parent.path.as_slice());
        let root = snapshot.root_run_id();
        let mut path = parent.map_or_else(|| vec![snapshot.pipeline().to_owned()], <[String]>::to_vec);
        path.push(ctx.stage_name().to_owned());
        let mut maps = self.0.maps.lock();
        let known = maps.entry(root).or_default();
        let is_nested = parent.is_some_and(|parent| known.iter().any(|map| parent.starts_with(map)));
        known.push(path.clone());
        drop(maps);
        Underway { limiter: self.clone(), root, path, is_nested }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut maps = self.limiter.0.maps.lock();
        let Some(known) = maps.get_mut(&self.root) else { return };
        if let Some(place) = known.iter().position(|path| *path == self.path) {
            known.swap_remove(place);
        }
        if known.is_empty() {
            maps.remove(&self.root);
        }
    }
}
