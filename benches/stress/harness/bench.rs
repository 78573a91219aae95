//! What a scenario is given: sizes, seeds and faults, and a place for what it sees.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stageflow::SinkAccount;

use super::{
    clock::{Moment, millis},
    lock,
    record::{self, Account, Check, Measurement, Plot},
    rng::Rng,
    scenario::Scenario,
    stats::Summary,
};

/// How a scenario is run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) scale: u64,
    /// Small sizes, for the negative controls.
    pub(crate) small: bool,
    /// The control whose double takes the place of the real thing.
    pub(crate) sabotage: Option<&'static str>,
    /// The fault that is kept from firing.
    pub(crate) disarmed: Option<&'static str>,
    /// Scenarios that can go on for any time go on until then.
    pub(crate) until: Option<Moment>,
}

/// The scenario's view of the harness.
#[derive(Debug)]
pub(crate) struct Bench {
    scenario: &'static Scenario,
    settings: Settings,
    faults: Vec<Fault>,
    seen: Mutex<Seen>,
}

/// What a scenario has recorded.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) checks: Vec<Check>,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) accounts: Vec<Account>,
    /// Mistakes of the scenario itself.
    pub(crate) misuse: Option<String>,
}

/// A fault that a scenario injects.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    name: &'static str,
    armed: bool,
    fired: Arc<AtomicU64>,
}

impl Fault {
    /// Whether the fault happens now: where it is wanted, unless a control keeps it from firing. Counts.
    pub(crate) fn fires(&self, wanted: bool) -> bool {
        let fires = wanted && self.armed;
        self.fired.fetch_add(u64::from(fires), Ordering::Relaxed);
        fires
    }

    /// Counts what happened outside the scenario's reach, such as events that a full queue dropped.
    pub(crate) fn happened(&self, times: u64) {
        if self.armed {
            self.fired.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// Whether it may fire at all.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed
    }

    pub(crate) fn count(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }
}

impl Bench {
    pub(crate) fn new(scenario: &'static Scenario, settings: Settings) -> Self {
        let fault = |name: &&'static str| Fault {
            name,
            armed: settings.disarmed != Some(*name),
            fired: Arc::default(),
        };
        let faults = scenario.faults.iter().map(fault).collect();
        Self { scenario, settings, faults, seen: Mutex::default() }
    }

    /// Whether the double of this control takes the place of the real thing.
    pub(crate) fn is_broken(&self, control: &'static str) -> bool {
        if !self.scenario.controls.iter().any(|known| known.name == control) {
            self.misuse(format!("the control `{control}` is not declared"));
        }
        self.settings.sabotage == Some(control)
    }

    /// The fault of this name.
    pub(crate) fn fault(&self, name: &'static str) -> Fault {
        let found = self.faults.iter().find(|fault| fault.name == name);
        found.cloned().unwrap_or_else(|| {
            self.misuse(format!("the fault `{name}` is not declared"));
            Fault { name, armed: true, fired: Arc::default() }
        })
    }

    fn misuse(&self, what: String) {
        lock(&self.seen).misuse.get_or_insert(what);
    }

    /// A size: the full one times the scale, or the small one for a control.
    pub(crate) fn size(&self, full: usize, small: usize) -> usize {
        let scale = usize::try_from(self.settings.scale).unwrap_or(usize::MAX);
        if self.settings.small { small } else { full.saturating_mul(scale) }
    }

    /// Several sizes; a control takes only the first one, as it is.
    pub(crate) fn sizes(&self, full: &[usize]) -> Vec<usize> {
        let wanted = if self.settings.small { 1 } else { full.len() };
        full.iter().take(wanted).map(|size| self.size(*size, *size)).collect()
    }

    pub(crate) fn is_small(&self) -> bool {
        self.settings.small
    }

    pub(crate) fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// Random numbers of the campaign's seed.
    pub(crate) fn rng(&self, salt: u64) -> Rng {
        Rng::new(self.settings.seed, salt)
    }

    /// Whether a scenario that can go on for any time should: while its share of `--duration` is not over.
    pub(crate) fn has_time(&self) -> bool {
        self.settings.until.is_some_and(|until| until.since(Moment::now()) > Duration::ZERO)
    }

    /// Records a check.
    pub(crate) fn check(
        &self,
        name: &str,
        case: impl Display,
        expected: impl Display,
        seen: impl Display,
        pass: bool,
    ) {
        lock(&self.seen).checks.push(Check {
            name: name.to_owned(),
            case: case.to_string(),
            expected: expected.to_string(),
            seen: seen.to_string(),
            pass,
        });
    }

    /// Records that something has to be equal.
    pub(crate) fn equal<T: Display + PartialEq>(&self, name: &str, case: impl Display, expected: T, seen: T) {
        let pass = expected == seen;
        self.check(name, case, expected, seen, pass);
    }

    /// Records that something has an upper bound.
    pub(crate) fn at_most<T: Copy + Display + PartialOrd>(
        &self,
        name: &str,
        case: impl Display,
        most: T,
        seen: T,
    ) {
        let pass = seen <= most;
        self.check(name, case, format_args!("at most {most}"), seen, pass);
    }

    /// Records that something has a lower bound.
    pub(crate) fn at_least<T: Copy + Display + PartialOrd>(
        &self,
        name: &str,
        case: impl Display,
        least: T,
        seen: T,
    ) {
        let pass = seen >= least;
        self.check(name, case, format_args!("at least {least}"), seen, pass);
    }

    /// Records that a time has an upper bound.
    pub(crate) fn within(&self, name: &str, case: impl Display, most: Duration, seen: Duration) {
        let (most, seen, pass) = (millis(most), millis(seen), seen <= most);
        self.check(name, case, format_args!("at most {most:.1} ms"), format_args!("{seen:.1} ms"), pass);
    }

    /// Begins a measurement; it is recorded by [`Figures::of`] or [`Figures::times`].
    pub(crate) fn figures(&self, name: &str, case: impl Display) -> Figures<'_> {
        Figures {
            bench: self,
            measurement: Measurement {
                name: name.to_owned(),
                case: case.to_string(),
                unit: String::new(),
                x: None,
                plot: None,
                framework: Summary::default(),
                injected: 0.0,
            },
        }
    }

    /// Records what became of a sink's events.
    pub(crate) fn account(&self, case: impl Display, account: &SinkAccount) {
        lock(&self.seen).accounts.push(Account {
            case: case.to_string(),
            emitted: account.emitted,
            delivered: account.delivered,
            dropped: account.dropped(),
            in_flight: account.in_flight,
        });
    }

    /// What was recorded, with the faults; leaves nothing behind.
    pub(crate) fn take(&self) -> (Seen, Vec<record::Fault>) {
        let fault = |fault: &Fault| record::Fault { name: fault.name.to_owned(), count: fault.count() };
        (std::mem::take(&mut *lock(&self.seen)), self.faults.iter().map(fault).collect())
    }
}

/// A measurement that is being recorded.
#[must_use = "nothing is recorded before `of` or `times`"]
#[derive(Debug)]
pub(crate) struct Figures<'b> {
    bench: &'b Bench,
    measurement: Measurement,
}

impl Figures<'_> {
    /// Where it stands in a plot.
    pub(crate) fn plot(mut self, plot: Plot, x: usize) -> Self {
        self.measurement.plot = Some(plot);
        self.measurement.x = Some(super::stats::count(x));
        self
    }

    /// Records figures of a unit.
    pub(crate) fn of(mut self, unit: &str, samples: &[f64]) {
        self.measurement.unit = unit.to_owned();
        self.measurement.framework = Summary::of(samples);
        lock(&self.bench.seen).measurements.push(self.measurement);
    }

    /// Records times in milliseconds. Of each, so much was injected by the scenario; the rest is the framework's.
    pub(crate) fn times(mut self, times: &[Duration], injected: Duration) {
        self.measurement.injected = millis(injected);
        let of_framework = |time: &Duration| millis(time.saturating_sub(injected));
        let samples: Vec<f64> = times.iter().map(of_framework).collect();
        self.of("ms", &samples);
    }
}
