//! Authentication before runs and around their stages, in paused time.

mod admission;
mod denials;
mod once;
mod rights;
mod secrets;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    Code, DurationExt, FailurePolicy, FieldValue, Interceptor, Recorder, RunOutcome, StageContext, StageKind,
    StageResult, code, stage_fn,
};
use stageflow_dag::Pipeline;
use stageflow_exec::{Engine, RunBuilder};

use super::{AuthError, AuthReason, Authenticate, Authenticator, Credentials, Principal, TenantGuard};

const GOOD: &str = "t0p-s3cr3t";

/// What the authenticator of a test does.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Know,
    KnowFor(Duration),
    /// The negative control: everybody is Ada.
    AcceptAll,
    Fail,
    Panic,
    Hang,
}

/// An authenticator that counts how often it is asked.
#[derive(Clone)]
struct Keys {
    does: Does,
    asked: Arc<AtomicUsize>,
}

fn keys(does: Does) -> Keys {
    Keys { does, asked: Arc::default() }
}

impl Keys {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // sleeps: in paused time
        tokio::time::sleep(10.millis()).await;
        let ada = Principal::builder("ada").tenant("acme").organisation("acme inc").scopes(["read", "run"]);
        match self.does {
            Does::AcceptAll => return Ok(ada.build()),
            Does::Fail => return Err(AuthError::unavailable("the directory does not answer")),
            Does::Panic => panic!("the authenticator is broken"),
            Does::Hang => std::future::pending().await,
            Does::Know | Does::KnowFor(_) => {}
        }
        if !credentials.matches(GOOD) {
            return Err(AuthError::invalid("no such key"));
        }
        Ok(match self.does {
            Does::KnowFor(time) => ada.expires_in(time).build(),
            _ => ada.build(),
        })
    }
}

/// A pipeline of so many independent stages of a second, and how many of them ran.
fn work(stages: usize) -> (Pipeline<(), Vec<Arc<u32>>>, Arc<AtomicUsize>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let mut p = Pipeline::builder("work");
    p.on_failure(FailurePolicy::Continue);
    let ports: Vec<_> = (0..stages)
        .map(|number| {
            let ran = Arc::clone(&ran);
            let stage = stage_fn(move |_: StageContext, (): ()| {
                ran.fetch_add(1, Ordering::SeqCst);
                async {
                    // sleeps: in paused time
                    tokio::time::sleep(1.secs()).await;
                    Ok(1_u32)
                }
            });
            p.stage(format!("work-{number}"), stage).kind(StageKind::Work).inputs(())
        })
        .collect();
    let all = p.stage("all", stage_fn(gather)).inputs(ports);
    (p.build(all).unwrap(), ran)
}

async fn gather(_ctx: StageContext, all: Vec<Arc<u32>>) -> StageResult<Vec<Arc<u32>>> {
    Ok(all)
}

/// What is seen of a run.
#[derive(Debug)]
struct Seen {
    outcome: RunOutcome,
    code: Option<Code>,
    ran: usize,
    recorder: Recorder,
    /// Everything that is printed about it.
    text: String,
}

impl Seen {
    fn reasons(&self, event: &str) -> Vec<String> {
        self.fields(event, "reason")
    }

    fn fields(&self, name: &str, field: &str) -> Vec<String> {
        let of = |event: &stageflow_core::Event| match event.kind() {
            stageflow_core::EventKind::Custom(custom) if custom.name() == name => {
                Some(match custom.field(field) {
                    Some(FieldValue::Text(text)) => text.clone(),
                    _ => String::new(),
                })
            }
            _ => None,
        };
        self.recorder.events().iter().filter_map(of).collect()
    }

    /// The run is denied for this reason, and no code of a stage ran.
    fn is_denied(&self, reason: AuthReason) -> bool {
        let told = [self.reasons("auth.denied"), self.reasons("tenant.denied")].concat();
        self.outcome == RunOutcome::Denied
            && self.code == Some(code::DENIED)
            && self.ran == 0
            && !told.is_empty()
            && told.iter().all(|told| told == reason.as_str())
    }
}

type Run = RunBuilder<Vec<Arc<u32>>>;

/// Runs so many stages behind the interceptors.
async fn run_all(
    stages: usize,
    auth: impl Interceptor,
    tenants: Option<TenantGuard<Keys>>,
    set: impl FnOnce(Run) -> Run,
) -> Seen {
    let (pipeline, ran) = work(stages);
    let recorder = Recorder::new();
    let mut engine = Engine::builder().sink(recorder.clone()).interceptor(auth);
    if let Some(tenants) = tenants {
        engine = engine.interceptor(tenants);
    }
    let engine = engine.build().unwrap();
    let done = set(engine.run(&pipeline, ())).await;
    let (outcome, failure, mut text) = match &done {
        Ok(done) => (done.outcome(), None, format!("{:?} {}", done.report(), done.report())),
        Err(error) => {
            let report = error.report().unwrap();
            let text = format!("{error} {error:?} {report} {report:?}");
            (error.outcome().unwrap(), error.failure().map(|failure| failure.code()), text)
        }
    };
    for event in recorder.events() {
        text += &format!("{event} {event:?} {}", serde_json::to_string(&event).unwrap());
    }
    Seen { outcome, code: failure, ran: ran.load(Ordering::SeqCst), recorder, text }
}

async fn run(auth: Authenticate<Keys>, set: impl FnOnce(Run) -> Run) -> Seen {
    run_all(1, auth, None, set).await
}

fn good(run: Run) -> Run {
    run.extension(Credentials::api_key(GOOD))
}
