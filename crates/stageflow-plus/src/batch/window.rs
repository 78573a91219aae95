//! [`Window`]: some items that follow each other.

use std::{fmt, ops::Deref, vec};

/// Why a window has no more items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClosedBy {
    /// It has as many as a window may have.
    Size,
    /// What comes next would make it too heavy, or it is as heavy as a window may be.
    Weight,
    /// Its time is over.
    Time,
    /// Nothing comes any more.
    End,
}

/// Some items that follow each other, in their order; those at its beginning may have been in the window before as well.
///
/// Without what is repeated, all windows one after the other are what they were made of.
#[derive(Clone, PartialEq, Eq)]
pub struct Window<T> {
    pub(super) items: Vec<T>,
    pub(super) repeated: usize,
    pub(super) by: ClosedBy,
}

impl<T> Window<T> {
    /// How many of its items were in the window before: those at the beginning.
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// The items that were in no window before; never none.
    pub fn fresh(&self) -> &[T] {
        self.items.get(self.repeated..).unwrap_or_default()
    }

    /// Why it has no more.
    pub fn closed_by(&self) -> ClosedBy {
        self.by
    }

    /// All items.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }
}

impl<T> Deref for Window<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> IntoIterator for Window<T> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;

    fn into_iter(self) -> vec::IntoIter<T> {
        self.items.into_iter()
    }
}

impl<T> fmt::Debug for Window<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("len", &self.items.len())
            .field("repeated", &self.repeated)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}
