//! What is timed: batches of calls, each bare and within a policy.

use std::{fmt::Debug, future::Future, hint::black_box, pin::Pin, time::Duration};

use stageflow_benches::stopwatch::Stopwatch;
use tokio::{runtime::Runtime, task};
use tower::{Service, ServiceExt as _};

/// So many calls are a batch, so that what comes once per batch vanishes.
pub(crate) const CALLS: u32 = 1_000;

/// A batch and how long it took.
pub(crate) type Batch<'a> = Pin<Box<dyn Future<Output = Duration> + Send + 'a>>;

/// Something that is called again and again.
pub(crate) trait Case: Send {
    /// Makes [`CALLS`] calls, each of which must succeed.
    fn batch(&mut self) -> Batch<'_>;
}

/// The same calls without and with a policy: its cost is the difference.
pub(crate) struct Pair {
    pub(crate) bare: Box<dyn Case>,
    pub(crate) with: Box<dyn Case>,
}

impl Pair {
    pub(crate) fn new(bare: impl Case + 'static, with: impl Case + 'static) -> Self {
        Self { bare: Box::new(bare), with: Box::new(with) }
    }
}

/// Calls a function whose future succeeds.
pub(crate) struct Calls<F>(pub(crate) F);

impl<F, Fut> Case for Calls<F>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output: Send> + Send,
{
    fn batch(&mut self) -> Batch<'_> {
        let call = &mut self.0;
        Box::pin(task::unconstrained(async move {
            let watch = Stopwatch::start();
            for _ in 0..CALLS {
                black_box(call().await);
            }
            watch.elapsed()
        }))
    }
}

/// Calls a service of tower as its documentation says: it is asked whether it is ready, and then called.
///
/// Within `unconstrained`: a task that makes a thousand calls at once would be stopped now and then by tokio, which is not the
/// policy's fault.
pub(crate) struct Served<S>(pub(crate) S);

impl<S> Case for Served<S>
where
    S: Service<(), Response = (), Error: Debug, Future: Send> + Send,
{
    fn batch(&mut self) -> Batch<'_> {
        let service = &mut self.0;
        Box::pin(task::unconstrained(async move {
            let watch = Stopwatch::start();
            for _ in 0..CALLS {
                let ready = service.ready().await.expect("the service is ready");
                black_box(ready).call(()).await.expect("the call succeeds");
            }
            watch.elapsed()
        }))
    }
}

/// Nanoseconds per call of one visit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) bare: f64,
    pub(crate) with: f64,
    /// The median of the differences of neighbours, which a disturbance of both leaves as it is.
    pub(crate) cost: f64,
    pub(crate) batches: usize,
}

/// Runs batches without and with the policy in turns for about this time.
pub(crate) fn visit(runtime: &Runtime, pair: &mut Option<Pair>, time: Duration) -> Visit {
    let taken = pair.take().expect("a pair comes back from each visit");
    let handler = runtime.spawn(async move {
        let mut taken = taken;
        let mut batches: Vec<(f64, f64)> = Vec::new();
        let watch = Stopwatch::start();
        while watch.elapsed() < time || batches.len() < 5 {
            let with_first = batches.len() % 2 == 1;
            let first = if with_first { one(&mut *taken.with).await } else { one(&mut *taken.bare).await };
            let second = if with_first { one(&mut *taken.bare).await } else { one(&mut *taken.with).await };
            batches.push(if with_first { (second, first) } else { (first, second) });
        }
        let visit = Visit {
            bare: median(batches.iter().map(|(bare, _)| *bare)),
            with: median(batches.iter().map(|(_, with)| *with)),
            cost: median(batches.iter().map(|(bare, with)| with - bare)),
            batches: batches.len(),
        };
        (taken, visit)
    });
    let (back, visit) = runtime.block_on(handler).expect("a batch does not panic");
    *pair = Some(back);
    visit
}

async fn one(case: &mut dyn Case) -> f64 {
    // A handler starts with a fresh budget.
    task::yield_now().await;
    case.batch().await.as_secs_f64() * 1e9 / f64::from(CALLS)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => f64::NAN,
        all if all.len() % 2 == 1 => all[middle],
        all => f64::midpoint(all[middle - 1], all[middle]),
    }
}
