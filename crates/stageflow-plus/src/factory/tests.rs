//! What a factory makes is what one would write by hand.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use stageflow_core::{
    Backoff, Call, FailurePolicy, Interceptor, Next, PolicyFacts, RetryFacts, Stage, StageContext, StageKind,
    StageResult, Value, code, stage_fn,
};
use stageflow_dag::{Builder, Pipeline, Port, Problem, configured};
use stageflow_exec::PipelineExt as _;

use super::*;

/// Adds its number.
struct Add(u64);

impl Stage for Add {
    type Input = Arc<u64>;
    type Output = u64;

    async fn run(&self, _: &StageContext, n: Arc<u64>) -> StageResult<u64> {
        Ok(*n + self.0)
    }
}

fn add(index: usize) -> Add {
    Add(index as u64)
}

fn sum() -> impl Stage<Input = Vec<Arc<u64>>, Output = u64> {
    stage_fn(|_, all: Vec<Arc<u64>>| async move { Ok(all.iter().map(|n| **n).sum()) })
}

fn pair() -> impl Stage<Input = (Arc<u64>, Arc<u64>), Output = u64> {
    stage_fn(|_, (a, b): (Arc<u64>, Arc<u64>)| async move { Ok(*a + *b) })
}

/// Says that it tries again.
#[derive(Clone)]
struct Again;

impl Interceptor for Again {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn describe(&self) -> PolicyFacts {
        RetryFacts::new(Backoff::default(), 30).into()
    }
}

type Numbers = Pipeline<u64, u64>;

fn built(write: impl FnOnce(&mut Builder<u64>, Port<u64>) -> Port<u64>) -> Numbers {
    let mut p = Pipeline::builder("numbers");
    let input = p.input();
    let output = write(&mut p, input);
    p.build(output).expect("it is right")
}

/// Everything that can be seen of a pipeline without its places in the code, and what it gives.
fn seen(pipeline: &Numbers) -> (Vec<String>, Vec<String>, Vec<String>, u64) {
    let drawn = vec![pipeline.to_tree(), pipeline.to_dot(), pipeline.to_mermaid()];
    let settings = |stage: stageflow_dag::StageView<'_>| {
        format!("{stage:?} {:?} {:?}", stage.timeouts(), stage.min_time())
    };
    let mut found: Vec<String> =
        pipeline.warnings().iter().map(|problem| problem.message().to_owned()).collect();
    let report = pipeline.lint();
    found.extend(
        report
            .findings()
            .iter()
            .map(|finding| format!("{:?} {:?} {:?}", finding.lint(), finding.calls(), finding.count())),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let output = runtime.block_on(async { pipeline.run(1).await.map(|run| *run.output()) });
    (drawn, pipeline.stages().map(settings).collect(), found, output.expect("it works"))
}

/// The names as they would be written by hand.
fn name(prefix: &str, index: usize, count: usize) -> String {
    let width = (count - 1).to_string().len().max(3);
    format!("{prefix}-{index:0width$}")
}

/// Mostly few, and sometimes so many that their numbers have four digits.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1_usize..40, 1 => 990_usize..1_100]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_a_factory_makes_is_what_is_written_by_hand(
        chain in sizes(),
        shards in sizes(),
        timeout in 1_u64..9,
    ) {
        let timeout = Duration::from_secs(timeout);
        let by_hand = |joined: &str| built(|p, input| {
            let mut port = input;
            for index in 0..chain {
                let stage = p.stage(name("step", index, chain), add(index)).timeout(timeout);
                port = stage.intercept(Again).inputs(port);
            }
            let shard = p.stage("top", add(1)).inputs(port);
            let left = p.stage("left", add(2)).inputs(shard);
            let right = p.stage("right", add(3)).inputs(shard);
            let bottom = p.stage("bottom", pair()).inputs((left, right));
            let mut ports = Vec::new();
            for index in 0..shards {
                ports.push(p.stage(name("shard", index, shards), add(index)).inputs(bottom));
            }
            p.stage(joined, sum()).inputs(ports)
        });
        let template = configured(()).timeout(timeout).intercept(Again);
        let step = |index| template.of(add(index));
        let made = built(|p, input| {
            let port = p.chain("step", 0..chain, step).inputs(input);
            let port = p.diamond(("top", add(1)), ("left", add(2)), ("right", add(3)), ("bottom", pair())).inputs(port);
            p.map_reduce("shard", 0..shards, add, sum()).inputs(port)
        });
        let fluent: Numbers = Fluent::pipeline("numbers")
            .chain("step", 0..chain, step)
            .then("top", add(1))
            .both(|left| left.then("left", add(2)), |right| right.then("right", add(3)))
            .then("bottom", pair())
            .parallel("shard", 0..shards, add)
            .reduce("sum", sum())
            .build()
            .expect("it is right");
        let config = ParallelPipelineFactory::new(ParallelConfig::<()>::new("shard", shards)).expect("it is right");
        let from_config = built(|p, input| {
            let port = p.chain("step", 0..chain, step).inputs(input);
            let port = p.diamond(("top", add(1)), ("left", add(2)), ("right", add(3)), ("bottom", pair())).inputs(port);
            let ports = config.stages(p, |index, ()| add(index)).inputs(port);
            let branches = config.names().zip(ports.iter());
            assert!(branches.len() == shards);
            p.stage("sum", sum()).inputs(ports)
        });
        let expected = seen(&by_hand("shard-reduce"));
        prop_assert!(expected.2.iter().any(|found| found.contains("Attempts")), "{:?}", expected.2);
        prop_assert_eq!(&seen(&made), &expected);
        let expected = seen(&by_hand("sum"));
        prop_assert_eq!(&seen(&fluent), &expected);
        prop_assert_eq!(&seen(&from_config), &expected);
    }
}

#[test]
fn whole_pipelines_are_those_of_the_builder() {
    let chain = linear("numbers", "step", 0..4, add).expect("it is right");
    assert_eq!(seen(&chain), seen(&built(|p, input| p.chain("step", 0..4, add).inputs(input))));
    let four = || (("top", add(1)), ("left", add(2)), ("right", add(3)), ("bottom", pair()));
    let (top, left, right, bottom) = four();
    let whole = diamond("numbers", top, left, right, bottom).expect("it is right");
    let (top, left, right, bottom) = four();
    assert_eq!(seen(&whole), seen(&built(|p, input| p.diamond(top, left, right, bottom).inputs(input))));
    let branches = || [("a", add(1)), ("b", add(2))];
    let whole = fan_in("numbers", branches(), ("join", sum())).expect("it is right");
    let by_hand = built(|p, input| {
        let ports = branches().map(|(name, stage)| p.stage(name, stage).inputs(input));
        p.stage("join", sum()).inputs(ports)
    });
    assert_eq!(seen(&whole), seen(&by_hand));
    let whole = map_reduce("numbers", 0..4, add, sum()).expect("it is right");
    assert_eq!(
        seen(&whole),
        seen(&built(|p, input| p.map_reduce("numbers", 0..4, add, sum()).inputs(input)))
    );
}

#[test]
fn a_factory_is_called_once_for_each_index_in_order() {
    let mut asked = Vec::new();
    let mut note = |index| {
        asked.push(index);
        add(index)
    };
    let chain = linear("chain", "step", [5, 0, 1_200], &mut note).expect("it is right");
    assert_eq!(
        chain.stages().map(|stage| stage.name()).collect::<Vec<_>>(),
        ["step-0005", "step-0000", "step-1200"]
    );
    map_reduce("fan", 0..3, &mut note, sum()).expect("it is right");
    let config = ParallelPipelineFactory::new(ParallelConfig::<()>::new("shard", 2)).expect("it is right");
    let _: Numbers = config.pipeline("fan", |index, ()| note(index), ("sum", sum())).expect("it is right");
    assert_eq!(asked, [5, 0, 1_200, 0, 1, 2, 0, 1]);
}

#[test]
fn a_chain_of_no_stage_is_its_input_and_a_pipeline_of_none_is_not_built() {
    let short = built(|p, input| {
        let port = p.chain("none", 0..0, add).inputs(input);
        p.stage("one", add(1)).inputs(port)
    });
    assert_eq!((short.len(), seen(&short).3), (1, 2));
    let error = linear("none", "step", 0..0, add).expect_err("it is empty");
    assert_eq!(error.problems().iter().map(Problem::code).collect::<Vec<_>>(), [code::EMPTY]);
}

#[test]
fn names_used_twice_are_found_when_it_is_built() {
    let mut p = Pipeline::builder("twice");
    let input = p.input();
    let port = p.chain("step", 0..2, add).inputs(input);
    let port = p.chain("step", 1..3, add).inputs(port);
    let error = p.build::<u64>(port).expect_err("step-001 is there twice");
    assert_eq!(error.problems().iter().map(Problem::code).collect::<Vec<_>>(), [code::DUPLICATE]);
    assert!(error.to_string().contains("`step-001`"), "{error}");
}

/// A way that goes on with another pipeline than it was given is found, like every port of another builder.
#[test]
fn a_way_into_another_pipeline_is_found() {
    let both = Fluent::<u64, _>::pipeline("this").then("first", add(1));
    let other = || Fluent::<u64, _>::pipeline("other").then("stray", add(1));
    let error = both.both(|_| other(), |right| right.then("right", add(1))).then("pair", pair()).build();
    let error = error.expect_err("`right` reads a port of another builder");
    assert_eq!(error.problems().iter().map(Problem::code).collect::<Vec<_>>(), [code::FOREIGN_NODE]);
}

#[test]
fn each_lane_goes_on_with_its_own_stage() {
    let lanes: Numbers = Fluent::pipeline("lanes")
        .settings(|p| p.on_failure(FailurePolicy::Continue))
        .parallel("load", 0..3, add)
        .each("clean", |index| add(10 * index))
        .reduce("sum", sum())
        .build()
        .expect("it is right");
    assert!(lanes.to_tree().contains("├─ clean-002  transform  ← load-002"), "{}", lanes.to_tree());
    assert_eq!(seen(&lanes).3, 3 + 3 + 30);
}

#[test]
fn a_fluent_pipeline_goes_on_by_hand_and_back() {
    let (mut p, port) = Fluent::<u64, _>::pipeline("numbers").then("one", add(1)).into_parts();
    let small = p.stage("small", add(2)).when(port, |n| *n < 10).inputs(port);
    let large = p.stage("large", add(3)).when(port, |n| *n >= 10).inputs(port);
    let pipeline = Fluent::from_parts(p, small.or(large)).then("last", add(4)).build().expect("it is right");
    assert_eq!(seen(&pipeline).3, 8);
}

#[test]
fn a_configuration_says_what_is_different() {
    let json = r#"{
        "prefix": "shard", "count": 3, "config": 10, "kind": "enrich", "timeout_ms": 2000, "max_in_flight": 2,
        "only": { "1": { "config": 100, "attempt_timeout_ms": 50 }, "2": { "timeout_ms": 9000 } }
    }"#;
    let config: ParallelConfig<u64> = serde_json::from_str(json).expect("it is right");
    let again = serde_json::to_string(&config).expect("it can be written");
    assert_eq!(serde_json::from_str::<ParallelConfig<u64>>(&again).expect("it is right"), config);
    let factory = ParallelPipelineFactory::new(config).expect("it is right");
    let pipeline: Numbers = factory
        .pipeline("numbers", |index, base| Add(*base + index as u64), ("sum", sum()))
        .expect("it is right");
    let times = |stage: stageflow_dag::StageView<'_>| {
        let times = stage.timeouts();
        (
            stage.kind(),
            times.stage.get().map(|time| time.as_secs()),
            times.attempt.get().map(|time| time.as_millis()),
        )
    };
    let enrich = StageKind::Enrich;
    let expected = [(enrich, Some(2), None), (enrich, Some(2), Some(50)), (enrich, Some(9), None)];
    assert_eq!(pipeline.stages().take(3).map(times).collect::<Vec<_>>(), expected);
    // 1 + 10, 1 + 100 + 1, 1 + 10 + 2.
    assert_eq!(seen(&pipeline).3, 11 + 102 + 13);
    assert_eq!(pipeline.plan().policies().max_in_flight, Some(2));
    assert_eq!(factory.names().collect::<Vec<_>>(), ["shard-000", "shard-001", "shard-002"]);
}

#[test]
fn a_stage_yields_to_the_configuration_and_this_to_the_builder() {
    let secs = Duration::from_secs;
    let config = ParallelConfig::<()>::new("shard", 1).timeout(secs(2)).attempt_timeout(secs(2));
    let factory = ParallelPipelineFactory::new(config).expect("it is right");
    let pipeline = built(|p, input| {
        let own = |index, _: &()| {
            configured(add(index)).timeout(secs(1)).attempt_timeout(secs(1)).kind(StageKind::Work)
        };
        let ports = factory.stages(p, own).attempt_timeout(secs(3)).inputs(input);
        p.stage("sum", sum()).inputs(ports)
    });
    let stage = pipeline.stages().next().expect("a stage");
    let times = stage.timeouts();
    assert_eq!(
        (times.stage.get(), times.attempt.get(), stage.kind()),
        (Some(secs(2)), Some(secs(3)), StageKind::Work)
    );
}

#[test]
fn a_wrong_configuration_says_everything_that_is_wrong() {
    let wrong = |json: &str| {
        let config: ParallelConfig<u64> = serde_json::from_str(json).expect("it can be read");
        let error = ParallelPipelineFactory::new(config).expect_err("it is wrong");
        assert_eq!(error.code(), code::INVALID_POLICY);
        error.to_string()
    };
    let all = wrong(
        r#"{ "prefix": " ", "count": 0, "max_in_flight": 0, "timeout_ms": 0, "only": { "3": { "attempt_timeout_ms": 0 } } }"#,
    );
    assert_eq!(
        all,
        "the stages ` ` cannot be made: `prefix` is blank; `count` is 0, and there would be no stage; \
         `max_in_flight` is 0, and no stage could run; `timeout_ms` is 0, and no stage could complete; \
         `only.3.attempt_timeout_ms` is 0, and no stage could complete"
    );
    assert_eq!(
        wrong(r#"{ "prefix": "a\nb", "count": 4000000000, "only": { "4000000000": {} } }"#),
        "the stages `a\\nb` cannot be made: `prefix` holds a control character; `count` is 4000000000, and 1000000 is the \
         most; `only` says something about stage 4000000000, and they are numbered from 0 to below 4000000000"
    );
    for json in [
        r#"{ "prefix": "a", "count": 1, "timout_ms": 5 }"#,
        r#"{ "prefix": "a" }"#,
        r#"{ "prefix": "a", "count": -1 }"#,
    ] {
        serde_json::from_str::<ParallelConfig<u64>>(json).expect_err("it cannot be read");
    }
}

#[test]
fn the_largest_configuration_is_let_in_and_one_more_is_not() {
    let of = |count| ParallelPipelineFactory::new(ParallelConfig::<()>::new("shard", count));
    assert!(of(1_000_000).is_ok() && of(1_000_001).is_err());
}
