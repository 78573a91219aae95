//! The priority of a run: seen by stages, policies and sinks, inherited by child runs (rules S-19, S-31).

use std::sync::{Arc, Mutex};

use stageflow::{
    Call, Engine, Event, EventSink, Interceptor, Layer, Next, Pipeline, Placement, Recorder, Value,
    interceptors::Retry, prelude::*,
};

use super::{
    child::parent_of,
    kit::{error_of, naps, pipeline, solo},
};

const ALL: [Priority; 5] =
    [Priority::Background, Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

/// What was seen, and by whom.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, Priority)>>>);

impl Seen {
    fn add(&self, who: impl Into<String>, priority: Priority) {
        self.0.lock().expect("nobody panics").push((who.into(), priority));
    }

    fn take(&self) -> Vec<(String, Priority)> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics"))
    }
}

impl Interceptor for Seen {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        self.add(format!("around {}", call.stage_name()), call.snapshot().priority());
        next.run().await
    }
}

impl EventSink for Seen {
    fn on_event(&self, event: &Event) {
        self.add(event.name(), event.run().snapshot().priority());
    }

    fn delivery(&self) -> stageflow::Delivery {
        stageflow::Delivery::Inline
    }
}

/// Says what it sees, in both of its attempts.
fn sees(seen: &Seen) -> Pipeline<(), Priority> {
    let seen = seen.clone();
    solo(stage_fn(move |ctx: StageContext, (): ()| {
        let (seen, priority) = (seen.clone(), ctx.snapshot().priority());
        async move {
            seen.add(format!("attempt {}", ctx.attempt()), priority);
            if ctx.attempt() == 1 { Err(StageExit::retry("once more").after(1.secs())) } else { Ok(priority) }
        }
    }))
}

/// Each level, each attempt, each interceptor and each event sees the priority of the run that was asked for.
#[tokio::test(start_paused = true)]
async fn s_19_everybody_in_a_run_and_its_children_sees_its_priority() {
    let seen = Seen::default();
    let nested = parent_of(parent_of(parent_of(sees(&seen))));
    let engine = Engine::builder().interceptor(seen.clone()).sink(seen.clone()).build().expect("an engine");
    for priority in ALL {
        let done = engine.run(&nested, ()).priority(priority).await.expect("the second attempt gives it");
        assert_eq!(*done.output(), priority);
        let seen = seen.take();
        for (who, seen) in &seen {
            assert_eq!(*seen, priority, "{who}");
        }
        let count = |who: &str| seen.iter().filter(|(known, _)| known == who).count();
        assert_eq!((count("attempt 1"), count("attempt 2")), (1, 1));
        assert_eq!((count("around kid"), count("around only")), (3, 2));
        assert_eq!((count("pipeline.started"), count("stage.retry_scheduled")), (4, 1));
    }
    assert_eq!(*engine.run(&nested, ()).await.expect("it completes").output(), Priority::Normal);
}

/// Runs at the same time do not see each other's.
#[tokio::test(start_paused = true)]
async fn runs_do_not_see_the_priority_of_others() {
    let seen = Seen::default();
    let nested = parent_of(sees(&seen));
    let engine = Engine::builder().build().expect("an engine");
    let runs = ALL.map(|priority| (priority, engine.run(&nested, ()).priority(priority).start()));
    for (priority, run) in runs {
        assert_eq!(*run.await.expect("it completes").output(), priority);
    }
}

/// On the wire the first event of a run has it, that of a child run as well.
#[tokio::test(start_paused = true)]
async fn s_31_the_first_event_of_a_run_tells_its_priority() {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
    let nested = parent_of(solo(naps(1.millis(), 1)));
    engine.run(&nested, ()).priority(Priority::High).await.expect("it completes");
    let all = recorder.events();
    let wires = all.iter().map(|event| serde_json::to_value(event).expect("an event is data"));
    let (started, others): (Vec<_>, Vec<_>) = wires.partition(|wire| wire["event"] == "pipeline.started");
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|wire| wire["details"]["priority"] == "high"), "{started:#?}");
    assert!(others.iter().all(|wire| wire["details"]["priority"].is_null()));
}

/// Tries again for those somebody waits for.
struct Patience(Retry);

impl Interceptor for Patience {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        if call.snapshot().priority() == Priority::Background {
            return next.run().await;
        }
        self.0.around(call, next).await
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Retry)
    }
}

/// A policy may go by it, in a child run too.
#[tokio::test(start_paused = true)]
async fn s_19_a_policy_may_go_by_the_priority() {
    let fails = stage_fn(|_, (): ()| async {
        Err::<u32, _>(StageExit::fail("busy").class(stageflow::ErrorClass::Transient))
    });
    let patience = Patience(Retry::constant(1.secs()).max_attempts(4));
    let nested = parent_of(pipeline(|p| p.stage("only", fails).retry(patience).inputs(())));
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
    for (priority, attempts) in [(Priority::Background, 1), (Priority::Normal, 4), (Priority::Critical, 4)] {
        recorder.clear();
        error_of(engine.run(&nested, ()).priority(priority)).await;
        let started = recorder.lines().iter().filter(|line| *line == "stage.started only").count();
        assert_eq!((priority, started), (priority, attempts));
    }
}
