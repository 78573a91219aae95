//! Asks one guard, whatever it does, and records what came of it.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::{
    BoxError, Code, ErrorClass, FieldValue, StageContext, StageExit, StageResult,
    caught::poll_caught,
    code,
    exit::Exit,
    text::panic_message,
    time::{Human, nanos},
};
use tokio::time::timeout;

use super::{
    contract::Member,
    guarded::Remark,
    objection::{Blocked, GuardFailure, HowFailed, Objection},
    reason::Reason,
    rules::OnError,
    verdict::{Ruling, Verdict},
};

/// What came of a check: a verdict, or none.
type Outcome<T, F> = Result<Verdict<T, F>, GuardFailure>;

/// Asks a guard. A failure of it is a verdict by its rules.
///
/// # Errors
///
/// The guard has cancelled the run, or denied it.
pub(super) async fn ask<T: Send + Sync + 'static, F: 'static>(
    member: &Member<T, F>,
    ctx: &StageContext,
    content: &Arc<T>,
) -> StageResult<Verdict<T, F>> {
    let begun = ctx.elapsed();
    let outcome = match checked(member, ctx, content).await {
        Ok(Ok(verdict)) => fitting(verdict),
        Ok(Err(exit)) if ends_the_run(&exit) => return Err(exit),
        Ok(Err(exit)) => Err(failed(exit)),
        Err(failure) => Err(failure),
    };
    let took = ctx.elapsed().saturating_sub(begun);
    Ok(match outcome {
        Ok(verdict) => {
            let verdict = signed(verdict, &member.name);
            tell(ctx, &member.name, &verdict, took);
            verdict
        }
        Err(failure) => by_the_rules(member, ctx, failure, took),
    })
}

/// Calls the guard within its time. A panic is caught here, wherever it comes from.
async fn checked<T: Send + Sync + 'static, F: 'static>(
    member: &Member<T, F>,
    ctx: &StageContext,
    content: &Arc<T>,
) -> Result<StageResult<Verdict<T, F>>, GuardFailure> {
    let begin = || member.check(ctx, content);
    let checking = catch_unwind(AssertUnwindSafe(begin)).map_err(panicked)?;
    let checking = Caught(Some(checking));
    let ended = match member.rules.timeout {
        Some(time) => timeout(time, checking).await.map_err(|_| too_slow(time))?,
        None => checking.await,
    };
    ended.map_err(panicked)
}

/// A future whose panic is a value.
struct Caught<F>(Option<Pin<Box<F>>>)
where
    F: ?Sized;

impl<F: Future + ?Sized> Future for Caught<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let ended = std::task::ready!(poll_caught(future.as_mut(), cx));
        let future = self.0.take();
        // Its destructor is the user's as well.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        Poll::Ready(ended.and_then(|output| dropped.map(|()| output)))
    }
}

impl<F: ?Sized> Drop for Caught<F> {
    fn drop(&mut self) {
        let future = self.0.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(future)));
    }
}

fn ends_the_run(exit: &StageExit) -> bool {
    exit.is_cancel() || exit.error_class() == Some(ErrorClass::Denied)
}

/// A verdict that can be used.
fn fitting<T, F>(verdict: Verdict<T, F>) -> Outcome<T, F> {
    match verdict.score {
        Some(score) if !(0.0..=1.0).contains(&score) => {
            let what = "its score is not a number from 0 to 1";
            Err(failure(HowFailed::Error, code::STAGE_FAILED, ErrorClass::Permanent, what.into()))
        }
        _ => Ok(verdict),
    }
}

/// Puts the name of the guard where nobody else's is: what comes out of a composition has names.
fn signed<T, F>(mut verdict: Verdict<T, F>, name: &Arc<str>) -> Verdict<T, F> {
    let of_objections = verdict.objections.iter_mut().map(|objection| &mut objection.guard);
    let of_remarks = verdict.remarks.iter_mut().map(|remark| &mut remark.guard);
    for guard in of_objections.chain(of_remarks).filter(|guard| guard.is_empty()) {
        *guard = Arc::clone(name);
    }
    verdict
}

fn failure(how: HowFailed, code: Code, class: ErrorClass, error: BoxError) -> GuardFailure {
    GuardFailure { how, code, class, after: None, error: error.into() }
}

fn panicked(panic: Box<dyn Any + Send>) -> GuardFailure {
    failure(HowFailed::Panic, code::PANIC, ErrorClass::Panic, panic_message(panic).into())
}

fn too_slow(time: Duration) -> GuardFailure {
    let error = format!("the guard used up its {}", Human(time));
    failure(HowFailed::Timeout, code::ATTEMPT_TIMEOUT, ErrorClass::Timeout, error.into())
}

/// What a guard's exit says of its failure.
fn failed(exit: StageExit) -> GuardFailure {
    let (after, said) = (exit.retry_after(), exit.to_string());
    let mut failure = match exit.into_exit() {
        Exit::Fail(spec) => failure(HowFailed::Error, spec.code, spec.class, spec.error),
        Exit::Retry { .. } => {
            failure(HowFailed::Error, code::STAGE_FAILED, ErrorClass::Transient, said.into())
        }
        Exit::Skip(_) | Exit::Cancel(_) => {
            failure(HowFailed::Error, code::STAGE_FAILED, ErrorClass::Permanent, said.into())
        }
    };
    failure.after = after;
    failure
}

fn by_the_rules<T, F>(
    member: &Member<T, F>,
    ctx: &StageContext,
    failure: GuardFailure,
    took: Duration,
) -> Verdict<T, F> {
    let reason = Reason::from(failure.how.as_str());
    let mut fields = fields(&member.name, "error", Some(&reason), None, took);
    fields.push(("code", failure.code.as_str().into()));
    fields.push(("class", failure.class.to_string().into()));
    ctx.emit("guard.decided", fields.clone());
    match member.rules.on_error {
        OnError::Block => {
            let objection = Objection { failure: Some(failure), ..Objection::by(&member.name, reason) };
            Verdict::blocked(vec![objection])
        }
        OnError::Open => {
            fields.retain(|(name, _)| !matches!(*name, "verdict" | "took_ns"));
            ctx.emit("audit.guard_opened", fields);
            let mut verdict = Verdict::allow();
            verdict.remarks.push(Remark::opened(&member.name, reason));
            verdict
        }
    }
}

fn tell<T, F>(ctx: &StageContext, guard: &Arc<str>, verdict: &Verdict<T, F>, took: Duration) {
    let kind = verdict.kind().as_str();
    ctx.emit("guard.decided", fields(guard, kind, verdict.reason(), verdict.score, took));
}

fn fields(
    guard: &Arc<str>,
    verdict: &'static str,
    reason: Option<&Reason>,
    score: Option<f64>,
    took: Duration,
) -> Vec<(&'static str, FieldValue)> {
    let mut fields = vec![("guard", FieldValue::from(&**guard)), ("verdict", verdict.into())];
    fields.extend(reason.map(|reason| ("reason", reason.as_str().into())));
    fields.extend(score.map(|score| ("score", score.into())));
    fields.push(("took_ns", nanos(took).into()));
    fields
}

/// Content that goes on by a verdict, and by whom it was touched; or what is objected.
pub(super) fn approved<T, F>(
    verdict: Verdict<T, F>,
    content: &Arc<T>,
) -> Result<(Arc<T>, Vec<Remark>), Blocked<F>> {
    let objections = match verdict.ruling {
        Ruling::Allow => return Ok((Arc::clone(content), verdict.remarks)),
        Ruling::Transform(content) => return Ok((content, verdict.remarks)),
        Ruling::Block => verdict.objections,
        Ruling::Abstain => vec![Objection::new(Reason::from("undecided"))],
    };
    Err(Blocked { objections, score: verdict.score })
}
