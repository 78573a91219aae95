//! The onion of interceptors, resolved per stage when a pipeline first meets an engine.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use stageflow_core::{StageKind, intercept::AnyInterceptor};
use stageflow_dag::{chains::Chains, plan::Plan};

use crate::worker::panic_message;

/// Asks an interceptor whether it applies to a stage. Where it panics, the panic goes on under its name.
fn applies(interceptor: &AnyInterceptor, stage: &str, kind: StageKind) -> bool {
    let asked = catch_unwind(AssertUnwindSafe(|| interceptor.applies_to(stage, kind)));
    asked.unwrap_or_else(|payload| {
        let message = panic_message(payload);
        resume_unwind(Box::new(format!("`{}` on stage `{stage}`: {message}", interceptor.name())))
    })
}

/// Resolves the order for every stage of a plan.
pub(crate) fn resolve(engine: &[AnyInterceptor], plan: &Plan) -> Chains {
    Chains::resolve(engine, plan, applies)
}

type Known = HashMap<u64, (Weak<Plan>, Arc<Chains>)>;

/// The chains of every plan an engine has met, as long as the plan lives.
#[derive(Default)]
pub(crate) struct ChainCache {
    known: Mutex<Known>,
}

impl ChainCache {
    /// The chains of `plan` under `engine`'s interceptors. Users' `applies_to` is called outside the lock.
    pub(crate) fn get(&self, engine: &[AnyInterceptor], plan: &Arc<Plan>) -> Arc<Chains> {
        if let Some((_, chains)) = self.lock().get(&plan.id()) {
            return Arc::clone(chains);
        }
        let chains = Arc::new(resolve(engine, plan));
        let mut known = self.lock();
        known.retain(|_, (plan, _)| plan.strong_count() > 0);
        known.insert(plan.id(), (Arc::downgrade(plan), Arc::clone(&chains)));
        chains
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ChainCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainCache").field("plans", &self.lock().len()).finish()
    }
}
