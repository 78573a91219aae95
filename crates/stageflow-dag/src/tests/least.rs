//! The critical path over least times, and what contradicts it (rule S-15).

use std::{sync::Arc, time::Duration};

use stageflow_core::{
    Call, Interceptor, Layer, Next, StageResult, Value, code, intercept::Placement, stage_fn,
};

use super::{any, builds, codes, errors, named, next, zero};
use crate::{Builder, Pipeline, Port};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A stage without inputs that takes so many seconds at least.
fn takes(p: &mut Builder<u32>, name: &str, seconds: u64) -> Port<u32> {
    p.stage(name, stage_fn(zero)).min_time(secs(seconds)).inputs(())
}

#[test]
fn the_longest_path_counts() {
    let diamond = builds(|p| {
        let input = p.input();
        let a = p.stage("a", stage_fn(next)).min_time(secs(1)).inputs(input);
        let long = p.stage("long", stage_fn(next)).min_time(secs(7)).inputs(a);
        let short = p.stage("short", stage_fn(next)).min_time(secs(2)).inputs(a);
        let after = takes(p, "after", 4);
        p.stage("b", any::<(Arc<u32>, Arc<u32>)>()).min_time(secs(3)).after(after).inputs((long, short))
    });
    assert_eq!(diamond.min_time(), secs(11));
    assert_eq!(diamond.stages().map(|stage| stage.min_time().as_secs()).collect::<Vec<_>>(), [1, 7, 2, 4, 3]);
    assert_eq!(super::single("p", "only").min_time(), Duration::ZERO);
}

/// Only what the output cannot do without counts: of an `or` the shortest side, and nothing that is optional or elsewhere.
#[test]
fn what_may_be_missing_does_not_count() {
    let list = builds(|p| {
        let (a, b) = (takes(p, "a", 5), takes(p, "b", 9));
        p.stage("list", any::<Vec<Arc<u32>>>()).inputs(vec![a, b])
    });
    assert_eq!(list.min_time(), secs(9));
    let options = builds(|p| {
        let (a, b) = (takes(p, "a", 5), takes(p, "b", 9));
        p.stage("list", any::<Vec<Option<Arc<u32>>>>()).inputs(vec![a.optional(), b.optional()])
    });
    assert_eq!(options.min_time(), Duration::ZERO);
    let or = builds(|p| {
        let (a, b, c) = (takes(p, "a", 9), takes(p, "b", 5), takes(p, "c", 3));
        p.stage("or", any::<(Arc<u32>, Arc<u32>)>()).inputs((a.or(b), c))
    });
    assert_eq!(or.min_time(), secs(5));
    let or_none = builds(|p| {
        let (a, b, c) = (takes(p, "a", 9), takes(p, "b", 5), takes(p, "c", 3));
        p.stage("or", any::<(Option<Arc<u32>>, Arc<u32>)>()).inputs((a.or(b).optional(), c))
    });
    assert_eq!(or_none.min_time(), secs(3));
    let or_input = builds(|p| {
        let (input, a) = (p.input(), takes(p, "a", 9));
        p.stage("or", stage_fn(next)).inputs(input.or(a))
    });
    assert_eq!(or_input.min_time(), Duration::ZERO);
    let condition = builds(|p| {
        let a = takes(p, "a", 2);
        p.stage("when", stage_fn(zero)).when(a, |_| true).min_time(secs(5)).inputs(())
    });
    assert_eq!(condition.min_time(), secs(7));
    let aside = builds(|p| {
        takes(p, "aside", 60);
        takes(p, "a", 1)
    });
    assert_eq!(aside.min_time(), secs(1));
}

/// Names may refer to stages that come later.
#[test]
fn declaration_order_does_not_matter() {
    let forward = builds(|p| {
        let out = p.stage("out", stage_fn(named)).min_time(secs(1)).inputs(["middle"]);
        p.stage("middle", stage_fn(zero)).min_time(secs(2)).after_name("first").inputs(());
        takes(p, "first", 4);
        out
    });
    assert_eq!(forward.min_time(), secs(7));
}

struct At(Placement);

impl Interceptor for At {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn placement(&self) -> Placement {
        self.0
    }
}

#[test]
fn who_may_be_answered_for_does_not_count() {
    let with = |placement, whole: bool| {
        builds(move |p| {
            if whole {
                p.intercept(At(placement));
            }
            let a = takes(p, "a", 2);
            let b = p.stage("b", stage_fn(next)).min_time(secs(3));
            if whole { b.inputs(a) } else { b.intercept(At(placement)).inputs(a) }
        })
        .min_time()
        .as_secs()
    };
    let layers = [Layer::Authenticate, Layer::Retry, Layer::Breaker, Layer::Limit, Layer::Trace];
    for placement in layers.map(Placement::At) {
        assert_eq!((with(placement, false), with(placement, true)), (5, 5), "{placement:?}");
    }
    let may =
        [Placement::At(Layer::Idempotency), Placement::At(Layer::Inner), Placement::Outside(Layer::Retry)];
    for placement in may {
        assert_eq!((with(placement, false), with(placement, true)), (2, 0), "{placement:?}");
    }
}

/// A pipeline in the place of a stage takes what it takes itself, or more if that is said of it.
#[test]
fn a_pipeline_as_a_stage_takes_its_own_path() {
    let child = || {
        builds(|p| {
            let a = takes(p, "a", 2);
            p.stage("b", stage_fn(next)).min_time(secs(3)).inputs(a)
        })
    };
    for (said, expected) in [(0, 5), (4, 5), (9, 9)] {
        let parent = builds(|p| {
            let input = p.input();
            p.stage("kid", child()).min_time(secs(said)).inputs(input)
        });
        assert_eq!(parent.min_time(), secs(expected));
    }
    let both = child().then(&super::single("q", "more")).map(|both| both.min_time());
    assert_eq!(both.ok(), Some(secs(5)));
}

/// Long chains take no stack, wide layers no more time than they have edges.
#[test]
fn the_path_is_found_without_a_stack_and_in_linear_time() {
    let mut p: Builder<u32> = Pipeline::builder("chain");
    let mut last = p.input();
    for index in 0..50_000 {
        last = p.stage(format!("s{index}"), stage_fn(next)).min_time(Duration::from_millis(1)).inputs(last);
    }
    assert_eq!(p.build(last).map(|chain| chain.min_time()).ok(), Some(secs(50)));

    let mut p: Builder<u32> = Pipeline::builder("layers");
    let input = p.input();
    let mut layer: Vec<_> = p.parallel("l0", 0..50, |_| stage_fn(next)).min_time(secs(1)).inputs(input);
    for depth in 1..20 {
        let wires = layer.clone();
        layer = p
            .parallel(format!("l{depth}"), 0..50, |_| any::<Vec<Arc<u32>>>())
            .min_time(secs(1))
            .inputs(wires);
    }
    let end = p.stage("end", any::<Vec<Arc<u32>>>()).inputs(layer);
    assert_eq!(p.build(end).map(|layers| layers.min_time()).ok(), Some(secs(20)));
}

#[test]
fn what_takes_longer_than_it_may_is_a_problem() {
    let error = errors(|p| {
        p.deadline(secs(6));
        p.attempt_timeout(secs(4));
        let a = p.stage("a", stage_fn(zero)).timeout(secs(2)).min_time(secs(3)).inputs(());
        p.stage("b", stage_fn(next)).min_time(secs(5)).inputs(a)
    });
    assert_eq!(codes(error.problems()), [code::INVALID_POLICY; 3]);
    let messages: Vec<_> = error.problems().iter().map(|problem| problem.message().to_owned()).collect();
    let expected = [
        "stage `a` takes 3.0s at least, and the stage gets 2.0s",
        "stage `b` takes 5.0s at least, and an attempt gets 4.0s",
        "the output takes 8.0s at least, and the deadline is 6.0s",
    ];
    assert_eq!(messages, expected);

    let child = builds(|p| takes(p, "slow", 5));
    let error = errors(|p| {
        let input = p.input();
        p.stage("kid", child).timeout(secs(4)).inputs(input)
    });
    assert_eq!(error.problems()[0].message(), "stage `kid` takes 5.0s at least, and the stage gets 4.0s");
}

#[test]
fn timeouts_of_zero_are_problems_wherever_they_are_set() {
    let error = errors(|p| {
        p.stage_timeout(Duration::ZERO).attempt_timeout(Duration::ZERO).idle_timeout(Duration::ZERO);
        p.stage("a", stage_fn(zero)).idle_timeout(Duration::ZERO).inputs(())
    });
    assert_eq!(codes(error.problems()), [code::INVALID_POLICY; 4]);
    assert_eq!(error.problems()[2].message(), "with `idle_timeout` of zero no stage can ever complete");
    assert_eq!(error.problems()[3].message(), "with `idle_timeout` of zero stage `a` can never complete");

    let none = builds(|p| {
        p.stage_timeout(secs(5)).attempt_timeout(None).idle_timeout(secs(1));
        p.stage("a", stage_fn(zero)).timeout(None).idle_timeout(None).inputs(())
    });
    let own = none.stages().next().map(|stage| stage.timeouts().limits().count());
    assert_eq!((own, none.timeouts().limits().count()), (Some(0), 2));
}

#[test]
fn an_idle_time_that_can_never_be_up_is_a_warning() {
    let pipeline = builds(|p| {
        p.attempt_timeout(secs(5));
        p.stage("a", stage_fn(zero)).idle_timeout(secs(5)).inputs(())
    });
    let [warning] = pipeline.warnings() else { panic!("one warning") };
    assert_eq!(warning.code(), code::INVALID_POLICY);
    assert_eq!(warning.message(), "an attempt of stage `a` may be idle for 5s, and gets 5s");
}
