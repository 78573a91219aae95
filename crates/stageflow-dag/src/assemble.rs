//! From the draft to the plan: counts what a stage waits for, and turns the edges round.

use std::{sync::OnceLock, time::Duration};

use stageflow_core::value::TypeTag;

use crate::{
    check,
    draft::{Draft, Place},
    least,
    plan::{Csr, Edge, EdgeKind, INPUT, Plan, SPECIAL, Special},
    port::AnyPort,
    problem::BuildError,
};

impl Draft {
    /// Checks everything and freezes it.
    pub(crate) fn build(mut self, input: TypeTag, output: AnyPort, place: Place) -> Result<Plan, BuildError> {
        let problems = check::problems(&mut self, output, place);
        if problems.is_empty() {
            Ok(self.assemble(input, output.index()))
        } else {
            Err(BuildError::new(self.name, problems))
        }
    }

    fn assemble(self, input: TypeTag, output: u32) -> Plan {
        let has_min_times = least::is_said(&self);
        let min_time = if has_min_times { least::to(&self, output) } else { Duration::ZERO };
        let has_durable = is_durable(&self);
        let edges = &self.edges;
        let count = self.stages.len();
        let mut readers = Readers { of_stages: vec![0; count], of_input: 0 };
        let mut in_degree = vec![0; count];
        let mut plain = vec![true; count];
        let mut takers = vec![false; count];
        let mut roots = Vec::new();
        let mut starts = vec![0_u32; count + 1];
        let mut owned_edges = false;
        for (index, stage) in (0..self.len()).zip(0_usize..) {
            let row = edges.row(index);
            for edge in row {
                readers.count(*edge);
                plain[stage] &= is_plain(edge.kind);
                takers[stage] |= edge.kind != EdgeKind::After;
                owned_edges |= edge.kind == EdgeKind::One { owned: true };
            }
            for link in links(row) {
                in_degree[stage] += u32::from(link.counts);
                starts[link.source as usize + 1] += 1;
            }
            if in_degree[stage] == 0 {
                roots.push(index);
            }
        }
        readers.one_more(output);
        let (successors, specials) = self.successors(starts);
        let waits_for_one = |entry: &u32| *entry & SPECIAL == 0 && in_degree[*entry as usize] == 1;
        let fans = (0..self.len()).map(|index| successors.row(index).iter().all(waits_for_one)).collect();
        Plan {
            id: self.id,
            name: self.name,
            names: self.names,
            kinds: self.kinds,
            stages: self.stages,
            locations: self.places.iter().map(|place| place.call).collect(),
            max_in_degree: in_degree.iter().max().copied().unwrap_or(0),
            in_degree,
            successors,
            specials,
            edges: self.edges,
            plain,
            takers,
            fans,
            readers: readers.of_stages,
            input_readers: readers.of_input,
            roots,
            conditions: self.conditions,
            has_durable,
            input_codec: self.input_codec,
            groups: self.groups,
            settings: self.settings,
            policies: self.policies,
            has_min_times,
            min_time,
            input,
            output,
            owned_edges,
            by_name: OnceLock::new(),
            warnings: OnceLock::new(),
        }
    }

    /// Fills the rows whose lengths are counted in `starts`, one place to the right.
    fn successors(&self, mut starts: Vec<u32>) -> (Csr<u32>, Vec<Special>) {
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut free = starts.clone();
        let mut items = vec![0; sum as usize];
        let mut specials = Vec::new();
        for target in 0..self.len() {
            for link in links(self.edges.row(target)) {
                let entry = match link.special {
                    None => target,
                    Some(edge) => {
                        specials.push(Special { target, edge });
                        // There are no more specials than edges, of which the draft takes fewer than 2^31.
                        SPECIAL | u32::try_from(specials.len() - 1).unwrap_or(0)
                    }
                };
                let place = &mut free[link.source as usize];
                items[*place as usize] = entry;
                *place += 1;
            }
        }
        (Csr { starts, items }, specials)
    }
}

/// How a stage hears of the end of another.
struct Link {
    source: u32,
    /// The position of the edge that needs more than a count.
    special: Option<u32>,
    /// Whether the stage waits for it; of an `or` only the first side counts.
    counts: bool,
}

/// The links of one row of edges.
fn links(row: &[Edge]) -> impl Iterator<Item = Link> {
    let mut group = None;
    (0..).zip(row).filter_map(move |(position, edge)| {
        let source = edge.source;
        let link = |special, counts| Some(Link { source, special, counts });
        let link = match edge.kind {
            EdgeKind::Or { group: id, .. } => {
                let first = group.is_none_or(|(known, _, _)| known != id);
                let (_, start, decided) =
                    if first { *group.insert((id, position, source == INPUT)) } else { group? };
                // A group that starts with the input is decided before the run starts.
                if decided { None } else { link(Some(start), first) }
            }
            EdgeKind::When(_) => link(Some(position), true),
            EdgeKind::Many(_) | EdgeKind::Named(_) => None,
            EdgeKind::One { .. } | EdgeKind::Optional | EdgeKind::NamedOne { .. } | EdgeKind::After => {
                link(None, true)
            }
        };
        link.filter(|link| link.source != INPUT)
    })
}

fn is_plain(kind: EdgeKind) -> bool {
    !matches!(
        kind,
        EdgeKind::Optional | EdgeKind::Or { .. } | EdgeKind::When(_) | EdgeKind::NamedOne { optional: true }
    )
}

/// How many edges read each output.
struct Readers {
    of_stages: Vec<u32>,
    of_input: u32,
}

impl Readers {
    fn count(&mut self, edge: Edge) {
        if !edge.kind.is_header() && edge.kind != EdgeKind::After {
            self.one_more(edge.source);
        }
    }

    fn one_more(&mut self, source: u32) {
        match self.of_stages.get_mut(source as usize) {
            Some(readers) => *readers += 1,
            None => self.of_input += 1,
        }
    }
}

/// Whether a stage is durable, or one of a pipeline in the place of a stage.
fn is_durable(draft: &Draft) -> bool {
    draft.settings.values().any(|settings| settings.durable)
        || draft.stages.iter().filter_map(|stage| stage.child_plan()).any(|plan| {
            let plan: &dyn std::any::Any = &*plan;
            plan.downcast_ref::<Plan>().is_some_and(Plan::has_durable)
        })
}
