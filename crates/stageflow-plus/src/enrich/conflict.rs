//! What sources say, where they disagree, and what may become of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use stageflow_core::{ErrorClass, FieldValue, StageContext, StageExit, StageResult, code};

use super::{counter::TokenCounter, measure::Measure, run, tracker::MAX_RECORDS, version::VersionMetadata};

/// How two values are made one.
pub type MergeFn<V> = dyn Fn(&V, &V) -> V + Send + Sync;

/// What becomes of a value about which two sources disagree: the *old* one is of the source that was given before.
#[non_exhaustive]
pub enum Resolve<V> {
    /// The old value stays.
    KeepOld,
    /// The new value takes its place.
    KeepNew,
    /// The value that was captured later stays, by the versions of the sources. If one has none, or both are of the same time, the old value.
    Newest,
    /// A function of the old and the new value makes one of both.
    Merge(Arc<MergeFn<V>>),
    /// It is an error: `MERGE_CONFLICT`.
    Error,
}

impl<V> Resolve<V> {
    /// A function of the old and the new value makes one of both.
    pub fn merge(by: impl Fn(&V, &V) -> V + Send + Sync + 'static) -> Self {
        Self::Merge(Arc::new(by))
    }

    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::KeepOld => "keep_old",
            Self::KeepNew => "keep_new",
            Self::Newest => "newest",
            Self::Merge(_) => "merge",
            Self::Error => "error",
        }
    }
}

impl<V> Clone for Resolve<V> {
    fn clone(&self) -> Self {
        match self {
            Self::KeepOld => Self::KeepOld,
            Self::KeepNew => Self::KeepNew,
            Self::Newest => Self::Newest,
            Self::Merge(by) => Self::Merge(Arc::clone(by)),
            Self::Error => Self::Error,
        }
    }
}

impl<V> fmt::Debug for Resolve<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a source says, by key.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<V> {
    pub(crate) source: Arc<str>,
    pub(crate) version: Option<VersionMetadata>,
    pub(crate) values: BTreeMap<String, V>,
}

impl<V> Sourced<V> {
    /// What `source` says.
    pub fn new<K: Into<String>>(
        source: impl Into<Arc<str>>,
        values: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let values = values.into_iter().map(|(key, value)| (key.into(), value)).collect();
        Self { source: source.into(), version: None, values }
    }

    /// Which version of the source it is, for [`Resolve::Newest`].
    #[must_use]
    pub fn version(mut self, version: VersionMetadata) -> Self {
        self.version = Some(version);
        self
    }

    /// The name of the source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it says.
    pub fn values(&self) -> &BTreeMap<String, V> {
        &self.values
    }
}

impl<V: Measure> Measure for Sourced<V> {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        self.values.measure(counter)
    }
}

/// Two sources disagree, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Conflict {
    /// About what.
    pub key: String,
    /// The source whose value stood there; of a merged value, the last that went into it.
    pub old_source: String,
    /// The source that says something else.
    pub new_source: String,
    /// What became of it: `keep_old`, `keep_new`, `newest`, `merge` or `error`.
    pub resolution: &'static str,
    /// Both values, old and new, where it was allowed to record them.
    pub values: Option<(String, String)>,
}

impl Conflict {
    fn fields(&self) -> Vec<(&'static str, FieldValue)> {
        let mut fields: Vec<(&str, FieldValue)> = vec![
            ("key", self.key.as_str().into()),
            ("old_source", self.old_source.as_str().into()),
            ("new_source", self.new_source.as_str().into()),
            ("resolution", self.resolution.into()),
        ];
        if let Some((old, new)) = &self.values {
            fields.extend([("old", old.as_str().into()), ("new", new.as_str().into())]);
        }
        fields
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` and `{}` disagree about `{}`", self.old_source, self.new_source, self.key)
    }
}

/// Sources disagree, and the rule for that is an error. It has no values in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeConflict {
    conflicts: Vec<Conflict>,
}

impl MergeConflict {
    /// The error, if one of these conflicts is one.
    pub(crate) fn of(conflicts: &[Conflict]) -> Option<Self> {
        let is_error = conflicts.iter().any(|one| one.resolution == "error");
        is_error.then(|| Self { conflicts: conflicts.to_vec() })
    }

    /// Every conflict that was found, those that were resolved among them.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }
}

impl fmt::Display for MergeConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors = self.conflicts.iter().filter(|one| one.resolution == "error");
        let Some(first) = errors.next() else { return f.write_str("sources disagree") };
        write!(f, "{first}")?;
        match errors.count() {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl std::error::Error for MergeConflict {}

/// The conflicts of a run.
#[derive(Debug, Default)]
pub(crate) struct ConflictLog(Mutex<Vec<Conflict>>);

impl ConflictLog {
    fn lock(&self) -> MutexGuard<'_, Vec<Conflict>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records conflicts in a run, and fails if one is an error.
    pub(crate) fn settle(ctx: &StageContext, conflicts: &[Conflict]) -> StageResult<()> {
        if conflicts.is_empty() {
            return Ok(());
        }
        let log = &run::records(ctx.snapshot()).conflicts;
        for conflict in conflicts {
            ctx.emit("context.conflict", conflict.fields());
            log.add(conflict.clone());
        }
        MergeConflict::of(conflicts).map_or(Ok(()), |error| {
            Err(StageExit::failure(code::MERGE_CONFLICT, ErrorClass::Permanent, error.into()))
        })
    }

    fn add(&self, conflict: Conflict) {
        let mut kept = self.lock();
        if kept.len() < MAX_RECORDS {
            kept.push(conflict);
        }
    }

    pub(crate) fn records(&self) -> Vec<Conflict> {
        self.lock().clone()
    }
}
