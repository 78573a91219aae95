//! What was found.

use std::{collections::HashMap, panic::Location, sync::Arc, time::Duration};

use serde::{Serialize, Serializer};

use super::{Lint, Severity};

/// So many stages of a finding are listed.
const LISTED: usize = 8;

/// What is dangerous or pointless about the policies of a pipeline: `Engine::lint` and `Pipeline::lint` give it.
///
/// `Display` prints it as compilers print their findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintReport {
    pub(super) pipeline: Arc<str>,
    pub(super) findings: Vec<Finding>,
    pub(super) allowed: Vec<(Finding, Arc<str>)>,
    pub(super) is_complete: bool,
    #[serde(skip)]
    known: HashMap<Key, usize>,
}

/// Findings that say the same are one, and allowed apart from others.
type Key = (Lint, String, Option<Arc<str>>);

/// One thing that was found, about one stage or about several alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    lint: Lint,
    severity: Severity,
    message: String,
    help: &'static str,
    stages: Vec<String>,
    count: u64,
    amplification: Option<u64>,
    calls: Option<u64>,
    time: Option<Duration>,
    #[serde(serialize_with = "place")]
    location: &'static Location<'static>,
}

fn place<S: Serializer>(place: &Location<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}

/// The numbers of a finding, for one stage.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    pub(super) amplification: Option<u64>,
    pub(super) calls: Option<u64>,
    pub(super) time: Option<Duration>,
    /// Whether the calls are those of all stages together already.
    pub(super) in_all: bool,
}

impl Numbers {
    pub(super) fn calls(calls: impl Into<u64>) -> Self {
        Self { calls: Some(calls.into()), ..Self::default() }
    }

    pub(super) fn amplification(factor: u64) -> Self {
        Self { amplification: Some(factor), calls: Some(factor), ..Self::default() }
    }

    pub(super) fn time(time: Duration) -> Self {
        Self::default().taking(Some(time))
    }

    pub(super) fn taking(self, time: Option<Duration>) -> Self {
        Self { time, ..self }
    }

    pub(super) fn in_all(self) -> Self {
        Self { in_all: true, ..self }
    }
}

/// Stages a finding is about.
pub(super) struct About {
    pub(super) names: Vec<String>,
    pub(super) count: u64,
    pub(super) location: &'static Location<'static>,
}

impl LintReport {
    pub(super) fn new(pipeline: Arc<str>) -> Self {
        Self { pipeline, findings: Vec::new(), allowed: Vec::new(), is_complete: true, known: HashMap::new() }
    }

    /// The name of the pipeline.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// What was found and not allowed, the dangerous first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What was found and allowed, with the reasons.
    pub fn allowed(&self) -> impl ExactSizeIterator<Item = (&Finding, &str)> {
        self.allowed.iter().map(|(finding, reason)| (finding, &**reason))
    }

    /// Whether nothing was found but what is allowed.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The finding of a lint that is not allowed, the first if there are several.
    pub fn finding(&self, lint: Lint) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.lint == lint)
    }

    /// Whether every stage was looked at: it gives up after 20,000 different places of pipelines in each other.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Adds a finding, or its stages to one that says the same.
    pub(super) fn add(
        &mut self,
        (lint, message, numbers): (Lint, String, Numbers),
        about: About,
        reason: Option<Arc<str>>,
    ) {
        let many = |calls: u64| if numbers.in_all { calls } else { calls.saturating_mul(about.count) };
        let calls = numbers.calls.map(many);
        let key = (lint, message, reason);
        let known = self.known.get(&key).copied();
        let allowed = key.2.is_some();
        let place =
            known.map(|place| if allowed { &mut self.allowed[place].0 } else { &mut self.findings[place] });
        if let Some(finding) = place {
            finding.count = finding.count.saturating_add(about.count);
            let more = calls.unwrap_or(0);
            finding.calls = finding
                .calls
                .map(|sum| if numbers.in_all { sum.max(more) } else { sum.saturating_add(more) });
            finding.stages.extend(about.names);
            finding.stages.truncate(LISTED);
            return;
        }
        let mut stages = about.names;
        stages.truncate(LISTED);
        let finding = Finding {
            lint,
            severity: lint.severity(),
            message: key.1.clone(),
            help: lint.help(),
            stages,
            count: about.count,
            amplification: numbers.amplification,
            calls,
            time: numbers.time,
            location: about.location,
        };
        let index = match &key.2 {
            Some(reason) => {
                self.allowed.push((finding, Arc::clone(reason)));
                self.allowed.len() - 1
            }
            None => {
                self.findings.push(finding);
                self.findings.len() - 1
            }
        };
        self.known.insert(key, index);
    }

    /// Puts the dangerous first.
    pub(super) fn finish(mut self) -> Self {
        self.known.clear();
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self
    }

    /// How many names of stages are worth keeping.
    pub(super) const fn listed() -> usize {
        LISTED
    }
}

impl Finding {
    /// What was looked for.
    pub fn lint(&self) -> Lint {
        self.lint
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is the matter, with its numbers.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What usually helps.
    pub fn help(&self) -> &'static str {
        self.help
    }

    /// The first eight of the stages it is about; `outer/inner` is a stage of a pipeline that is a stage.
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// How many stages it is about.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many attempts one call of a stage can become.
    pub fn amplification(&self) -> Option<u64> {
        self.amplification
    }

    /// How many calls or attempts it is about at worst, of all its stages in one run; the message says which.
    pub fn calls(&self) -> Option<u64> {
        self.calls
    }

    /// The time it is about at worst, for one stage; the message says which. Delays that the other side asks for are not in it.
    pub fn time(&self) -> Option<Duration> {
        self.time
    }

    /// The call that added the first of the stages.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }
}
