//! What is said about a stage where it is made is said as by the builder, and yields to it.

use std::{sync::Arc, time::Duration};

use stageflow_core::{Call, Interceptor, Next, StageKind, StageResult, TimeLimit, Value, stage_fn};

use super::{builds, next};
use crate::{IntoConfiguredStage, Lint, Pipeline, configured, numbered, plan::StageSettings};

/// An interceptor with a name.
struct Named(&'static str);

impl Interceptor for Named {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn name(&self) -> String {
        self.0.to_owned()
    }
}

/// Says everything that can be said, with this number.
macro_rules! say_all {
    ($stage:expr, $n:expr, $name:expr) => {
        $stage
            .kind(StageKind::ALL[$n])
            .timeout(secs($n))
            .attempt_timeout(secs($n))
            .idle_timeout(secs($n))
            .min_time(Duration::from_millis($n))
            .grace(secs($n))
            .cost($n)
            .retry(Named($name))
            .intercept(Named("inner"))
            .allow_lint(Lint::ManyAttempts, $name)
    };
}

fn secs(n: usize) -> Duration {
    Duration::from_secs(n as u64)
}

fn of(
    stage: impl IntoConfiguredStage<Stage: stageflow_core::Stage<Input = Arc<u32>, Output = u32>>,
) -> Pipeline<u32, u32> {
    builds(|p| {
        let input = p.input();
        p.stage("only", stage).inputs(input)
    })
}

/// Everything that is set for the first stage.
fn settings(pipeline: &Pipeline<u32, u32>) -> (StageKind, String) {
    (pipeline.plan().kind(0), format!("{:?}", pipeline.plan().settings(0)))
}

fn set(pipeline: &Pipeline<u32, u32>) -> &StageSettings {
    pipeline.plan().settings(0).expect("something is set")
}

fn names(pipeline: &Pipeline<u32, u32>) -> Vec<&str> {
    set(pipeline).interceptors.iter().map(stageflow_core::intercept::AnyInterceptor::name).collect()
}

#[test]
fn what_a_stage_brings_along_is_what_a_builder_would_say() {
    let by_builder = builds(|p| {
        let input = p.input();
        say_all!(p.stage("only", stage_fn(next)), 3, "a").inputs(input)
    });
    let brought = of(say_all!(configured(stage_fn(next)), 3, "a"));
    assert_eq!(settings(&brought), settings(&by_builder));
    assert_eq!(settings(&of(configured(brought_along()))), settings(&by_builder));
    assert!(of(configured(stage_fn(next))).plan().settings(0).is_none());
}

fn brought_along() -> impl IntoConfiguredStage<Stage: stageflow_core::Stage<Input = Arc<u32>, Output = u32>> {
    say_all!(configured(stage_fn(next)), 3, "a")
}

#[test]
fn the_builder_goes_before_it_and_its_interceptors_stand_around() {
    let both = builds(|p| {
        let input = p.input();
        let stage = say_all!(configured(say_all!(configured(stage_fn(next)), 1, "c")), 2, "b");
        say_all!(p.stage("only", stage), 3, "a").inputs(input)
    });
    let set = set(&both);
    assert_eq!(both.plan().kind(0), StageKind::ALL[3]);
    assert_eq!(set.timeouts.limits().count(), 3);
    assert_eq!(
        (set.timeouts.stage, set.timeouts.idle),
        (TimeLimit::Limit(secs(3)), TimeLimit::Limit(secs(3)))
    );
    assert_eq!((set.grace, set.cost, set.min_time), (Some(secs(3)), Some(3), Duration::from_millis(3)));
    assert_eq!(names(&both), ["a", "inner", "b", "inner", "c", "inner"]);
    assert_eq!(set.allowed.len(), 3);
}

/// Of two least times the larger counts, whoever says it; `None` is a word about a timeout as well.
#[test]
fn a_builder_that_says_little_leaves_the_rest_as_it_is() {
    let rest = builds(|p| {
        let input = p.input();
        let stage = p.stage("only", say_all!(configured(stage_fn(next)), 3, "a"));
        stage.timeout(None).min_time(Duration::from_millis(1)).inputs(input)
    });
    let set = set(&rest);
    assert_eq!((set.timeouts.stage, set.timeouts.attempt.get()), (TimeLimit::Unlimited, Some(secs(3))));
    assert_eq!((set.min_time, rest.plan().kind(0)), (Duration::from_millis(3), StageKind::ALL[3]));
    assert_eq!((set.grace, set.cost), (Some(secs(3)), Some(3)));
}

#[test]
fn each_of_several_stages_can_be_another() {
    let pipeline = builds(|p| {
        let input = p.input();
        let all = p
            .parallel("s", 0..3, |index| configured(stage_fn(next)).timeout(secs(index + 1)))
            .attempt_timeout(secs(1))
            .inputs(input);
        all[2]
    });
    let times: Vec<_> = pipeline.stages().map(|stage| stage.timeouts()).collect();
    assert_eq!(
        times.iter().map(|times| times.stage.get()).collect::<Vec<_>>(),
        [1, 2, 3].map(|n| Some(secs(n)))
    );
    assert!(times.iter().all(|times| times.attempt.get() == Some(secs(1))));
}

#[test]
fn the_same_about_another_stage_is_the_same_interceptor() {
    let template = configured(()).retry(Named("a"));
    let ids = [0, 1].map(|_| set(&of(template.of(stage_fn(next)))).interceptors[0].id());
    assert_eq!(ids[0], ids[1]);
    let other = set(&of(configured(stage_fn(next)).retry(Named("a")))).interceptors[0].id();
    assert_ne!(ids[0], other);
}

#[test]
fn numbers_are_as_wide_as_the_largest_and_three_digits_at_least() {
    assert_eq!(numbered("s", 0, 0), "s-000");
    assert_eq!(numbered("s", 9, 999), "s-009");
    assert_eq!(numbered("s", 9, 1_000), "s-0009");
    assert_eq!(numbered("s", 10_000, 10_000), "s-10000");
}
