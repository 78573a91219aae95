//! The fallback around the retries of a stage.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
};

use stageflow_core::{
    Call, FallbackFacts, FieldValue, Interceptor, Layer, Next, PolicyFacts, StageExit, StageResult, Value,
    intercept::Placement,
};

use super::{Answer, Fallback, failed};
use crate::CallInputs;

/// What one fallback gives. A panic of it is its failure, so that what it was asked about is not lost.
async fn ask(
    answer: &Answer,
    call: &Call,
    failure: &Arc<StageExit>,
    inputs: CallInputs,
) -> StageResult<Value> {
    let begun = || answer(call.context().clone(), Arc::clone(failure), inputs);
    let mut answering = catch_unwind(AssertUnwindSafe(begun)).map_err(|panic| failed::panicked(&*panic))?;
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(failed::panicked(&*panic))))
    })
    .await
}

/// Tells what a fallback was asked about.
fn tell(call: &Call, event: &str, step: usize, failure: &StageExit) {
    let class = failure.error_class().map_or_else(|| "retry".to_owned(), |class| class.to_string());
    let fields =
        [("step", FieldValue::from(step)), ("class", class.into()), ("reason", failure.to_string().into())];
    call.context().emit(event, fields);
}

impl Interceptor for Fallback {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let inputs = CallInputs::of(&next);
        let mut exit = match next.run().await {
            Ok(output) => return Ok(output),
            Err(exit) => exit,
        };
        for (before, answer) in self.answers.iter().enumerate() {
            if !self.answers(&exit) {
                break;
            }
            let failure = Arc::new(exit);
            // On the heap, for those alone that failed.
            match Box::pin(ask(&**answer, call, &failure, inputs.clone())).await {
                Ok(output) => {
                    tell(call, "fallback.used", before + 1, &failure);
                    call.mark_substitute();
                    return Ok(output);
                }
                Err(own) => {
                    tell(call, "fallback.failed", before + 1, &failure);
                    exit = failed::both(own, failure);
                }
            }
        }
        Err(exit)
    }

    fn name(&self) -> String {
        "fallback".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::Outside(Layer::Retry)
    }

    fn describe(&self) -> PolicyFacts {
        FallbackFacts::new(self.answers.len(), self.classes.clone()).into()
    }
}
