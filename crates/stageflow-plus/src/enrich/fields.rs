//! [`FieldConflicts`]: one value of several of the same type, field by field.

use std::{fmt, sync::Arc};

use stageflow_core::{StageContext, StageResult};

use super::{
    conflict::{Conflict, ConflictLog, MergeConflict, Resolve, Sourced},
    detector::ConflictDetector,
};

/// Settles one field of all sources, and says what was in conflict.
type Settle<T> = dyn Fn(&mut T, &[(&str, &T)]) -> Vec<Conflict> + Send + Sync;

/// Makes one value of several of the same type, field by field, and finds the fields about which they disagree: what
/// [`ConflictDetector`] is for maps. It never records values.
///
/// Each field that may differ is named, with how it is read and written. A field that is read as `None` says nothing, and is no conflict.
/// Fields that are not named are those of the first source. Fields are settled in the order in which they are named.
///
/// ```
/// use stageflow_plus::enrich::{FieldConflicts, Resolve};
///
/// #[derive(Clone)]
/// struct Profile { city: String, phone: Option<String> }
///
/// let fields = FieldConflicts::new()
///     .field("city", |p: &Profile| Some(&p.city), |p, city| p.city = city, Resolve::KeepNew)
///     .field("phone", |p| p.phone.as_ref(), |p, phone| p.phone = Some(phone), Resolve::KeepOld);
///
/// let crm = Profile { city: "Graz".into(), phone: None };
/// let billing = Profile { city: "Linz".into(), phone: Some("0316".into()) };
/// let (profile, conflicts) = fields.merge(&crm, [("crm", &crm), ("billing", &billing)])?;
/// assert_eq!((profile.city.as_str(), profile.phone.as_deref()), ("Linz", Some("0316")));
/// assert_eq!(conflicts.len(), 1);
/// # Ok::<_, stageflow_plus::enrich::MergeConflict>(())
/// ```
pub struct FieldConflicts<T> {
    fields: Vec<(Arc<str>, Arc<Settle<T>>)>,
}

impl<T> FieldConflicts<T> {
    /// No field so far.
    pub fn new() -> Self {
        Self { fields: Vec::new() }
    }

    /// A field: its name in records, how it is read and written, and what becomes of conflicts about it.
    #[must_use]
    pub fn field<F, Get, Set>(mut self, name: &str, get: Get, set: Set, resolve: Resolve<F>) -> Self
    where
        F: Clone + PartialEq + 'static,
        Get: Fn(&T) -> Option<&F> + Send + Sync + 'static,
        Set: Fn(&mut T, F) + Send + Sync + 'static,
    {
        let key: Arc<str> = name.into();
        let detector = ConflictDetector::new(resolve);
        let of_field = Arc::clone(&key);
        let settle = move |merged: &mut T, sources: &[(&str, &T)]| {
            let says = |(source, value): &(&str, &T)| {
                Some(Sourced::new(*source, [(&*of_field, get(value)?.clone())]))
            };
            let says: Vec<_> = sources.iter().filter_map(says).collect();
            let settled = detector.resolve(&says.iter().collect::<Vec<_>>());
            if let Some(value) = settled.values.into_values().next() {
                set(merged, value);
            }
            settled.conflicts
        };
        self.fields.push((key, Arc::new(settle)));
        self
    }

    fn resolve(&self, first: &T, sources: &[(&str, &T)]) -> (T, Vec<Conflict>)
    where
        T: Clone,
    {
        let mut merged = first.clone();
        let conflicts = self.fields.iter().flat_map(|(_, settle)| settle(&mut merged, sources)).collect();
        (merged, conflicts)
    }

    /// One value of all sources; what no field is named for is that of `first`. It leaves no event; [`merge_in`](Self::merge_in) does.
    ///
    /// # Errors
    ///
    /// A conflict whose rule is [`Resolve::Error`]. All conflicts are found before.
    pub fn merge<'a>(
        &self,
        first: &T,
        sources: impl IntoIterator<Item = (&'a str, &'a T)>,
    ) -> Result<(T, Vec<Conflict>), MergeConflict>
    where
        T: Clone + 'a,
    {
        let (merged, conflicts) = self.resolve(first, &sources.into_iter().collect::<Vec<_>>());
        MergeConflict::of(&conflicts).map_or(Ok((merged, conflicts)), Err)
    }

    /// The same, and records each conflict in the run, with the event `context.conflict`.
    ///
    /// # Errors
    ///
    /// `MERGE_CONFLICT`, class permanent, if a conflict's rule is [`Resolve::Error`].
    pub fn merge_in<'a>(
        &self,
        ctx: &StageContext,
        first: &T,
        sources: impl IntoIterator<Item = (&'a str, &'a T)>,
    ) -> StageResult<T>
    where
        T: Clone + 'a,
    {
        let (merged, conflicts) = self.resolve(first, &sources.into_iter().collect::<Vec<_>>());
        ConflictLog::settle(ctx, &conflicts)?;
        Ok(merged)
    }
}

impl<T> Default for FieldConflicts<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for FieldConflicts<T> {
    fn clone(&self) -> Self {
        Self { fields: self.fields.clone() }
    }
}

impl<T> fmt::Debug for FieldConflicts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.fields.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}
