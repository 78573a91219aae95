//! [`ConflictDetector`]: one map of several, and what becomes of keys about which they disagree.

use std::{collections::BTreeMap, fmt, sync::Arc};

use stageflow_core::{Stage, StageContext, StageResult};

use super::{
    conflict::{Conflict, ConflictLog, MergeConflict, Resolve, Sourced},
    counter::TokenCounter,
    measure::Measure,
    version::VersionMetadata,
};

/// One map of several, and what was in conflict.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Merged<V> {
    /// All keys of all sources.
    pub values: BTreeMap<String, V>,
    /// The conflicts, by key, and for one key in the order of the sources.
    pub conflicts: Vec<Conflict>,
}

type Showing<V> = dyn Fn(&V) -> String + Send + Sync;

impl<V: Measure> Measure for Merged<V> {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        self.values.measure(counter)
    }
}

/// Makes one map of those of several sources, and finds the keys about which they disagree. Equal values are no conflict, nor is a key that
/// one source has and another has not.
///
/// What becomes of a conflict says a [`Resolve`]: the one for its key, or else the one for all keys. The result depends on the order in which
/// the sources are given and on nothing else: keys are decided in their order, and for each key the sources in theirs.
///
/// Records and events name the key and both sources, and never the values, unless [`show_values`](Self::show_values) allows it.
///
/// ```
/// use stageflow_plus::enrich::{ConflictDetector, Resolve, Sourced};
///
/// let detector = ConflictDetector::new(Resolve::KeepNew)
///     .key("plan", Resolve::Error)
///     .key("notes", Resolve::merge(|old: &String, new| format!("{old}; {new}")));
///
/// let say = |source: &str, city: &str, notes: &str| {
///     Sourced::new(source, [("city", city.to_owned()), ("notes", notes.to_owned())])
/// };
/// let merged = detector.merge([&say("crm", "Graz", "calls often"), &say("billing", "Linz", "pays late")])?;
/// assert_eq!(merged.values["city"], "Linz");
/// assert_eq!(merged.values["notes"], "calls often; pays late");
/// assert_eq!(merged.conflicts[0].to_string(), "`crm` and `billing` disagree about `city`");
/// # Ok::<_, stageflow_plus::enrich::MergeConflict>(())
/// ```
#[derive(Clone)]
pub struct ConflictDetector<V> {
    otherwise: Resolve<V>,
    keys: BTreeMap<String, Resolve<V>>,
    show: Option<Arc<Showing<V>>>,
}

impl<V> ConflictDetector<V> {
    /// What becomes of conflicts of keys that have no rule of their own.
    pub fn new(otherwise: Resolve<V>) -> Self {
        Self { otherwise, keys: BTreeMap::new(), show: None }
    }

    /// What becomes of conflicts about `key`.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>, resolve: Resolve<V>) -> Self {
        self.keys.insert(key.into(), resolve);
        self
    }

    /// Has records and events show the values by this function: they go wherever events go.
    #[must_use]
    pub fn show_values(mut self, show: impl Fn(&V) -> String + Send + Sync + 'static) -> Self {
        self.show = Some(Arc::new(show));
        self
    }
}

impl<V: Clone + PartialEq> ConflictDetector<V> {
    /// Makes one map of all sources. It leaves no event; [`merge_in`](Self::merge_in) does.
    ///
    /// # Errors
    ///
    /// A conflict whose rule is [`Resolve::Error`]. All conflicts are found before.
    pub fn merge<'a>(
        &self,
        sources: impl IntoIterator<Item = &'a Sourced<V>>,
    ) -> Result<Merged<V>, MergeConflict>
    where
        V: 'a,
    {
        let merged = self.resolve(&sources.into_iter().collect::<Vec<_>>());
        MergeConflict::of(&merged.conflicts).map_or(Ok(merged), Err)
    }

    /// One map of all sources, whatever the rules make of their conflicts.
    pub(crate) fn resolve(&self, sources: &[&Sourced<V>]) -> Merged<V> {
        let mut keys: Vec<_> = sources.iter().flat_map(|one| one.values.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut merged = Merged { values: BTreeMap::new(), conflicts: Vec::new() };
        for key in keys {
            let mut says = sources.iter().filter_map(|one| Some((*one, one.values.get(key)?)));
            let Some((mut from, first)) = says.next() else { continue };
            let mut value = first.clone();
            for (source, new) in says {
                if *new != value {
                    (from, value) = self.decide(key, (from, value), (source, new), &mut merged.conflicts);
                }
            }
            merged.values.insert(key.clone(), value);
        }
        merged
    }

    /// What stands at `key` from now on, and of which source it is.
    fn decide<'a>(
        &self,
        key: &str,
        (from, old): (&'a Sourced<V>, V),
        (source, new): (&'a Sourced<V>, &V),
        conflicts: &mut Vec<Conflict>,
    ) -> (&'a Sourced<V>, V) {
        let resolve = self.keys.get(key).unwrap_or(&self.otherwise);
        conflicts.push(Conflict {
            key: key.to_owned(),
            old_source: from.source.to_string(),
            new_source: source.source.to_string(),
            resolution: resolve.as_str(),
            values: self.show.as_ref().map(|show| (show(&old), show(new))),
        });
        let captured = |one: &Sourced<V>| one.version.as_ref().map(VersionMetadata::captured_at);
        match resolve {
            Resolve::KeepOld | Resolve::Error => (from, old),
            Resolve::KeepNew => (source, new.clone()),
            Resolve::Newest => match (captured(from), captured(source)) {
                (Some(then), Some(now)) if now > then => (source, new.clone()),
                _ => (from, old),
            },
            Resolve::Merge(by) => {
                let both = by(&old, new);
                (source, both)
            }
        }
    }

    /// Makes one map of all sources, and records each conflict in the run, with the event `context.conflict`.
    ///
    /// # Errors
    ///
    /// `MERGE_CONFLICT`, class permanent, if a conflict's rule is [`Resolve::Error`].
    pub fn merge_in<'a>(
        &self,
        ctx: &StageContext,
        sources: impl IntoIterator<Item = &'a Sourced<V>>,
    ) -> StageResult<Merged<V>>
    where
        V: 'a,
    {
        let merged = self.resolve(&sources.into_iter().collect::<Vec<_>>());
        ConflictLog::settle(ctx, &merged.conflicts)?;
        Ok(merged)
    }
}

/// As a stage it takes what several stages say, and merges it as [`merge_in`](ConflictDetector::merge_in) does.
impl<V: Clone + PartialEq + Send + Sync + 'static> Stage for ConflictDetector<V> {
    type Input = Vec<Arc<Sourced<V>>>;
    type Output = Merged<V>;

    async fn run(&self, ctx: &StageContext, sources: Vec<Arc<Sourced<V>>>) -> StageResult<Merged<V>> {
        self.merge_in(ctx, sources.iter().map(|one| &**one))
    }
}

impl<V> fmt::Debug for ConflictDetector<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConflictDetector")
            .field("otherwise", &self.otherwise)
            .field("keys", &self.keys)
            .field("shows_values", &self.show.is_some())
            .finish()
    }
}
