//! [`StageBuilder`] and [`ParallelBuilder`]: what is said about a stage between its name and its inputs.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use stageflow_core::{
    Interceptor, Stage, StageKind, Value,
    durable::{AnyCodec, Codec},
};

use crate::{
    builder::Builder,
    configured::{IntoConfiguredStage, Said, codec_setters, setters},
    draft::{Draft, NewStage, Place},
    lint::Lint,
    names::numbered,
    plan::{Condition, EdgeKind},
    port::{AnyPort, Port},
    wire::Wire,
};

/// A stage that has a name and waits for its inputs: made by [`Builder::stage`].
#[must_use = "a stage joins the pipeline when its inputs are given"]
pub struct StageBuilder<'b, I, S> {
    builder: &'b mut Builder<I>,
    name: String,
    stage: S,
    place: Place,
    said: Said,
    edges: Edges,
}

/// Numbered stages that wait for their inputs: made by [`Builder::parallel`].
#[must_use = "the stages join the pipeline when their inputs are given"]
pub struct ParallelBuilder<'b, I, S, F: FnMut(usize) -> S> {
    builder: &'b mut Builder<I>,
    prefix: String,
    indices: Vec<usize>,
    factory: F,
    place: Place,
    said: Said,
    edges: Edges,
}

/// The edges that deliver nothing.
#[derive(Default)]
struct Edges {
    after: Vec<Before>,
    when: Vec<(AnyPort, Condition)>,
}

/// A stage that has to complete first.
#[derive(Clone)]
enum Before {
    Port(AnyPort),
    Name(String),
}

impl Edges {
    /// Adds each condition to the plan once, however many stages share it.
    fn conditions(&mut self, draft: &mut Draft) -> Vec<(AnyPort, u32)> {
        self.when.drain(..).map(|(port, condition)| (port, draft.condition(condition))).collect()
    }
}

pub(crate) fn condition<T: Any>(predicate: impl Fn(&T) -> bool + Send + Sync + 'static) -> Condition {
    Condition(Arc::new(move |value: &Value| value.downcast_ref().is_some_and(&predicate)))
}

macro_rules! edge_setters {
    () => {
        /// Runs only if `predicate` holds for the port's value, and is skipped otherwise (rule S-6). Of several
        /// conditions all have to hold. A predicate that panics fails the stage.
        pub fn when<T: Any + Send + Sync>(
            mut self,
            port: Port<T>,
            predicate: impl Fn(&T) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.edges.when.push((port.erase(), condition(predicate)));
            self
        }

        /// Runs only after the port's stage has completed, without reading its output. A stage that is skipped or
        /// fails passes that on, as over any required edge (rule S-6).
        pub fn after(mut self, port: impl Into<AnyPort>) -> Self {
            self.edges.after.push(Before::Port(port.into()));
            self
        }

        /// Like [`after`](Self::after), for a stage known by name, which may be declared later.
        pub fn after_name(mut self, name: impl Into<String>) -> Self {
            self.edges.after.push(Before::Name(name.into()));
            self
        }
    };
}

impl<'b, I, S: IntoConfiguredStage> StageBuilder<'b, I, S> {
    pub(crate) fn new(builder: &'b mut Builder<I>, name: String, stage: S, place: Place) -> Self {
        Self { builder, name, stage, place, said: Said::default(), edges: Edges::default() }
    }

    setters!();
    codec_setters!(S);
    edge_setters!();

    /// Says what feeds the stage, adds it to the pipeline, and gives the port of its output.
    #[track_caller]
    pub fn inputs<W>(mut self, wire: W) -> Port<<S::Stage as Stage>::Output>
    where
        W: Wire<<S::Stage as Stage>::Input>,
    {
        let here = std::panic::Location::caller().into();
        let (stage, said) = self.stage.into_configured().into_parts();
        let said = self.said.over(said);
        let draft = &mut self.builder.draft;
        let conditions = self.edges.conditions(draft);
        wire.connect(&mut draft.wires(here));
        let node = join(
            draft,
            here,
            &conditions,
            &self.edges.after,
            NewStage {
                name: self.name,
                kind: said.kind.unwrap_or(<S::Stage as Stage>::KIND),
                stage: Arc::new(stage),
                place: self.place,
                settings: said.settings.map(|settings| *settings),
            },
        );
        Port::new(draft.id, node)
    }
}

impl<'b, I, S: IntoConfiguredStage, F: FnMut(usize) -> S> ParallelBuilder<'b, I, S, F> {
    pub(crate) fn new(
        builder: &'b mut Builder<I>,
        prefix: String,
        indices: Vec<usize>,
        factory: F,
        place: Place,
    ) -> Self {
        Self { builder, prefix, indices, factory, place, said: Said::default(), edges: Edges::default() }
    }

    setters!();
    codec_setters!(S);
    edge_setters!();

    /// Says what feeds each of the stages, adds them to the pipeline, and gives their ports in the order of the
    /// indices.
    #[track_caller]
    pub fn inputs<W>(mut self, wire: W) -> Vec<Port<<S::Stage as Stage>::Output>>
    where
        W: Wire<<S::Stage as Stage>::Input> + Clone,
    {
        let here = std::panic::Location::caller().into();
        let draft = &mut self.builder.draft;
        let conditions = self.edges.conditions(draft);
        let largest = self.indices.iter().max().copied().unwrap_or(0);
        let count = self.indices.len();
        let mut ports = Vec::with_capacity(count);
        for (index, wire) in self.indices.into_iter().zip(std::iter::repeat_n(wire, count)) {
            let (stage, said) = (self.factory)(index).into_configured().into_parts();
            let said = self.said.clone().over(said);
            wire.connect(&mut draft.wires(here));
            let node = join(
                draft,
                here,
                &conditions,
                &self.edges.after,
                NewStage {
                    name: numbered(&self.prefix, index, largest),
                    kind: said.kind.unwrap_or(<S::Stage as Stage>::KIND),
                    stage: Arc::new(stage),
                    place: self.place,
                    settings: said.settings.map(|settings| *settings),
                },
            );
            ports.push(Port::new(draft.id, node));
        }
        ports
    }
}

/// Adds the edges that deliver nothing, behind those of the wires, and then the stage.
fn join(draft: &mut Draft, here: Place, when: &[(AnyPort, u32)], after: &[Before], stage: NewStage) -> u32 {
    let mut wires = draft.wires(here);
    for before in after {
        match before {
            Before::Port(port) => wires.port(*port, EdgeKind::After),
            Before::Name(name) => wires.by_name(name.clone(), EdgeKind::After),
        }
    }
    for (port, condition) in when {
        wires.port(*port, EdgeKind::When(*condition));
    }
    draft.join(stage)
}

impl<I, S> fmt::Debug for StageBuilder<'_, I, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<I, S, F: FnMut(usize) -> S> fmt::Debug for ParallelBuilder<'_, I, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelBuilder").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
