//! What a batcher refuses, and what the failure of a call is to each of its callers.

use std::{any::Any, borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{
    BoxError, Code, ErrorClass, StageExit, StageResult, code,
    exit::{Exit, FailSpec},
    text::{OneLine, panic_message},
    time::Human,
};

use super::{
    hub::{Answers, Hub},
    queue::RefusedBy,
};

/// A batcher did not take an item. As a failure it has the code `BATCH_REFUSED`, and is transient unless the batcher is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRefused {
    batcher: Arc<str>,
    by: RefusedBy,
}

impl BatchRefused {
    pub(super) fn new(batcher: &Arc<str>, by: RefusedBy) -> Self {
        Self { batcher: Arc::clone(batcher), by }
    }

    /// The name of the batcher.
    pub fn batcher(&self) -> &str {
        &self.batcher
    }

    /// Why.
    pub fn by(&self) -> RefusedBy {
        self.by
    }

    /// How a stage leaves for this reason.
    pub fn into_exit(self) -> StageExit {
        let class = match self.by {
            RefusedBy::Closed => ErrorClass::Permanent,
            RefusedBy::QueueFull | RefusedBy::TenantQueueFull => ErrorClass::Transient,
        };
        StageExit::failure(code::BATCH_REFUSED, class, Box::new(self))
    }
}

impl fmt::Display for BatchRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the batcher `{}` ", OneLine(&self.batcher))?;
        f.write_str(match self.by {
            RefusedBy::QueueFull => "has no place in its queue",
            RefusedBy::TenantQueueFull => "has no place in its queue for another item of this tenant",
            RefusedBy::Closed => "is closed",
        })
    }
}

impl Error for BatchRefused {}

/// The call of a whole batch failed. Each of its callers fails with the code and class of the call's failure.
#[derive(Clone, Debug)]
pub struct BatchFailed {
    batcher: Arc<str>,
    size: usize,
    cause: Arc<BoxError>,
}

impl BatchFailed {
    /// The name of the batcher.
    pub fn batcher(&self) -> &str {
        &self.batcher
    }

    /// How many items the call was for.
    pub fn size(&self) -> usize {
        self.size
    }
}

impl fmt::Display for BatchFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the call of the batcher `{}` for {} items failed", OneLine(&self.batcher), self.size)
    }
}

impl Error for BatchFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self.cause)
    }
}

/// How a whole call left, to be told to each of its callers.
enum Whole {
    Skip(Cow<'static, str>),
    Cancel(Cow<'static, str>),
    Retry(Cow<'static, str>, Option<Duration>),
    Fail {
        code: Code,
        class: ErrorClass,
        error: Arc<BoxError>,
        hint: Option<Cow<'static, str>>,
        after: Option<Duration>,
    },
}

impl Whole {
    fn new(exit: StageExit) -> Self {
        match exit.into_exit() {
            Exit::Skip(reason) => Self::Skip(reason),
            Exit::Cancel(reason) => Self::Cancel(reason),
            Exit::Retry { reason, after } => Self::Retry(reason, after),
            Exit::Fail(FailSpec { code, class, error, hint, after, .. }) => {
                Self::Fail { code, class, error: Arc::new(error), hint, after }
            }
        }
    }

    fn exit(&self, batcher: &Arc<str>, size: usize) -> StageExit {
        match self {
            Self::Skip(reason) => StageExit::skip(reason.clone()),
            Self::Cancel(reason) => StageExit::cancel(reason.clone()),
            Self::Retry(reason, None) => StageExit::retry(reason.clone()),
            Self::Retry(reason, Some(after)) => StageExit::retry(reason.clone()).after(*after),
            Self::Fail { code, class, error, hint, after } => {
                let failed = BatchFailed { batcher: Arc::clone(batcher), size, cause: Arc::clone(error) };
                let mut spec = FailSpec::new(*code, *class, Box::new(failed));
                (spec.hint, spec.after) = (hint.clone(), *after);
                spec.into_exit()
            }
        }
    }
}

/// The answer for each caller.
pub(super) type Sorted<O> = Vec<(u64, StageResult<O>)>;

pub(super) fn sort<I, O>(
    hub: &Hub<I, O>,
    tickets: Vec<u64>,
    answers: Option<Answers<O>>,
    too_late: Option<Duration>,
) -> Sorted<O> {
    match answers {
        Some(Ok(answers)) if answers.len() == tickets.len() => tickets.into_iter().zip(answers).collect(),
        Some(Ok(answers)) => {
            let name = OneLine(&hub.name);
            let (given, asked) = (answers.len(), tickets.len());
            let error = format!("the handler of the batcher `{name}` gave {given} answers for {asked} items");
            // What it has given is dropped: nobody knows whose it is.
            let exit = StageExit::failure(code::BATCH_MISMATCH, ErrorClass::Permanent, error.into());
            to_all(hub, tickets, exit)
        }
        Some(Err(exit)) => to_all(hub, tickets, exit),
        None => {
            let error = format!("the call took longer than {}", Human(too_late.unwrap_or_default()));
            let exit = StageExit::failure(code::ATTEMPT_TIMEOUT, ErrorClass::Timeout, error.into());
            to_all(hub, tickets, exit)
        }
    }
}

pub(super) fn panicked<I, O>(hub: &Hub<I, O>, tickets: Vec<u64>, panic: Box<dyn Any + Send>) -> Sorted<O> {
    let error = format!("the handler panicked: {}", panic_message(panic));
    to_all(hub, tickets, StageExit::failure(code::PANIC, ErrorClass::Panic, error.into()))
}

fn to_all<I, O>(hub: &Hub<I, O>, tickets: Vec<u64>, exit: StageExit) -> Sorted<O> {
    let (whole, size) = (Whole::new(exit), tickets.len());
    tickets.into_iter().map(|ticket| (ticket, Err(whole.exit(&hub.name, size)))).collect()
}
