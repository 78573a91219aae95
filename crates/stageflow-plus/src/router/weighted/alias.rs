//! [`AliasTable`]: chance by weight, in constant time.

use stageflow_core::time::below;

/// Draws members by weight with one random number each, in constant time (Walker, 1974; tables by Vose, 1991).
///
/// Everything is in whole numbers: with random bits that are even, no member is drawn more often than its share but for less than one
/// part in 2^64 of the product of the total weight and the number of members.
///
/// ```
/// use stageflow_plus::router::AliasTable;
///
/// let table = AliasTable::new([9, 1]).expect("not all weights are 0");
/// assert_eq!(table.draw(0), 0);
/// ```
#[derive(Clone, Debug)]
pub struct AliasTable {
    /// Each column belongs to its own member below the mark, and to the other one from there on.
    columns: Box<[(u64, u32)]>,
    total: u64,
}

impl AliasTable {
    /// Members by their weights, numbered from 0, at most 2^24 of them; `None` if all weights are 0.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Option<Self> {
        Self::scaled(weights.into_iter().map(u64::from))
    }

    /// The same for weights that were multiplied: below 2^40 each.
    pub(crate) fn scaled(weights: impl IntoIterator<Item = u64>) -> Option<Self> {
        let weights: Vec<u64> = weights.into_iter().take(1 << 24).collect();
        let total: u64 = weights.iter().sum();
        if total == 0 {
            return None;
        }
        // How much of a column, whose height is the total, each member fills.
        let mut heights: Vec<u128> =
            weights.iter().map(|weight| u128::from(*weight) * weights.len() as u128).collect();
        let full = u128::from(total);
        let (mut low, mut high): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|at| heights[*at] < full);
        let own = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let mut columns: Box<[_]> = (0..weights.len()).map(|at| (total, own(at))).collect();
        while let (Some(small), Some(large)) = (low.pop(), high.last().copied()) {
            columns[small] = (u64::try_from(heights[small]).unwrap_or(total), own(large));
            heights[large] -= full - heights[small];
            if heights[large] < full {
                high.pop();
                low.push(large);
            }
        }
        Some(Self { columns, total })
    }

    /// The member for 64 random bits.
    pub fn draw(&self, random: u64) -> usize {
        let wide = u128::from(random) * self.columns.len() as u128;
        // The upper half is the column, and the lower half is as even as ever.
        let column = usize::try_from(wide >> 64).unwrap_or(0);
        let rest = u64::try_from(wide & u128::from(u64::MAX)).unwrap_or(0);
        let (mark, other) = self.columns[column];
        if below(rest, u128::from(self.total)) < mark { column } else { other as usize }
    }
}
