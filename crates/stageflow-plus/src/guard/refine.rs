//! [`Refine`]: make, judge, and make again with what was objected.

mod attempt;
mod limits;
mod scope;
#[cfg(test)]
mod tests;
mod told;

use std::{
    any::Any,
    fmt,
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use stageflow_core::{Stage, StageContext, StageExit, StageKind, StageResult, stage::StageRole, time::nanos};
use stageflow_dag::{IntoStage, plan::Plan};
use tokio::{task::yield_now, time::timeout};

pub use self::{
    attempt::{Attempt, Rejected},
    limits::WhyExhausted,
    told::RefineExhausted,
};

use self::limits::{Limits, Loop};
use super::{
    content::Content,
    contract::{Guard, Member},
    exit::{GuardBlocked, OnBlock},
    guarded::{Guarded, Judgement},
    objection::Blocked,
    stage::judge,
};

type Fingerprint<T, F> = Arc<dyn Fn(&T, &Blocked<F>) -> u64 + Send + Sync>;

/// A bounded loop around a stage or a pipeline, until a guard lets its output pass.
///
/// Each attempt is given an [`Attempt`]: the input, its number, and what was rejected before with what the guards said about it, as
/// values of your type `F`. Of a pipeline each attempt is a child run, and *all* of it is made again: nothing of a rejected attempt goes
/// on, what depends on this stage waits until an output has passed, and every guard judges every output. Attempts have their number
/// in the name of their stage (`draft#2`) and in the path of their child run, so that nothing under an idempotency key is answered with
/// what was rejected.
///
/// # Limits
///
/// The loop ends, with what [`on_exhausted`](Self::on_exhausted) says, as soon as one holds, and the first of these is the reason:
///
/// | limit | holds when, after a rejection, | reason |
/// |---|---|---|
/// | [`deadline`](Self::deadline) | the time is up, or less is left of it or of the stage's time than the quickest attempt so far took, or than the pipeline takes at least | `timeout` |
/// | [`stagnation`](Self::stagnation), [`patience`](Self::patience) | attempts come to what was there before, or do not get better | `stagnation` |
/// | [`attempts`](Self::attempts), 3 unless set | so many attempts were made | `max_attempts` |
///
/// The deadline also ends the attempt that is under way.
///
/// # What is no rejection
///
/// - A failure, skip or cancellation of the attempt leaves the stage as it is: what may be tried again belongs into the pipeline.
/// - A guard that has failed, panicked or used up its time ends the loop with `GUARD_FAILED`: the output is not at fault, and there is
///   nothing that would make the next one better. Give the guard a retry of its own, or [`OnError::Open`](super::OnError::Open).
///
/// Events: `guard_retry.attempt` for each rejection, then `guard_retry.scheduled` or `guard_retry.exhausted`; and
/// `guard_retry.recovered` if an output passes after a rejection.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult, stage_fn};
/// use stageflow_dag::{BuildError, Pipeline};
/// use stageflow_plus::guard::{Attempt, Guarded, Refine, Verdict, guard_fn};
///
/// // What a model would do with the topic, and with what was said about its last text.
/// async fn write(_ctx: StageContext, attempt: Arc<Attempt<String, String, &'static str>>) -> StageResult<String> {
///     Ok(match attempt.feedback().next() {
///         None => format!("a long text about {}", attempt.input()),
///         Some(said) => format!("{} ({said})", attempt.input()),
///     })
/// }
///
/// fn draft() -> Result<Pipeline<String, Guarded<String>>, BuildError> {
///     let mut one = Pipeline::builder("one draft");
///     let attempt = one.input();
///     let text = one.stage("write", stage_fn(write)).inputs(attempt);
///     let one = one.build(text)?;
///
///     let short = guard_fn("short", |text: &String| match text.len() {
///         0..20 => Verdict::allow(),
///         _ => Verdict::block("too_long").feedback("shorter"),
///     });
///     let mut p = Pipeline::builder("draft");
///     let topic = p.input();
///     let text = p.stage("draft", Refine::new(one, short).attempts(4).stagnation(1)).inputs(topic);
///     p.build(text)
/// }
/// # draft()?;
/// # Ok::<_, BuildError>(())
/// ```
#[must_use = "a stage is added to a pipeline"]
pub struct Refine<In, S: Stage, F = ()> {
    stage: Arc<S>,
    guard: Member<S::Output, F>,
    limits: Limits,
    fingerprint: Option<Fingerprint<S::Output, F>>,
    on_exhausted: OnBlock<S::Output>,
    checks_empty: bool,
    input: std::marker::PhantomData<fn(In)>,
}

impl<In, S, F> Refine<In, S, F>
where
    In: Any + Send + Sync,
    F: Any + Send + Sync,
    S: Stage<Input = Arc<Attempt<In, <S as Stage>::Output, F>>, Output: Content>,
{
    /// Makes outputs with `stage`, a stage or a pipeline, until `guard` lets one pass.
    pub fn new(stage: impl IntoStage<Stage = S>, guard: impl Guard<S::Output, F>) -> Self {
        Self {
            stage: Arc::new(stage.into_stage()),
            guard: Member::new(guard, 1),
            limits: Limits::default(),
            fingerprint: None,
            on_exhausted: OnBlock::Fail,
            checks_empty: false,
            input: std::marker::PhantomData,
        }
    }

    /// How many attempts are made at most, the first included; 3 unless set. 0 counts as 1.
    pub fn attempts(mut self, most: u32) -> Self {
        self.limits.attempts = most.max(1);
        self
    }

    /// How long the loop goes on at most, its last attempt included.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.limits.deadline = Some(time);
        self
    }

    /// Ends the loop when so many attempts in a row have come to what was there before: the same output, with the same objections and
    /// the same feedback. 1 ends it at the first repetition; 0 counts as 1. Of the rejections the last 1,024 are known.
    pub fn stagnation(self, repetitions: u32) -> Self
    where
        S::Output: Hash,
        F: Hash,
    {
        self.stagnation_by(repetitions, |output, blocked| {
            let mut hasher = DefaultHasher::new();
            output.hash(&mut hasher);
            for objection in blocked.objections() {
                (objection.guard(), objection.reason(), objection.feedback()).hash(&mut hasher);
            }
            hasher.finish()
        })
    }

    /// The same, by what `key` makes of an output and what was objected: for outputs that are no `Hash`, and to leave out what differs
    /// each time.
    pub fn stagnation_by<K: Hash>(
        mut self,
        repetitions: u32,
        key: impl Fn(&S::Output, &Blocked<F>) -> K + Send + Sync + 'static,
    ) -> Self {
        self.limits.repetitions = Some(repetitions.max(1));
        self.fingerprint = Some(Arc::new(move |output, blocked| {
            let mut hasher = DefaultHasher::new();
            key(output, blocked).hash(&mut hasher);
            hasher.finish()
        }));
        self
    }

    /// Ends the loop when the scores of so many attempts in a row are not above the best so far. Rejections without a
    /// [score](super::Verdict::score) do not count. 0 counts as 1.
    pub fn patience(mut self, attempts: u32) -> Self {
        self.limits.patience = Some(attempts.max(1));
        self
    }

    /// What becomes of the stage when the loop ends without an output; [`OnBlock::Fail`] unless set: with `REFINE_EXHAUSTED`.
    pub fn on_exhausted(mut self, what: OnBlock<S::Output>) -> Self {
        self.on_exhausted = what;
        self
    }

    /// The guard is asked about empty outputs too; without a call they are rejected as `empty`.
    pub fn check_empty(mut self) -> Self {
        self.checks_empty = true;
        self
    }

    /// One output, as the stage gives it: nothing has to be moved out of its `Arc`.
    async fn make(
        &self,
        ctx: StageContext,
        attempt: Arc<Attempt<In, S::Output, F>>,
    ) -> StageResult<Arc<S::Output>> {
        let output = self.stage.start(ctx, attempt).await?;
        output.downcast().map_err(|_| StageExit::internal("a stage gave an output of another type"))
    }

    async fn once(
        &self,
        ctx: &StageContext,
        attempt: Attempt<In, S::Output, F>,
        until: u64,
    ) -> StageResult<(Arc<S::Output>, Judgement<S::Output, F>)> {
        let making = scope::of_attempt(ctx, &self.stage, attempt.number(), until);
        let output = self.make(making, Arc::new(attempt)).await?;
        let judging = ctx.for_attempt(ctx.attempt(), until);
        let judgement = judge(&self.guard, &judging, &output, self.checks_empty).await?;
        Ok((output, judgement))
    }

    fn what(&self, ctx: &StageContext) -> Arc<str> {
        let plan = self.stage.child_plan().and_then(|plan| plan.downcast::<Plan>().ok());
        plan.map_or_else(|| Arc::from(ctx.stage_name()), |plan| Arc::clone(plan.name()))
    }
}

impl<In, S, F> Stage for Refine<In, S, F>
where
    In: Any + Send + Sync,
    F: Any + Send + Sync,
    S: Stage<Input = Arc<Attempt<In, <S as Stage>::Output, F>>, Output: Content>,
{
    type Input = Arc<In>;
    type Output = Guarded<S::Output>;
    const KIND: StageKind = StageKind::Guard;

    async fn run(&self, ctx: &StageContext, input: Arc<In>) -> StageResult<Self::Output> {
        let began = ctx.elapsed();
        let mut state = Loop::new(self.limits, self.stage.min_time());
        let mut rejected: Option<Arc<Rejected<S::Output, F>>> = None;
        let told = told::Told { ctx, limits: self.limits, guard: &self.guard.name, what: self.what(ctx) };
        for number in 1_u32.. {
            let (at, attempt) = (ctx.elapsed(), Attempt::new(Arc::clone(&input), number, rejected.clone()));
            let left = self.limits.deadline.map(|all| all.saturating_sub(at.saturating_sub(began)));
            let until = left.map_or(ctx.until_nanos(), |left| {
                nanos(at).saturating_add(nanos(left)).min(ctx.until_nanos())
            });
            let Some(ended) = before(left, self.once(ctx, attempt, until)).await else {
                let exhausted = told.exhausted(&state, WhyExhausted::Timeout, number, rejected.as_deref());
                return self.on_exhausted.leave(exhausted.to_string(), || exhausted.into_exit());
            };
            let (output, blocked) = match ended? {
                (_, Judgement::Passed(guarded)) => {
                    if rejected.is_some() {
                        told.recovered(number);
                    }
                    return Ok(guarded);
                }
                (_, Judgement::Blocked(blocked)) if blocked.failure().is_some() => {
                    return Err(GuardBlocked::new(&blocked).into_exit());
                }
                (output, Judgement::Blocked(blocked)) => (output, blocked),
            };
            let key = self.fingerprint.as_ref().map(|fingerprint| fingerprint(&output, &blocked));
            let now = ctx.elapsed();
            let took = now.saturating_sub(at);
            let why = state.rejected(
                number,
                key,
                blocked.score(),
                took,
                now.saturating_sub(began),
                ctx.remaining(),
            );
            told.attempt(&state, number);
            let last = rejected.insert(Arc::new(Rejected::new(output, blocked, number)));
            if let Some(why) = why {
                let exhausted = told.exhausted(&state, why, number, Some(last));
                return self.on_exhausted.leave(exhausted.to_string(), || exhausted.into_exit());
            }
            told.scheduled(&state, number);
            // A loop of attempts that never wait lets others go on, and can be cancelled.
            yield_now().await;
        }
        Err(StageExit::internal("a loop without an end has ended"))
    }

    fn role(&self) -> StageRole {
        self.stage.role()
    }

    fn child_plan(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.stage.child_plan()
    }

    fn min_time(&self) -> Duration {
        self.stage.min_time()
    }
}

/// What `future` gives, if that is within the time.
async fn before<T>(left: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match left {
        Some(left) => timeout(left, future).await.ok(),
        None => Some(future.await),
    }
}

impl<In, S: Stage, F> fmt::Debug for Refine<In, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refine")
            .field("guard", &self.guard.name)
            .field("limits", &self.limits)
            .field("on_exhausted", &self.on_exhausted.as_str())
            .finish_non_exhaustive()
    }
}
