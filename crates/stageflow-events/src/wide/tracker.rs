//! Follows runs by their events, and tells when a stage or a run has ended.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::SystemTime,
};

use stageflow_core::{CustomEvent, Event, EventKind, RunInfo, WaitKind, id::RunId, time::nanos};

use super::record::{
    WideDecisions, WideIds, WideRecord, WideRun, WideStage, WideStages, WideWait, add_wait, failure_words,
};
use crate::{
    runs::Runs,
    words::{cancel_word, number, skip_word, text},
};

/// What a tracker has to say of an event.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A run began.
    Opened(Arc<WideIds>),
    /// An attempt of a stage began to run, or stopped.
    Active(Arc<WideIds>, String, bool),
    /// A stage or a run has ended.
    Ended(WideRecord),
    /// A run ended, or nothing more will be known of it.
    Closed(Arc<WideIds>),
}

/// What is known of all open runs.
#[derive(Debug)]
pub(crate) struct Tracker {
    runs: Runs<Run>,
    /// Runs that gave way to others: what still comes of them is too late.
    gone: (HashSet<RunId>, VecDeque<RunId>),
    max: usize,
    pub(crate) evicted: u64,
    pub(crate) late: u64,
}

#[derive(Debug)]
struct Run {
    ids: Arc<WideIds>,
    info: Arc<RunInfo>,
    /// The highest number that is known of, and how many events have arrived: as numbers have no gaps, the rest was lost.
    highest: u64,
    arrived: u64,
    /// It gave way, so its end is lost at least.
    gave_way: bool,
    /// When its first stages could start, in nanoseconds of the run.
    begun: u64,
    queued: u64,
    stages: HashMap<u32, Stage>,
    counts: WideStages,
    attempts: u64,
    retries: u64,
    waits: Vec<WideWait>,
    decisions: WideDecisions,
    cost: Option<u64>,
    child_runs: u64,
    cleanup_failures: u64,
    last: u64,
}

#[derive(Debug, Default)]
struct Stage {
    ended: Option<u64>,
    first: Option<u64>,
    queued: Option<u64>,
    active: bool,
    attempts: u32,
    retries: u64,
    exhausted: Option<String>,
    waits: Vec<WideWait>,
    decisions: WideDecisions,
    child: Option<String>,
}

impl Tracker {
    pub(crate) fn new(max: usize) -> Self {
        Self { runs: Runs::new(max), gone: Default::default(), max: max.max(1), evicted: 0, late: 0 }
    }

    /// How many runs are open.
    pub(crate) fn open(&self) -> usize {
        self.runs.len()
    }

    /// Takes an event.
    pub(crate) fn take(&mut self, event: &Event, seen: &mut Vec<Seen>) {
        let id = event.run_id();
        if !self.runs.contains(id) {
            // A gap of a run that is not open tells of its end, which was told.
            if event.is_gap() || self.gone.0.contains(&id) {
                self.late += 1;
                return;
            }
            let run = Run::new(event);
            seen.push(Seen::Opened(Arc::clone(&run.ids)));
            if let Some((given_way, run)) = self.runs.insert(id, run) {
                self.give_up(given_way, run, seen);
            }
        }
        let is_end = matches!(event.kind(), EventKind::PipelineEnded { .. });
        if let Some(run) = self.runs.get_mut(id) {
            run.take(event, seen);
        }
        if is_end && let Some(run) = self.runs.remove(id) {
            run.end(Some(event.kind()), seen);
        }
    }

    /// Gives up all runs that are open: nothing more will come.
    pub(crate) fn close(&mut self, seen: &mut Vec<Seen>) {
        while let Some((id, run)) = self.runs.remove_oldest() {
            self.give_up(id, run, seen);
        }
    }

    fn give_up(&mut self, id: RunId, mut run: Run, seen: &mut Vec<Seen>) {
        self.evicted += 1;
        run.gave_way = true;
        run.end(None, seen);
        let (known, order) = &mut self.gone;
        known.insert(id);
        order.push_back(id);
        if order.len() > self.max
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }
}

impl Run {
    fn new(event: &Event) -> Self {
        Self {
            ids: Arc::new(WideIds::of(event)),
            info: Arc::clone(event.run()),
            highest: 0,
            arrived: 0,
            gave_way: false,
            begun: 0,
            queued: 0,
            stages: HashMap::new(),
            counts: WideStages::default(),
            attempts: 0,
            retries: 0,
            waits: Vec::new(),
            decisions: WideDecisions::default(),
            cost: None,
            child_runs: 0,
            cleanup_failures: 0,
            last: 0,
        }
    }

    fn take(&mut self, event: &Event, seen: &mut Vec<Seen>) {
        let now = nanos(event.elapsed());
        self.last = self.last.max(now);
        // Whose it is may have become known when it was let in.
        if self.ids.tenant.is_none() && event.tenant().is_some() {
            seen.push(Seen::Closed(Arc::clone(&self.ids)));
            self.ids = Arc::new(WideIds::of(event));
            seen.push(Seen::Opened(Arc::clone(&self.ids)));
        }
        if let EventKind::Gap { losses, .. } = event.kind() {
            // Numbers that are missing show by themselves, but for those at the end. Events between them may yet arrive.
            self.highest = losses.numbers().map_or(self.highest, |(_, last)| self.highest.max(last));
            return;
        }
        self.arrived += 1;
        self.highest = self.highest.max(event.seq());
        match event.stage_index() {
            Some(stage) => self.of_stage(stage, event, now, seen),
            None => self.of_run(event, now),
        }
    }

    /// How many events are known to be missing.
    fn lost(&self) -> u64 {
        self.highest.saturating_sub(self.arrived) + u64::from(self.gave_way)
    }

    fn of_run(&mut self, event: &Event, now: u64) {
        match event.kind() {
            EventKind::PipelineStarted => self.begun = now,
            EventKind::Custom(custom) => match custom.name() {
                "admission.admitted" | "admission.shed" => {
                    self.queued = now.saturating_sub(self.begun);
                    self.begun = now;
                    add_wait(&mut self.waits, WaitKind::Admission, 1, self.queued);
                }
                "budget.spent" => self.cost = number(custom.field("cost")),
                name => self.decisions.count(name),
            },
            _ => {}
        }
    }

    fn of_stage(&mut self, index: u32, event: &Event, now: u64, seen: &mut Vec<Seen>) {
        match event.kind() {
            EventKind::StageStarted => {
                let queued = self.queue_time(index, now);
                let stage = self.stages.entry(index).or_default();
                if stage.first.is_none() {
                    (stage.first, stage.queued) = (Some(now), queued);
                }
                stage.attempts = stage.attempts.max(event.attempt().unwrap_or(1));
                if !std::mem::replace(&mut stage.active, true) {
                    seen.push(self.active(index, true));
                }
            }
            EventKind::ChildStarted { run } => {
                self.child_runs += 1;
                self.stages.entry(index).or_default().child = Some(run.to_string());
            }
            EventKind::CleanUpFailed { .. } => self.cleanup_failures += 1,
            EventKind::Custom(custom) => {
                let is_over = self.stages.entry(index).or_default().custom(custom);
                seen.extend(is_over.then(|| self.active(index, false)));
            }
            kind if kind.is_terminal() => {
                let stage = self.stages.entry(index).or_default();
                stage.attempts = stage.attempts.max(event.attempt().unwrap_or(0));
                if stage.ended.is_none() {
                    self.end_stage(index, Some(kind), now, seen);
                }
            }
            _ => {}
        }
    }

    /// The time since the last stage that it waits for ended; `None` where the event of an end may have been lost.
    fn queue_time(&self, stage: u32, now: u64) -> Option<u64> {
        let (mut ready, mut is_known) = (self.begun, true);
        self.info.stages().for_each_source(stage, &mut |source| match self
            .stages
            .get(&source)
            .and_then(|source| source.ended)
        {
            Some(end) if end <= now => ready = ready.max(end),
            Some(_) => {}
            None => is_known = false,
        });
        // Of the sides of an `or`, some may end later.
        (is_known || self.lost() == 0).then(|| now.saturating_sub(ready))
    }

    fn active(&self, stage: u32, is_active: bool) -> Seen {
        Seen::Active(Arc::clone(&self.ids), self.info.stages().stage_name(stage).to_owned(), is_active)
    }

    fn end_stage(&mut self, index: u32, kind: Option<&EventKind>, now: u64, seen: &mut Vec<Seen>) {
        let mut stage = std::mem::take(self.stages.entry(index).or_default());
        self.stages.insert(index, Stage { ended: Some(now), ..Stage::default() });
        if std::mem::take(&mut stage.active) {
            seen.push(self.active(index, false));
        }
        let (mut code, mut class, mut cause, mut blocked_by) = (None, None, None, None);
        let outcome = match kind {
            Some(EventKind::StageCompleted) => "completed",
            Some(EventKind::StageFailed(failure)) => {
                (code, class) = failure_words(failure);
                "failed"
            }
            Some(EventKind::StageSkipped(why)) => {
                cause = Some(skip_word(why));
                "skipped"
            }
            Some(EventKind::StageCancelled(why)) => {
                cause = Some(cancel_word(why));
                "cancelled"
            }
            Some(EventKind::StageBlocked { by }) => {
                blocked_by = Some(by.to_string());
                "blocked"
            }
            _ => "unknown",
        };
        self.counts.count(outcome);
        self.attempts += u64::from(stage.attempts);
        self.retries += stage.retries;
        self.decisions.add(&stage.decisions);
        for wait in &stage.waits {
            add_wait(&mut self.waits, wait.reason, wait.count, wait.total_ns);
        }
        let recovered = outcome == "completed" && stage.retries > 0 && stage.attempts > 1;
        let retry_outcome = match &stage.exhausted {
            Some(_) => Some("exhausted"),
            None => recovered.then_some("recovered"),
        };
        let names = self.info.stages();
        seen.push(Seen::Ended(WideRecord::Stage(Box::new(WideStage {
            run: Arc::clone(&self.ids),
            stage: names.stage_name(index).to_owned(),
            kind: names.stage_kind(index),
            outcome,
            code,
            class,
            cause,
            blocked_by,
            attempts: stage.attempts,
            retries: stage.retries,
            retry_outcome,
            retry_because: stage.exhausted,
            queued_ns: stage.queued,
            ran_ns: stage.first.map(|first| now.saturating_sub(first)),
            waits: stage.waits,
            decisions: stage.decisions,
            child_run_id: stage.child,
            incomplete: self.lost() > 0,
        }))));
    }

    /// The run is over: tells what was not told of its stages, and of the run.
    fn end(mut self, kind: Option<&EventKind>, seen: &mut Vec<Seen>) {
        let now = self.last;
        let count = self.info.stages().stage_count();
        let beyond = self.stages.keys().copied().filter(|stage| *stage >= count);
        let mut left: Vec<u32> = (0..count).chain(beyond).collect();
        left.sort_unstable();
        for stage in left {
            if self.stages.get(&stage).is_none_or(|stage| stage.ended.is_none()) {
                self.end_stage(stage, None, now, seen);
            }
        }
        let (mut code, mut class, mut failed_stage, mut cause) = (None, None, None, None);
        let outcome = match kind {
            Some(EventKind::PipelineEnded { outcome, failure, cancelled }) => {
                if let Some(failure) = failure {
                    (code, class) = failure_words(failure);
                    // A run that was not let in has failed at no stage.
                    failed_stage = Some(failure.stage().to_owned()).filter(|stage| !stage.is_empty());
                }
                cause = cancelled.as_deref().map(cancel_word);
                outcome.as_str()
            }
            _ => "unknown",
        };
        let lost = self.lost();
        let since = self.info.started().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        seen.push(Seen::Ended(WideRecord::Run(Box::new(WideRun {
            run: Arc::clone(&self.ids),
            outcome,
            code,
            class,
            failed_stage,
            cause,
            started_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            queued_ns: self.queued,
            ran_ns: now,
            stages: self.counts,
            attempts: self.attempts,
            retries: self.retries,
            waits: self.waits,
            decisions: self.decisions,
            cost: self.cost,
            child_runs: self.child_runs,
            cleanup_failures: self.cleanup_failures,
            lost_events: lost,
            incomplete: lost > 0,
        }))));
        seen.push(Seen::Closed(self.ids));
    }
}

impl Stage {
    /// Takes an event of a policy; whether the attempt is over by it.
    fn custom(&mut self, custom: &CustomEvent) -> bool {
        match custom.name() {
            "stage.waited" => {
                for kind in WaitKind::ALL {
                    let field = |what: &str| number(custom.field(&format!("{}_{what}", kind.as_str())));
                    if let (Some(time), Some(count)) = (field("ns"), field("count")) {
                        add_wait(&mut self.waits, kind, count, time);
                    }
                }
            }
            "stage.retry_scheduled" => {
                self.retries += 1;
                return std::mem::take(&mut self.active);
            }
            "stage.retry_exhausted" => {
                self.exhausted = Some(text(custom.field("because")).unwrap_or_default().to_owned());
            }
            name => self.decisions.count(name),
        }
        false
    }
}
