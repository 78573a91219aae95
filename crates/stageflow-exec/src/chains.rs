//! The onion of interceptors, resolved per stage when a pipeline first meets an engine.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use stageflow_core::{StageKind, intercept::AnyInterceptor};
use stageflow_dag::plan::Plan;

use crate::worker::panic_message;

/// Asks an interceptor whether it applies to a stage. Where it panics, the panic goes on under its name.
fn applies(interceptor: &AnyInterceptor, stage: &str, kind: StageKind) -> bool {
    let asked = catch_unwind(AssertUnwindSafe(|| interceptor.applies_to(stage, kind)));
    asked.unwrap_or_else(|payload| {
        let message = panic_message(payload);
        resume_unwind(Box::new(format!("`{}` on stage `{stage}`: {message}", interceptor.name())))
    })
}

/// Which interceptors wrap which stage of a plan, outermost first.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    distinct: Vec<Arc<[AnyInterceptor]>>,
    /// Which of them each stage has; empty if no stage has any.
    per_stage: Vec<u32>,
}

/// Stands for "no interceptor at all".
const NONE: u32 = u32::MAX;

impl Chains {
    /// Resolves the order for every stage: by layer, then engine, pipeline, stage, then by addition (S-21).
    pub(crate) fn resolve(engine: &[AnyInterceptor], plan: &Plan) -> Self {
        let common: Vec<_> = engine.iter().chain(&plan.policies().interceptors).collect();
        let single = plan.all_settings().values().any(|settings| !settings.interceptors.is_empty());
        if common.is_empty() && !single {
            return Self::default();
        }
        let mut distinct = Vec::new();
        // Stages with the same interceptors share one chain: which of the common ones apply is its key.
        let mut known: HashMap<Vec<bool>, u32> = HashMap::new();
        let count = u32::try_from(plan.len()).unwrap_or(u32::MAX);
        let per_stage = (0..count)
            .map(|stage| {
                let (name, kind) = (plan.stage_name(stage), plan.kind(stage));
                let own = plan.settings(stage).map_or(&[][..], |settings| &settings.interceptors);
                let key: Vec<_> = common.iter().map(|one| applies(one, name, kind)).collect();
                if own.is_empty()
                    && let Some(index) = known.get(&key)
                {
                    return *index;
                }
                let applying = common.iter().zip(&key).filter(|(_, applies)| **applies);
                let own_applying = own.iter().filter(|one| applies(one, name, kind));
                let mut chain: Vec<_> =
                    applying.map(|(one, _)| (*one).clone()).chain(own_applying.cloned()).collect();
                chain.sort_by_key(|one| one.placement().sort_key());
                let index = if chain.is_empty() {
                    NONE
                } else {
                    distinct.push(chain.into());
                    u32::try_from(distinct.len() - 1).unwrap_or(NONE)
                };
                if own.is_empty() {
                    known.insert(key, index);
                }
                index
            })
            .collect();
        Self { distinct, per_stage }
    }

    /// The chain of a stage, if it has one.
    #[inline]
    pub(crate) fn of(&self, stage: u32) -> Option<&Arc<[AnyInterceptor]>> {
        self.distinct.get(*self.per_stage.get(stage as usize)? as usize)
    }

    /// Whether no stage has an interceptor.
    pub(crate) fn is_empty(&self) -> bool {
        self.distinct.is_empty()
    }
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
        let chains = Arc::new(Chains::resolve(engine, plan));
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
