//! [`StageBuilder`] and [`ParallelBuilder`]: what is said about a stage between its name and its inputs.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use stageflow_core::{Interceptor, Stage, StageKind, Value, intercept::AnyInterceptor};

use crate::{
    builder::Builder,
    draft::{Draft, NewStage, Place},
    lint::{Allowed, Lint},
    plan::{Condition, EdgeKind, StageSettings},
    port::{AnyPort, Port},
    sub_pipeline::IntoStage,
    wire::Wire,
};

/// A stage that has a name and waits for its inputs: made by [`Builder::stage`].
#[must_use = "a stage joins the pipeline when its inputs are given"]
pub struct StageBuilder<'b, I, S> {
    builder: &'b mut Builder<I>,
    name: String,
    stage: S,
    place: Place,
    options: Options,
}

/// Numbered stages that wait for their inputs: made by [`Builder::parallel`].
#[must_use = "the stages join the pipeline when their inputs are given"]
pub struct ParallelBuilder<'b, I, S, F: FnMut(usize) -> S> {
    builder: &'b mut Builder<I>,
    prefix: String,
    indices: Vec<usize>,
    factory: F,
    place: Place,
    options: Options,
}

/// What both kinds of builders collect.
#[derive(Default)]
struct Options {
    kind: Option<StageKind>,
    after: Vec<Before>,
    when: Vec<(AnyPort, Condition)>,
    settings: Option<Box<StageSettings>>,
}

/// A stage that has to complete first.
#[derive(Clone)]
enum Before {
    Port(AnyPort),
    Name(String),
}

impl Options {
    fn settings(&mut self) -> &mut StageSettings {
        self.settings.get_or_insert_default()
    }

    /// Adds each condition to the plan once, however many stages share it.
    fn conditions(&mut self, draft: &mut Draft) -> Vec<(AnyPort, u32)> {
        self.when.drain(..).map(|(port, condition)| (port, draft.condition(condition))).collect()
    }
}

pub(crate) fn condition<T: Any>(predicate: impl Fn(&T) -> bool + Send + Sync + 'static) -> Condition {
    Condition(Arc::new(move |value: &Value| value.downcast_ref().is_some_and(&predicate)))
}

macro_rules! setters {
    () => {
        /// Says what kind of work it is, instead of [`Stage::KIND`].
        pub fn kind(mut self, kind: StageKind) -> Self {
            self.options.kind = Some(kind);
            self
        }

        /// Runs only if `predicate` holds for the port's value, and is skipped otherwise (rule S-6). Of several
        /// conditions all have to hold. A predicate that panics fails the stage.
        pub fn when<T: Any + Send + Sync>(
            mut self,
            port: Port<T>,
            predicate: impl Fn(&T) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.options.when.push((port.erase(), condition(predicate)));
            self
        }

        /// Runs only after the port's stage has completed, without reading its output. A stage that is skipped or
        /// fails passes that on, as over any required edge (rule S-6).
        pub fn after(mut self, port: impl Into<AnyPort>) -> Self {
            self.options.after.push(Before::Port(port.into()));
            self
        }

        /// Like [`after`](Self::after), for a stage known by name, which may be declared later.
        pub fn after_name(mut self, name: impl Into<String>) -> Self {
            self.options.after.push(Before::Name(name.into()));
            self
        }

        /// The time for all attempts together; `None` for no limit, whatever pipeline and engine say.
        pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.options.settings().timeouts.stage = timeout.into().into();
            self
        }

        /// The time for one attempt; `None` for no limit, whatever pipeline and engine say.
        pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.options.settings().timeouts.attempt = timeout.into().into();
            self
        }

        /// How long an attempt may go on without a sign of
        /// [`progress`](stageflow_core::StageContext::progress): then it fails with `IDLE_TIMEOUT`. `None` for no limit,
        /// whatever pipeline and engine say. The first sign is its start, so waiting for a permit or for the next attempt
        /// does not count, also not that of the stages of a child run.
        pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.options.settings().timeouts.idle = timeout.into().into();
            self
        }

        /// The least time that an attempt of any use takes. With less left under the deadline of the run or the timeout of
        /// the stage no attempt is begun and nothing is waited for: the stage fails at once with `DEADLINE_EXCEEDED`.
        /// [`Pipeline::min_time`](crate::Pipeline::min_time) adds it up, and a run with a deadline below that is refused.
        pub fn min_time(mut self, time: Duration) -> Self {
            self.options.settings().min_time = time;
            self
        }

        /// The time to end by itself after a cancellation, before its future is dropped; without a call, none.
        pub fn grace(mut self, grace: Duration) -> Self {
            self.options.settings().grace = Some(grace);
            self
        }

        /// What one attempt is estimated to cost, in the units of the budget. Each attempt reserves so much before it starts,
        /// and one that cannot be afforded is not made: the stage fails with `BUDGET_EXHAUSTED`. It counts as spent unless the
        /// attempt says what it has really cost, by `ctx.budget().settle(…)`.
        pub fn cost(mut self, estimate: u64) -> Self {
            self.options.settings().cost = Some(estimate);
            self
        }

        /// Tries this stage again: [`intercept`](Self::intercept), said of a retry policy.
        pub fn retry(self, policy: impl Interceptor) -> Self {
            self.intercept(policy)
        }

        /// Keeps a finding about this stage, or about stages in it, out of what [`Pipeline::lint`](crate::Pipeline::lint) and
        /// `Engine::lint` find, and says why it is all right. Their reports list it with the reason.
        pub fn allow_lint(mut self, lint: Lint, reason: impl Into<Arc<str>>) -> Self {
            self.options.settings().allowed.push(Allowed::new(lint, reason));
            self
        }

        /// Wraps the calls of this stage, inside of what engine and pipeline put into the same layer.
        pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
            self.options.settings().interceptors.push(AnyInterceptor::new(interceptor));
            self
        }
    };
}

impl<'b, I, S: IntoStage> StageBuilder<'b, I, S> {
    pub(crate) fn new(builder: &'b mut Builder<I>, name: String, stage: S, place: Place) -> Self {
        Self { builder, name, stage, place, options: Options::default() }
    }

    setters!();

    /// Says what feeds the stage, adds it to the pipeline, and gives the port of its output.
    #[track_caller]
    pub fn inputs<W>(mut self, wire: W) -> Port<<S::Stage as Stage>::Output>
    where
        W: Wire<<S::Stage as Stage>::Input>,
    {
        let here = std::panic::Location::caller().into();
        let draft = &mut self.builder.draft;
        let conditions = self.options.conditions(draft);
        wire.connect(&mut draft.wires(here));
        let node = join(
            draft,
            here,
            &conditions,
            &self.options.after,
            NewStage {
                name: self.name,
                kind: self.options.kind.unwrap_or(<S::Stage as Stage>::KIND),
                stage: Arc::new(self.stage.into_stage()),
                place: self.place,
                settings: self.options.settings.map(|settings| *settings),
            },
        );
        Port::new(draft.id, node)
    }
}

impl<'b, I, S: IntoStage, F: FnMut(usize) -> S> ParallelBuilder<'b, I, S, F> {
    pub(crate) fn new(
        builder: &'b mut Builder<I>,
        prefix: String,
        indices: Vec<usize>,
        factory: F,
        place: Place,
    ) -> Self {
        Self { builder, prefix, indices, factory, place, options: Options::default() }
    }

    setters!();

    /// Says what feeds each of the stages, adds them to the pipeline, and gives their ports in the order of the
    /// indices.
    #[track_caller]
    pub fn inputs<W>(mut self, wire: W) -> Vec<Port<<S::Stage as Stage>::Output>>
    where
        W: Wire<<S::Stage as Stage>::Input> + Clone,
    {
        let here = std::panic::Location::caller().into();
        let draft = &mut self.builder.draft;
        let conditions = self.options.conditions(draft);
        let largest = self.indices.iter().max().copied().unwrap_or(0);
        let width = largest.to_string().len().max(3);
        let count = self.indices.len();
        let mut ports = Vec::with_capacity(count);
        for (index, wire) in self.indices.into_iter().zip(std::iter::repeat_n(wire, count)) {
            let stage = Arc::new((self.factory)(index).into_stage());
            wire.connect(&mut draft.wires(here));
            let node = join(
                draft,
                here,
                &conditions,
                &self.options.after,
                NewStage {
                    name: format!("{}-{index:0width$}", self.prefix),
                    kind: self.options.kind.unwrap_or(<S::Stage as Stage>::KIND),
                    stage,
                    place: self.place,
                    settings: self.options.settings.as_deref().cloned(),
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
