//! [`Split`]: variants for shares of those who are asked for, and always the same for each.

use std::{fmt, hash::Hash, sync::Arc};

use stageflow_core::{Stage, StageContext, StageKind, StageResult, TenantId};

use super::{
    hash::{rendezvous, stable_hash},
    route::{Route, RouteKey, RouteReason, label},
    shell::{NoRoute, Shell, shell_setters},
};

type KeyOf<T> = dyn Fn(&T, u64) -> u64 + Send + Sync;

/// An A/B test: each key gets one of the variants and keeps it, in every process, without anything being stored.
///
/// The name of the test is part of the hash, so that two tests divide the same users differently; so is the tenant of the run. Making
/// a variant larger moves users to it and nobody between the others: a test can grow from 1 % to 10 % without anybody of the 1 % leaving.
///
/// ```
/// use stageflow_plus::router::Split;
///
/// let split = Split::new("greeting-2", [("old", 90), ("new", 10)], |user: &String| user.clone());
/// let first = split.assign(None, &"ada".to_owned()).cloned();
/// assert_eq!(split.assign(None, &"ada".to_owned()).cloned(), first);
/// ```
pub struct Split<R, T> {
    shell: Shell,
    variants: Arc<[(R, u64, u32)]>,
    key: Arc<KeyOf<T>>,
}

impl<R: RouteKey, T> Split<R, T> {
    /// Variants with the weight of each, and whom an input is about. With all weights 0 there is no route.
    pub fn new<K: Hash>(
        name: impl Into<Arc<str>>,
        variants: impl IntoIterator<Item = (R, u32)>,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Self {
        let mut shell = Shell::new("Split");
        shell.name = name.into();
        let variant = |(variant, weight)| {
            let hash = stable_hash(0, label(&variant).as_str());
            (variant, hash, weight)
        };
        Self {
            shell,
            variants: variants.into_iter().map(variant).collect(),
            key: Arc::new(move |input, seed| stable_hash(seed, &key(input))),
        }
    }

    shell_setters!();

    /// The variant of an input for a tenant; `None` if all weights are 0.
    pub fn assign(&self, tenant: Option<&TenantId>, input: &T) -> Option<&R> {
        let seed = stable_hash(0, &(&*self.shell.name, tenant.map(TenantId::as_str)));
        let key = (self.key)(input, seed);
        let routes = self.variants.iter().map(|(_, hash, weight)| (*hash, u64::from(*weight)));
        rendezvous(key, routes).map(|index| &self.variants[index].0)
    }
}

impl<R: RouteKey, T: Send + Sync + 'static> Stage for Split<R, T> {
    type Input = Arc<T>;
    type Output = Route<R>;
    const KIND: StageKind = StageKind::Route;

    async fn run(&self, ctx: &StageContext, input: Arc<T>) -> StageResult<Route<R>> {
        match self.assign(ctx.identity().tenant_id(), &input) {
            Some(variant) => {
                self.shell.decided(ctx, Route::to(variant.clone()).reason_code(RouteReason::Split))
            }
            None => {
                let none = NoRoute::<R>::permanent("drained", "all variants have the weight 0");
                Err(self.shell.refused(ctx, none))
            }
        }
    }
}

impl<R, T> Clone for Split<R, T> {
    fn clone(&self) -> Self {
        Self { shell: self.shell.clone(), variants: Arc::clone(&self.variants), key: Arc::clone(&self.key) }
    }
}

impl<R: fmt::Debug, T> fmt::Debug for Split<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("name", &self.shell.name).finish_non_exhaustive()
    }
}
