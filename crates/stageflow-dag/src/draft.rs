//! A pipeline while it is written: the flat arrays that become the plan, and what has to be checked first.

use std::{
    fmt,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use stageflow_core::{StageKind, durable::AnyCodec, stage::ErasedStage};

use crate::{
    plan::{Condition, Csr, Edge, EdgeKind, INPUT, MAX_STAGES, Names, Policies, SettingsMap, StageSettings},
    port::AnyPort,
    problem::Problem,
};

/// Where something was written: the call in the code, and for what comes from data a mark of its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) call: &'static Location<'static>,
    /// Counted from one by what reads the data; zero for what was written in code.
    pub(crate) mark: u32,
}

impl Place {
    #[cfg(feature = "spec")]
    pub(crate) fn marked(self, mark: u32) -> Self {
        Self { mark, ..self }
    }
}

impl From<&'static Location<'static>> for Place {
    fn from(call: &'static Location<'static>) -> Self {
        Self { call, mark: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

/// A pipeline while it is written.
pub(crate) struct Draft {
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    pub(crate) names: Names,
    pub(crate) kinds: Vec<StageKind>,
    pub(crate) stages: Vec<Arc<dyn ErasedStage>>,
    pub(crate) places: Vec<Place>,
    pub(crate) edges: Csr<Edge>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) groups: u32,
    pub(crate) settings: SettingsMap,
    pub(crate) policies: Policies,
    /// How the input leaves the process, if it may.
    pub(crate) input_codec: Option<AnyCodec>,
    /// Where the pipeline's own settings were made; the last call counts.
    pub(crate) set_at: Vec<(Setting, Place)>,
    /// Where the pipeline's interceptors were added, one place for each.
    pub(crate) intercepted_at: Vec<Place>,
    pub(crate) by_name: Vec<ByName>,
    pub(crate) foreign: Vec<Foreign>,
    /// How many stages fit; more than that are dropped and reported.
    pub(crate) limit: usize,
    pub(crate) full: bool,
    /// What was found while it was written.
    pub(crate) found: Vec<Problem>,
}

/// A setting of the pipeline that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    OnFailure,
    MaxInFlight,
    KindLimit(StageKind),
    Deadline,
    Timeout(&'static str),
}

/// An edge whose source is known by name only, until all stages are there.
#[derive(Debug)]
pub(crate) struct ByName {
    pub(crate) stage: u32,
    /// The position in the items of [`Draft::edges`].
    pub(crate) edge: usize,
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// A use of another builder's port.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) stage: u32,
    pub(crate) place: Place,
}

/// What a stage brings along apart from its inputs.
pub(crate) struct NewStage {
    pub(crate) name: String,
    pub(crate) kind: StageKind,
    pub(crate) stage: Arc<dyn ErasedStage>,
    pub(crate) place: Place,
    pub(crate) settings: Option<StageSettings>,
}

/// A number no other builder or plan of this process has.
pub(crate) fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Draft {
    pub(crate) fn new(name: Arc<str>, place: Place) -> Self {
        Self {
            id: fresh_id(),
            name,
            place,
            names: Names::default(),
            kinds: Vec::new(),
            stages: Vec::new(),
            places: Vec::new(),
            edges: Csr { starts: vec![0], items: Vec::new() },
            conditions: Vec::new(),
            groups: 0,
            settings: SettingsMap::default(),
            policies: Policies::default(),
            input_codec: None,
            set_at: Vec::new(),
            intercepted_at: Vec::new(),
            by_name: Vec::new(),
            foreign: Vec::new(),
            limit: MAX_STAGES,
            full: false,
            found: Vec::new(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "`limit` keeps the count below 2^31")]
    pub(crate) fn len(&self) -> u32 {
        self.stages.len() as u32
    }

    /// The wires of the stage that joins next.
    pub(crate) fn wires(&mut self, place: Place) -> Wires<'_> {
        Wires { draft: self, place }
    }

    /// Adds the stage whose wires were pushed last; gives its index.
    pub(crate) fn join(&mut self, new: NewStage) -> u32 {
        if self.stages.len() >= self.limit {
            self.full = true;
            let start = self.edges.starts.last().copied().unwrap_or(0);
            self.edges.items.truncate(start as usize);
            return INPUT;
        }
        let index = self.len();
        self.names.push(&new.name);
        self.kinds.push(new.kind);
        self.stages.push(new.stage);
        self.places.push(new.place);
        if let Some(settings) = new.settings {
            self.settings.insert(index, settings);
        }
        // `push` keeps the count below 2^31.
        self.edges.starts.push(u32::try_from(self.edges.items.len()).unwrap_or(u32::MAX));
        index
    }

    /// Adds an edge of the stage that joins next.
    pub(crate) fn push(&mut self, edge: Edge) {
        if self.edges.items.len() < MAX_STAGES {
            self.edges.items.push(edge);
        } else {
            self.full = true;
        }
    }

    pub(crate) fn set(&mut self, setting: Setting, place: Place) {
        self.set_at.retain(|(known, _)| *known != setting);
        self.set_at.push((setting, place));
    }

    pub(crate) fn condition(&mut self, condition: Condition) -> u32 {
        self.conditions.push(condition);
        u32::try_from(self.conditions.len() - 1).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("name", &self.name).field("stages", &self.len()).finish_non_exhaustive()
    }
}

/// Where wires put their edges while a stage joins the pipeline.
#[derive(Debug)]
pub struct Wires<'d> {
    draft: &'d mut Draft,
    place: Place,
}

impl Wires<'_> {
    pub(crate) fn port(&mut self, port: AnyPort, kind: EdgeKind) {
        let source = self.source(port);
        self.push(source, kind);
    }

    pub(crate) fn many(&mut self, ports: impl ExactSizeIterator<Item = AnyPort>, each: EdgeKind) {
        let count = u32::try_from(ports.len()).unwrap_or(u32::MAX);
        self.push(INPUT, EdgeKind::Many(count));
        ports.for_each(|port| self.port(port, each));
    }

    pub(crate) fn group(&mut self, sides: &[AnyPort], optional: bool) {
        let group = self.draft.groups;
        self.draft.groups += 1;
        for (rest, side) in (0..u32::try_from(sides.len()).unwrap_or(u32::MAX)).rev().zip(sides) {
            self.port(*side, EdgeKind::Or { group, rest, optional });
        }
    }

    pub(crate) fn named(&mut self, names: Vec<(String, bool)>) {
        let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
        self.push(INPUT, EdgeKind::Named(count));
        for (name, optional) in names {
            self.by_name(name, EdgeKind::NamedOne { optional });
        }
    }

    pub(crate) fn by_name(&mut self, name: String, kind: EdgeKind) {
        let (stage, edge) = (self.draft.len(), self.draft.edges.items.len());
        self.push(INPUT, kind);
        self.draft.by_name.push(ByName { stage, edge, name, place: self.place });
    }

    fn source(&mut self, port: AnyPort) -> u32 {
        if port.plan_id() == self.draft.id {
            return port.index();
        }
        let stage = self.draft.len();
        self.draft.foreign.push(Foreign { stage, place: self.place });
        INPUT
    }

    fn push(&mut self, source: u32, kind: EdgeKind) {
        self.draft.push(Edge { source, kind });
    }
}
