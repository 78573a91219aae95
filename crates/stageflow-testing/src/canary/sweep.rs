//! Looking for canaries, and what was found.

use std::{collections::BTreeSet, fmt};

use super::{Canaries, Place, mark::Mark};

/// So many findings are kept; all are counted.
const KEPT: usize = 100;
/// How much of a line is shown, before and behind what was found in it.
const AROUND: usize = 80;

/// A look at everything that can be seen; made by [`Canaries::sweep`].
#[must_use = "a sweep has to be finished"]
pub struct CanarySweep<'a> {
    canaries: &'a Canaries,
    report: SweepReport,
}

/// Something that should not have been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CanaryLeak {
    /// Where.
    pub source: String,
    /// What it is.
    pub kind: LeakKind,
    /// The part of the line around it.
    pub line: String,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeakKind {
    /// A tenant sees a canary of another.
    Foreign {
        /// Who sees it.
        seen_by: usize,
        /// Whose it is.
        of: usize,
        /// From where it is.
        place: Place,
    },
    /// A tenant sees the id of another.
    ForeignId {
        /// Who sees it.
        seen_by: usize,
        /// Whose it is.
        of: usize,
    },
    /// A line has a canary, and not the id of its tenant.
    Unowned {
        /// Whose it is.
        of: usize,
        /// From where it is.
        place: Place,
    },
    /// A line has a payload.
    Payload {
        /// Whose it is.
        of: usize,
        /// From where it is.
        place: Place,
    },
    /// A line has the ids of two tenants.
    TwoTenants {
        /// The one.
        one: usize,
        /// The other.
        other: usize,
    },
    /// A part of a canary or an id.
    Torn,
    /// Nothing of a tenant, or of any, is to be seen: there a sweep finds no leak either.
    Blind {
        /// The tenant.
        tenant: Option<usize>,
    },
}

/// What was seen at one place.
#[derive(Clone, Debug, Default)]
struct Source {
    name: String,
    lines: u64,
    canaries: u64,
    tenants: BTreeSet<usize>,
}

/// What a sweep has found.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    sources: Vec<Source>,
    leaks: Vec<CanaryLeak>,
    count: u64,
}

impl<'a> CanarySweep<'a> {
    pub(super) fn new(canaries: &'a Canaries) -> Self {
        Self { canaries, report: SweepReport::default() }
    }

    /// Looks at what each tenant sees by itself: its events, its journal, its answers. All of it has to be its own, payloads included,
    /// and something of it has to be there.
    pub fn visible<L: AsRef<str>>(mut self, source: &str, mut view: impl FnMut(&str) -> Vec<L>) -> Self {
        let mut seen = Source { name: source.to_owned(), ..Source::default() };
        for tenant in 0..self.canaries.count {
            let mut own = 0;
            for line in view(self.canaries.tenant(tenant).id()) {
                seen.lines += 1;
                let line = line.as_ref();
                for (at, mark) in self.canaries.marks.find(line) {
                    let kind = match mark {
                        Mark::Canary { tenant: of, .. } if of == tenant => {
                            own += 1;
                            continue;
                        }
                        Mark::Tenant(of) if of == tenant => continue,
                        Mark::Canary { tenant: of, place } => {
                            LeakKind::Foreign { seen_by: tenant, of, place }
                        }
                        Mark::Tenant(of) => LeakKind::ForeignId { seen_by: tenant, of },
                        Mark::Torn => LeakKind::Torn,
                    };
                    self.report.add(source, kind, line, at);
                }
            }
            seen.canaries += own;
            if own == 0 {
                self.report.add(source, LeakKind::Blind { tenant: Some(tenant) }, "", 0);
            } else {
                seen.tenants.insert(tenant);
            }
        }
        self.report.sources.push(seen);
        self
    }

    /// Looks at lines as they are written, of all tenants: logs, exported spans, metrics. No line may have a payload, or the ids of two
    /// tenants, or a canary without the id of its tenant; the id of some tenant has to be there.
    pub fn raw<L: AsRef<str>>(mut self, source: &str, lines: impl IntoIterator<Item = L>) -> Self {
        let mut seen = Source { name: source.to_owned(), ..Source::default() };
        for line in lines {
            seen.lines += 1;
            let line = line.as_ref();
            let marks: Vec<_> = self.canaries.marks.find(line).collect();
            let owner =
                marks.iter().find_map(|(_, mark)| if let Mark::Tenant(of) = mark { Some(*of) } else { None });
            seen.tenants.extend(owner);
            for (at, mark) in marks {
                let kind = match mark {
                    Mark::Canary { tenant: of, place } if place.is_payload() => {
                        LeakKind::Payload { of, place }
                    }
                    Mark::Canary { tenant: of, place } if owner != Some(of) => {
                        LeakKind::Unowned { of, place }
                    }
                    Mark::Canary { .. } => {
                        seen.canaries += 1;
                        continue;
                    }
                    Mark::Tenant(other) => match owner {
                        Some(one) if one != other => LeakKind::TwoTenants { one, other },
                        _ => continue,
                    },
                    Mark::Torn => LeakKind::Torn,
                };
                self.report.add(source, kind, line, at);
            }
        }
        if seen.tenants.is_empty() {
            self.report.add(source, LeakKind::Blind { tenant: None }, "", 0);
        }
        self.report.sources.push(seen);
        self
    }

    /// Everything was looked at.
    pub fn finish(self) -> SweepReport {
        self.report
    }
}

impl SweepReport {
    fn add(&mut self, source: &str, kind: LeakKind, line: &str, at: usize) {
        self.count += 1;
        if self.leaks.len() < KEPT {
            self.leaks.push(CanaryLeak {
                source: source.to_owned(),
                kind,
                line: around(line, at).to_owned(),
            });
        }
    }

    /// What was found, the first hundred.
    pub fn leaks(&self) -> &[CanaryLeak] {
        &self.leaks
    }

    /// How much was found.
    pub fn leak_count(&self) -> u64 {
        self.count
    }

    /// Of how many tenants something was seen at a place.
    pub fn tenants(&self, source: &str) -> usize {
        self.of(source).map_or(0, |source| source.tenants.len())
    }

    /// How many canaries were seen at a place where they may be.
    pub fn canaries(&self, source: &str) -> u64 {
        self.of(source).map_or(0, |source| source.canaries)
    }

    fn of(&self, source: &str) -> Option<&Source> {
        self.sources.iter().find(|known| known.name == source)
    }

    /// Asserts that nothing was found.
    ///
    /// # Panics
    ///
    /// With what was found, and with what was seen.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.count == 0, "{self}");
    }
}

/// The part of a line around an offset.
fn around(line: &str, at: usize) -> &str {
    let from = (0..=at.saturating_sub(AROUND)).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    let to = (at + AROUND..line.len()).find(|at| line.is_char_boundary(*at)).unwrap_or(line.len());
    &line[from..to]
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for source in &self.sources {
            let Source { name, lines, canaries, tenants } = source;
            writeln!(f, "{name}: {lines} lines, {canaries} canaries, {} tenants", tenants.len())?;
        }
        write!(f, "{} leaks", self.count)?;
        for leak in &self.leaks {
            write!(f, "\n  {leak}")?;
        }
        let rest = self.count.saturating_sub(self.leaks.len() as u64);
        if rest > 0 { write!(f, "\n  and {rest} more") } else { Ok(()) }
    }
}

impl fmt::Display for CanaryLeak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.kind)?;
        if self.line.is_empty() { Ok(()) } else { write!(f, ": {}", self.line.escape_debug()) }
    }
}

impl fmt::Display for LeakKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { seen_by, of, place } => {
                write!(f, "tenant {seen_by} sees a canary of tenant {of} ({place:?})")
            }
            Self::ForeignId { seen_by, of } => write!(f, "tenant {seen_by} sees the id of tenant {of}"),
            Self::Unowned { of, place } => {
                write!(f, "a line has a canary of tenant {of} ({place:?}), and not its id")
            }
            Self::Payload { of, place } => write!(f, "a line has a payload of tenant {of} ({place:?})"),
            Self::TwoTenants { one, other } => write!(f, "a line has the ids of tenants {one} and {other}"),
            Self::Torn => f.write_str("a part of a canary"),
            Self::Blind { tenant: Some(tenant) } => write!(f, "nothing of tenant {tenant} is to be seen"),
            Self::Blind { tenant: None } => f.write_str("no tenant is to be seen"),
        }
    }
}

impl fmt::Debug for CanarySweep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CanarySweep").field("report", &self.report).finish_non_exhaustive()
    }
}
