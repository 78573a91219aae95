//! "Why is it waiting?", answered for every unfinished stage of a live run.

use std::{collections::HashSet, fmt, time::Duration};

use serde::Serialize;
use stageflow_core::{BudgetReport, RunId, WaitReason, text::OneLine, time::Human};
use stageflow_dag::plan::{EdgeKind, INPUT};

use crate::{cell::State, quota::InQueue, report::clip, run::RunCore};

/// What every unfinished stage of a run waits for, as of the moment it was asked.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    run_id: RunId,
    pipeline: String,
    elapsed: Duration,
    stopping: Option<String>,
    ended: bool,
    waits: Vec<StageWait>,
    budget: Option<BudgetReport>,
}

/// What one stage waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StageWait {
    /// The stage.
    pub stage: String,
    /// What it waits for.
    #[serde(flatten)]
    pub reason: WaitReason,
    /// How long it has been running, if it has started.
    pub running_for: Option<Duration>,
}

impl Explanation {
    /// The unfinished stages, in declaration order.
    pub fn waits(&self) -> &[StageWait] {
        &self.waits
    }

    /// What the stage `name` waits for, if it is unfinished.
    pub fn reason(&self, name: &str) -> Option<&WaitReason> {
        self.waits.iter().find(|wait| wait.stage == name).map(|wait| &wait.reason)
    }

    /// What the run and those it is part of have used of their budget; `None` if nobody has asked for it.
    pub fn budget(&self) -> Option<&BudgetReport> {
        self.budget.as_ref()
    }

    /// Why the run is being cancelled, if it is.
    pub fn stopping(&self) -> Option<&str> {
        self.stopping.as_deref()
    }

    /// Whether the run has ended.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether all stages have ended and the run waits for its clean-ups.
    pub fn is_cleaning_up(&self) -> bool {
        !self.ended && self.waits.is_empty()
    }

    pub(crate) fn of(run: &RunCore) -> Self {
        let now = run.now();
        let mut pending = HashSet::new();
        run.pending.for_each(|node| {
            pending.insert(node.stage());
        });
        let stopping = run.is_stopping();
        let ahead = run.ahead();
        let quota = run.quota_wait();
        let at_gate = run.known_details().is_some_and(|details| details.is_at_gate);
        let waits = run.unfinished().map(|stage| {
            let cell = run.cell(stage);
            let reason = match cell.state() {
                State::Waiting => match run.undecided_sources(stage) {
                    stages if stages.is_empty() => {
                        let turn = if at_gate { WaitReason::Authentication } else { WaitReason::Turn };
                        let turn = quota.clone().unwrap_or(turn);
                        ahead.map_or(turn, |ahead| WaitReason::Admission { ahead })
                    }
                    stages => WaitReason::Dependencies { stages },
                },
                _ => {
                    let own = run.wait_of(stage, now);
                    own.unwrap_or_else(|| match (pending.contains(&stage), stopping) {
                        (true, true) => WaitReason::Grace {
                            remaining: Duration::from_nanos(
                                run.grace_until(stage, run.stopped_at()).saturating_sub(now),
                            ),
                        },
                        (true, false) => WaitReason::Itself,
                        (false, _) => WaitReason::NotYielding,
                    })
                }
            };
            StageWait { stage: run.plan.stage_name(stage).to_owned(), reason, running_for: cell.ran(now) }
        });
        let mut waits: Vec<_> = waits.collect();
        // Stages that were stopped, but whose threads still run.
        waits.extend(run.lingering().into_iter().map(|stage| StageWait {
            stage: run.plan.stage_name(stage).to_owned(),
            reason: WaitReason::Blocking,
            running_for: run.cell(stage).started_ago(now),
        }));
        Self {
            run_id: run.snapshot.identity().run_id(),
            pipeline: run.plan.name().to_string(),
            elapsed: run.took().unwrap_or(Duration::from_nanos(now)),
            stopping: run.ending.cause().filter(|_| stopping).map(|cause| cause.for_stages().to_string()),
            ended: run.is_done(),
            waits,
            budget: run.budget_report(),
        }
    }
}

impl RunCore {
    /// How many runs stand before this one in the queue of the engine's monitor, while it waits there.
    fn ahead(&self) -> Option<usize> {
        let monitor = self.shared.backpressure.as_ref().filter(|_| self.depth == 0)?;
        let place = self.details().place;
        place.map(|number| monitor.ahead(number))
    }

    /// What the run waits for of its tenant's quota, while it does.
    fn quota_wait(&self) -> Option<WaitReason> {
        let InQueue { tenant, number, quota } = self.known_details()?.quota.clone()?;
        Some(WaitReason::Quota { quota, ahead: tenant.look(|ledger| ledger.ahead(number)) })
    }

    /// What a stage has said it waits for.
    fn wait_of(&self, stage: u32, now: u64) -> Option<WaitReason> {
        let details = self.details();
        let mut reason = details.waits.get(&stage).cloned()?;
        if let (WaitReason::BackOff { remaining, .. }, Some(since)) =
            (&mut reason, details.waited.since(stage))
        {
            *remaining = remaining.saturating_sub(Duration::from_nanos(now.saturating_sub(since)));
        }
        Some(reason)
    }

    /// The stages whose end a stage still waits for, in the order of the wiring, each once.
    fn undecided_sources(&self, stage: u32) -> Vec<String> {
        let mut seen = HashSet::new();
        self.plan
            .edges(stage)
            .iter()
            .filter(|edge| !matches!(edge.kind, EdgeKind::Many(_) | EdgeKind::Named(_)))
            .map(|edge| edge.source)
            .filter(|source| *source != INPUT && !self.cell(*source).state().is_terminal())
            .filter(|source| seen.insert(*source))
            .map(|source| self.plan.stage_name(source).to_owned())
            .collect()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} of `{}` after {}", self.run_id, self.pipeline, Human(self.elapsed))?;
        if let Some(reason) = &self.stopping {
            write!(f, ", being cancelled: {}", OneLine(reason))?;
        }
        if self.ended {
            return write!(f, ": ended");
        }
        if self.waits.is_empty() {
            return write!(f, ": waits for its clean-ups");
        }
        let width = self.waits.iter().map(|wait| wait.stage.chars().count()).max().unwrap_or(0).min(40);
        for wait in &self.waits {
            write!(f, "\n  {:width$}  {}", clip(&wait.stage, width), OneLine(&wait.reason))?;
            if let Some(running) = wait.running_for {
                write!(f, ", for {}", Human(running))?;
            }
        }
        if let Some(budget) = self.budget.filter(BudgetReport::is_used) {
            write!(f, "\n  budget: {budget}")?;
        }
        Ok(())
    }
}
