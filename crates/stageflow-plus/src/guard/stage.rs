//! [`GuardStage`]: a guard as a stage, and how a guard judges.

use std::{fmt, sync::Arc};

use stageflow_core::{FieldValue, Stage, StageContext, StageExit, StageKind, StageResult};

use super::{
    check::{approved, ask},
    content::Content,
    contract::{Guard, Member},
    exit::{GuardBlocked, OnBlock},
    guarded::{Guarded, Judgement},
    objection::{Blocked, Objection},
    reason::Reason,
};

/// A guard as a stage: it takes content that may be missing, and gives a [`Guarded`] or nothing.
///
/// # Guarantees
///
/// - What it gives has been approved by the guard as it is, unless [`Guarded::is_opened`] or [`Guarded::is_fallback`] says otherwise.
/// - Missing content, empty content, and content that a guard has transformed into nothing is blocked: `missing`, `empty`.
/// - An error, a panic and a timeout of the guard blocks, unless the guard's rules say otherwise.
/// - Each verdict leaves the event `guard.decided`, each block of the stage `guard.blocked`, and each guard that was passed over
///   `audit.guard_opened`; none of them, and no error, has anything of the content.
///
/// A guard that keeps a processor busy is not ended by a timeout before its next `.await`.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult, stage_fn};
/// use stageflow_dag::{BuildError, Pipeline};
/// use stageflow_plus::guard::{GuardStage, Guarded, Length};
///
/// async fn ask_model(_ctx: StageContext, prompt: Arc<Guarded<String>>) -> StageResult<usize> {
///     Ok(prompt.len())
/// }
///
/// let mut p = Pipeline::builder("answer");
/// let prompt = p.input();
/// let prompt = p.stage("input guard", GuardStage::new(Length::at_most(4_000))).inputs(prompt.optional());
/// let answer = p.stage("ask model", stage_fn(ask_model)).inputs(prompt);
/// let pipeline: Pipeline<String, usize> = p.build(answer)?;
/// # Ok::<_, BuildError>(())
/// ```
#[must_use = "a stage is added to a pipeline"]
pub struct GuardStage<T> {
    guard: Member<T, ()>,
    on_block: OnBlock<T>,
    skips_missing: bool,
    checks_empty: bool,
}

impl<T: Content> GuardStage<T> {
    /// Asks `guard`.
    pub fn new(guard: impl Guard<T>) -> Self {
        Self {
            guard: Member::new(guard, 1),
            on_block: OnBlock::Fail,
            skips_missing: false,
            checks_empty: false,
        }
    }

    /// What becomes of the stage if nothing may pass; [`OnBlock::Fail`] unless set.
    pub fn on_block(mut self, what: OnBlock<T>) -> Self {
        self.on_block = what;
        self
    }

    /// Where content is missing, because its stage was skipped or has failed, the stage is skipped, and not blocked.
    pub fn skip_missing(mut self) -> Self {
        self.skips_missing = true;
        self
    }

    /// The guard is asked about empty content too.
    pub fn check_empty(mut self) -> Self {
        self.checks_empty = true;
        self
    }

    /// What becomes of content, without a pipeline; with the context of a run it leaves the events of the guards.
    ///
    /// # Errors
    ///
    /// The guard has cancelled the run, or denied it.
    pub async fn judge(&self, ctx: &StageContext, content: Option<Arc<T>>) -> StageResult<Judgement<T>> {
        match content {
            Some(content) => judge(&self.guard, ctx, &content, self.checks_empty).await,
            None => Ok(nothing(&self.guard, "missing")),
        }
    }
}

impl<T: Content> Stage for GuardStage<T> {
    type Input = Option<Arc<T>>;
    type Output = Guarded<T>;
    const KIND: StageKind = StageKind::Guard;

    async fn run(&self, ctx: &StageContext, content: Option<Arc<T>>) -> StageResult<Guarded<T>> {
        if content.is_none() && self.skips_missing {
            return Err(StageExit::skip("there is no content to guard"));
        }
        match self.judge(ctx, content).await? {
            Judgement::Passed(guarded) => Ok(guarded),
            Judgement::Blocked(blocked) => {
                let fields: [(&str, FieldValue); 4] = [
                    ("guard", (*self.guard.name).into()),
                    ("reason", blocked.reason().into()),
                    ("objections", blocked.to_string().into()),
                    ("then", self.on_block.as_str().into()),
                ];
                ctx.emit("guard.blocked", fields);
                let error = GuardBlocked::new(&blocked);
                self.on_block.leave(error.to_string(), || error.into_exit())
            }
        }
    }
}

/// What becomes of content that is there.
pub(super) async fn judge<T: Content, F: 'static>(
    guard: &Member<T, F>,
    ctx: &StageContext,
    content: &Arc<T>,
    checks_empty: bool,
) -> StageResult<Judgement<T, F>> {
    if !checks_empty && content.is_empty() {
        return Ok(nothing(guard, "empty"));
    }
    Ok(match approved(ask(guard, ctx, content).await?, content) {
        Ok((goes_on, _)) if !checks_empty && goes_on.is_empty() => nothing(guard, "empty"),
        Ok((goes_on, remarks)) => Judgement::Passed(Guarded::new(goes_on, remarks)),
        Err(mut blocked) => {
            for objection in blocked.objections.iter_mut().filter(|objection| objection.guard.is_empty()) {
                objection.guard = Arc::clone(&guard.name);
            }
            Judgement::Blocked(blocked)
        }
    })
}

fn nothing<T, F>(guard: &Member<T, F>, why: &'static str) -> Judgement<T, F> {
    Judgement::Blocked(Blocked {
        objections: vec![Objection::by(&guard.name, Reason::from(why))],
        score: None,
    })
}

impl<T> Clone for GuardStage<T> {
    fn clone(&self) -> Self {
        Self {
            guard: self.guard.clone(),
            on_block: self.on_block.clone(),
            skips_missing: self.skips_missing,
            checks_empty: self.checks_empty,
        }
    }
}

impl<T> fmt::Debug for GuardStage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardStage")
            .field("guard", &self.guard.name)
            .field("on_block", &self.on_block.as_str())
            .finish_non_exhaustive()
    }
}
