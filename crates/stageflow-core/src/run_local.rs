//! What policies keep for one run, by its type.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

type Kept = Arc<dyn Any + Send + Sync>;

/// Costs a run nothing but its place until somebody keeps something.
#[derive(Clone, Default)]
pub(crate) struct RunLocal(OnceLock<Arc<Mutex<Vec<Kept>>>>);

impl RunLocal {
    /// The value of type `T`, made now if there is none. `T::default` must be the policy's own.
    pub(crate) fn get_or_make<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut kept = self.0.get_or_init(Arc::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = find(&kept) {
            return known;
        }
        let made = Arc::new(T::default());
        kept.push(Arc::clone(&made) as Kept);
        made
    }

    /// The value of type `T`, if there is one.
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        find(&self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn find<T: Any + Send + Sync>(kept: &[Kept]) -> Option<Arc<T>> {
    kept.iter().find_map(|one| Arc::clone(one).downcast().ok())
}

impl fmt::Debug for RunLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunLocal")
    }
}
