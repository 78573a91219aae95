//! A stage that remembers what it was given.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{Stage, StageContext, StageResult};

#[cfg(test)]
mod tests;

/// Remembers what its stages are given, in the order of the calls. Clones share one memory.
///
/// What it remembers stays shared: a later stage that takes `Owned<T>` gets a clone of it.
///
/// ```
/// use stageflow_dag::Pipeline;
/// use stageflow_exec::PipelineExt;
/// use stageflow_testing::Probe;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let probe = Probe::new();
/// let mut p = Pipeline::builder("look");
/// let word = p.input();
/// let seen = p.stage("probe", probe.stage()).inputs(word);
/// let look: Pipeline<String, String> = p.build(seen)?;
///
/// look.run("hello".to_owned()).await?;
/// assert_eq!(probe.count(), 1);
/// assert_eq!(*probe.inputs()[0], "hello");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Probe<T> {
    seen: Arc<Mutex<Vec<Seen<T>>>>,
}

struct Seen<T> {
    input: Arc<T>,
    stage: String,
    attempt: u32,
}

impl<T> Probe<T> {
    /// A probe that has seen nothing.
    pub fn new() -> Self {
        Self { seen: Arc::default() }
    }

    /// A stage that takes an `Arc<T>`, remembers it and gives a clone of it.
    pub fn stage(&self) -> ProbeStage<T> {
        ProbeStage { probe: self.clone() }
    }

    /// What was given so far.
    pub fn inputs(&self) -> Vec<Arc<T>> {
        self.lock().iter().map(|seen| Arc::clone(&seen.input)).collect()
    }

    /// What was given last.
    pub fn last(&self) -> Option<Arc<T>> {
        self.lock().last().map(|seen| Arc::clone(&seen.input))
    }

    /// How many calls there were.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The name of the stage of each call.
    pub fn stages(&self) -> Vec<String> {
        self.lock().iter().map(|seen| seen.stage.clone()).collect()
    }

    /// The number of the attempt of each call.
    pub fn attempts(&self) -> Vec<u32> {
        self.lock().iter().map(|seen| seen.attempt).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        // Dropped after the lock: the inputs are the user's.
        let seen = std::mem::take(&mut *self.lock());
        drop(seen);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen<T>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Probe<T> {
    fn clone(&self) -> Self {
        Self { seen: Arc::clone(&self.seen) }
    }
}

impl<T> fmt::Debug for Probe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("count", &self.count()).finish()
    }
}

/// The stage of a [`Probe`]: made by [`Probe::stage`].
pub struct ProbeStage<T> {
    probe: Probe<T>,
}

impl<T: Clone + Any + Send + Sync> Stage for ProbeStage<T> {
    type Input = Arc<T>;
    type Output = T;

    async fn run(&self, ctx: &StageContext, input: Arc<T>) -> StageResult<T> {
        let seen =
            Seen { input: Arc::clone(&input), stage: ctx.stage_name().to_owned(), attempt: ctx.attempt() };
        self.probe.lock().push(seen);
        Ok(T::clone(&input))
    }
}

impl<T> fmt::Debug for ProbeStage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProbeStage").field(&self.probe).finish()
    }
}
