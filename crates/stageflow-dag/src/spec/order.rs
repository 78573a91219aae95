//! In which order stages join: that of the data, except that each comes behind what it waits for.
//!
//! Kahn's algorithm (*Topological sorting of large networks*, 1962) with the earliest stage of the data first, so that data in an order
//! that code could have been written in keeps it. Stages in circles come last, in the order of the data.

use std::{cmp::Reverse, collections::BinaryHeap, collections::HashMap};

use super::{
    PipelineSpec,
    format::{OneOrMany, StageSpec},
};
use crate::plan::Csr;

/// The name of the pipeline's input.
pub(super) const INPUT_NAME: &str = "input";

impl StageSpec {
    /// Calls `see` with the name of each stage that this one waits for, as often as it is named.
    pub(super) fn for_each_source<'s>(&'s self, mut see: impl FnMut(&'s str)) {
        if let Some(inputs) = &self.inputs {
            inputs.for_each(&mut see);
        }
        self.after.iter().flat_map(OneOrMany::as_slice).for_each(|name| see(name));
        self.when.iter().flat_map(OneOrMany::as_slice).for_each(|when| see(&when.of));
    }
}

/// The stages of the data in the order in which they join.
pub(super) fn of(spec: &PipelineSpec) -> Vec<u32> {
    let places: HashMap<&str, u32> =
        spec.stages.iter().zip(0..).map(|((name, _), place)| (name, place)).collect();
    let count = spec.stages.len();
    let mut waits = vec![0_u32; count];
    let mut links = Vec::new();
    for (target, (_, stage)) in (0_u32..).zip(spec.stages.iter()) {
        stage.for_each_source(|name| {
            if let Some(source) = places.get(name).filter(|source| **source != target) {
                waits[target as usize] += 1;
                links.push((*source, target));
            }
        });
    }
    let readers = rows(count, &links);
    let mut ready: BinaryHeap<_> =
        (0..).zip(&waits).filter(|(_, waits)| **waits == 0).map(|(stage, _)| Reverse(stage)).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(stage)) = ready.pop() {
        order.push(stage);
        for reader in readers.row(stage) {
            let left = &mut waits[*reader as usize];
            *left -= 1;
            if *left == 0 {
                ready.push(Reverse(*reader));
            }
        }
    }
    if order.len() < count {
        order.extend((0..).zip(&waits).filter(|(_, waits)| **waits > 0).map(|(stage, _)| stage));
    }
    order
}

/// The targets of each source.
fn rows(count: usize, links: &[(u32, u32)]) -> Csr<u32> {
    let mut starts = vec![0_u32; count + 1];
    links.iter().for_each(|(source, _)| starts[*source as usize + 1] += 1);
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut free = starts.clone();
    let mut items = vec![0; links.len()];
    for (source, target) in links {
        let place = &mut free[*source as usize];
        items[*place as usize] = *target;
        *place += 1;
    }
    Csr { starts, items }
}
