//! The onion of interceptors: in which order they stand around which stage.

use std::{collections::HashMap, sync::Arc};

use stageflow_core::{StageKind, intercept::AnyInterceptor};

use crate::plan::Plan;

/// Which interceptors wrap which stage of a plan, outermost first.
#[derive(Debug, Default)]
pub struct Chains {
    distinct: Vec<Arc<[AnyInterceptor]>>,
    /// Which of them each stage has; empty if no stage has any.
    per_stage: Vec<u32>,
}

/// Stands for "no interceptor at all".
const NONE: u32 = u32::MAX;

impl Chains {
    /// Resolves the order for every stage: by layer, then engine, pipeline, stage, then by addition (S-21).
    ///
    /// `applies` asks an interceptor, which is code of the user.
    pub fn resolve(
        engine: &[AnyInterceptor],
        plan: &Plan,
        applies: impl Fn(&AnyInterceptor, &str, StageKind) -> bool,
    ) -> Self {
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
    pub fn of(&self, stage: u32) -> Option<&Arc<[AnyInterceptor]>> {
        self.distinct.get(*self.per_stage.get(stage as usize)? as usize)
    }

    /// Whether no stage has an interceptor.
    pub fn is_empty(&self) -> bool {
        self.distinct.is_empty()
    }
}
