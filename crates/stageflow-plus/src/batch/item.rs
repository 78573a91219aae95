//! [`Batch`]: the items of several callers, for one call.

use std::{fmt, ops::Deref, vec};

use stageflow_core::TenantId;

use super::queue::Key;

/// The items of several callers, for one call: what the handler of a [`Batcher`](super::Batcher) is given.
///
/// A list of items in the order in which they came; all of one tenant, unless the batcher mixes tenants.
pub struct Batch<I> {
    tenant: Key,
    items: Vec<I>,
}

impl<I> Batch<I> {
    pub(super) fn new(tenant: Key, items: Vec<I>) -> Self {
        Self { tenant, items }
    }

    /// Whose items these are; `None` of callers without a tenant, and of a batcher that mixes tenants.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// The items themselves.
    pub fn into_items(self) -> Vec<I> {
        self.items
    }
}

impl<I> Deref for Batch<I> {
    type Target = [I];

    fn deref(&self) -> &[I] {
        &self.items
    }
}

impl<I> IntoIterator for Batch<I> {
    type Item = I;
    type IntoIter = vec::IntoIter<I>;

    fn into_iter(self) -> vec::IntoIter<I> {
        self.items.into_iter()
    }
}

impl<I> fmt::Debug for Batch<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.items.len()).finish_non_exhaustive()
    }
}
