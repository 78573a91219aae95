//! What a journal says of a run, as the script of its replay.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use stageflow_core::{
    Code, CustomEvent, ErrorClass, StageExit, code,
    durable::{AttemptEnd, Entry, EntryKind, JournaledFailure, JournaledRun, StageEnd},
    exit::FailSpec,
};
use stageflow_exec::{Cue, Given};

/// What one process did of a run.
pub(super) struct Act {
    /// What the run had when the process took it over.
    pub(super) before: JournaledRun,
    /// The entry that says so, where it is not the first.
    pub(super) resumed: Option<Entry>,
    /// From the start of the run to that of the process.
    pub(super) base: Duration,
    pub(super) steps: Vec<Step>,
    pub(super) is_last: bool,
}

/// One entry that decides something.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) entry: Entry,
    /// What is compared.
    pub(super) line: String,
    /// When, from the start of the process; in whole milliseconds, as timers are.
    pub(super) at: Duration,
}

/// What one process after the other did of a run. With `as_one`, as if it had been one.
pub(super) fn acts(run: &JournaledRun, as_one: bool) -> Vec<Act> {
    let began = run.header.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = |entry: &Entry| Duration::from_nanos(entry.at).saturating_sub(began);
    // A branch begins with what it has of another run.
    let is_taken_over =
        |entry: &&Entry| run.header.branch_of.is_some() && Duration::from_nanos(entry.at) < began;
    let inherited = run.entries.iter().take_while(is_taken_over).count();
    let mut acts = Vec::new();
    let mut act = Act {
        before: part(run, inherited),
        resumed: None,
        base: Duration::ZERO,
        steps: Vec::new(),
        is_last: true,
    };
    for (index, entry) in run.entries.iter().enumerate().skip(inherited) {
        if entry.kind == EntryKind::Resumed && !as_one {
            act.is_last = false;
            let next = Act {
                before: part(run, index),
                resumed: Some(entry.clone()),
                base: since(entry),
                steps: Vec::new(),
                is_last: true,
            };
            acts.push(std::mem::replace(&mut act, next));
        } else if let Some(line) = entry.kind.decision() {
            let at = since(entry).saturating_sub(act.base);
            let at = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
            act.steps.push(Step { entry: entry.clone(), line, at });
        }
    }
    acts.push(act);
    acts
}

fn part(run: &JournaledRun, entries: usize) -> JournaledRun {
    JournaledRun { header: run.header.clone(), entries: run.entries[..entries].to_vec() }
}

/// The steps of each stage, in the order in which it took them; those of the run as a whole under `None`.
pub(super) fn by_stage(steps: &[Step]) -> HashMap<Option<Arc<str>>, VecDeque<usize>> {
    let mut by_stage: HashMap<_, VecDeque<usize>> = HashMap::new();
    for (place, step) in steps.iter().enumerate() {
        by_stage.entry(step.entry.kind.stage().cloned()).or_default().push_back(place);
    }
    by_stage
}

/// The steps that may have ended the run: the last ones of stages that failed it or cancelled it.
pub(super) fn ending(steps: &[Step]) -> HashSet<usize> {
    let mut ending = HashSet::new();
    for (stage, places) in by_stage(steps) {
        let is_end = |kind: &EntryKind| {
            matches!(
                kind,
                EntryKind::StageEnded { end: StageEnd::Failed(_), .. }
                    | EntryKind::AttemptEnded { end: AttemptEnd::Cancelled { .. }, .. }
            )
        };
        let last = places.back().filter(|last| stage.is_some() && is_end(&steps[**last].entry.kind));
        if last.is_some() {
            let begins =
                |place: &&usize| matches!(steps[**place].entry.kind, EntryKind::AttemptStarted { .. });
            ending.extend(places.iter().rev().take_while(|place| !begins(place)));
        }
    }
    ending
}

/// What was written of one attempt.
pub(super) struct Attempt {
    pub(super) cue: Cue,
    pub(super) took: Option<Duration>,
}

impl Attempt {
    /// The attempt that begins with the step at `place`.
    pub(super) fn of(steps: &[Step], place: usize) -> Self {
        let Some((stage, attempt)) = begun(&steps[place]) else { return Self::unknown() };
        let own = |step: &&Step| step.entry.kind.stage() == Some(stage);
        let mut says = Vec::new();
        for step in steps[place + 1..].iter().filter(own) {
            let took = step.at.saturating_sub(steps[place].at);
            match &step.entry.kind {
                EntryKind::AttemptStarted { .. } => break,
                EntryKind::Decided { attempt: of, name, fields, .. } if *of == attempt => {
                    says.push(CustomEvent::new(
                        name.to_string(),
                        fields.iter().map(|(key, value)| (key.to_string(), value.clone())),
                    ));
                }
                EntryKind::AttemptEnded { attempt: of, end, .. } if *of == attempt => {
                    let given = match end {
                        AttemptEnd::Gave => Given::Output(output(steps, place, stage)),
                        end => exit_of(end).map_or(Given::Never, Given::Exit),
                    };
                    return Self::known(says, given, Some(took));
                }
                EntryKind::StageEnded { end, .. } if !is_noted(steps, stage) => {
                    let given = match end {
                        StageEnd::Completed => Given::Output(step.entry.payload.clone()),
                        StageEnd::Skipped(stageflow_core::SkipCause::Own { reason }) => {
                            Given::Exit(StageExit::skip(reason.clone()))
                        }
                        StageEnd::Failed(failure) if !is_cut_off(failure) => {
                            Given::Exit(failed(failure, None))
                        }
                        _ => Given::Never,
                    };
                    return Self::known(says, given, Some(took));
                }
                EntryKind::StageEnded { .. } => break,
                _ => {}
            }
        }
        Self::known(says, Given::Never, None)
    }

    fn known(says: Vec<CustomEvent>, given: Given, took: Option<Duration>) -> Self {
        let timed = matches!(given, Given::Never);
        Self { cue: Cue { says, given, timed }, took }
    }

    /// An attempt of which nothing was written.
    pub(super) fn unknown() -> Self {
        Self { cue: Cue { says: Vec::new(), given: Given::Call, timed: true }, took: None }
    }
}

/// The stage and the number of the attempt that a step begins.
pub(super) fn begun(step: &Step) -> Option<(&Arc<str>, u32)> {
    match &step.entry.kind {
        EntryKind::AttemptStarted { stage, attempt } => Some((stage, *attempt)),
        _ => None,
    }
}

/// Whether the ends of the attempts of a stage were written, and not only its own. What asks for a retry always is.
fn is_noted(steps: &[Step], stage: &Arc<str>) -> bool {
    steps.iter().any(|step| match &step.entry.kind {
        EntryKind::AttemptEnded { stage: of, end, .. } => {
            of == stage && !matches!(end, AttemptEnd::Retry { .. })
        }
        _ => false,
    })
}

/// What the stage gave in the end, unless another attempt follows.
fn output(steps: &[Step], place: usize, stage: &Arc<str>) -> Option<stageflow_core::durable::Encoded> {
    for step in steps[place + 1..].iter().filter(|step| step.entry.kind.stage() == Some(stage)) {
        match step.entry.kind {
            EntryKind::AttemptStarted { .. } => return None,
            EntryKind::StageEnded { end: StageEnd::Completed, .. } => return step.entry.payload.clone(),
            _ => {}
        }
    }
    None
}

/// The exit that an attempt left by; `None` for one that something else has cut off.
fn exit_of(end: &AttemptEnd) -> Option<StageExit> {
    let after = |exit: StageExit, after: Option<Duration>| match after {
        Some(after) => exit.after(after),
        None => exit,
    };
    match end {
        AttemptEnd::Failed { failure, .. } if is_cut_off(failure) => None,
        AttemptEnd::Failed { failure, after } => Some(failed(failure, *after)),
        AttemptEnd::Retry { reason, after: at } => Some(after(StageExit::retry(reason.clone()), *at)),
        AttemptEnd::Skipped { reason } => Some(StageExit::skip(reason.clone())),
        AttemptEnd::Cancelled { reason } => Some(StageExit::cancel(reason.clone())),
        _ => None,
    }
}

/// Whether it is the engine that ends such an attempt: it does so again.
pub(super) fn is_cut_off(failure: &JournaledFailure) -> bool {
    let codes = [code::ATTEMPT_TIMEOUT, code::IDLE_TIMEOUT, code::STAGE_TIMEOUT];
    failure.class == ErrorClass::Timeout && codes.iter().any(|code| code.as_str() == failure.code)
}

fn failed(failure: &JournaledFailure, after: Option<Duration>) -> StageExit {
    let spec = FailSpec::new(code_of(&failure.code), failure.class, failure.message.clone().into());
    FailSpec { after, ..spec }.into_exit()
}

/// The code of that name. Those of applications are kept once each, as long as the process lives.
fn code_of(name: &str) -> Code {
    static OTHERS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    if let Some((known, _)) = code::ALL.iter().find(|(known, _)| known.as_str() == name) {
        return *known;
    }
    let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = others.iter().find(|known| **known == name) {
        return Code::new(known);
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    others.push(kept);
    Code::new(kept)
}
