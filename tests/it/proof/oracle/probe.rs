//! What the stages of a run see of themselves: how often they run, how many at a time, and what is left of their values.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
};

use stageflow::{Owned, StageInputs, StageKind};

/// Watches one run.
#[derive(Debug)]
pub(crate) struct Probe {
    /// How often each stage was called.
    pub(crate) calls: Vec<AtomicU32>,
    running: Gauge,
    working: Gauge,
    /// Lent to every value.
    life: Arc<()>,
}

/// How many there are, and how many there were at most.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) {
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, SeqCst);
    }
}

/// A stage that is being run; leaves when it is dropped, however that comes.
#[derive(Debug)]
pub(crate) struct Running {
    probe: Arc<Probe>,
    works: bool,
}

impl Probe {
    pub(crate) fn new(stages: usize) -> Arc<Self> {
        Arc::new(Self {
            calls: (0..stages).map(|_| AtomicU32::new(0)).collect(),
            running: Gauge::default(),
            working: Gauge::default(),
            life: Arc::new(()),
        })
    }

    pub(crate) fn enter(self: &Arc<Self>, stage: usize, kind: StageKind) -> Running {
        self.calls[stage].fetch_add(1, SeqCst);
        let works = kind == StageKind::Work;
        self.running.enter();
        if works {
            self.working.enter();
        }
        Running { probe: Arc::clone(self), works }
    }

    pub(crate) fn value(&self, value: u64) -> V {
        V { value, _life: Arc::clone(&self.life) }
    }

    pub(crate) fn was_called(&self, stage: usize) -> bool {
        self.calls[stage].load(SeqCst) > 0
    }

    /// How many stages ran at a time at most: of all, and of those of kind `work`.
    pub(crate) fn most(&self) -> (usize, usize) {
        (self.running.most.load(SeqCst), self.working.most.load(SeqCst))
    }

    pub(crate) fn running(&self) -> usize {
        self.running.now.load(SeqCst)
    }

    pub(crate) fn values_alive(&self) -> usize {
        Arc::strong_count(&self.life) - 1
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.probe.running.leave();
        if self.works {
            self.probe.working.leave();
        }
    }
}

/// What stages give to each other.
#[derive(Clone, Debug)]
pub(crate) struct V {
    pub(crate) value: u64,
    _life: Arc<()>,
}

/// What arrived over the wires, in their order.
pub(crate) trait Delivered {
    fn add_to(self, inputs: &mut Vec<Option<u64>>);
}

impl Delivered for () {
    fn add_to(self, _: &mut Vec<Option<u64>>) {}
}

impl Delivered for Arc<V> {
    fn add_to(self, inputs: &mut Vec<Option<u64>>) {
        inputs.push(Some(self.value));
    }
}

impl Delivered for Owned<V> {
    fn add_to(self, inputs: &mut Vec<Option<u64>>) {
        inputs.push(Some(self.0.value));
    }
}

impl Delivered for Option<Arc<V>> {
    fn add_to(self, inputs: &mut Vec<Option<u64>>) {
        inputs.push(self.map(|value| value.value));
    }
}

impl Delivered for Vec<Arc<V>> {
    fn add_to(self, inputs: &mut Vec<Option<u64>>) {
        inputs.extend(self.iter().map(|value| Some(value.value)));
    }
}

impl Delivered for StageInputs {
    fn add_to(self, inputs: &mut Vec<Option<u64>>) {
        inputs.extend(self.names().map(|name| {
            let value = self.get_optional::<V>(name).expect("a declared input of that type");
            value.map(|value| value.value)
        }));
    }
}

macro_rules! tuples {
    ($(($($part:ident)+))+) => {$(
        impl<$($part: Delivered),+> Delivered for ($($part,)+) {
            fn add_to(self, inputs: &mut Vec<Option<u64>>) {
                #[expect(non_snake_case, reason = "each variable is named like its type")]
                let ($($part,)+) = self;
                $($part.add_to(inputs);)+
            }
        }
    )+};
}

tuples! {
    (A B)
    (A B C)
}
