//! Whether a stage runs once all its edges are decided, and what a special edge decides.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use stageflow_core::{FailurePolicy, SkipCause, StageExit, StageOutcome};
use stageflow_dag::plan::{Edge, EdgeKind, INPUT, SPECIAL};

use crate::{
    cell::State,
    row::MIN_ROW,
    run::RunCore,
    worker::{Worker, panicked},
};

/// What is to become of a stage.
pub(crate) enum Verdict {
    Run,
    Skip(SkipCause),
    Block { by: String },
    Fail(StageExit),
}

/// Whether the source of an edge gives a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Open,
    Value,
    Skipped,
    Failed,
}

/// From so many edges on, a stage is told of them in bundles.
pub(crate) const MIN_HELD: u32 = 32;

const UNKNOWN: u8 = 0;
const HOLDS: u8 = 1;
const FAILS: u8 = 2;
const PANICKED: u8 = 3;

impl RunCore {
    fn source(&self, source: u32) -> Source {
        if source == INPUT {
            return Source::Value;
        }
        match self.cell(source).state() {
            State::Waiting | State::Running => Source::Open,
            State::Completed => Source::Value,
            State::Skipped => Source::Skipped,
            State::Failed | State::Blocked | State::Cancelled => Source::Failed,
        }
    }

    /// The verdict on a stage all of whose edges are decided (S-6).
    ///
    /// A condition that does not hold comes first, then failures, then skips: so the verdict does not depend on
    /// the order in which the edges were decided.
    pub(crate) fn decide(&self, stage: u32) -> Verdict {
        let edges = self.plan.edges(stage);
        for edge in edges {
            if let EdgeKind::When(condition) = edge.kind
                && self.source(edge.source) == Source::Value
            {
                match self.condition(condition, edge.source) {
                    Ok(true) => {}
                    Ok(false) => {
                        return Verdict::Skip(SkipCause::NotTaken { route: self.name_of(edge.source) });
                    }
                    Err(exit) => return Verdict::Fail(exit),
                }
            }
        }
        let mut skipped_by = None;
        let mut index = 0;
        while let Some(edge) = edges.get(index) {
            index += 1;
            let (source, culprit) = match edge.kind {
                EdgeKind::One { .. }
                | EdgeKind::After
                | EdgeKind::When(_)
                | EdgeKind::NamedOne { optional: false } => (self.source(edge.source), edge.source),
                EdgeKind::Or { rest, optional, .. } => {
                    let sides = &edges[index - 1..index + rest as usize];
                    index += rest as usize;
                    if optional { continue } else { self.join(sides) }
                }
                EdgeKind::Optional
                | EdgeKind::NamedOne { optional: true }
                | EdgeKind::Many(_)
                | EdgeKind::Named(_) => continue,
            };
            match source {
                // It reads nothing of what failed.
                Source::Failed if edge.kind == EdgeKind::After && self.is_best_effort() => {}
                Source::Failed => return Verdict::Block { by: self.root_failure(culprit) },
                Source::Skipped if skipped_by.is_none() => skipped_by = Some(culprit),
                Source::Open | Source::Value | Source::Skipped => {}
            }
        }
        match skipped_by {
            Some(source) => Verdict::Skip(SkipCause::Upstream { stage: self.name_of(source) }),
            None => Verdict::Run,
        }
    }

    /// What the sides of an `or` come to: a failure among them matters only if none completed.
    fn join(&self, sides: &[Edge]) -> (Source, u32) {
        let first = |wanted| sides.iter().find(|side| self.source(side.source) == wanted);
        [Source::Value, Source::Open, Source::Failed, Source::Skipped]
            .into_iter()
            .find_map(|wanted| first(wanted).map(|side| (wanted, side.source)))
            .unwrap_or((Source::Skipped, INPUT))
    }

    /// Whether an `or` is decided: a side completed and all sides before it ended, or all ended.
    fn is_decided(&self, sides: &[Edge]) -> bool {
        for side in sides {
            match self.source(side.source) {
                Source::Value => return true,
                Source::Open => return false,
                Source::Skipped | Source::Failed => {}
            }
        }
        true
    }

    /// The value of a condition: the user's code is asked once.
    fn condition(&self, condition: u32, source: u32) -> Result<bool, StageExit> {
        let known = &self.conditions[condition as usize];
        match known.load(Ordering::Acquire) {
            UNKNOWN => {}
            PANICKED => return Err(panicked(Box::new("its condition panicked when another stage asked it"))),
            seen => return Ok(seen == HOLDS),
        }
        let Some(value) = self.output(source) else {
            return Err(StageExit::internal("a condition was asked before its value was there"));
        };
        let predicate = &self.plan.conditions()[condition as usize];
        let asked = catch_unwind(AssertUnwindSafe(|| predicate.holds(&value)));
        let answer = match asked {
            Ok(true) => HOLDS,
            Ok(false) => FAILS,
            Err(_) => PANICKED,
        };
        known.store(answer, Ordering::Release);
        asked.map_err(panicked)
    }

    /// Whether what only waits for a failed stage runs.
    fn is_best_effort(&self) -> bool {
        self.failure_rules().is_some_and(|rules| rules.policy() == FailurePolicy::BestEffort)
    }

    fn name_of(&self, source: u32) -> String {
        if source == INPUT { "input".to_owned() } else { self.plan.stage_name(source).to_owned() }
    }

    /// The failure at the root of a stage that gives nothing.
    fn root_failure(&self, source: u32) -> String {
        match self.details().outcomes.get(&source) {
            Some(StageOutcome::Blocked { by }) => by.clone(),
            _ => self.name_of(source),
        }
    }
}

impl Worker {
    /// Tells the successors of a stage that it has ended.
    pub(crate) fn tell_successors(&mut self, run: &Arc<RunCore>, stage: u32) {
        let successors = run.plan.successors(stage);
        if successors.len() >= MIN_ROW
            && run.plan.is_fan(stage)
            && self.push_row(run, stage, successors.len())
        {
            return;
        }
        let holding = run.queues.is_holding();
        for &successor in successors {
            if successor & SPECIAL != 0 {
                self.tell_special(run, stage, successor & !SPECIAL);
            } else if holding && run.plan.in_degree(successor) >= MIN_HELD {
                if let Some((other, edges)) = self.scope.held.add(successor) {
                    self.tell(run, other, edges);
                }
            } else {
                self.tell(run, successor, 1);
            }
        }
    }

    /// Tells a stage that so many of its edges are decided.
    #[inline(always)]
    fn tell(&mut self, run: &Arc<RunCore>, stage: u32, edges: u32) {
        let cell = run.cell(stage);
        if cell.countdown.decide(edges) {
            cell.mark_ready(self.now);
            self.ready.push(run, stage);
        }
    }

    /// Tells what this worker has held back.
    pub(crate) fn tell_own(&mut self, run: &Arc<RunCore>) {
        if let Some((stage, edges)) = self.scope.held.take() {
            self.tell(run, stage, edges);
        }
    }

    /// Tells what this worker, and then what any other worker has held back.
    pub(crate) fn tell_held(&mut self, run: &Arc<RunCore>) {
        self.tell_own(run);
        for (stage, edges) in run.queues.take_held() {
            self.tell(run, stage, edges);
        }
    }

    /// Asks the conditions over the pipeline's input, which is there from the start: a branch that is not taken is
    /// decided at once, whatever else it waits for.
    pub(crate) fn tell_input(&mut self, run: &Arc<RunCore>) {
        if run.plan.conditions().is_empty() {
            return;
        }
        for stage in (0u32..).take(run.plan.len()).filter(|stage| !run.plan.is_plain(*stage)) {
            for edge in run.plan.edges(stage) {
                if let EdgeKind::When(condition) = edge.kind
                    && edge.source == INPUT
                {
                    self.tell_condition(run, stage, condition, INPUT);
                }
            }
        }
    }

    /// A condition's value is there. If it does not hold, the stage is decided, whatever else it waits for.
    fn tell_condition(&mut self, run: &Arc<RunCore>, stage: u32, condition: u32, source: u32) {
        if run.is_restored(stage) {
            return;
        }
        match run.condition(condition, source) {
            Ok(true) => {}
            Ok(false) => {
                let cause = SkipCause::NotTaken { route: run.name_of(source) };
                self.settle_verdict(run, stage, Verdict::Skip(cause));
            }
            Err(exit) => self.settle_verdict(run, stage, Verdict::Fail(exit)),
        }
    }

    fn tell_special(&mut self, run: &Arc<RunCore>, stage: u32, index: u32) {
        let special = run.plan.specials()[index as usize];
        let target = special.target;
        let edges = run.plan.edges(target);
        let at = special.edge as usize;
        let decided = match edges[at].kind {
            EdgeKind::Or { group, rest, .. } => {
                run.is_decided(&edges[at..=at + rest as usize])
                    && !run.groups[group as usize].swap(true, Ordering::AcqRel)
            }
            EdgeKind::When(condition) => {
                if run.source(stage) == Source::Value {
                    self.tell_condition(run, target, condition, stage);
                }
                true
            }
            _ => true,
        };
        if decided && run.cell(target).countdown.decide(1) {
            self.push(run, target);
        }
    }
}
