//! The plan: what the executor reads. Flat arrays, built once, never changed.

mod arrays;
mod settings;

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    panic::Location,
    sync::{Arc, OnceLock},
    time::Duration,
};

use stageflow_core::{
    StageKind, Timeouts, Value, durable::AnyCodec, event::StageNames, stage::ErasedStage, value::TypeTag,
};

pub(crate) use self::arrays::{Csr, Names};
pub use self::settings::{Policies, StageSettings};

use crate::{check, problem::Problem};

/// The source index of an edge that comes from the pipeline's input, or of a header edge that has none.
pub const INPUT: u32 = u32::MAX;

/// Set in a successor entry that refers to [`Plan::specials`] instead of a stage.
pub const SPECIAL: u32 = 1 << 31;

/// The largest number of stages of a pipeline.
pub const MAX_STAGES: usize = (SPECIAL - 1) as usize;

/// What is set for single stages, by their index.
pub type SettingsMap = HashMap<u32, StageSettings, BuildHasherDefault<ByIndex>>;

/// Hashes the index of a stage, which no caller chooses.
#[derive(Clone, Debug, Default)]
pub struct ByIndex(u64);

impl Hasher for ByIndex {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u32(&mut self, index: u32) {
        // Fibonacci hashing (Knuth, The Art of Computer Programming, vol. 3, §6.4): the table looks at high bits as well.
        self.0 = u64::from(index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// A checked pipeline, ready to be run any number of times.
pub struct Plan {
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) names: Names,
    pub(crate) kinds: Vec<StageKind>,
    pub(crate) stages: Vec<Arc<dyn ErasedStage>>,
    pub(crate) locations: Vec<&'static Location<'static>>,
    /// How many edges of a stage have to be decided before it is; an `or` group counts once, input edges never.
    pub(crate) in_degree: Vec<u32>,
    pub(crate) max_in_degree: u32,
    pub(crate) successors: Csr<u32>,
    pub(crate) specials: Vec<Special>,
    pub(crate) edges: Csr<Edge>,
    /// Sources all of whose successors wait for nothing else.
    pub(crate) fans: Vec<bool>,
    /// Stages whose every edge is required: when all their sources completed, they run.
    pub(crate) plain: Vec<bool>,
    /// Stages with an edge that does more than order.
    pub(crate) takers: Vec<bool>,
    /// How many edges read a stage's output; the pipeline's output counts once more.
    pub(crate) readers: Vec<u32>,
    pub(crate) input_readers: u32,
    pub(crate) roots: Vec<u32>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) groups: u32,
    pub(crate) settings: SettingsMap,
    pub(crate) policies: Policies,
    pub(crate) has_min_times: bool,
    pub(crate) min_time: Duration,
    pub(crate) input: TypeTag,
    pub(crate) input_codec: Option<AnyCodec>,
    pub(crate) has_durable: bool,
    pub(crate) output: u32,
    pub(crate) owned_edges: bool,
    pub(crate) by_name: OnceLock<HashMap<String, u32>>,
    pub(crate) warnings: OnceLock<Vec<Problem>>,
}

/// One edge into a stage. The edges that deliver come first, in the order of the wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The stage it comes from, or [`INPUT`].
    pub source: u32,
    /// What it does.
    pub kind: EdgeKind,
}

/// What an edge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// Required; delivers a value.
    One {
        /// The reader wants to own it.
        owned: bool,
    },
    /// Delivers a value or nothing.
    Optional,
    /// Delivers nothing itself: the next so many wires make up one list.
    Many(u32),
    /// A side of an `or`: delivers the first side, in written order, that completed.
    Or {
        /// Which group, unique in the plan.
        group: u32,
        /// How many sides follow this one.
        rest: u32,
        /// Delivers nothing, instead of skipping the stage, if no side completed.
        optional: bool,
    },
    /// Delivers nothing itself: the next so many [`NamedOne`](Self::NamedOne) edges make up one `StageInputs`.
    Named(u32),
    /// An input by name.
    NamedOne {
        /// A skip or failure of its source is delivered, not passed on.
        optional: bool,
    },
    /// Orders without data; required.
    After,
    /// The stage runs only if this condition holds for the source's output.
    When(u32),
}

impl EdgeKind {
    /// Whether it only announces the edges that follow.
    pub(crate) fn is_header(self) -> bool {
        matches!(self, Self::Many(_) | Self::Named(_))
    }
}

/// A predicate over a source's output.
pub type Predicate = dyn Fn(&Value) -> bool + Send + Sync;

/// A condition of a stage.
#[derive(Clone)]
pub struct Condition(pub(crate) Arc<Predicate>);

impl Condition {
    /// Whether the stage runs. User code: it may panic.
    pub fn holds(&self, value: &Value) -> bool {
        (self.0)(value)
    }

    #[cfg(feature = "spec")]
    pub(crate) fn not(condition: Self) -> Self {
        Self(Arc::new(move |value| !condition.holds(value)))
    }

    pub(crate) fn predicate(&self) -> &Arc<Predicate> {
        &self.0
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition(..)")
    }
}

/// A successor that a plain count cannot serve: a side of an `or`, or a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// The stage it leads to.
    pub target: u32,
    /// The edge's position in [`Plan::edges`] of that stage; for an `or`, that of the group's first side.
    pub edge: u32,
}

impl Plan {
    /// Unique in the process: the key under which an engine remembers what it resolved for this plan.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The pipeline's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many stages there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.stages.len()
    }

    /// Whether there is no stage; never true of a plan that was built.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// The stage at `index`.
    #[inline]
    pub fn stage(&self, index: u32) -> &dyn ErasedStage {
        &*self.stages[index as usize]
    }

    /// The name of the stage at `index`.
    #[inline]
    pub fn stage_name(&self, index: u32) -> &str {
        self.names.get(index)
    }

    /// The kind of the stage at `index`.
    #[inline]
    pub fn kind(&self, index: u32) -> StageKind {
        self.kinds[index as usize]
    }

    /// Where in the user's code the stage was added.
    pub fn location(&self, index: u32) -> &'static Location<'static> {
        self.locations[index as usize]
    }

    /// How the input leaves the process, if it may.
    pub fn input_codec(&self) -> Option<&AnyCodec> {
        self.input_codec.as_ref()
    }

    /// Whether the input is `()`, which need not be kept.
    pub fn input_is_unit(&self) -> bool {
        self.input == TypeTag::of::<()>()
    }

    /// Whether a stage is durable, also one of a pipeline in the place of a stage.
    #[inline]
    pub fn has_durable(&self) -> bool {
        self.has_durable
    }

    /// Whether what a stage gives is in the journal before anybody reads it.
    pub fn is_durable(&self, index: u32) -> bool {
        self.has_durable && self.settings(index).is_some_and(|settings| settings.durable)
    }

    /// A number for what a stage is and what feeds it: its kind, and its edges with the names of their sources. The same in every
    /// process and version (FNV-1a, 32 bit).
    pub fn wiring(&self, index: u32) -> u32 {
        let mut hash = 0x811c_9dc5_u32;
        let mut write = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
            }
        };
        write(self.kind(index).as_str().as_bytes());
        for edge in self.edges(index) {
            let kind: [u8; 2] = match edge.kind {
                EdgeKind::One { .. } => [1, 0],
                EdgeKind::Optional => [2, 0],
                EdgeKind::Many(_) => [3, 0],
                EdgeKind::Or { optional, .. } => [4, optional.into()],
                EdgeKind::Named(_) => [5, 0],
                EdgeKind::NamedOne { optional } => [6, optional.into()],
                EdgeKind::After => [7, 0],
                EdgeKind::When(_) => [8, 0],
            };
            write(&kind);
            // How many edges make up one input.
            if let EdgeKind::Many(count) | EdgeKind::Named(count) | EdgeKind::Or { rest: count, .. } =
                edge.kind
            {
                write(&count.to_le_bytes());
            }
            write(if edge.source == INPUT { b"" } else { self.stage_name(edge.source).as_bytes() });
        }
        hash
    }

    /// The index of the stage `name`.
    pub fn index_of(&self, name: &str) -> Option<u32> {
        let by_name = self.by_name.get_or_init(|| {
            (0..).zip(self.names.iter()).map(|(index, name)| (name.to_owned(), index)).collect()
        });
        by_name.get(name).copied()
    }

    /// How many edges of a stage have to be decided before it is.
    #[inline]
    pub fn in_degree(&self, index: u32) -> u32 {
        self.in_degree[index as usize]
    }

    /// The same of all stages.
    pub fn in_degrees(&self) -> &[u32] {
        &self.in_degree
    }

    /// Who has to be told when a stage has ended: stages, or with [`SPECIAL`] set indices into [`specials`](Self::specials).
    #[inline]
    pub fn successors(&self, index: u32) -> &[u32] {
        self.successors.row(index)
    }

    /// The largest number of edges that a stage waits for.
    #[inline]
    pub fn max_in_degree(&self) -> u32 {
        self.max_in_degree
    }

    /// Whether all successors of a stage wait for nothing else: they are ready as soon as it has ended.
    #[inline]
    pub fn is_fan(&self, index: u32) -> bool {
        self.fans[index as usize]
    }

    /// The successors that a plain count cannot serve.
    #[inline]
    pub fn specials(&self) -> &[Special] {
        &self.specials
    }

    /// The edges into a stage.
    #[inline]
    pub fn edges(&self, index: u32) -> &[Edge] {
        self.edges.row(index)
    }

    /// Whether every edge of a stage is required and unconditional.
    #[inline]
    pub fn is_plain(&self, index: u32) -> bool {
        self.plain[index as usize]
    }

    /// Whether some edge of a stage does more than order: it delivers a value, or has to be let go of.
    #[inline]
    pub fn takes(&self, index: u32) -> bool {
        self.takers[index as usize]
    }

    /// How many edges read a stage's output.
    #[inline]
    pub fn readers(&self, index: u32) -> u32 {
        self.readers[index as usize]
    }

    /// How many edges read the pipeline's input.
    pub fn input_readers(&self) -> u32 {
        self.input_readers
    }

    /// The stages that wait for none, in declaration order.
    pub fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// The conditions of all stages.
    #[inline]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// How many `or` groups there are.
    #[inline]
    pub fn groups(&self) -> u32 {
        self.groups
    }

    /// What is set for the stage at `index` alone.
    #[inline]
    pub fn settings(&self, index: u32) -> Option<&StageSettings> {
        if self.settings.is_empty() {
            return None;
        }
        self.settings.get(&index)
    }

    /// What is set for some stage alone.
    pub fn all_settings(&self) -> &SettingsMap {
        &self.settings
    }

    /// What is set for the whole pipeline.
    #[inline]
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Whether some stage says what it takes at least.
    #[inline]
    pub fn has_min_times(&self) -> bool {
        self.has_min_times
    }

    /// What the stage at `index` takes at least: what is set for it, or more where it is a pipeline that takes more.
    pub fn min_time_of(&self, index: u32) -> Duration {
        let own = self.settings(index).map_or(Duration::ZERO, |settings| settings.min_time);
        own.max(self.stage(index).min_time())
    }

    /// When the output can be there at the earliest, from the start of a run: the longest path to it.
    #[inline]
    pub fn min_time(&self) -> Duration {
        self.min_time
    }

    /// What stage and pipeline say about the time of the stage at `index`.
    pub fn timeouts(&self, index: u32) -> Timeouts {
        match self.settings(index) {
            Some(settings) => settings.timeouts.or(self.policies.timeouts),
            None => self.policies.timeouts,
        }
    }

    /// The type of the input.
    pub fn input(&self) -> TypeTag {
        self.input
    }

    /// The stage whose output is the pipeline's, or [`INPUT`].
    #[inline]
    pub fn output(&self) -> u32 {
        self.output
    }

    /// What is suspicious; found at the first call.
    pub fn warnings(&self) -> &[Problem] {
        self.warnings.get_or_init(|| check::warnings(self))
    }

    /// Whether some stage wants to own an input.
    #[inline]
    pub fn has_owned_edges(&self) -> bool {
        self.owned_edges
    }
}

impl StageNames for Plan {
    fn stage_name(&self, index: u32) -> &str {
        self.names.get(index)
    }

    fn stage_kind(&self, index: u32) -> StageKind {
        self.kind(index)
    }

    fn for_each_source(&self, index: u32, visit: &mut dyn FnMut(u32)) {
        let sources = self.edges(index).iter().map(|edge| edge.source);
        sources.filter(|source| *source != INPUT).for_each(visit);
    }

    fn has_kind(&self, kind: StageKind) -> bool {
        self.kinds.contains(&kind)
    }

    fn stage_count(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("name", &self.name).field("stages", &self.len()).finish_non_exhaustive()
    }
}
